#include "tests/support/shifted_clock.h"

#include <atomic>
#include <cstdlib>
#include <ctime>

#include "common/runtime/clock.h"

namespace gema {
namespace {

std::atomic<int64_t>& ahead_ms() {
  static std::atomic<int64_t> ms = [] {
    const char* given = std::getenv(testing::kClockAheadVariable);
    return given == nullptr ? int64_t{0} : std::strtoll(given, nullptr, 10);
  }();
  return ms;
}

Duration read(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec);
}

}  // namespace

Now runtime::read_clock() {
  return {MonoTime(read(CLOCK_BOOTTIME)),
          WallTime(read(CLOCK_REALTIME) + std::chrono::milliseconds(ahead_ms()))};
}

void testing::set_clock_ahead(int64_t ms) {
  ahead_ms() = ms;
}

}  // namespace gema
