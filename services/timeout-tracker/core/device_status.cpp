#include "services/timeout-tracker/core/device_status.h"

#include <limits>

namespace gema::timeout_tracker {
namespace {

void count(uint32_t& counter) {
  if (counter != std::numeric_limits<uint32_t>::max()) ++counter;
}

// The table of the header, for a state whose counts are up to date.
std::optional<StatusChange> change_of(const State& state, const Policy& policy) {
  switch (state.status) {
    case DeviceStatus::kNew:
    case DeviceStatus::kUnknown:
      if (state.ever_answered) {
        return StatusChange{state.status, DeviceStatus::kUp, TransitionReason::kFirstAnswer};
      }
      if (state.status == DeviceStatus::kNew && state.failed_attempts >= policy.unknown_after) {
        return StatusChange{state.status, DeviceStatus::kUnknown, TransitionReason::kNeverAnswered};
      }
      return std::nullopt;
    case DeviceStatus::kUp:
      if (state.consecutive_timeouts >= policy.down_after) {
        return StatusChange{state.status, DeviceStatus::kDown, TransitionReason::kFailuresInARow};
      }
      return std::nullopt;
    case DeviceStatus::kDown:
      if (state.consecutive_answers >= policy.up_after) {
        return StatusChange{state.status, DeviceStatus::kUp, TransitionReason::kAnsweredAgain};
      }
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Decision decide(State& state, const Outcome& outcome, const Policy& policy) {
  if (outcome.verdict == Verdict::kNotMeasured) return {Taken::kNotMeasured, std::nullopt};
  if (outcome.slot_ms <= state.last_slot_ms) return {Taken::kLateSlot, std::nullopt};
  state.last_slot_ms = outcome.slot_ms;
  state.last_verdict = outcome.verdict;
  state.last_reason = outcome.reason;
  if (outcome.verdict == Verdict::kAnswered) {
    count(state.consecutive_answers);
    state.consecutive_timeouts = 0;
    state.first_timeout_ms = 0;
    state.last_timeout_ms = 0;
    state.failed_attempts = 0;
    state.last_success_ms = outcome.slot_ms;
    state.last_rtt_us = outcome.rtt_us;
    state.ever_answered = true;
  } else {
    count(state.consecutive_timeouts);
    if (state.consecutive_timeouts == 1) state.first_timeout_ms = outcome.slot_ms;
    state.last_timeout_ms = outcome.slot_ms;
    state.consecutive_answers = 0;
    if (!state.ever_answered) count(state.failed_attempts);
  }
  const std::optional<StatusChange> change = change_of(state, policy);
  if (change) {
    state.status = change->to;
    state.since_ms = outcome.slot_ms;
    ++state.transition_counter;
  }
  return {Taken::kCounted, change};
}

std::optional<StatusChange> reset_timeouts(State& state) {
  if (state.consecutive_timeouts == 0) return std::nullopt;
  state.consecutive_timeouts = 0;
  state.first_timeout_ms = 0;
  state.last_timeout_ms = 0;
  ++state.transition_counter;
  return StatusChange{state.status, state.status, TransitionReason::kReset};
}

}  // namespace gema::timeout_tracker
