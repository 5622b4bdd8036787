// A wall clock that is ahead of the machine's, for whatever happens at full hours and midnights:
// nobody need wait for one. A program that names shifted_clock.cpp among its own sources has it in
// place of runtime::read_clock(), which all of Gema reads; it goes on as any clock does.
//
// A child process takes its own from the environment: GEMA_TEST_CLOCK_AHEAD_MS.
#pragma once

#include <cstdint>

namespace gema::testing {

inline constexpr const char* kClockAheadVariable = "GEMA_TEST_CLOCK_AHEAD_MS";

// Of this process, from now on. Safe from any thread.
void set_clock_ahead(int64_t ms);

}  // namespace gema::testing
