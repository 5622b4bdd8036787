// Outages of an imported past: the transitions that its checks imply. Down after so many failed
// checks in a row, up with the first answer; not measured neither adds nor ends. As in the
// timeout-tracker a device has one state, whatever the locations that measure it: of a slot one
// check counts, and while one location reaches the device another's failures say nothing.
//
// Transitions carry counters below zero, by rising time, so that they never count as the tracker's
// own; ids are UUIDv5 of device, slot and status, so the same past gives the same ids. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/domain/ping.h"
#include "common/domain/transition.h"

namespace gema::cli {

struct OutageCheck {
  int64_t due_ms = 0;
  uint32_t interval_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;
  std::string location;
  std::string prober;
};

// Sorts by slot; of each slot an answered check stays, else a failed one, else none.
void keep_one_of_each_slot(std::vector<OutageCheck>& checks);

class OutageMaker {
 public:
  OutageMaker(DeviceId device, uint32_t down_after);

  // Goes on from what was told of the time before. Requires: nothing was taken yet.
  void resume(DeviceState state);
  // A check whose transitions are told already: it only counts.
  void prime(const OutageCheck& check);
  // By rising slot. Returns: the transition that this check makes.
  std::optional<Transition> take(const OutageCheck& check);
  // Nothing more is known: an outage that is still open ends at `end_ms`, not known how.
  std::optional<Transition> finish(int64_t end_ms);

  const DeviceState& state() const { return state_; }
  // When the next check of the last one's interval would have been due; 0: there was none.
  int64_t end_ms() const { return end_ms_; }

 private:
  bool count(const OutageCheck& check);
  Transition make(DeviceStatus to, TransitionReason reason, int64_t due_ms);

  struct Answer {
    int64_t due_ms = 0;
    uint32_t interval_ms = 0;
  };

  const uint32_t down_after_;
  DeviceState state_;
  int64_t end_ms_ = 0;
  std::map<std::string, Answer, std::less<>> answers_;  // the last of each location
};

// The counter of a transition that was made of imported checks; below zero.
int64_t imported_counter(int64_t slot_ms);

}  // namespace gema::cli
