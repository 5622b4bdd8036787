#include "services/prober/core/engine.h"

#include <algorithm>
#include <cerrno>

#include "common/base/assert.h"

namespace gema::prober {
namespace {

int64_t ns(MonoTime t) {
  return t.time_since_epoch().count();
}

// The kernel says this of one destination's route, address or size, not of itself.
bool about_destination(int error) {
  return error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES || error == EINVAL ||
         error == EMSGSIZE || error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

}  // namespace

Engine::Engine(EngineConfig config, const SlotClock& clock, MonoTime now)
    : config_(config),
      clock_(clock),
      schedule_(clock.slot_ms(now)),
      wheel_(now),
      suspect_(config.suspect),
      window_end_(now + kSuspectWindow) {
  GEMA_ASSERT(config_.burst_count <= kBurstCountMax && config_.checks_max <= kChecksMax);
}

// --- what happens -------------------------------------------------------------------------------

void Engine::start_due(MonoTime now) {
  due_.clear();
  missed_.clear();
  schedule_.advance(clock_.slot_ms(now), due_, missed_);
  for (const Schedule::Missed& m : missed_) {
    const uint64_t kept = std::min<uint64_t>(m.count, kMissedSlotsMax);
    const uint32_t interval = devices_[m.device].interval_ms;
    if (!paused()) stats_.slots_missed += m.count;
    stats_.slots_dropped += m.count - kept;
    miss(m.device,
         {.interval_ms = interval,
          .first_due_ms = m.first_due_ms + static_cast<int64_t>(m.count - kept) * interval,
          .count = static_cast<uint32_t>(kept),
          .reason = paused() ? Reason::kPaused : Reason::kLate});
  }
  if (!paused()) {
    for (size_t i = 0; i < due_.size(); ++i) {
      if (i + kPrefetchAhead < due_.size()) prefetch_device(due_[i + kPrefetchAhead].device);
      begin(due_[i].device, due_[i].due_ms, now);
    }
    return;
  }
  for (const Schedule::Due& d : due_) {
    miss(d.device, {.interval_ms = devices_[d.device].interval_ms,
                    .first_due_ms = d.due_ms,
                    .count = 1,
                    .reason = Reason::kPaused});
  }
}

void Engine::begin(uint32_t device, int64_t due_ms, MonoTime now) {
  const uint32_t index = append(device, due_ms);
  Device& d = devices_[device];
  if (index == kNone) {
    ++stats_.slots_missed;
    const MissedRun run{.interval_ms = d.interval_ms,
                        .first_due_ms = due_ms,
                        .count = 1,
                        .reason = Reason::kQueueFull};
    miss(device, run);
    return;
  }
  Check& c = check(index);
  c.state = State::kTrain;
  c.interval_ms = d.interval_ms;
  c.timeout_ms = d.timeout_ms;
  c.spacing_ms = d.spacing_ms;
  c.echo_count = d.echo_count;
  c.min_replies = d.min_replies;
  if (!d.address.known()) {
    finish_unmeasured(index, Reason::kNoAddress);
    return;
  }
  if (c.echo_count > 1) c.train_block = allocate_block(c.echo_count);
  send_next(index, now);
}

// A run of slots of one device that will not be measured, behind what the device has in flight.
void Engine::miss(uint32_t device, const MissedRun& run) {
  if (run.count == 0) return;
  Device& d = devices_[device];
  const uint32_t who = run.reason == Reason::kPaused ? pauser_ : kNone;
  if (d.tail != kNone) {
    Check& last = check(d.tail);
    const int64_t next_due = last.due_ms + static_cast<int64_t>(last.missed) * last.interval_ms;
    if (last.state == State::kMissed && last.reason == run.reason && last.extra == who &&
        last.interval_ms == run.interval_ms && next_due == run.first_due_ms) {
      last.missed += run.count;
      return;
    }
  }
  const uint32_t index = append(device, run.first_due_ms);
  if (index == kNone) {
    stats_.slots_dropped += run.count;
    return;
  }
  Check& c = check(index);
  c.state = State::kMissed;
  c.interval_ms = run.interval_ms;
  c.missed = run.count;
  c.reason = run.reason;
  c.extra = who;
  settle(device);
}

void Engine::send_next(uint32_t index, MonoTime now) {
  Check& c = check(index);
  const uint32_t ordinal = c.handed++;
  const bool burst = c.state == State::kConfirm;
  echo(c, ordinal) = Echo{.pending = true};
  ++awaiting_;
  const Duration spacing =
      burst ? config_.burst_spacing : Duration(std::chrono::milliseconds(c.spacing_ms));
  c.next_send_ns = ns(now + spacing);
  sends_.push_back({.check = index,
                    .generation = c.generation,
                    .ordinal = static_cast<uint8_t>(ordinal),
                    .burst = burst,
                    .timeout_ms = c.timeout_ms,
                    .destination = address_of(c)});
}

void Engine::on_sent(std::span<const Sent> sent) {
  for (const Sent& s : sent) {
    Check& c = check(s.check);
    if (!in_flight(c) || c.generation != s.generation) {  // an answer ended the burst meanwhile
      stats_.sent += s.status == SendStatus::kSent ? 1 : 0;
      continue;
    }
    GEMA_ASSERT(s.ordinal + 1 == c.handed);
    Echo& e = echo(c, s.ordinal);
    GEMA_ASSERT(e.pending && e.sent_ns == 0);
    switch (s.status) {
      case SendStatus::kSent:
        e.sent_ns = ns(s.at);
        ++stats_.sent;
        c.busy = 0;
        if (s.ordinal == 0 && c.device != kNone) note_lag(c, s.at);
        arm(s.check);
        break;
      case SendStatus::kBusy:
        ++stats_.busy;
        if (++c.busy >= kBusyTriesMax) {
          c.busy = 0;
          refuse(s);
          break;
        }
        --c.handed;
        e.pending = false;
        --awaiting_;
        c.next_send_ns = ns(s.at + kBusyRetry);
        arm(s.check);
        break;
      case SendStatus::kUntimed:
        ++stats_.sent;
        c.busy = 0;
        resolve(c, e, EchoOutcome::kNotSent);
        advance(s.check, s.at);
        break;
      case SendStatus::kNoFamily:
        if (c.state == State::kTrain && c.handed == 1 && c.device != kNone) {
          finish_unmeasured(s.check, Reason::kNoAddress);
          break;
        }
        [[fallthrough]];
      case SendStatus::kRefused:
        refuse(s);
        break;
    }
  }
}

// The kernel did not send it.
void Engine::refuse(const Sent& s) {
  Check& c = check(s.check);
  ++stats_.send_errors;
  own_errors_ += about_destination(s.error) ? 0 : 1;
  note(c,
       {.echo = s.ordinal, .kind = NoteKind::kSendError, .error = static_cast<uint16_t>(s.error)});
  resolve(c, echo(c, s.ordinal), EchoOutcome::kSendError);
  advance(s.check, s.at);
}

void Engine::note_lag(const Check& c, MonoTime at) {
  const int64_t late_ns = std::max<int64_t>(clock_.slot_ns(at) - c.due_ms * 1'000'000, 0);
  const auto us = static_cast<uint32_t>(std::min<int64_t>(late_ns / 1000, 0xffffffff));
  lag_max_us_ = std::max(lag_max_us_, us);
  window_lag_us_ = std::max(window_lag_us_, us);
  stats_.lag_us_sum += us;
  size_t bucket = 0;
  while (bucket < kLagBucketsUs.size() && us > kLagBucketsUs[bucket]) ++bucket;
  ++stats_.lag[bucket];
  if (late_ns > static_cast<int64_t>(c.interval_ms) * 100'000) ++stats_.slots_late;
}

void Engine::expire(MonoTime now) {
  expired_.clear();
  wheel_.expire(now, expired_);
  for (const uint32_t index : expired_) {
    Check& c = check(index);
    const int64_t limit = ns(now - kExpiryGrace - std::chrono::milliseconds(c.timeout_ms));
    for (uint32_t i = 0; i < c.handed; ++i) {
      Echo& e = echo(c, i);
      if (!e.pending || e.sent_ns == 0 || e.sent_ns > limit) continue;
      resolve(c, e, EchoOutcome::kTimeout);
      ++stats_.timeouts;
    }
    advance(index, now);
  }
  guard(now);
}

// What a check does next, after something became known or time passed.
void Engine::advance(uint32_t index, MonoTime now) {
  Check& c = check(index);
  if (c.handed < echoes_in_all(c)) send_or_give_up(index, now);
  if (!in_flight(c)) return;  // given up
  if (c.resolved < echoes_in_all(c)) {
    arm(index);
  } else if (c.state == State::kTrain) {
    conclude_train(index, now);
  } else {
    conclude(index, now);
  }
}

void Engine::send_or_give_up(uint32_t index, MonoTime now) {
  Check& c = check(index);
  while (c.handed < echoes_in_all(c)) {
    if (!c.frozen && c.next_send_ns > ns(now)) return;
    const int64_t planned_ms = c.due_ms + int64_t{c.handed} * c.spacing_ms;
    const bool too_late = c.state == State::kTrain && c.device != kNone &&
                          clock_.slot_ms(now) - planned_ms > late_after_ms(c.interval_ms);
    if (!c.frozen && !too_late) {
      send_next(index, now);
      return;
    }
    if (c.handed == 0) {
      ++stats_.slots_missed;
      finish_unmeasured(index, Reason::kLate);
      return;
    }
    Echo& e = echo(c, c.handed++);
    e = Echo{.outcome = EchoOutcome::kNotSent};
    ++c.resolved;
  }
}

void Engine::resolve(Check& c, Echo& e, EchoOutcome outcome) {
  GEMA_ASSERT(e.pending);
  e.pending = false;
  e.outcome = outcome;
  ++c.resolved;
  --awaiting_;
}

void Engine::arm(uint32_t index) {
  Check& c = check(index);
  int64_t deadline = INT64_MAX;
  if (c.handed < echoes_in_all(c)) deadline = c.next_send_ns;
  for (uint32_t i = 0; i < c.handed; ++i) {
    const Echo& e = echo(c, i);
    if (!e.pending || e.sent_ns == 0) continue;
    const Duration until = std::chrono::milliseconds(c.timeout_ms) + kExpiryGrace;
    deadline = std::min(deadline, e.sent_ns + until.count());
    break;  // sent in order, all with one timeout
  }
  if (deadline != INT64_MAX) wheel_.set(index, MonoTime(Duration(deadline)));
}

void Engine::conclude_train(uint32_t index, MonoTime now) {
  Check& c = check(index);
  if (c.device == kNone) {
    finish_probe(index);
    return;
  }
  std::array<uint32_t, kEchoOutcomeMax + 1> n{};
  for (uint32_t i = 0; i < c.echo_count; ++i) ++n[static_cast<size_t>(echo(c, i).outcome)];
  auto of = [&](EchoOutcome o) { return n[static_cast<size_t>(o)]; };
  const uint32_t replies = of(EchoOutcome::kReply);
  if (replies >= c.min_replies) {
    finish(index, Verdict::kAnswered, replies == c.echo_count ? Reason::kNone : Reason::kLossy);
    return;
  }
  // What was never sent might have been answered: then nobody can say that the check failed.
  const uint32_t unsent = of(EchoOutcome::kSendError) + of(EchoOutcome::kNotSent);
  if (replies + unsent >= c.min_replies) {
    finish(index, Verdict::kNotMeasured,
           of(EchoOutcome::kSendError) > 0 ? Reason::kSendError : Reason::kLate);
    return;
  }
  c.reason = Reason::kTimeout;
  uint32_t most = of(EchoOutcome::kTimeout);
  if (of(EchoOutcome::kTimeExceeded) > 0 && of(EchoOutcome::kTimeExceeded) >= most) {
    c.reason = Reason::kTimeExceeded;
    most = of(EchoOutcome::kTimeExceeded);
  }
  uint32_t unreachable = 0;
  for (size_t o = 0; o < n.size(); ++o) {
    if (is_unreachable(static_cast<EchoOutcome>(o))) unreachable += n[o];
  }
  if (unreachable > 0 && unreachable >= most) c.reason = Reason::kUnreachable;
  confirm(index, now);
}

// The train failed: is the device really gone? Burst and proof of life begin together.
void Engine::confirm(uint32_t index, MonoTime now) {
  Check& c = check(index);
  const Device& d = devices_[c.device];
  c.state = State::kConfirm;
  if (d.has_proof) {
    c.proof = Proof::kWaiting;
    ++stats_.proofs_wanted;
    proofs_wanted_.push_back({index, c.generation, d.id});
  }
  if (config_.burst_count == 0 || c.frozen || d.failed_run >= down_after_) {
    conclude(index, now);
    return;
  }
  ++stats_.bursts;
  c.burst_block = allocate_block(config_.burst_count);
  send_next(index, now);
}

// No echo is under way any more.
void Engine::conclude(uint32_t index, MonoTime now) {
  switch (check(index).proof) {
    case Proof::kWaiting:
    case Proof::kStalled:
      return;  // io always answers
    case Proof::kNone:
    case Proof::kNotAlive:
      fail(index, now);
      return;
    case Proof::kNotTried:  // it might have been alive
      ++stats_.slots_missed;
      finish(index, Verdict::kNotMeasured, Reason::kQueueFull);
      return;
    case Proof::kUnknown:
      ++stats_.slots_missed;
      finish(index, Verdict::kNotMeasured, Reason::kLate);
      return;
  }
}

void Engine::fail(uint32_t index, MonoTime now) {
  Check& c = check(index);
  failed_ms_ += c.interval_ms;
  if (devices_[c.device].failed_run < down_after_) consider_hold(c, now);
  finish(index, Verdict::kFailed, c.reason);
}

void Engine::finish(uint32_t index, Verdict verdict, Reason reason) {
  Check& c = check(index);
  wheel_.cancel(index);
  for (uint32_t i = 0; i < c.handed; ++i) {  // echoes nobody waits for any more
    Echo& e = echo(c, i);
    if (!e.pending) continue;
    e.pending = false;
    e.outcome = EchoOutcome::kNotSent;
    --awaiting_;
  }
  if (c.device == kNone) {
    finish_probe(index);
    return;
  }
  if (c.proof == Proof::kWaiting || c.proof == Proof::kStalled) {
    proofs_cancelled_.push_back({index, c.generation, devices_[c.device].id});
    c.proof = Proof::kNone;
  }
  c.state = State::kFinished;
  c.verdict = verdict;
  c.reason = reason;
  if (verdict == Verdict::kAnswered) answered_ms_ += c.interval_ms;
  settle(c.device);
}

void Engine::finish_unmeasured(uint32_t index, Reason reason) {
  check(index).no_echoes = true;
  finish(index, Verdict::kNotMeasured, reason);
}

// --- proofs of life, pause ----------------------------------------------------------------------

void Engine::on_proofs(std::span<const ProofDone> done, MonoTime now) {
  for (const ProofDone& p : done) {
    if (p.check >= checks_.size()) continue;
    Check& c = check(p.check);
    const bool waiting = c.proof == Proof::kWaiting || c.proof == Proof::kStalled;
    if (c.state != State::kConfirm || c.generation != p.generation || !waiting) continue;
    const bool stalled = c.proof == Proof::kStalled;
    c.proof = stalled ? Proof::kUnknown : Proof::kNotAlive;
    Extra& x = extra(c);
    const ProofResult* alive = nullptr;
    for (const ProofResult& result : p.results) {
      if (x.proofs.size() == kProofsPerCheckMax) break;
      x.proofs.push_back(result);
      if (result.outcome == ProofOutcome::kAlive) alive = &result;
      if (result.outcome == ProofOutcome::kNotTried) c.proof = Proof::kNotTried;
    }
    if (alive != nullptr) {
      ++stats_.proofs_alive;
      finish(p.check, Verdict::kAnswered,
             alive->kind == ProofKind::kWeb ? Reason::kWebAlive : Reason::kTcpAlive);
      continue;
    }
    if (c.proof == Proof::kNotTried) ++stats_.proofs_not_tried;
    if (c.resolved == echoes_in_all(c)) conclude(p.check, now);
  }
}

void Engine::on_stall() {
  for (Check& c : checks_) {
    if (c.state == State::kConfirm && c.proof == Proof::kWaiting) c.proof = Proof::kStalled;
  }
}

void Engine::pause(const std::string& by) {
  if (by == paused_by_) return;
  paused_by_ = by;
  if (by.empty()) return;
  const auto at = std::find(pausers_.begin(), pausers_.end(), by);
  pauser_ = static_cast<uint32_t>(at - pausers_.begin());
  if (at != pausers_.end()) return;
  if (pausers_.size() < kPausersMax) {
    pausers_.push_back(by);
  } else {
    pausers_[--pauser_] = by;
  }
}

// --- clock --------------------------------------------------------------------------------------

void Engine::on_wall_step() {
  for (uint32_t i = 0; i < checks_.size(); ++i) {
    if (in_flight(checks_[i])) finish_unmeasured(i, Reason::kClockStep);
  }
}

void Engine::on_clock_step(MonoTime now) {
  on_wall_step();
  const int64_t now_ms = clock_.slot_ms(now);
  suspect_until_ms_ = std::min(suspect_until_ms_, now_ms);
  const int64_t from_ms = std::max(schedule_.until_ms(), now_ms - kMissedAgeMsMax);
  const uint64_t share = active_ == 0 ? 0 : kMissedTotalMax / active_;
  const int64_t most = static_cast<int64_t>(std::min<uint64_t>(kMissedSlotsMax, share));
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    Device& d = devices_[i];
    if (d.phase != Phase::kActive) continue;
    d.since_ms = std::min(d.since_ms, now_ms + 1);
    const int64_t interval = d.interval_ms;
    const int64_t last = slot_at_or_before(d.id, d.interval_ms, now_ms);
    const int64_t all = last > from_ms ? (last - from_ms + interval - 1) / interval : 0;
    const int64_t kept = std::min(all, most);
    miss(i, {.interval_ms = d.interval_ms,
             .first_due_ms = last - (kept - 1) * interval,
             .count = static_cast<uint32_t>(kept),
             .reason = Reason::kClockStep});
  }
  schedule_.restart(now_ms);
}

std::optional<MonoTime> Engine::next_wakeup() const {
  if (!sends_.empty()) return MonoTime{};  // of a probe: at once
  std::optional<MonoTime> at = wheel_.next();
  if (const auto due = schedule_.next_due_ms()) {
    const MonoTime slot = clock_.mono_of_slot_ms(*due);
    if (!at || slot < *at) at = slot;
  }
  if (!paused() && active_ > 0) {
    if (const auto canary = canaries_.next_wakeup(); canary && (!at || *canary < *at)) at = canary;
  }
  if (hold_until_ && (!at || *hold_until_ < *at)) at = hold_until_;
  return at;
}

}  // namespace gema::prober
