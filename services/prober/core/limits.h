// All bounds of the prober, and what happens at each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/time.h"

namespace gema::prober {

// --- identity of an echo on the wire ---
// An echo request carries its check's index in 20 bits: 4 of the ICMP identifier, 16 of the
// sequence number. The other 12 bits of the identifier are drawn at start; the kernel filter passes
// only those.
inline constexpr uint16_t kIdentifierMask = 0xfff0;

// --- checks in flight ---
// What the 20 bits can tell apart. Full: the slot is not measured, reason "queue full", counted; if
// even that cannot be noted, it is dropped and counted (history then shows a missing slot).
inline constexpr uint32_t kChecksMax = 1U << 20;
// Datagram sockets have one identifier, which the kernel gives: 16 bits are left.
inline constexpr uint32_t kChecksMaxDatagram = 1U << 16;
// The table begins with so many and doubles when half full.
inline constexpr uint32_t kChecksMin = 1024;

// --- what an assignment may ask for; a device beyond is refused, named in the log and counted ---
inline constexpr uint32_t kIntervalMsMin = 10;
inline constexpr uint32_t kIntervalMsMax = 7U * 24 * 3600 * 1000;
inline constexpr uint32_t kTimeoutMsMin = 1;
inline constexpr uint32_t kTimeoutMsMax = 60'000;
inline constexpr uint32_t kEchoCountMax = 100;
inline constexpr uint32_t kEchoSpacingMsMin = 1;
inline constexpr uint32_t kEchoSpacingMsMax = 60'000;
// Of one assignment's refusals; all are counted.
inline constexpr size_t kRefusalsLogged = 20;
inline constexpr uint32_t kDevicesMax = 1'000'000;
// On-demand calls and canaries in flight. Full: probe() refuses; the caller says so.
inline constexpr uint32_t kProbesMax = 256;
// Pings on demand in flight: calls. Full: answered "unavailable", counted.
inline constexpr size_t kOnDemandMax = 64;
// echoes of one burst (the configuration's upper bound)
inline constexpr uint32_t kBurstCountMax = 16;

// --- lateness ---
// A slot that could not be sent within half its interval, or 2 s, is not measured: a later sample
// would answer for a different instant. (Later than interval/10 is counted as late, and kept.)
inline constexpr int64_t kLateMsMax = 2000;
// A call that sent took longer: the process was stopped in it, and a time interpolated over it
// would be a lie. Preemption alone hardly lasts so long.
inline constexpr Duration kSendStall = 100ms;
// A reply may reach the socket this long after its kernel timestamp (soft interrupts are put off
// under load), so an echo times out that much after its deadline. Guess. The decision itself is by
// timestamp.
inline constexpr Duration kExpiryGrace = 10ms;
// A request that the kernel has no room for is tried again after this.
inline constexpr Duration kBusyRetry = 2ms;
// So often in a row; then the echo is a send error. 100 ms: what a 1,000 packet queue takes to
// drain at 10 Mbit/s.
inline constexpr uint8_t kBusyTriesMax = 50;

// --- a turn of the loop ---
// Sends in one system call: 16 already cost what 64 do (performance reference). Where the kernel
// does not stamp them, fewer, because times of sending are then interpolated over the batch.
inline constexpr size_t kSendBatch = 16;
inline constexpr size_t kSendBatchUnstamped = 8;
// In a second with more echoes than this the next second's go without the kernel's transmit stamps,
// which cost an eighth of an echo (ADR 0050).
inline constexpr int64_t kStampedPerSecondMax = 25'000;
inline constexpr size_t kReceiveBatch = 32;
// A call that fails may have told of an earlier echo's error, and is made again: an echo that fails
// so often is refused; sockets that fail so often are read at the next turn. Guesses: more errors
// than one hardly arrive between two calls.
inline constexpr int kSendTries = 3;
inline constexpr int kReceiveTries = 16;
// The sockets are drained after so many sends, and no more than so many messages are taken in one
// drain (timers then wait for the next turn, which comes at once).
inline constexpr size_t kSendsBetweenDrains = 64;
inline constexpr size_t kDrainMax = 16'384;
// Wake-ups for due slots are no denser than this, so that sends come in batches: half of it is the
// mean delay of a send. A wake-up costs about ten times what an echo in a batch does, so the pause
// is the long one, unless so many slots fall into it that they would be a burst.
inline constexpr Duration kSendQuantumMin = 2ms;
inline constexpr Duration kSendQuantumMax = 5ms;
inline constexpr size_t kSendsPerQuantum = 64;
// How long a reply may wait in the socket: half of the time since the last send, between these. The
// kernel's timestamp measures, so this delays results only.
inline constexpr Duration kReceivePollMin = 5ms;
inline constexpr Duration kReceivePollMax = 100ms;
inline constexpr int kReceiveBufferBytes = 16 * 1024 * 1024;  // full: drops, counted by the kernel

// --- records ---
// A record is closed when its estimated size passes this; the stream refuses 256 KiB.
inline constexpr size_t kRecordBytes = 160 * 1024;
// Results waiting for the spool when it refuses. Full: the oldest record is dropped and counted.
inline constexpr size_t kRecordsWaitingMax = 1024;

// --- slots that nobody measured, reported afterwards ---
// After a start, a stall or a clock step each device's missed slots are reported as not measured:
// the youngest of at most one day, at most 3,600 per device and 5 million in all (shared equally).
// Older ones are left out: history derives "not measured" from the schedule, as for a prober that
// never came back.
inline constexpr int64_t kMissedAgeMsMax = 24LL * 3600 * 1000;
inline constexpr uint32_t kMissedSlotsMax = 3600;
inline constexpr uint64_t kMissedTotalMax = 5'000'000;
// They leave at most this many with each flush (5 a second), ahead of the same devices' live
// results, because results leave in slot order.
inline constexpr uint32_t kMissedPerFlush = 100'000;

// --- what is known of echoes beyond their outcome ---
// A check tells at most so many notes, a flush at most so many answers that came after their
// result; more are counted.
inline constexpr size_t kNotesPerCheckMax = 256;
inline constexpr uint32_t kStraysPerFlush = 1000;
// Changes of addresses leave at most so many with a record (28 KiB), and wait at most so many per
// partition; more are counted.
inline constexpr size_t kAddressChangesPerRecord = 500;
inline constexpr size_t kAddressChangesMax = 100'000;
// What one proof of life may say: a web page and some ports. The rest is left out.
inline constexpr size_t kProofsPerCheckMax = 16;

// --- does the prober trust itself? ---
// Lag, send errors and socket drops are looked at in windows of at least this; a cause lasts so
// much longer than the window it was seen in.
inline constexpr Duration kSuspectWindow = 200ms;
inline constexpr Duration kSuspectLinger = 2s;
// Fewer send errors or drops in a window prove nothing.
inline constexpr uint64_t kSuspectCountMin = 10;
// Failures wait for the canaries at most so long.
inline constexpr Duration kHoldMax = 1s;
// More are left out, said in the log.
inline constexpr size_t kCanariesMax = 16;
inline constexpr Duration kCanaryEvery = 1s;
// Of the probe that confirms silence. A canary whose round trip takes longer is none.
inline constexpr uint8_t kCanaryEchoes = 3;
inline constexpr uint32_t kCanarySpacingMs = 100;
inline constexpr uint32_t kCanaryTimeoutMs = 500;
// Canaries that fail this long while at least so many checks are answered are no canaries: they
// would make every loss doubtful for ever.
inline constexpr Duration kCanaryForgetAfter = 30s;
inline constexpr uint64_t kCanaryForgetPercent = 70;

// --- pause ---
// Names of pausers whose slots are still in a queue. Full: the latest stands for the rest.
inline constexpr size_t kPausersMax = 64;

// --- clock ---
inline constexpr Duration kStepMin = 2s;       // a larger error is a step, not slewed
inline constexpr int kSlewPerMille = 10;       // of the time that passed
inline constexpr Duration kWallStepMin = 1ms;  // a jump that spoils the RTTs in flight

// --- names ---
// A name is asked again after its time to live, between these: below, thousands of names would
// become a burden for their server; above, a change would be noticed too late. /etc/hosts has no
// times: its names are looked up every kNameTtlMin.
inline constexpr Duration kNameTtlMin = 10s;
inline constexpr Duration kNameTtlMax = 3600s;
// After a failure: 10 s, then twice as long each time, up to a minute. The last address is kept.
inline constexpr Duration kResolveRetryMin = 10s;
inline constexpr Duration kResolveRetryMax = 60s;
// A name that no longer exists, or has no address any more, keeps its last one so long: zones are
// sometimes broken for minutes, but an address goes to another host some day.
inline constexpr Duration kNameGoneAfter = 3600s;
// Names in question at a time; the others wait in order of their due times. Those that timed out
// the last time may not take more than a quarter of it.
inline constexpr size_t kNamesAskedMax = 64;
inline constexpr size_t kNamesAskedSlowMax = 16;
// Questions are begun no faster than this (after a pause: 16 at once), 500 a second.
inline constexpr Duration kNameSpacing = 2ms;
inline constexpr int kNameBurst = 16;
// Of one family of a name; those beyond are not looked at.
inline constexpr size_t kNameAddressesMax = 64;
inline constexpr size_t kDnsServersMax = 8;  // those beyond are never asked
// Per server: the first try waits so long, the second twice that, then the next server's turn.
inline constexpr Duration kDnsTimeout = 1500ms;
inline constexpr int kDnsTries = 2;
inline constexpr Duration kDnsConfigEvery = 10s;  // /etc/resolv.conf is looked at
// Log lines about names a minute; those beyond are only counted.
inline constexpr uint32_t kNameLinesMax = 60;

// --- proof of life ---
// Proofs that wait for room. Full: the newest is not tried, counted; what cannot begin before its
// deadline is not tried either.
inline constexpr size_t kProofsWaitingMax = 20'000;
// What a device's timeout may make of the time that a proof has, from when it is wanted.
inline constexpr Duration kProofDeadlineMin = 1s;
inline constexpr Duration kProofDeadlineMax = 5s;
// With less time than this left a proof is not begun: its timeout would say nothing.
inline constexpr Duration kProofLeast = 100ms;
// Connections at once to one host: many devices may name one controller. More wait.
inline constexpr uint32_t kProofsPerHost = 8;
// A proof that takes longer than this is one that hangs, more often than not: so many proofs may be
// younger at once, and those that hang delay the next ones by this much only.
inline constexpr Duration kProofYoung = 100ms;
inline constexpr uint32_t kProofsYoungMax = 256;
// Of the connections, one in eight is kept for devices that proved to live the last time.
inline constexpr uint32_t kProofsReservedShare = 8;
inline constexpr int kWebHopsMax = 3;                    // redirections; then: wrong status
inline constexpr size_t kWebHeaderBytesMax = 64 * 1024;  // more: protocol error
inline constexpr size_t kWebBodyBytesMax = 64 * 1024;    // more: body too long
inline constexpr size_t kIdleTransfersMax = 32;          // handles kept for the next ones
inline constexpr size_t kWebBeginsPerTurn = 8;           // the rest in the next turn, at once
inline constexpr Duration kWebTurnBudget = 4ms;          // of TLS and HTTP in a turn; guess
inline constexpr uint32_t kTcpPortsMax = 8;              // of a device; more are left out
inline constexpr size_t kSecretNameMax = 100;            // longer: no such secret
inline constexpr size_t kSecretBytesMax = 4096;          // longer: refused

// --- leaving ---
// Asked to stop, a prober hands its devices to others. Nobody takes any within this: it is alone,
// or inventory is away.
inline constexpr Duration kLeaveAnswerMax = 1s;
// Its last results wait so long for acknowledgements: the recorder's comes within a second. The
// tracker's may take five; what it lacks then is in the spool until the next start.
inline constexpr Duration kLeaveAckMax = 1500ms;
// And it stops by then, whatever is left: a supervisor waits 10 s or more. Guess.
inline constexpr Duration kLeaveMax = 5s;

// --- watermark ---
inline constexpr size_t kMarksKept = 512;  // one a second; an older slot is read from the oldest

}  // namespace gema::prober
