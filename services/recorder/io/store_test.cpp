// What the recorder writes with a commit, what makes it count once, and what is dropped again:
// against a real PostgreSQL.
#include "services/recorder/io/store.h"

#include "services/recorder/core/limits.h"
#include "services/recorder/io/sorter.h"
#include "services/recorder/io/store_fixture_for_test.h"

namespace gema::recorder {
namespace {

constexpr int64_t kStartMs = 1'800'000'123'000;
const RowRetention kLong{.results = 100'000h, .transitions = 100'000h};

class StoreTest : public StoreFixture {};

TEST_F(StoreTest, RecordsHotRowsAndPositionsTogether) {
  record("prober-1", batch_of({7}, kStartMs));
  record("prober-1", batch_of({7}, kStartMs + 1000));
  auto loaded = store_->load("ping");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->positions, known_.positions);
  EXPECT_EQ(loaded->tokens, known_.tokens);
  EXPECT_EQ(sql("SELECT string_agg(number::text, ',' ORDER BY number) FROM ping_hot"), "1,2");
  const auto results = read(7);
  ASSERT_EQ(results.rows.size(), 2U);
  EXPECT_EQ(results.rows[0].due_ms + 1000, results.rows[1].due_ms);
  EXPECT_EQ(results.rows[0].rtt_us, 100U);
  EXPECT_EQ(results.location(results.rows[0]), "default");
  EXPECT_EQ(results.producer(results.rows[0]), "prober-1");
}

TEST_F(StoreTest, QuarantinesTheFutureWhenTheTableForItIsFull) {
  auto sorter = make_ping_sorter(100'000h);
  sorter->set_aside_is(kSetAsideMax - 1);
  Batch b = empty_batch();
  for (int i = 0; i < 2; ++i) {
    stream::Delivery d{
        .key = {"prober-1", 1, partition_of(7), take_seq(b, "prober-1", 1, partition_of(7))}};
    encode_ping(batch_of({7}, kStartMs + 60'000), d.payload);
    sorter->take(std::move(d), Now{.wall = wall_from_ms(kStartMs)}, b);
  }
  EXPECT_EQ(b.set_aside.size(), 1U);
  ASSERT_EQ(b.quarantined.size(), 1U);
  EXPECT_NE(b.quarantined[0].reason.find("table is full"), std::string::npos);
  EXPECT_EQ(sorter->counts().quarantined, 1U);
}

TEST_F(StoreTest, KeepsAddressChangesWithTheirPosition) {
  const auto address = [](const char* bytes) { return *ip_from_bytes(std::string_view(bytes, 4)); };
  auto sorter = make_ping_sorter(100'000h);
  Batch b = empty_batch();
  PingResults r = batch_of({7}, kStartMs, Verdict::kAnswered, 100, {.location = "jak\"arta"});
  r.address_changes = {
      {.device = 7, .at_ms = kStartMs, .to = address("\xc0\x00\x02\x07")},
      {.device = 7,
       .at_ms = kStartMs + 5,
       .from = address("\xc0\x00\x02\x07"),
       .to = *ip_from_bytes(std::string_view("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16))},
      {.device = 7, .at_ms = kStartMs + 9, .from = address("\xc0\x00\x02\x07")}};
  stream::Delivery d{
      .key = {"prober-1", 1, partition_of(7), take_seq(b, "prober-1", 1, partition_of(7))}};
  encode_ping(r, d.payload);
  sorter->take(std::move(d), Now{.wall = wall_from_ms(kStartMs)}, b);
  EXPECT_EQ(sorter->counts().address_changes, 3U);
  commit(b);
  EXPECT_TRUE(store_->commit(b)->earlier);  // and not a second time
  auto changes = history::Reader(*connection_).address_changes(7);
  ASSERT_TRUE(changes) << changes.error().message;
  ASSERT_EQ(changes->size(), 3U);
  EXPECT_EQ((*changes)[0].at_ms, kStartMs + 9);
  EXPECT_EQ((*changes)[0].was, "192.0.2.7");
  EXPECT_EQ((*changes)[0].becomes, "");
  EXPECT_EQ((*changes)[1].becomes, "2001:db8::1");
  EXPECT_EQ((*changes)[2].was, "");
  EXPECT_EQ((*changes)[2].location, "jak\"arta");
  EXPECT_EQ((*changes)[2].prober, "prober-1");
  EXPECT_EQ(sql("SELECT count(*) FROM device_addresses WHERE device_id = 7"), "3");
  auto kept = store_->housekeep(wall_from_ms(kStartMs + 6) + 24h, {.results = 24h});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->address_changes_dropped, 2U);
}

TEST_F(StoreTest, KeepsTransitionsAndGapsAsLongAsTheyAreNeeded) {
  auto at = [](int days) {
    return "to_timestamp(" + std::to_string(kStartMs / 1000) + ") - interval '" +
           std::to_string(days) + " days'";
  };
  // Device 7 changed thrice long ago, and lately; device 8 long ago only.
  int counter = 0;
  for (const auto& [device, days] :
       {std::pair{7, 400}, {7, 300}, {7, 200}, {7, 50}, {8, 500}, {8, 300}}) {
    ++counter;
    sql("INSERT INTO transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
        " decided_at, state) SELECT gen_random_uuid(), " +
        std::to_string(device) + ", " + std::to_string(counter) + ", 1, 2, 1, " + at(days) + ", " +
        at(days) + ", ''");
  }
  for (const int days : {100, 80, 2}) {
    sql("INSERT INTO stream_gaps (stream, producer, epoch, partition, first_seq, last_seq, reason,"
        " noticed_at) SELECT 'ping', 'prober-1', 1, 0, 1, 2, 'dropped', " +
        at(days));
  }
  const RowRetention retention{.results = 90 * 24h, .transitions = 100 * 24h};
  auto kept = store_->housekeep(wall_from_ms(kStartMs), retention);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->gaps_dropped, 1U);
  EXPECT_EQ(kept->transitions_dropped, 3U);
  // What each was when the time that is kept began, and all since.
  EXPECT_EQ(sql("SELECT string_agg(device_id || ':' || counter, ' ' ORDER BY device_id, counter)"
                " FROM transitions"),
            "7:3 7:4 8:6");
  // Once an hour is enough.
  sql("UPDATE stream_gaps SET noticed_at = " + at(100));
  EXPECT_EQ(store_->housekeep(wall_from_ms(kStartMs) + 59min, retention)->gaps_dropped, 0U);
  EXPECT_EQ(store_->housekeep(wall_from_ms(kStartMs) + 61min, retention)->gaps_dropped, 2U);
}

TEST_F(StoreTest, KeepsEpochsUntilNothingAsksForTheirClock) {
  auto began = [&](const std::string& producer, int epoch, int days, int steps) {
    sql("INSERT INTO stream_epochs (stream, producer, epoch, predecessor, clock_steps, first_seen)"
        " SELECT 'ping', '" +
        producer + "', " + std::to_string(epoch) + ", 0, " + std::to_string(steps) +
        ", to_timestamp(" + std::to_string(kStartMs / 1000) + ") - interval '" +
        std::to_string(days) + " days'");
  };
  // 1 to 6 ended long ago, 7 goes on to this day, 8 began lately. What 7 measured may be in
  // history.
  for (int e = 1; e <= 6; ++e) began("prober-1", e, 400 - e, e);
  began("prober-1", 7, 200, 7);
  began("prober-1", 8, 10, 8);
  began("prober-2", 1, 500, 3);  // its last one, however long ago
  began("prober-3", 1, 500, 3);  // a later one that knows of fewer steps is none of its followers
  began("prober-3", 2, 400, 0);
  // 2 is still open, of 3 a record waits until it is no longer ahead, of 4 one was refused; what 5
  // had is in.
  sql("INSERT INTO stream_positions (stream, producer, epoch, partition, cumulative, highest,"
      " epoch_order, closed) VALUES ('ping', 'prober-1', 2, 0, 5, 5, 2, false),"
      " ('ping', 'prober-1', 5, 0, 5, 5, 5, true);"
      "INSERT INTO stream_set_aside (stream, producer, epoch, partition, seq, newest_ms,"
      " produced_at, payload) VALUES ('ping', 'prober-1', 3, 0, 1, " +
      std::to_string(INT64_MAX) +
      ", now(), '');"
      "INSERT INTO stream_quarantine (stream, producer, epoch, partition, seq, reason, payload,"
      " refused, noticed_at) VALUES ('ping', 'prober-1', 4, 0, 1, '', '', true, 'infinity')");
  const RowRetention retention{.results = 90 * 24h, .transitions = 100 * 24h};
  auto kept = store_->housekeep(wall_from_ms(kStartMs), retention);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->epochs_dropped, 3U);
  EXPECT_EQ(sql("SELECT string_agg(producer || ':' || epoch, ' ' ORDER BY producer, epoch)"
                " FROM stream_epochs"),
            "prober-1:2 prober-1:3 prober-1:4 prober-1:7 prober-1:8 prober-2:1 prober-3:1"
            " prober-3:2");
  // An epoch goes when its follower is older than what is kept; and a refused record likewise.
  sql("UPDATE stream_quarantine SET noticed_at = to_timestamp(0)");
  kept = store_->housekeep(wall_from_ms(kStartMs) + 81 * 24h, retention);
  EXPECT_EQ(kept->refused_dropped, 1U);
  EXPECT_EQ(kept->epochs_dropped, 1U);
  kept = store_->housekeep(wall_from_ms(kStartMs) + 82 * 24h, retention);
  EXPECT_EQ(kept->epochs_dropped, 1U);
  EXPECT_EQ(sql("SELECT string_agg(epoch::text, ' ' ORDER BY epoch) FROM stream_epochs"
                " WHERE producer = 'prober-1'"),
            "2 3 8");
}

TEST_F(StoreTest, CountsACommitOnceWhenItsAnswerWasLost) {
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs));
  ASSERT_TRUE(store_->commit(b));  // and the answer never arrives
  const Committed again = try_commit(b);
  EXPECT_TRUE(again.earlier);
  EXPECT_FALSE(again.conflict);
  EXPECT_EQ(read(7).rows.size(), 1U);
  record("prober-1", batch_of({7}, kStartMs + 1000));
  EXPECT_EQ(read(7).rows.size(), 2U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "2");
}

TEST_F(StoreTest, LetsOnlyOneOfTwoRecordersWriteTheSameRecords) {
  Store other(database());
  Batch mine = empty_batch();
  add(mine, "prober-1", batch_of({7}, kStartMs));
  Batch theirs = mine;
  theirs.token = mine.token + 2;
  commit(mine);
  auto refused = other.commit(theirs);
  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->conflict);
  EXPECT_EQ(refused->now.positions, mine.after);
  EXPECT_EQ(refused->now.tokens, known_.tokens);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "1");
}

TEST_F(StoreTest, NoticesADatabaseThatWentBackInTime) {
  record("prober-1", batch_of({7}, kStartMs));
  const Loaded older = known_;
  sql("CREATE TABLE saved_heads AS SELECT * FROM stream_heads;"
      "CREATE TABLE saved_positions AS SELECT * FROM stream_positions;"
      "CREATE TABLE saved_hot AS SELECT * FROM ping_hot");
  record("prober-1", batch_of({7}, kStartMs + 1000));
  // As after a fail-over to a replica that had not got the last commit.
  sql("DELETE FROM stream_heads; INSERT INTO stream_heads SELECT * FROM saved_heads;"
      "DELETE FROM stream_positions; INSERT INTO stream_positions SELECT * FROM saved_positions;"
      "DELETE FROM ping_hot; INSERT INTO ping_hot SELECT * FROM saved_hot");
  Batch next = empty_batch();
  add(next, "prober-1", batch_of({7}, kStartMs + 2000));
  const Committed refused = try_commit(next);
  EXPECT_TRUE(refused.conflict);
  EXPECT_EQ(refused.now.positions, older.positions);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "1");
  known_ = refused.now;
  record("prober-1", batch_of({7}, kStartMs + 1000));
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(StoreTest, GoesOnAfterPostgresWasKilled) {
  record("prober-1", batch_of({7}, kStartMs));
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs + 1000));
  server().kill9();
  for (int i = 0; i < 2; ++i) {
    auto failed = store_->commit(b);
    ASSERT_FALSE(failed);
    EXPECT_TRUE(failed.error().code == Errc::kUnavailable || failed.error().code == Errc::kTimeout)
        << failed.error().message;
  }
  restart_server();
  commit(b);
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(StoreTest, WritesNothingWhenTheDiskIsFull) {
  sql("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
      " $$ BEGIN RAISE disk_full; END $$;"
      "CREATE TRIGGER full_disk BEFORE INSERT ON stream_positions EXECUTE FUNCTION full_disk()");
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs));
  auto refused = store_->commit(b);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUnavailable) << refused.error().message;
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "0");
  sql("DROP TRIGGER full_disk ON stream_positions");
  commit(b);
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(StoreTest, WaitsForAnOlderSchemaAndRefusesANewerOne) {
  sql("CREATE TABLE saved AS SELECT * FROM schema_migrations;"
      "DELETE FROM schema_migrations WHERE version >= 2");
  Store fresh(database());
  auto waiting = fresh.ensure_ready();
  ASSERT_FALSE(waiting);
  EXPECT_EQ(waiting.error().code, Errc::kUnavailable) << waiting.error().message;
  sql("DELETE FROM schema_migrations; INSERT INTO schema_migrations SELECT * FROM saved;"
      "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', 'x')");
  auto refused = fresh.ensure_ready();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kPermanent);
  EXPECT_NE(refused.error().message.find("9999 (later)"), std::string::npos);
}

TEST_F(StoreTest, StopsCountingClockStepsAtTheMostARowHolds) {
  Batch b = empty_batch();
  b.epochs = {{"prober-1", 1, 0, stream::EpochReason::kNewSpool}};
  commit(b);
  sql("UPDATE stream_epochs SET clock_steps = 32767");
  b = empty_batch();
  b.epochs = {{"prober-1", 2, 1, stream::EpochReason::kClockStep}};
  take_seq(b, "prober-1", 2, 0);
  commit(b);
  EXPECT_EQ(sql("SELECT string_agg(clock_steps::text, ' ') FROM stream_epochs"), "32767 32767");
}

TEST_F(StoreTest, KeepsQuarantineGapsAndEpochsWithTheirPosition) {
  Batch b = empty_batch();
  const stream::RecordKey bad{"prober-1", 1, 3, take_seq(b, "prober-1", 1, 3)};
  b.quarantined = {{.key = bad,
                    .produced_at_us = kStartMs * 1000,
                    .payload = std::string("\0\xff'\\", 4),
                    .reason = "undecodable: it's \"odd\""}};
  b.gaps = {{{"prober-1", 1, 3, 0}, {5, 9}, {kStartMs, std::nullopt}, "dropped"}};
  commit(b);
  EXPECT_EQ(sql("SELECT encode(payload, 'hex') || reason FROM stream_quarantine"),
            "00ff275cundecodable: it's \"odd\"");
  history::Reader reader(*connection_);
  auto gaps = reader.gaps(kStartMs - 1000, kStartMs + 1000);
  ASSERT_TRUE(gaps) << gaps.error().message;
  ASSERT_EQ(gaps->size(), 1U);
  EXPECT_EQ((*gaps)[0].first_seq, 5U);
  EXPECT_EQ((*gaps)[0].from_ms, kStartMs);
  EXPECT_EQ((*gaps)[0].to_ms, std::nullopt);
  EXPECT_TRUE(reader.gaps(kStartMs - 5000, kStartMs - 1000)->empty());
  DeviceId device = 1;
  while (partition_of(device) != 3) ++device;
  EXPECT_TRUE(history::explained_by(*gaps, device, kStartMs));
  EXPECT_FALSE(history::explained_by(*gaps, device, kStartMs - 1));
}

TEST_F(StoreTest, TakesInWhatWasSetAsideOnceItIsNoLongerAhead) {
  const PingResults later = batch_of({7}, kStartMs + 60'000);
  Batch b = empty_batch();
  add(b, "prober-1", later);
  RecordRow row = b.records.back();
  b.records.clear();
  row.newest_ms = later.due_ms[0];
  b.set_aside = {row};
  commit(b);
  EXPECT_EQ(store_->load("ping")->set_aside, 1U);
  EXPECT_TRUE(read(7).rows.empty());
  auto none = store_->take_in("ping", wall_from_ms(later.due_ms[0] - 10'001));
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->records, 0U);
  EXPECT_EQ(store_->take_in("ping", wall_from_ms(later.due_ms[0] - 10'000))->records, 1U);
  EXPECT_EQ(store_->load("ping")->set_aside, 0U);
  EXPECT_EQ(read(7).rows.size(), 1U);
  record("prober-1", batch_of({7}, kStartMs));  // tokens are as before
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(StoreTest, DropsAHotLeafOnlyWhenItsRowsAreInChunks) {
  record("prober-1", batch_of({7}, kStartMs));
  // An hour old: move the row to a leaf of that time.
  sql("SELECT ping_hot_make_leaf(now() - interval '1 hour');"
      "UPDATE ping_hot SET written_at = now() - interval '1 hour'");
  EXPECT_EQ(store_->housekeep(wall_from_ms(kStartMs), kLong)->hot_leaves_dropped, 0U);
  chunk(partition_of(7), kStartMs);
  EXPECT_EQ(store_->housekeep(wall_from_ms(kStartMs), kLong)->hot_leaves_dropped, 1U);
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(StoreTest, TakesATransitionsIdOnce) {
  auto loaded = store_->load("transitions");
  ASSERT_TRUE(loaded);
  Batch b{.stream = "transitions", .token = 77, .tokens = loaded->tokens};
  TransitionRow t{.device = 7,
                  .counter = 1,
                  .from = 1,
                  .to = 2,
                  .reason = 2,
                  .slot_ms = kStartMs,
                  .decided_at_us = kStartMs * 1000 + 5,
                  .state = std::string("\0s", 2)};
  t.id[0] = 0xab;
  b.transitions = {t, t};
  take_seq(b, "timeout-tracker", 9, 0);
  auto done = store_->commit(b);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(sql("SELECT count(*) FROM transitions"), "1");
  EXPECT_EQ(sql("SELECT id::text || extract(epoch FROM decided_at) || encode(state, 'hex')"
                " FROM transitions"),
            "ab000000-0000-0000-0000-0000000000001800000123.0000050073");
}

}  // namespace
}  // namespace gema::recorder
