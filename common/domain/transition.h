// What the timeout-tracker knows about a device, and the changes it announces: values that the
// tracker emits and that history, alerts and the live view consume. common/codec/transition_codec.h
// turns them into bytes and back.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "common/base/time.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "common/domain/status.h"

namespace gema {

// All *_ms are slots or instants in Unix ms; 0 = there is none.
struct DeviceState {
  DeviceId device = 0;
  DeviceStatus status = DeviceStatus::kNew;
  uint32_t consecutive_timeouts = 0;
  int64_t first_timeout_ms = 0;  // slot of the first of them
  int64_t last_timeout_ms = 0;
  uint32_t consecutive_answers = 0;
  int64_t since_ms = 0;         // slot at which the status began
  int64_t last_success_ms = 0;  // 0 = never answered
  int64_t last_slot_ms = 0;     // slot of the last measured verdict
  Verdict last_verdict = Verdict::kNotMeasured;
  Reason last_reason = Reason::kNone;
  uint32_t last_rtt_us = 0;  // of the last answered check: mean of its answered echoes
  uint64_t transition_counter = 0;
  uint32_t failed_attempts = 0;  // failures while never successful
  bool ever_answered = false;
  std::string location;     // of the last verdict
  std::string last_prober;  // who measured it

  friend bool operator==(const DeviceState&, const DeviceState&) = default;
};

// The record whose verdict decided. Empty producer: a person did (kReset).
struct Cause {
  std::string producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t seq = 0;

  friend bool operator==(const Cause&, const Cause&) = default;
};

using TransitionId = std::array<uint8_t, 16>;

struct Transition {
  TransitionId id{};  // UUIDv5(device, counter); consumers take an id once
  DeviceId device = 0;
  DeviceStatus from = DeviceStatus::kNew;
  DeviceStatus to = DeviceStatus::kNew;
  TransitionReason reason = TransitionReason::kFirstAnswer;
  int64_t slot_ms = 0;  // of the deciding verdict
  WallTime decided_at{};
  DeviceState state;  // complete, after it
  Cause cause;

  friend bool operator==(const Transition&, const Transition&) = default;
};

}  // namespace gema
