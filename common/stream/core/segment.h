// The bytes of a spool segment: one file header, then records. README.md has a worked example.
//
//   header, 120 bytes                          record, 32 bytes + part + payload
//     0  magic "GEMASEG1"                        0  marker "GMR1"
//     8  epoch             u64                   4  crc32c of bytes 8.. of the record,
//    16  predecessor       u64                      continued from the header's own crc  u32
//    24  created, Unix us  i64                   8  payload length                       u32
//    32  reason            u32                  12  partition                            u8
//    36  partitions (8)    u32                  13  flags: 1 = a part                    u8
//    40  next seq, 8 x     u64                  14  0                                    u16
//   104  segment number    u64                  16  seq                                  u64
//   112  0                 u32                  24  produced at, Unix us                 i64
//   116  crc32c of 0..115  u32                  32  [part: id u64, index u32, count u32, digest
//   u64]
//                                                   payload
// All little-endian. A record's checksum begins with that of its segment's header, so a block of
// another segment that a power cut left in the file never passes for a record of this one.
//
// Scanning never trusts a byte: it reports what it can read, skips what it cannot, and never reads
// beyond its input. Pure.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/stream/core/types.h"

namespace gema::stream {

using PerPartition = std::array<uint64_t, kPartitions>;

inline constexpr uint32_t kSegmentHeaderBytes = 120;
inline constexpr uint32_t kRecordHeaderBytes = 32;
inline constexpr uint32_t kPartInfoBytes = 24;

struct SegmentHeader {
  uint64_t number = 0;
  uint64_t epoch = 0;
  uint64_t predecessor = 0;
  EpochReason reason = EpochReason::kUnspecified;
  WallTime created_at{};
  PerPartition next_seq{};  // the seq each partition's next record will have

  friend bool operator==(const SegmentHeader&, const SegmentHeader&) = default;
};

struct EncodedHeader {
  std::string bytes;
  uint32_t crc = 0;  // what the checksums of its records continue from
};
EncodedHeader encode_header(const SegmentHeader& header);

// Appends the record's bytes to `out`. Requires: payload within kRecordBytesMax.
struct RecordFields {
  uint32_t partition = 0;
  uint64_t seq = 0;
  WallTime produced_at{};
  std::optional<PartInfo> part;
};
void encode_record(const RecordFields& fields, std::string_view payload, uint32_t header_crc,
                   std::string& out);
uint64_t encoded_record_bytes(size_t payload_bytes, bool part);

// A record read back. `payload` points into the bytes given.
struct RecordView {
  RecordFields fields;
  std::string_view payload;
  uint32_t bytes = 0;  // of the whole record
};
// The record at the beginning of `bytes`; nullopt when there is none that is whole and right.
std::optional<RecordView> decode_record(std::string_view bytes, uint32_t header_crc);

struct ScannedRecord {
  uint32_t partition = 0;
  uint64_t seq = 0;
  uint32_t offset = 0;
  uint32_t bytes = 0;
};

enum class Tail {
  kClean,    // ends with a record
  kShort,    // the beginning of one more record follows: a write cut short
  kDamaged,  // something else follows
};

struct SegmentScan {
  SegmentHeader header;
  uint32_t header_crc = 0;
  std::vector<ScannedRecord> records;  // in file order; seqs of a partition ascend
  uint64_t valid_end = 0;              // where the last readable record ends
  Tail tail = Tail::kClean;
  uint64_t damaged_bytes = 0;  // before valid_end, skipped
  WallTime newest{};           // produced_at of the last record
};
// Fails with kBadInput when the header is damaged: then nothing in the segment can be trusted.
Result<SegmentScan> scan_segment(std::string_view bytes);

}  // namespace gema::stream
