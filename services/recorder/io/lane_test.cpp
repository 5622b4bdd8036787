// Producer, lane and PostgreSQL together; only the bus is a function call, which loses what the
// test tells it to. Time is the test's own; the workers' threads and the database are real.
#include "services/recorder/io/lane.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/history/reader.h"
#include "common/stream/producer.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/csv_writer.h"
#include "tests/support/database.h"
#include "tests/support/ping_results.h"
#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::recorder {
namespace {

constexpr int64_t kStartMs = 1'800'000'123'000;
constexpr uint32_t kInterval = 1000;
constexpr auto kPatience = std::chrono::seconds(20);

class LaneTest : public testing::DatabaseTest {
 protected:
  void open_producer(const std::string& stream = "ping", uint64_t bytes_max = 64U << 20) {
    stream::ProducerOptions options{.dir = dir_ / ("spool-" + stream),
                                    .stream = stream,
                                    .name = "prober-1",
                                    .groups = {"recorder"},
                                    .bytes_max = bytes_max};
    auto opened = stream::Producer::open(options, now_);
    ASSERT_TRUE(opened) << opened.error().message;
    producer_ = std::move(*opened);
  }

  LaneOptions lane_options(const std::string& stream = "ping") {
    return {.stream = stream,
            .postgres = database(),
            .commit_every = 100ms,
            .retry_after = 200ms,
            .check_every = 1s,
            .look_again_every = 1s,
            .seed = ++seed_};
  }
  std::unique_ptr<Lane> make_lane(const std::string& stream = "ping") {
    return std::make_unique<Lane>(
        lane_options(stream), stream == "ping" ? make_ping_sorter(24h) : make_transition_sorter());
  }

  // One slot of every device, in one record per partition.
  void measure() {
    std::map<uint32_t, PingResults> by_partition;
    for (DeviceId device = 1; device <= kDevices; ++device) {
      PingResults& r = by_partition[partition_of(device)];
      r.location = "default";
      const int64_t at_ms = kStartMs + measured_ * kInterval;
      testing::append(r, {.device = device,
                          .interval_ms = kInterval,
                          .due_ms = slot_at_or_before(device, kInterval, at_ms),
                          .rtt_us = static_cast<uint32_t>(measured_)});
    }
    for (const auto& [partition, results] : by_partition) {
      encode_ping(results, payload_);
      auto seq = producer_->append(partition, payload_, now_);
      ASSERT_TRUE(seq) << seq.error().message;
    }
    ++measured_;
  }

  // One turn of everything, 20 ms later.
  void turn(const std::vector<Lane*>& lanes) {
    now_.mono += 20ms;
    now_.wall += 20ms;
    producer_->tick(now_);
    for (const stream::Outgoing& m : producer_->take_outgoing(now_)) {
      for (Lane* lane : lanes) {
        if (!random_.chance(lose_per_mille_)) lane->on_message(m.topic, m.payload, now_);
      }
    }
    for (Lane* lane : lanes) {
      lane->turn(now_);
      for (const stream::Outgoing& m : lane->take_outgoing(now_)) {
        if (!random_.chance(lose_per_mille_)) producer_->on_message(m.topic, m.payload, now_);
      }
    }
  }

  bool run_until(const std::vector<Lane*>& lanes, const std::function<bool()>& condition) {
    return testing::wait_until(
        [&] {
          turn(lanes);
          return condition();
        },
        kPatience);
  }
  bool acknowledged() { return producer_->stats().unacknowledged == 0; }

  // Every slot of every device is in history exactly once, as it was measured.
  void expect_all_recorded_once() {
    history::Reader reader(*connection_);
    const auto stored = sql("SELECT coalesce(sum(results), 0) FROM ping_hot");
    EXPECT_EQ(stored, std::to_string(measured_ * static_cast<int64_t>(kDevices)));
    for (DeviceId device = 1; device <= kDevices; ++device) {
      auto results = reader.results(device, 0, 4'000'000'000'000);
      ASSERT_TRUE(results) << results.error().message;
      ASSERT_EQ(results->rows.size(), static_cast<size_t>(measured_)) << "device " << device;
      for (size_t i = 0; i < results->rows.size(); ++i) {
        ASSERT_EQ(
            results->rows[i].due_ms,
            slot_at_or_before(device, kInterval, kStartMs + static_cast<int64_t>(i) * kInterval));
        ASSERT_EQ(results->rows[i].rtt_us, i);
      }
    }
  }

  static constexpr DeviceId kDevices = 20;
  testing::TempDir dir_;
  Now now_{MonoTime{} + 1'000s, wall_from_ms(kStartMs + 3'600'000)};
  std::unique_ptr<stream::Producer> producer_;
  Random random_{testing::seed_of_run(11)};
  uint32_t lose_per_mille_ = 0;
  uint64_t seed_ = 0;
  int64_t measured_ = 0;
  std::string payload_;
};

TEST_F(LaneTest, RecordsWhatComesOnceAndThenAcknowledgesIt) {
  open_producer();
  auto lane = make_lane();
  for (int i = 0; i < 20; ++i) {
    measure();
    turn({lane.get()});
  }
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  expect_all_recorded_once();
  EXPECT_EQ(lane->sorted().results, static_cast<uint64_t>(measured_) * kDevices);
  EXPECT_GT(lane->counts().commits, 0U);
  EXPECT_EQ(lane->counts().newest_recorded_ms, lane->sorted().newest_ms);
  EXPECT_EQ(lane->waiting_for(), "");
}

TEST_F(LaneTest, AcknowledgesNothingThatIsNotCommitted) {
  open_producer();
  auto lane = make_lane();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->waiting_for().empty(); }));
  sql("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
      " $$ BEGIN RAISE disk_full; END $$;"
      "CREATE TRIGGER full_disk BEFORE INSERT ON stream_positions EXECUTE FUNCTION full_disk()");
  measure();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return lane->counts().commit_failures >= 3; }));
  EXPECT_EQ(producer_->stats().unacknowledged, kPartitions);
  EXPECT_NE(lane->waiting_for().find("disk"), std::string::npos) << lane->waiting_for();
  sql("DROP TRIGGER full_disk ON stream_positions");
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  EXPECT_EQ(lane->waiting_for(), "");
  expect_all_recorded_once();
}

TEST_F(LaneTest, GoesOnWhenPostgresIsKilledInMidStreamAgainAndAgain) {
  open_producer();
  auto lane = make_lane();
  lose_per_mille_ = 20;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) {
      measure();
      turn({lane.get()});
    }
    server().kill9();
    for (int i = 0; i < 10; ++i) {
      measure();
      turn({lane.get()});
    }
    EXPECT_TRUE(run_until({lane.get()}, [&] { return !lane->waiting_for().empty(); }));
    restart_server();
  }
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  expect_all_recorded_once();
}

TEST_F(LaneTest, LosesAndDoublesNothingWhenTheRecorderDiesAtAnyMoment) {
  open_producer();
  lose_per_mille_ = 50;
  uint64_t commits = 0;
  for (int life = 0; life < 12; ++life) {
    auto lane = make_lane();
    ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->waiting_for().empty(); }));
    // Some lives end before COMMIT, some after it and before the acknowledgement.
    for (uint64_t i = 0; i < 2 + random_.below(12); ++i) {
      measure();
      turn({lane.get()});
    }
    if (random_.chance(500)) {
      const uint64_t before = lane->counts().commits;
      run_until({lane.get()}, [&] { return lane->counts().commits > before; });
    }
    commits += lane->counts().commits;
  }
  EXPECT_GT(commits, 0U);
  auto lane = make_lane();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  expect_all_recorded_once();
}

TEST_F(LaneTest, TwoRecordersAtOnceDoubleNothing) {
  open_producer();
  auto a = make_lane();
  auto b = make_lane();
  lose_per_mille_ = 50;
  for (int i = 0; i < 60; ++i) {
    measure();
    turn({a.get(), b.get()});
  }
  EXPECT_TRUE(run_until(
      {a.get(), b.get()},
      [&] { return acknowledged() && a->counts().conflicts + b->counts().conflicts > 0; }))
      << producer_->stats().unacknowledged << " not acknowledged, conflicts "
      << a->counts().conflicts << " and " << b->counts().conflicts << ", outstanding "
      << a->stream_stats().outstanding << " and " << b->stream_stats().outstanding << ", wanted "
      << a->stream_stats().wanted << " and " << b->stream_stats().wanted << ", acks "
      << a->stream_stats().acks_sent << " and " << b->stream_stats().acks_sent;
  expect_all_recorded_once();
}

TEST_F(LaneTest, AsksAgainForWhatARestoredDatabaseLacks) {
  open_producer();
  auto lane = make_lane();
  const char* tables[] = {"stream_heads", "stream_positions", "stream_epochs", "ping_hot"};
  measure();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  for (const char* t : tables) {
    sql(std::string("CREATE TABLE saved_") + t + " AS SELECT * FROM " + t);
  }
  for (int i = 0; i < 10; ++i) {
    measure();
    turn({lane.get()});
  }
  ASSERT_TRUE(run_until({lane.get()}, [&] { return acknowledged() && lane->idle(); }));
  std::string restore;
  for (const char* t : tables) {
    restore +=
        std::string("DELETE FROM ") + t + "; INSERT INTO " + t + " SELECT * FROM saved_" + t + ";";
  }
  sql(restore);
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_hot"), std::to_string(kDevices));
  // No new record is needed to notice: the idle check does.
  const uint64_t all = static_cast<uint64_t>(measured_) * kDevices;
  EXPECT_TRUE(run_until({lane.get()}, [&] {
    return lane->counts().conflicts > 0 && lane->sorted().results == all + all - kDevices &&
           lane->idle();
  }));
  expect_all_recorded_once();
}

TEST_F(LaneTest, StopsTakingAtItsBoundWhilePostgresIsAwayAndCatchesUp) {
  open_producer();
  LaneOptions options = lane_options();
  options.pending_bytes_max = 16 * 1024;
  Lane lane(options, make_ping_sorter(24h));
  ASSERT_TRUE(run_until({&lane}, [&] { return lane.waiting_for().empty(); }));
  server().kill9();
  for (int i = 0; i < 100; ++i) {
    measure();
    turn({&lane});
    EXPECT_LT(lane.pending_bytes(), 24U * 1024);
  }
  EXPECT_TRUE(lane.paused());
  EXPECT_GT(producer_->stats().unacknowledged, 0U);
  restart_server();
  EXPECT_TRUE(run_until({&lane}, [&] { return acknowledged(); }));
  EXPECT_FALSE(lane.paused());
  expect_all_recorded_once();
}

TEST_F(LaneTest, QuarantinesWhatCanNeverBeRightAndGoesOn) {
  open_producer();
  auto lane = make_lane();
  measure();
  ASSERT_TRUE(producer_->append(3, "no batch at all", now_));
  PingResults wrong;
  wrong.location = "default";
  wrong.device = {7};
  wrong.interval_ms = {kInterval};
  wrong.due_ms = {slot_at_or_before(7, kInterval, kStartMs) + 1};
  wrong.verdict = {Verdict::kFailed};
  wrong.reason = {Reason::kTimeout};
  wrong.echo_begin = {0, 0};
  encode_ping(wrong, payload_);
  ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  measure();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  EXPECT_EQ(lane->sorted().quarantined, 2U);
  EXPECT_EQ(lane->stream_stats().quarantined, 2U);
  EXPECT_EQ(sql("SELECT string_agg(reason, '; ' ORDER BY reason) FROM stream_quarantine"),
            "a due time is no slot; ping batch: bytes are no PingBatch");
  expect_all_recorded_once();
}

// What PostgreSQL would refuse, and with it all that is in the same commit, again and again.
TEST_F(LaneTest, IsNotHeldUpByTimesThatAreNone) {
  open_producer();
  auto lane = make_lane();
  for (const int64_t at_ms : {INT64_MIN, INT64_MAX, int64_t{-1}}) {
    PingResults odd;
    odd.location = "default";
    odd.device = {7};
    odd.interval_ms = {kInterval};
    odd.due_ms = {slot_at_or_before(7, kInterval, kStartMs - 1'000'000)};
    odd.verdict = {Verdict::kFailed};
    odd.reason = {Reason::kTimeout};
    odd.echo_begin = {0, 0};
    odd.address_changes = {{.device = 7, .at_ms = at_ms}};
    encode_ping(odd, payload_);
    ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  }
  // A result of before retention, and an answer to one of before there were computers.
  PingResults old;
  old.location = "default";
  old.device = {7, 7};
  old.interval_ms = {kInterval, kInterval};
  old.due_ms = {slot_after(7, kInterval, kStartMs - 40 * 86'400'000LL),
                slot_at_or_before(7, kInterval, kStartMs - 10'000)};
  old.verdict = {Verdict::kFailed, Verdict::kFailed};
  old.reason = {Reason::kTimeout, Reason::kTimeout};
  old.echo_begin = {0, 0, 0};
  old.strays = {{.device = 7, .due_ms = slot_after(7, kInterval, -9'000'000'000'000), .rtt_us = 5}};
  encode_ping(old, payload_);
  ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  measure();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); })) << lane->waiting_for();
  EXPECT_EQ(lane->sorted().quarantined, 3U);
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine"), "3");
  // Transposing goes on, too: what is past retention is discarded there.
  Store store(database());
  uint64_t discarded = 0;
  uint64_t results = 0;
  for (uint32_t p = 0; p < kPartitions; ++p) {
    auto chunked = store.chunk(p, now_.wall, 24h);
    ASSERT_TRUE(chunked) << chunked.error().message;
    discarded += chunked->discarded;
    results += chunked->results;
  }
  EXPECT_GE(discarded, 1U);
  EXPECT_EQ(results, kDevices + 1);
}

// One record in each round that PostgreSQL refuses; recorders and servers die at any moment.
TEST_F(LaneTest, IsNotHeldUpByWhatPostgresRefusesWhoeverDiesMeanwhile) {
  open_producer();
  sql("ALTER TABLE ping_hot ADD CONSTRAINT refused CHECK (position('poison'::bytea IN batches) = "
      "0)");
  uint64_t poison = 0;
  auto measure_all = [&] {
    measure();
    PingResults r;
    r.location = "poison";
    testing::append(r, {.device = 7,
                        .interval_ms = kInterval,
                        .due_ms = slot_at_or_before(7, kInterval, kStartMs + measured_ * 1000)});
    encode_ping(r, payload_);
    ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
    ++poison;
  };
  lose_per_mille_ = 20;
  for (int life = 0; life < 8; ++life) {
    auto lane = make_lane();
    ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->waiting_for().empty(); }));
    for (uint64_t i = 0; i < 2 + random_.below(12); ++i) {
      measure_all();
      turn({lane.get()});
    }
    if (life % 4 == 3) {
      server().kill9();
      restart_server();
    }
    if (random_.chance(500)) {
      const uint64_t before = lane->counts().commits;
      run_until({lane.get()}, [&] { return lane->counts().commits > before; });
    }
  }
  lose_per_mille_ = 0;
  auto lane = make_lane();
  measure_all();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged() && lane->idle(); }))
      << lane->waiting_for();
  EXPECT_EQ(lane->waiting_for(), "");
  EXPECT_GT(lane->counts().refused, 0U);
  EXPECT_GT(lane->stream_stats().quarantined, 0U);
  connect();
  expect_all_recorded_once();
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine WHERE refused"), std::to_string(poison));
  EXPECT_EQ(sql("SELECT count(DISTINCT (epoch, partition, seq)) FROM stream_quarantine"),
            std::to_string(poison));
  EXPECT_EQ(sql("SELECT count(*) FROM stream_gaps"), std::to_string(poison));
  // No longer refused, and people want it tried again: the lane looks by itself.
  sql("ALTER TABLE ping_hot DROP CONSTRAINT refused; SELECT history_retry_refused()");
  EXPECT_TRUE(run_until({lane.get()}, [&] { return lane->counts().taken_in == poison; }));
  EXPECT_EQ(sql("SELECT count(*) FROM stream_gaps"), "0");
  EXPECT_EQ(
      sql("SELECT sum(results) FROM ping_hot"),
      std::to_string(measured_ * static_cast<int64_t>(kDevices) + static_cast<int64_t>(poison)));
}

TEST_F(LaneTest, SetsAsideOnceWhenPostgresDiesWhileItDoes) {
  open_producer();
  sql("ALTER TABLE ping_hot ADD CONSTRAINT refused CHECK (position('poison'::bytea IN batches) = "
      "0);"
      "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
      " $$ BEGIN PERFORM pg_sleep(3600); RETURN NULL; END $$;"
      "CREATE TRIGGER stop AFTER INSERT ON stream_quarantine EXECUTE FUNCTION stop()");
  auto lane = make_lane();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->waiting_for().empty(); }));
  measure();
  PingResults r;
  r.location = "poison";
  testing::append(
      r,
      {.device = 7, .interval_ms = kInterval, .due_ms = slot_at_or_before(7, kInterval, kStartMs)});
  encode_ping(r, payload_);
  ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  measure();
  ASSERT_TRUE(run_until({lane.get()}, [&] {
    return sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  server().kill9();
  restart_server();
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine"), "0");
  EXPECT_EQ(producer_->stats().unacknowledged, 2 * kPartitions + 1);
  sql("DROP TRIGGER stop ON stream_quarantine");
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged() && lane->idle(); }));
  expect_all_recorded_once();
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine WHERE refused"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM stream_gaps"), "1");
  EXPECT_EQ(lane->counts().refused, 1U);
}

TEST_F(LaneTest, RecordsTransitionsOfDatesThatAreNoneInQuarantine) {
  open_producer("transitions");
  auto lane = make_lane("transitions");
  uint8_t n = 0;
  for (const int64_t slot_ms : {INT64_MIN, INT64_MAX, kStartMs}) {
    Transition t{.device = 7,
                 .from = DeviceStatus::kUp,
                 .to = DeviceStatus::kDown,
                 .reason = TransitionReason::kFailuresInARow,
                 .slot_ms = slot_ms,
                 .decided_at = now_.wall};
    t.state.device = 7;
    t.id[15] = ++n;
    encode_transition(t, payload_);
    ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  }
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); })) << lane->waiting_for();
  EXPECT_EQ(lane->sorted().quarantined, 2U);
  EXPECT_EQ(sql("SELECT count(*) FROM transitions"), "1");
}

TEST_F(LaneTest, SetsTheFutureAsideUntilItIsNoLongerAhead) {
  open_producer();
  auto lane = make_lane();
  now_.wall = wall_from_ms(kStartMs) - 20s;  // our clock is behind the prober's
  measure();
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  EXPECT_EQ(lane->set_aside(), kPartitions);
  EXPECT_EQ(sql("SELECT coalesce(sum(results), 0) FROM ping_hot"), "0");
  lane = make_lane();  // a restart forgets nothing of it
  now_.wall += 11s;
  EXPECT_TRUE(run_until({lane.get()}, [&] {
    return lane->counts().taken_in == kPartitions && lane->set_aside() == 0;
  }));
  for (DeviceId device = 1; device <= kDevices; ++device) {
    EXPECT_EQ(history::Reader(*connection_).results(device, 0, 4'000'000'000'000)->rows.size(), 1U);
  }
}

TEST_F(LaneTest, ShowsLostRecordsAsAGapWithTheSlotsItMayConcern) {
  open_producer("ping", 32 * 1024);
  auto lane = make_lane();
  for (int i = 0; i < 5; ++i) measure();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  const int64_t last_before = measured_;
  // The recorder hears nothing while the spool runs over its bound.
  while (producer_->stats().dropped == 0) {
    measure();
    turn({});
  }
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged() && lane->idle(); }));
  EXPECT_GT(lane->sorted().gap_records, 0U);
  history::Reader reader(*connection_);
  auto gaps = reader.gaps(0, 4'000'000'000'000);
  ASSERT_TRUE(gaps);
  ASSERT_FALSE(gaps->empty());
  uint64_t lost = 0;
  for (const history::Gap& gap : *gaps) lost += gap.last_seq - gap.first_seq + 1;
  EXPECT_EQ(lost, lane->sorted().gap_records);
  for (DeviceId device = 1; device <= kDevices; ++device) {
    auto results = reader.results(device, 0, 4'000'000'000'000);
    ASSERT_TRUE(results);
    const auto audit = history::audit_slots(
        *results, device, kInterval, slot_at_or_before(device, kInterval, kStartMs),
        slot_at_or_before(device, kInterval, kStartMs + measured_ * kInterval));
    EXPECT_EQ(audit.expected, static_cast<uint64_t>(measured_));
    EXPECT_EQ(audit.unexpected, 0U);
    for (const int64_t due : audit.missing) {
      EXPECT_TRUE(history::explained_by(*gaps, device, due)) << due;
      EXPECT_GE(due, slot_at_or_before(device, kInterval, kStartMs + last_before * kInterval));
    }
  }
}

TEST_F(LaneTest, RecordsTransitionsWithTheSameCare) {
  open_producer("transitions");
  auto lane = make_lane("transitions");
  Transition t{.device = 7,
               .from = DeviceStatus::kUp,
               .to = DeviceStatus::kDown,
               .reason = TransitionReason::kFailuresInARow,
               .slot_ms = kStartMs,
               .decided_at = now_.wall};
  t.state.device = 7;
  t.state.transition_counter = 3;
  for (uint8_t n = 1; n <= 3; ++n) {
    t.id[15] = n == 3 ? 1 : n;  // the third repeats the first
    encode_transition(t, payload_);
    ASSERT_TRUE(producer_->append(partition_of(7), payload_, now_));
  }
  ASSERT_TRUE(producer_->append(0, "no transition", now_));
  EXPECT_TRUE(run_until({lane.get()}, [&] { return acknowledged(); }));
  EXPECT_EQ(sql("SELECT count(*) FROM transitions WHERE device_id = 7 AND to_status = 2"
                " AND counter = 3"),
            "2");
  EXPECT_EQ(lane->sorted().quarantined, 1U);
  auto state = sql("SELECT encode(state, 'hex') FROM transitions LIMIT 1");
  EXPECT_FALSE(state.empty());
}

TEST_F(LaneTest, CommitsWhatWasGatheredAtACleanStop) {
  open_producer();
  auto lane = make_lane();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->waiting_for().empty(); }));
  measure();
  ASSERT_TRUE(run_until({lane.get()}, [&] { return lane->pending_records() > kPartitions; }));
  EXPECT_EQ(lane->counts().commits, 0U);
  lane->flush(now_, std::chrono::milliseconds(20'000));
  EXPECT_TRUE(lane->idle());
  for (const stream::Outgoing& m : lane->take_outgoing(now_)) {
    producer_->on_message(m.topic, m.payload, now_);
  }
  expect_all_recorded_once();
}

// --- with CSV files beside it --------------------------------------------------------------------

// A lane whose results the CSV writer sees, as in the App; `run` does the writer's jobs.
class LaneWithCsvTest : public LaneTest {
 protected:
  void start(std::function<CsvDone(CsvJob)> run) {
    CsvWriterOptions options{
        .desk = {.dir = dir_ / "nowhere" / "csv",
                 .postgres = database(),
                 .policy = {.write_every = 100ms},
                 .local_offset = [] { return UtcOffset([](int64_t) { return 0; }); }}};
    options.run = std::move(run);
    csv_ = std::make_unique<CsvWriter>(std::move(options), now_);
    Catalogue devices;
    for (DeviceId id = 1; id <= kDevices; ++id) {
      devices.devices.push_back({.id = id, .address = "192.0.2." + std::to_string(id)});
    }
    csv_->on_catalogue(std::make_shared<const Catalogue>(std::move(devices)));
    lane_ = std::make_unique<Lane>(
        lane_options(), make_ping_sorter(24h, [this](const PingResults& results, Now now) {
          csv_->on_results(results, now);
        }));
    open_producer();
  }
  void record_everything() {
    for (int i = 0; i < 50; ++i) {
      measure();
      turn({lane_.get()});
      csv_->turn(now_);
    }
    EXPECT_TRUE(run_until({lane_.get()}, [&] {
      csv_->turn(now_);
      return acknowledged();
    }));
    expect_all_recorded_once();
  }

  std::unique_ptr<CsvWriter> csv_;
  std::unique_ptr<Lane> lane_;
};

TEST_F(LaneWithCsvTest, RecordsWhileTheDirectoryCannotBeWrittenAndSaysSo) {
  start(nullptr);
  record_everything();
  EXPECT_TRUE(run_until({lane_.get()}, [&] {
    csv_->turn(now_);
    return !csv_->problem(now_).empty();
  }));
  EXPECT_NE(csv_->problem(now_).find("nowhere"), std::string::npos) << csv_->problem(now_);
  EXPECT_EQ(csv_->book().counts().writes, 0U);
  EXPECT_EQ(lane_->waiting_for(), "");
}

TEST_F(LaneWithCsvTest, RecordsWhileTheDirectoryDoesNotAnswer) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    bool entered = false;
  };
  const auto gate = std::make_shared<Gate>();
  start([gate](const CsvJob&) {
    std::unique_lock lock(gate->mutex);
    gate->entered = true;
    gate->changed.wait(lock, [&] { return gate->open; });
    return CsvDone{};
  });
  record_everything();
  {
    const std::lock_guard lock(gate->mutex);
    EXPECT_TRUE(gate->entered);
    gate->open = true;
  }
  gate->changed.notify_all();
}

}  // namespace
}  // namespace gema::recorder
