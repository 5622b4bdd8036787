// Puts the counts of lanes, chunker and compactor into the process' metrics, once a second.
#pragma once

#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/observability/metrics.h"
#include "services/recorder/io/chunker.h"
#include "services/recorder/io/compactor.h"
#include "services/recorder/io/lane.h"

namespace gema::recorder {

// A counter that follows a number which only rises.
class Following {
 public:
  Following(prometheus::Counter& counter) : counter_(&counter) {}
  void follow(double value);

 private:
  prometheus::Counter* counter_;
  double last_ = 0;
};

class LaneMetrics {
 public:
  LaneMetrics(obs::Metrics& metrics, const std::string& stream);
  void update(const Lane& lane, Now now);

 private:
  Following records_, results_, discarded_, quarantined_, refused_, set_aside_total_, gaps_,
      gap_records_, commits_, commit_failures_, conflicts_, hot_rows_, hot_bytes_, taken_in_,
      duplicates_, wanted_, address_changes_;
  prometheus::Gauge &pending_bytes_, &pending_records_, &paused_, &set_aside_, &lag_, &outstanding_;
};

class ChunkerMetrics {
 public:
  explicit ChunkerMetrics(obs::Metrics& metrics);
  void update(const Chunker& chunker);

 private:
  Following runs_, failures_, hot_rows_, chunks_, results_, doubled_, discarded_, undecodable_,
      refused_, hot_leaves_, trimmed_, addresses_, gaps_, transitions_, epochs_, refused_dropped_,
      strays_, seconds_;
  prometheus::Gauge& last_seconds_;
};

class CompactorMetrics {
 public:
  explicit CompactorMetrics(obs::Metrics& metrics);
  void update(const Compactor& compactor);

 private:
  obs::Metrics& metrics_;
  Following hours_, late_hours_, days_, rows_, results_, doubled_, packed_bytes_, rollup_bytes_,
      broken_, refused_, failures_, seconds_, chunk_leaves_, recent_leaves_, leaves_;
  prometheus::Gauge &pending_, &dirty_, &lag_, &broken_rows_, &refused_records_;
};

}  // namespace gema::recorder
