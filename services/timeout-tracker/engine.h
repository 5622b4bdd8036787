// The timeout-tracker without its bus: spool of own transitions, consumer of the ping stream,
// tracker core, checkpoints on a worker, rebuild. App gives it messages and publishes what it has
// to say; tests drive it the same way with nothing else in between.
//
// The order that loses nothing (design, "Detection"): transitions are appended to the spool; the
// states that contain them, the input positions and the own positions are copied at one instant;
// when the spool has synced those transitions the copy goes to Redis in one MULTI; only then is the
// input acknowledged and are the transitions let go of.
//
// Thread: the loop's. Redis and PostgreSQL are spoken to on one named worker each.
#pragma once

#include <array>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/ping.h"
#include "common/observability/health.h"
#include "common/observability/metrics.h"
#include "common/postgres/connection.h"
#include "common/redis/client.h"
#include "common/runtime/worker.h"
#include "common/stream/consumer.h"
#include "common/stream/producer.h"
#include "services/timeout-tracker/config.h"
#include "services/timeout-tracker/core/checkpoint_cycle.h"
#include "services/timeout-tracker/core/tracker.h"
#include "services/timeout-tracker/instruments.h"
#include "services/timeout-tracker/io/checkpoint_store.h"
#include "services/timeout-tracker/io/last_transitions.h"

namespace gema::timeout_tracker {

struct EngineOptions {
  Config config;
  redis::Options redis;
  postgres::Options postgres;
  std::filesystem::path spool_dir;
  std::vector<std::string> transition_groups = {"recorder"};  // installed groups of our stream
  std::string timeouts_file;  // told with the states: where timeout_tracking.csv is, "" = nowhere
  uint64_t nonce = 0;         // random: tells this run's checkpoints from those of others
};

class Engine {
 public:
  // Fails like stream::Producer::open: the spool cannot be used.
  static Result<std::unique_ptr<Engine>> open(EngineOptions options, obs::Metrics& metrics,
                                              obs::Health& health, Now now);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // live/, tip/, replay/ of the ping stream; ack/ and want/ of our own.
  void on_message(std::string_view topic, std::string_view payload, Now now);
  void set_catalogue(const std::vector<DeviceId>& devices);

  // Everything that is due. Returns when to call again.
  std::optional<MonoTime> turn(Now now);
  std::vector<stream::Outgoing> take_outgoing(Now now);

  // Readable when a worker has finished something: call turn().
  std::vector<int> fds() const;
  std::vector<std::string> subscriptions() const;

  // Waits at most `patience` for one last checkpoint, then closes the spool cleanly. Nothing but
  // take_outgoing() afterwards (acknowledgements).
  void close(Now now, Duration patience);

  // The calls. kUnavailable while the states are still being put together.
  Result<std::string> snapshot() const;  // a serialised gema.v1.StateSnapshot
  Result<uint32_t> reset_timeouts(const std::vector<DeviceId>& devices, Now now);

  bool running() const { return consumer_.has_value(); }
  // Requires: running().
  const Tracker& tracker() const { return *tracker_; }
  // For tests.
  bool spooled_all() const { return unspooled_.empty(); }
  uint64_t checkpoints_written() const { return checkpoints_written_; }

 private:
  struct Load {};
  using RedisJob = std::variant<Load, CheckpointWrite>;
  using Loaded = Result<std::optional<Checkpoint>>;
  struct WriteDone {
    Result<Written> result;
    Duration took{};
  };
  using RedisDone = std::variant<Loaded, WriteDone>;
  using HistoryDone = Result<LastTransitions>;

  Engine(EngineOptions options, obs::Metrics& metrics, obs::Health& health,
         std::unique_ptr<stream::Producer> producer, Now now);

  // start
  void ask_redis(Now now);
  void on_loaded(Loaded loaded, Now now);
  void begin_rebuild(const std::string& why, Now now);
  void ask_history(Now now);
  void on_history(HistoryDone history, Now now);
  // `checkpoint`: as read from Redis, or with no more than the states that a rebuild found.
  void begin_tracking(const Checkpoint& checkpoint, bool from_checkpoint, Now now);
  // input
  void apply(Now now);
  void apply_record(const stream::Delivery& delivery, Now now);
  void on_gap(const stream::Delivery& delivery);
  void look_for_causes(Now now);
  void update_pause();
  // output
  void spool(Now now);
  void begin_checkpoint(Now now);
  void submit_when_synced();
  void on_written(const WriteDone& done, Now now);
  void log_producer_events();

  const EngineOptions options_;
  obs::Health& health_;
  Instruments instruments_;
  std::unique_ptr<stream::Producer> producer_;

  // At the start: when to ask again, and since when we have been asking.
  std::optional<MonoTime> ask_redis_at_;
  std::optional<MonoTime> ask_history_at_;
  MonoTime asking_since_;

  std::optional<std::vector<DeviceId>> catalogue_;
  std::optional<Tracker> tracker_;
  std::optional<stream::Consumer> consumer_;
  std::optional<CheckpointCycle> cycle_;
  std::set<std::string> cause_producers_;  // of those transitions; at most as many as producers
  // Input positions we started from, until the first checkpoint succeeds: a gap beyond one of them
  // means that the checkpoint was older than what the producer still holds.
  std::optional<stream::PositionSet> restored_;
  std::string stale_;  // why the states must be rebuilt; "" = they need not

  std::vector<stream::Delivery> deliveries_;  // reused
  PingResults results_;                       // reused
  std::vector<Transition> decided_;           // reused
  std::deque<Transition> unspooled_;          // no input is taken before it is empty
  std::optional<CheckpointWrite> unsynced_;   // copied, waits for the spool's fdatasync
  std::optional<CheckpointWrite> written_;    // what the worker has in hand, without its states
  uint64_t checkpoints_written_ = 0;
  MonoTime instruments_due_;

  // Last: destroyed first, so that no worker outlives what it was given.
  runtime::Worker<RedisJob, RedisDone> redis_;
  runtime::Worker<std::monostate, HistoryDone> history_;
};

}  // namespace gema::timeout_tracker
