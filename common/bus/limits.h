// All bounds of the bus, clients and broker, and what happens at each.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::bus {

// --- one message ---
// `topic NUL payload`. A record's payload may be 256 KiB (common/stream); the rest is room for its
// envelope and topic. A client's publish() refuses more (counted); the broker cuts a peer that
// sends more.
inline constexpr size_t kFrameBytesMax = 256 * 1024 + 8 * 1024;
// The longest topic: two words and three names of 63, with slashes. Longer is not a topic.
inline constexpr size_t kTopicBytesMax = 200;
// ZMQ_MAXMSGSIZE counts the 33 bytes of a CURVE message too. libzmq cuts the peer beyond it.
inline constexpr int64_t kWireBytesMax = static_cast<int64_t>(kFrameBytesMax) + 64;
// Where a socket only receives handshakes and subscriptions (256 would break the handshake).
inline constexpr int64_t kControlWireBytesMax = 512;

// --- queues of one client, in messages ---
// Outgoing, while the broker is away or slow: 1,000 batches of 4 KiB are 4 MiB. Full: publish()
// returns false, counted; streams replay, calls repeat.
inline constexpr int kClientSendQueueMax = 1000;
// Incoming, between libzmq and us. Full: TCP pushes back and the broker drops for us; streams ask
// again for what is missing.
inline constexpr int kClientReceiveQueueMax = 1000;

// --- connection ---
inline constexpr int kHandshakeMs = 2000;    // a peer that has not shaken hands by then is cut
inline constexpr int kTcpMaxRetryMs = 8000;  // unacknowledged TCP data for so long: cut
inline constexpr int kKeepaliveIdleS = 30;   // silent network loss is found after 30 + 3 x 10 s ...
inline constexpr int kKeepaliveIntervalS = 10;
inline constexpr int kKeepaliveCount = 3;
// ... but our own echo finds it sooner: after 5 s without input a client sends itself an empty
// call; after 20 s without any it opens new sockets. (No ZMTP heartbeats: a stalled SUB aborts.)
inline constexpr Duration kEchoAfter = 5s;
inline constexpr Duration kSilentAfter = 20s;
// After a refused handshake the sockets are made anew (libzmq never tries again by itself): first
// after 0.5 s, doubling to 8 s. Guess.
inline constexpr Duration kRenewAfterMin = 500ms;
inline constexpr Duration kRenewAfterMax = 8s;

// --- calls ---
inline constexpr size_t kCallBodyBytesMax = 200 * 1024;  // of a request, and of one part of a reply
inline constexpr size_t kReplyPartsMax = 320;  // 62.5 MiB. Larger: the callee answers error
inline constexpr size_t kCallsOpenMax = 256;   // of one caller. Full: kUnavailable at once
inline constexpr size_t kReplyBytesHeldMax =
    128 * 1024 * 1024;                              // parts of all unfinished replies
                                                    // of a caller. Full: that call fails
inline constexpr size_t kCallsPendingMax = 256;     // of one callee. Full: answered kUnavailable
inline constexpr size_t kRepliesRemembered = 1024;  // of one callee; the oldest is forgotten first
inline constexpr size_t kReplyBytesRemembered = 32 * 1024 * 1024;  // ditto; a larger one not at all
inline constexpr Duration kReplyRememberedFor = 60s;  // and no call may have a longer deadline
inline constexpr Duration kCallRepeatAfter = 500ms;   // a caller repeats an unanswered request

}  // namespace gema::bus
