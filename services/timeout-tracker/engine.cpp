#include "services/timeout-tracker/engine.h"

#include <poll.h>

#include <algorithm>

#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/observability/log.h"
#include "common/runtime/clock.h"

namespace gema::timeout_tracker {
namespace {

constexpr Duration kAskAgain = 1s;   // Redis and PostgreSQL, at the start; guess
constexpr Duration kShowEvery = 1s;  // gauges
constexpr size_t kRedisJobsMax = 2;  // one load or one write is ever under way
constexpr size_t kHistoryJobsMax = 1;

stream::ConsumerOptions consumer_options() {
  return {.stream = "ping", .group = "timeout-tracker", .order = stream::Order::kInOrder};
}

std::optional<MonoTime> earlier(std::optional<MonoTime> a, std::optional<MonoTime> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

RecordRef ref_of(const stream::RecordKey& key) {
  return {.producer = key.producer, .epoch = key.epoch, .partition = key.partition, .seq = key.seq};
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(EngineOptions options, obs::Metrics& metrics,
                                             obs::Health& health, Now now) {
  auto producer = stream::Producer::open({.dir = options.spool_dir,
                                          .stream = "transitions",
                                          .name = "timeout-tracker",
                                          .groups = options.transition_groups,
                                          .release_by_owner = true},
                                         now);
  if (!producer) return producer.error();
  std::unique_ptr<Engine> engine(
      new Engine(std::move(options), metrics, health, *std::move(producer), now));
  engine->log_producer_events();
  return engine;
}

Engine::Engine(EngineOptions options, obs::Metrics& metrics, obs::Health& health,
               std::unique_ptr<stream::Producer> producer, Now now)
    : options_(std::move(options)),
      health_(health),
      instruments_(metrics),
      producer_(std::move(producer)),
      ask_redis_at_(now.mono),
      asking_since_(now.mono),
      instruments_due_(now.mono),
      redis_("redis", kRedisJobsMax,
             [store = std::make_shared<CheckpointStore>(options_.redis)](RedisJob job) {
               if (std::holds_alternative<Load>(job)) return RedisDone(store->load());
               const MonoTime begun = runtime::read_clock().mono;
               auto result = store->write(std::get<CheckpointWrite>(job));
               return RedisDone(WriteDone{std::move(result), runtime::read_clock().mono - begun});
             }),
      history_("postgres", kHistoryJobsMax, [postgres = options_.postgres](std::monostate) {
        return read_last_transitions(postgres);
      }) {
  health_.set_waiting("redis", "reading the checkpoint");
  health_.set_waiting("catalogue", "inventory has not published one yet");
}

Engine::~Engine() = default;

// --- start --------------------------------------------------------------------------------------

void Engine::ask_redis(Now now) {
  ask_redis_at_.reset();
  if (!redis_.try_submit(Load{})) ask_redis_at_ = now.mono + kAskAgain;
}

void Engine::on_loaded(Loaded loaded, Now now) {
  if (loaded && *loaded) {
    const Checkpoint& checkpoint = **loaded;
    obs::log_info("checkpoint read", {{"id", checkpoint.id},
                                      {"states", checkpoint.states.size()},
                                      {"positions", checkpoint.input.size()}});
    begin_tracking(checkpoint, true, now);
    return;
  }
  if (loaded) return begin_rebuild("Redis holds no checkpoint", now);
  if (loaded.error().code == Errc::kBadInput) return begin_rebuild(loaded.error().message, now);
  if (now.mono - asking_since_ >= options_.config.redis_wait) {
    return begin_rebuild("no answer from Redis: " + loaded.error().message, now);
  }
  health_.set_waiting("redis", loaded.error().message);
  ask_redis_at_ = now.mono + kAskAgain;
}

void Engine::begin_rebuild(const std::string& why, Now now) {
  obs::log_warn("rebuilding the states from recorded and spooled transitions", {{"why", why}});
  instruments_.count_rebuild();
  consumer_.reset();
  cycle_.reset();
  unsynced_.reset();
  restored_.reset();
  stale_.clear();
  asking_since_ = now.mono;
  health_.set_waiting("postgres", "reading the latest transitions");
  ask_history(now);
}

void Engine::ask_history(Now now) {
  ask_history_at_.reset();
  if (!history_.try_submit({})) ask_history_at_ = now.mono + kAskAgain;
}

void Engine::on_history(HistoryDone history, Now now) {
  if (!history && now.mono - asking_since_ < options_.config.rebuild_wait) {
    health_.set_waiting("postgres", history.error().message);
    ask_history_at_ = now.mono + kAskAgain;
    return;
  }
  health_.clear_waiting("postgres");
  std::vector<DeviceState> states;
  if (history) {
    states = std::move(history->states);
    if (history->unreadable > 0) {
      obs::log_warn("recorded states are unreadable", {{"devices", history->unreadable}});
    }
  } else {
    obs::log_warn(
        "rebuilding without history: devices whose last transition is not in the spool "
        "begin as new",
        {{"why", history.error().message}});
  }
  // Ids of a device without a known past must not repeat those of its forgotten one.
  const uint64_t first_counter = history ? 0 : static_cast<uint64_t>(unix_ms(now.wall));
  tracker_.emplace(options_.config.policy, first_counter);
  begin_tracking({.states = std::move(states)}, false, now);
}

void Engine::begin_tracking(const Checkpoint& checkpoint, bool from_checkpoint, Now now) {
  if (from_checkpoint) tracker_.emplace(options_.config.policy);
  cause_producers_.clear();
  for (const DeviceState& state : checkpoint.states) tracker_->restore(state, !from_checkpoint);
  for (const Guarded& guarded : checkpoint.guarded) {
    tracker_->restore_guard(guarded);
    cause_producers_.insert(guarded.cause.producer);
  }
  for (const auto& [key, position] : checkpoint.input) {
    if (position.cumulative > 0 || position.closed) {
      tracker_->know_epoch(key.producer, key.partition, key.epoch);
    }
  }
  size_t read_back = 0;
  const auto read = producer_->read_after(checkpoint.own, [&](const stream::Spooled& record) {
    auto transition = decode_transition(record.payload);
    if (transition) {
      tracker_->overlay(*transition, from_checkpoint);
      cause_producers_.insert(transition->cause.producer);
      ++read_back;
    } else {
      obs::log_error("own transition is unreadable",
                     {{"seq", record.key.seq}, {"error", transition.error().message}});
    }
    return true;
  });
  if (!read) obs::log_error("own spool is unreadable", {{"error", read.error().message}});
  // Decided and not yet spooled when a rebuild began: they are decided again from the input.
  unspooled_.clear();
  if (catalogue_) tracker_->set_catalogue(*catalogue_);
  consumer_.emplace(consumer_options(), checkpoint.input);
  cycle_.emplace(options_.config.checkpoint, options_.nonce, now);
  if (from_checkpoint) restored_ = checkpoint.input;
  health_.clear_waiting("redis");
  update_pause();
  obs::log_info("tracking", {{"devices", tracker_->size()},
                             {"own_transitions_read_back", read_back},
                             {"from_checkpoint", from_checkpoint}});
}

// --- input --------------------------------------------------------------------------------------

void Engine::set_catalogue(const std::vector<DeviceId>& devices) {
  catalogue_ = devices;
  health_.clear_waiting("catalogue");
  if (!tracker_) return;
  const size_t refused = tracker_->set_catalogue(devices);
  if (refused > 0) {
    obs::log_error("more devices than can be tracked",
                   {{"refused", refused}, {"max", kDevicesMax}});
  }
  update_pause();
}

void Engine::update_pause() {
  if (consumer_) consumer_->set_paused(!catalogue_ || !unspooled_.empty());
}

void Engine::on_message(std::string_view topic, std::string_view payload, Now now) {
  if (topic.starts_with("ack/") || topic.starts_with("want/")) {
    producer_->on_message(topic, payload, now);
    return;
  }
  if (!consumer_) return;  // what is missed now is asked for afterwards
  consumer_->on_message(topic, payload, now, deliveries_);
  apply(now);
}

void Engine::apply(Now now) {
  for (const stream::Delivery& delivery : deliveries_) {
    switch (delivery.kind) {
      case stream::Delivery::kRecord:
        apply_record(delivery, now);
        break;
      case stream::Delivery::kGap:
        on_gap(delivery);
        break;
      case stream::Delivery::kEpochStarted:
        tracker_->on_epoch_started(ref_of(delivery.key),
                                   delivery.epoch_reason == stream::EpochReason::kClockStep);
        break;
      case stream::Delivery::kEpochClosed:
        break;
    }
  }
  deliveries_.clear();
}

void Engine::apply_record(const stream::Delivery& delivery, Now now) {
  auto decoded = decode_ping(delivery.payload, results_);
  if (!decoded) {
    // History keeps the record (the recorder's quarantine); here its position moves past it.
    consumer_->note_quarantined();
    instruments_.count_bad_record();
    obs::log_warn("record refused", {{"producer", delivery.key.producer},
                                     {"partition", delivery.key.partition},
                                     {"seq", delivery.key.seq},
                                     {"error", decoded.error().message}});
    return;
  }
  const BatchCounts counts = tracker_->on_record(ref_of(delivery.key), results_, now, decided_);
  instruments_.count(counts);
  if (counts.impossible > 0) {
    consumer_->note_quarantined();
    obs::log_warn("record refused: it holds an impossible slot or a foreign device",
                  {{"producer", delivery.key.producer},
                   {"partition", delivery.key.partition},
                   {"seq", delivery.key.seq}});
  }
  if (!decided_.empty()) spool(now);
}

void Engine::on_gap(const stream::Delivery& delivery) {
  instruments_.count_gap(delivery.gap.size());
  obs::log_warn("input lost; it neither adds to nor resets a count",
                {{"producer", delivery.key.producer},
                 {"partition", delivery.key.partition},
                 {"records", delivery.gap.size()},
                 {"reason", stream::to_string(delivery.gap_reason)}});
  if (!restored_) return;
  const stream::Position* from =
      restored_->find({delivery.key.producer, delivery.key.epoch, delivery.key.partition});
  if (from != nullptr && from->cumulative > 0 && delivery.gap.first == from->cumulative + 1) {
    stale_ = "the checkpoint is older than what " + delivery.key.producer + " still holds";
  }
}

// --- output
// After a restart, until each producer that decided something before it has been read to its end.
void Engine::look_for_causes(Now now) {
  for (const std::string& producer : cause_producers_) {
    const auto outstanding = consumer_->outstanding(producer, now);
    if (outstanding && outstanding->records == 0) tracker_->on_caught_up(producer);
  }
}

// ---------------------------------------------------------------------------------------

void Engine::spool(Now now) {
  for (Transition& transition : decided_) {
    instruments_.count_transition(transition.reason);
    unspooled_.push_back(std::move(transition));
  }
  decided_.clear();
  std::string bytes;
  while (!unspooled_.empty()) {
    encode_transition(unspooled_.front(), bytes);
    auto appended = producer_->append(partition_of(unspooled_.front().device), bytes, now);
    if (!appended) {
      health_.set_waiting("spool", appended.error().message);
      break;
    }
    unspooled_.pop_front();
  }
  if (unspooled_.empty()) health_.clear_waiting("spool");
  update_pause();
}

void Engine::begin_checkpoint(Now now) {
  const CheckpointPlan plan = cycle_->begin(now, tracker_->end_generation());
  unsynced_ = CheckpointWrite{.plan = plan,
                              .at = now.wall,
                              .input = consumer_->positions(),
                              .own = producer_->own_positions(),
                              .states = tracker_->changed_after(plan.changed_after),
                              .states_total = tracker_->size()};
  submit_when_synced();
}

void Engine::submit_when_synced() {
  if (!unsynced_ || !producer_->synced(unsynced_->own)) return;
  written_ = CheckpointWrite{.plan = unsynced_->plan,
                             .input = unsynced_->input,
                             .own = unsynced_->own,
                             .states_total = unsynced_->states.states.size()};
  const bool taken = redis_.try_submit(*std::exchange(unsynced_, std::nullopt));
  GEMA_ASSERT(taken);  // one checkpoint is under way at a time
}

void Engine::on_written(const WriteDone& done, Now now) {
  const CheckpointWrite checkpoint = *std::exchange(written_, std::nullopt);
  if (!cycle_ || !cycle_->under_way()) return;  // a rebuild began meanwhile
  if (!done.result) {
    cycle_->failed(now);
    instruments_.count_checkpoint(false, done.took, 0);
    health_.set_waiting("redis", done.result.error().message);
    obs::log_warn("no checkpoint; acknowledgements wait", {{"error", done.result.error().message}});
    return;
  }
  health_.clear_waiting("redis");
  if (*done.result == Written::kBaseLost) {
    obs::log_warn("Redis lost the previous checkpoint; writing all states");
    cycle_->base_lost(now);
    return;
  }
  cycle_->succeeded(now);
  ++checkpoints_written_;
  instruments_.count_checkpoint(true, done.took, checkpoint.states_total);
  consumer_->mark_durable(checkpoint.input);
  producer_->release(checkpoint.own, now);
  restored_.reset();
}

void Engine::log_producer_events() {
  for (const stream::ProducerEvent& event : producer_->take_events()) {
    obs::log_warn("own spool: " + event.text);
  }
}

std::optional<MonoTime> Engine::turn(Now now) {
  for (RedisDone& done : redis_.take_done()) {
    if (auto* loaded = std::get_if<Loaded>(&done)) on_loaded(std::move(*loaded), now);
    if (auto* written = std::get_if<WriteDone>(&done)) on_written(*written, now);
  }
  for (HistoryDone& done : history_.take_done()) on_history(std::move(done), now);
  if (ask_redis_at_ && now.mono >= *ask_redis_at_) ask_redis(now);
  if (ask_history_at_ && now.mono >= *ask_history_at_) ask_history(now);
  producer_->tick(now);
  log_producer_events();
  std::optional<MonoTime> wakeup = earlier(ask_redis_at_, ask_history_at_);
  wakeup = earlier(wakeup, producer_->next_wakeup());
  if (!consumer_) return wakeup;

  consumer_->tick(now, deliveries_);
  apply(now);
  if (!stale_.empty()) {
    begin_rebuild(stale_, now);
    return now.mono;
  }
  if (tracker_->expects_causes()) look_for_causes(now);
  instruments_.count(tracker_->tick(now, decided_));
  if (!decided_.empty() || !unspooled_.empty()) spool(now);
  // A checkpoint must not contain what the spool does not.
  if (unspooled_.empty() && catalogue_ && !written_ && cycle_->due(now)) begin_checkpoint(now);
  submit_when_synced();
  if (now.mono >= instruments_due_) {
    instruments_due_ = now.mono + kShowEvery;
    instruments_.show(*tracker_, options_.config.critical_threshold, cycle_->age(now),
                      unspooled_.size(), now);
    instruments_.show(consumer_->stats());
    instruments_.show(producer_->stats());
  }
  wakeup = earlier(wakeup, consumer_->next_wakeup());
  wakeup = earlier(wakeup, tracker_->next_wakeup(now));
  wakeup = earlier(wakeup, instruments_due_);
  if (unspooled_.empty() && catalogue_ && !written_)
    wakeup = earlier(wakeup, cycle_->next_wakeup());
  return wakeup;
}

std::vector<stream::Outgoing> Engine::take_outgoing(Now now) {
  std::vector<stream::Outgoing> outgoing = producer_->take_outgoing(now);
  if (!consumer_) return outgoing;
  for (stream::Outgoing& message : consumer_->take_outgoing(now)) {
    outgoing.push_back(std::move(message));
  }
  return outgoing;
}

std::vector<int> Engine::fds() const {
  return {redis_.fd(), history_.fd()};
}

std::vector<std::string> Engine::subscriptions() const {
  std::vector<std::string> prefixes = producer_->subscriptions();
  // The same prefixes whether or not the consumer is there yet.
  for (std::string& prefix : stream::Consumer(consumer_options(), {}).subscriptions()) {
    prefixes.push_back(std::move(prefix));
  }
  return prefixes;
}

void Engine::close(Now now, Duration patience) {
  const Now begun = now;
  const MonoTime until = now.mono + patience;
  const MonoTime clock = runtime::read_clock().mono;
  bool last_begun = false;
  while (consumer_ && catalogue_ && now.mono < until) {
    turn(now);
    if (!consumer_) break;
    const bool idle = !written_ && !unsynced_;
    if (idle && last_begun) break;
    if (idle && unspooled_.empty() && !cycle_->under_way()) {
      begin_checkpoint(now);
      last_begun = true;
    }
    pollfd ready{.fd = redis_.fd(), .events = POLLIN, .revents = 0};
    ::poll(&ready, 1, 10);  // ms; the spool's sync has no descriptor
    const Duration passed = runtime::read_clock().mono - clock;
    now = {.mono = begun.mono + passed, .wall = begun.wall + passed};
  }
  if (auto closed = producer_->close_cleanly(now); !closed) {
    obs::log_warn("own spool was not closed cleanly", {{"error", closed.error().message}});
  }
}

// --- calls --------------------------------------------------------------------------------------

Result<std::string> Engine::snapshot() const {
  if (!consumer_) return Error{Errc::kUnavailable, "the states are still being put together"};
  StateSnapshot snapshot{.states = tracker_->named_states(),
                         .timeout_tracking_enabled = options_.config.enabled,
                         .critical_threshold = options_.config.critical_threshold,
                         .timeouts_file = options_.timeouts_file};
  for (const auto& [key, position] : consumer_->positions()) {
    snapshot.positions.push_back({key.producer, key.epoch, key.partition, position.cumulative});
  }
  std::string bytes;
  encode_snapshot(snapshot, bytes);
  return bytes;
}

Result<uint32_t> Engine::reset_timeouts(const std::vector<DeviceId>& devices, Now now) {
  if (!consumer_) return Error{Errc::kUnavailable, "the states are still being put together"};
  const uint32_t reset = tracker_->reset_timeouts(devices, now, decided_);
  if (!decided_.empty()) spool(now);
  return reset;
}

}  // namespace gema::timeout_tracker
