// Outages of an imported past: the transitions that its checks imply, for a device of one location.
// Down after so many failed checks in a row, up with the first answer; not measured neither adds
// nor ends. They carry counters below zero, by rising time, so that they never count as the
// tracker's own; ids are UUIDv5 of device, slot and status, so the same past gives the same ids.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/domain/chunk.h"
#include "common/domain/transition.h"

namespace gema::cli {

class OutageMaker {
 public:
  OutageMaker(DeviceId device, uint32_t down_after, std::string producer, std::string location);

  // By rising `due_ms`. Returns: the transition that this check makes.
  std::optional<Transition> take(int64_t due_ms, const ResultView& result);
  // What was imported ends: an outage that is still open ends at `end_ms`, not known how.
  std::optional<Transition> finish(int64_t end_ms);

 private:
  Transition make(DeviceStatus to, TransitionReason reason, int64_t due_ms);

  const uint32_t down_after_;
  DeviceState state_;
};

// The counter of a transition that was made of imported checks; below zero.
int64_t imported_counter(int64_t slot_ms);

}  // namespace gema::cli
