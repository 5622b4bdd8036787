#include "services/timeout-tracker/core/checkpoint_cycle.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/assert.h"

namespace gema::timeout_tracker {

CheckpointPlan CheckpointCycle::begin(Now now, uint32_t generation) {
  GEMA_ASSERT(!under_way_);
  begun_ = now.mono;
  under_way_ = {.id = fmt::format("{:016x}-{}", nonce_, ++number_), .generation = generation};
  return {
      .id = under_way_->id, .base = base_, .changed_after = base_.empty() ? 0 : base_generation_};
}

void CheckpointCycle::succeeded(Now now) {
  GEMA_ASSERT(under_way_);
  base_ = under_way_->id;
  base_generation_ = under_way_->generation;
  under_way_.reset();
  last_success_ = now.mono;
  // From begin to begin; a checkpoint slower than the interval leaves the worker half its time.
  due_ = std::max(begun_ + interval_, now.mono + (now.mono - begun_));
}

void CheckpointCycle::base_lost(Now now) {
  GEMA_ASSERT(under_way_);
  under_way_.reset();
  base_.clear();
  base_generation_ = 0;
  due_ = now.mono;
}

void CheckpointCycle::failed(Now now) {
  GEMA_ASSERT(under_way_);
  under_way_.reset();
  due_ = now.mono + std::min(interval_, kCheckpointRetry);
}

}  // namespace gema::timeout_tracker
