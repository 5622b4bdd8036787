// What a check gave, as columns: the form in which results are made, sent, recorded and tracked.
// The codec (common/codec/ping_codec.h) turns it into a PingBatch and back. Numbers of enumerators
// are on the wire and in history: append, never renumber.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/domain/ip_address.h"
#include "common/domain/slot.h"

namespace gema {

// The outcome of a whole check, after bursts.
enum class Verdict : uint8_t { kAnswered = 0, kFailed = 1, kNotMeasured = 2 };

// Why. For kFailed: what the echoes mostly said. For kNotMeasured: what kept us from measuring.
enum class Reason : uint8_t {
  kNone = 0,   // answered, nothing to say
  kLossy = 1,  // answered, but only some echoes or only the burst
  // failed
  kTimeout = 2,
  kUnreachable = 3,
  kTimeExceeded = 4,
  // not measured
  kNotRunning = 16,     // the prober was not running
  kPaused = 17,         // by a person; note says who
  kClockStep = 18,      // realtime stepped across the sample
  kSendError = 19,      // the kernel refused to send
  kLate = 20,           // the slot passed before it could be sent (stall, SIGSTOP)
  kProberSuspect = 21,  // the prober does not trust itself
  kNoAddress = 22,      // the name did not resolve, or no permitted address family
  kStreamGap = 23,      // records announced as lost
  kQueueFull = 24,      // dropped at a stated bound, counted
  // answered, although no echo was
  kWebAlive = 25,  // the device's web_url answered as expected
  kTcpAlive = 26,  // one of its tcp_ports accepted a connection
};
inline constexpr int kReasonMax = 26;

// One echo request's fate.
enum class EchoOutcome : uint8_t {
  kReply = 0,
  kTimeout = 1,
  kUnreachable = 2,
  kTimeExceeded = 3,
  kSendError = 4,
  kNotSent = 5,
  // 6 is "no such echo" in chunks (common/domain/chunk.h)
  // what a router or the host itself said instead of a reply; kUnreachable is any other code
  kNetUnreachable = 7,
  kHostUnreachable = 8,
  kPortUnreachable = 9,
  kProhibited = 10,  // by an administrator: a filter answered
};
inline constexpr int kEchoOutcomeMax = 10;
bool is_echo_outcome(uint32_t number);
// Any of the five unreachables.
bool is_unreachable(EchoOutcome outcome);

const char* to_string(Verdict verdict);      // "answered", "failed", "not measured"
const char* to_string(Reason reason);        // "timeout", "not running", ...
const char* to_string(EchoOutcome outcome);  // "reply", "timeout", ...

struct BurstResult {
  uint32_t index = 0;  // of the result it belongs to
  uint32_t sent = 0;
  std::vector<uint32_t> rtt_us;  // one per answered burst echo

  friend bool operator==(const BurstResult&, const BurstResult&) = default;
};

// What is known of one echo beyond its outcome and round trip time. Sparse: most echoes have none.
enum class NoteKind : uint8_t {
  kIcmpError = 0,  // icmp_type, icmp_code, from: who said it
  kSendError = 1,  // error: the kernel's errno
  kDuplicate = 2,  // count more replies came; from when not who was asked
  kLate = 3,       // rtt_us: a reply came after the timeout
};
inline constexpr int kNoteKindMax = 3;

struct EchoNote {
  uint32_t index = 0;  // of the result
  uint32_t echo = 0;   // of the check: from 0, burst echoes after those of the train
  NoteKind kind = NoteKind::kIcmpError;
  uint8_t icmp_type = 0;
  uint8_t icmp_code = 0;
  uint16_t error = 0;
  uint32_t rtt_us = 0;
  uint32_t count = 1;
  IpAddress from;

  friend bool operator==(const EchoNote&, const EchoNote&) = default;
};

// An answer to an echo whose result has left already. It changes no verdict.
struct Stray {
  DeviceId device = 0;
  int64_t due_ms = 0;  // the slot it belongs to, Unix ms
  uint32_t echo = 0;
  NoteKind kind = NoteKind::kLate;  // or kDuplicate
  uint32_t rtt_us = 0;

  friend bool operator==(const Stray&, const Stray&) = default;
};

// A device that is given by name has got another address.
struct AddressChange {
  DeviceId device = 0;
  int64_t at_ms = 0;
  IpAddress from;  // none: the first
  IpAddress to;    // none: the name resolves no more

  friend bool operator==(const AddressChange&, const AddressChange&) = default;
};

// Proof of life: what the host said when its echoes failed.
enum class ProofKind : uint8_t { kWeb = 0, kTcp = 1 };
inline constexpr int kProofKindMax = 1;

enum class ProofOutcome : uint8_t {
  kAlive = 0,
  kTimeout = 1,
  kReset = 2,  // no proof: a firewall on the way may have sent it
  kUnreachable = 3,
  kNoAddress = 4,  // the name in web_url does not resolve
  kBadCertificate = 5,
  kWrongStatus = 6,  // status
  kOtherHost = 7,    // redirected to another host, not followed
  kWrongBody = 8,    // the JSON value is not the expected one
  kBodyTooLong = 9,
  kProtocolError = 10,  // not HTTP, broken TLS, closed early
  kNotTried = 11,       // too many proofs at once
  kForbidden = 12,      // the address policy does not allow it
  kNoCredentials = 13,  // the secret that web_auth names is not there
};
inline constexpr int kProofOutcomeMax = 13;

const char* to_string(NoteKind kind);
const char* to_string(ProofKind kind);
const char* to_string(ProofOutcome outcome);  // "alive", "connection reset", ...

struct ProofResult {
  uint32_t index = 0;  // of the result it belongs to
  ProofKind kind = ProofKind::kWeb;
  ProofOutcome outcome = ProofOutcome::kAlive;
  uint16_t port = 0;
  uint16_t status = 0;  // of HTTP; 0 = none
  uint32_t elapsed_us = 0;

  friend bool operator==(const ProofResult&, const ProofResult&) = default;
};

// Why a prober does not trust itself just now (its results leave as not measured).
enum class Suspicion : uint8_t {
  kNone = 0,
  kLag = 1,          // echoes leave too late
  kSendErrors = 2,   // the kernel refuses too many
  kSocketDrops = 3,  // replies were dropped unread
  kCanaries = 4,     // most canaries that answered before do not
};
inline constexpr int kSuspicionMax = 4;
const char* to_string(Suspicion suspicion);

struct ProberHealth {
  uint32_t lag_max_us = 0;
  uint32_t send_errors = 0;
  uint32_t socket_drops = 0;
  uint32_t missed_slots = 0;
  uint32_t paused_ms = 0;
  uint32_t canaries_answered = 0;
  uint32_t canaries_failed = 0;
  Suspicion suspicion = Suspicion::kNone;

  friend bool operator==(const ProberHealth&, const ProberHealth&) = default;
};

// Results of one partition. Column i of every per-result vector belongs to result i; the echoes of
// result i are echo_outcome[echo_begin[i] .. echo_begin[i + 1]) with rtt_us beside (0 unless
// kReply). Invariant: echo_begin.size() == size() + 1 once anything was added.
struct PingResults {
  std::string location;
  std::vector<DeviceId> device;
  std::vector<uint32_t> interval_ms;
  std::vector<int64_t> due_ms;  // the slot, Unix ms
  std::vector<Verdict> verdict;
  std::vector<Reason> reason;
  std::vector<uint32_t> echo_begin{0};
  std::vector<EchoOutcome> echo_outcome;
  std::vector<uint32_t> echo_rtt_us;
  std::vector<BurstResult> burst;
  std::vector<EchoNote> notes;      // by rising (index, echo)
  std::vector<ProofResult> proofs;  // by rising index
  std::vector<Stray> strays;
  std::vector<AddressChange> address_changes;
  ProberHealth health;
  std::string note;  // who paused, for kPaused

  size_t size() const { return device.size(); }
  bool empty() const { return device.empty(); }
  // Empties every column and keeps the memory.
  void clear();

  friend bool operator==(const PingResults&, const PingResults&) = default;
};

// The mean round trip of everything answered to check `i`, own echoes and `burst` (nullptr: none);
// 0 when nothing was.
uint32_t mean_rtt_us(const PingResults& results, size_t i, const BurstResult* burst);

}  // namespace gema
