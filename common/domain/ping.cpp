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
    case Reason::kWebAlive:
      return "web alive";
    case Reason::kTcpAlive:
      return "tcp alive";
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
    case EchoOutcome::kNetUnreachable:
      return "network unreachable";
    case EchoOutcome::kHostUnreachable:
      return "host unreachable";
    case EchoOutcome::kPortUnreachable:
      return "port unreachable";
    case EchoOutcome::kProhibited:
      return "prohibited";
  }
  return "?";
}

bool is_echo_outcome(uint32_t number) {
  return number <= static_cast<uint32_t>(kEchoOutcomeMax) && number != 6;
}

bool is_unreachable(EchoOutcome outcome) {
  return outcome == EchoOutcome::kUnreachable ||
         (outcome >= EchoOutcome::kNetUnreachable && outcome <= EchoOutcome::kProhibited);
}

const char* to_string(NoteKind kind) {
  switch (kind) {
    case NoteKind::kIcmpError:
      return "icmp error";
    case NoteKind::kSendError:
      return "send error";
    case NoteKind::kDuplicate:
      return "duplicate";
    case NoteKind::kLate:
      return "late";
  }
  return "?";
}

const char* to_string(ProofKind kind) {
  switch (kind) {
    case ProofKind::kWeb:
      return "web";
    case ProofKind::kTcp:
      return "tcp";
  }
  return "?";
}

const char* to_string(ProofOutcome outcome) {
  switch (outcome) {
    case ProofOutcome::kAlive:
      return "alive";
    case ProofOutcome::kTimeout:
      return "timeout";
    case ProofOutcome::kReset:
      return "connection reset";
    case ProofOutcome::kUnreachable:
      return "unreachable";
    case ProofOutcome::kNoAddress:
      return "no address";
    case ProofOutcome::kBadCertificate:
      return "bad certificate";
    case ProofOutcome::kWrongStatus:
      return "wrong status";
    case ProofOutcome::kOtherHost:
      return "redirected to another host";
    case ProofOutcome::kWrongBody:
      return "wrong body";
    case ProofOutcome::kBodyTooLong:
      return "body too long";
    case ProofOutcome::kProtocolError:
      return "protocol error";
    case ProofOutcome::kNotTried:
      return "not tried";
    case ProofOutcome::kForbidden:
      return "forbidden";
    case ProofOutcome::kNoCredentials:
      return "no credentials";
  }
  return "?";
}

const char* to_string(Suspicion suspicion) {
  switch (suspicion) {
    case Suspicion::kNone:
      return "none";
    case Suspicion::kLag:
      return "lag";
    case Suspicion::kSendErrors:
      return "send errors";
    case Suspicion::kSocketDrops:
      return "socket drops";
    case Suspicion::kCanaries:
      return "canaries";
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
  notes.clear();
  proofs.clear();
  strays.clear();
  address_changes.clear();
  health = {};
  note.clear();
}

uint32_t mean_rtt_us(const PingResults& results, size_t i, const BurstResult* burst) {
  uint64_t sum = 0;
  uint64_t count = 0;
  for (uint32_t e = results.echo_begin[i]; e < results.echo_begin[i + 1]; ++e) {
    if (results.echo_outcome[e] != EchoOutcome::kReply) continue;
    sum += results.echo_rtt_us[e];
    ++count;
  }
  if (burst != nullptr) {
    for (const uint32_t rtt_us : burst->rtt_us) sum += rtt_us;
    count += burst->rtt_us.size();
  }
  return count == 0 ? 0 : static_cast<uint32_t>((sum + count / 2) / count);
}

}  // namespace gema
