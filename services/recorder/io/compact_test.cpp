// The compactor's tables, the reader and the views over them, against a real PostgreSQL.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <map>
#include <set>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/rollup.h"
#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/compactor.h"
#include "services/recorder/io/store.h"
#include "tests/support/postgres_server.h"
#include "tests/support/wait_until.h"

#if defined(__SANITIZE_ADDRESS__)
// libpqxx 6.4 forgets one PGresult when a connection breaks under a statement.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libpqxx-6.4";
}
#endif

namespace gema::recorder {
namespace {

using postgres::BinaryResult;
using postgres::Connection;
using postgres::Transaction;

constexpr int64_t kHour = 1'800'000'000'000;  // an hour begins
constexpr int64_t kIn = kHour + 5'000;        // well within it, whatever a device's phase
constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr int64_t kDay = kHour - kHour % kDayMs;

testing::PostgresServer& server() {
  static testing::PostgresServer instance;
  return instance;
}

uint64_t seed_of_run() {
  const char* text = std::getenv("GEMA_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

// What a reader sees, row for row.
std::string told(const history::Results& results) {
  std::string out;
  for (const history::Row& row : results.rows) {
    out += std::to_string(row.due_ms) + "/" + std::to_string(row.interval_ms) +
           results.location(row) + results.producer(row) + to_string(row.verdict) +
           to_string(row.reason) + std::to_string(row.burst_sent);
    for (const history::Echo& e : results.echoes_of(row)) {
      out += std::string(" ") + to_string(e.outcome) + std::to_string(e.rtt_us);
    }
    for (const history::Echo& e : results.burst_answers_of(row)) {
      out += " b" + std::to_string(e.rtt_us);
    }
    if (const history::Details* d = results.details_of(row)) {
      for (const EchoNote& n : d->notes) {
        out += " note" + std::to_string(n.echo) + to_string(n.kind) + std::to_string(n.rtt_us);
      }
      for (const ProofResult& p : d->proofs) out += " proof" + std::to_string(p.elapsed_us);
      for (const Stray& s : d->strays) out += " stray" + std::to_string(s.rtt_us);
      if (!d->text.empty()) out += " by " + d->text;
    }
    out += "\n";
  }
  return out;
}

class CompactTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!server().running()) server().restart();
    connect();
    sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    auto migrated = postgres::migrate(*connection_);
    ASSERT_TRUE(migrated) << migrated.error().message;
    renew();
  }

  void connect() {
    postgres::Options options{.conninfo = server().conninfo()};
    connection_ = std::move(*Connection::open(options));
    options_.postgres = options;
    options_.raw_retention = 24h * 365;
    options_.minutes_retention = 24h * 365;
  }

  // The recorder's objects, as after its start.
  void renew() {
    compactor_ = std::make_unique<CompactStore>(options_);
    store_ = std::make_unique<Store>(options_.postgres);
    auto loaded = store_->load("ping");
    ASSERT_TRUE(loaded) << loaded.error().message;
    known_ = *loaded;
  }

  std::string sql(const std::string& statement) {
    auto result = connection_->transact([&](Transaction& tx) {
      const auto rows = tx.exec(statement);
      return rows.empty() || rows[0][0].is_null() ? std::string() : rows[0][0].as<std::string>();
    });
    EXPECT_TRUE(result) << statement << ": " << (result ? "" : result.error().message);
    return result ? *result : "";
  }

  PingResults one(DeviceId device, int64_t at_ms, Verdict verdict, uint32_t rtt_us = 100,
                  uint32_t interval_ms = 1000) {
    PingResults r;
    r.location = "default";
    r.device = {device};
    r.interval_ms = {interval_ms};
    r.due_ms = {slot_at_or_before(device, interval_ms, at_ms)};
    r.verdict = {verdict};
    r.reason = {verdict == Verdict::kAnswered ? Reason::kNone
                : verdict == Verdict::kFailed ? Reason::kTimeout
                                              : Reason::kPaused};
    if (verdict != Verdict::kNotMeasured) {
      const bool reply = verdict == Verdict::kAnswered;
      r.echo_outcome = {reply ? EchoOutcome::kReply : EchoOutcome::kTimeout};
      r.echo_rtt_us = {reply ? rtt_us : 0};
    } else {
      r.note = "Siti";
    }
    r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    return r;
  }

  Batch empty_batch() {
    return {.stream = "ping",
            .token = static_cast<int64_t>(random_.next() | 1),
            .before = known_.positions,
            .after = known_.positions,
            .tokens = known_.tokens};
  }

  void add(Batch& b, const std::string& producer, const PingResults& results, uint64_t epoch = 1) {
    const uint32_t p = partition_of(results.device.front());
    const stream::PositionKey key{producer, epoch, p};
    const stream::Position* before = b.after.find(key);
    stream::Position position = before == nullptr ? stream::Position{.order = 1} : *before;
    position.highest = ++position.cumulative;
    b.after.set(key, position);
    RecordRow row{.key = {producer, epoch, p, position.cumulative},
                  .produced_at_us = results.due_ms.front() * 1000,
                  .results = static_cast<uint32_t>(results.size())};
    encode_ping(results, row.payload);
    b.records.push_back(row);
  }

  void commit(const Batch& b) {
    auto done = store_->commit(b);
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_FALSE(done->conflict);
    known_.positions = b.after;
    known_.tokens = done->tokens;
  }

  void record(const std::string& producer, const PingResults& results) {
    Batch b = empty_batch();
    add(b, producer, results);
    commit(b);
  }

  // A device's checks of each second in [from_ms, to_ms), one record.
  PingResults each_second(DeviceId device, int64_t from_ms, int64_t to_ms) {
    PingResults r;
    r.location = "default";
    for (int64_t due = slot_after(device, 1000, from_ms - 1); due < to_ms; due += 1000) {
      r.device.push_back(device);
      r.interval_ms.push_back(1000);
      r.due_ms.push_back(due);
      const bool lost = random_.chance(20);
      r.verdict.push_back(lost ? Verdict::kFailed : Verdict::kAnswered);
      r.reason.push_back(lost ? Reason::kTimeout : Reason::kNone);
      r.echo_outcome.push_back(lost ? EchoOutcome::kTimeout : EchoOutcome::kReply);
      r.echo_rtt_us.push_back(lost ? 0 : static_cast<uint32_t>(500 + random_.below(100)));
      r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    }
    return r;
  }

  uint64_t chunk_all(int64_t now_ms = kHour) {
    uint64_t discarded = 0;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      auto done = store_->chunk(p, wall_from_ms(now_ms), 24h * 365);
      EXPECT_TRUE(done) << (done ? "" : done.error().message);
      if (done) discarded += done->discarded;
    }
    return discarded;
  }

  Compacted compact_all(int64_t now_ms) {
    Compacted all;
    do {
      auto done = compactor_->step(wall_from_ms(now_ms));
      EXPECT_TRUE(done) << (done ? "" : done.error().message);
      if (!done) break;
      all.add(*done);
    } while (all.more);
    return all;
  }

  CompactHousekept housekeep(int64_t now_ms) {
    auto done = compactor_->housekeep(wall_from_ms(now_ms));
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return done ? *done : CompactHousekept{};
  }

  history::Results read(DeviceId device, int64_t from_ms = kHour - kDayMs,
                        int64_t to_ms = kHour + kDayMs) {
    history::Reader reader(*connection_);
    auto results = reader.results(device, from_ms, to_ms);
    EXPECT_TRUE(results) << (results ? "" : results.error().message);
    broken_ = reader.broken();
    return results ? *results : history::Results{};
  }

  // The rollups that the results a reader sees give.
  std::vector<Rollup> rolled_up(const history::Results& results, const std::string& location,
                                int64_t start_ms, int64_t period_ms, size_t periods) {
    RollupBuilder builder(start_ms, period_ms, periods);
    for (const history::Row& row : results.rows) {
      if (results.location(row) != location) continue;
      std::vector<EchoOutcome> outcomes;
      std::vector<uint32_t> rtts;
      std::vector<uint32_t> burst;
      for (const history::Echo& e : results.echoes_of(row)) {
        outcomes.push_back(e.outcome);
        rtts.push_back(e.rtt_us);
      }
      for (const history::Echo& e : results.burst_answers_of(row)) burst.push_back(e.rtt_us);
      builder.add(row.due_ms, row.interval_ms,
                  {.verdict = row.verdict,
                   .reason = row.reason,
                   .outcomes = outcomes,
                   .rtt_us = rtts,
                   .burst_sent = row.burst_sent,
                   .burst_rtt_us = burst});
    }
    return builder.take();
  }

  // Stored rollups of a device and location; empty ones when there is no row.
  std::vector<Rollup> stored(const char* table, const char* column, DeviceId device,
                             const std::string& location, int64_t at_ms, size_t periods) {
    auto result = connection_->transact([&](Transaction& tx) {
      postgres::Params params;
      params.int64(static_cast<int64_t>(device)).int64(at_ms).bytes(location);
      const BinaryResult rows(tx,
                              std::string("SELECT rollups FROM ") + table +
                                  " r JOIN history_names n ON n.id = r.location_id"
                                  " WHERE device_id = $1 AND " +
                                  column + " = $2 AND n.name = $3",
                              params);
      EXPECT_LE(rows.rows(), 1);
      if (rows.rows() == 0) return std::vector<Rollup>(periods);
      auto unpacked = unpack_rollups(rows.bytes(0, 0));
      EXPECT_TRUE(unpacked);
      return unpacked ? *unpacked : std::vector<Rollup>(periods);
    });
    EXPECT_TRUE(result);
    return result ? *result : std::vector<Rollup>();
  }

  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<CompactStore> compactor_;
  CompactOptions options_;
  Loaded known_;
  Random random_{42};
  std::vector<history::BrokenRow> broken_;
};

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

TEST_F(CompactTest, NamesRollupsThatDoNotDecodeAndRenewsThemWithTheirHour) {
  for (const int hour : {3, 5}) {
    for (const DeviceId device : {7, 8}) {
      record("prober-1",
             each_second(device, kDay + hour * kHourMs + 60'000, kDay + hour * kHourMs + 100'000));
    }
  }
  chunk_all(kDay + 6 * kHourMs);
  compact_all(kDay + 8 * kHourMs);
  const std::string hour = std::to_string(kDay + 5 * kHourMs);
  sql("UPDATE ping_rollup_minutes SET rollups = set_byte(rollups, 9, get_byte(rollups, 9) # 8)"
      " WHERE device_id = 7 AND hour_ms = " +
      hour);
  const int64_t closed = kDay + kDayMs + 600'000;
  const Compacted done = compact_all(closed);
  EXPECT_EQ(done.days, 1U);
  EXPECT_EQ(done.broken, 1U);
  EXPECT_EQ(sql("SELECT string_agg(from_table || ' ' || device_id || ' ' || start_ms, ',') FROM"
                " history_broken"),
            "ping_rollup_minutes 7 " + hour);
  EXPECT_EQ(stored("ping_rollup_hours", "day_ms", 7, "default", kDay, 24)[3].checks(), 40U);
  EXPECT_EQ(stored("ping_rollup_hours", "day_ms", 7, "default", kDay, 24)[5].checks(), 0U);
  EXPECT_EQ(stored("ping_rollup_hours", "day_ms", 8, "default", kDay, 24)[5].checks(), 40U);
  // Results are there still: merging its hour again makes it right.
  record("prober-1", one(7, kDay + 5 * kHourMs + 110'000, Verdict::kAnswered));
  chunk_all(closed);
  EXPECT_EQ(compact_all(closed + 600'000).hours, 1U);
  EXPECT_EQ(stored("ping_rollup_hours", "day_ms", 7, "default", kDay, 24)[5].checks(), 41U);
  housekeep(kDay + 400 * kDayMs);
  EXPECT_EQ(sql("SELECT count(*) FROM history_broken"), "0");
}

TEST_F(CompactTest, LeavesABrokenRowWhereItIsAndGoesOn) {
  for (const DeviceId device : {7, 8}) {
    record("prober-1", each_second(device, kHour, kHour + 100'000));
  }
  chunk_all();
  compact_all(kHour + 2 * kHourMs);
  housekeep(kHour + 4 * kHourMs);
  for (const char* damage : {"set_byte(packed, 20, get_byte(packed, 20) # 4)",
                             "substr(packed, 1, 30)", "set_byte(packed, 0, 9)", "'\\x'::bytea"}) {
    SCOPED_TRACE(damage);
    sql(std::string("UPDATE ping_packed SET packed = ") + damage + " WHERE device_id = 7");
    EXPECT_TRUE(read(7).rows.empty());
    ASSERT_EQ(broken_.size(), 1U);
    EXPECT_EQ(broken_[0].table, "ping_packed");
    EXPECT_EQ(broken_[0].device, 7U);
    EXPECT_EQ(read(8).rows.size(), 100U);
    EXPECT_TRUE(broken_.empty());
    EXPECT_EQ(sql("SELECT count(*) FROM ping_checks WHERE device_id = 7"), "0");
    EXPECT_EQ(sql("SELECT count(*) FROM ping_checks"), "100");
  }
  // What comes late goes beside it, also at the very same start; and a broken short chunk is kept.
  record("prober-1", one(7, read(8).rows.front().due_ms + 999, Verdict::kAnswered));
  sql("UPDATE ping_packed SET start_ms = " +
      std::to_string(slot_at_or_before(7, 1000, read(8).rows.front().due_ms + 999)) +
      " WHERE device_id = 7");
  record("prober-1", each_second(8, kHour + 100'000, kHour + 110'000));
  record("prober-2", one(8, kIn, Verdict::kFailed));
  chunk_all(kHour + 5 * kHourMs);
  sql("UPDATE ping_chunks SET packed = '\\x0177' WHERE device_id = 8 AND results = 1");
  const Compacted done = compact_all(kHour + 6 * kHourMs);
  EXPECT_EQ(done.hours, 1U);
  EXPECT_EQ(done.broken, 2U);
  EXPECT_EQ(read(7).rows.size(), 1U);
  EXPECT_EQ(broken_.size(), 1U);
  EXPECT_EQ(read(8).rows.size(), 110U);
  EXPECT_EQ(sql("SELECT string_agg(from_table || device_id || ':' || (kept->>'packed'), ' ')"
                " FROM history_broken WHERE kept IS NOT NULL"),
            "ping_chunks8:\\x0177");
  EXPECT_EQ(sql("SELECT count(*) FROM history_broken WHERE from_table = 'ping_packed'"), "1");
  EXPECT_EQ(compactor_->status(wall_from_ms(kHour))->broken_rows, 2U);
}

TEST_F(CompactTest, LeavesOutAShortChunkWhoseNumbersAreNoPlainArray) {
  for (const DeviceId device : {7, 8}) {
    record("prober-1", each_second(device, kHour, kHour + 10'000));
  }
  chunk_all();
  for (const char* damage :
       {"samples = '{{1,2},{3,4}}'", "samples = '{1,NULL,3}'", "extra = '{{1},{2}}'",
        "extra = '{NULL}'", "echoes = 0", "echoes = -3", "step_ms = 0", "step_ms = -1000",
        "details = '\\x09ff'", "samples = '{}', extra = '{5,1,1,1}'", "packed = '\\x01'"}) {
    SCOPED_TRACE(damage);
    sql("CREATE TABLE IF NOT EXISTS saved AS SELECT * FROM ping_chunks");
    if (std::string_view(damage).substr(0, 6) != "packed") {  // as before migration 0008
      sql("UPDATE ping_chunks SET packed = NULL, samples = array_fill(100, ARRAY[10])"
          " WHERE device_id = 7");
    }
    sql(std::string("UPDATE ping_chunks SET ") + damage + " WHERE device_id = 7");
    EXPECT_TRUE(read(7).rows.empty());
    ASSERT_EQ(broken_.size(), 1U);
    EXPECT_EQ(broken_[0].table, "ping_chunks");
    EXPECT_EQ(broken_[0].device, 7U);
    EXPECT_EQ(read(8).rows.size(), 10U);
    // Everybody at once, too.
    history::Reader reader(*connection_);
    std::vector<DeviceId> seen;
    auto all = reader.each_device(
        kHour, kHour + kHourMs,
        [&](DeviceId device, const std::vector<history::Row>&) { seen.push_back(device); });
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(seen, std::vector<DeviceId>{8});
    const Compacted done = compact_all(kHour + 2 * kHourMs);
    EXPECT_EQ(done.broken, 1U);
    EXPECT_EQ(done.results, 10U);
    EXPECT_EQ(sql("SELECT string_agg(from_table || device_id, ' ') FROM history_broken"),
              "ping_chunks7");
    EXPECT_NE(sql("SELECT kept FROM history_broken"), "");
    sql("DELETE FROM history_broken; DELETE FROM ping_packed; DELETE FROM ping_rollup_minutes;"
        "UPDATE ping_hours SET compacted = 0; DELETE FROM ping_chunks;"
        "INSERT INTO ping_chunks SELECT * FROM saved");
  }
}

// Whatever a hot row holds: transposing, compacting and reading go on, and nothing else suffers.
TEST_F(CompactTest, DamagedHotRowsHoldNothingUp) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  DeviceId other = 1'000'003;  // of another partition, never damaged
  while (partition_of(other) == partition_of(7)) ++other;
  record("prober-1", each_second(other, kHour, kHour + 50'000));
  uint64_t undecodable = 0;
  for (int round = 0; round < 150; ++round) {
    record("prober-1", each_second(7, kHour + 1'000, kHour + 5'000));
    const std::string where = " WHERE partition = " + std::to_string(partition_of(7)) +
                              " AND number = (SELECT max(number)"
                              " FROM ping_hot WHERE partition = " +
                              std::to_string(partition_of(7)) + ")";
    const auto length = std::stoull(sql("SELECT octet_length(batches) FROM ping_hot" + where));
    for (uint64_t n = 0; n <= random.below(3); ++n) {
      // The first bytes name the producer.
      const uint64_t at = random.below(random.chance(300) ? 20 : length);
      sql("UPDATE ping_hot SET batches = set_byte(batches, " + std::to_string(at) +
          ", get_byte(batches, " + std::to_string(at) + ") # " +
          std::to_string(1U << random.below(8)) + ")" + where);
    }
    if (random.chance(100)) {
      sql("UPDATE ping_hot SET batches = substr(batches, 1, " +
          std::to_string(random.below(length)) + ")" + where);
    }
    read(7);
    EXPECT_EQ(read(other).rows.size(), 50U);
    auto chunked = store_->chunk(partition_of(7), wall_from_ms(kHour + kHourMs), 24h * 365);
    ASSERT_TRUE(chunked) << "round " << round << ": " << chunked.error().message;
    undecodable += chunked->undecodable;
  }
  EXPECT_GT(undecodable, 10U);
  chunk_all();
  // Leaves of hours that will not come for long would stay for ever.
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hours WHERE hour_ms > " +
                std::to_string(kHour + kDayMs + kHourMs)),
            "0");
  const Compacted done = compact_all(kHour + 2 * kDayMs);
  EXPECT_GE(done.hours, 1U);
  read(7, INT64_MIN / 2, INT64_MAX / 2);
  EXPECT_EQ(read(other).rows.size(), 50U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hours WHERE written > compacted AND hour_ms > " +
                std::to_string(kHour - 360 * kDayMs)),
            "0");
}

// A damaged page, say: PostgreSQL gives an error for whatever reads it.
TEST_F(CompactTest, PutsOffAnHourThatPostgresRefusesAndGoesOnWithOthers) {
  for (int hour = 0; hour < 3; ++hour) {
    record("prober-1", each_second(7, kHour + hour * kHourMs, kHour + hour * kHourMs + 30'000));
  }
  chunk_all();
  sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.start_ms < " +
      std::to_string(kHour + kHourMs) +
      " THEN RAISE data_corrupted; END IF; RETURN NEW; END $$;"
      "CREATE TRIGGER refuse BEFORE INSERT ON ping_packed FOR EACH ROW EXECUTE FUNCTION refuse()");
  const int64_t now = kHour + 5 * kHourMs;
  auto refused = compactor_->step(wall_from_ms(now));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kPermanent) << refused.error().message;
  EXPECT_EQ(compact_all(now).hours, 2U);
  EXPECT_EQ(compactor_->status(wall_from_ms(now))->pending_hours, 1U);
  EXPECT_EQ(read(7).rows.size(), 90U);
  // Its short chunks stay; those of the others go.
  EXPECT_EQ(housekeep(now + kHourMs).chunk_leaves_dropped, 2U);
  EXPECT_FALSE(compactor_->step(wall_from_ms(now + kHourMs)));
  sql("DROP TRIGGER refuse ON ping_packed");
  EXPECT_EQ(compact_all(now + kHourMs + 1'800'000).hours, 0U);
  EXPECT_EQ(compact_all(now + 2 * kHourMs).hours, 1U);
  EXPECT_EQ(read(7).rows.size(), 90U);
}

TEST_F(CompactTest, LetsOnlyOneCompactorWork) {
  record("prober-1", one(7, kIn, Verdict::kAnswered));
  chunk_all();
  CompactStore other(options_);
  EXPECT_FALSE(compactor_->step(wall_from_ms(kHour))->idle);
  auto idle = other.step(wall_from_ms(kHour + 5 * kHourMs));
  ASSERT_TRUE(idle) << idle.error().message;
  EXPECT_TRUE(idle->idle);
  EXPECT_EQ(compact_all(kHour + 5 * kHourMs).hours, 1U);
}

TEST_F(CompactTest, IdlesWhileAnImportIsAtWorkAndGoesOnAfterwards) {
  auto import = std::move(*Connection::open(options_.postgres));
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
  options_.raw_retention = 24h * 30;
  options_.minutes_retention = 0h;
  compactor_ = std::make_unique<CompactStore>(options_);
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
  Compactor compactor({.store = options_}, now);
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

// The SQL decoder against the C++ one.
TEST_F(CompactTest, DecodesForPeopleWhatItPackedForItself) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for (int round = 0; round < 60; ++round) {
    const auto echoes = static_cast<uint32_t>(1 + random.below(4));
    const size_t slots = random.below(round % 10 == 0 ? 1500 : 200);
    const uint64_t spread = uint64_t{1} << random.below(30);
    std::vector<int32_t> samples;
    const bool plain = random.chance(500);
    for (size_t i = 0; i < slots * echoes; ++i) {
      const bool first = i % echoes == 0;
      if (plain && first && random.chance(100)) {
        samples.push_back(random.chance(500) ? kNoResult : kNotMeasuredBase - 17);
        samples.resize(samples.size() + echoes - 1, kNoEcho);
        i += echoes - 1;
      } else if (random.chance(100)) {
        const size_t run = random.below(5);
        for (size_t n = 0; n <= run && i < slots * echoes; ++n, ++i) {
          samples.push_back(-static_cast<int32_t>(1 + random.below(2)));
        }
        --i;
      } else {
        samples.push_back(static_cast<int32_t>(1000 + random.below(spread)));
        if (random.chance(5)) samples.back() = INT32_MAX - static_cast<int32_t>(random.below(9));
      }
    }
    samples.resize(slots * echoes, 7);
    std::vector<int32_t> extra;
    for (uint64_t i = random.below(6); i > 0; --i) {
      extra.push_back(static_cast<int32_t>(random.next()));
    }
    std::string packed = pack_chunk(echoes, samples, extra);
    const bool damaged = random.chance(200);
    if (damaged) {
      if (random.chance(300)) packed.resize(random.below(packed.size()));
      if (!packed.empty() && random.chance(800)) {
        packed[random.below(packed.size())] ^= static_cast<char>(1U << random.below(8));
      }
    }
    ChunkArrays expected;
    const bool right = unpack_chunk(packed, expected).has_value();
    EXPECT_TRUE(right || damaged);
    auto checked = connection_->transact([&](Transaction& tx) {
      tx.exec("SET LOCAL client_min_messages = error");
      postgres::Params params;
      params.bytes(packed);
      const BinaryResult rows(tx, "SELECT echoes, samples, extra FROM ping_unpack($1::bytea)",
                              params);
      ASSERT_EQ(rows.rows(), 1);
      ASSERT_EQ(rows.is_null(0, 0), !right) << "round " << round;
      if (!right) return;
      ChunkArrays got;
      got.echoes = static_cast<uint32_t>(rows.int32(0, 0));
      ASSERT_TRUE(rows.int32_array(0, 1, got.samples) && rows.int32_array(0, 2, got.extra));
      EXPECT_EQ(got, expected) << "round " << round;
    });
    ASSERT_TRUE(checked) << checked.error().message;
  }
}

// Whatever arrives, in whatever order and mixture of hot rows, short chunks and packed rows: no
// step of transposing, compacting or dropping changes what anybody reads.
TEST_F(CompactTest, ChangesNothingThatAnybodyReads) {
  const uint64_t first = seed_of_run();
  for (uint64_t seed = first; seed < first + 3; ++seed) {
    SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
    SetUp();
    Random random(seed);
    constexpr DeviceId kDevices = 3;
    Batch epochs = empty_batch();
    epochs.epochs = {{"prober-1", 1, 0, stream::EpochReason::kNewSpool},
                     {"prober-1", 2, 1, stream::EpochReason::kClockStep}};
    commit(epochs);
    auto tell = [&] {
      std::string all;
      for (DeviceId d = 1; d <= kDevices; ++d) all += told(read(d)) + "--\n";
      return all;
    };
    int64_t now = kHour;
    for (int step = 0; step < 60; ++step) {
      Batch b = empty_batch();
      for (uint64_t n = 0; n < 1 + random.below(12); ++n) {
        const DeviceId device = 1 + random.below(kDevices);
        const std::string producer = random.chance(600) ? "prober-1" : "prober-2";
        const auto hour = static_cast<int64_t>(random.below(3));
        const auto at = kHour + hour * kHourMs + static_cast<int64_t>(random.below(60)) * 1000;
        PingResults r =
            one(device, at, static_cast<Verdict>(random.below(3)),
                static_cast<uint32_t>(1 + random.below(4)), random.chance(200) ? 2000 : 1000);
        if (random.chance(300)) r.location = "jakarta";
        if (random.chance(200)) {
          r.echo_outcome.push_back(EchoOutcome::kReply);
          r.echo_rtt_us.push_back(9);
          r.echo_begin.back() += 1;
          if (r.verdict[0] == Verdict::kNotMeasured) r.verdict[0] = Verdict::kAnswered;
          r.reason[0] = Reason::kLossy;
        }
        if (random.chance(200)) r.burst = {{0, 4, {9, 9}}};
        if (random.chance(300)) {
          r.notes = {{.kind = static_cast<NoteKind>(random.below(4)),
                      .rtt_us = static_cast<uint32_t>(random.below(3))}};
        }
        if (random.chance(200)) r.proofs = {{.elapsed_us = static_cast<uint32_t>(random.below(3))}};
        if (random.chance(300)) {
          r.strays = {{.device = device,
                       .due_ms = r.due_ms[0] - 1000 * static_cast<int64_t>(random.below(4)),
                       .rtt_us = static_cast<uint32_t>(random.below(99))}};
        }
        add(b, producer, r, producer == "prober-1" ? 1 + random.below(2) : 1);
      }
      commit(b);
      const std::string before = tell();
      const uint64_t what = random.below(5);
      if (what <= 1) chunk_all(now);
      if (what == 2) {
        now += 2 * kHourMs;
        for (uint64_t n = random.below(6); n > 0; --n) {
          ASSERT_TRUE(compactor_->step(wall_from_ms(now)));
        }
        if (random.chance(300)) compactor_ = std::make_unique<CompactStore>(options_);
      }
      if (what == 3) {
        now += 2 * kHourMs;
        compact_all(now);
        housekeep(now + kHourMs);
      }
      ASSERT_EQ(tell(), before) << "step " << step;
    }
    chunk_all(now);
    const std::string before = tell();
    auto people = [&] {
      return sql(
          "SELECT string_agg(concat_ws('/', device_id, location, prober, due_ms, interval_ms,"
          " verdict, reason, echoes_sent, echoes_answered, rtt_min_us, rtt_avg_us,"
          " rtt_max_us), E'\\n' ORDER BY device_id, location, due_ms) FROM ping_checks");
    };
    now += 3 * kHourMs;
    compact_all(now);
    const std::string seen = people();
    EXPECT_GT(housekeep(now + kHourMs).chunk_leaves_dropped, 0U);
    EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "0");
    EXPECT_EQ(people(), seen);
    EXPECT_EQ(tell(), before);
    // People see what readers see.
    size_t rows = 0;
    for (DeviceId d = 1; d <= kDevices; ++d) {
      const auto results = read(d);
      std::string expected;
      for (const history::Row& row : results.rows) {
        expected += std::to_string(row.due_ms) + results.location(row) + results.producer(row) +
                    to_string(row.verdict) + to_string(row.reason) + std::to_string(row.rtt_us) +
                    ";";
      }
      rows += results.rows.size();
      const std::string id = std::to_string(d);
      EXPECT_EQ(sql("SELECT string_agg(due_ms || location || prober || verdict || reason ||"
                    " coalesce(round(rtt_avg_us::numeric), 0) || ';', '' ORDER BY due_ms, location)"
                    " FROM ping_checks WHERE device_id = " +
                    id),
                expected);
      EXPECT_EQ(sql("SELECT count(*) FROM ping_history(" + id +
                    ", to_timestamp(0), to_timestamp(9000000000))"),
                std::to_string(results.rows.size()));
      for (int hour = 0; hour < 3; ++hour) {
        for (const char* location : {"default", "jakarta"}) {
          const int64_t start = kHour + hour * kHourMs;
          EXPECT_EQ(stored("ping_rollup_minutes", "hour_ms", d, location, start, 60),
                    rolled_up(results, location, start, 60'000, 60));
        }
      }
    }
    EXPECT_GT(rows, 100U);
    // Merging all of it once more gives the very same bytes.
    const std::string digest =
        "SELECT md5(string_agg(p::text, ',' ORDER BY device_id, start_ms, part)) FROM ping_packed "
        "p";
    const std::string once = sql(digest);
    for (DeviceId d = 1; d <= kDevices; ++d) {
      for (int hour = 0; hour < 3; ++hour) {
        const auto results = read(d, kHour + hour * kHourMs, kHour + (hour + 1) * kHourMs);
        ASSERT_FALSE(results.rows.empty());
        // What is already there, once more.
        const history::Row& row = results.rows.front();
        if (row.burst_sent > 0 || row.details != history::Row::kNoDetails || row.echo_count != 1 ||
            row.verdict == Verdict::kNotMeasured || results.producer(row) != "prober-2") {
          continue;
        }
        PingResults r = one(d, row.due_ms, row.verdict, row.rtt_us, row.interval_ms);
        r.location = results.location(row);
        record("prober-2", r);
      }
    }
    chunk_all(now);
    now += 3 * kHourMs;
    compact_all(now);
    EXPECT_EQ(sql(digest), once);
  }
}

// kill -9 of recorder and PostgreSQL while an hour is compacted: afterwards everything is there
// once.
TEST_F(CompactTest, LosesAndDoublesNothingWhenKilledAtAnyMoment) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  constexpr DeviceId kDevices = 1200;
  Batch b = empty_batch();
  uint64_t results = 0;
  for (int hour = 0; hour < 2; ++hour) {
    for (DeviceId d = 1; d <= kDevices; ++d) {
      const int64_t start = kHour + hour * kHourMs;
      const PingResults r = each_second(d, start, start + 20'000);
      results += r.size();
      add(b, "prober-1", r);
    }
  }
  commit(b);
  chunk_all();
  std::map<DeviceId, std::string> before;
  for (DeviceId d = 1; d <= kDevices; d += 100) before[d] = told(read(d));
  const int64_t now = kHour + 3 * kHourMs;
  compactor_.reset();
  for (int round = 0; round < 12; ++round) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const pid_t child = fork();
    if (child == 0) {
      // A byte for each step that began.
      CompactStore compactor(options_);
      const char byte = 'x';
      for (bool more = true; more;) {
        if (write(fds[1], &byte, 1) != 1) _exit(1);
        auto done = compactor.step(wall_from_ms(now));
        if (!done) _exit(2);
        more = done->more || done->idle;
      }
      _exit(0);
    }
    close(fds[1]);
    ASSERT_GT(child, 0);
    const uint64_t steps = 1 + random.below(9);
    for (uint64_t n = 0; n < steps; ++n) {
      char byte = 0;
      if (::read(fds[0], &byte, 1) != 1) break;
    }
    if (round % 3 == 2) {
      server().kill9();
    } else {
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    close(fds[0]);
    if (round % 3 == 2) {
      server().restart();
      connect();
    }
    for (const auto& [device, expected] : before) ASSERT_EQ(told(read(device)), expected);
    // Late data in between: of the first hour, and once more what is there.
    renew();
    if (round == 5) {
      record("prober-1", each_second(1, kHour + 20'000, kHour + 25'000));
      results += 5;
      chunk_all(kHour + kHourMs);
      before[1] = told(read(1));
    }
    compactor_.reset();
  }
  compactor_ = std::make_unique<CompactStore>(options_);
  compact_all(now + kHourMs);
  EXPECT_EQ(housekeep(now + 2 * kHourMs).chunk_leaves_dropped, 2U);
  for (const auto& [device, expected] : before) EXPECT_EQ(told(read(device)), expected);
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_packed"), std::to_string(results));
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), std::to_string(2 * kDevices));
  EXPECT_EQ(sql("SELECT count(*) FROM ping_rollup_minutes"), std::to_string(2 * kDevices));
}

}  // namespace
}  // namespace gema::recorder
