#include "services/timeout-tracker/core/tracker.h"

#include <algorithm>

#include "common/base/assert.h"
#include "services/timeout-tracker/core/transition_id.h"

namespace gema::timeout_tracker {
namespace {

// Mean over every answered echo of a check, bursts included, as history computes it.
class RoundTrips {
 public:
  explicit RoundTrips(const PingResults& results) : results_(results) {}

  // Requires: called with rising i.
  uint32_t mean_us(size_t i) {
    uint64_t sum = 0;
    uint32_t answered = 0;
    for (uint32_t e = results_.echo_begin[i]; e < results_.echo_begin[i + 1]; ++e) {
      if (results_.echo_outcome[e] != EchoOutcome::kReply) continue;
      sum += results_.echo_rtt_us[e];
      ++answered;
    }
    while (burst_ < results_.burst.size() && results_.burst[burst_].index < i) ++burst_;
    for (; burst_ < results_.burst.size() && results_.burst[burst_].index == i; ++burst_) {
      for (const uint32_t rtt : results_.burst[burst_].rtt_us) sum += rtt;
      answered += static_cast<uint32_t>(results_.burst[burst_].rtt_us.size());
    }
    return answered == 0 ? 0 : static_cast<uint32_t>(sum / answered);
  }

 private:
  const PingResults& results_;
  size_t burst_ = 0;  // bursts come in the order of their results
};

bool possible(const RecordRef& record, const PingResults& results, size_t i) {
  return results.due_ms[i] > 0 && partition_of(results.device[i]) == record.partition &&
         is_slot(results.device[i], results.interval_ms[i], results.due_ms[i]);
}

int64_t latest_allowed_ms(Now now) {
  return unix_ms(now.wall + kFutureMax);
}

}  // namespace

size_t Tracker::set_catalogue(std::span<const DeviceId> devices) {
  has_catalogue_ = true;
  for (DeviceTable::Entry& entry : table_.entries()) entry.named = false;
  size_t refused = 0;
  for (const DeviceId device : devices) {
    const size_t known = table_.size();
    const uint32_t index = table_.find_or_add(device);
    if (index == DeviceTable::kNone) {
      ++refused;
      continue;
    }
    if (table_.size() > known) {
      table_[index].state.transition_counter = first_counter_;
      table_[index].touched = generation_;
    }
    table_[index].named = true;
  }
  return refused;
}

void Tracker::restore(const DeviceState& state, bool touch) {
  const bool known = table_.find(state.device) != DeviceTable::kNone;
  const uint32_t index = table_.find_or_add(state.device);
  if (index == DeviceTable::kNone) return;
  DeviceTable::Entry& entry = table_[index];
  const bool newer = !known || state.transition_counter > entry.state.transition_counter ||
                     (state.transition_counter == entry.state.transition_counter &&
                      state.last_slot_ms > entry.state.last_slot_ms);
  if (!newer) return;
  entry.state = from_device_state(state, names_);
  if (touch) entry.touched = generation_;
}

void Tracker::overlay(const Transition& transition, bool ahead) {
  const uint32_t index = table_.find_or_add(transition.device);
  if (index == DeviceTable::kNone) return;
  DeviceTable::Entry& entry = table_[index];
  if (transition.state.transition_counter <= entry.state.transition_counter) return;
  entry.state = from_device_state(transition.state, names_);
  entry.touched = generation_;
  entry.guarded = !transition.cause.producer.empty();
  if (entry.guarded) {
    guards_[index] = {transition.device, transition.cause, ahead};
  } else {
    guards_.erase(index);
  }
}

void Tracker::restore_guard(const Guarded& guarded) {
  const uint32_t index = table_.find(guarded.device);
  if (index == DeviceTable::kNone) return;
  table_[index].guarded = true;
  guards_[index] = guarded;
}

void Tracker::on_caught_up(std::string_view producer) {
  for (auto it = guards_.begin(); it != guards_.end();) {
    const bool done = it->second.cause.producer == producer;
    if (done) table_[it->first].guarded = false;
    it = done ? guards_.erase(it) : std::next(it);
  }
}

void Tracker::know_epoch(std::string_view producer, uint32_t partition, uint64_t epoch) {
  stream_of({.producer = producer, .partition = partition}).restored.push_back(epoch);
}

Tracker::Stream& Tracker::stream_of(const RecordRef& record) {
  GEMA_ASSERT(record.partition < kPartitions);
  auto found = streams_.find(record.producer);
  if (found == streams_.end()) {
    if (streams_.size() >= kProducersMax) streams_.erase(streams_.begin());
    found = streams_.emplace(std::string(record.producer), Streams{}).first;
  }
  return found->second[record.partition];
}

void Tracker::on_epoch_started(const RecordRef& record, bool clock_step) {
  Stream& stream = stream_of(record);
  if (stream.knows(record.epoch)) return;
  if (stream.begun.size() >= kEpochsPerStreamMax) stream.begun.erase(stream.begun.begin());
  stream.begun.push_back(record.epoch);
  if (clock_step) on_clock_step(record, stream);
}

// Slots measured on the clock that was wrong would hide those of the right one.
void Tracker::on_clock_step(const RecordRef& record, const Stream& stream) {
  const uint16_t producer = names_.number(record.producer);
  if (producer == 0) return;  // over kNamesMax: no state names it
  for (uint32_t i = 0; i < table_.size(); ++i) {
    DeviceTable::Entry& entry = table_[i];
    if (entry.state.last_prober != producer || entry.state.last_slot_ms == 0) continue;
    if (partition_of(entry.device) != record.partition) continue;
    if (entry.guarded) {  // a state after this step
      const Guarded& guard = guards_.at(i);
      if (guard.cause.epoch == record.epoch || still_to_come(guard, stream)) continue;
    }
    entry.state.last_slot_ms = 0;
    entry.touched = generation_;
  }
  for (auto it = set_aside_.begin(); it != set_aside_.end();) {
    const bool outdated =
        it->cause.producer == record.producer && it->cause.partition == record.partition;
    if (outdated) set_aside_results_ -= it->results.size();
    it = outdated ? set_aside_.erase(it) : it + 1;
  }
}

// Epochs come in order: as long as the cause's has not begun, everything is before it.
bool Tracker::still_to_come(const Guarded& guard, const Stream& stream) const {
  return guard.ahead && !stream.knows(guard.cause.epoch);
}

// True while the record lies before the cause of the transition that the state was read from
// (results of the cause's own record are told apart by their slots).
bool Tracker::contained(uint32_t index, const RecordRef& record, const Stream& stream) {
  const Guarded& guard = guards_.at(index);
  if (guard.cause.producer != record.producer) return false;
  if (guard.cause.epoch == record.epoch) {
    if (record.seq <= guard.cause.seq) return record.seq < guard.cause.seq;
  } else if (!guard.ahead || still_to_come(guard, stream)) {
    return guard.ahead;
  }
  guards_.erase(index);
  table_[index].guarded = false;
  return false;
}

bool Tracker::Stream::knows(uint64_t epoch) const {
  const auto in = [&](const std::vector<uint64_t>& epochs) {
    return std::find(epochs.rbegin(), epochs.rend(), epoch) != epochs.rend();
  };
  return in(begun) || in(restored);
}

BatchCounts Tracker::on_record(const RecordRef& record, const PingResults& results, Now now,
                               std::vector<Transition>& out) {
  const size_t n = results.size();
  int64_t newest = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!possible(record, results, i)) return {.impossible = static_cast<uint32_t>(n)};
    newest = std::max(newest, results.due_ms[i]);
  }
  if (newest > latest_allowed_ms(now)) return set_aside(record, results, newest);
  return apply(record, results, now, out);
}

BatchCounts Tracker::apply(const RecordRef& record, const PingResults& results, Now now,
                           std::vector<Transition>& out) {
  BatchCounts counts;
  const uint16_t location = names_.number(results.location);
  const uint16_t prober = names_.number(record.producer);
  const Stream& stream = stream_of(record);
  RoundTrips round_trips(results);
  for (size_t i = 0; i < results.size(); ++i) {
    const uint32_t index = table_.find(results.device[i]);
    if (index == DeviceTable::kNone || !table_[index].named) {
      ++counts.unnamed;
      continue;
    }
    DeviceTable::Entry& entry = table_[index];
    if (entry.guarded && contained(index, record, stream)) {
      ++counts.replayed;
      continue;
    }
    const bool answered = results.verdict[i] == Verdict::kAnswered;
    const Decision decision = decide(entry.state,
                                     {.slot_ms = results.due_ms[i],
                                      .verdict = results.verdict[i],
                                      .reason = results.reason[i],
                                      .rtt_us = answered ? round_trips.mean_us(i) : 0},
                                     policy_);
    if (decision.taken != Taken::kCounted) {
      ++(decision.taken == Taken::kLateSlot ? counts.late : counts.not_measured);
      continue;
    }
    ++counts.counted;
    counts.newest_slot_ms = std::max(counts.newest_slot_ms, results.due_ms[i]);
    entry.touched = generation_;
    entry.state.location = location;
    entry.state.last_prober = prober;
    if (decision.change) {
      emit(index, *decision.change, results.due_ms[i],
           {std::string(record.producer), record.epoch, record.partition, record.seq}, now, out);
    }
  }
  return counts;
}

BatchCounts Tracker::set_aside(const RecordRef& record, const PingResults& results,
                               int64_t newest_ms) {
  BatchCounts counts;
  if (results.size() > kSetAsideResultsMax) {
    counts.set_aside_dropped = static_cast<uint32_t>(results.size());
    return counts;
  }
  while (set_aside_results_ + results.size() > kSetAsideResultsMax) {
    counts.set_aside_dropped += static_cast<uint32_t>(set_aside_.front().results.size());
    set_aside_results_ -= set_aside_.front().results.size();
    set_aside_.pop_front();
  }
  set_aside_.push_back(
      {.cause = {std::string(record.producer), record.epoch, record.partition, record.seq},
       .results = results,
       .newest_ms = newest_ms});
  set_aside_results_ += results.size();
  counts.set_aside = static_cast<uint32_t>(results.size());
  return counts;
}

BatchCounts Tracker::tick(Now now, std::vector<Transition>& out) {
  BatchCounts total;
  const int64_t allowed = latest_allowed_ms(now);
  for (auto it = set_aside_.begin(); it != set_aside_.end();) {
    if (it->newest_ms > allowed) {
      ++it;
      continue;
    }
    const BatchCounts counts = apply({.producer = it->cause.producer,
                                      .epoch = it->cause.epoch,
                                      .partition = it->cause.partition,
                                      .seq = it->cause.seq},
                                     it->results, now, out);
    total.counted += counts.counted;
    total.late += counts.late;
    total.not_measured += counts.not_measured;
    total.unnamed += counts.unnamed;
    total.newest_slot_ms = std::max(total.newest_slot_ms, counts.newest_slot_ms);
    set_aside_results_ -= it->results.size();
    it = set_aside_.erase(it);
  }
  return total;
}

std::optional<MonoTime> Tracker::next_wakeup(Now now) const {
  if (set_aside_.empty()) return std::nullopt;
  int64_t earliest = set_aside_.front().newest_ms;
  for (const SetAside& record : set_aside_) earliest = std::min(earliest, record.newest_ms);
  const Duration wait = wall_from_ms(earliest) - kFutureMax - now.wall;
  // The wall clock may be set meanwhile: look again each second.
  return now.mono + std::clamp<Duration>(wait, 1ms, 1s);
}

void Tracker::emit(uint32_t index, const StatusChange& change, int64_t slot_ms, const Cause& cause,
                   Now now, std::vector<Transition>& out) {
  const DeviceTable::Entry& entry = table_[index];
  out.push_back({.id = transition_id(entry.device, entry.state.transition_counter),
                 .device = entry.device,
                 .from = change.from,
                 .to = change.to,
                 .reason = change.reason,
                 .slot_ms = slot_ms,
                 .decided_at = now.wall,
                 .state = to_device_state(entry.device, entry.state, names_.all()),
                 .cause = cause});
}

uint32_t Tracker::reset_timeouts(std::span<const DeviceId> devices, Now now,
                                 std::vector<Transition>& out) {
  uint32_t changed = 0;
  const auto reset = [&](uint32_t index) {
    const std::optional<StatusChange> change = reset_timeouts_of(index);
    if (!change) return;
    ++changed;
    emit(index, *change, table_[index].state.last_slot_ms, {}, now, out);
  };
  if (devices.empty()) {
    for (uint32_t i = 0; i < table_.size(); ++i) reset(i);
  }
  for (const DeviceId device : devices) {
    const uint32_t index = table_.find(device);
    if (index != DeviceTable::kNone) reset(index);
  }
  return changed;
}

std::optional<StatusChange> Tracker::reset_timeouts_of(uint32_t index) {
  DeviceTable::Entry& entry = table_[index];
  if (!entry.named) return std::nullopt;
  const std::optional<StatusChange> change = timeout_tracker::reset_timeouts(entry.state);
  if (change) entry.touched = generation_;
  return change;
}

StatesCopy Tracker::changed_after(uint32_t after) const {
  StatesCopy copy{.names = names_.all()};
  for (const DeviceTable::Entry& entry : table_.entries()) {
    if (after == 0 || entry.touched > after) copy.states.emplace_back(entry.device, entry.state);
  }
  for (const auto& [index, guard] : guards_) copy.guarded.push_back(guard);
  return copy;
}

std::vector<DeviceState> Tracker::named_states() const {
  std::vector<DeviceState> states;
  states.reserve(table_.size());
  for (const DeviceTable::Entry& entry : table_.entries()) {
    if (entry.named) states.push_back(to_device_state(entry.device, entry.state, names_.all()));
  }
  return states;
}

std::optional<DeviceState> Tracker::state_of(DeviceId device) const {
  const uint32_t index = table_.find(device);
  if (index == DeviceTable::kNone) return std::nullopt;
  return to_device_state(device, table_[index].state, names_.all());
}

std::array<size_t, 4> Tracker::devices_by_status() const {
  std::array<size_t, 4> count{};
  for (const DeviceTable::Entry& entry : table_.entries()) {
    if (entry.named) ++count[static_cast<size_t>(entry.state.status)];
  }
  return count;
}

size_t Tracker::devices_at_or_over(uint32_t timeouts) const {
  return static_cast<size_t>(std::count_if(
      table_.entries().begin(), table_.entries().end(), [&](const DeviceTable::Entry& entry) {
        return entry.named && entry.state.consecutive_timeouts >= timeouts;
      }));
}

TimeoutRows Tracker::timeouts() const {
  TimeoutRows rows;
  for (const DeviceTable::Entry& entry : table_.entries()) {
    const State& state = entry.state;
    if (!entry.named || state.consecutive_timeouts == 0) continue;
    rows.push_back({entry.device,
                    {state.consecutive_timeouts, state.first_timeout_ms, state.last_timeout_ms}});
  }
  return rows;
}

}  // namespace gema::timeout_tracker
