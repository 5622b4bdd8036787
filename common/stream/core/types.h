// The words of a stream as plain values: what producer and consumer cores exchange. No protobuf
// (common/stream/codec.h converts), no clock, no file.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/slot.h"

namespace gema::stream {

// Inclusive at both ends. Valid when 0 < first <= last.
struct SeqRange {
  uint64_t first = 0;
  uint64_t last = 0;

  uint64_t size() const { return last - first + 1; }
  friend auto operator<=>(const SeqRange&, const SeqRange&) = default;
};

// Names one record for ever: seq is gapless from 1 per (producer, epoch, partition).
struct RecordKey {
  std::string producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t seq = 0;

  friend auto operator<=>(const RecordKey&, const RecordKey&) = default;
};

// Why an epoch began. The numbers are those of v1::EpochReason.
enum class EpochReason : uint8_t {
  kUnspecified = 0,
  kNewSpool = 1,       // the directory was empty
  kUncleanBoot = 2,    // the machine booted, and we had not stopped cleanly before
  kSyncFailed = 3,     // fdatasync failed: what the disk holds is unknown
  kAckBeyondLast = 4,  // a consumer knows seqs that we do not: our spool is older than it was
  kClockStep = 5,      // the wall clock stepped
  kSpoolDamaged = 6,   // the newest segment is damaged, or ends within a record
};
const char* to_string(EpochReason reason);

// Set on a record that is one part of a larger thing. The parts of a thing are consecutive seqs of
// one partition and epoch; it takes effect only when whole.
struct PartInfo {
  uint64_t id = 0;
  uint32_t index = 0;  // from 0
  uint32_t count = 0;
  uint64_t digest = 0;  // XXH64 (seed 0) of the whole

  friend bool operator==(const PartInfo&, const PartInfo&) = default;
};

// live/ and replay/: one record.
struct RecordMessage {
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t seq = 0;
  uint64_t base_seq = 0;  // oldest seq still held for this epoch and partition
  WallTime produced_at{};
  std::optional<PartInfo> part;
  std::string payload;
};

// A group that was added while the epoch was already there is owed nothing before `first`.
struct GroupStart {
  std::string group;
  std::vector<uint64_t> first;  // one per partition

  friend bool operator==(const GroupStart&, const GroupStart&) = default;
};

struct EpochTip {
  uint64_t epoch = 0;
  uint64_t predecessor = 0;  // 0 = none
  EpochReason reason = EpochReason::kUnspecified;
  std::vector<uint64_t> last_seq;         // one per partition; 0 = nothing appended
  std::vector<uint64_t> base_seq;         // one per partition; last_seq + 1 = nothing held
  std::vector<uint64_t> dropped_through;  // one per partition; dropped before all had acknowledged
  std::vector<GroupStart> starts;
};

// tip/, each second: every epoch still held, oldest first; the last one is the current.
struct TipMessage {
  WallTime at{};
  std::vector<EpochTip> epochs;
};

struct PartitionAck {
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t cumulative = 0;
  uint64_t highest = 0;
  std::vector<SeqRange> missing;
};
struct AckMessage {
  std::string group;
  std::vector<PartitionAck> partitions;
};

struct PartitionWant {
  uint64_t epoch = 0;
  uint32_t partition = 0;
  std::vector<SeqRange> ranges;
};
struct WantMessage {
  std::string group;
  std::vector<PartitionWant> partitions;
};

// replay/: seqs that cannot be read any more.
struct LostMessage {
  uint64_t epoch = 0;
  uint32_t partition = 0;
  std::vector<SeqRange> ranges;
};

}  // namespace gema::stream
