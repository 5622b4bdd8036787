// Results of checks, made by hand.
#pragma once

#include <optional>

#include "common/domain/ping.h"

namespace gema::testing {

// A check of one echo. Its reason follows from the verdict where none is given: none, timeout, not
// running.
struct OneEcho {
  DeviceId device = 0;
  uint32_t interval_ms = 1000;
  int64_t due_ms = 0;
  Verdict verdict = Verdict::kAnswered;
  uint32_t rtt_us = 100;  // of an answer
  std::optional<Reason> reason;
};

inline void append(PingResults& to, const OneEcho& check) {
  const bool answered = check.verdict == Verdict::kAnswered;
  const bool measured = check.verdict != Verdict::kNotMeasured;
  to.device.push_back(check.device);
  to.interval_ms.push_back(check.interval_ms);
  to.due_ms.push_back(check.due_ms);
  to.verdict.push_back(check.verdict);
  to.reason.push_back(check.reason.value_or(answered   ? Reason::kNone
                                            : measured ? Reason::kTimeout
                                                       : Reason::kNotRunning));
  if (measured) {
    to.echo_outcome.push_back(answered ? EchoOutcome::kReply : EchoOutcome::kTimeout);
    to.echo_rtt_us.push_back(answered ? check.rtt_us : 0);
  }
  to.echo_begin.push_back(static_cast<uint32_t>(to.echo_outcome.size()));
}

}  // namespace gema::testing
