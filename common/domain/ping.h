// What a check gave, as columns: the form in which results are made, sent, recorded and tracked.
// The codec (common/codec/ping_codec.h) turns it into a PingBatch and back. Numbers of enumerators
// are on the wire and in history: append, never renumber.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
};
inline constexpr int kReasonMax = 24;

// One echo request's fate.
enum class EchoOutcome : uint8_t {
  kReply = 0,
  kTimeout = 1,
  kUnreachable = 2,
  kTimeExceeded = 3,
  kSendError = 4,
  kNotSent = 5,
};
inline constexpr int kEchoOutcomeMax = 5;

const char* to_string(Verdict verdict);      // "answered", "failed", "not measured"
const char* to_string(Reason reason);        // "timeout", "not running", ...
const char* to_string(EchoOutcome outcome);  // "reply", "timeout", ...

struct BurstResult {
  uint32_t index = 0;  // of the result it belongs to
  uint32_t sent = 0;
  std::vector<uint32_t> rtt_us;  // one per answered burst echo

  friend bool operator==(const BurstResult&, const BurstResult&) = default;
};

struct ProberHealth {
  uint32_t lag_max_us = 0;
  uint32_t send_errors = 0;
  uint32_t socket_drops = 0;
  uint32_t missed_slots = 0;
  uint32_t paused_ms = 0;
  uint32_t canaries_answered = 0;
  uint32_t canaries_failed = 0;

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
  ProberHealth health;
  std::string note;

  size_t size() const { return device.size(); }
  bool empty() const { return device.empty(); }
  // Empties every column and keeps the memory.
  void clear();

  friend bool operator==(const PingResults&, const PingResults&) = default;
};

}  // namespace gema
