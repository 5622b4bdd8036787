#include "services/prober/core/engine.h"

#include <algorithm>
#include <bit>

#include "common/base/assert.h"

namespace gema::prober {
namespace {

int64_t ns(MonoTime t) {
  return t.time_since_epoch().count();
}
constexpr int64_t ns_of(Duration d) {
  return d.count();
}

// Estimates for a record's size: what a result and an echo cost at most (a device id far from the
// one before takes 10 bytes, the rest of the columns 5 each).
constexpr size_t kResultBytes = 24;
constexpr size_t kEchoBytesEach = 6;
constexpr size_t kBurstBytes = 16;

}  // namespace

Engine::Engine(EngineConfig config, const SlotClock& clock, MonoTime now)
    : config_(config), clock_(clock), schedule_(clock.slot_ms(now)), wheel_(now) {
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
    stats_.slots_missed += m.count;
    stats_.slots_dropped += m.count - kept;
    miss(m.device,
         {.interval_ms = interval,
          .first_due_ms = m.first_due_ms + static_cast<int64_t>(m.count - kept) * interval,
          .count = static_cast<uint32_t>(kept),
          .reason = Reason::kLate});
  }
  for (const Schedule::Due& d : due_) begin(d.device, d.due_ms, now);
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
  if (d.tail != kNone) {
    Check& last = check(d.tail);
    const int64_t next_due = last.due_ms + static_cast<int64_t>(last.missed) * last.interval_ms;
    if (last.state == State::kMissed && last.reason == run.reason &&
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
  settle(device);
}

void Engine::send_next(uint32_t index, MonoTime now) {
  Check& c = check(index);
  const uint32_t ordinal = c.handed++;
  const bool burst = c.state == State::kBurst;
  echo(c, ordinal) = Echo{.pending = true};
  ++awaiting_;
  // A train must end within its interval, so its spacing shrinks when it must.
  const Duration spacing =
      burst ? config_.burst_spacing
            : std::min<Duration>(config_.echo_spacing,
                                 std::chrono::milliseconds(c.interval_ms) / c.echo_count);
  c.next_send_ns = ns(now + spacing);
  sends_.push_back({.check = index,
                    .generation = c.generation,
                    .ordinal = static_cast<uint8_t>(ordinal),
                    .burst = burst,
                    .timeout_ms = c.timeout_ms,
                    .destination = devices_[c.device].address});
}

void Engine::on_sent(std::span<const Sent> sent) {
  for (const Sent& s : sent) {
    Check& c = check(s.check);
    const bool in_flight = c.state == State::kTrain || c.state == State::kBurst;
    if (!in_flight || c.generation != s.generation) {  // an answer ended the burst meanwhile
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
        if (s.ordinal == 0) note_lag(c, s.at);
        arm(s.check);
        break;
      case SendStatus::kBusy:
        ++stats_.busy;
        if (++c.busy >= kBusyTriesMax) {
          c.busy = 0;
          ++stats_.send_errors;
          resolve(c, e, EchoOutcome::kSendError);
          advance(s.check, s.at);
          break;
        }
        --c.handed;
        e.pending = false;
        --awaiting_;
        c.next_send_ns = ns(s.at + kBusyRetry);
        arm(s.check);
        break;
      case SendStatus::kNoFamily:
        if (c.state == State::kTrain && c.handed == 1) {
          finish_unmeasured(s.check, Reason::kNoAddress);
          break;
        }
        [[fallthrough]];
      case SendStatus::kRefused:
        ++stats_.send_errors;
        resolve(c, e, EchoOutcome::kSendError);
        advance(s.check, s.at);
        break;
    }
  }
}

void Engine::note_lag(const Check& c, MonoTime at) {
  const int64_t late_ns = std::max<int64_t>(clock_.slot_ns(at) - c.due_ms * 1'000'000, 0);
  const auto us = static_cast<uint32_t>(std::min<int64_t>(late_ns / 1000, 0xffffffff));
  lag_max_us_ = std::max(lag_max_us_, us);
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
}

// What a check does next, after something became known or time passed.
void Engine::advance(uint32_t index, MonoTime now) {
  Check& c = check(index);
  if (c.handed < echoes_in_all(c)) send_or_give_up(index, now);
  if (c.state != State::kTrain && c.state != State::kBurst) return;  // given up
  if (c.resolved < echoes_in_all(c)) {
    arm(index);
  } else if (c.state == State::kTrain) {
    conclude_train(index, now);
  } else {
    finish(index, Verdict::kFailed, c.reason);
  }
}

void Engine::send_or_give_up(uint32_t index, MonoTime now) {
  Check& c = check(index);
  const int64_t spacing_ms = std::min<int64_t>(config_.echo_spacing / 1ms,
                                               c.echo_count ? c.interval_ms / c.echo_count : 0);
  while (c.handed < echoes_in_all(c)) {
    if (!c.frozen && c.next_send_ns > ns(now)) return;
    const int64_t planned_ms = c.due_ms + c.handed * spacing_ms;
    const bool too_late =
        c.state == State::kTrain && clock_.slot_ms(now) - planned_ms > late_after_ms(c.interval_ms);
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
  if (of(EchoOutcome::kUnreachable) > 0 && of(EchoOutcome::kUnreachable) >= most) {
    c.reason = Reason::kUnreachable;
  }
  const Device& d = devices_[c.device];
  if (config_.burst_count == 0 || c.frozen || d.failed_run >= down_after_) {
    finish(index, Verdict::kFailed, c.reason);
    return;
  }
  ++stats_.bursts;
  c.burst_block = allocate_block(config_.burst_count);
  c.state = State::kBurst;
  send_next(index, now);
}

void Engine::finish(uint32_t index, Verdict verdict, Reason reason) {
  Check& c = check(index);
  wheel_.cancel(index);
  for (uint32_t i = 0; i < c.handed; ++i) {  // echoes nobody waits for any more
    Echo& e = echo(c, i);
    if (!e.pending) continue;
    e.pending = false;
    --awaiting_;
  }
  c.state = State::kFinished;
  c.verdict = verdict;
  c.reason = reason;
  settle(c.device);
}

void Engine::finish_unmeasured(uint32_t index, Reason reason) {
  check(index).no_echoes = true;
  finish(index, Verdict::kNotMeasured, reason);
}

// --- answers ------------------------------------------------------------------------------------

void Engine::on_answers(std::span<const Answer> answers, MonoTime now) {
  for (const Answer& answer : answers) on_answer(answer, now);
}

// The ordinal of the oldest echo in flight of the check that an error quotes too little of; kNone
// when the error is about something else.
uint32_t Engine::match_inexact(const Answer& answer) {
  Check& c = check(answer.check);
  Address sent_to = devices_[c.device].address;
  sent_to.scope = 0;  // not in a packet
  if (c.frozen || sent_to != answer.destination) return kNone;
  for (uint32_t i = 0; i < c.handed; ++i) {
    if (echo(c, i).pending) return i;
  }
  return kNone;
}

void Engine::count_stray(const Answer& answer) {
  if (!answer.exact) {
    ++stats_.foreign;
  } else if (answer.outcome == EchoOutcome::kReply && answer.at - answer.sent > answer.timeout) {
    ++stats_.late_replies;
  } else if (answer.burst) {
    ++stats_.surplus;
  } else {
    ++stats_.duplicates;
  }
}

void Engine::on_answer(const Answer& answer, MonoTime now) {
  if (answer.check >= checks_.size()) {
    ++stats_.foreign;
    return;
  }
  Check& c = check(answer.check);
  const bool in_flight = c.state == State::kTrain || c.state == State::kBurst;
  if (!in_flight || (answer.exact && c.generation != answer.generation)) {
    count_stray(answer);
    return;
  }
  const uint32_t ordinal = answer.exact ? answer.ordinal : match_inexact(answer);
  if (ordinal >= c.handed || !echo(c, ordinal).pending || echo(c, ordinal).sent_ns == 0) {
    count_stray(answer);
    return;
  }
  Echo& e = echo(c, ordinal);
  EchoOutcome outcome = answer.outcome;
  if (outcome == EchoOutcome::kReply) {
    int64_t rtt = ns(answer.at) - e.sent_ns;
    if (rtt < -ns_of(kWallStepMin)) rtt = ns(now) - e.sent_ns;  // the clock was set back just now
    if (rtt > static_cast<int64_t>(c.timeout_ms) * 1'000'000) {
      // Received after its time, read before the timer fired: the kernel's timestamp decides.
      outcome = EchoOutcome::kTimeout;
      ++stats_.late_replies;
      ++stats_.timeouts;
    } else {
      // The send time is interpolated over a batch, so a reply may seem to precede it.
      e.rtt_us = static_cast<uint32_t>(std::max<int64_t>((rtt + 500) / 1000, 1));
      ++stats_.replies;
    }
  } else {
    ++(outcome == EchoOutcome::kUnreachable ? stats_.unreachable : stats_.time_exceeded);
  }
  resolve(c, e, outcome);
  if (c.state == State::kBurst && outcome == EchoOutcome::kReply) {
    finish(answer.check, Verdict::kAnswered, Reason::kLossy);
  } else {
    advance(answer.check, now);
  }
}

// --- proofs, probes, pause: to be filled in -----------------------------------------------------

void Engine::on_proofs(std::span<const ProofDone>, MonoTime) {}
bool Engine::probe(const ProbeRequest&, MonoTime) {
  return false;
}
void Engine::take_probes(const std::function<void(const ProbeOutcome&)>&) {}
void Engine::pause(const std::string& by) {
  paused_by_ = by;
}
void Engine::resume() {
  paused_by_.clear();
}

// --- clock --------------------------------------------------------------------------------------

void Engine::on_wall_step() {
  for (uint32_t i = 0; i < checks_.size(); ++i) {
    const State state = checks_[i].state;
    if (state == State::kTrain || state == State::kBurst) finish_unmeasured(i, Reason::kClockStep);
  }
}

void Engine::on_clock_step(MonoTime now) {
  on_wall_step();
  const int64_t now_ms = clock_.slot_ms(now);
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
  std::optional<MonoTime> at = wheel_.next();
  if (const auto due = schedule_.next_due_ms()) {
    const MonoTime slot = clock_.mono_of_slot_ms(*due);
    if (!at || slot < *at) at = slot;
  }
  return at;
}

// --- results ------------------------------------------------------------------------------------

void Engine::settle(uint32_t device) {
  Device& d = devices_[device];
  while (d.head != kNone && check(d.head).state == State::kFinished) {
    emit(check(d.head), d);
    pop_head(d);
  }
  if (d.head != kNone && check(d.head).state == State::kMissed && !d.queued) {
    d.queued = true;
    missed_queue_.push_back(device);
  }
}

void Engine::pop_head(Device& d) {
  const uint32_t index = d.head;
  d.head = check(index).next;
  if (d.head == kNone) d.tail = kNone;
  release_check(index);
}

uint32_t Engine::release_missed(uint32_t budget) {
  uint32_t released = 0;
  while (released < budget && missed_head_ < missed_queue_.size()) {
    const uint32_t device = missed_queue_[missed_head_];
    Device& d = devices_[device];
    Check& c = check(d.head);
    GEMA_ASSERT(c.state == State::kMissed);
    const uint32_t n = std::min(c.missed, budget - released);
    for (uint32_t i = 0; i < n; ++i) {
      PingResults& out = record_for(d.partition, kResultBytes);
      out.device.push_back(d.id);
      out.interval_ms.push_back(c.interval_ms);
      out.due_ms.push_back(c.due_ms);
      out.verdict.push_back(Verdict::kNotMeasured);
      out.reason.push_back(c.reason);
      out.echo_begin.push_back(static_cast<uint32_t>(out.echo_outcome.size()));
      c.due_ms += c.interval_ms;
    }
    c.missed -= n;
    released += n;
    waiting_results_ += n;
    count(Verdict::kNotMeasured, c.reason, n);
    if (c.missed > 0) break;
    ++missed_head_;
    d.queued = false;
    pop_head(d);
    settle(device);
  }
  missed_queue_.erase(missed_queue_.begin(),
                      missed_queue_.begin() + static_cast<std::ptrdiff_t>(missed_head_));
  missed_head_ = 0;
  return released;
}

void Engine::emit(Check& c, Device& d) {
  if (c.verdict == Verdict::kFailed && d.failed_run < UINT16_MAX) ++d.failed_run;
  if (c.verdict == Verdict::kAnswered) d.failed_run = 0;
  const uint32_t echoes = c.no_echoes ? 0 : c.echo_count;
  size_t bytes = kResultBytes + kEchoBytesEach * echoes;
  if (c.burst_block != kNone) bytes += kBurstBytes + kEchoBytesEach * config_.burst_count;
  PingResults& out = record_for(d.partition, bytes);
  out.device.push_back(d.id);
  out.interval_ms.push_back(c.interval_ms);
  out.due_ms.push_back(c.due_ms);
  out.verdict.push_back(c.verdict);
  out.reason.push_back(c.reason);
  for (uint32_t i = 0; i < echoes; ++i) {
    const Echo& e = echo(c, i);
    out.echo_outcome.push_back(e.outcome);
    out.echo_rtt_us.push_back(e.outcome == EchoOutcome::kReply ? e.rtt_us : 0);
  }
  out.echo_begin.push_back(static_cast<uint32_t>(out.echo_outcome.size()));
  if (c.burst_block != kNone && !c.no_echoes) {
    BurstResult burst{.index = static_cast<uint32_t>(out.size() - 1)};
    for (uint32_t i = c.echo_count; i < c.handed; ++i) {
      const Echo& e = echo(c, i);
      burst.sent += e.sent_ns != 0 ? 1 : 0;
      if (!e.pending && e.outcome == EchoOutcome::kReply) burst.rtt_us.push_back(e.rtt_us);
    }
    out.burst.push_back(std::move(burst));
  }
  ++waiting_results_;
  count(c.verdict, c.reason, 1);
}

void Engine::count(Verdict verdict, Reason reason, uint64_t n) {
  switch (verdict) {
    case Verdict::kAnswered:
      stats_.answered += n;
      break;
    case Verdict::kFailed:
      stats_.failed += n;
      break;
    case Verdict::kNotMeasured:
      stats_.not_measured += n;
      stats_.not_measured_by_reason[static_cast<size_t>(reason)] += n;
      break;
  }
}

PingResults& Engine::record_for(uint32_t partition, size_t bytes) {
  Records& r = records_[partition];
  if (r.used == 0 || r.bytes + bytes > kRecordBytes) {
    if (r.used == r.record.size()) r.record.emplace_back();
    ++r.used;
    r.bytes = 0;
  }
  r.bytes += bytes;
  return r.record[r.used - 1];
}

void Engine::take_results(const std::function<void(uint32_t, PingResults&)>& take) {
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    Records& r = records_[partition];
    for (size_t i = 0; i < r.used; ++i) {
      take(partition, r.record[i]);
      r.record[i].clear();
    }
    r.used = 0;
    r.bytes = 0;
    if (r.record.size() > 4) r.record.resize(4);  // a catch-up's memory is not kept
  }
  waiting_results_ = 0;
}

int64_t Engine::done_until_ms() const {
  int64_t done = schedule_.until_ms();
  for (const Device& d : devices_) {
    if (d.head != kNone) done = std::min(done, checks_[d.head].due_ms - 1);
  }
  return done;
}

uint32_t Engine::take_lag_max_us() {
  const uint32_t worst = lag_max_us_;
  lag_max_us_ = 0;
  return worst;
}

}  // namespace gema::prober
