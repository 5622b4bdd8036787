// Whether this prober may trust itself just now (§5).
//
// In: what happened in each short window, how the canaries do. Out: the cause of suspicion, or
// none. What follows from it is the engine's business (engine_guard.cpp).
#pragma once

#include <array>
#include <cstdint>

#include "common/base/time.h"
#include "common/domain/ping.h"

namespace gema::prober {

// Beyond one of these the prober is suspect. Shares are of a window's echoes (kSuspectWindow) and
// count from kSuspectCountMin on.
struct SuspectLimits {
  Duration lag = 1s;                  // between due and sent
  uint32_t send_errors_percent = 10;  // not those that are about one destination
  uint32_t socket_drops_percent = 1;  // replies dropped unread
};

class Suspect {
 public:
  explicit Suspect(SuspectLimits limits) : limits_(limits) {}

  struct Window {
    uint32_t lag_us = 0;  // the worst
    uint64_t sent = 0;
    uint64_t send_errors = 0;
    uint64_t socket_drops = 0;
  };
  // A cause found in a window lasts kSuspectLinger.
  void on_window(const Window& window, MonoTime now);
  // Most canaries that answered before do not.
  void on_canaries(bool failing) { canaries_failing_ = failing; }
  Suspicion cause(MonoTime now) const;

 private:
  const SuspectLimits limits_;
  std::array<MonoTime, kSuspicionMax + 1> until_{};
  bool canaries_failing_ = false;
};

}  // namespace gema::prober
