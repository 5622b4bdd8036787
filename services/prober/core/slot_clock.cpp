#include "services/prober/core/slot_clock.h"

#include <algorithm>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

Duration wall_minus_mono(Now now) {
  return now.wall.time_since_epoch() - now.mono.time_since_epoch();
}

Duration magnitude(Duration d) {
  return d < Duration::zero() ? -d : d;
}

}  // namespace

SlotClock::SlotClock(Now first)
    : offset_(wall_minus_mono(first)), wall_(offset_), last_(first.mono) {}

int64_t SlotClock::slot_ms(MonoTime at) const {
  return std::chrono::floor<std::chrono::milliseconds>(Duration(slot_ns(at))).count();
}

ClockEvent SlotClock::on_reading(Now now) {
  const Duration read = wall_minus_mono(now);
  const bool jumped = magnitude(read - wall_) >= kWallStepMin;
  if (jumped && !(suspicious_ && magnitude(read - *suspicious_) < kWallStepMin)) {
    suspicious_ = read;
    return ClockEvent::kNone;
  }
  suspicious_.reset();
  const Duration passed = std::max(now.mono - last_, Duration::zero());
  last_ = now.mono;
  wall_ = read;
  const Duration wrong = error();
  if (magnitude(wrong) > kStepMin) {
    offset_ = wall_;
    return ClockEvent::kStepped;
  }
  const Duration most = passed * kSlewPerMille / 1000;
  offset_ += std::clamp(wrong, -most, most);
  return jumped ? ClockEvent::kWallStepped : ClockEvent::kNone;
}

}  // namespace gema::prober
