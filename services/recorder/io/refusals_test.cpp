// What becomes of records that a real PostgreSQL refuses for their content: constraints and
// triggers of the test's own refuse some, all others must be there.
#include "services/recorder/io/refusals.h"

#include <gtest/gtest.h>

#include "common/codec/transition_codec.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/compact_fixture_for_test.h"

namespace gema::recorder {
namespace {

const RowRetention kYears{.results = 100'000h, .transitions = 100'000h};

std::string hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

class RefusalsTest : public CompactTest {
 protected:
  void refuse(const std::string& table, const std::string& unless) {
    sql("ALTER TABLE " + table + " ADD CONSTRAINT refused CHECK (" + unless + ") NOT VALID");
  }
  void refuse_no_more(const std::string& table) {
    sql("ALTER TABLE " + table + " DROP CONSTRAINT refused");
  }
  // Hot rows that hold a record of this location.
  void refuse_poison() { refuse("ping_hot", "position('poison'::bytea IN batches) = 0"); }

  uint64_t refused_rows() {
    return std::stoull(
        sql("SELECT count(*) FROM stream_quarantine"
            " WHERE refused"));
  }
  std::vector<history::Gap> gaps() {
    auto found = history::Reader(*connection_).gaps(0, 4'000'000'000'000);
    EXPECT_TRUE(found);
    return found ? *found : std::vector<history::Gap>();
  }
  std::vector<DeviceId> devices_of(uint32_t partition, size_t count) {
    std::vector<DeviceId> out;
    for (DeviceId id = 1; out.size() < count; ++id) {
      if (partition_of(id) == partition) out.push_back(id);
    }
    return out;
  }
  TakenIn take_in(const std::string& stream = "ping") {
    auto taken = store_->take_in(stream, wall_from_ms(kHour));
    EXPECT_TRUE(taken) << (taken ? "" : taken.error().message);
    return taken ? *taken : TakenIn{};
  }
};

TEST_F(RefusalsTest, RecordsEverythingElseAndKeepsWhatIsRefusedWhole) {
  refuse_poison();
  Batch b = empty_batch();
  std::vector<std::string> poison;
  for (int i = 0; i < 30; ++i) {
    const DeviceId device = static_cast<DeviceId>(1 + i % 10);
    const bool bad = i == 4 || i == 5 || i == 29;
    add(b, "prober-1",
        batch_of({device}, kIn + i * 1000, Verdict::kAnswered, 100,
                 {.location = bad ? "poison" : "default"}));
    if (bad) poison.push_back(b.records.back().payload);
  }
  const Committed done = try_commit(b);
  ASSERT_EQ(done.refused.size(), 3U);
  EXPECT_EQ(done.refused[0].key, b.records[4].key);
  EXPECT_NE(done.refused[0].reason.find("SQLSTATE 23514"), std::string::npos)
      << done.refused[0].reason;
  EXPECT_EQ(sql("SELECT count(DISTINCT reason) FROM stream_quarantine"), "1");
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_hot"), "27");
  EXPECT_EQ(refused_rows(), 3U);
  EXPECT_EQ(sql("SELECT encode(payload, 'hex') FROM stream_quarantine ORDER BY id LIMIT 1"),
            hex(poison[0]));
  // Not measured, and why.
  const auto known = gaps();
  ASSERT_EQ(known.size(), 3U);
  EXPECT_EQ(known[0].reason, "refused by PostgreSQL");
  EXPECT_TRUE(history::explained_by(known, 5, slot_at_or_before(5, 1000, kIn + 4'000)));
  EXPECT_FALSE(history::explained_by(known, 5, slot_at_or_before(5, 1000, kIn + 14'000)));
  // The same batch again, as after a lost answer: nothing twice.
  EXPECT_TRUE(store_->commit(b)->earlier);
  EXPECT_EQ(refused_rows(), 3U);
  EXPECT_EQ(chunk_all(), 0U);
  EXPECT_EQ(read(5).rows.size(), 2U);
}

TEST_F(RefusalsTest, TriesAgainWhenPeopleSaySo) {
  refuse_poison();
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kIn, Verdict::kAnswered, 123, {.location = "poison"}));
  add(b, "prober-1", batch_of({7}, kIn + 1000));
  commit(b);
  EXPECT_EQ(take_in().records, 0U);  // not by itself
  EXPECT_EQ(sql("SELECT history_retry_refused()"), "1");
  // Too early: refused again, and still one row, one gap.
  EXPECT_EQ(take_in().refused.size(), 1U);
  EXPECT_EQ(refused_rows(), 1U);
  EXPECT_EQ(gaps().size(), 1U);
  refuse_no_more("ping_hot");
  EXPECT_EQ(sql("SELECT history_retry_refused()"), "1");
  EXPECT_EQ(take_in().records, 1U);
  EXPECT_EQ(take_in().records, 0U);
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine"), "0");
  EXPECT_TRUE(gaps().empty());
  ASSERT_EQ(read(7).rows.size(), 2U);
  EXPECT_EQ(read(7).rows[0].rtt_us, 123U);
  chunk_all();
  EXPECT_EQ(read(7).rows.size(), 2U);
  record("prober-1", batch_of({7}, kIn + 2000));  // the tokens are as before
  EXPECT_EQ(read(7).rows.size(), 3U);
}

TEST_F(RefusalsTest, SetsAsideWhateverACommitHolds) {
  refuse("stream_epochs", "producer <> 'bad'");
  refuse("stream_gaps", "producer <> 'bad'");
  refuse("stream_set_aside", "producer <> 'bad'");
  refuse("address_changes", "location <> 'bad'");
  Batch b = empty_batch();
  b.epochs = {{"bad", 2, 1, stream::EpochReason::kClockStep},
              {"prober-1", 1, 0, stream::EpochReason::kNewSpool}};
  b.gaps = {{{"bad", 2, 3, 0}, {5, 9}, {}, "dropped"}};
  b.address_changes = {
      {{"prober-1", 1, 7, 1}, "bad", {.device = 7, .at_ms = kIn, .to = *parse_ip("192.0.2.1")}},
      {{"prober-1", 1, 7, 1}, "good", {.device = 7, .at_ms = kIn}}};
  add(b, "prober-1", batch_of({7}, kIn));
  b.set_aside = {b.records.back()};
  b.set_aside[0].key.producer = "good";
  commit(b);
  EXPECT_EQ(sql("SELECT count(*) FROM stream_epochs"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM address_changes"), "1");
  EXPECT_EQ(sql("SELECT count(*) FROM stream_set_aside"), "1");
  EXPECT_EQ(read(7).rows.size(), 1U);
  EXPECT_EQ(refused_rows(), 3U);
  const std::string reasons = sql("SELECT string_agg(reason, '|') FROM stream_quarantine");
  EXPECT_NE(reasons.find("the beginning of an epoch after epoch 1"), std::string::npos) << reasons;
  EXPECT_NE(reasons.find("records 5 to 9 are lost: dropped"), std::string::npos) << reasons;
  EXPECT_NE(reasons.find("to '192.0.2.1'"), std::string::npos) << reasons;
  // These have no bytes that could be tried again.
  EXPECT_EQ(sql("SELECT history_retry_refused()"), "0");
  // A place that would have to tell of it and cannot: then it waits.
  b = empty_batch();
  add(b, "prober-1", batch_of({7}, kIn + 1000));
  b.set_aside = {b.records.back()};
  b.set_aside[0].key.producer = "bad";
  EXPECT_FALSE(store_->commit(b));
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(RefusalsTest, SetsTransitionsAsideAndTriesThemAgain) {
  // Refused at COMMIT only, where nobody could tell which it was.
  sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
      " IF NEW.device_id = 7 THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NULL; END $$;"
      "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON transitions DEFERRABLE INITIALLY DEFERRED"
      " FOR EACH ROW EXECUTE FUNCTION refuse()");
  auto loaded = store_->load("transitions");
  ASSERT_TRUE(loaded);
  Batch b{.stream = "transitions", .token = 77, .tokens = loaded->tokens};
  for (const DeviceId device : {6, 7, 8}) {
    Transition t{.device = device,
                 .from = DeviceStatus::kUp,
                 .to = DeviceStatus::kDown,
                 .reason = TransitionReason::kFailuresInARow,
                 .slot_ms = kIn,
                 .decided_at = wall_from_ms(kIn)};
    t.state.device = device;
    t.id[15] = static_cast<uint8_t>(device);
    RecordRow record{.key = {"timeout-tracker", 1, 0, take_seq(b, "timeout-tracker", 1, 0)}};
    encode_transition(t, record.payload);
    auto row = transition_of(record);
    ASSERT_TRUE(row) << row.error().message;
    b.transitions.push_back(*row);
  }
  auto done = store_->commit(b);
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(done->refused.size(), 1U);
  EXPECT_NE(done->refused[0].reason.find("not this one"), std::string::npos);
  EXPECT_EQ(sql("SELECT string_agg(device_id::text, ' ' ORDER BY 1) FROM transitions"), "6 8");
  EXPECT_EQ(sql("SELECT from_ms = to_ms AND stream = 'transitions' FROM stream_gaps"), "t");
  sql("DROP TRIGGER refuse ON transitions; SELECT history_retry_refused()");
  EXPECT_EQ(take_in("transitions").records, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM transitions"), "3");
  EXPECT_EQ(sql("SELECT (SELECT count(*) FROM stream_gaps) + (SELECT count(*) FROM"
                " stream_quarantine)"),
            "0");
}

TEST_F(RefusalsTest, SetsNothingAsideForAnotherTrouble) {
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kIn));
  // A table that is not there, damage, a full disk.
  sql("ALTER TABLE ping_hot RENAME TO ping_cold");
  auto refused = store_->commit(b);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kPermanent) << refused.error().message;
  sql("ALTER TABLE ping_cold RENAME TO ping_hot");
  for (const char* what : {"data_corrupted", "disk_full", "insufficient_privilege"}) {
    sql("CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE " +
        std::string(what) +
        "; END $$; CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON ping_hot"
        " EXECUTE FUNCTION trouble()");
    ASSERT_FALSE(store_->commit(b)) << what;
  }
  sql("DROP TRIGGER trouble ON ping_hot");
  // Not a record's: a position that cannot be written.
  refuse("stream_positions", "producer <> 'prober-1'");
  ASSERT_FALSE(store_->commit(b));
  refuse_no_more("stream_positions");
  EXPECT_EQ(refused_rows(), 0U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "0");
  // A leaf that somebody dropped is made again, nothing is refused for it.
  record("prober-2", batch_of({7}, kIn + 1000));
  sql("DO $$ DECLARE leaf text; BEGIN FOR leaf IN SELECT inhrelid::regclass::text FROM pg_inherits"
      " WHERE inhparent = 'ping_hot'::regclass LOOP EXECUTE 'DROP TABLE ' || leaf; END LOOP; END "
      "$$");
  b = empty_batch();
  add(b, "prober-1", batch_of({7}, kIn));
  EXPECT_TRUE(try_commit(b).refused.empty());
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(RefusalsTest, WaitsAtItsBoundAndLosesNothing) {
  refuse_poison();
  sql("INSERT INTO stream_quarantine (stream, producer, epoch, partition, seq, reason, payload,"
      " refused) SELECT 'ping', 'prober-9', 1, 0, n, 'earlier', 'x', true FROM "
      "generate_series(1, " +
      std::to_string(kRefusedMax - 1) + ") n");
  Batch b = empty_batch();
  for (int i = 0; i < 3; ++i) {
    add(b, "prober-1",
        batch_of({7}, kIn + i * 1000, Verdict::kAnswered, 100,
                 {.location = i == 1 ? "default" : "poison"}));
  }
  auto waits = store_->commit(b);
  ASSERT_FALSE(waits);
  EXPECT_EQ(waits.error().code, Errc::kBadInput);
  EXPECT_NE(waits.error().message.find("10000 refused records are set aside"), std::string::npos)
      << waits.error().message;
  EXPECT_EQ(refused_rows(), kRefusedMax - 1);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "0");
  // Ordinary quarantine is trimmed beside them, they are not.
  ASSERT_TRUE(store_->housekeep(wall_from_ms(kHour), kYears));
  EXPECT_EQ(refused_rows(), kRefusedMax - 1);
  sql("DELETE FROM stream_quarantine WHERE seq < 10");
  EXPECT_EQ(try_commit(b).refused.size(), 2U);
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(RefusalsTest, TextThatIsNoneIsKeptAsFarAsItGoes) {
  Batch b = empty_batch();
  const stream::RecordKey bad{"prober\xff", 1, 3, 1};
  b.quarantined = {{.key = bad, .payload = "x", .reason = std::string("no\0text", 7)}};
  add(b, "prober-1", batch_of({7}, kIn));
  EXPECT_EQ(try_commit(b).refused.size(), 1U);
  EXPECT_EQ(sql("SELECT producer FROM stream_quarantine"), "prober?");
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(RefusalsTest, AChunkThatIsRefusedHoldsNoOtherUp) {
  const std::vector<DeviceId> devices = devices_of(3, 4);
  refuse("ping_chunks", "device_id <> " + std::to_string(devices[1]));
  sql("INSERT INTO stream_epochs (stream, producer, epoch, clock_steps)"
      " VALUES ('ping', 'prober-1', 9, 2)");
  for (int i = 0; i < 20; ++i) {
    PingResults r = batch_of(devices, kIn + i * 1000,
                             i % 7 == 3 ? Verdict::kNotMeasured : Verdict::kAnswered, 100 + i);
    if (i % 7 == 3) {
      for (Reason& reason : r.reason) reason = Reason::kPaused;
      r.note = i == 3 ? "Siti" : i == 10 ? "Budi" : "";
    }
    if (i == 4) r.strays = {{.device = devices[1], .due_ms = r.due_ms[1] - 1000, .rtt_us = 77}};
    record("prober-1", r, 9);
  }
  const std::string before = told(read(devices[1]));
  const Chunked done = chunk(3, kHour + 60'000);
  EXPECT_EQ(done.refused, 1U);
  EXPECT_GT(done.chunks, 0U);
  EXPECT_EQ(chunk(3, kHour + 60'000).hot_rows, 0U);  // the watermark has moved
  EXPECT_EQ(read(devices[0]).rows.size(), 20U);
  EXPECT_EQ(read(devices[1]).rows.size(), 0U);
  EXPECT_EQ(read(devices[3]).rows.size(), 20U);
  EXPECT_EQ(refused_rows(), 3U);  // by who paused
  EXPECT_TRUE(
      history::explained_by(gaps(), devices[1], slot_at_or_before(devices[1], 1000, kIn + 5'000)));
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine WHERE epoch = 9"), "3");
  // Once it is no longer refused: all as it was.
  refuse_no_more("ping_chunks");
  sql("SELECT history_retry_refused()");
  EXPECT_EQ(take_in().records, 3U);
  EXPECT_EQ(told(read(devices[1])), before);
  EXPECT_EQ(chunk(3, kHour + 60'000).refused, 0U);
  EXPECT_EQ(told(read(devices[1])), before);
  EXPECT_EQ(refused_rows(), 0U);
  EXPECT_TRUE(gaps().empty());
}

TEST_F(RefusalsTest, AnHourThatIsRefusedForOneDeviceIsCompactedForAllOthers) {
  std::map<DeviceId, std::string> before;
  for (DeviceId device = 1; device <= 12; ++device) {
    record("prober-1", each_second(device, kHour, kHour + 40'000));
    before[device] = told(read(device));
  }
  chunk_all();
  // One that does not even decode is named, as ever, and holds nobody up either.
  record("prober-2", each_second(7, kHour, kHour + 5'000));
  chunk_all();
  sql("UPDATE ping_chunks SET packed = substr(packed, 1, 9) WHERE part = (SELECT max(part) FROM"
      " ping_chunks WHERE device_id = 7) AND device_id = 7");
  refuse("ping_packed", "device_id <> 7");
  const int64_t now = kHour + 2 * kHourMs;
  const Compacted done = compact_all(now);
  EXPECT_EQ(done.hours, 1U);
  EXPECT_EQ(done.refused, 1U);
  EXPECT_EQ(done.broken, 1U);
  EXPECT_EQ(sql("SELECT string_agg(device_id::text, ' ') FROM history_broken"), "7");
  EXPECT_EQ(compactor_->status(wall_from_ms(now))->pending_hours, 0U);
  EXPECT_EQ(compactor_->status(wall_from_ms(now))->refused_records, refused_rows());
  EXPECT_EQ(housekeep(now + kHourMs).chunk_leaves_dropped, 1U);
  for (const auto& [device, results] : before) {
    EXPECT_EQ(told(read(device)), device == 7 ? "" : results) << "device " << device;
  }
  EXPECT_GT(refused_rows(), 0U);
  EXPECT_TRUE(history::explained_by(gaps(), 7, slot_at_or_before(7, 1000, kHour + 20'000)));
  renew();  // a restart changes nothing
  EXPECT_EQ(compact_all(now + kHourMs).hours, 0U);
  refuse_no_more("ping_packed");
  sql("SELECT history_retry_refused()");
  EXPECT_GT(take_in().records, 0U);
  EXPECT_EQ(told(read(7)), before[7]);
  chunk_all(now);
  EXPECT_EQ(compact_all(now + 2 * kHourMs).late_hours, 1U);
  for (const auto& [device, results] : before) {
    EXPECT_EQ(told(read(device)), results) << "device " << device;
  }
  EXPECT_TRUE(gaps().empty());
}

TEST_F(RefusalsTest, WhatWasPackedBeforeStaysWhenWhatComesLateIsRefused) {
  record("prober-1", each_second(7, kHour, kHour + 40'000));
  chunk_all();
  const int64_t now = kHour + 2 * kHourMs;
  EXPECT_EQ(compact_all(now).hours, 1U);
  housekeep(now + kHourMs);
  const std::string before = told(read(7));
  record("prober-1", each_second(7, kHour + 50'000, kHour + 60'000));
  record("prober-1", each_second(8, kHour + 50'000, kHour + 60'000));
  chunk_all(now);
  refuse("ping_rollup_minutes", "device_id <> 7");
  const Compacted done = compact_all(now + kHourMs);
  EXPECT_EQ(done.late_hours, 1U);
  EXPECT_EQ(done.refused, 1U);
  housekeep(now + 2 * kHourMs);
  EXPECT_EQ(told(read(7)), before);
  EXPECT_EQ(read(8).rows.size(), 10U);
  EXPECT_GT(refused_rows(), 0U);
}

// At random: what is refused and what is not never depends on the company.
TEST_F(RefusalsTest, FindsExactlyTheRefusedAmongMany) {
  Random random(seed_of_run());
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed_of_run()));
  refuse_poison();
  uint64_t bad = 0;
  uint64_t good = 0;
  for (int round = 0; round < 6; ++round) {
    Batch b = empty_batch();
    const uint32_t share = round == 0 ? 1000 : round == 1 ? 500 : 30;
    for (uint64_t i = 0; i < 20 + random.below(60); ++i) {
      const bool poison = random.chance(share);
      (poison ? bad : good) += 1;
      add(b, "prober-1",
          batch_of({1 + random.below(20)}, kIn + static_cast<int64_t>(bad + good) * 1000,
                   Verdict::kAnswered, 5, {.location = poison ? "poison" : "default"}));
    }
    commit(b);
    chunk_all();
  }
  EXPECT_EQ(refused_rows(), bad);
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_hot"), std::to_string(good));
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_chunks"), std::to_string(good));
  EXPECT_EQ(gaps().size(), bad);
}

}  // namespace
}  // namespace gema::recorder
