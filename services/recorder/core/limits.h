// Every bound of the recorder, and what happens at it. All are counted in metrics.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::recorder {

// Payload bytes waiting for PostgreSQL, per stream (the batch being written included). At the bound
// the consumer is paused: nothing is taken or acknowledged, producers' spools hold it, and it is
// asked for again once less than half is waiting.
inline constexpr size_t kPendingBytesMax = 32U << 20;
inline constexpr size_t kPendingRecordsMax = 100'000;

// A commit is cut at this many bytes, so that after an outage memory, locks and WAL stay even.
inline constexpr size_t kBatchBytesMax = 4U << 20;

// Hot bytes that one chunk transaction transposes (a minute of 10,000 results/s is about 0.5 MiB a
// partition). More is done in further transactions, one after the other.
inline constexpr size_t kChunkBytesMax = 8U << 20;

// Slots in a row without a result inside one chunk; a longer hole begins another chunk. 16 cost 64
// bytes, about what another row costs.
inline constexpr uint32_t kHoleSlotsMax = 16;

// Echoes of one check, its burst apart. More cannot come from our probers: quarantined.
inline constexpr uint32_t kEchoesMax = 1'000;

// Times beyond, or before 1970, are no times: what states one is quarantined. (9999-12-31, which
// PostgreSQL's timestamps hold, too.)
inline constexpr int64_t kTimeMaxMs = 253'402'300'799'999;
// Slots this far in our future are set aside (docs/ARCHITECTURE.md, "Slots").
inline constexpr auto kFutureMax = 10s;
// Records set aside at a time; a further one is quarantined.
inline constexpr uint64_t kSetAsideMax = 10'000;
// Set-aside records taken in by one transaction.
inline constexpr int kTakeInMax = 500;

// Lines about quarantined records that one stream logs in a minute; further ones are counted, and
// the table names them.
inline constexpr uint32_t kQuarantineLinesMax = 20;
// Records that PostgreSQL refused, kept in stream_quarantine at a time. At the bound nothing more
// is set aside: what is refused waits then, and whatever is in its commit (recording), its hot rows
// (transposing) or its hour (compaction), as for a database that is away.
inline constexpr uint64_t kRefusedMax = 10'000;
// A commit that is refused at that bound is tried again after this long, and not before this many
// times as long as the try took.
inline constexpr auto kRefusedRetryAfter = 10s;
inline constexpr int kRefusedIdleShare = 10;
// Other rows of stream_quarantine; beyond, the oldest go.
inline constexpr int64_t kQuarantineRowsMax = 10'000;

// Records remembered per (producer, epoch, partition), to say which slots a gap may concern.
inline constexpr size_t kSpansMax = 256;
// Such memories; beyond, the oldest goes and a gap there has an unknown span.
inline constexpr size_t kSpanKeysMax = 8'192;

// Stored bytes of short chunks, and devices, that one transaction of the compactor merges. More is
// done in further transactions; an hour of one device is never split.
inline constexpr uint64_t kCompactBytesMax = 2U << 20;
inline constexpr size_t kCompactDevicesMax = 256;
// An hour to which more and more comes late is merged again after this long at the latest.
inline constexpr auto kCompactWaitMax = 1h;
// Rows of stream_gaps; beyond, the oldest go, although their slots may be kept for longer.
inline constexpr int64_t kGapRowsMax = 1'000'000;
// Rows that one statement deletes for their age; more go a minute later.
inline constexpr int64_t kSweepRowsMax = 10'000;
// How often rows past their retention are looked for.
inline constexpr auto kSweepEvery = 1h;
// An hour or day that PostgreSQL refuses to let be compacted (a damaged page) is put off for so
// long; others are compacted meanwhile.
inline constexpr auto kCompactPutOff = 1h;
// Rows of history_broken; further ones are counted only.
inline constexpr int64_t kBrokenRowsMax = 10'000;

// A hot leaf stays this long after it was filled, one of short chunks after it was compacted:
// readers see it as a whole, and recent minutes come from memory. Guess.
inline constexpr auto kHotKeep = 10min;

// --- CSV files (core/csv_book.h) ---

// Devices whose newest result is kept in memory for today's file (about 100 bytes each). Results of
// more are counted and not in the file until the next start.
inline constexpr size_t kCsvDevicesMax = 1'000'000;
// Writing a file is followed by this many times as long without: about 2% of a core at most.
inline constexpr int kCsvIdleShare = 50;
// Results that come late for a day gone by: so long others may come, too, before its file is made
// anew. Guess; a commit takes a second at most.
inline constexpr Duration kCsvSettle = 30s;
// After a failure.
inline constexpr Duration kCsvRetryAfter = 10s;
// How often files past keeping are looked for; at midnight, too.
inline constexpr Duration kCsvSweepEvery = 1h;
// Rows of one window of history held while a file with a row per result is made.
inline constexpr double kCsvWindowRows = 250'000;
// Looking for the newest results of devices that are rarely measured ends after this long; their
// rows come with their next results.
inline constexpr Duration kCsvPatience = 60s;
// Calls for the list of files that wait while a file is written; more are refused.
inline constexpr size_t kCsvCallsMax = 16;
// Files that one list names.
inline constexpr size_t kCsvFilesMax = 4'000;
// Rows kept at most with one row per result (MAX_CSV_RECORDS), unless all are.
inline constexpr int64_t kCsvRecordsMax = 1'000'000;

}  // namespace gema::recorder
