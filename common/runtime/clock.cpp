#include "common/runtime/clock.h"

#include <ctime>

namespace gema::runtime {
namespace {

Duration read(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec);
}

}  // namespace

Now read_clock() {
  return {MonoTime(read(CLOCK_BOOTTIME)), WallTime(read(CLOCK_REALTIME))};
}

}  // namespace gema::runtime
