// The compactor's tables, the reader and the views over them, against a real PostgreSQL.
#include "common/history/statistics.h"
#include "common/postgres/migrate.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/compact_fixture_for_test.h"
#include "services/recorder/io/compactor.h"
#include "tests/support/wait_until.h"

namespace gema::recorder {
namespace {

TEST_F(CompactTest, PacksAClosedHourAndDropsItsShortChunks) {
  for (int minute = 0; minute < 60; minute += 10) {
    record("prober-1", each_second(7, kHour + minute * 60'000, kHour + (minute + 10) * 60'000));
    chunk_all(kHour + (minute + 10) * 60'000);
  }
  const int64_t end = kHour + kHourMs;
  EXPECT_EQ(compact_all(end + 600'000 - 1).hours, 0U);  // not yet
  EXPECT_EQ(compactor_->status(wall_from_ms(end + 600'000 - 1))->pending_hours, 0U);
  EXPECT_EQ(compactor_->status(wall_from_ms(end + 660'000))->pending_hours, 1U);
  EXPECT_EQ(compactor_->status(wall_from_ms(end + 660'000))->lag_s, 60);
  const std::string before = told(read(7));
  const Compacted done = compact_all(end + 600'000);
  EXPECT_EQ(done.hours, 1U);
  EXPECT_EQ(done.late_hours, 0U);
  EXPECT_GT(done.rows, 1U);
  EXPECT_LT(done.rows, 6U);
  EXPECT_EQ(done.results, 3600U);
  EXPECT_LT(done.packed_bytes, 4200U);
  EXPECT_EQ(told(read(7)), before);
  EXPECT_EQ(compact_all(end + 700'000).hours, 0U);
  EXPECT_EQ(housekeep(end + 600'000).chunk_leaves_dropped, 0U);  // readers may have begun earlier
  EXPECT_EQ(housekeep(end + 1'200'000).chunk_leaves_dropped, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "0");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hours"), "0");
  EXPECT_EQ(told(read(7)), before);
  history::Reader reader(*connection_);
  auto statistics = history::read_statistics(*connection_, {.from_ms = kHour, .to_ms = end});
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->devices.at(0).rollup.verdicts[0], history::statistics_of(read(7)).answered);
  EXPECT_EQ(reader.latest(kHour)->rows.at(7).due_ms, read(7).rows.back().due_ms);
  EXPECT_EQ(stored("ping_rollup_minutes", "hour_ms", 7, "default", kHour, 60),
            rolled_up(read(7), "default", kHour, 60'000, 60));
  const auto status = *compactor_->status(wall_from_ms(end + 600'000));
  EXPECT_EQ(status.pending_hours, 0U);
  EXPECT_EQ(status.lag_s, 0);
  EXPECT_GT(status.table_bytes.at("ping_packed"), 0U);
}

TEST_F(CompactTest, MergesWhatComesLateOfOneDeviceOnly) {
  for (const DeviceId device : {7, 8}) {
    record("prober-1", each_second(device, kHour, kHour + 1'000'000));
  }
  chunk_all();
  const int64_t end = kHour + kHourMs;
  compact_all(end + 600'000);
  const int64_t later = end + 5 * kHourMs;
  housekeep(later);
  // The hole is filled, and a slot that was there gets a better result.
  record("prober-1", each_second(7, kHour + 1'000'000, kHour + 2'000'000));
  record("prober-2", one(7, kHour + 5'000, Verdict::kAnswered, 1));
  record("prober-1", each_second(7, kHour + 1'500'000, kHour + 1'600'000));  // again
  chunk_all(later);
  EXPECT_EQ(compactor_->status(wall_from_ms(later + 600'000))->dirty_hours, 1U);
  const std::string before = told(read(7));
  EXPECT_EQ(compact_all(later + 599'999).hours, 0U);  // more may come
  const Compacted done = compact_all(later + 600'000);
  EXPECT_EQ(done.late_hours, 1U);
  EXPECT_EQ(done.results, 2001U);
  EXPECT_EQ(told(read(7)), before);
  EXPECT_EQ(sql("SELECT string_agg(n::text, ',' ORDER BY device_id, n) FROM (SELECT device_id,"
                " sum(results) AS n FROM ping_packed GROUP BY device_id, producer_id) p"),
            "1,2000,1000");
  EXPECT_EQ(stored("ping_rollup_minutes", "hour_ms", 7, "default", kHour, 60),
            rolled_up(read(7), "default", kHour, 60'000, 60));
}

TEST_F(CompactTest, TakesWhatIsTransposedWhileItsHourIsBeingCompacted) {
  constexpr DeviceId kDevices = kCompactDevicesMax + 50;  // more than one transaction takes
  Batch b = empty_batch();
  for (DeviceId d = 1; d <= kDevices; ++d) add(b, "prober-1", one(d, kIn, Verdict::kAnswered));
  commit(b);
  chunk_all();
  const int64_t now = kHour + 2 * kHourMs;
  EXPECT_EQ(compactor_->step(wall_from_ms(now))->hours, 0U);  // the first devices
  record("prober-1", one(1, kIn + 60'000, Verdict::kAnswered));
  record("prober-1", one(kDevices, kIn + 60'000, Verdict::kAnswered));
  chunk_all(now);
  EXPECT_EQ(compact_all(now).hours, 1U);
  EXPECT_EQ(housekeep(now + kHourMs).chunk_leaves_dropped, 0U);
  EXPECT_EQ(compact_all(now + kHourMs).late_hours, 1U);
  EXPECT_EQ(housekeep(now + 2 * kHourMs).chunk_leaves_dropped, 1U);
  EXPECT_EQ(read(1).rows.size(), 2U);
  EXPECT_EQ(read(kDevices).rows.size(), 2U);
}

TEST_F(CompactTest, DoesNotWaitForeverForAnHourThatIsBeingCaughtUpWith) {
  record("prober-1", one(7, kIn, Verdict::kAnswered));
  chunk_all(kHour + 10 * kHourMs);
  record("prober-1", one(7, kIn + 1000, Verdict::kAnswered));
  const int64_t later = kHour + 10 * kHourMs + 3'900'000;
  chunk_all(later);
  EXPECT_EQ(compact_all(later).hours, 0U);
  EXPECT_EQ(compact_all(later + 300'000).hours, 1U);
}

TEST_F(CompactTest, BuildsADayWhenItClosesAndRenewsWhatLateDataTouches) {
  for (const int hour : {0, 5, 23}) {
    for (const DeviceId device : {7, 8}) {
      record("prober-1",
             each_second(device, kDay + hour * kHourMs + 60'000, kDay + hour * kHourMs + 400'000));
    }
  }
  chunk_all(kDay + kDayMs);
  const int64_t closed = kDay + kDayMs + 600'000;
  EXPECT_EQ(compact_all(closed - 1).days, 0U);
  EXPECT_EQ(compact_all(closed).days, 1U);
  EXPECT_EQ(compact_all(closed).days, 0U);
  auto expected = [&](DeviceId device) {
    const auto minutes =
        rolled_up(read(device, kDay, kDay + kDayMs), "default", kDay, 60'000, 1440);
    std::vector<Rollup> hours(24);
    for (size_t i = 0; i < minutes.size(); ++i) hours[i / 60].merge(minutes[i]);
    return hours;
  };
  for (const DeviceId device : {7, 8}) {
    EXPECT_EQ(stored("ping_rollup_hours", "day_ms", device, "default", kDay, 24), expected(device));
  }
  record("prober-1", each_second(7, kDay + 9 * kHourMs, kDay + 9 * kHourMs + 90'000));
  chunk_all(closed);
  EXPECT_EQ(compact_all(closed + 600'000).hours, 1U);
  EXPECT_GT(expected(7)[9].checks(), 0U);
  for (const DeviceId device : {7, 8}) {
    EXPECT_EQ(stored("ping_rollup_hours", "day_ms", device, "default", kDay, 24), expected(device));
  }
}

TEST_F(CompactTest, LetsOnlyOneCompactorWork) {
  record("prober-1", one(7, kIn, Verdict::kAnswered));
  chunk_all();
  CompactStore other(compact_);
  EXPECT_FALSE(compactor_->step(wall_from_ms(kHour))->idle);
  auto idle = other.step(wall_from_ms(kHour + 5 * kHourMs));
  ASSERT_TRUE(idle) << idle.error().message;
  EXPECT_TRUE(idle->idle);
  EXPECT_EQ(compact_all(kHour + 5 * kHourMs).hours, 1U);
}

TEST_F(CompactTest, IdlesWhileAnImportIsAtWorkAndGoesOnAfterwards) {
  auto import = open();
  auto held = import->transact([&](Transaction& tx) {
    tx.exec("SELECT pg_advisory_xact_lock(hashtext('gema compaction'))");
    auto idle = compactor_->step(wall_from_ms(kHour));
    ASSERT_TRUE(idle) << idle.error().message;
    EXPECT_TRUE(idle->idle);
  });
  ASSERT_TRUE(held);
  auto done = compactor_->step(wall_from_ms(kHour));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_FALSE(done->idle);
}

TEST_F(CompactTest, DropsWhatIsPastItsRetentionAndCleansUpOnDemand) {
  for (const int days : {0, 3, 40}) {
    record("prober-1", one(7, kIn - days * kDayMs, Verdict::kAnswered));
  }
  chunk_all();
  const int64_t now = kHour + kDayMs;
  compact_all(now);
  housekeep(now + kHourMs);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "3");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_rollup_hours"), "3");
  compact_.raw_retention = 24h * 30;
  compact_.minutes_retention = 0h;
  compactor_ = std::make_unique<CompactStore>(compact_);
  EXPECT_EQ(housekeep(now).leaves_dropped, 2U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "2");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_rollup_minutes"), "2");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_rollup_hours"), "3");
  const std::string at = ", to_timestamp(" + std::to_string(kHour / 1000) + "))";
  EXPECT_EQ(sql("SELECT string_agg(from_table, ',' ORDER BY from_table) FROM history_cleanup(2,"
                " true" +
                at),
            "ping_packed,ping_rollup_minutes");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "2");
  EXPECT_EQ(sql("SELECT count(*) FROM history_cleanup(2, false" + at), "2");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM history_cleanup(2, false" + at), "0");
  // What comes late for that time would make rollups of a part of it.
  record("prober-1", one(7, kIn - 3 * kDayMs + 1000, Verdict::kAnswered));
  EXPECT_EQ(chunk_all(), 1U);
  auto refused =
      connection_->transact([](Transaction& tx) { tx.exec("SELECT history_cleanup(0, false)"); });
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("at least 1"), std::string::npos);
}

TEST_F(CompactTest, CleansUpByCallOneAtATime) {
  for (const int days : {0, 3, 4}) {
    record("prober-1", one(7, kIn - days * kDayMs, Verdict::kAnswered));
  }
  chunk_all();
  compact_all(kHour + kDayMs);
  Now now{.mono = MonoTime(1h), .wall = wall_from_ms(kHour)};
  Compactor compactor({.store = compact_}, now);
  std::vector<Result<CleanupReport>> answers;
  auto take = [&](const Result<CleanupReport>& report) { answers.push_back(report); };
  auto ask = [&](bool dry_run) {
    answers.clear();
    compactor.clean_up({.older_than_days = 2, .dry_run = dry_run}, take);
    const bool answered = testing::wait_until([&] {
      compactor.turn(now);
      return !answers.empty();
    });
    EXPECT_TRUE(answered);
    return answered && answers.front() ? *answers.front() : CleanupReport{};
  };
  const CleanupReport would = ask(true);
  EXPECT_EQ(would.leaves, 6U);  // short chunks, packed rows, minute rollups of two days
  EXPECT_GT(would.bytes, 0U);
  EXPECT_EQ(would.before_ms, kDay - 2 * kDayMs);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "3");
  EXPECT_EQ(ask(false), would);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hours"), "1");
  EXPECT_EQ(read(7).rows.size(), 1U);
  EXPECT_EQ(ask(false).leaves, 0U);
  answers.clear();
  compactor.clean_up({.older_than_days = 2}, take);
  EXPECT_TRUE(answers.empty());
  compactor.clean_up({.older_than_days = 2}, take);
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers.front().error().code, Errc::kUnavailable);
}

TEST_F(CompactTest, TakesLeavesFromBeforeIntoAccount) {
  // As 0002 made them: a day of chunks in one leaf.
  sql("SELECT history_make_leaf('ping_chunks', 'ping_chunks_' || to_char(to_timestamp(" +
      std::to_string(kDay / 1000) + ") AT TIME ZONE 'UTC', 'YYYYMMDD'), '" + std::to_string(kDay) +
      "', '" + std::to_string(kDay + kDayMs) + "')");
  record("prober-1", one(7, kIn, Verdict::kAnswered));
  record("prober-1", one(7, kIn + kHourMs, Verdict::kAnswered));
  chunk_all(kHour + kHourMs);
  EXPECT_EQ(sql("SELECT count(*) FROM history_leaves('ping_chunks')"), "1");
  EXPECT_EQ(compact_all(kHour + kHourMs + 600'000).hours, 1U);
  EXPECT_EQ(housekeep(kHour + 2 * kHourMs).chunk_leaves_dropped, 0U);
  EXPECT_EQ(compact_all(kHour + 2 * kHourMs + 600'000).hours, 1U);
  EXPECT_EQ(housekeep(kHour + 3 * kHourMs).chunk_leaves_dropped, 1U);
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(CompactTest, CompactsWhatWasThereBeforeTheMigration) {
  sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
  const auto all = postgres::built_in_migrations();
  ASSERT_TRUE(postgres::migrate(*connection_, all.subspan(0, 4)));
  sql("SELECT ping_chunks_make_leaf(" + std::to_string(kHour) + ");" +
      "UPDATE ping_watermarks SET number = 5; INSERT INTO history_names (name) VALUES ('default'),"
      " ('prober-1'); INSERT INTO ping_chunks (device_id, start_ms, part, step_ms, location_id,"
      " producer_id, clock_steps, echoes, samples)"
      " SELECT d, " +
      std::to_string(kIn) + " + h * 3600000, 5 << 20, 1000, 1, 2, 0, 1, '{100,-1,102}'" +
      " FROM generate_series(1, 20) d, generate_series(0, 1) h");
  auto migrated = postgres::migrate(*connection_);
  ASSERT_TRUE(migrated) << migrated.error().message;
  renew();
  const std::string before = told(read(7));
  EXPECT_EQ(read(7).rows.size(), 6U);
  EXPECT_EQ(compact_all(kHour + 3 * kHourMs).hours, 2U);
  EXPECT_EQ(housekeep(kHour + 4 * kHourMs).chunk_leaves_dropped, 1U);
  EXPECT_EQ(told(read(7)), before);
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_packed"), "120");
}

TEST_F(CompactTest, RollsUpRareChecksInLongerPeriods) {
  const std::pair<uint32_t, size_t> expected[] = {{2'000, 60}, {5'000, 12}, {10'000, 12},
                                                  {30'000, 4}, {60'000, 1}, {3'600'000, 1}};
  DeviceId device = 10;
  for (const auto& [interval_ms, periods] : expected) {
    ++device;
    Batch b = empty_batch();
    for (int64_t due = slot_after(device, interval_ms, kHour - 1); due < kHour + kHourMs;
         due += 4 * int64_t{interval_ms}) {
      add(b, "prober-1", one(device, due, Verdict::kAnswered, 77, interval_ms));
    }
    commit(b);
  }
  chunk_all();
  EXPECT_EQ(compact_all(kHour + 2 * kHourMs).hours, 1U);
  device = 10;
  for (const auto& [interval_ms, periods] : expected) {
    ++device;
    EXPECT_EQ(
        stored("ping_rollup_minutes", "hour_ms", device, "default", kHour, periods),
        rolled_up(read(device), "default", kHour, kHourMs / static_cast<int64_t>(periods), periods))
        << interval_ms;
  }
}

}  // namespace
}  // namespace gema::recorder
