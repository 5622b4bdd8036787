#include "services/prober/core/suspect.h"

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

bool beyond(uint64_t n, uint64_t of, uint32_t percent) {
  return n >= kSuspectCountMin && n * 100 > of * percent;
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

}  // namespace gema::prober
