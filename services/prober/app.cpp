#include "services/prober/app.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>

#include "common/bus/topics.h"
#include "common/observability/log.h"
#include "common/runtime/clock.h"
#include "services/prober/core/limits.h"
#include "services/prober/io/address_text.h"
#include "services/prober/io/privileges.h"
#include "services/prober/io/routes.h"

namespace gema::prober {
namespace {

// A turn this much later than asked for means that the process did not run.
constexpr Duration kPauseMin = 200ms;
// After so long a proof of life that fails may have had no time to succeed.
constexpr Duration kStallMin = 1s;
// How long messages of the bus may wait.
constexpr Duration kBusEvery = 20ms;

// Filled by main() before the App exists.
Result<std::unique_ptr<IcmpSockets>>& opened_sockets() {
  static Result<std::unique_ptr<IcmpSockets>> sockets =
      Error{Errc::kPermanent, "the ICMP sockets were not opened at start"};
  return sockets;
}

// The routing table may change.
constexpr Duration kCanariesEvery = 10s;

SuspectLimits suspect_limits(const App::Config& config) {
  return {.lag = config.suspect_lag,
          .send_errors_percent = config.suspect_send_errors_percent,
          .socket_drops_percent = config.suspect_socket_drops_percent};
}

// Reading an assignment takes several times what is kept of it, in pieces too small for the
// allocator to return by itself.
void give_back_memory() {
  malloc_trim(0);
}

uint32_t difference(uint64_t total, uint32_t& reported) {
  const auto more = static_cast<uint32_t>(total - reported);  // totals modulo 2^32
  reported = static_cast<uint32_t>(total);
  return more;
}

// Raises the limit of open files as far as it goes; returns how many connections that leaves room
// for.
uint32_t allow_open_files(uint32_t connections) {
  constexpr rlim_t kOthers = 128;  // sockets, spool, bus
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur =
      std::min<rlim_t>(files.rlim_max, std::max<rlim_t>(files.rlim_cur, connections + kOthers));
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur >= connections + kOthers) return connections;
  const auto room = static_cast<uint32_t>(std::max<rlim_t>(files.rlim_cur, kOthers + 16) - kOthers);
  obs::log_warn("fewer proofs of life at once: open files are limited", {{"proofs", room}});
  return room;
}

}  // namespace

void App::open_sockets() {
  init_curl();
  opened_sockets() = IcmpSockets::open();
  if (const auto dropped = drop_capabilities(); !dropped && opened_sockets()) {
    opened_sockets() = dropped.error();
  }
}

App::App(Config config, const runtime::Environment& environment)
    : config_(std::move(config)), environment_(environment), metrics_(environment.metrics) {}

App::~App() = default;

Result<void> App::start() {
  if (!opened_sockets()) return opened_sockets().error();
  sockets_ = std::move(*opened_sockets());
  if (auto configured = sockets_->configure({.v4 = config_.address_family != "ipv6",
                                             .v6 = config_.address_family != "ipv4",
                                             .source_ipv4 = config_.source_ipv4,
                                             .source_ipv6 = config_.source_ipv6,
                                             .dscp = static_cast<uint8_t>(config_.dscp),
                                             .payload_bytes = config_.payload_bytes,
                                             .dont_fragment = config_.dont_fragment});
      !configured) {
    return configured;
  }
  const Now now = runtime::read_clock();
  if (auto opened = open_spool(now); !opened) return opened;
  clock_ = std::make_unique<SlotClock>(now);
  engine_ = std::make_unique<Engine>(EngineConfig{.burst_count = config_.burst_count,
                                                  .burst_spacing = config_.burst_spacing,
                                                  .checks_max = sockets_->checks_max(),
                                                  .suspect = suspect_limits(config_)},
                                     *clock_, now.mono);
  read_canaries(now.mono);
  auto resolver = Resolver::open(
      environment_.loop,
      {.v4 = sockets_->has(4), .v6 = sockets_->has(6), .servers = config_.dns_servers});
  if (!resolver) return resolver.error();
  resolver_ = std::move(*resolver);
  open_proofs();
  assignments_ = std::make_unique<Assignments>(environment_.instance,
                                               environment_.state_dir() / "assignment.pb", *engine_,
                                               *resolver_, *proofs_);
  restore_assignment(now);
  give_back_memory();
  if (!assignments_->any()) {
    environment_.health.set_waiting("assignment", "inventory has not sent one yet");
  }
  if (auto opened = open_bus(now); !opened) return opened;
  obs::log_info("probing", {{"sockets", sockets_->describe()}, {"devices", engine_->devices()}});
  flush_due_ = now.mono + config_.flush;
  return {};
}

void App::open_proofs() {
  const auto source = [](const std::string& text) {
    return parse_address(text).value_or(Address{});  // configure() has refused what is none
  };
  proofs_ = std::make_unique<Proofs>(
      ProofConfig{.connections_max = allow_open_files(config_.proofs_max),
                  .secrets_dir = config_.secrets_dir.empty()
                                     ? environment_.common.data_dir / "secrets"
                                     : std::filesystem::path(config_.secrets_dir),
                  .ca_file = config_.web_ca_file,
                  .source_ipv4 = source(config_.source_ipv4),
                  .source_ipv6 = source(config_.source_ipv6)},
      environment_.loop, [this](const std::string& name) { return resolver_->known(name); });
}

Result<void> App::open_spool(Now now) {
  auto producer = stream::Producer::open({.dir = environment_.spool_dir(),
                                          .stream = "ping",
                                          .name = environment_.instance,
                                          .groups = {"recorder", "timeout-tracker"},
                                          .bytes_max = config_.spool_bytes_max},
                                         now);
  if (!producer) return producer.error();
  producer_ = std::move(*producer);
  spooler_ = std::make_unique<Spooler>(*producer_, environment_.state_dir() / "mark.pb");
  return {};
}

Result<void> App::open_bus(Now now) {
  auto bus = bus::BusClient::open({.ingress = environment_.common.ingress_endpoint(),
                                   .egress = environment_.common.edge_endpoint(),
                                   .keys_dir = environment_.common.keys_dir(),
                                   .name = environment_.instance});
  if (!bus) return bus.error();
  bus_ = std::move(*bus);
  bus_->subscribe(bus::assign_topic(environment_.instance));
  for (const std::string& prefix : producer_->subscriptions()) bus_->subscribe(prefix);
  environment_.loop.add_fd(bus_->fd(), [this](Now) { bus_readable_ = true; });
  environment_.health.set_waiting("broker", "not connected yet");
  on_demand_ = std::make_unique<OnDemand>(*bus_, environment_.instance, config_.location, *engine_);
  heartbeat_ = std::make_unique<bus::Heartbeat>(*bus_, kName, now, [this](auto& message) {
    message.set_location(config_.location);
    message.mutable_assignment()->set_generation(assignments_->version().generation);
    message.mutable_assignment()->set_number(assignments_->version().number);
    message.set_leaving(leaving_since_.has_value());
    message.set_paused(engine_->paused());
    message.set_paused_by(engine_->paused_by());
    message.set_ready(environment_.health.ready());
    for (const auto& what : environment_.health.waiting_for()) message.add_waiting_for(what);
  });
  environment_.loop.set_may_stop([this](Now at) { return may_stop(at); });
  return {};
}

void App::restore_assignment(Now now) {
  auto schedules = assignments_->restore();
  if (!schedules) {
    obs::log_error("kept assignment ignored", {{"why", schedules.error().message}});
  } else {
    report_missed_slots(*schedules, now);
  }
}

void App::report_missed_slots(const std::vector<KeptSchedule>& schedules, Now now) {
  const auto past = spooler_->read_past();
  now = runtime::read_clock();
  engine_->begin_at(now.mono);
  if (!past) {
    obs::log_error("spool not read back; slots before this start are not reported",
                   {{"why", past.error().message}});
    return;
  }
  const CatchUp plan =
      plan_catch_up(schedules, past->done_until_ms, past->last_slot, clock_->slot_ms(now.mono));
  engine_->add_missed(plan.runs);
  if (plan.slots + plan.left_out == 0) return;
  obs::log_info("slots were missed while not running",
                {{"reported", plan.slots}, {"older_left_out", plan.left_out}});
}

std::optional<MonoTime> App::turn(Now now) {
  now = check_clock(now);
  note_pause(now);
  resolver_->tick(now.mono, resolved_);
  for (const Resolved& r : resolved_) {
    if (r.device != 0) engine_->set_address(r.device, r.to);  // 0: a web_url's host
  }
  resolved_.clear();

  // Answers before timers: what has arrived must not time out, however long we were stopped.
  const bool drained = drain(now);
  if (drained) engine_->expire(now.mono);
  size_t sends = send(now);  // what the timers want first, so that nothing is handed out twice
  engine_->start_due(now.mono);
  sends += send(now);
  pace(sends);
  on_demand_->answer();

  prove(now);
  note_suspicion();

  flush(now);
  if (bus_readable_ || now.mono >= bus_due_) use_bus(now);
  if (!engine_->sends().empty()) send(now);  // what a call asked for
  if (now.mono >= second_due_) each_second(now);
  const MonoTime next = next_wakeup(now, drained);
  const MonoTime end = runtime::read_clock().mono;
  if (end - now.mono >= kStallMin) engine_->on_stall();  // stopped within the turn
  // A second reading, so that a long turn does not look as if the process had been stopped.
  wanted_ = std::max(next, end);
  return next;
}

// --- clock --------------------------------------------------------------------------------------

Now App::check_clock(Now now) {
  ClockEvent event = clock_->on_reading(now);
  for (int i = 0; i < 4 && clock_->wants_second_reading(); ++i) {
    now = runtime::read_clock();
    event = clock_->on_reading(now);
  }
  if (event != ClockEvent::kNone) on_clock_event(event, now);
  return now;
}

void App::on_clock_event(ClockEvent event, Now now) {
  obs::log_warn("the wall clock was set",
                {{"error_ms", clock_->error() / 1ms}, {"step", event == ClockEvent::kStepped}});
  if (event == ClockEvent::kWallStepped) {
    ++wall_steps_;
    engine_->on_wall_step();
    return;
  }
  ++clock_steps_;
  // What was in flight belongs to the old epoch; its slots are told before the new one begins.
  engine_->on_wall_step();
  take_results(now);
  if (const auto begun = producer_->clock_stepped(now); !begun) {
    obs::log_error("no new epoch after the clock step", {{"why", begun.error().message}});
  }
  spooler_->forget_marks();
  engine_->on_clock_step(now.mono);
}

void App::note_pause(Now now) {
  if (wanted_ == MonoTime{} || now.mono - wanted_ < kPauseMin) return;
  const auto ms =
      static_cast<uint32_t>(std::min<int64_t>((now.mono - wanted_) / 1ms, 0xffffffff - paused_ms_));
  if (now.mono - wanted_ >= kStallMin) engine_->on_stall();
  paused_ms_ += ms;
  paused_ms_total_ += ms;
}

// --- packets ------------------------------------------------------------------------------------

bool App::drain(Now now) {
  if (!engine_->awaits_answers() && now.mono < read_due_) return true;
  answers_.clear();
  const bool empty = sockets_->receive(*clock_, kDrainMax, answers_);
  read_due_ = now.mono + kReceivePollMax;
  engine_->on_socket_drops(sockets_->stats().drops);
  engine_->on_answers(answers_, now.mono);
  return empty;
}

size_t App::send(Now now) {
  size_t count = 0;
  while (!engine_->sends().empty()) {
    last_send_ = now.mono;
    sends_.clear();
    std::swap(sends_, engine_->sends());
    count += sends_.size();
    for (size_t i = 0; i < sends_.size(); i += kSendsBetweenDrains) {
      const std::span<const Send> some =
          std::span(sends_).subspan(i, std::min(kSendsBetweenDrains, sends_.size() - i));
      sent_.clear();
      // Dense sends do without the kernel's stamps: ADR 0050.
      sockets_->send(some, sent_, stamping_ ? clock_.get() : nullptr);
      engine_->on_sent(sent_);
      if (i + kSendsBetweenDrains < sends_.size()) drain(now);
    }
  }
  return count;
}

// How long the next sends may gather: as long as they stay a small batch.
void App::pace(size_t sends) {
  if (sends == 0) return;
  quantum_ =
      std::clamp(quantum_ * static_cast<int64_t>(kSendsPerQuantum) / static_cast<int64_t>(sends),
                 kSendQuantumMin, kSendQuantumMax);
}

// --- proofs of life ------------------------------------------------------------------------------

void App::prove(Now now) {
  for (const ProofWanted& p : engine_->proofs_cancelled()) proofs_->cancel(p);
  engine_->proofs_cancelled().clear();
  for (const ProofWanted& p : engine_->proofs_wanted()) proofs_->want(p, now);
  engine_->proofs_wanted().clear();
  proofs_->tick(now);
  proofs_done_.clear();
  proofs_->take_done(proofs_done_);
  if (!proofs_done_.empty()) engine_->on_proofs(proofs_done_, now.mono);
}

// --- canaries ------------------------------------------------------------------------------------

void App::read_canaries(MonoTime now) {
  canaries_due_ = now + kCanariesEvery;
  std::vector<Address> all;
  std::string names;
  auto add = [&](const Address& address) {
    if (!sockets_->has(address.family)) return;
    if (std::find(all.begin(), all.end(), address) != all.end()) return;
    all.push_back(address);
    names += (names.empty() ? "" : " ") + to_text(address);
  };
  for (const std::string& item : config_.canaries) {
    if (item != "gateway") {
      add(parse_address(item).value_or(Address{}));  // the configuration was checked
      continue;
    }
    for (const Address& gateway : default_gateways()) add(gateway);
  }
  if (names == canaries_logged_) return;
  obs::log_info("canaries", {{"addresses", names}});
  if (all.size() > kCanariesMax) obs::log_warn("too many canaries", {{"used", kCanariesMax}});
  canaries_logged_ = names;
  engine_->set_canaries(all);
}

void App::note_suspicion() {
  const Suspicion cause = engine_->suspicion();
  if (cause == suspicion_logged_) return;
  suspicion_logged_ = cause;
  if (cause == Suspicion::kNone) {
    obs::log_info("this prober trusts itself again");
  } else {
    obs::log_warn("this prober suspects itself: what fails is not measured",
                  {{"cause", to_string(cause)},
                   {"canaries_answering", engine_->canaries().answering()},
                   {"canaries_failing", engine_->canaries().failing()}});
  }
}

// --- results ------------------------------------------------------------------------------------

void App::flush(Now now) {
  if (now.mono < flush_due_) return;
  flush_due_ = std::max(flush_due_ + config_.flush, now.mono);
  spooler_->retry(now);
  engine_->release_missed(kMissedPerFlush);
  take_results(now);
  if (spooler_->last_error() != append_error_logged_) {
    append_error_logged_ = spooler_->last_error();
    obs::log_error("the spool refuses records", {{"why", append_error_logged_}});
  }
  bus_due_ = now.mono;
}

void App::take_results(Now now) {
  if (!engine_->has_results()) return;
  const ProberHealth health{
      .lag_max_us = engine_->take_lag_max_us(),
      .send_errors = difference(engine_->stats().send_errors, reported_.send_errors),
      .socket_drops = difference(sockets_->stats().drops, reported_.socket_drops),
      .missed_slots = difference(engine_->stats().slots_missed, reported_.missed_slots),
      .paused_ms = std::exchange(paused_ms_, 0),
      .canaries_answered = engine_->canaries().answering(),
      .canaries_failed = engine_->canaries().failing(),
      .suspicion = engine_->suspicion()};
  engine_->take_results([&](uint32_t partition, PingResults& results) {
    results.location = config_.location;
    results.health = health;
    spooler_->append(partition, results, now);
  });
}

// --- bus ----------------------------------------------------------------------------------------

void App::use_bus(Now now) {
  bus_readable_ = false;
  const std::string assign = bus::assign_topic(environment_.instance);
  while (bus_->receive(topic_, payload_)) {
    if (on_demand_->on_message(topic_, payload_, now)) continue;
    if (topic_ != assign) {
      producer_->on_message(topic_, payload_, now);
      continue;
    }
    const auto taken = assignments_->on_part(payload_);
    if (!taken) {
      ++assignments_refused_;
      obs::log_warn("assignment refused", {{"why", taken.error().message}});
    } else if (*taken) {
      give_back_memory();
      environment_.health.clear_waiting("assignment");
      heartbeat_->hurry();  // a planned move waits for it
    }
  }
  producer_->tick(now);
  for (const stream::Outgoing& message : producer_->take_outgoing(now)) {
    bus_->publish(message.topic, message.payload);
  }
  bus_due_ = std::min({now.mono + kBusEvery * 10, bus_->tick(now), heartbeat_->tick(now)});
  if (const auto at = producer_->next_wakeup()) bus_due_ = std::min(bus_due_, *at);
  if (const auto at = on_demand_->tick(now)) bus_due_ = std::min(bus_due_, *at);
  bus_due_ = std::max(bus_due_, now.mono + kBusEvery);
}

void App::each_second(Now now) {
  const Duration passed = std::min<Duration>(now.mono - second_due_ + 1s, 10s);
  const auto sent = static_cast<int64_t>(engine_->stats().sent - sent_before_);
  stamping_ = sent * 1s <= kStampedPerSecondMax * passed;
  sent_before_ = engine_->stats().sent;
  second_due_ = now.mono + 1s;
  if (now.mono >= canaries_due_) read_canaries(now.mono);
  take_results(now);
  if (spooler_->up_to_date()) {
    spooler_->mark(engine_->done_until_ms(), engine_->scheduled_until_ms());
  }
  if (paused_ms_total_ != paused_ms_logged_) {
    obs::log_warn("this process did not run", {{"ms", paused_ms_total_ - paused_ms_logged_}});
    paused_ms_logged_ = paused_ms_total_;
  }
  if (bus_->connected()) {
    environment_.health.clear_waiting("broker");
  } else {
    environment_.health.set_waiting("broker", bus_->why_not_connected());
  }
  for (const stream::ProducerEvent& event : producer_->take_events()) {
    obs::log_warn("spool", {{"event", event.text}, {"epoch", event.epoch}});
  }
  metrics_.update({.engine = *engine_,
                   .sockets = sockets_->stats(),
                   .proofs = *proofs_,
                   .spool = producer_->stats(),
                   .bus = bus_->stats(),
                   .devices_refused = assignments_->refused_devices(),
                   .names = resolver_->names(),
                   .names_unresolved = resolver_->unresolved(),
                   .names_failing = resolver_->failing(),
                   .resolver = resolver_->stats(),
                   .records_waiting = spooler_->waiting(),
                   .records_dropped = spooler_->records_dropped(),
                   .append_errors = spooler_->append_errors(),
                   .clock_steps = clock_steps_,
                   .wall_steps = wall_steps_,
                   .paused_ms = paused_ms_total_,
                   .assignments_refused = assignments_refused_,
                   .on_demand = on_demand_->stats(),
                   .clock_error_seconds = static_cast<double>(clock_->error().count()) / 1e9});
}

MonoTime App::next_wakeup(Now now, bool drained) {
  if (!drained) return now.mono;
  MonoTime next = std::min({flush_due_, bus_due_, second_due_});
  if (const auto at = resolver_->next_wakeup(now.mono)) next = std::min(next, *at);
  if (const auto at = proofs_->next_wakeup()) next = std::min(next, *at);
  // Dense slots are sent in batches; a lone one is sent at its time.
  if (const auto at = engine_->next_wakeup()) {
    next = std::min(next, std::max(*at, last_send_ + quantum_));
  }
  if (engine_->awaits_answers()) {
    const Duration since = (now.mono - last_send_) / 2;
    next = std::min(next, now.mono + std::clamp(since, kReceivePollMin, kReceivePollMax));
  }
  return next;
}

// Other probers take over what this one checks, if there are any; it goes on until then, and until
// its last results are acknowledged: a planned stop leaves nothing unmeasured.
bool App::may_stop(Now now) {
  if (!bus_ || !bus_->connected()) return true;
  if (!leaving_since_) {
    leaving_since_ = now.mono;
    version_at_leaving_ = assignments_->version();
    heartbeat_->hurry();
    bus_due_ = now.mono;
    obs::log_info("leaving", {{"devices", engine_->devices()}});
  }
  const Duration since = now.mono - *leaving_since_;
  if (since >= kLeaveMax || !assignments_->any()) return true;
  if (assignments_->version() == version_at_leaving_) return since >= kLeaveAnswerMax;
  const bool idle = engine_->devices() == 0 && engine_->checks_in_flight() == 0;
  if (!idle || engine_->has_results()) return false;
  if (!idle_since_) idle_since_ = now.mono;
  return producer_->stats().unacknowledged == 0 || now.mono - *idle_since_ >= kLeaveAckMax;
}

void App::stop() {
  if (!spooler_ || !bus_) return;
  const Now now = runtime::read_clock();
  drain(now);
  spooler_->retry(now);
  take_results(now);
  // Slots in flight leave no record: the next start reports them, as it does after a kill -9.
  const auto closed = producer_->close_cleanly(now);
  if (!closed) {
    obs::log_error("spool not closed cleanly", {{"why", closed.error().message}});
  } else if (spooler_->up_to_date()) {
    spooler_->mark_finally(engine_->done_until_ms(), engine_->scheduled_until_ms());
  }
}

}  // namespace gema::prober
