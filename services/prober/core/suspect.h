// Whether this prober may trust itself just now (§5), and whether so many devices fell silent at
// once that it should ask its canaries first.
//
// In: what happened in each short window, how canaries do, which devices were lost. Out: the cause
// of suspicion, or none. What follows from it is the engine's business.
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

  // A device that answered before has failed.
  void on_lost(uint32_t interval_ms, MonoTime now);
  // More than 30 % of the devices that answered were lost within one interval of theirs (at most a
  // minute). `answering`: how many still do.
  bool share_lost(uint32_t answering, MonoTime now);

 private:
  static constexpr int64_t kSeconds = 64;
  void forget_lost(int64_t second);

  const SuspectLimits limits_;
  std::array<MonoTime, kSuspicionMax + 1> until_{};
  bool canaries_failing_ = false;

  std::array<uint32_t, kSeconds> lost_until_{};  // by the second in which they cease to count
  uint32_t lost_ = 0;
  int64_t second_ = 0;  // all up to here are forgotten
};

}  // namespace gema::prober
