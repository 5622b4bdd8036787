// Two clocks that cannot be mixed, and nothing that reads them.
//
// MonoTime counts CLOCK_BOOTTIME (it goes on while the machine is suspended): intervals and
// timeouts. It never leaves the process. WallTime counts CLOCK_REALTIME: people, storage, the wire.
// Subtracting one from the other does not compile. Only common/runtime/clock.h reads them, once
// per turn of the loop; everything else is handed a Now.
#pragma once

#include <chrono>
#include <cstdint>

namespace gema {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;

struct MonoClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonoClock>;
  static constexpr bool is_steady = true;
};

struct WallClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WallClock>;
  static constexpr bool is_steady = false;
};

using MonoTime = MonoClock::time_point;
using WallTime = WallClock::time_point;

// One reading of both clocks, taken at the start of a turn of the loop.
struct Now {
  MonoTime mono{};
  WallTime wall{};
};

// Milliseconds and microseconds since the Unix epoch, the two forms wall time takes on the wire
// and in storage. Rounded towards minus infinity, so that they order as the times do.
constexpr int64_t unix_ms(WallTime t) {
  return std::chrono::floor<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
constexpr int64_t unix_us(WallTime t) {
  return std::chrono::floor<std::chrono::microseconds>(t.time_since_epoch()).count();
}
constexpr WallTime wall_from_ms(int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}
constexpr WallTime wall_from_us(int64_t us) {
  return WallTime(std::chrono::microseconds(us));
}

}  // namespace gema
