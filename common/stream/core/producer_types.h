// What a producer tells its owner about itself (see common/stream/producer.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"
#include "common/stream/core/types.h"

namespace gema::stream {

struct ProducerStats {
  uint64_t spool_bytes = 0;
  uint64_t spool_bytes_max = 0;
  uint64_t segments = 0;
  uint64_t records_held = 0;
  uint64_t appended = 0;          // since start
  uint64_t append_failed = 0;     // the disk refused
  uint64_t append_refused = 0;    // too large, bad partition
  uint64_t dropped = 0;           // at the byte bound, before every group had acknowledged
  uint64_t corrupt = 0;           // records found unreadable
  uint64_t corrupt_segments = 0;  // set aside
  uint64_t store_failures = 0;    // files that could not be made, removed or rewritten
  uint64_t replayed = 0;
  uint64_t answered_lost = 0;     // seqs
  uint64_t live_skipped = 0;      // live queue full: those arrive by replay
  uint64_t wants_refused = 0;     // too many ranges at once: asked again later
  uint64_t messages_refused = 0;  // undecodable, foreign, unknown group or epoch
  uint64_t sync_failures = 0;
  uint64_t epochs_begun = 0;
  uint64_t epoch = 0;
  uint64_t unacknowledged = 0;  // records some group still owes us
  WallTime last_appended_at{};  // newest record in the spool (also after a restart); 0 = none
};

// Something people should hear of; the owner logs it.
struct ProducerEvent {
  enum class Kind { kEpochBegan, kDropped, kCorrupt, kSyncFailed, kTailTruncated };
  Kind kind{};
  uint64_t epoch = 0;
  EpochReason reason{};    // kEpochBegan
  uint32_t partition = 0;  // kDropped, kCorrupt
  SeqRange range;          // kDropped, kCorrupt
  std::string text;        // one sentence
};

// A record read back from the spool. `payload` is valid only during the call that hands it out.
struct Spooled {
  RecordKey key;
  WallTime produced_at{};
  std::optional<PartInfo> part;
  std::string_view payload;
};

}  // namespace gema::stream
