// The metrics of the timeout-tracker, named in one place (README.md lists them).
#pragma once

#include <array>

#include "common/base/time.h"
#include "common/observability/metrics.h"
#include "common/stream/consumer.h"
#include "common/stream/producer.h"
#include "services/timeout-tracker/core/tracker.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace gema::timeout_tracker {

class Instruments {
 public:
  explicit Instruments(obs::Metrics& metrics);

  void count(const BatchCounts& counts);
  void count_bad_record();
  void count_gap(uint64_t records);
  void count_transition(TransitionReason reason);
  void count_checkpoint(bool done, Duration took, size_t states);
  void count_rebuild();

  // Once a second.
  void show(const Tracker& tracker, uint32_t critical_threshold, Duration checkpoint_age,
            size_t unspooled, Now now);
  void show(const stream::ConsumerStats& stats);
  void show(const stream::ProducerStats& stats);

 private:
  std::array<prometheus::Gauge*, 4> devices_;
  std::array<prometheus::Counter*, 7> transitions_;  // by reason; [0] unused
  prometheus::Gauge* critical_;
  prometheus::Counter* counted_;
  prometheus::Counter* late_;
  prometheus::Counter* not_measured_;
  prometheus::Counter* unnamed_;
  prometheus::Counter* replayed_;
  prometheus::Counter* impossible_;
  prometheus::Counter* set_aside_total_;
  prometheus::Counter* set_aside_dropped_;
  prometheus::Gauge* set_aside_;
  prometheus::Counter* bad_records_;
  prometheus::Counter* gap_records_;
  prometheus::Counter* checkpoints_;
  prometheus::Counter* checkpoints_failed_;
  prometheus::Histogram* checkpoint_seconds_;
  prometheus::Gauge* checkpoint_states_;
  prometheus::Gauge* checkpoint_age_;
  prometheus::Counter* rebuilds_;
  prometheus::Gauge* lag_;
  prometheus::Gauge* outstanding_;
  prometheus::Gauge* stash_bytes_;
  prometheus::Gauge* unspooled_;
  prometheus::Gauge* spool_bytes_;
  prometheus::Gauge* spool_dropped_;
  prometheus::Gauge* unacknowledged_;
  int64_t newest_slot_ms_ = 0;
};

}  // namespace gema::timeout_tracker
