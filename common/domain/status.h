// A device's status and what changed it. Numbers are on the wire and in Redis: append only.
#pragma once

#include <cstdint>

namespace gema {

enum class DeviceStatus : uint8_t {
  kNew = 0,  // never answered, fewer than unknown_after failures
  kUp = 1,
  kDown = 2,     // answered once, does not now
  kUnknown = 3,  // never answered, unknown_after failures or more
};

enum class TransitionReason : uint8_t {
  kFirstAnswer = 1,     // New or Unknown -> Up
  kFailuresInARow = 2,  // Up -> Down after down_after failed verdicts
  kAnsweredAgain = 3,   // Down -> Up after up_after answers
  kNeverAnswered = 4,   // New -> Unknown after unknown_after failures
  kTimeoutCount = 5,    // a count some rule names was reached; status unchanged
  kReset = 6,           // a person reset the counters
};

const char* to_string(DeviceStatus status);      // "new", "up", "down", "unknown"
const char* to_string(TransitionReason reason);  // "first answer", "failures in a row", ...

}  // namespace gema
