// The checkpoint in Redis: two hashes, replaced in one MULTI/EXEC.
//   gema:timeout-tracker:checkpoint   format, id, at_us, states (their number), input, own, guarded
//   gema:timeout-tracker:states       device id -> serialised gema.v1.DeviceState
// `input`: the positions of the ping stream that the states include; `own`: the transitions that
// they include; `guarded`: a serialised gema.v1.GuardedDevices. Thread: the Redis worker's; calls
// block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/transition.h"
#include "common/redis/client.h"
#include "common/stream/core/position_set.h"
#include "services/timeout-tracker/core/checkpoint_cycle.h"
#include "services/timeout-tracker/core/tracker.h"

namespace gema::timeout_tracker {

struct Checkpoint {
  std::string id;
  WallTime at{};
  stream::PositionSet input;
  stream::PositionSet own;
  std::vector<DeviceState> states;
  std::vector<Guarded> guarded;
};

struct CheckpointWrite {
  CheckpointPlan plan;
  WallTime at{};
  stream::PositionSet input;
  stream::PositionSet own;
  StatesCopy states;          // all, or those changed since plan.base
  uint64_t states_total = 0;  // how many Redis then holds
};

enum class Written {
  kDone,
  kBaseLost,  // plan.base is not there any more; nothing was written
};

class CheckpointStore {
 public:
  explicit CheckpointStore(redis::Options options) : redis_(std::move(options)) {}

  // An error: it may or may not have taken effect, the next plan's base will tell.
  Result<Written> write(const CheckpointWrite& checkpoint);

  // nullopt: Redis holds none (empty). kBadInput: it holds something that is no checkpoint. Other
  // errors: could not be asked.
  Result<std::optional<Checkpoint>> load();

 private:
  Result<bool> holds(const std::string& id);  // and watches it

  redis::Client redis_;
};

}  // namespace gema::timeout_tracker
