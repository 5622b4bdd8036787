#include "services/gateway/core/live_view.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/base/assert.h"
#include "common/domain/chunk.h"

namespace gema::gateway {
namespace {

constexpr const char* kTracker = "timeout-tracker";

std::optional<size_t> find_device(const Catalogue* catalogue, DeviceId device) {
  if (catalogue == nullptr) {
    return std::nullopt;
  }
  const auto& devices = catalogue->devices;
  const auto found = std::lower_bound(devices.begin(), devices.end(), device,
                                      [](const Device& d, DeviceId id) { return d.id < id; });
  if (found == devices.end() || found->id != device) {
    return std::nullopt;
  }
  return static_cast<size_t>(found - devices.begin());
}

std::shared_ptr<const ResultDetails> details_of(const ResultView& v) {
  if (v.verdict == Verdict::kAnswered && v.reason == Reason::kNone && v.outcomes.size() == 1 &&
      v.burst_sent == 0 && v.notes.empty() && v.proofs.empty()) {
    return nullptr;
  }
  auto out = std::make_shared<ResultDetails>();
  for (size_t e = 0; e < v.outcomes.size(); ++e) {
    out->echoes.push_back({v.outcomes[e], v.rtt_us[e]});
  }
  out->burst_sent = v.burst_sent;
  out->burst_rtt_us.assign(v.burst_rtt_us.begin(), v.burst_rtt_us.end());
  out->notes.assign(v.notes.begin(), v.notes.end());
  for (EchoNote& note : out->notes) {
    note.index = 0;
  }
  out->proofs.assign(v.proofs.begin(), v.proofs.end());
  for (ProofResult& proof : out->proofs) {
    proof.index = 0;
  }
  return out;
}

ProberHealth worse(const ProberHealth& a, const ProberHealth& b) {
  return {.lag_max_us = std::max(a.lag_max_us, b.lag_max_us),
          .send_errors = std::max(a.send_errors, b.send_errors),
          .socket_drops = std::max(a.socket_drops, b.socket_drops),
          .missed_slots = std::max(a.missed_slots, b.missed_slots),
          .paused_ms = std::max(a.paused_ms, b.paused_ms),
          .canaries_answered = std::max(a.canaries_answered, b.canaries_answered),
          .canaries_failed = std::max(a.canaries_failed, b.canaries_failed)};
}

int64_t second_of(Now now) {
  return std::chrono::floor<std::chrono::seconds>(now.mono.time_since_epoch()).count();
}

bool is_stale(const DeviceLive& live, const Device& device, Now now) {
  const int64_t allowed = 3 * static_cast<int64_t>(device.interval_ms) +
                          static_cast<int64_t>(device.timeout_ms) + kStaleSlackMs;
  return unix_ms(now.wall) - live.newest_ms > allowed;
}

}  // namespace

std::optional<size_t> View::find(DeviceId device) const {
  return find_device(catalogue.get(), device);
}

Counts View::counts() const {
  Counts out;
  for (size_t i = 0; i < live.size(); ++i) {
    const DeviceLive& device = live[i];
    if (!is_checked(catalogue->devices[i])) {
      continue;
    }
    ++out.devices;
    if (device.newest_verdict == Verdict::kNotMeasured ||
        is_stale(device, catalogue->devices[i], at)) {
      ++out.not_measured;
    } else if (device.newest_verdict == Verdict::kAnswered) {
      ++out.answered;
    } else {
      ++out.failed;
    }
    out.silent +=
        device.status == DeviceStatus::kDown || device.status == DeviceStatus::kUnknown ? 1 : 0;
    out.timeouts += device.consecutive_timeouts > 0 ? 1 : 0;
    if (device.measured()) {
      ++(device.online() ? out.online : out.offline);
    }
  }
  return out;
}

RoundTrips View::round_trips() const {
  std::vector<uint32_t> rtts;
  rtts.reserve(live.size());
  for (size_t i = 0; i < live.size(); ++i) {
    // 0: by proof of life, without an echo.
    if (live[i].newest_verdict == Verdict::kAnswered && live[i].rtt_us > 0 &&
        !is_stale(live[i], catalogue->devices[i], at)) {
      rtts.push_back(live[i].rtt_us);
    }
  }
  if (rtts.empty()) {
    return {};
  }
  const auto [min, max] = std::minmax_element(rtts.begin(), rtts.end());
  RoundTrips out{.min_us = *min, .max_us = *max};
  const auto middle = rtts.begin() + static_cast<std::ptrdiff_t>((rtts.size() - 1) / 2);
  std::nth_element(rtts.begin(), middle, rtts.end());
  out.median_us = *middle;
  return out;
}

bool LiveView::on_catalogue(Catalogue catalogue, Now now) {
  if (catalogue_ != nullptr && catalogue.version <= catalogue_->version) {
    return false;
  }
  std::sort(catalogue.devices.begin(), catalogue.devices.end(),
            [](const Device& a, const Device& b) { return a.id < b.id; });
  const bool added =
      std::any_of(catalogue.devices.begin(), catalogue.devices.end(),
                  [this](const Device& d) { return !find_device(catalogue_.get(), d.id); });
  set_devices(std::make_shared<const Catalogue>(std::move(catalogue)));
  ++catalogue_changes_;
  catalogue_heard_at_ = now.wall;
  if (added) {
    // Results of a new device may have come before its name.
    buffering_ = true;
    want_snapshot(now.mono);
  }
  return true;
}

void LiveView::on_device_changed(const Device& device) {
  if (catalogue_ == nullptr) {
    return;
  }
  Catalogue changed = *catalogue_;
  const auto at = std::lower_bound(changed.devices.begin(), changed.devices.end(), device.id,
                                   [](const Device& d, DeviceId id) { return d.id < id; });
  if (at != changed.devices.end() && at->id == device.id) {
    *at = device;
  } else {
    changed.devices.insert(at, device);
  }
  set_devices(std::make_shared<const Catalogue>(std::move(changed)));
}

void LiveView::on_device_deleted(DeviceId device) {
  const auto index = index_of(device);
  if (!index) {
    return;
  }
  Catalogue changed = *catalogue_;
  changed.devices.erase(changed.devices.begin() + static_cast<std::ptrdiff_t>(*index));
  set_devices(std::make_shared<const Catalogue>(std::move(changed)));
}

// Carries the states of devices that stay over to their new places. Both lists are sorted by id.
void LiveView::set_devices(std::shared_ptr<const Catalogue> catalogue) {
  std::vector<DeviceLive> live(catalogue->devices.size());
  size_t old = 0;
  for (size_t i = 0; i < live.size() && catalogue_ != nullptr; ++i) {
    const DeviceId id = catalogue->devices[i].id;
    while (old < live_.size() && catalogue_->devices[old].id < id) {
      ++old;
    }
    if (old < live_.size() && catalogue_->devices[old].id == id) {
      live[i] = live_[old];
    }
  }
  live_ = std::move(live);
  catalogue_ = std::move(catalogue);
}

std::optional<size_t> LiveView::index_of(DeviceId device) const {
  return find_device(catalogue_.get(), device);
}

uint16_t LiveView::name(const std::string& text) {
  if (text.empty()) {
    return 0;
  }
  const auto found = name_numbers_.find(text);
  if (found != name_numbers_.end()) {
    return found->second;
  }
  if (names_.size() >= kNamesMax) {
    return 0;
  }
  const auto number = static_cast<uint16_t>(names_.size());
  names_.push_back(text);
  name_numbers_.emplace(text, number);
  return number;
}

void LiveView::on_results(const RecordId& record, const PingResults& results, WallTime produced_at,
                          Now now) {
  stats_.results += results.size();
  count_rate(results.size(), results.health.lag_max_us, now);
  newest_record_at_ = std::max(newest_record_at_.value_or(produced_at), produced_at);
  take_health(record.producer, results, now);
  for (const AddressChange& change : results.address_changes) {
    new_address_changes_.push_back({change, results.location, record.producer});
    if (new_address_changes_.size() > kAddressChangesMax) {
      new_address_changes_.erase(new_address_changes_.begin());
    }
  }
  const int64_t slot_max_ms = unix_ms(now.wall + kFutureMax);
  if (std::any_of(results.due_ms.begin(), results.due_ms.end(),
                  [slot_max_ms](int64_t slot) { return slot > slot_max_ms; })) {
    // A prober whose clock is ahead: believed, its devices would stand still until we get there.
    ++stats_.future_records;
    return;
  }
  apply(record, results);
  if (!buffering_) {
    return;
  }
  if (buffered_results_ + results.size() > kBufferedResultsMax) {
    ++stats_.buffer_overflows;
    buffer_.clear();
    buffered_results_ = 0;
  }
  buffer_.push_back({record, results});
  buffered_results_ += results.size();
  stats_.buffered_results = buffered_results_;
}

void LiveView::apply(const RecordId& record, const PingResults& results) {
  const uint16_t location = name(results.location);
  const uint16_t prober = name(record.producer);
  size_t burst = 0;
  size_t guess = 0;  // ids of a batch often rise: the next device is often the next index
  for (size_t i = 0; i < results.size(); ++i) {
    while (burst < results.burst.size() && results.burst[burst].index < i) {
      ++burst;
    }
    const bool has_burst = burst < results.burst.size() && results.burst[burst].index == i;
    const uint32_t rtt = mean_rtt_us(results, i, has_burst ? &results.burst[burst] : nullptr);
    std::optional<size_t> index;
    if (guess < live_.size() && catalogue_->devices[guess].id == results.device[i]) {
      index = guess;
    } else {
      index = index_of(results.device[i]);
    }
    if (!index) {
      ++stats_.unknown_devices;
      continue;
    }
    guess = *index + 1;
    apply_one(live_[*index], results, i, rtt, location, prober);
  }
  for (const Stray& stray : results.strays) {
    apply_stray(stray, prober);
  }
}

// An answer to an echo whose result has left: it is told beside the result, if that is the latest.
void LiveView::apply_stray(const Stray& stray, uint16_t prober) {
  const auto index = index_of(stray.device);
  if (!index) {
    return;
  }
  DeviceLive& live = live_[*index];
  if (live.slot_ms != stray.due_ms || live.prober != prober) {
    return;
  }
  ResultDetails details = live.details == nullptr ? ResultDetails{} : *live.details;
  auto& strays = details.strays;
  if (std::find(strays.begin(), strays.end(), stray) != strays.end() ||
      strays.size() >= kStraysMax) {
    return;  // applied again after a snapshot, or one who answers for ever
  }
  if (live.details == nullptr && live.interval_ms != 0) {  // one echo, answered
    details.echoes.push_back({EchoOutcome::kReply, live.rtt_us});
  }
  strays.push_back(stray);
  live.details = std::make_shared<const ResultDetails>(std::move(details));
}

Suspicion LiveView::Prober::now(MonoTime now) const {
  return suspected_at && now - *suspected_at <= kSuspicionHeld ? suspicion : Suspicion::kNone;
}

void LiveView::take_health(const std::string& name, const PingResults& results, Now now) {
  const auto found = probers_.find(name);
  if (found == probers_.end() && probers_.size() >= kProbersMax) {
    ++stats_.probers_refused;
    return;
  }
  Prober& prober = found == probers_.end() ? probers_[name] : found->second;
  prober.location = results.location;
  if (const int64_t second = second_of(now); prober.second != second) {
    prober.before = prober.second == second - 1 ? prober.worst : ProberHealth{};
    prober.worst = {};
    prober.second = second;
  }
  prober.worst = worse(prober.worst, results.health);
  // A batch of another partition may have been made before the suspicion: it ends by time.
  if (results.health.suspicion == Suspicion::kNone) {
    return;
  }
  if (prober.now(now.mono) != results.health.suspicion) {
    prober.since = now.wall;
  }
  prober.suspicion = results.health.suspicion;
  prober.suspected_at = now.mono;
}

ProberTrust LiveView::trust(const std::string& name, const Prober& prober, Now now) const {
  ProberTrust out{.name = name,
                  .location = prober.location,
                  .suspicion = prober.now(now.mono),
                  .since = prober.since,
                  .health = {}};
  if (out.suspicion == Suspicion::kNone && prober.suspected_at) {
    out.since = now.wall - (now.mono - *prober.suspected_at) + kSuspicionHeld;
  }
  const int64_t second = second_of(now);
  if (second - prober.second <= 1) {
    out.health = worse(prober.worst, prober.before);
  }
  out.health.suspicion = out.suspicion;
  return out;
}

void LiveView::apply_one(DeviceLive& live, const PingResults& results, size_t i, uint32_t rtt_us,
                         uint16_t location, uint16_t prober) {
  const int64_t slot = results.due_ms[i];
  const Verdict verdict = results.verdict[i];
  // A slot that was not measured by one prober and measured by another was measured.
  const bool newer = slot > live.newest_ms ||
                     (slot == live.newest_ms && live.newest_verdict == Verdict::kNotMeasured);
  if (newer) {
    live.newest_ms = slot;
    live.newest_verdict = verdict;
    live.newest_reason = results.reason[i];
    live.newest_text = results.reason[i] == Reason::kPaused
                           ? name(results.note.substr(0, kTextBytesMax))
                           : uint16_t{0};
  }
  if (verdict == Verdict::kNotMeasured) {
    return;
  }
  if (slot <= live.slot_ms) {
    ++stats_.late_slots;
    return;
  }
  live.slot_ms = slot;
  live.verdict = verdict;
  live.reason = results.reason[i];
  live.rtt_us = rtt_us;
  live.location = location;
  live.prober = prober;
  live.interval_ms = results.interval_ms[i];
  live.details = details_of(view_of(results, i));
  if (verdict == Verdict::kAnswered) {
    live.last_success_ms = slot;
    live.consecutive_timeouts = 0;
    live.first_timeout_ms = 0;
    live.last_timeout_ms = 0;
  } else {
    live.first_timeout_ms = live.consecutive_timeouts == 0 ? slot : live.first_timeout_ms;
    live.last_timeout_ms = slot;
    ++live.consecutive_timeouts;
  }
  recent_.push_back(results.device[i]);
  if (recent_.size() > kRecentResultsMax) {
    recent_.pop_front();
  }
}

// The device as the tracker knows it. The newest slot of any kind is ours alone.
void LiveView::take_state(DeviceLive& live, const DeviceState& state) {
  live.status = state.status;
  live.consecutive_timeouts = state.consecutive_timeouts;
  live.first_timeout_ms = state.first_timeout_ms;
  live.last_timeout_ms = state.last_timeout_ms;
  live.since_ms = state.since_ms;
  live.last_success_ms = state.last_success_ms;
  live.transition_counter = state.transition_counter;
  if (live.slot_ms != state.last_slot_ms) {
    live.details = nullptr;
    live.interval_ms = 0;
  }
  live.slot_ms = state.last_slot_ms;
  live.verdict = state.last_slot_ms == 0 ? Verdict::kNotMeasured : state.last_verdict;
  live.reason = state.last_reason;
  live.rtt_us = live.verdict == Verdict::kAnswered ? state.last_rtt_us : 0;
  live.location = name(state.location);
  live.prober = name(state.last_prober);
  if (live.slot_ms > live.newest_ms) {
    live.newest_ms = live.slot_ms;
    live.newest_verdict = live.verdict;
    live.newest_reason = live.reason;
    live.newest_text = 0;
  }
}

void LiveView::on_transition(const Transition& transition, Now now) {
  const RecentTransition recent{.device = transition.device,
                                .from = transition.from,
                                .to = transition.to,
                                .reason = transition.reason,
                                .slot_ms = transition.slot_ms,
                                .decided_at = transition.decided_at,
                                .consecutive_timeouts = transition.state.consecutive_timeouts};
  const auto index = index_of(transition.device);
  if (!index || transition.state.transition_counter <= live_[*index].transition_counter) {
    return;
  }
  transitions_.push_back(recent);
  if (transitions_.size() > kRecentTransitionsMax) {
    transitions_.pop_front();
  }
  new_transitions_.push_back(recent);
  if (new_transitions_.size() > kRecentTransitionsMax) {
    new_transitions_.erase(new_transitions_.begin());
  }
  DeviceLive& live = live_[*index];
  live.status = transition.to;
  live.since_ms = transition.state.since_ms;
  live.transition_counter = transition.state.transition_counter;
  if (transition.state.last_slot_ms >= live.slot_ms) {
    take_state(live, transition.state);
  } else if (transition.reason == TransitionReason::kReset) {
    // Counted anew from a slot before our newest: only the tracker knows how far.
    buffering_ = true;
    want_snapshot(now.mono);
  }
}

void LiveView::on_gap(const std::optional<RecordId>& last_missed, Now now) {
  ++stats_.gaps;
  gap_while_in_flight_ = in_flight_;
  buffering_ = true;
  if (last_missed) {
    uint64_t& seq = missed_[{last_missed->producer, last_missed->epoch, last_missed->partition}];
    seq = std::max(seq, last_missed->seq);
  }
  want_snapshot(now.mono);
}

void LiveView::on_stream_began(Now now) {
  begin_anew(now.mono);
}

void LiveView::begin_anew(MonoTime now) {
  gap_while_in_flight_ = in_flight_;
  buffering_ = true;
  want_snapshot(now + kSnapshotGrace);
}

void LiveView::want_snapshot(MonoTime at) {
  snapshot_due_ = std::max(at, snapshot_due_.value_or(at));
}

bool LiveView::take_snapshot_request(Now now) {
  if (in_flight_ || catalogue_ == nullptr) {
    return false;
  }
  if (!tracker_loaded_ && !snapshot_due_) {
    snapshot_due_ = now.mono;
  }
  if (!snapshot_due_ || *snapshot_due_ > now.mono) {
    return false;
  }
  snapshot_due_.reset();
  in_flight_ = true;
  gap_while_in_flight_ = false;
  buffering_ = true;
  return true;
}

// True when the snapshot includes all that was missed and, for every stream we kept records of, all
// before the first kept.
bool LiveView::aligned(const Snapshot& snapshot) const {
  std::map<StreamKey, uint64_t> included;
  for (const auto& p : snapshot.positions) {
    included[{p.producer, p.epoch, p.partition}] = p.seq;
  }
  std::map<StreamKey, uint64_t> needed = missed_;
  std::map<StreamKey, uint64_t> first;
  for (const auto& b : buffer_) {
    first.try_emplace({b.record.producer, b.record.epoch, b.record.partition}, b.record.seq);
  }
  for (const auto& [stream, seq] : first) {
    uint64_t& need = needed[stream];
    need = std::max(need, seq - 1);
  }
  return std::all_of(needed.begin(), needed.end(), [&included](const auto& stream) {
    const auto found = included.find(stream.first);
    return stream.second <= (found == included.end() ? 0 : found->second);
  });
}

void LiveView::on_snapshot(const Snapshot& snapshot, Now now) {
  GEMA_ASSERT(in_flight_);
  in_flight_ = false;
  if (!aligned(snapshot) && tracker_loaded_ && ++unaligned_ < kUnalignedSnapshotsMax) {
    ++stats_.snapshots_unaligned;
    want_snapshot(now.mono + kSnapshotRetry);
    return;
  }
  const bool complete = aligned(snapshot);
  stats_.snapshots_unaligned += complete ? 0 : 1;
  ++stats_.snapshots;
  tracking_enabled_ = snapshot.timeout_tracking_enabled;
  critical_threshold_ = snapshot.critical_threshold;
  timeouts_file_ = snapshot.timeouts_file;
  for (const DeviceState& state : snapshot.states) {
    const auto index = index_of(state.device);
    if (!index) {
      continue;
    }
    take_state(live_[*index], state);
  }
  const LiveViewStats before = stats_;  // what is applied again is not counted again
  for (const Buffered& b : buffer_) {
    apply(b.record, b.results);
  }
  stats_.late_slots = before.late_slots;
  stats_.unknown_devices = before.unknown_devices;
  const bool again = !complete && unaligned_ < kUnalignedSnapshotsMax;
  if (!tracker_loaded_ && again) {
    ++unaligned_;
  }
  tracker_loaded_ = true;
  if (gap_while_in_flight_ || again) {
    want_snapshot(now.mono + kSnapshotRetry);
  }
  if (!snapshot_due_) {
    unaligned_ = 0;
    buffering_ = false;
    missed_.clear();
    buffer_.clear();
    buffered_results_ = 0;
    stats_.buffered_results = 0;
  }
}

void LiveView::on_snapshot_failed(Now now) {
  GEMA_ASSERT(in_flight_);
  in_flight_ = false;
  want_snapshot(now.mono + kSnapshotRetry);
}

std::optional<MonoTime> LiveView::next_wakeup() const {
  return in_flight_ ? std::nullopt : snapshot_due_;
}

void LiveView::on_heartbeat(Process process) {
  const MonoTime now = process.heard_at;
  if (process.kind == kTracker && process.started_at != tracker_started_at_) {
    // It may have been started with other settings, which the snapshot brings.
    if (std::exchange(tracker_started_at_, process.started_at) != WallTime{}) begin_anew(now);
  }
  std::erase_if(processes_, [now](const auto& entry) {
    return now - entry.second.heard_at > kProcessForgottenAfter;
  });
  const auto found = processes_.find(process.name);
  if (found == processes_.end() && processes_.size() >= kProcessesMax) {
    ++stats_.processes_refused;
    return;
  }
  processes_[process.name] = std::move(process);
}

void LiveView::count_rate(size_t results, uint32_t lag_us, Now now) {
  const int64_t second = second_of(now);
  first_second_ = first_second_.value_or(second);
  if (seconds_.empty() || seconds_.back().second != second) {
    seconds_.push_back({.second = second, .results = 0, .lag_max_us = 0});
    while (seconds_.size() > kRateSeconds + 1) {
      seconds_.pop_front();
    }
  }
  seconds_.back().results += results;
  seconds_.back().lag_max_us = std::max(seconds_.back().lag_max_us, lag_us);
}

View LiveView::view(Now now) const {
  View out;
  out.at = now;
  out.catalogue = catalogue_;
  out.live = live_;
  out.names = names_;
  out.tracker_loaded = tracker_loaded_;
  out.tracking_enabled = tracking_enabled_;
  out.critical_threshold = critical_threshold_;
  out.timeouts_file = timeouts_file_;
  out.catalogue_changes = catalogue_changes_;
  out.catalogue_heard_at = catalogue_heard_at_;
  out.newest_record_at = newest_record_at_;
  out.probing = probing_;
  out.transitions = transitions_;
  for (const auto& [name, process] : processes_) {
    out.processes.push_back(process);
  }
  for (const auto& [name, prober] : probers_) {
    out.probers.push_back(trust(name, prober, now));
  }
  // Whole seconds only, and only those since the first result: a young view is not slow.
  const int64_t current = second_of(now);
  uint64_t results = 0;
  for (const Second& s : seconds_) {
    if (s.second >= current - kRateSeconds) {
      out.rates.lag_max_us = std::max(out.rates.lag_max_us, s.lag_max_us);
      results += s.second < current ? s.results : 0;
    }
  }
  const int64_t seconds =
      std::min<int64_t>(kRateSeconds, current - first_second_.value_or(current));
  out.rates.results_per_second =
      seconds > 0 ? static_cast<double>(results) / static_cast<double>(seconds) : 0;
  return out;
}

std::vector<DeviceId> LiveView::take_recent_results() {
  std::vector<DeviceId> out(recent_.begin(), recent_.end());
  recent_.clear();
  // Of several results of a device only the place of the last counts.
  std::vector<DeviceId> seen;
  std::vector<DeviceId> newest_first;
  for (auto it = out.rbegin(); it != out.rend(); ++it) {
    if (std::find(seen.begin(), seen.end(), *it) == seen.end()) {
      seen.push_back(*it);
      newest_first.push_back(*it);
    }
  }
  std::reverse(newest_first.begin(), newest_first.end());
  return newest_first;
}

std::vector<RecentTransition> LiveView::take_new_transitions() {
  return std::exchange(new_transitions_, {});
}

std::vector<RecentAddressChange> LiveView::take_new_address_changes() {
  return std::exchange(new_address_changes_, {});
}

std::vector<ProberTrust> LiveView::take_new_trust(Now now) {
  std::vector<ProberTrust> out;
  for (auto& [name, prober] : probers_) {
    if (const Suspicion suspicion = prober.now(now.mono); suspicion != prober.told) {
      prober.told = suspicion;
      out.push_back(trust(name, prober, now));
    }
  }
  return out;
}

}  // namespace gema::gateway
