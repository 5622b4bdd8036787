// All bounds of the broker's own; those of messages and sockets stand in common/bus/limits.h.
#pragma once

#include <cstddef>

#include "common/base/time.h"

namespace gema::broker {

// --- subscriptions of one connection, over its life ---
// A subscription costs libzmq a trie node per character: a million of them cost 1.2 GB, never
// returned. Our processes have fewer than twenty. At either bound the connection is cut (counted);
// the client comes back with a new account.
inline constexpr size_t kSubscriptionsMax = 512;
inline constexpr size_t kSubscriptionBytesMax = 32 * 1024;
// Subscriptions that libzmq may hand us from one peer before it reads on: keeps a flood from
// holding the loop.
inline constexpr int kSubscriptionQueueMax = 64;
// Taken per turn and role before messages have their turn.
inline constexpr size_t kSubscriptionsPerTurn = 256;

// --- messages ---
// Forwarded per turn before anything else is looked at. Guess: 5 ms of work.
inline constexpr size_t kMessagesPerTurn = 500;

// --- connections ---
inline constexpr int kListenBacklog = 256;

// --- the loop ---
inline constexpr std::chrono::milliseconds kSettle =
    500ms;  // from binding egress to binding ingress: so long
            // subscribers have to come back first
inline constexpr Duration kAllowListPollEvery = 1s;  // has keys/clients.yaml changed?
// Subscriptions are accounted for after so long at most; half a million a second is what libzmq
// takes in, so a flood costs some 10 MiB more than kSubscriptionsMax says.
inline constexpr Duration kLookAtAllEvery = 20ms;
inline constexpr Duration kMemoryCheckEvery = 100ms;
inline constexpr Duration kMemoryCutAgainAfter = 1s;  // libzmq needs a moment to let go
inline constexpr size_t kMemoryHardFactor = 4;        // of memory_mib: address space, by the kernel

// --- files and logs ---
inline constexpr size_t kAllowListBytesMax = 1024 * 1024;  // larger: refused, the old list stands
inline constexpr size_t kClientsMax = 1024;                // likewise
inline constexpr size_t kComplaintsRemembered =
    1024;                                         // (client, reason) pairs; full: all forgotten
inline constexpr Duration kComplaintEvery = 10s;  // one log line per pair

}  // namespace gema::broker
