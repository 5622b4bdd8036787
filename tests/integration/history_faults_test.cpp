// What happens to history when its disk fills up, PostgreSQL goes away or is restored to an older
// state: real broker, recorder process, PostgreSQL and producers; every slot compared afterwards.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/base/random.h"
#include "common/codec/transition_codec.h"
#include "common/runtime/clock.h"
#include "tests/integration/history_site.h"
#include "tests/support/shifted_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::testing {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr auto kPatience = std::chrono::seconds(60);

int64_t now_ms() {
  return unix_ms(runtime::read_clock().wall);
}

// The beginning of an hour, so long ago that it is closed whatever the time.
int64_t hours_ago(int hours) {
  const int64_t now = now_ms();
  return now - now % kHourMs - hours * kHourMs;
}

// A small file system that only this program and its children see, and that can be filled.
class SmallVolume {
 public:
  // "": it can be made.
  static std::string why_not() {
    if (geteuid() != 0) return "mounting a small file system needs root";
    static const std::string result = [] {
      if (unshare(CLONE_NEWNS) != 0 ||
          mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return std::string("no mount namespace of our own: ") + std::strerror(errno);
      }
      return std::string();
    }();
    return result;
  }

  explicit SmallVolume(int mib) {
    const auto uid = *unprivileged_uid();
    const std::string options = "size=" + std::to_string(mib) +
                                "m,mode=0700,uid=" + std::to_string(uid) +
                                ",gid=" + std::to_string(uid);
    if (mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, options.c_str()) != 0) {
      throw std::runtime_error(std::string("mount: ") + std::strerror(errno));
    }
  }
  ~SmallVolume() { umount2(dir_.path().c_str(), MNT_DETACH); }

  const std::filesystem::path& path() const { return dir_.path(); }

  void fill() {
    const int fd = open(ballast().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string block(4096, 'x');
    while (::write(fd, block.data(), block.size()) > 0) {
    }
    close(fd);
  }
  void make_room() { std::filesystem::remove(ballast()); }

 private:
  std::filesystem::path ballast() const { return dir_ / "ballast"; }
  TempDir dir_;
};

// The producer of transitions: as many as asked for, of device 1, 2, ...
class Teller {
 public:
  explicit Teller(const HistorySite& site, const bus::testing::BrokerProcess& broker) {
    (void)site;
    bus_ = std::move(*bus::BusClient::open(broker.client_options("timeout-tracker")));
    producer_ = std::move(*stream::Producer::open({.dir = broker.dir() / "spool" / "tracker",
                                                   .stream = "transitions",
                                                   .name = "timeout-tracker",
                                                   .groups = {"recorder"}},
                                                  runtime::read_clock()));
    for (const std::string& prefix : producer_->subscriptions()) bus_->subscribe(prefix);
  }
  void tell(int count) {
    for (int i = 0; i < count; ++i) {
      ++told_;
      Transition t{.device = told_,
                   .from = DeviceStatus::kUp,
                   .to = DeviceStatus::kDown,
                   .reason = TransitionReason::kFailuresInARow,
                   .slot_ms = hours_ago(1),
                   .decided_at = runtime::read_clock().wall};
      t.state.device = told_;
      for (int b = 0; b < 4; ++b) t.id[15 - b] = static_cast<uint8_t>(told_ >> (8 * b));
      encode_transition(t, payload_);
      const Now now = runtime::read_clock();
      ASSERT_TRUE(producer_->append(partition_of(t.device), payload_, now));
      turn();
    }
  }
  bool wait_acknowledged() {
    return wait_until(
        [&] {
          turn();
          return producer_->stats().unacknowledged == 0;
        },
        kPatience);
  }
  void turn() {
    const Now now = runtime::read_clock();
    while (bus_->receive(topic_, payload_)) producer_->on_message(topic_, payload_, now);
    bus_->tick(now);
    producer_->tick(now);
    for (const stream::Outgoing& m : producer_->take_outgoing(now)) {
      bus_->publish(m.topic, m.payload);
    }
  }
  uint64_t told() const { return told_; }

 private:
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<stream::Producer> producer_;
  std::string topic_;
  std::string payload_;
  uint64_t told_ = 0;
};

class HistoryFaultsTest : public ::testing::Test {
 protected:
  void TearDown() override { set_clock_ahead(0); }
  void begin(SiteOptions options = {}, DeviceId devices = 40) {
    site_ = std::make_unique<HistorySite>(std::move(options));
    plan_.devices = devices;
    plan_.from_ms = hours_ago(5);
    plan_.to_ms = plan_.from_ms;
    plan_.block_ms = 20'000;
    feeder_ = site_->feeder(plan_, {});
    site_->start_recorder();
  }
  // The next so many seconds of slots.
  void feed(int seconds) {
    feeder_->feed(plan_.to_ms, plan_.to_ms + seconds * 1000);
    plan_.to_ms += seconds * 1000;
  }
  bool wait_acknowledged() {
    return wait_until([&] { return feeder_->acknowledged_all(); }, kPatience);
  }
  bool wait_ready() {
    return wait_until([&] { return site_->readyz() == "ready\n"; }, kPatience);
  }
  bool wait_said(const std::string& what) {
    return wait_until([&] { return site_->readyz().find(what) != std::string::npos; }, kPatience);
  }
  bool wait_metric(const std::string& name, double more_than) {
    return wait_until([&] { return site_->recorder_metric("gema_recorder_" + name) > more_than; },
                      kPatience);
  }
  void expect_all_there_once() {
    ASSERT_TRUE(wait_acknowledged()) << feeder_->unacknowledged() << site_->recorder_log();
    ASSERT_TRUE(site_->wait_settled(kPatience)) << site_->recorder_log();
    const Audit before = site_->audit_reader(plan_);
    EXPECT_TRUE(before.clean()) << before.text() << site_->recorder_log();
    EXPECT_EQ(before.found, plan_.samples());
    const Audit both = site_->audit_tables(plan_, false);
    EXPECT_TRUE(both.clean()) << both.text();
    site_->drop_leaves();
    for (const Audit& audit : {site_->audit_reader(plan_), site_->audit_tables(plan_, true),
                               site_->audit_rollups(plan_)}) {
      EXPECT_TRUE(audit.clean()) << audit.text() << site_->recorder_log();
    }
  }
  int lines_with(const std::string& what) {
    const std::string log = site_->recorder_log();
    int n = 0;
    for (size_t at = log.find(what); at != std::string::npos; at = log.find(what, at + 1)) ++n;
    return n;
  }

  std::unique_ptr<HistorySite> site_;
  Plan plan_;
  std::unique_ptr<Feeder> feeder_;
};

TEST_F(HistoryFaultsTest, SaysThatTheDiskIsFullAndGoesOnOnceThereIsRoom) {
  if (const std::string why = SmallVolume::why_not(); !why.empty()) GTEST_SKIP() << why;
  SmallVolume data(300);
  SmallVolume wal(300);
  begin({.postgres = {.data_dir = data.path(), .wal_dir = wal.path()}});
  feed(600);
  ASSERT_TRUE(wait_acknowledged());
  data.fill();
  feed(3'000);
  ASSERT_TRUE(wait_said("its disk is full")) << site_->readyz() << site_->recorder_log();
  // Whatever is in history may be acknowledged, nothing else.
  EXPECT_TRUE(wait_until([&] { return feeder_->appended_all(); }, kPatience));
  EXPECT_GT(feeder_->unacknowledged(), 0U);
  ASSERT_TRUE(wait_metric("commit_failures_total", 4));
  EXPECT_GT(feeder_->unacknowledged(), 0U);
  EXPECT_EQ(lines_with("waiting for PostgreSQL"), 1) << site_->recorder_log();
  data.make_room();
  EXPECT_TRUE(wait_ready()) << site_->readyz();
  expect_all_there_once();
}

TEST_F(HistoryFaultsTest, TransposesAndCompactsOnceThereIsRoomAgain) {
  if (const std::string why = SmallVolume::why_not(); !why.empty()) GTEST_SKIP() << why;
  SmallVolume data(300);
  SmallVolume wal(300);
  begin(
      {.postgres = {.data_dir = data.path(), .wal_dir = wal.path()},
       .recorder_settings = {"GEMA_RECORDER__CHUNK_EVERY_S=5", "GEMA_RECORDER__COMPACT_AFTER_S=2",
                             "GEMA_RECORDER__COMMIT_EVERY_MS=200", "GEMA_RECORDER__CSV_ROWS=off"}});
  feed(1'800);
  ASSERT_TRUE(wait_acknowledged());
  data.fill();
  ASSERT_TRUE(wait_metric("chunk_failures_total", 0)) << site_->recorder_log();
  EXPECT_TRUE(wait_said("its disk is full")) << site_->readyz();
  data.make_room();
  // All transposed, and not compacted yet.
  ASSERT_TRUE(wait_until(
      [&] {
        return site_->sql(
                   "SELECT count(*) FROM stream_heads h JOIN ping_watermarks w USING"
                   " (partition) WHERE h.stream = 'ping' AND h.number > w.number") == "0";
      },
      kPatience));
  data.fill();
  feed(60);
  ASSERT_TRUE(wait_metric("compact_failures_total", 0)) << site_->recorder_log();
  data.make_room();
  expect_all_there_once();
  EXPECT_TRUE(wait_ready()) << site_->readyz();
}

TEST_F(HistoryFaultsTest, GoesOnAfterTheVolumeOfTheWriteAheadLogWasFull) {
  if (const std::string why = SmallVolume::why_not(); !why.empty()) GTEST_SKIP() << why;
  SmallVolume data(300);
  SmallVolume wal(160);
  begin({.postgres = {.data_dir = data.path(), .wal_dir = wal.path()}});
  feed(600);
  ASSERT_TRUE(wait_acknowledged());
  wal.fill();
  // It panics when it needs the next segment.
  wait_until(
      [&] {
        feed(600);
        return !site_->postgres().running() || !site_->postgres().accepts() ||
               site_->readyz() != "ready\n" || plan_.to_ms - plan_.from_ms > 3 * kHourMs;
      },
      kPatience);
  EXPECT_TRUE(wait_until([&] { return !site_->readyz().empty() && site_->readyz() != "ready\n"; },
                         kPatience))
      << site_->postgres().log();
  EXPECT_NE(site_->postgres().log().find("PANIC"), std::string::npos) << site_->postgres().log();
  wal.make_room();
  // As the supervisor does.
  if (!wait_until([&] { return site_->postgres().accepts(); }, std::chrono::seconds(2))) {
    site_->postgres().restart();
  }
  EXPECT_TRUE(wait_ready()) << site_->readyz();
  expect_all_there_once();
}

// What the other tests judge by.
// Chunks of device 7 and packed hours of device 8: a constraint that somebody added.
TEST_F(HistoryFaultsTest, WhatPostgresRefusesHoldsNothingUpAndComesBackOnceItIsTaken) {
  begin();
  site_->sql("ALTER TABLE ping_chunks ADD CONSTRAINT refused CHECK (device_id <> 7) NOT VALID");
  site_->sql("ALTER TABLE ping_packed ADD CONSTRAINT refused CHECK (device_id <> 8) NOT VALID");
  for (int life = 0; life < 2; ++life) {
    if (life > 0) {
      site_->kill_recorder();
      site_->start_recorder();
    }
    feed(1'500);
    ASSERT_TRUE(wait_acknowledged()) << site_->recorder_log();
    ASSERT_TRUE(site_->wait_settled(kPatience)) << site_->recorder_log();
    EXPECT_TRUE(wait_ready()) << site_->readyz();
    EXPECT_TRUE(wait_metric("chunk_refused_total", 0)) << site_->recorder_log();
    EXPECT_TRUE(wait_metric("compact_refused_total", 0)) << site_->recorder_log();
  }
  site_->drop_leaves();
  const Audit without = site_->audit_reader(plan_);
  EXPECT_EQ(without.lost, 2 * 3'000U) << without.text();
  EXPECT_EQ(without.found, plan_.samples() - 2 * 3'000U);
  EXPECT_EQ(without.doubled + without.wrong + without.broken, 0U) << without.text();
  EXPECT_EQ(site_->sql("SELECT count(*) = (SELECT count(*) FROM stream_gaps) AND bool_and(refused)"
                       " FROM stream_quarantine"),
            "t");
  site_->sql("ALTER TABLE ping_chunks DROP CONSTRAINT refused");
  site_->sql("ALTER TABLE ping_packed DROP CONSTRAINT refused");
  site_->sql("SELECT history_retry_refused()");
  site_->kill_recorder();
  site_->start_recorder();  // looks at once
  EXPECT_TRUE(wait_until(
      [&] { return site_->sql("SELECT count(*) FROM stream_quarantine") == "0"; }, kPatience))
      << site_->recorder_log();
  EXPECT_EQ(site_->sql("SELECT count(*) FROM stream_gaps"), "0");
  expect_all_there_once();
}

TEST_F(HistoryFaultsTest, TheAuditSeesWhatIsLostDoubledOrOtherThanItWas) {
  begin({}, 12);
  feed(120);
  expect_all_there_once();
  auto broken_by = [&](const std::string& damage, const std::string& repair) {
    site_->sql("DROP TABLE IF EXISTS saved; CREATE TABLE saved AS SELECT * FROM " + repair);
    site_->sql(damage);
    Audit all = site_->audit_reader(plan_);
    all.add(site_->audit_tables(plan_, true));
    all.add(site_->audit_rollups(plan_));
    site_->sql("DELETE FROM " + repair + "; INSERT INTO " + repair + " SELECT * FROM saved");
    return all;
  };
  EXPECT_EQ(broken_by("DELETE FROM ping_packed WHERE device_id = 3", "ping_packed").lost, 2 * 120U);
  EXPECT_EQ(broken_by("INSERT INTO ping_packed SELECT device_id, start_ms, part + 50, step_ms,"
                      " location_id, producer_id, results, clock_steps, packed, details FROM"
                      " ping_packed WHERE device_id = 3",
                      "ping_packed")
                .doubled,
            120U);
  EXPECT_EQ(
      broken_by("UPDATE ping_packed SET results = results + 1 WHERE device_id = 3", "ping_packed")
          .doubled,
      1U);
  EXPECT_GE(broken_by("UPDATE ping_packed SET packed = (SELECT packed FROM ping_packed WHERE"
                      " device_id = 4) WHERE device_id = 3",
                      "ping_packed")
                .wrong,
            100U);
  EXPECT_EQ(broken_by("UPDATE ping_packed SET packed = set_byte(packed, 0, 99) WHERE device_id = 3",
                      "ping_packed")
                .broken,
            2U);
  EXPECT_EQ(
      broken_by("DELETE FROM ping_rollup_minutes WHERE device_id = 3", "ping_rollup_minutes").lost,
      120U);
  EXPECT_EQ(broken_by("UPDATE ping_rollup_minutes SET rollups = (SELECT rollups FROM"
                      " ping_rollup_minutes WHERE device_id = 4) WHERE device_id = 3",
                      "ping_rollup_minutes")
                .wrong,
            1U);
  EXPECT_TRUE(site_->audit_reader(plan_).clean());
}

// Small tables whose rows are updated by each commit, as PostgreSQL keeps them without any vacuum:
// dead versions go when their page is next written to (fillfactor 50 leaves room for them there).
TEST_F(HistoryFaultsTest, TablesThatAreUpdatedByEachCommitStaySmallEvenWithoutVacuum) {
  begin({.postgres = {.settings = {"autovacuum=off"}},
         .recorder_settings = {"GEMA_RECORDER__CHUNK_EVERY_S=1", "GEMA_RECORDER__COMPACT_AFTER_S=0",
                               "GEMA_RECORDER__COMMIT_EVERY_MS=50", "GEMA_RECORDER__CSV_ROWS=off"}},
        20);
  feeder_.reset();
  plan_.block_ms = 2'000;
  FeederOptions slowly;
  slowly.samples_per_second = 2'000;
  feeder_ = site_->feeder(plan_, slowly);
  // So many commits as it takes.
  ASSERT_TRUE(wait_until(
      [&] {
        if (feeder_->appended_all()) feed(20);
        return site_->recorder_metric("gema_recorder_commits_total{stream=\"ping\"") > 250;
      },
      kPatience));
  ASSERT_TRUE(wait_acknowledged());
  for (const char* table :
       {"stream_heads", "stream_positions", "ping_watermarks", "ping_hours", "history_state"}) {
    const auto bytes =
        std::stoull(site_->sql(std::string("SELECT pg_relation_size('") + table + "')"));
    std::cout << table << ": " << bytes << " bytes\n";
    EXPECT_LE(bytes, 64U * 1024) << table;
  }
  expect_all_there_once();
}

// With clocks so far ahead that midnight comes soon: the last hour of a day closes, and the day,
// while it is measured, and its last second comes when both are done.
TEST_F(HistoryFaultsTest, PacksAnHourAndADayThatCloseWhileTheyAreMeasured) {
  site_ = std::make_unique<HistorySite>(SiteOptions{
      .recorder_settings = {"GEMA_RECORDER__CHUNK_EVERY_S=2", "GEMA_RECORDER__COMPACT_AFTER_S=0",
                            "GEMA_RECORDER__CSV_ROWS=off"},
      .clock_ahead_ms = 0});
  const int64_t midnight = now_ms() - now_ms() % kDayMs + kDayMs;
  const int64_t ahead = midnight - 10'000 - now_ms();
  set_clock_ahead(ahead);
  site_->set_clock_ahead(ahead);
  site_->start_recorder();
  plan_.devices = 200;
  plan_.from_ms = plan_.to_ms = now_ms() - now_ms() % 1000 - 1000;
  plan_.block_ms = 1'000;
  feeder_ = site_->feeder(plan_, {});
  // Each second when it is over, but the last one before midnight.
  auto measure = [&] {
    for (; plan_.to_ms + 1000 <= now_ms(); plan_.to_ms += 1000) {
      if (plan_.to_ms != midnight - 1000) feeder_->feed(plan_.to_ms, plan_.to_ms + 1000);
    }
  };
  auto wait_sql = [&](const std::string& statement, const std::string& value) {
    return wait_until(
        [&] {
          measure();
          return site_->sql(statement) == value;
        },
        kPatience);
  };
  Plan day = plan_;
  day.to_ms = midnight;
  const std::string packed =
      "SELECT sum(results) FROM ping_packed WHERE start_ms < " + std::to_string(midnight);
  EXPECT_TRUE(wait_sql(packed, std::to_string(day.samples() - plan_.devices)))
      << site_->sql(packed) << "\n"
      << site_->recorder_log();
  EXPECT_TRUE(wait_sql("SELECT day_ms FROM ping_days", std::to_string(midnight - kDayMs)));
  feeder_->feed(midnight - 1000, midnight);
  EXPECT_TRUE(wait_sql(packed, std::to_string(day.samples()))) << site_->sql(packed) << "\n"
                                                               << site_->recorder_log();
  EXPECT_GT(plan_.to_ms, midnight);
  ASSERT_TRUE(wait_acknowledged());
  EXPECT_EQ(
      site_->sql("SELECT count(*) FROM ping_packed WHERE start_ms >= " + std::to_string(midnight)),
      "0");
  const Audit read = site_->audit_reader(plan_);
  EXPECT_TRUE(read.clean()) << read.text();
  EXPECT_EQ(read.found, plan_.samples());
  // Two hours on all of it is packed.
  set_clock_ahead(ahead + 2 * kHourMs);
  site_->set_clock_ahead(ahead + 2 * kHourMs);
  site_->kill_recorder();
  site_->start_recorder();
  expect_all_there_once();
}

class RestoreTest : public HistoryFaultsTest {
 protected:
  void copy(const std::filesystem::path& from, const std::filesystem::path& to) {
    run_or_throw({.command = {"cp", "-a", from, to}, .log = site_->broker().dir() / "cp.log"});
  }
  // PostgreSQL as it is now: a copy of the stopped server's directory, or while it runs.
  void back_up(bool running) {
    if (running) {
      // By its owner, into a directory of his.
      std::filesystem::create_directory(backup());
      std::filesystem::permissions(backup(), std::filesystem::perms::owner_all);
      const auto uid = unprivileged_uid();
      if (uid) {
        ASSERT_EQ(chown(backup().c_str(), *uid, *uid), 0);
      }
      run_or_throw({.command = {PostgresServer::program("pg_basebackup"), "-h",
                                site_->postgres().socket_dir(), "-U", "gema", "-D", backup(), "-X",
                                "stream", "-c", "fast"},
                    .log = site_->broker().dir() / "backup.log",
                    .run_as = uid});
      return;
    }
    site_->postgres().stop();
    copy(site_->postgres().data_dir(), backup());
    site_->postgres().start();
  }
  void restore() {
    site_->postgres().kill9();
    std::filesystem::remove_all(site_->postgres().data_dir());
    copy(backup(), site_->postgres().data_dir());
    site_->postgres().start();
  }
  std::filesystem::path backup() {
    return std::filesystem::path(site_->postgres().socket_dir()) / "backup";
  }
};

TEST_F(RestoreTest, FillsFromTheSpoolsWhatARestoredDatabaseLacks) {
  for (const bool recorder_dies : {false, true}) {
    SCOPED_TRACE(recorder_dies ? "the recorder is restarted" : "the recorder runs on");
    begin();
    Teller teller(*site_, site_->broker());
    feed(3'000);
    teller.tell(30);
    ASSERT_TRUE(wait_acknowledged() && teller.wait_acknowledged());
    ASSERT_TRUE(site_->wait_settled(kPatience));
    back_up(recorder_dies);
    // What comes then: of the same hour, of the next, transitions; packed, and short chunks gone.
    feed(4'000);
    teller.tell(25);
    ASSERT_TRUE(wait_acknowledged() && teller.wait_acknowledged());
    ASSERT_TRUE(site_->wait_settled(kPatience));
    EXPECT_GT(site_->drop_leaves(), 0U);
    EXPECT_EQ(site_->sql("SELECT count(*) FROM transitions"), "55");
    if (recorder_dies) site_->kill_recorder();
    restore();
    EXPECT_EQ(site_->sql("SELECT count(*) FROM transitions"), "30");
    if (recorder_dies) site_->start_recorder();
    // No new record is needed: tips and the idle look at the head rows tell.
    EXPECT_TRUE(wait_until(
        [&] {
          teller.turn();
          return site_->sql("SELECT count(*) FROM transitions") == "55" && site_->settled() &&
                 site_->audit_reader(plan_).found == plan_.samples();
        },
        kPatience))
        << site_->audit_reader(plan_).text() << site_->recorder_log();
    if (!recorder_dies) {
      EXPECT_GT(site_->recorder_metric("gema_recorder_conflicts_total"), 0);
      EXPECT_GE(lines_with("the database is not as this recorder left it"), 1);
    }
    expect_all_there_once();
    EXPECT_EQ(site_->sql("SELECT count(*) FROM stream_gaps"), "0");
    EXPECT_EQ(site_->sql("SELECT count(DISTINCT device_id) FROM transitions"), "55");
  }
}

TEST_F(HistoryFaultsTest, AnnouncesAsNotMeasuredWhatASpoolCannotHoldWhilePostgresIsAway) {
  site_ = std::make_unique<HistorySite>();
  plan_.devices = 40;
  plan_.from_ms = plan_.to_ms = hours_ago(5);
  plan_.block_ms = 20'000;
  FeederOptions options;
  options.spool_bytes_max = 256 * 1024;
  feeder_ = site_->feeder(plan_, options);
  site_->start_recorder();
  feed(300);
  ASSERT_TRUE(wait_acknowledged());
  site_->postgres().kill9();
  ASSERT_TRUE(wait_until([&] { return site_->readyz() != "ready\n"; }, kPatience));
  // What the recorder has taken it keeps; so it is away, too.
  site_->kill_recorder();
  ASSERT_TRUE(wait_until(
      [&] {
        feed(600);
        return feeder_->dropped() > 0;
      },
      kPatience));
  site_->postgres().start();
  site_->start_recorder();
  ASSERT_TRUE(wait_acknowledged()) << site_->recorder_log();
  ASSERT_TRUE(site_->wait_settled(kPatience));
  auto connection = site_->connect();
  history::Reader reader(*connection);
  const auto gaps = reader.gaps(0, 9'000'000'000'000);
  ASSERT_TRUE(gaps && !gaps->empty());
  uint64_t missing = 0;
  for (DeviceId d = 1; d <= plan_.devices; ++d) {
    const auto results = reader.results(d, plan_.from_ms, plan_.to_ms);
    ASSERT_TRUE(results);
    const auto audit =
        history::audit_slots(*results, d, Plan::kIntervalMs, plan_.from_ms, plan_.to_ms);
    EXPECT_EQ(audit.unexpected, 0U);
    missing += audit.missing.size();
    for (const int64_t due : audit.missing) {
      ASSERT_TRUE(history::explained_by(*gaps, d, due)) << "device " << d << " at " << due;
    }
  }
  EXPECT_GT(missing, 0U);
}

}  // namespace
}  // namespace gema::testing
