// The engine: probes, and whether the prober trusts itself just now (§5).
//
// Suspect: when lag, send errors or socket drops pass their limits, or most canaries that answered
// before now fail. What leaves then, or was under way then, is not measured (prober suspect), but
// for what is certain: a check all of whose echoes were answered, a proof of life, and what is not
// measured for a reason of its own.
//
// Hold: a check that fails proves something only if the wire was well when its last echo was sent.
// So, unless most canaries have answered an echo of a later time, uncertain verdicts wait until the
// canaries have been asked, at most kHoldMax. They answer: the device is down. They do not: the
// prober is suspect. That covers §5's lost share, whatever the share. Devices that are down already
// prove nothing new and hold nothing. Without a canary that ever answered nothing is held.
#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "services/prober/core/engine.h"

namespace gema::prober {

// --- probes -------------------------------------------------------------------------------------

bool Engine::probe(const ProbeRequest& request, MonoTime now) {
  const bool started = request.address.known() && request.count >= 1 &&
                       request.count <= kEchoCountMax && calls_ < kProbesMax &&
                       start_probe(request, false, now);
  ++(started ? stats_.probes : stats_.probes_refused);
  return started;
}

bool Engine::start_probe(const ProbeRequest& request, bool canary, MonoTime now) {
  const uint32_t index = allocate_check();
  if (index == kNone) return false;
  uint32_t probe = static_cast<uint32_t>(probes_.size());
  if (free_probes_.empty()) {
    probes_.emplace_back();
  } else {
    probe = free_probes_.back();
    free_probes_.pop_back();
  }
  probes_[probe] = {request.id, request.address, canary, canary};
  calls_ += canary ? 0 : 1;
  Check& c = check(index);
  c.state = State::kTrain;
  c.device = kNone;
  c.missed = probe;
  c.due_ms = clock_.slot_ms(now);
  c.timeout_ms = std::clamp(request.timeout_ms, kTimeoutMsMin, kTimeoutMsMax);
  c.spacing_ms =
      static_cast<uint16_t>(std::clamp(request.spacing_ms, kEchoSpacingMsMin, kEchoSpacingMsMax));
  c.echo_count = request.count;
  if (c.echo_count > 1) c.train_block = allocate_block(c.echo_count);
  send_next(index, now);
  return true;
}

void Engine::finish_probe(uint32_t index) {
  Check& c = check(index);
  wheel_.cancel(index);
  const uint32_t probe = c.missed;
  ProbeOutcome outcome{.id = probes_[probe].id};
  bool answered = false;
  for (uint32_t i = 0; i < c.echo_count; ++i) {
    Echo unsent{.outcome = EchoOutcome::kNotSent};
    const Echo& e = i < c.handed ? echo(c, i) : unsent;
    outcome.outcomes.push_back(e.outcome);
    outcome.rtt_us.push_back(e.outcome == EchoOutcome::kReply ? e.rtt_us : 0);
    answered = answered || e.outcome == EchoOutcome::kReply;
  }
  if (c.extra != kNone) outcome.notes = extras_[c.extra].notes;
  const bool canary = probes_[probe].canary;
  release_check(index);
  free_probes_.push_back(probe);
  if (canary) {
    canary_outcomes_.emplace_back(outcome.id, answered);
    return;
  }
  --calls_;
  probes_done_.push_back(std::move(outcome));
}

void Engine::take_probes(const std::function<void(const ProbeOutcome&)>& take) {
  for (const ProbeOutcome& outcome : std::exchange(probes_done_, {})) take(outcome);
}

// --- trust --------------------------------------------------------------------------------------

void Engine::guard(MonoTime now) {
  for (const auto& [id, answered] : canary_outcomes_) canaries_.on_outcome(id, answered, now);
  canary_outcomes_.clear();
  if (!paused() && active_ > 0) {
    canary_probes_.clear();
    canaries_.tick(now, canary_probes_);
    for (const CanaryProbe& p : canary_probes_) {
      const ProbeRequest request{.id = p.id,
                                 .address = p.address,
                                 .count = p.count,
                                 .timeout_ms = kCanaryTimeoutMs,
                                 .spacing_ms = kCanarySpacingMs};
      // No room for a check: then devices' slots are not measured either.
      if (!start_probe(request, true, now)) canaries_.not_asked(p.id);
    }
  }
  if (now >= window_end_) watch(now);
  suspect_.on_canaries(canaries_.most_fail());
  forget_dead_canaries(now);
  if (hold_until_) decide_hold(now);
  suspicion_ = suspect_.cause(now);
  if (suspicion_ != Suspicion::kNone) suspect_until_ms_ = clock_.slot_ms(now);
}

void Engine::watch(MonoTime now) {
  const Suspect::Window window{.lag_us = window_lag_us_,
                               .sent = stats_.sent - window_sent_,
                               .send_errors = own_errors_ - window_errors_,
                               .socket_drops = drops_ - window_drops_};
  suspect_.on_window(window, now);
  window_end_ = now + kSuspectWindow;
  window_lag_us_ = 0;
  window_sent_ = stats_.sent;
  window_errors_ = own_errors_;
  window_drops_ = drops_;
}

void Engine::forget_dead_canaries(MonoTime now) {
  if (!canaries_.most_fail()) {
    canaries_failing_since_.reset();
    return;
  }
  if (!canaries_failing_since_) {
    canaries_failing_since_ = now;
    answered_ms_ = failed_ms_ = 0;
  }
  const uint64_t all = answered_ms_ + failed_ms_;
  if (now - *canaries_failing_since_ < kCanaryForgetAfter || all == 0 ||
      answered_ms_ * 100 < all * kCanaryForgetPercent) {
    return;
  }
  stats_.canaries_forgotten += canaries_.forget_failing();
  suspect_.on_canaries(false);
}

void Engine::consider_hold(Check& c, MonoTime now) {
  if (hold_until_ || suspicion_ != Suspicion::kNone || canaries_.known() == 0) return;
  int64_t last_ns = 0;
  for (uint32_t i = 0; i < c.handed; ++i) last_ns = std::max(last_ns, echo(c, i).sent_ns);
  if (canaries_.answered_since(MonoTime(Duration(last_ns)))) return;
  ++stats_.holds;
  hold_until_ = now + kHoldMax;
  canaries_.recheck();
}

void Engine::decide_hold(MonoTime now) {
  const auto answer = canaries_.rechecked();
  if (!answer && now < *hold_until_) return;
  hold_until_.reset();
  if (!answer.value_or(false)) {
    suspect_.on_canaries(true);
    suspect_until_ms_ = clock_.slot_ms(now);
  }
  suspicion_ = suspect_.cause(now);
  for (const uint32_t device : held_) settle(device);
  held_.clear();
}

bool Engine::certain(const Check& c) const {
  return c.verdict == Verdict::kNotMeasured ||
         (c.verdict == Verdict::kAnswered && c.reason != Reason::kLossy);
}

bool Engine::doubtful(const Check& c) const {
  return !certain(c) && (suspicion_ != Suspicion::kNone || c.due_ms <= suspect_until_ms_);
}

}  // namespace gema::prober
