// The time that slots are on: CLOCK_BOOTTIME anchored to the wall clock, and when it may not be
// trusted (§4).
//
// In: readings of both clocks. Out: what changed. Slot time never goes back and never jumps without
// saying so. An error of up to 2 s against the wall clock is slewed away, by at most 1 % of the
// time that passes; a larger one is a step: the caller ends its epoch and begins anew.
//
// CLOCK_REALTIME - CLOCK_BOOTTIME is constant unless somebody sets the clock (NTP's slewing moves
// both alike), so any jump of it is a step of the wall clock, and spoils the round trip times that
// are measured from one clock to the other across it.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/time.h"

namespace gema::prober {

enum class ClockEvent : uint8_t {
  kNone,
  kWallStepped,  // by up to 2 s: samples in flight are not measured; slot time slews
  kStepped,      // by more: slot time jumped; the stream begins a new epoch
};

class SlotClock {
 public:
  explicit SlotClock(Now first);

  // Requires: readings in order. A large error must be seen by two readings before it counts: the
  // first may be a process stopped between reading one clock and the other. The first sighting
  // gives kNone and wants_second_reading().
  ClockEvent on_reading(Now now);
  bool wants_second_reading() const { return suspicious_.has_value(); }

  int64_t slot_ns(MonoTime at) const { return at.time_since_epoch().count() + offset_.count(); }
  int64_t slot_ms(MonoTime at) const;
  // When slot time will be `ms`, as far as we know now.
  MonoTime mono_of_slot_ms(int64_t ms) const { return MonoTime(ms * 1ms - offset_); }
  // Kernel receive timestamps are wall time.
  MonoTime mono_of_wall_ns(int64_t wall_ns) const { return MonoTime(Duration(wall_ns) - wall_); }

  // Wall clock minus slot time.
  Duration error() const { return wall_ - offset_; }

 private:
  Duration offset_;  // slot time - mono
  Duration wall_;    // wall - mono, as last read
  MonoTime last_;
  std::optional<Duration> suspicious_;
};

}  // namespace gema::prober
