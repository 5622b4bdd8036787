// The compactor among rows that do not decode and that PostgreSQL refuses.
#include "services/recorder/io/compact_fixture_for_test.h"

namespace gema::recorder {
namespace {

class CompactBrokenTest : public CompactTest {};

TEST_F(CompactBrokenTest, NamesRollupsThatDoNotDecodeAndRenewsThemWithTheirHour) {
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

TEST_F(CompactBrokenTest, LeavesABrokenRowWhereItIsAndGoesOn) {
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

TEST_F(CompactBrokenTest, LeavesOutAShortChunkWhoseNumbersAreNoPlainArray) {
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
TEST_F(CompactBrokenTest, DamagedHotRowsHoldNothingUp) {
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
TEST_F(CompactBrokenTest, PutsOffAnHourThatPostgresRefusesAndGoesOnWithOthers) {
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

}  // namespace
}  // namespace gema::recorder
