#include "common/stream/codec.h"

#include <google/protobuf/stubs/logging.h>

#include <utility>

#include "common/base/assert.h"
#include "common/stream/core/limits.h"
#include "gema/v1/stream.pb.h"
#include "proto/parse.h"

namespace gema::stream {
namespace {

// Protobuf writes a line to stderr for every text that is no UTF-8. What a peer sends must not fill
// our log: refused messages are counted instead.
[[maybe_unused]] const auto kQuiet = google::protobuf::SetLogHandler(nullptr);

// What a WallTime can hold (nanoseconds in 64 bits), with room for sums: years 1686 to 2255.
constexpr int64_t kUnixUsMax = 9'000'000'000'000'000;
bool is_time(int64_t us) {
  return us >= -kUnixUsMax && us <= kUnixUsMax;
}

template <class Message>
std::string bytes_of(const Message& message) {
  std::string out;
  bool done = message.SerializeToString(&out);
  GEMA_ASSERT(done);
  return out;
}

template <class Message>
void put_name(StreamName name, Message& message) {
  message.set_stream(std::string(name.stream));
  message.set_producer(std::string(name.producer));
}

template <class Message>
bool is_of(StreamName name, const Message& message) {
  return message.stream() == name.stream && message.producer() == name.producer;
}

void fill(StreamName name, const RecordMessage& record, v1::Envelope& out) {
  out.Clear();
  put_name(name, out);
  out.set_epoch(record.epoch);
  out.set_partition(record.partition);
  out.set_seq(record.seq);
  out.set_base_seq(record.base_seq);
  out.set_produced_at_us(unix_us(record.produced_at));
  out.set_payload(record.payload);
  if (record.part) {
    out.mutable_part()->set_id(record.part->id);
    out.mutable_part()->set_index(record.part->index);
    out.mutable_part()->set_count(record.part->count);
    out.mutable_part()->set_digest(record.part->digest);
  }
}

Decoded<RecordMessage> read(StreamName name, v1::Envelope& in) {
  if (!is_of(name, in)) return Refused::kForeign;
  if (in.epoch() == 0 || in.partition() >= kPartitions || in.seq() == 0 ||
      in.payload().size() > kRecordBytesMax || !is_time(in.produced_at_us())) {
    return Refused::kMalformed;
  }
  RecordMessage record;
  record.epoch = in.epoch();
  record.partition = in.partition();
  record.seq = in.seq();
  record.base_seq = in.base_seq();
  record.produced_at = wall_from_us(in.produced_at_us());
  if (in.has_part()) {
    record.part =
        PartInfo{in.part().id(), in.part().index(), in.part().count(), in.part().digest()};
  }
  record.payload = std::move(*in.mutable_payload());
  return record;
}

template <class Repeated>
void put_ranges(const std::vector<SeqRange>& ranges, Repeated* out) {
  for (const SeqRange& range : ranges) {
    v1::SeqRange* item = out->Add();
    item->set_first(range.first);
    item->set_last(range.last);
  }
}

template <class Repeated>
bool take_ranges(const Repeated& in, size_t max, std::vector<SeqRange>& out) {
  if (static_cast<size_t>(in.size()) > max) return false;
  for (const v1::SeqRange& range : in) {
    if (range.first() == 0 || range.last() < range.first() || range.last() == UINT64_MAX) {
      return false;
    }
    out.push_back({range.first(), range.last()});
  }
  return true;
}

template <class Repeated>
bool take_seqs(const Repeated& in, std::vector<uint64_t>& out) {
  if (in.size() != static_cast<int>(kPartitions)) return false;
  out.assign(in.begin(), in.end());
  for (uint64_t seq : out) {
    if (seq >= UINT64_MAX - 1) return false;
  }
  return true;
}

}  // namespace

std::string encode_record(StreamName name, const RecordMessage& record) {
  static thread_local v1::Envelope envelope;  // keeps its memory
  fill(name, record, envelope);
  return bytes_of(envelope);
}

std::string encode_replay(StreamName name, const RecordMessage& record) {
  static thread_local v1::Replay replay;
  fill(name, record, *replay.mutable_record());
  return bytes_of(replay);
}

std::string encode_replay(StreamName name, const LostMessage& lost) {
  v1::Replay replay;
  v1::Lost& out = *replay.mutable_lost();
  put_name(name, out);
  out.set_epoch(lost.epoch);
  out.set_partition(lost.partition);
  put_ranges(lost.ranges, out.mutable_ranges());
  return bytes_of(replay);
}

std::string encode_tip(StreamName name, const TipMessage& tip) {
  v1::Tip out;
  put_name(name, out);
  out.set_at_us(unix_us(tip.at));
  for (const EpochTip& epoch : tip.epochs) {
    v1::EpochTip& item = *out.add_epochs();
    item.set_epoch(epoch.epoch);
    item.set_predecessor(epoch.predecessor);
    item.set_reason(static_cast<v1::EpochReason>(epoch.reason));
    item.mutable_last_seq()->Add(epoch.last_seq.begin(), epoch.last_seq.end());
    item.mutable_base_seq()->Add(epoch.base_seq.begin(), epoch.base_seq.end());
    item.mutable_dropped_through()->Add(epoch.dropped_through.begin(), epoch.dropped_through.end());
    for (const GroupStart& start : epoch.starts) {
      v1::GroupStart& group = *item.add_starts();
      group.set_group(start.group);
      group.mutable_first()->Add(start.first.begin(), start.first.end());
    }
  }
  return bytes_of(out);
}

std::string encode_ack(StreamName name, const AckMessage& ack) {
  v1::Ack out;
  put_name(name, out);
  out.set_group(ack.group);
  for (const PartitionAck& part : ack.partitions) {
    v1::PartitionAck& item = *out.add_partitions();
    item.set_epoch(part.epoch);
    item.set_partition(part.partition);
    item.set_cumulative(part.cumulative);
    item.set_highest(part.highest);
    put_ranges(part.missing, item.mutable_missing());
  }
  return bytes_of(out);
}

std::string encode_want(StreamName name, const WantMessage& want) {
  v1::Want out;
  put_name(name, out);
  out.set_group(want.group);
  for (const PartitionWant& part : want.partitions) {
    v1::PartitionWant& item = *out.add_partitions();
    item.set_epoch(part.epoch);
    item.set_partition(part.partition);
    put_ranges(part.ranges, item.mutable_ranges());
  }
  return bytes_of(out);
}

Decoded<RecordMessage> decode_record_message(StreamName name, std::string_view bytes) {
  static thread_local v1::Envelope envelope;
  if (!parse(bytes, envelope)) return Refused::kMalformed;
  return read(name, envelope);
}

Decoded<std::variant<RecordMessage, LostMessage>> decode_replay(StreamName name,
                                                                std::string_view bytes) {
  using Either = std::variant<RecordMessage, LostMessage>;
  static thread_local v1::Replay replay;
  if (!parse(bytes, replay)) return Refused::kMalformed;
  if (replay.has_record()) {
    Decoded<RecordMessage> record = read(name, *replay.mutable_record());
    if (const Refused* refused = std::get_if<Refused>(&record)) return *refused;
    return Either(std::move(*std::get_if<RecordMessage>(&record)));
  }
  if (!replay.has_lost()) return Refused::kMalformed;
  const v1::Lost& in = replay.lost();
  if (!is_of(name, in)) return Refused::kForeign;
  LostMessage lost;
  lost.epoch = in.epoch();
  lost.partition = in.partition();
  if (in.partition() >= kPartitions || !take_ranges(in.ranges(), kLostRangesMax, lost.ranges)) {
    return Refused::kMalformed;
  }
  return Either(std::move(lost));
}

Decoded<TipMessage> decode_tip(StreamName name, std::string_view bytes) {
  static thread_local v1::Tip in;
  if (!parse(bytes, in)) return Refused::kMalformed;
  if (!is_of(name, in)) return Refused::kForeign;
  if (!is_time(in.at_us())) return Refused::kMalformed;
  TipMessage tip;
  tip.at = wall_from_us(in.at_us());
  for (const v1::EpochTip& item : in.epochs()) {
    EpochTip& epoch = tip.epochs.emplace_back();
    epoch.epoch = item.epoch();
    epoch.predecessor = item.predecessor();
    epoch.reason = static_cast<EpochReason>(item.reason());
    if (item.epoch() == 0 || item.reason() < 0 ||
        item.reason() > static_cast<int>(EpochReason::kSpoolDamaged) ||
        !take_seqs(item.last_seq(), epoch.last_seq) ||
        !take_seqs(item.base_seq(), epoch.base_seq) ||
        static_cast<size_t>(item.starts_size()) > kGroupsMax) {
      return Refused::kMalformed;
    }
    if (item.dropped_through_size() > 0 &&
        !take_seqs(item.dropped_through(), epoch.dropped_through)) {
      return Refused::kMalformed;
    }
    for (uint32_t p = 0; p < kPartitions; ++p) {
      uint64_t base = epoch.base_seq[p];
      if (base == 0 || base > epoch.last_seq[p] + 1) return Refused::kMalformed;
    }
    for (const v1::GroupStart& group : item.starts()) {
      GroupStart& start = epoch.starts.emplace_back();
      start.group = group.group();
      if (!take_seqs(group.first(), start.first)) return Refused::kMalformed;
    }
  }
  return tip;
}

Decoded<AckMessage> decode_ack(StreamName name, std::string_view group, std::string_view bytes) {
  static thread_local v1::Ack in;
  if (!parse(bytes, in)) return Refused::kMalformed;
  if (!is_of(name, in) || in.group() != group) return Refused::kForeign;
  AckMessage ack;
  ack.group = in.group();
  for (const v1::PartitionAck& item : in.partitions()) {
    PartitionAck& part = ack.partitions.emplace_back();
    part.epoch = item.epoch();
    part.partition = item.partition();
    part.cumulative = item.cumulative();
    part.highest = item.highest();
    if (item.partition() >= kPartitions || item.cumulative() > item.highest() ||
        !take_ranges(item.missing(), kAckRangesPerMessage, part.missing)) {
      return Refused::kMalformed;
    }
  }
  return ack;
}

Decoded<WantMessage> decode_want(StreamName name, std::string_view group, std::string_view bytes) {
  static thread_local v1::Want in;
  if (!parse(bytes, in)) return Refused::kMalformed;
  if (!is_of(name, in) || in.group() != group) return Refused::kForeign;
  WantMessage want;
  want.group = in.group();
  for (const v1::PartitionWant& item : in.partitions()) {
    PartitionWant& part = want.partitions.emplace_back();
    part.epoch = item.epoch();
    part.partition = item.partition();
    if (item.partition() >= kPartitions ||
        !take_ranges(item.ranges(), kWantRangesPerMessage, part.ranges)) {
      return Refused::kMalformed;
    }
  }
  return want;
}

}  // namespace gema::stream
