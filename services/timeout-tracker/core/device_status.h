// Where it is decided that a device is down: one function from (state, verdict, policy) to the new
// state and the change of status it means, with its reason.
//
//   New ──answer──> Up ──down_after failures──> Down
//    │               ^                            │
//    │               ├────up_after answers────────┘
//    └─unknown_after failures─> Unknown ──answer──> Up
//
// Decided by slot, never by arrival: a verdict for a slot at or before the last decided one changes
// nothing (so the first content of a slot counts), and what was not measured neither adds to nor
// resets a count. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "common/domain/ping.h"
#include "common/domain/status.h"

namespace gema::timeout_tracker {

struct Policy {
  uint32_t down_after = 3;     // failed verdicts in a row: Up -> Down
  uint32_t up_after = 1;       // answered verdicts in a row: Down -> Up
  uint32_t unknown_after = 4;  // failed verdicts of a device that never answered: New -> Unknown

  friend bool operator==(const Policy&, const Policy&) = default;
};

// A device's state without its names (device_table.h has them); see domain DeviceState. Slots are
// positive Unix ms; 0 = none. 88 bytes: 100,000 devices fit a second-level cache's reach.
struct State {
  int64_t first_timeout_ms = 0;
  int64_t last_timeout_ms = 0;
  int64_t since_ms = 0;
  int64_t last_success_ms = 0;
  int64_t last_slot_ms = 0;
  uint64_t transition_counter = 0;
  uint32_t consecutive_timeouts = 0;
  uint32_t consecutive_answers = 0;
  uint32_t failed_attempts = 0;
  uint32_t last_rtt_us = 0;
  uint16_t location = 0;
  uint16_t last_prober = 0;
  DeviceStatus status = DeviceStatus::kNew;
  Verdict last_verdict = Verdict::kNotMeasured;
  Reason last_reason = Reason::kNone;
  bool ever_answered = false;

  friend bool operator==(const State&, const State&) = default;
};

struct Outcome {
  int64_t slot_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;  // of an answered check
};

struct StatusChange {
  DeviceStatus from = DeviceStatus::kNew;
  DeviceStatus to = DeviceStatus::kNew;
  TransitionReason reason = TransitionReason::kFirstAnswer;

  friend bool operator==(const StatusChange&, const StatusChange&) = default;
};

// What became of a verdict.
enum class Taken : uint8_t {
  kCounted,      // the state moved on
  kLateSlot,     // at or before the last decided slot: nothing changed
  kNotMeasured,  // nothing changed
};

struct Decision {
  Taken taken = Taken::kCounted;
  std::optional<StatusChange> change;

  friend bool operator==(const Decision&, const Decision&) = default;
};

// Applies one verdict. Names (location, last_prober) are the caller's to set when kCounted.
Decision decide(State& state, const Outcome& outcome, const Policy& policy);

// A person sets the counters back: timeouts, and answers towards a recovery. The status stays.
// Returns: whether anything changed; if so the change is a transition of its own (kReset).
std::optional<StatusChange> reset_timeouts(State& state);

}  // namespace gema::timeout_tracker
