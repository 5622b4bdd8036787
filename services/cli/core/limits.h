// Every bound of the command line tool, and what happens at it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gema::cli {

// --- what import reads: beyond a bound the line is bad, and said so
// --------------------------------
inline constexpr size_t kCellBytesMax = 64 * 1024;       // of one CSV cell
inline constexpr size_t kCellsMax = 200;                 // of one CSV line
inline constexpr size_t kLineBytesMax = 1024 * 1024;     // of one NDJSON line
inline constexpr size_t kNameBytesMax = 64;              // of a location, of a prober
inline constexpr uint32_t kEchoesMax = 1'000;            // of one check, as in recorder
inline constexpr int64_t kRttUsMax = 3'600'000'000 / 2;  // half an hour; fits an int32
inline constexpr size_t kBadLinesShown = 20;             // all are counted
inline constexpr size_t kMissingShown = 200;             // hosts that are not in the inventory; all
                                                         // go into --write-devices
inline constexpr size_t kMissingMax = 100'000;           // more: import refuses
// Years an import may hold: outside, a time is a mistake.
inline constexpr int64_t kOldestMs = 946'684'800'000;  // 2000-01-01
inline constexpr int64_t kFutureMs = 60'000;           // beyond now: clocks differ

// Slots in a row without a check inside one run; a longer hole begins another. As recorder's.
inline constexpr int64_t kHoleSlotsMax = 16;
// Checks further apart than this say nothing of an interval (a file with one row a day).
inline constexpr int64_t kSpacingMsMax = 3'600'000;
inline constexpr int64_t kIntervalMsMin = 10;
inline constexpr int64_t kIntervalMsMax = 86'400'000;

// Bytes of export kept before they are written.
inline constexpr size_t kWriteBytes = 256 * 1024;

// --- what is asked of history: more is refused
// -----------------------------------------------------
inline constexpr size_t kRowsDefault = 1'000;
inline constexpr size_t kRowsMax = 10'000'000;
inline constexpr size_t kStrangersShown = 20;   // words that name no device
inline constexpr size_t kBrokenRowsShown = 20;  // stored rows that do not decode; all are counted

}  // namespace gema::cli
