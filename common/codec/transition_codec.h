// Transition and DeviceState to bytes (gema.v1.Transition, gema.v1.DeviceState) and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/transition.h"

namespace gema {

// Replaces `out`.
void encode_transition(const Transition& transition, std::string& out);

// Fails with kBadInput, naming the rule, on bytes that are no Transition, enumerators out of range,
// or a state that is not the transition's device's.
Result<Transition> decode_transition(std::string_view bytes);

// Replaces `out`.
void encode_state(const DeviceState& state, std::string& out);
Result<DeviceState> decode_state(std::string_view bytes);

// A tracker's answer to "state.snapshot".
struct StateSnapshot {
  struct Position {
    std::string producer;
    uint64_t epoch = 0;
    uint32_t partition = 0;
    uint64_t seq = 0;  // the states include everything up to here

    friend bool operator==(const Position&, const Position&) = default;
  };
  std::vector<DeviceState> states;  // of every device of the catalogue
  std::vector<Position> positions;
  bool timeout_tracking_enabled =
      true;  // what the timeout routes show; statuses never depend on it
  uint32_t critical_threshold = 5;
  // Where timeout_tracking.csv is, as configured (a relative path lies in DIR); "" = there is none.
  std::string timeouts_file;

  friend bool operator==(const StateSnapshot&, const StateSnapshot&) = default;
};

void encode_snapshot(const StateSnapshot& snapshot, std::string& out);
Result<StateSnapshot> decode_snapshot(std::string_view bytes);

// Bodies of "timeouts.reset": which devices (empty = all), and how many had timeouts.
std::string encode_timeouts_reset(const std::vector<DeviceId>& devices);
Result<std::vector<DeviceId>> decode_timeouts_reset(std::string_view bytes);
std::string encode_timeouts_reset_reply(uint32_t reset);
Result<uint32_t> decode_timeouts_reset_reply(std::string_view bytes);

// "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", lower case.
std::string to_string(const TransitionId& id);

}  // namespace gema
