// A simulated world for streams: real producers (core, segment format, SpooledProducer) on
// simulated disks, real consumer cores in front of simulated databases, and a bus that loses,
// doubles, delays, reorders and is cut. One seed is one run, exactly.
//
// What must hold, per group (design, "Streams"): every record takes effect exactly once, or is
// announced as lost, never both; it is announced as lost only for a cause that was injected; the
// in-order group sees seqs in order; every queue is bounded; when the faults stop, all drains.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/time.h"

namespace gema::sim {

// Faults of our own making, to see that the simulator would notice. They are switches of the
// world's wiring; the code under test knows nothing of them.
enum class Plant {
  kNone,
  kAckBeforeDurable,  // the application acknowledges what it has not committed
  kReuseSeqs,         // a power cut is not told to the producer, which goes on with its epoch
  kSilentDrop,        // the application's full queue drops instead of pausing the consumer
};

// Drawn from the seed; printed before the run.
struct Rates {
  uint32_t loss_per_mille = 0;
  uint32_t duplicate_per_mille = 0;
  Duration delay_max{};        // each message its own: reordering
  Duration partition_every{};  // 0 = never; mean
  Duration partition_max{};
  Duration kill_every{};       // producer or application, any step; mean
  Duration power_cut_every{};  // of a producer's machine; mean
  uint32_t sync_fails_per_mille = 0;
  Duration disk_full_every{};
  Duration bit_flip_every{};
  Duration clock_step_every{};
  Duration database_away_every{};
  Duration failover_every{};   // database restored to an older state
  Duration consumer_absent{};  // at the start: the spool fills
  Duration hold{};
  uint64_t bytes_max = 0;
  uint64_t segment_bytes = 0;
  uint32_t records_per_second = 0;
  bool through_codec = false;  // messages travel as bytes
  bool things = false;         // some records are larger things, in parts

  std::string text() const;
};

struct RunOptions {
  uint64_t seed = 1;
  uint32_t records = 10'000;
  Plant plant = Plant::kNone;
  bool verbose = false;  // narrate on stdout
};

struct RunResult {
  Rates rates;
  std::vector<std::string> violations;  // empty = everything held
  uint64_t trace_hash = 0;              // of everything that happened
  uint64_t records = 0;
  uint64_t effects = 0;
  uint64_t announced_lost = 0;  // per group and record
  uint64_t power_cut_lost = 0;
  uint64_t replayed = 0;
  uint64_t epochs = 0;
  uint64_t kills = 0;
  uint64_t power_cuts = 0;
  uint64_t failovers = 0;
  Duration virtual_time{};
};

Rates draw_rates(uint64_t seed);
RunResult run_world(const RunOptions& options);

}  // namespace gema::sim
