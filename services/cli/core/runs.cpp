#include "services/cli/core/runs.h"

#include <algorithm>

#include "common/base/assert.h"
#include "services/cli/core/limits.h"

namespace gema::cli {

std::vector<Run> place(std::span<const int64_t> times, int64_t hour_ms, uint32_t step_ms,
                       int64_t tolerance_ms) {
  GEMA_ASSERT(step_ms > 0);
  std::vector<Run> runs;
  int64_t last = 0;  // slot of the current run
  for (size_t i = 0; i < times.size(); ++i) {
    const int64_t at = times[i];
    if (!runs.empty()) {
      Run& run = runs.back();
      const int64_t slot = (at - run.start_ms + step_ms / 2) / step_ms;
      const int64_t due = run.start_ms + slot * step_ms;
      const int64_t off = at > due ? at - due : due - at;
      if (slot > last && slot - last <= kHoleSlotsMax && off <= tolerance_ms &&
          due < hour_ms + kChunkSpanMs) {
        run.checks.push_back({i, static_cast<uint32_t>(slot)});
        last = slot;
        continue;
      }
    }
    runs.push_back({at, {{i, 0}}});
    last = 0;
  }
  return runs;
}

int64_t tolerance_of(uint32_t interval_ms) {
  return std::min<int64_t>(1'000, interval_ms / 10);
}

uint32_t median_spacing(std::vector<int64_t>& differences) {
  if (differences.empty()) return 0;
  const auto middle = differences.begin() + static_cast<std::ptrdiff_t>(differences.size() / 2);
  std::nth_element(differences.begin(), middle, differences.end());
  if (*middle > kSpacingMsMax || *middle < kIntervalMsMin) return 0;
  return static_cast<uint32_t>(*middle);
}

void ChunkBuilder::begin(DeviceId device, int64_t start_ms, uint32_t step_ms, uint32_t echoes) {
  device_ = device;
  start_ms_ = start_ms;
  step_ms_ = step_ms;
  echoes_ = std::max(echoes, 1U);
  samples_.clear();
  extra_.clear();
  strays_.clear();
}

void ChunkBuilder::add(const ResultView& result, uint32_t slot, std::span<const Stray> strays) {
  while (samples_.size() < size_t{slot} * echoes_) {
    samples_.push_back(samples_.size() % echoes_ == 0 ? kNoResult : kNoEcho);
  }
  writer_.add(result, slot);
  append_sample(result, slot, echoes_, samples_, extra_);
  for (Stray stray : strays) {
    stray.device = device_;
    stray.due_ms = start_ms_ + int64_t{slot} * step_ms_;
    strays_.push_back(stray);
  }
}

ChunkView ChunkBuilder::view() {
  for (const Stray& stray : strays_) writer_.add_stray(stray, start_ms_);
  strays_.clear();
  details_.clear();
  writer_.take(details_);
  return {.device = device_,
          .start_ms = start_ms_,
          .step_ms = step_ms_,
          .echoes = echoes_,
          .samples = samples_,
          .extra = extra_,
          .details = details_};
}

}  // namespace gema::cli
