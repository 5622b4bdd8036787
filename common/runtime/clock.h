// The only place that reads the clocks, apart from io/ at the system call that measures an RTT.
#pragma once

#include "common/base/time.h"

namespace gema::runtime {

// CLOCK_BOOTTIME and CLOCK_REALTIME, read one after the other. The loop calls this once per turn.
Now read_clock();

}  // namespace gema::runtime
