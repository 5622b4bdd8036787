// All bounds of the stream library, and what happens at each. Byte and time bounds that an
// installation may want to change are options (ProducerOptions, ConsumerOptions).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::stream {

// --- records ---
// Payload of one record. Append refuses more: what the bus cannot carry would replay for ever.
inline constexpr uint32_t kRecordBytesMax = 256 * 1024;
// Payload of one part of a larger thing, and the largest thing. append_large refuses more.
inline constexpr uint32_t kPartBytes = 128 * 1024;
inline constexpr uint32_t kThingBytesMax = 8 * 1024 * 1024;
inline constexpr uint32_t kPartsMax = kThingBytesMax / kPartBytes;

// --- producer ---
// Epochs held. Beyond, the oldest is dropped as at the byte bound: counted and announced. Also what
// a consumer accepts in a tip.
inline constexpr size_t kEpochsMax = 64;
// Of them, epochs that hold nothing any more and are acknowledged: so many are listed for as long
// as nothing newer ends, further ones as long as acknowledged records are held (15 minutes).
inline constexpr size_t kEndedEpochsListed = 4;
// Records waiting to be handed to the bus, live. Beyond, the oldest of them are skipped, counted:
// they are in the spool and arrive by replay.
inline constexpr size_t kLiveQueueMax = 4'096;
inline constexpr uint64_t kLiveQueueBytesMax = 16ULL << 20;
// Ranges that one group may have asked for and not got yet. Beyond, further ones are refused,
// counted: the consumer asks again.
inline constexpr size_t kWantRangesMax = 4'096;
// Ranges in one lost answer, and answers waiting per group. Beyond: refused, asked again.
inline constexpr size_t kLostRangesMax = 256;
inline constexpr size_t kLostQueueMax = 64;
// Events not yet taken by the owner. Beyond, the oldest are forgotten (the counters are not).
inline constexpr size_t kEventsMax = 64;
inline constexpr size_t kGroupsMax = 16;  // open() refuses more

inline constexpr Duration kTipEvery = 1s;
// How often replays go out while any are due. With the least rate of 5,000 records/s that is 100
// records at a time, a tenth of the queue of a ZeroMQ socket.
inline constexpr Duration kReplayEvery = 20ms;
// However fast live is, no more than this: 400 records at a time. 2,000 live records/s have room
// for ten times as many; the design's largest load makes 400.
inline constexpr uint32_t kReplayRecordsPerSecondMax = 20'000;
inline constexpr Duration kReplayBurst = 25ms;  // most that an idle replay saves up
// After a failed fdatasync the next is tried later each time: a broken disk must not make an epoch
// every 100 ms.
inline constexpr Duration kSyncRetryMin = 1s;
inline constexpr Duration kSyncRetryMax = 60s;

// --- consumer ---
// Ranges in one want per partition, and of missing seqs in one acknowledgement per partition.
// Beyond: the rest is asked for later; `highest` is lowered.
inline constexpr size_t kWantRangesPerMessage = 256;
inline constexpr size_t kAckRangesPerMessage = 64;
// The lowest seq asked for has not arrived for so long, though the producer sends tips: ask again.
inline constexpr Duration kAskAgainAfter = 1s;
// A producer unheard for so long may come back with a new spool and an older clock.
inline constexpr Duration kTipOverdue = 30s;
// Acknowledgements get lost too: repeated this often while the producer is heard.
inline constexpr Duration kAckRepeat = 2s;
// Closed epochs remembered per producer, so that a late tip cannot open them again. Beyond, the
// oldest is forgotten.
inline constexpr size_t kTombstonesMax = 8;

}  // namespace gema::stream
