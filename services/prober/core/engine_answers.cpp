// The engine: what an answer means for the check it belongs to, or belonged to.
#include <algorithm>

#include "common/base/assert.h"
#include "services/prober/core/engine.h"

namespace gema::prober {
namespace {

int64_t ns(MonoTime t) {
  return t.time_since_epoch().count();
}

uint32_t microseconds(int64_t ns) {
  return static_cast<uint32_t>(std::clamp<int64_t>((ns + 500) / 1000, 1, UINT32_MAX));
}

}  // namespace

void Engine::on_answers(std::span<const Answer> answers, MonoTime now) {
  for (size_t i = 0; i < answers.size(); ++i) {
    if (i + kPrefetchAhead < answers.size()) {
      const uint32_t next = answers[i + kPrefetchAhead].check;
      if (next < checks_.size()) prefetch_device(checks_[next].device);
    }
    on_answer(answers[i], now);
  }
}

void Engine::on_answer(const Answer& answer, MonoTime now) {
  if (answer.check >= checks_.size()) {
    ++stats_.foreign;
    return;
  }
  Check& c = check(answer.check);
  if (answer.exact && c.generation != answer.generation) {  // the table's entry was reused
    on_stray(c, answer);
    return;
  }
  if (!in_flight(c)) {
    if (answer.exact && c.state == State::kFinished) {
      on_further_answer(c, answer);  // its result has not left yet
    } else {
      on_stray(c, answer);
    }
    return;
  }
  const uint32_t ordinal = answer.exact ? answer.ordinal : match_inexact(answer);
  if (ordinal >= c.handed) {
    on_stray(c, answer);
    return;
  }
  Echo& e = echo(c, ordinal);
  if (!e.pending || e.sent_ns == 0) {
    on_further_answer(c, answer);
    return;
  }
  if (answer.outcome == EchoOutcome::kReply) {
    on_reply(c, e, answer, now);
  } else {
    ++(is_unreachable(answer.outcome) ? stats_.unreachable : stats_.time_exceeded);
    note(c, {.echo = ordinal,
             .kind = NoteKind::kIcmpError,
             .icmp_type = answer.icmp_type,
             .icmp_code = answer.icmp_code,
             .from = answer.from});
    resolve(c, e, answer.outcome);
  }
  const bool replied = e.outcome == EchoOutcome::kReply;
  if (replied && c.device == kNone && probes_[c.missed].until_reply) {
    finish(answer.check, Verdict::kAnswered, Reason::kNone);
  } else if (replied && c.state == State::kConfirm) {
    finish(answer.check, Verdict::kAnswered, Reason::kLossy);
  } else {
    advance(answer.check, now);
  }
}

void Engine::on_reply(Check& c, Echo& e, const Answer& answer, MonoTime now) {
  int64_t rtt = ns(answer.at) - e.sent_ns;
  if (rtt < -kWallStepMin.count()) rtt = ns(now) - e.sent_ns;  // the clock was set back just now
  if (rtt > static_cast<int64_t>(c.timeout_ms) * 1'000'000) {
    // Received after its time, read before the timer fired: the kernel's timestamp decides.
    ++stats_.late_replies;
    ++stats_.timeouts;
    note(c, {.echo = answer.ordinal, .kind = NoteKind::kLate, .rtt_us = microseconds(rtt)});
    resolve(c, e, EchoOutcome::kTimeout);
    return;
  }
  // The send time is interpolated over a batch, so a reply may seem to precede it.
  e.rtt_us = microseconds(rtt);
  ++stats_.replies;
  resolve(c, e, EchoOutcome::kReply);
}

// The ordinal of the oldest echo in flight of the check that an error quotes too little of; kNone
// when the error is about something else.
uint32_t Engine::match_inexact(const Answer& answer) {
  Check& c = check(answer.check);
  Address sent_to = address_of(c);
  sent_to.scope = 0;  // not in a packet
  if (c.frozen || sent_to != answer.destination) return kNone;
  for (uint32_t i = 0; i < c.handed; ++i) {
    if (echo(c, i).pending) return i;
  }
  return kNone;
}

// To an echo that is answered or given up, of a check whose result has not left yet.
void Engine::on_further_answer(Check& c, const Answer& answer) {
  if (!answer.exact || answer.ordinal >= c.handed) {
    ++stats_.foreign;
    return;
  }
  const Echo& e = echo(c, answer.ordinal);
  const Duration rtt = answer.at - answer.sent;
  if (e.outcome == EchoOutcome::kNotSent) {
    ++stats_.surplus;  // nobody knows when it was sent
  } else if (answer.outcome != EchoOutcome::kReply || e.outcome == EchoOutcome::kReply) {
    ++stats_.duplicates;
    note(c, {.echo = answer.ordinal, .kind = NoteKind::kDuplicate});
  } else if (rtt > answer.timeout) {
    ++stats_.late_replies;
    note(c, {.echo = answer.ordinal, .kind = NoteKind::kLate, .rtt_us = microseconds(rtt.count())});
  } else {
    ++stats_.surplus;
  }
}

// Its result has left. While the table's entry is not reused, device and slot are known.
void Engine::on_stray(Check& c, const Answer& answer) {
  if (!answer.exact) {
    ++stats_.foreign;
    return;
  }
  const Duration rtt = answer.at - answer.sent;
  const bool reply = answer.outcome == EchoOutcome::kReply;
  const bool late = reply && rtt > answer.timeout;
  const bool untimed = c.generation == answer.generation && c.echo_count == 1 &&
                       c.echo.outcome == EchoOutcome::kNotSent;
  if (untimed || (reply && !late && answer.burst)) {
    ++stats_.surplus;  // nobody knows when it was sent; of a burst that an earlier answer ended
    return;
  }
  if (late) {
    ++stats_.late_replies;
  } else {
    ++stats_.duplicates;
  }
  const bool known =
      c.generation == answer.generation && c.state == State::kFree && c.device != kNone && reply;
  if (!known) return;
  const Device& d = devices_[c.device];
  auto& strays = records_[d.partition].strays;
  if (strays_noted_ >= kStraysPerFlush || strays.size() >= kStraysPerFlush) {
    ++stats_.strays_dropped;
    return;
  }
  ++stats_.strays;
  ++strays_noted_;
  strays.push_back({.device = d.id,
                    .due_ms = c.due_ms,
                    .echo = answer.ordinal,
                    .kind = late ? NoteKind::kLate : NoteKind::kDuplicate,
                    .rtt_us = microseconds(rtt.count())});
}

void Engine::note(Check& c, const EchoNote& what) {
  Extra& x = extra(c);
  if (what.kind == NoteKind::kDuplicate) {
    for (EchoNote& n : x.notes) {
      if (n.echo != what.echo || n.kind != what.kind) continue;
      n.count += n.count < UINT32_MAX - 1 ? 1 : 0;
      return;
    }
  }
  if (x.notes.size() >= kNotesPerCheckMax) {
    ++stats_.notes_dropped;
    return;
  }
  x.notes.push_back(what);
}

}  // namespace gema::prober
