#include "services/timeout-tracker/core/device_table.h"

namespace gema::timeout_tracker {

uint16_t Names::number(std::string_view name) {
  // A handful of names, looked up once per batch: a scan is the fastest map.
  for (size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) return static_cast<uint16_t>(i);
  }
  if (names_.size() >= kNamesMax) return 0;
  names_.emplace_back(name);
  return static_cast<uint16_t>(names_.size() - 1);
}

DeviceState to_device_state(DeviceId device, const State& state,
                            const std::vector<std::string>& names) {
  return {.device = device,
          .status = state.status,
          .consecutive_timeouts = state.consecutive_timeouts,
          .first_timeout_ms = state.first_timeout_ms,
          .last_timeout_ms = state.last_timeout_ms,
          .consecutive_answers = state.consecutive_answers,
          .since_ms = state.since_ms,
          .last_success_ms = state.last_success_ms,
          .last_slot_ms = state.last_slot_ms,
          .last_verdict = state.last_verdict,
          .last_reason = state.last_reason,
          .last_rtt_us = state.last_rtt_us,
          .transition_counter = state.transition_counter,
          .failed_attempts = state.failed_attempts,
          .ever_answered = state.ever_answered,
          .location = names[state.location],
          .last_prober = names[state.last_prober]};
}

State from_device_state(const DeviceState& state, Names& names) {
  return {.first_timeout_ms = state.first_timeout_ms,
          .last_timeout_ms = state.last_timeout_ms,
          .since_ms = state.since_ms,
          .last_success_ms = state.last_success_ms,
          .last_slot_ms = state.last_slot_ms,
          .transition_counter = state.transition_counter,
          .consecutive_timeouts = state.consecutive_timeouts,
          .consecutive_answers = state.consecutive_answers,
          .failed_attempts = state.failed_attempts,
          .last_rtt_us = state.last_rtt_us,
          .location = names.number(state.location),
          .last_prober = names.number(state.last_prober),
          .status = state.status,
          .last_verdict = state.last_verdict,
          .last_reason = state.last_reason,
          .ever_answered = state.ever_answered};
}

DeviceTable::DeviceTable() : slots_(64, kNone), mask_(63) {}

uint32_t DeviceTable::find_or_add(DeviceId device) {
  const uint32_t found = find(device);
  if (found != kNone) return found;
  if (entries_.size() >= kDevicesMax) return kNone;
  entries_.push_back({.device = device});
  if (entries_.size() * 2 > slots_.size()) {
    slots_.assign(slots_.size() * 2, kNone);
    mask_ = slots_.size() - 1;
    for (uint32_t i = 0; i + 1 < entries_.size(); ++i) insert(i);
  }
  const auto index = static_cast<uint32_t>(entries_.size() - 1);
  insert(index);
  return index;
}

void DeviceTable::insert(uint32_t index) {
  uint64_t at = hash(entries_[index].device) & mask_;
  while (slots_[at] != kNone) at = (at + 1) & mask_;
  slots_[at] = index;
}

}  // namespace gema::timeout_tracker
