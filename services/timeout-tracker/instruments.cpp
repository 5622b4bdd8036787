#include "services/timeout-tracker/instruments.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <algorithm>
#include <chrono>

namespace gema::timeout_tracker {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Instruments::Instruments(obs::Metrics& metrics) {
  for (size_t status = 0; status < devices_.size(); ++status) {
    devices_[status] = &metrics.gauge("devices", "Devices of the catalogue by status.",
                                      {{"status", to_string(static_cast<DeviceStatus>(status))}});
  }
  for (size_t reason = 1; reason < transitions_.size(); ++reason) {
    transitions_[reason] =
        &metrics.counter("transitions_total", "Transitions decided, by reason.",
                         {{"reason", to_string(static_cast<TransitionReason>(reason))}});
  }
  critical_ = &metrics.gauge("devices_critical", "Devices at or over critical_threshold timeouts.");
  const auto results = [&](const char* outcome) {
    return &metrics.counter("results_total", "Results read, by what became of them.",
                            {{"outcome", outcome}});
  };
  counted_ = results("counted");
  late_ = results("late slot");
  not_measured_ = results("not measured");
  unnamed_ = results("unknown device");
  replayed_ = results("already contained");
  impossible_ = results("impossible");
  set_aside_total_ = results("set aside");
  set_aside_dropped_ = results("set aside dropped");
  set_aside_ = &metrics.gauge("set_aside_results", "Results of the future that wait.");
  bad_records_ = &metrics.counter("bad_records_total", "Records that could not be decoded.");
  gap_records_ = &metrics.counter("gap_records_total", "Records announced as lost.");
  checkpoints_ =
      &metrics.counter("checkpoints_total", "Checkpoints by result.", {{"result", "done"}});
  checkpoints_failed_ =
      &metrics.counter("checkpoints_total", "Checkpoints by result.", {{"result", "failed"}});
  checkpoint_seconds_ =
      &metrics.histogram("checkpoint_seconds", "Time Redis took for a checkpoint.",
                         {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10});
  checkpoint_states_ = &metrics.gauge("checkpoint_states", "States in the last checkpoint.");
  checkpoint_age_ = &metrics.gauge("checkpoint_age_seconds",
                                   "Since the last checkpoint; acknowledgements wait as long.");
  rebuilds_ = &metrics.counter("rebuilds_total", "Times the states were rebuilt without Redis.");
  lag_ = &metrics.gauge("lag_seconds", "Age of the newest slot decided.");
  outstanding_ = &metrics.gauge("input_outstanding_records", "Known to exist and not read yet.");
  stash_bytes_ = &metrics.gauge("input_stash_bytes", "Records that wait for earlier ones.");
  unspooled_ = &metrics.gauge("unspooled_transitions", "Decided, and refused by the disk so far.");
  spool_bytes_ = &metrics.gauge("spool_bytes", "Own transitions on disk.");
  spool_dropped_ = &metrics.gauge("spool_dropped_records", "Dropped at the spool's bound.");
  unacknowledged_ = &metrics.gauge("spool_unacknowledged_records", "A group still owes them.");
}

void Instruments::count(const BatchCounts& counts) {
  counted_->Increment(counts.counted);
  const auto add = [](prometheus::Counter* counter, uint32_t by) {
    if (by > 0) counter->Increment(by);
  };
  add(late_, counts.late);
  add(not_measured_, counts.not_measured);
  add(unnamed_, counts.unnamed);
  add(replayed_, counts.replayed);
  add(impossible_, counts.impossible);
  add(set_aside_total_, counts.set_aside);
  add(set_aside_dropped_, counts.set_aside_dropped);
  newest_slot_ms_ = std::max(newest_slot_ms_, counts.newest_slot_ms);
}

void Instruments::count_bad_record() {
  bad_records_->Increment();
}
void Instruments::count_gap(uint64_t records) {
  gap_records_->Increment(static_cast<double>(records));
}
void Instruments::count_transition(TransitionReason reason) {
  transitions_[static_cast<size_t>(reason)]->Increment();
}

void Instruments::count_checkpoint(bool done, Duration took, size_t states) {
  (done ? checkpoints_ : checkpoints_failed_)->Increment();
  if (!done) return;
  checkpoint_seconds_->Observe(seconds(took));
  checkpoint_states_->Set(static_cast<double>(states));
}

void Instruments::count_rebuild() {
  rebuilds_->Increment();
}

void Instruments::show(const Tracker& tracker, uint32_t critical_threshold, Duration checkpoint_age,
                       size_t unspooled, Now now) {
  const auto by_status = tracker.devices_by_status();
  for (size_t status = 0; status < by_status.size(); ++status) {
    devices_[status]->Set(static_cast<double>(by_status[status]));
  }
  critical_->Set(static_cast<double>(tracker.devices_at_or_over(critical_threshold)));
  set_aside_->Set(static_cast<double>(tracker.set_aside_results()));
  checkpoint_age_->Set(seconds(checkpoint_age));
  unspooled_->Set(static_cast<double>(unspooled));
  if (newest_slot_ms_ > 0) lag_->Set(seconds(now.wall - wall_from_ms(newest_slot_ms_)));
}

void Instruments::show(const stream::ConsumerStats& stats) {
  outstanding_->Set(static_cast<double>(stats.outstanding));
  stash_bytes_->Set(static_cast<double>(stats.stash_bytes));
}

void Instruments::show(const stream::ProducerStats& stats) {
  spool_bytes_->Set(static_cast<double>(stats.spool_bytes));
  spool_dropped_->Set(static_cast<double>(stats.dropped));
  unacknowledged_->Set(static_cast<double>(stats.unacknowledged));
}

}  // namespace gema::timeout_tracker
