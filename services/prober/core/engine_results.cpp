// The engine's results: in slot order per device, in records per partition.
#include <algorithm>

#include "common/base/assert.h"
#include "services/prober/core/engine.h"

namespace gema::prober {
namespace {

// Estimates for a record's size: what a result and an echo cost at most (a device id far from the
// one before takes 10 bytes, the rest of the columns 5 each).
constexpr size_t kResultBytes = 24;
constexpr size_t kEchoBytesEach = 6;
constexpr size_t kBurstBytes = 16;
constexpr size_t kNoteBytes = 48;  // who said it included
constexpr size_t kProofBytes = 24;

}  // namespace

void Engine::settle(uint32_t device) {
  Device& d = devices_[device];
  while (d.head != kNone && check(d.head).state == State::kFinished) {
    if (hold_until_ && !certain(check(d.head))) {
      held_.push_back(device);
      return;
    }
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
      PingResults& out = record_for(d.partition, kResultBytes,
                                    c.reason == Reason::kPaused ? &pausers_[c.extra] : nullptr);
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
  if (doubtful(c)) {
    c.verdict = Verdict::kNotMeasured;
    c.reason = Reason::kProberSuspect;
    c.no_echoes = true;
  }
  if (c.verdict == Verdict::kFailed && d.failed_run < UINT16_MAX) ++d.failed_run;
  if (c.verdict == Verdict::kAnswered) d.failed_run = 0;
  const uint32_t echoes = c.no_echoes ? 0 : c.echo_count;
  const bool has_burst = c.burst_block != kNone && !c.no_echoes;
  const bool has_extra = c.extra != kNone && !c.no_echoes;
  size_t bytes = kResultBytes + kEchoBytesEach * echoes;
  if (has_burst) bytes += kBurstBytes + kEchoBytesEach * config_.burst_count;
  if (has_extra) {
    bytes += kNoteBytes * extras_[c.extra].notes.size();
    bytes += kProofBytes * extras_[c.extra].proofs.size();
  }
  PingResults& out = record_for(d.partition, bytes);
  const auto index = static_cast<uint32_t>(out.size());
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
  if (has_burst) {
    BurstResult burst{.index = index};
    for (uint32_t i = c.echo_count; i < c.handed; ++i) {
      const Echo& e = echo(c, i);
      burst.sent += e.sent_ns != 0 ? 1 : 0;
      if (e.outcome == EchoOutcome::kReply) burst.rtt_us.push_back(e.rtt_us);
    }
    out.burst.push_back(std::move(burst));
  }
  if (has_extra) emit_extra(extras_[c.extra], index, out);
  ++waiting_results_;
  count(c.verdict, c.reason, 1);
}

void Engine::emit_extra(Extra& x, uint32_t index, PingResults& out) {
  std::stable_sort(x.notes.begin(), x.notes.end(),
                   [](const EchoNote& a, const EchoNote& b) { return a.echo < b.echo; });
  for (EchoNote& n : x.notes) {
    n.index = index;
    out.notes.push_back(n);
  }
  for (ProofResult& p : x.proofs) {
    p.index = index;
    out.proofs.push_back(p);
  }
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

// The partition's open record, or a new one when that is full, or when its note is another.
PingResults& Engine::record_for(uint32_t partition, size_t bytes, const std::string* note) {
  Records& r = records_[partition];
  bool fits = r.used > 0 && r.bytes + bytes <= kRecordBytes;
  if (fits && note != nullptr) {
    const std::string& has = r.record[r.used - 1].note;
    fits = has.empty() || has == *note;
  }
  if (!fits) {
    if (r.used == r.record.size()) r.record.emplace_back();
    ++r.used;
    r.bytes = 0;
  }
  r.bytes += bytes;
  PingResults& record = r.record[r.used - 1];
  if (note != nullptr && record.note.empty()) {
    record.note = *note;
    r.bytes += note->size();
  }
  return record;
}

void Engine::take_asides(Records& r) {
  PingResults& last = r.record[r.used - 1];
  std::swap(last.strays, r.strays);
  const size_t n = std::min(r.changes.size(), kAddressChangesPerRecord);
  const auto end = r.changes.begin() + static_cast<std::ptrdiff_t>(n);
  last.address_changes.assign(r.changes.begin(), end);
  r.changes.erase(r.changes.begin(), end);
}

void Engine::take_results(const std::function<void(uint32_t, PingResults&)>& take) {
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    Records& r = records_[partition];
    if (r.used > 0) take_asides(r);
    for (size_t i = 0; i < r.used; ++i) {
      take(partition, r.record[i]);
      r.record[i].clear();
    }
    r.used = 0;
    r.bytes = 0;
    if (r.record.size() > 4) r.record.resize(4);  // a catch-up's memory is not kept
  }
  waiting_results_ = 0;
  strays_noted_ = 0;
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
