#include "services/prober/core/suspect.h"

#include <algorithm>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

bool beyond(uint64_t n, uint64_t of, uint32_t percent) {
  return n >= kSuspectCountMin && n * 100 > of * percent;
}

int64_t second_of(MonoTime t) {
  return t.time_since_epoch() / 1s;
}

}  // namespace

void Suspect::on_window(const Window& window, MonoTime now) {
  auto found = [&](Suspicion cause) { until_[static_cast<size_t>(cause)] = now + kSuspectLinger; };
  if (std::chrono::microseconds(window.lag_us) > limits_.lag) found(Suspicion::kLag);
  if (beyond(window.send_errors, window.sent + window.send_errors, limits_.send_errors_percent)) {
    found(Suspicion::kSendErrors);
  }
  if (beyond(window.socket_drops, window.sent, limits_.socket_drops_percent)) {
    found(Suspicion::kSocketDrops);
  }
}

Suspicion Suspect::cause(MonoTime now) const {
  if (canaries_failing_) return Suspicion::kCanaries;
  for (const Suspicion cause : {Suspicion::kSocketDrops, Suspicion::kSendErrors, Suspicion::kLag}) {
    if (now < until_[static_cast<size_t>(cause)]) return cause;
  }
  return Suspicion::kNone;
}

void Suspect::forget_lost(int64_t second) {
  if (second - second_ >= kSeconds) {
    lost_until_ = {};
    lost_ = 0;
  }
  for (second_ = std::max(second_, second - kSeconds); second_ < second; ++second_) {
    uint32_t& gone = lost_until_[static_cast<size_t>((second_ + 1) % kSeconds)];
    lost_ -= gone;
    gone = 0;
  }
}

void Suspect::on_lost(uint32_t interval_ms, MonoTime now) {
  const int64_t second = second_of(now);
  forget_lost(second);
  const Duration counts =
      std::min<Duration>(std::chrono::milliseconds(interval_ms), kLostIntervalMax);
  const int64_t until = std::max(second_of(now + counts), second) + 1;
  ++lost_until_[static_cast<size_t>(until % kSeconds)];
  ++lost_;
}

bool Suspect::share_lost(uint32_t answering, MonoTime now) {
  forget_lost(second_of(now));
  return uint64_t{lost_} * 100 > (uint64_t{answering} + lost_) * kLostSharePercent;
}

}  // namespace gema::prober
