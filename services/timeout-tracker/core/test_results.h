// Makes batches for the core's tests: one echo a check, slots by number.
#pragma once

#include <string>

#include "common/domain/ping.h"
#include "common/domain/slot.h"

namespace gema::timeout_tracker::test {

inline constexpr uint32_t kIntervalMs = 1000;
inline constexpr int64_t kStartMs = 1'763'632'561'000;

// The k-th slot of a device since kStartMs.
inline int64_t slot_of(DeviceId device, int64_t k) {
  return slot_after(device, kIntervalMs, kStartMs) + k * kIntervalMs;
}

inline void add(PingResults& results, DeviceId device, int64_t slot_ms, Verdict verdict,
                uint32_t rtt_us = 300) {
  results.location = "default";
  results.device.push_back(device);
  results.interval_ms.push_back(kIntervalMs);
  results.due_ms.push_back(slot_ms);
  results.verdict.push_back(verdict);
  results.reason.push_back(verdict == Verdict::kAnswered ? Reason::kNone
                           : verdict == Verdict::kFailed ? Reason::kTimeout
                                                         : Reason::kNotRunning);
  const bool sent = verdict != Verdict::kNotMeasured;
  if (sent) {
    results.echo_outcome.push_back(verdict == Verdict::kAnswered ? EchoOutcome::kReply
                                                                 : EchoOutcome::kTimeout);
    results.echo_rtt_us.push_back(verdict == Verdict::kAnswered ? rtt_us : 0);
  }
  results.echo_begin.push_back(static_cast<uint32_t>(results.echo_outcome.size()));
}

// The same with a letter: "a" answered, "f" failed, "-" not measured.
inline Verdict verdict_of(char letter) {
  return letter == 'a'   ? Verdict::kAnswered
         : letter == 'f' ? Verdict::kFailed
                         : Verdict::kNotMeasured;
}

}  // namespace gema::timeout_tracker::test
