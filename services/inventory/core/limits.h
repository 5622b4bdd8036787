// Every bound of inventory, and what happens at it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::inventory {

// --- devices: a value outside is refused, naming the field -------------------------------------
inline constexpr size_t kDevicesMax = 250'000;          // not removed ones; more are refused
inline constexpr size_t kTextMax = 255;                 // bytes of a descriptive field
inline constexpr size_t kUrlMax = 2'000;                // bytes of web_url
inline constexpr size_t kTagsMax = 64;                  // tags of one device
inline constexpr size_t kTagNameMax = 64;               // bytes
inline constexpr size_t kTagValueMax = 1'000;           // bytes
inline constexpr size_t kLocationsMax = 16;             // of one device
inline constexpr uint32_t kIntervalMsMin = 100;         // ten checks a second
inline constexpr uint32_t kIntervalMsMax = 86'400'000;  // a day
inline constexpr uint32_t kTimeoutMsMin = 1;
inline constexpr uint32_t kTimeoutMsMax = 60'000;
inline constexpr uint32_t kEchoCountMax = 100;
inline constexpr uint32_t kEchoSpacingMsMin = 10;
inline constexpr uint32_t kEchoSpacingMsMax = 10'000;
inline constexpr size_t kTcpPortsMax = 8;      // of one device: a check's proof tries them all
inline constexpr size_t kSecretNameMax = 100;  // bytes; a file's name

// --- the devices file ---------------------------------------------------------------------------
inline constexpr size_t kFileBytesMax = 64 * 1024 * 1024;  // larger: the file is refused whole
inline constexpr size_t kColumnsMax = 200;                 // more: the file is refused whole
inline constexpr size_t kProblemsShown = 100;  // of a re-read, in its reply; all are counted

// --- probers ------------------------------------------------------------------------------------
inline constexpr size_t kProbersMax = 1'000;  // known ones; more are not listened to, counted
inline constexpr Duration kSilence = 5s;      // without a heartbeat: dead
inline constexpr Duration kQuiet = 2500ms;    // two heartbeats missed: counts as vanishing together
inline constexpr Duration kHold = 10s;        // nothing moves after a (re)connection or a mass loss
inline constexpr Duration kSettle = 1s;       // guess: the first assignment waits for more probers
inline constexpr Duration kCoalesce = 1s;     // at most one new assignment and catalogue a second
inline constexpr Duration kRepairFirst = 1s;  // a prober that lacks its version gets it again,
inline constexpr Duration kRepairLast = 8s;   // at intervals that double up to this

// --- pause and resume ---------------------------------------------------------------------------
// Audit rows that wait for PostgreSQL; the oldest goes, counted.
inline constexpr size_t kProbingEventsMax = 100;
// Calls that wait for the disk; more are answered "unavailable".
inline constexpr size_t kProbingChangesQueued = 16;

// --- calls --------------------------------------------------------------------------------------
inline constexpr size_t kChangesQueued =
    256;  // waiting for the database; more answer "unavailable"

}  // namespace gema::inventory
