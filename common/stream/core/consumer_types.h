// What a consumer is told and what it tells its owner (see common/stream/consumer.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/stream/core/types.h"

namespace gema::stream {

enum class Order {
  kAny,      // each record as it comes (recorder)
  kInOrder,  // per producer and partition: seq after seq, epoch after epoch (tracker)
};

struct ConsumerOptions {
  std::string stream;
  std::string group;  // "recorder"; of an observer: any name, it is never sent
  Order order = Order::kAny;
  bool observer = false;               // never acknowledges, never asks; a gap is only reported
  std::vector<uint32_t> partitions;    // empty = all of them
  uint32_t producers_max = 1'024;      // further ones are ignored and counted
  uint32_t holes_max = 1'024;          // kAny, per partition: beyond, records are asked for again
  uint32_t window_records = 1'024;     // asked for at a time, per partition; kInOrder: also stashed
  uint64_t stash_bytes = 16ULL << 20;  // kInOrder and parts, all together: beyond, asked for again
  Duration ack_every = 100ms;
};

enum class GapReason : uint8_t {
  kDropped,      // the producer's byte bound was reached, or the record is no longer held
  kLost,         // the producer cannot read it any more
  kEpochClosed,  // the producer no longer lists the epoch
  kBrokenParts,  // parts of a larger thing of which others are lost, or whose digest is wrong
  kObserved,     // observers only: not received; take a snapshot
};
const char* to_string(GapReason reason);

struct Delivery {
  enum Kind : uint8_t {
    kRecord,        // apply `payload`
    kGap,           // `gap` of key's epoch and partition will never come; account for it
    kEpochStarted,  // records of key's epoch may follow in key.partition
    kEpochClosed,   // the producer no longer holds the epoch (gaps came before, if any)
  };
  Kind kind = kRecord;
  RecordKey key;               // of a larger thing: the seq of its last part
  SeqRange gap;                // kGap
  GapReason gap_reason{};      // kGap
  std::string payload;         // kRecord; of a larger thing: the whole
  WallTime produced_at{};      // kRecord
  EpochReason epoch_reason{};  // kEpochStarted
  uint64_t predecessor = 0;    // kEpochStarted
};

struct ConsumerStats {
  uint64_t delivered = 0;
  uint64_t duplicates = 0;
  uint64_t gap_seqs = 0;  // announced as lost
  uint64_t gaps = 0;
  uint64_t wanted = 0;         // seqs asked for
  uint64_t stash_refused = 0;  // beyond the stash or hole bound: asked for again
  uint64_t foreign = 0;        // envelope does not match its topic
  uint64_t malformed = 0;      // undecodable messages
  uint64_t unlisted = 0;       // records of epochs that no tip has named (yet, or any more)
  uint64_t stale_tips = 0;
  uint64_t producers_refused = 0;
  uint64_t quarantined = 0;
  uint64_t broken_parts = 0;  // larger things that could not be made whole
  uint64_t acks_sent = 0;
  uint64_t stashed = 0;      // records now
  uint64_t stash_bytes = 0;  // now
  uint64_t holes = 0;        // ranges missing now
  uint64_t outstanding = 0;  // seqs known to exist and not delivered, now
};

// What is known to exist at a producer and has not been delivered.
struct Outstanding {
  uint64_t records = 0;
  Duration tip_age{};  // how long the producer has been silent
};

}  // namespace gema::stream
