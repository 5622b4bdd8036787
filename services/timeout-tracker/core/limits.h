// Every bound of the timeout-tracker, and what happens at it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::timeout_tracker {

// Devices with a state, removed ones included (a removed device keeps its transition counter, so
// that a device named again never repeats an id). At the bound further ones of the catalogue are
// not tracked and counted (devices_refused).
inline constexpr size_t kDevicesMax = 1'000'000;

// Slots this far ahead of our clock make their record wait (design, "slots in the future").
inline constexpr Duration kFutureMax = 10s;

// Results of records that wait for their time. At the bound the record is dropped and counted: its
// results then neither add to nor reset a count.
inline constexpr size_t kSetAsideResultsMax = 200'000;

// Names of locations and probers that states refer to. At the bound a new name is shown as "".
inline constexpr size_t kNamesMax = 10'000;

// Producers whose epochs are remembered. At the bound one is forgotten: its next record counts as
// the first of its epoch.
inline constexpr size_t kProducersMax = 1'000;
// Epochs remembered for each of their partitions; at the bound the oldest is forgotten.
inline constexpr size_t kEpochsPerStreamMax = 16;

// Transitions decided but not in the spool yet (a full disk): no further input is taken before they
// are, so these are at most what the records in hand decide. Prober's spools hold the input.

// Devices of one HSET. 256 keeps one command near 32 KiB, far below what blocks Redis noticeably.
inline constexpr size_t kStatesPerCommand = 256;

// Wait after a checkpoint that failed before the next attempt; guess.
inline constexpr Duration kCheckpointRetry = 1s;

// --- timeout_tracking.csv (core/timeouts_csv.h); its rows are bounded by kDevicesMax ---

// Making the file is followed by this many times as long without: about 2% of a core at most.
inline constexpr int kCsvIdleShare = 50;
// After a failure.
inline constexpr Duration kCsvRetryAfter = 10s;
// The file is made anew at least so often, whatever became of it; guess.
inline constexpr Duration kCsvRefreshEvery = 60s;

}  // namespace gema::timeout_tracker
