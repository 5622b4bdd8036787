// When to checkpoint, what goes into it, and what may be let go of afterwards. The order is the
// promise: transitions are in the spool and synced before the checkpoint that follows from them,
// and input is acknowledged only after the checkpoint that contains it. Pure.
//
//   begin() -> the shell syncs the spool, copies states and positions, hands them to the worker
//   succeeded() -> the shell acknowledges the positions of that checkpoint and lets go of its
//                  transitions
//   base_lost() -> Redis no longer holds the checkpoint that this one builds upon: all states again
//   failed()    -> nothing was let go of; again after kCheckpointRetry, same base
//
// One is under way at a time. Whether a failed one took effect does not matter: then Redis holds an
// id that is not the base, and the next attempt is told base_lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/time.h"
#include "services/timeout-tracker/core/limits.h"

namespace gema::timeout_tracker {

struct CheckpointPlan {
  std::string id;
  std::string
      base;  // id of the checkpoint that must still be there; empty: this one has all states
  uint32_t changed_after = 0;  // generation (see Tracker::changed_after); 0 = all

  bool full() const { return base.empty(); }
};

class CheckpointCycle {
 public:
  // `nonce` makes ids of this run unlike those of any other. The first checkpoint has all states.
  CheckpointCycle(Duration interval, uint64_t nonce, Now started)
      : interval_(interval), nonce_(nonce), due_(started.mono), last_success_(started.mono) {}

  bool due(Now now) const { return !under_way_ && now.mono >= due_; }
  std::optional<MonoTime> next_wakeup() const {
    return under_way_ ? std::nullopt : std::optional(due_);
  }

  // Requires: due(), or nothing under way (a last one at a clean stop). `generation`: the one that
  // ends with this checkpoint.
  CheckpointPlan begin(Now now, uint32_t generation);

  // Requires: one is under way.
  void succeeded(Now now);
  void base_lost(Now now);
  void failed(Now now);

  bool under_way() const { return under_way_.has_value(); }
  Duration age(Now now) const {
    return now.mono - last_success_;
  }  // since the last success, or the start

 private:
  struct UnderWay {
    std::string id;
    uint32_t generation = 0;
  };

  const Duration interval_;
  const uint64_t nonce_;
  uint64_t number_ = 0;
  MonoTime due_;
  MonoTime begun_;
  MonoTime last_success_;
  std::optional<UnderWay> under_way_;
  std::string base_;  // the last that succeeded
  uint32_t base_generation_ = 0;
};

}  // namespace gema::timeout_tracker
