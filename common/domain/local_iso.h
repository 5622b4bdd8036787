// Times as the source system prints them: naive local ISO 8601 with microseconds, the fraction
// absent when it is 0 ("2025-09-19T10:45:47.075895", "2025-09-19T10:45:47"). Pure: which offset
// local time has is asked of the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace gema {

// Seconds east of UTC at that instant (Unix seconds).
using UtcOffset = std::function<int64_t(int64_t unix_s)>;

std::string local_iso(int64_t unix_us, const UtcOffset& offset);

}  // namespace gema
