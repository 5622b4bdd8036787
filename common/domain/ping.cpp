#include "common/domain/ping.h"

namespace gema {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAnswered:
      return "answered";
    case Verdict::kFailed:
      return "failed";
    case Verdict::kNotMeasured:
      return "not measured";
  }
  return "?";
}

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "none";
    case Reason::kLossy:
      return "lossy";
    case Reason::kTimeout:
      return "timeout";
    case Reason::kUnreachable:
      return "unreachable";
    case Reason::kTimeExceeded:
      return "time exceeded";
    case Reason::kNotRunning:
      return "not running";
    case Reason::kPaused:
      return "paused";
    case Reason::kClockStep:
      return "clock step";
    case Reason::kSendError:
      return "send error";
    case Reason::kLate:
      return "late";
    case Reason::kProberSuspect:
      return "prober suspect";
    case Reason::kNoAddress:
      return "no address";
    case Reason::kStreamGap:
      return "stream gap";
    case Reason::kQueueFull:
      return "queue full";
  }
  return "?";
}

const char* to_string(EchoOutcome outcome) {
  switch (outcome) {
    case EchoOutcome::kReply:
      return "reply";
    case EchoOutcome::kTimeout:
      return "timeout";
    case EchoOutcome::kUnreachable:
      return "unreachable";
    case EchoOutcome::kTimeExceeded:
      return "time exceeded";
    case EchoOutcome::kSendError:
      return "send error";
    case EchoOutcome::kNotSent:
      return "not sent";
  }
  return "?";
}

void PingResults::clear() {
  location.clear();
  device.clear();
  interval_ms.clear();
  due_ms.clear();
  verdict.clear();
  reason.clear();
  echo_begin.assign(1, 0);
  echo_outcome.clear();
  echo_rtt_us.clear();
  burst.clear();
  health = {};
  note.clear();
}

}  // namespace gema
