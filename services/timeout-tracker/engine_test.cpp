// The Engine with a real Redis, a real spool and, where it rebuilds, a real PostgreSQL. A stream
// producer stands for a prober, a stream consumer for the recorder; the bus between them loses
// nothing here (tests/sim has a bus that does).
#include "services/timeout-tracker/engine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <iostream>
#include <map>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/postgres/migrate.h"
#include "services/timeout-tracker/core/results_for_test.h"
#include "services/timeout-tracker/core/transition_id.h"
#include "tests/support/postgres_server.h"
#include "tests/support/redis_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::timeout_tracker {
namespace {

constexpr DeviceId kDevice = 7;

// One PostgreSQL for all tests, with the schema; each test begins with an empty table.
class History {
 public:
  static postgres::Options options() {
    static ::gema::testing::PostgresServer server;
    return {.conninfo = server.conninfo()};
  }

  History() {
    auto opened = postgres::Connection::open(options());
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
    connection_ = *std::move(opened);
    auto migrated = postgres::migrate(*connection_);
    EXPECT_TRUE(migrated) << (migrated ? 0 : 1);
    run("TRUNCATE transitions");
  }

  void run(const std::string& sql) {
    auto done = connection_->transact([&](postgres::Transaction& tx) { tx.exec(sql); });
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
  }

  // As the recorder does.
  void record(const Transition& transition) {
    std::string bytes;
    encode_state(transition.state, bytes);
    std::string hex;
    for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(byte));
    run(
        fmt::format("INSERT INTO transitions (id, device_id, counter, from_status, to_status,"
                    " reason, slot_at, decided_at, state) VALUES ('{}', {}, {}, {}, {}, {}, now(),"
                    " now(), decode('{}', 'hex')) ON CONFLICT DO NOTHING",
                    to_string(transition.id), transition.device,
                    transition.state.transition_counter, static_cast<int>(transition.from),
                    static_cast<int>(transition.to), static_cast<int>(transition.reason), hex));
  }

 private:
  std::unique_ptr<postgres::Connection> connection_;
};

class Rig {
 public:
  Rig() {
    std::signal(SIGPIPE, SIG_IGN);
    now_ = {.mono = MonoTime(100h), .wall = wall_from_ms(test::kStartMs) + 24h};
    auto opened = stream::Producer::open({.dir = dir_ / "prober",
                                          .stream = "ping",
                                          .name = "prober-1",
                                          .groups = {"timeout-tracker"}},
                                         now_);
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
    prober_ = *std::move(opened);
    start();
  }

  void start() {
    auto opened = Engine::open(
        {.config = config,
         .redis = {.socket = redis.socket_path(), .connect_timeout = 1s, .command_timeout = 2s},
         .postgres = postgres,
         .spool_dir = dir_ / spool,
         .nonce = ++nonce_},
        metrics_, health, now_);
    ASSERT_TRUE(opened) << opened.error().message;
    engine = *std::move(opened);
    if (!catalogue.empty()) engine->set_catalogue(catalogue);
  }
  // As kill -9: nothing is said or written any more.
  void kill() { engine.reset(); }

  // A record of the prober: one letter a slot, of one device.
  void record(const std::string& letters, DeviceId device = kDevice) {
    PingResults results;
    for (const char letter : letters) {
      test::add(results, device, test::slot_of(device, next_slot_[device]++),
                test::verdict_of(letter));
    }
    std::string bytes;
    encode_ping(results, bytes);
    auto appended = prober_->append(partition_of(device), bytes, now_);
    ASSERT_TRUE(appended) << appended.error().message;
    sent_.push_back(results);
  }

  // One turn of everybody.
  void pump() {
    now_.mono += 25ms;
    now_.wall += 25ms;
    prober_->tick(now_);
    for (const auto& m : prober_->take_outgoing(now_)) {
      if (engine) engine->on_message(m.topic, m.payload, now_);
    }
    if (engine) {
      engine->turn(now_);
      for (const auto& m : engine->take_outgoing(now_)) {
        prober_->on_message(m.topic, m.payload, now_);
        recorder_.on_message(m.topic, m.payload, now_, deliveries_);
      }
    }
    recorder_.tick(now_, deliveries_);
    for (const stream::Delivery& delivery : deliveries_) take(delivery);
    deliveries_.clear();
    recorder_.mark_durable(recorder_.positions());
    for (const auto& m : recorder_.take_outgoing(now_)) {
      if (engine) engine->on_message(m.topic, m.payload, now_);
    }
  }
  [[nodiscard]] bool pump_until(const std::function<bool()>& condition) {
    return ::gema::testing::wait_until([&] {
      pump();
      return condition();
    });
  }
  void pump_for(Duration duration) {
    for (const MonoTime until = now_.mono + duration; now_.mono < until;) pump();
  }
  [[nodiscard]] bool settle() {
    return pump_until([&] { return engine->running() && everything_acknowledged(); });
  }
  bool everything_acknowledged() const { return prober_->stats().unacknowledged == 0; }

  DeviceState state(DeviceId device = kDevice) const { return *engine->tracker().state_of(device); }
  // What a tracker that was never disturbed makes of what the prober sent.
  std::map<TransitionId, Transition> truth(std::map<DeviceId, DeviceState>& states) const {
    Tracker tracker{config.policy};
    tracker.set_catalogue(catalogue);
    std::vector<Transition> out;
    for (const PingResults& results : sent_) {
      tracker.on_record({.producer = "prober-1", .partition = partition_of(results.device[0])},
                        results, now_, out);
    }
    std::map<TransitionId, Transition> by_id;
    for (const Transition& transition : out) by_id[transition.id] = transition;
    for (const DeviceState& state : tracker.named_states()) states[state.device] = state;
    return by_id;
  }
  void expect_truth() const {
    std::map<DeviceId, DeviceState> states;
    const auto expected = truth(states);
    EXPECT_EQ(recorded.size(), expected.size());
    for (const auto& [id, transition] : recorded) {
      ASSERT_TRUE(expected.count(id)) << to_string(id);
      EXPECT_EQ(transition.state, expected.at(id).state);
      EXPECT_EQ(transition.reason, expected.at(id).reason);
    }
    for (const auto& [device, state] : states) EXPECT_EQ(this->state(device), state);
  }
  Now now() const { return now_; }
  void flush_redis() {
    ASSERT_TRUE(redis::Client({.socket = redis.socket_path()}).run({"FLUSHALL"}));
  }

  ::gema::testing::RedisServer redis;
  Config config{.checkpoint = std::chrono::seconds(1),
                .redis_wait = std::chrono::seconds(5),
                .rebuild_wait = std::chrono::seconds(60)};
  History history;
  postgres::Options postgres = History::options();
  std::string spool = "tracker";
  std::vector<DeviceId> catalogue{kDevice};
  obs::Health health;
  std::unique_ptr<Engine> engine;
  std::map<TransitionId, Transition> recorded;
  size_t deliveries = 0;  // of transitions, repeated ones included

 private:
  void take(const stream::Delivery& delivery) {
    if (delivery.kind != stream::Delivery::kRecord) return;
    auto transition = decode_transition(delivery.payload);
    ASSERT_TRUE(transition);
    ++deliveries;
    history.record(*transition);
    recorded.emplace(transition->id, *transition);
  }

  ::gema::testing::TempDir dir_;
  obs::Metrics metrics_{"timeout-tracker"};
  std::unique_ptr<stream::Producer> prober_;
  stream::Consumer recorder_{{.stream = "transitions", .group = "recorder"}, {}};
  std::vector<stream::Delivery> deliveries_;
  std::vector<PingResults> sent_;
  std::map<DeviceId, int64_t> next_slot_;
  Now now_;
  uint64_t nonce_ = 0;
};

TEST(Engine, DecidesThenCheckpointsThenAcknowledges) {
  Rig rig;
  rig.record("afff");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.state().status, DeviceStatus::kDown);
  EXPECT_GE(rig.engine->checkpoints_written(), 1U);
  EXPECT_EQ(rig.recorded.size(), 2U);
  EXPECT_TRUE(rig.health.ready());
  auto snapshot = rig.engine->snapshot();
  ASSERT_TRUE(snapshot);
  auto decoded = decode_snapshot(*snapshot);
  ASSERT_TRUE(decoded);
  ASSERT_EQ(decoded->states.size(), 1U);
  EXPECT_EQ(decoded->states[0], rig.state());
  uint64_t read = 0;
  for (const auto& position : decoded->positions) read += position.seq;
  EXPECT_EQ(read, 1U);
}

TEST(Engine, TakesNoInputWithoutACatalogue) {
  Rig rig;
  rig.kill();
  rig.catalogue.clear();
  rig.start();
  rig.record("afff");
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->running(); }));
  rig.pump_for(5s);
  EXPECT_EQ(rig.engine->tracker().size(), 0U);
  EXPECT_FALSE(rig.everything_acknowledged());
  EXPECT_FALSE(rig.health.ready());
  rig.catalogue = {kDevice};
  rig.engine->set_catalogue(rig.catalogue);
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
  EXPECT_TRUE(rig.health.ready());
}

TEST(Engine, GoesOnFromTheCheckpointAfterACleanStopWithoutReadingAnythingAgain) {
  Rig rig;
  rig.record("aff");
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->running() && !rig.recorded.empty(); }));
  rig.engine->close(rig.now(), 5s);
  rig.pump();
  rig.kill();
  rig.start();
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->running(); }));
  EXPECT_EQ(rig.state().consecutive_timeouts, 2U);
  rig.record("f");
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
}

TEST(Engine, KilledBetweenAppendAndCheckpointItDecidesNothingTwice) {
  Rig rig;
  rig.record("a");
  ASSERT_TRUE(rig.settle());
  rig.record("fff");
  // The transition is in the spool and on its way; no checkpoint contains it yet.
  ASSERT_TRUE(rig.pump_until([&] { return rig.recorded.size() == 2; }));
  EXPECT_FALSE(rig.everything_acknowledged());
  rig.kill();
  rig.start();
  ASSERT_TRUE(rig.settle());
  rig.record("ffa");
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
  EXPECT_EQ(rig.deliveries, 3U);
}

TEST(Engine, WhileRedisIsAwayItDecidesOnAndHoldsAcknowledgements) {
  Rig rig;
  rig.record("a");
  ASSERT_TRUE(rig.settle());
  rig.redis.kill9();
  rig.record("fff");
  ASSERT_TRUE(rig.pump_until([&] { return rig.recorded.size() == 2 && !rig.health.ready(); }));
  rig.pump_for(5s);
  EXPECT_FALSE(rig.everything_acknowledged());
  rig.redis.start();
  ASSERT_TRUE(rig.settle());
  EXPECT_TRUE(rig.health.ready());
  rig.expect_truth();
}

TEST(Engine, RedisEmptiedWhileItRunsIsFilledAgain) {
  Rig rig;
  rig.record("aff");
  ASSERT_TRUE(rig.settle());
  rig.flush_redis();
  const uint64_t written = rig.engine->checkpoints_written();
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->checkpoints_written() > written; }));
  rig.kill();
  rig.start();
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->running(); }));
  EXPECT_EQ(rig.state().consecutive_timeouts, 2U);
  rig.record("f");
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
}

TEST(Engine, RedisEmptyAtTheStartIsRebuiltFromTheOwnSpoolAndTheInputStillHeld) {
  Rig rig;
  rig.record("afffa");
  rig.record("ff");
  ASSERT_TRUE(rig.settle());
  rig.kill();
  rig.flush_redis();
  rig.start();
  ASSERT_TRUE(rig.pump_until(
      [&] { return rig.engine->running() && rig.state().consecutive_timeouts == 2; }));
  rig.record("f");
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
}

TEST(Engine, AnUnreadableCheckpointIsRebuiltAndReplaced) {
  for (const redis::Command& damage :
       std::vector<redis::Command>{{"HSET", "gema:timeout-tracker:states", "7", "\xff garbage"},
                                   {"HDEL", "gema:timeout-tracker:states", "7"},
                                   {"HSET", "gema:timeout-tracker:checkpoint", "input", "\x01\x02"},
                                   {"HSET", "gema:timeout-tracker:checkpoint", "format", "99"},
                                   {"SET", "gema:timeout-tracker:checkpoint", "text"},
                                   {"DEL", "gema:timeout-tracker:checkpoint"}}) {
    SCOPED_TRACE(damage[0] + " " + damage[1] + " " + (damage.size() > 2 ? damage[2] : ""));
    Rig rig;
    rig.record("afff");
    ASSERT_TRUE(rig.settle());
    rig.kill();
    ASSERT_TRUE(redis::Client({.socket = rig.redis.socket_path()}).run(damage));
    rig.start();
    ASSERT_TRUE(rig.settle());
    rig.record("a");
    ASSERT_TRUE(rig.settle());
    rig.expect_truth();
  }
}

TEST(Engine, RedisThatStaysAwayAtTheStartIsNotWaitedForEndlessly) {
  Rig rig;
  rig.record("afff");
  ASSERT_TRUE(rig.settle());
  rig.kill();
  rig.redis.kill9();
  rig.start();
  rig.record("fa");
  ASSERT_TRUE(rig.pump_until([&] { return rig.engine->running() && rig.recorded.size() == 3; }));
  EXPECT_FALSE(rig.everything_acknowledged());
  rig.redis.start();  // with the checkpoint of before
  ASSERT_TRUE(rig.settle());
  rig.expect_truth();
}

TEST(Engine, WithNothingToRebuildFromItNeverRepeatsAnId) {
  Rig rig;
  rig.record("afff");
  ASSERT_TRUE(rig.settle());
  rig.kill();
  rig.flush_redis();
  rig.spool = "another";  // the disk was lost as well, and PostgreSQL is away
  rig.postgres = {.host = "/nowhere"};
  rig.config.rebuild_wait = std::chrono::seconds(1);
  rig.start();
  ASSERT_TRUE(rig.pump_until([&] { return rig.recorded.size() == 4; }));  // decided anew, told anew
  EXPECT_GT(rig.state().transition_counter, 1'000'000U);
}

TEST(Engine, AResetIsATransitionAndSurvivesACrash) {
  Rig rig;
  rig.record("afff");
  ASSERT_TRUE(rig.settle());
  auto reset = rig.engine->reset_timeouts({}, rig.now());
  ASSERT_TRUE(reset);
  EXPECT_EQ(*reset, 1U);
  ASSERT_TRUE(rig.pump_until([&] { return rig.recorded.size() == 3; }));
  rig.kill();
  rig.start();
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.state().consecutive_timeouts, 0U);
  EXPECT_EQ(rig.state().status, DeviceStatus::kDown);
  rig.record("f");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.state().consecutive_timeouts, 1U);
}

TEST(Engine, CrashesOfItselfAndOfRedisInAnyOrderChangeNothing) {
  const uint64_t seed = 20261120;
  std::cout << "seed " << seed << "\n";
  Random random(seed);
  Rig rig;
  rig.catalogue = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  rig.engine->set_catalogue(rig.catalogue);
  size_t kills = 0;
  for (int round = 0; round < 80; ++round) {
    for (const DeviceId device : rig.catalogue) {
      std::string letters;
      for (uint64_t i = 0; i <= random.below(3); ++i) letters += "aff-f"[random.below(5)];
      rig.record(letters, device);
    }
    rig.pump_for(std::chrono::milliseconds(25 * random.below(40)));
    if (random.chance(60)) rig.redis.restart();
    if (random.chance(60)) rig.flush_redis();
    if (!random.chance(300)) continue;
    ++kills;
    rig.kill();
    rig.start();
  }
  ASSERT_TRUE(rig.settle());
  EXPECT_GT(kills, 10U);
  std::map<DeviceId, DeviceState> states;
  const auto expected = rig.truth(states);
  EXPECT_EQ(rig.recorded.size(), expected.size());
  for (const auto& [id, transition] : rig.recorded) {
    ASSERT_TRUE(expected.count(id)) << to_string(id);
    EXPECT_EQ(transition.slot_ms, expected.at(id).slot_ms);
    EXPECT_EQ(transition.state, expected.at(id).state);
  }
  for (const auto& [device, state] : states) EXPECT_EQ(rig.state(device), state);
}

TEST(Engine, RebuildsFromTheRecordedTransitionsWhenSpoolAndRedisAreGone) {
  Rig rig;
  rig.record("afffafff");
  ASSERT_TRUE(rig.settle());
  ASSERT_EQ(rig.recorded.size(), 4U);
  rig.kill();
  rig.flush_redis();
  rig.spool = "another";
  rig.history.run("ALTER TABLE transitions RENAME TO elsewhere");  // as before the first migration
  rig.start();
  rig.pump_for(3s);
  EXPECT_FALSE(rig.engine->running());
  EXPECT_FALSE(rig.health.ready());
  rig.history.run("ALTER TABLE elsewhere RENAME TO transitions");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.recorded.size(), 4U);
  rig.record("a");
  ASSERT_TRUE(rig.settle());
  ASSERT_EQ(rig.recorded.size(), 5U);
  EXPECT_TRUE(rig.recorded.count(transition_id(kDevice, 5)));
  rig.expect_truth();
}

TEST(Checkpoint, OneThatBuildsOnALostOneIsNotWritten) {
  std::signal(SIGPIPE, SIG_IGN);
  ::gema::testing::RedisServer redis;
  CheckpointStore store({.socket = redis.socket_path()});
  EXPECT_FALSE((*store.load()).has_value());
  CheckpointWrite write{.plan = {.id = "one"},
                        .states = {.states = {{7, State{.last_slot_ms = 5}}}, .names = {""}},
                        .states_total = 1};
  EXPECT_EQ(*store.write(write), Written::kDone);
  write.plan = {.id = "two", .base = "one", .changed_after = 1};
  write.states.states = {{8, State{.last_slot_ms = 6}}};
  write.states_total = 2;
  write.states.guarded = {{.device = 8, .cause = {"prober-1", 3, 4, 5}, .ahead = true}};
  EXPECT_EQ(*store.write(write), Written::kDone);
  write.plan = {.id = "three", .base = "one", .changed_after = 1};
  EXPECT_EQ(*store.write(write), Written::kBaseLost);
  auto loaded = store.load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(*loaded);
  EXPECT_EQ((*loaded)->id, "two");
  EXPECT_EQ((*loaded)->states.size(), 2U);
  EXPECT_EQ((*loaded)->guarded, write.states.guarded);
}

}  // namespace
}  // namespace gema::timeout_tracker
