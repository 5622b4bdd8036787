// Every bound of the gateway, and what happens at it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::gateway {

// --- live view ---
// Results kept while a tracker's snapshot is under way. At the bound all are let go, counted, and
// the next snapshot begins afresh.
inline constexpr size_t kBufferedResultsMax = 200'000;
// Processes heard by heartbeat. Further ones are ignored and counted.
inline constexpr size_t kProcessesMax = 256;
inline constexpr Duration kProcessDeadAfter = 5s;  // without a heartbeat
inline constexpr Duration kProcessForgottenAfter = 1h;
// Names of locations and probers that states refer to. At the bound a new one is shown as "".
inline constexpr size_t kNamesMax = 10'000;
// Transitions remembered for people who look now; the oldest goes.
inline constexpr size_t kRecentTransitionsMax = 100;
// Address changes that wait for the next frame of events; the oldest goes (history has them all).
inline constexpr size_t kAddressChangesMax = 100;
// Late answers told beside one result; further ones are in history.
inline constexpr size_t kStraysMax = 20;
// Probers whose own account of themselves is kept; further ones are not, and counted.
inline constexpr size_t kProbersMax = 256;
// A prober that called itself suspect, and then says nothing, is shown as suspect this long.
inline constexpr Duration kSuspicionHeld = 3s;  // guess: batches come at least each second
// Devices whose result is new since the last frame of events; the oldest goes.
inline constexpr size_t kRecentResultsMax = 100;
// Between two snapshots asked for; guess: the tracker answers 10,000 devices within 50 ms.
inline constexpr Duration kSnapshotRetry = 2s;
// After a producer was heard for the first time: by then the tracker has taken what it sent before.
// Guess; a tracker that is further behind is seen by its positions.
inline constexpr Duration kSnapshotGrace = 500ms;
// A snapshot older than what we hold is asked for again this often before it is taken all the same.
inline constexpr int kUnalignedSnapshotsMax = 5;
// A record with a slot further ahead of our clock is refused and counted.
inline constexpr Duration kFutureMax = 10s;
// Results per second are averaged over this many whole seconds.
inline constexpr int kRateSeconds = 10;
// A device without a result for 3 intervals and this much more counts as not measured: time-out,
// the prober's batching and the way here.
inline constexpr int64_t kStaleSlackMs = 5'000;

// --- requests ---
inline constexpr int64_t kLatestRowsMax = 1'000;      // the source system's own bound
inline constexpr int64_t kHistoryHoursMax = 90 * 24;  // how long raw results are kept
inline constexpr int64_t kHistoryRowsMax = 100'000;   // newest; 24 h at 1 Hz are 86,400
inline constexpr int64_t kDevicesPageMax = 1'000;
inline constexpr int64_t kDevicesPageDefault = 100;
inline constexpr size_t kJsonDepthMax = 16;     // of a request body: 400
inline constexpr size_t kFieldBytesMax = 4096;  // of a text in a request body: 422

inline constexpr int64_t kResultsRowsMax = 1'000;  // with all their details
inline constexpr int64_t kResultsRowsDefault = 100;
inline constexpr int64_t kAddressRowsMax = 1'000;

// --- history ---
// Results in columns; older ones by `before`. 24 h at 1 Hz are 86,400.
inline constexpr int64_t kColumnRowsMax = 200'000;
inline constexpr int64_t kColumnRowsDefault = 100'000;
inline constexpr int64_t kWindowHoursMax = 10 * 366 * 24;  // of what rollups answer; 422 beyond
inline constexpr size_t kPercentilesMax = 20;              // 422 beyond
inline constexpr size_t kDevicesAskedMax = 1'000;          // named in one query; 422 beyond
inline constexpr size_t kPeriodsMax = 2'400;               // 100 days by the hour; 422 beyond
inline constexpr int64_t kOutageRowsDefault = 50;          // the source systems' own
// An answer about all devices serves so long, and so many are kept; then the oldest goes.
inline constexpr Duration kStatisticsFresh =
    5s;  // guess: a page that polls does so every 5 to 60 s
inline constexpr size_t kStatisticsKept = 16;
// Exports under way, each with a thread and a database connection of its own; one more is a 503.
inline constexpr size_t kExportsMax = 2;
// A client of an export that takes nothing for so long has lost it.
inline constexpr Duration kExportStallMax = 60s;
inline constexpr size_t kExportWriteBytes = 16 << 10;  // at once: what a socket that has room takes
// What the recorder may take to clean history up; then 503 (it goes on, and may be asked again).
inline constexpr Duration kCleanupPatience = 30s;

// --- pings on demand ---
// Clients with a bucket of their own. Further ones share one until somebody has been quiet for a
// minute.
inline constexpr size_t kRateClientsMax = 1'000;
// Probers asked in turn when one is too busy, or does not check the device; then 503.
inline constexpr size_t kProbersAsked = 8;
// What a call may take beyond the echoes themselves.
inline constexpr Duration kPingSlack = 2s;

// --- events ---
// Frames and bytes queued for one client. Beyond either the client is dropped with a notice.
inline constexpr size_t kClientFramesMax = 64;
inline constexpr size_t kClientBytesMax = 1 << 20;
inline constexpr size_t kSilentRowsMax = 200;  // rows of one frame; the total is beside them
inline constexpr Duration kHeartbeatEvery = 10s;

// --- shell ---
// Work handed from request threads to the loop. Full: the request is answered 503.
inline constexpr size_t kLoopJobsMax = 256;
// History queries waiting for one of the connections. Full: 503.
inline constexpr size_t kHistoryWaitingMax = 8;
// What another process may answer to GET /metrics; more is cut off and counted as a failure.
inline constexpr size_t kMetricsBytesMax = 4 << 20;

}  // namespace gema::gateway
