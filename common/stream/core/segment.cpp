#include "common/stream/core/segment.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/stream/core/bytes.h"
#include "common/stream/core/limits.h"

namespace gema::stream {
namespace {

constexpr std::string_view kMagic = "GEMASEG1";
constexpr std::string_view kMarker = "GMR1";
constexpr uint8_t kFlagPart = 1;
// A segment that lost records in the middle shows a jump in seq. A jump beyond this is no jump but
// damage that happens to pass the checksum of nobody: a writer cannot lose so many in one segment.
constexpr uint64_t kSeqJumpMax = 1U << 20;

// True when `rest` can be the beginning of a record whose writing was cut short.
bool is_cut_short(std::string_view rest) {
  size_t n = std::min(rest.size(), kMarker.size());
  if (rest.substr(0, n) != kMarker.substr(0, n)) return false;
  if (rest.size() < kRecordHeaderBytes) return true;
  uint32_t length = get<uint32_t>(rest, 8);
  if (length > kRecordBytesMax) return false;
  bool part = (get<uint8_t>(rest, 13) & kFlagPart) != 0;
  return rest.size() < encoded_record_bytes(length, part);
}

}  // namespace

EncodedHeader encode_header(const SegmentHeader& header) {
  EncodedHeader out;
  out.bytes.reserve(kSegmentHeaderBytes);
  out.bytes += kMagic;
  put(out.bytes, header.epoch);
  put(out.bytes, header.predecessor);
  put(out.bytes, unix_us(header.created_at));
  put(out.bytes, static_cast<uint32_t>(header.reason));
  put(out.bytes, kPartitions);
  for (uint64_t seq : header.next_seq) put(out.bytes, seq);
  put(out.bytes, header.number);
  put(out.bytes, uint32_t{0});
  out.crc = crc32c(out.bytes);
  put(out.bytes, out.crc);
  GEMA_ASSERT(out.bytes.size() == kSegmentHeaderBytes);
  return out;
}

uint64_t encoded_record_bytes(size_t payload_bytes, bool part) {
  return kRecordHeaderBytes + (part ? kPartInfoBytes : 0) + payload_bytes;
}

void encode_record(const RecordFields& fields, std::string_view payload, uint32_t header_crc,
                   std::string& out) {
  GEMA_ASSERT(payload.size() <= kRecordBytesMax && fields.partition < kPartitions);
  size_t start = out.size();
  out += kMarker;
  put(out, uint32_t{0});
  put(out, static_cast<uint32_t>(payload.size()));
  put(out, static_cast<uint8_t>(fields.partition));
  put(out, static_cast<uint8_t>(fields.part ? kFlagPart : 0));
  put(out, uint16_t{0});
  put(out, fields.seq);
  put(out, unix_us(fields.produced_at));
  if (fields.part) {
    put(out, fields.part->id);
    put(out, fields.part->index);
    put(out, fields.part->count);
    put(out, fields.part->digest);
  }
  out += payload;
  uint32_t crc = crc32c(std::string_view(out).substr(start + 8), header_crc);
  std::memcpy(out.data() + start + 4, &crc, sizeof(crc));
}

std::optional<RecordView> decode_record(std::string_view bytes, uint32_t header_crc) {
  if (bytes.size() < kRecordHeaderBytes || bytes.substr(0, 4) != kMarker) return std::nullopt;
  uint32_t length = get<uint32_t>(bytes, 8);
  uint8_t partition = get<uint8_t>(bytes, 12);
  uint8_t flags = get<uint8_t>(bytes, 13);
  if (length > kRecordBytesMax || partition >= kPartitions || flags > kFlagPart) {
    return std::nullopt;
  }
  uint64_t total = encoded_record_bytes(length, flags == kFlagPart);
  if (bytes.size() < total) return std::nullopt;
  if (crc32c(bytes.substr(8, total - 8), header_crc) != get<uint32_t>(bytes, 4)) {
    return std::nullopt;
  }
  RecordView view;
  view.bytes = static_cast<uint32_t>(total);
  view.fields.partition = partition;
  view.fields.seq = get<uint64_t>(bytes, 16);
  view.fields.produced_at = wall_from_us(get<int64_t>(bytes, 24));
  if (flags == kFlagPart) {
    view.fields.part = PartInfo{get<uint64_t>(bytes, 32), get<uint32_t>(bytes, 40),
                                get<uint32_t>(bytes, 44), get<uint64_t>(bytes, 48)};
  }
  view.payload = bytes.substr(total - length, length);
  return view;
}

Result<SegmentScan> scan_segment(std::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes || bytes.substr(0, 8) != kMagic ||
      crc32c(bytes.substr(0, kSegmentHeaderBytes - 4)) !=
          get<uint32_t>(bytes, kSegmentHeaderBytes - 4)) {
    return Error{Errc::kBadInput, "spool segment: the header is damaged"};
  }
  SegmentScan scan;
  scan.header_crc = get<uint32_t>(bytes, kSegmentHeaderBytes - 4);
  scan.header.epoch = get<uint64_t>(bytes, 8);
  scan.header.predecessor = get<uint64_t>(bytes, 16);
  scan.header.created_at = wall_from_us(get<int64_t>(bytes, 24));
  scan.header.reason = static_cast<EpochReason>(get<uint32_t>(bytes, 32));
  for (uint32_t p = 0; p < kPartitions; ++p) {
    scan.header.next_seq[p] = get<uint64_t>(bytes, 40 + 8 * p);
  }
  scan.header.number = get<uint64_t>(bytes, 104);
  if (get<uint32_t>(bytes, 36) != kPartitions) {
    return Error{Errc::kBadInput, "spool segment: made for another number of partitions"};
  }

  PerPartition expected = scan.header.next_seq;
  scan.valid_end = kSegmentHeaderBytes;
  uint64_t wasted = 0;  // bytes checksummed in vain: bounds the work on hostile content
  uint64_t offset = kSegmentHeaderBytes;
  while (offset < bytes.size()) {
    std::optional<RecordView> record = decode_record(bytes.substr(offset), scan.header_crc);
    if (record) {
      uint64_t& next = expected[record->fields.partition];
      if (record->fields.seq < next || record->fields.seq - next > kSeqJumpMax) record.reset();
      if (record) next = record->fields.seq + 1;
    }
    if (!record) {
      // Whatever this is, the next marker may begin a readable record.
      if (bytes.size() - offset >= kRecordHeaderBytes) {
        wasted += std::min(get<uint32_t>(bytes, offset + 8), kRecordBytesMax);
      }
      if (wasted > 16 * bytes.size() + kRecordBytesMax) break;
      size_t found = bytes.find(kMarker, offset + 1);
      if (found == std::string_view::npos) break;
      offset = found;
      continue;
    }
    scan.damaged_bytes += offset - scan.valid_end;
    scan.records.push_back({record->fields.partition, record->fields.seq,
                            static_cast<uint32_t>(offset), record->bytes});
    scan.newest = record->fields.produced_at;
    offset += record->bytes;
    scan.valid_end = offset;
  }
  if (scan.valid_end < bytes.size()) {
    scan.tail = is_cut_short(bytes.substr(scan.valid_end)) ? Tail::kShort : Tail::kDamaged;
  }
  return scan;
}

}  // namespace gema::stream
