// Waits for something that another process or thread will make true. The only place in tests
// that sleeps: an event is waited for, never a length of time.
#pragma once

#include <chrono>
#include <functional>

namespace gema::testing {

// Returns: true as soon as `condition()` is, false when it still is not after `deadline`.
bool wait_until(const std::function<bool()>& condition,
                std::chrono::milliseconds deadline = std::chrono::seconds(10));

}  // namespace gema::testing
