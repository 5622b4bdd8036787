// The recorder's tables and the reader against a real PostgreSQL.
#include "services/recorder/io/store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/domain/chunk.h"
#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/postgres/migrate.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/sorter.h"
#include "tests/support/postgres_server.h"

#if defined(__SANITIZE_ADDRESS__)
// libpqxx 6.4 forgets one PGresult when a connection breaks under a statement: about 2 KB each
// time.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libpqxx-6.4";
}
#endif

namespace gema::recorder {
namespace {

using postgres::Connection;
using postgres::Transaction;

constexpr int64_t kStartMs = 1'800'000'123'000;
const RowRetention kLong{.results = 100'000h, .transitions = 100'000h};
constexpr uint32_t kInterval = 1000;

// One server for all tests of the file, emptied between them: initdb takes longer than the tests.
testing::PostgresServer& server() {
  static testing::PostgresServer instance;
  return instance;
}

postgres::Options options() {
  postgres::Options o{.conninfo = server().conninfo()};
  o.statement_timeout = std::chrono::milliseconds(10'000);
  return o;
}

PingResults batch_of(const std::vector<DeviceId>& devices, int64_t at_ms,
                     Verdict verdict = Verdict::kAnswered, uint32_t rtt_us = 100,
                     const std::string& location = "default") {
  PingResults r;
  r.location = location;
  for (const DeviceId device : devices) {
    r.device.push_back(device);
    r.interval_ms.push_back(kInterval);
    r.due_ms.push_back(slot_at_or_before(device, kInterval, at_ms));
    r.verdict.push_back(verdict);
    const bool measured = verdict != Verdict::kNotMeasured;
    r.reason.push_back(verdict == Verdict::kAnswered ? Reason::kNone
                       : measured                    ? Reason::kTimeout
                                                     : Reason::kNotRunning);
    if (measured) {
      const bool reply = verdict == Verdict::kAnswered;
      r.echo_outcome.push_back(reply ? EchoOutcome::kReply : EchoOutcome::kTimeout);
      r.echo_rtt_us.push_back(reply ? rtt_us : 0);
    }
    r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
  }
  return r;
}

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!server().running()) server().restart();
    connection_ = std::move(*Connection::open(options()));
    sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    auto migrated = postgres::migrate(*connection_);
    ASSERT_TRUE(migrated) << migrated.error().message;
    store_ = std::make_unique<Store>(options());
    auto loaded = store_->load("ping");
    ASSERT_TRUE(loaded) << loaded.error().message;
    known_ = *loaded;
  }

  // One value as text.
  std::string sql(const std::string& statement) {
    auto result = connection_->transact([&](Transaction& tx) {
      const auto rows = tx.exec(statement);
      return rows.empty() || rows[0][0].is_null() ? std::string() : rows[0][0].as<std::string>();
    });
    EXPECT_TRUE(result) << statement << ": " << (result ? "" : result.error().message);
    return result ? *result : "";
  }

  Batch empty_batch() {
    Batch b{.stream = "ping",
            .token = static_cast<int64_t>(random_.next() | 1),
            .before = known_.positions,
            .after = known_.positions,
            .tokens = known_.tokens};
    return b;
  }

  // Adds a record with the next seq of its producer and partition.
  void add(Batch& b, const std::string& producer, const PingResults& results, uint64_t epoch = 1) {
    const uint32_t p = partition_of(results.device.front());
    stream::RecordKey key{producer, epoch, p, take_seq(b, producer, epoch, p)};
    RecordRow row{.key = key,
                  .produced_at_us = results.due_ms.front() * 1000,
                  .results = static_cast<uint32_t>(results.size())};
    encode_ping(results, row.payload);
    b.records.push_back(row);
  }

  uint64_t take_seq(Batch& b, const std::string& producer, uint64_t epoch, uint32_t p) {
    const stream::PositionKey key{producer, epoch, p};
    const stream::Position* before = b.after.find(key);
    stream::Position position = before == nullptr ? stream::Position{.order = 1} : *before;
    position.highest = ++position.cumulative;
    b.after.set(key, position);
    return position.cumulative;
  }

  // Commits and moves what we know on.
  Committed commit(const Batch& b) {
    auto done = store_->commit(b);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    if (!done) return {};
    if (!done->conflict) {
      known_.positions = b.after;
      known_.tokens = done->tokens;
    }
    return *done;
  }

  void record(const std::string& producer, const PingResults& results, uint64_t epoch = 1) {
    Batch b = empty_batch();
    add(b, producer, results, epoch);
    EXPECT_FALSE(commit(b).conflict);
  }

  Chunked chunk(DeviceId device, Duration retention = 100'000h) {
    auto done = store_->chunk(partition_of(device), wall_from_ms(kStartMs), retention);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return done ? *done : Chunked{};
  }

  history::Results read(DeviceId device, int64_t from_ms = kStartMs - 3'600'000,
                        int64_t to_ms = kStartMs + 3'600'000, size_t limit = 1'000'000) {
    auto results = history::Reader(*connection_).results(device, from_ms, to_ms, limit);
    EXPECT_TRUE(results) << (results ? "" : results.error().message);
    return results ? *results : history::Results{};
  }

  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Store> store_;
  Loaded known_;
  Random random_{42};
};

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

TEST_F(StoreTest, ReadsTheSameBeforeAndAfterTransposing) {
  for (int i = 0; i < 70; ++i) {
    record("prober-1", batch_of({7}, kStartMs + i * 1000, static_cast<Verdict>(i % 3),
                                200 + static_cast<uint32_t>(i)));
  }
  const auto before = read(7);
  const Chunked done = chunk(7);
  EXPECT_EQ(done.hot_rows, 70U);
  EXPECT_EQ(done.results, 70U);
  EXPECT_EQ(done.chunks, 1U);
  EXPECT_FALSE(done.more);
  const auto after = read(7);
  ASSERT_EQ(before.rows.size(), 70U);
  ASSERT_EQ(after.rows.size(), 70U);
  for (size_t i = 0; i < 70; ++i) {
    EXPECT_EQ(before.rows[i].due_ms, after.rows[i].due_ms);
    EXPECT_EQ(before.rows[i].verdict, after.rows[i].verdict);
    EXPECT_EQ(before.rows[i].reason, after.rows[i].reason);
    EXPECT_EQ(before.rows[i].rtt_us, after.rows[i].rtt_us);
  }
  EXPECT_EQ(chunk(7).hot_rows, 0U);
  const auto audit = history::audit_slots(after, 7, kInterval, after.rows.front().due_ms,
                                          after.rows.back().due_ms + 1);
  EXPECT_EQ(audit.expected, 70U);
  EXPECT_EQ(audit.found, 70U);
  EXPECT_EQ(audit.unexpected, 0U);
  EXPECT_EQ(audit.not_measured, 23U);
}

// What a reader sees, row for row, as one text.
std::string told(const history::Results& results) {
  std::string out;
  for (const history::Row& row : results.rows) {
    out += std::to_string(row.due_ms) + results.producer(row) + to_string(row.verdict) +
           to_string(row.reason) + std::to_string(row.rtt_us);
    for (const history::Echo& echo : results.echoes_of(row)) out += to_string(echo.outcome);
    if (const history::Details* d = results.details_of(row)) {
      for (const EchoNote& n : d->notes) {
        out += std::string(" note ") + std::to_string(n.echo) + to_string(n.kind) +
               std::to_string(n.icmp_type) + "/" + std::to_string(n.icmp_code) + "e" +
               std::to_string(n.error) + "r" + std::to_string(n.rtt_us) + "x" +
               std::to_string(n.count) + to_text(n.from);
      }
      for (const ProofResult& p : d->proofs) {
        out += std::string(" proof ") + to_string(p.kind) + to_string(p.outcome) +
               std::to_string(p.port) + "s" + std::to_string(p.status) + "t" +
               std::to_string(p.elapsed_us);
      }
      for (const Stray& s : d->strays) {
        out += std::string(" stray ") + std::to_string(s.echo) + to_string(s.kind) +
               std::to_string(s.rtt_us);
      }
      if (!d->text.empty()) out += " by " + d->text;
    }
    out += "\n";
  }
  return out;
}

PingResults unreachable(const std::vector<DeviceId>& devices, int64_t at_ms) {
  PingResults r = batch_of(devices, at_ms, Verdict::kFailed);
  for (uint32_t i = 0; i < r.size(); ++i) {
    r.reason[i] = Reason::kUnreachable;
    r.echo_outcome[i] = EchoOutcome::kHostUnreachable;
    r.notes.push_back({.index = i,
                       .icmp_type = 3,
                       .icmp_code = 1,
                       .from = *ip_from_bytes(std::string_view("\xc0\x00\x02\x02", 4))});
  }
  return r;
}

TEST_F(StoreTest, ReadsDetailsTheSameBeforeAndAfterTransposing) {
  const int64_t due = batch_of({7}, kStartMs).due_ms[0];
  record("prober-1", unreachable({7}, kStartMs));
  PingResults r = unreachable({7}, kStartMs + 1000);
  r.proofs = {{.kind = ProofKind::kWeb, .outcome = ProofOutcome::kWrongStatus, .status = 503},
              {.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 22}};
  r.strays = {{.device = 7, .due_ms = due, .rtt_us = 3'300'000}};
  record("prober-1", r);
  r = batch_of({7}, kStartMs + 2000, Verdict::kNotMeasured);
  r.reason[0] = Reason::kPaused;
  r.note = "Siti";
  record("prober-1", r);
  r = batch_of({7}, kStartMs + 3000);
  r.notes = {{.kind = NoteKind::kDuplicate, .count = 2}};
  // Of another prober: it answers no echo whose result is shown.
  r.strays = {{.device = 7, .due_ms = due, .rtt_us = 9}};
  record("prober-2", r);
  const std::string before = told(read(7));
  EXPECT_NE(before.find("host unreachable note 0icmp error3/1e0r0x1192.0.2.2 stray 0late3300000\n"),
            std::string::npos)
      << before;
  EXPECT_NE(before.find(" proof webwrong status0s503t0 proof tcpconnection reset22s0t0"),
            std::string::npos)
      << before;
  EXPECT_NE(before.find("paused0 by Siti"), std::string::npos) << before;
  EXPECT_NE(before.find("note 0duplicate0/0e0r0x2"), std::string::npos) << before;
  EXPECT_EQ(chunk(7).strays, 2U);
  EXPECT_EQ(told(read(7)), before);
  // One that comes after its slot was transposed.
  r = batch_of({7}, kStartMs + 4000);
  r.strays = {{.device = 7, .due_ms = due + 1000, .rtt_us = 4'000'000}};
  record("prober-1", r);
  const std::string later = told(read(7));
  EXPECT_NE(later.find(" stray 0late4000000"), std::string::npos) << later;
  EXPECT_EQ(chunk(7).strays, 1U);
  EXPECT_EQ(told(read(7)), later);
  EXPECT_EQ(sql("SELECT string_agg(verdict || ' ' || reason, ', ' ORDER BY at) FROM ping_checks"
                " WHERE device_id = 7"),
            "failed unreachable, failed unreachable, not measured paused, answered none, "
            "answered none");
  history::Reader reader(*connection_);
  auto latest = reader.latest(kStartMs + 2500);
  ASSERT_TRUE(latest);
  EXPECT_EQ(latest->names_and_echoes.details_of(latest->rows.at(7)), nullptr);
}

TEST_F(StoreTest, ShowsSqlUsersEveryReasonByItsName) {
  for (int reason = 0; reason <= kReasonMax; ++reason) {
    const char* name = to_string(static_cast<Reason>(reason));
    if (std::string(name) == "?") continue;
    EXPECT_EQ(sql("SELECT ping_reason_text(" + std::to_string(reason) + ")"), name);
  }
  for (const EchoOutcome outcome :
       {EchoOutcome::kUnreachable, EchoOutcome::kNetUnreachable, EchoOutcome::kHostUnreachable,
        EchoOutcome::kPortUnreachable, EchoOutcome::kProhibited}) {
    EXPECT_EQ(sql("SELECT verdict || '/' || reason FROM ping_chunk_results(0, 1000, 2, ARRAY[-" +
                  std::to_string(static_cast<int>(outcome)) + ", -1], NULL)"),
              "1/3");
  }
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
  PingResults r = batch_of({7}, kStartMs, Verdict::kAnswered, 100, "jak\"arta");
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

TEST_F(StoreTest, CountsACommitOnceWhenItsAnswerWasLost) {
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs));
  ASSERT_TRUE(store_->commit(b));  // and the answer never arrives
  const Committed again = commit(b);
  EXPECT_TRUE(again.earlier);
  EXPECT_FALSE(again.conflict);
  EXPECT_EQ(read(7).rows.size(), 1U);
  record("prober-1", batch_of({7}, kStartMs + 1000));
  EXPECT_EQ(read(7).rows.size(), 2U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_hot"), "2");
}

TEST_F(StoreTest, LetsOnlyOneOfTwoRecordersWriteTheSameRecords) {
  Store other(options());
  Batch mine = empty_batch();
  add(mine, "prober-1", batch_of({7}, kStartMs));
  Batch theirs = mine;
  theirs.token = mine.token + 2;
  EXPECT_FALSE(commit(mine).conflict);
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
  const Committed refused = commit(next);
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
  server().restart();
  connection_ = std::move(*Connection::open(options()));
  EXPECT_FALSE(commit(b).conflict);
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
  EXPECT_FALSE(commit(b).conflict);
  EXPECT_EQ(read(7).rows.size(), 1U);
}

TEST_F(StoreTest, WaitsForAnOlderSchemaAndRefusesANewerOne) {
  sql("CREATE TABLE saved AS SELECT * FROM schema_migrations;"
      "DELETE FROM schema_migrations WHERE version >= 2");
  Store fresh(options());
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

TEST_F(StoreTest, AddsAPartForWhatComesLate) {
  for (const int i : {0, 1, 3, 4}) record("prober-1", batch_of({7}, kStartMs + i * 1000));
  EXPECT_EQ(chunk(7).chunks, 1U);
  record("prober-1", batch_of({7}, kStartMs + 2000, Verdict::kFailed));
  EXPECT_EQ(chunk(7).chunks, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "2");
  const auto results = read(7);
  ASSERT_EQ(results.rows.size(), 5U);
  EXPECT_EQ(results.rows[2].verdict, Verdict::kFailed);
  EXPECT_EQ(sql("SELECT string_agg(verdict, ',' ORDER BY at) FROM ping_checks WHERE device_id = 7"),
            "answered,answered,failed,answered,answered");
}

TEST_F(StoreTest, DecidesBetweenTwoContentsInAnyOrderOfArrival) {
  struct Given {
    const char* producer;
    Verdict verdict;
    uint32_t rtt_us;
  };
  const Given winner{"prober-1", Verdict::kAnswered, 300};
  const std::vector<Given> losers{{"prober-2", Verdict::kAnswered, 100},
                                  {"prober-0", Verdict::kFailed, 0},
                                  {"prober-0", Verdict::kNotMeasured, 0}};
  DeviceId device = 100;
  for (const Given& loser : losers) {
    for (const bool winner_first : {true, false}) {
      for (const bool chunk_between : {true, false}) {
        ++device;
        const Given& a = winner_first ? winner : loser;
        const Given& b = winner_first ? loser : winner;
        record(a.producer, batch_of({device}, kStartMs, a.verdict, a.rtt_us));
        if (chunk_between) chunk(device);
        record(b.producer, batch_of({device}, kStartMs, b.verdict, b.rtt_us));
        const auto hot = read(device);
        ASSERT_EQ(hot.rows.size(), 1U);
        EXPECT_EQ(hot.rows[0].rtt_us, 300U);
        chunk(device);
        const auto chunked = read(device);
        ASSERT_EQ(chunked.rows.size(), 1U);
        EXPECT_EQ(chunked.rows[0].rtt_us, 300U);
        EXPECT_EQ(sql("SELECT string_agg(rtt_avg_us::int::text, ',') FROM ping_checks"
                      " WHERE device_id = " +
                      std::to_string(device)),
                  "300");
      }
    }
  }
}

TEST_F(StoreTest, TakesTheLaterEpochForSlotsRepeatedAfterAClockStep) {
  Batch b = empty_batch();
  b.epochs = {{"prober-1", 1, 0, stream::EpochReason::kNewSpool},
              {"prober-1", 2, 1, stream::EpochReason::kClockStep}};
  commit(b);
  record("prober-1", batch_of({7}, kStartMs, Verdict::kFailed), 2);
  record("prober-1", batch_of({7}, kStartMs, Verdict::kAnswered), 1);
  EXPECT_EQ(read(7).rows.at(0).verdict, Verdict::kFailed);
  chunk(7);
  EXPECT_EQ(read(7).rows.at(0).verdict, Verdict::kFailed);
  EXPECT_EQ(sql("SELECT string_agg(verdict, ',') FROM ping_checks"), "failed");
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

TEST_F(StoreTest, KeepsLocationsApart) {
  record("prober-1", batch_of({7}, kStartMs, Verdict::kAnswered, 100, "jakarta"));
  record("prober-2", batch_of({7}, kStartMs, Verdict::kFailed, 0, "bandung"));
  for (int i = 0; i < 2; ++i) {
    const auto results = read(7);
    ASSERT_EQ(results.rows.size(), 2U);
    EXPECT_EQ(results.location(results.rows[0]), "bandung");
    EXPECT_EQ(results.location(results.rows[1]), "jakarta");
    chunk(7);
  }
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
  auto none = store_->take_in(wall_from_ms(later.due_ms[0] - 10'001));
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(*none, 0U);
  EXPECT_EQ(*store_->take_in(wall_from_ms(later.due_ms[0] - 10'000)), 1U);
  EXPECT_EQ(store_->load("ping")->set_aside, 0U);
  EXPECT_EQ(read(7).rows.size(), 1U);
  record("prober-1", batch_of({7}, kStartMs));  // tokens are as before
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(StoreTest, DiscardsWhatIsPastRetentionAndCountsIt) {
  record("prober-1", batch_of({7}, kStartMs - 7'200'000));
  record("prober-1", batch_of({7}, kStartMs));
  const Chunked done = chunk(7, 1h);
  EXPECT_EQ(done.results, 1U);
  EXPECT_EQ(done.discarded, 1U);
}

TEST_F(StoreTest, MovesNoWatermarkWhenTheChunksCannotBeWritten) {
  record("prober-1", batch_of({7}, kStartMs));
  sql("ALTER TABLE ping_chunks ADD CONSTRAINT no CHECK (false) NOT VALID");
  EXPECT_FALSE(store_->chunk(partition_of(7), wall_from_ms(kStartMs), 100'000h));
  EXPECT_EQ(read(7).rows.size(), 1U);
  sql("ALTER TABLE ping_chunks DROP CONSTRAINT no");
  EXPECT_EQ(chunk(7).results, 1U);
}

TEST_F(StoreTest, GoesOnPastAHotRecordThatCannotBeDecoded) {
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs));
  add(b, "prober-1", batch_of({7}, kStartMs + 1000));
  b.records[0].payload = "\xff\xff";
  commit(b);
  const Chunked done = chunk(7);
  EXPECT_EQ(done.undecodable, 1U);
  EXPECT_EQ(done.results, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine"), "1");
}

TEST_F(StoreTest, GoesOnPastAHotRowThatBreaksOff) {
  record("prober-1", batch_of({7}, kStartMs));
  record("prober-1", batch_of({7}, kStartMs + 1000));
  record("prober-1", batch_of({7}, kStartMs + 2000));
  sql("UPDATE ping_hot SET batches = substr(batches, 1, 20) WHERE number = 2");
  history::Reader reader(*connection_);
  EXPECT_EQ(reader.results(7, kStartMs - 1000, kStartMs + 9000)->rows.size(), 2U);
  EXPECT_EQ(reader.broken(), (std::vector<history::BrokenRow>{{.table = "ping_hot", .part = 2}}));
  const Chunked done = chunk(7);
  EXPECT_EQ(done.undecodable, 1U);
  EXPECT_EQ(done.results, 2U);
  EXPECT_EQ(sql("SELECT octet_length(payload) FROM stream_quarantine WHERE seq = 2"), "20");
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(StoreTest, DropsAHotLeafOnlyWhenItsRowsAreInChunks) {
  record("prober-1", batch_of({7}, kStartMs));
  // An hour old: move the row to a leaf of that time.
  sql("SELECT ping_hot_make_leaf(now() - interval '1 hour');"
      "UPDATE ping_hot SET written_at = now() - interval '1 hour'");
  EXPECT_EQ(store_->housekeep(wall_from_ms(kStartMs), kLong)->hot_leaves_dropped, 0U);
  chunk(7);
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

TEST_F(StoreTest, GivesPeopleTheTableOfTheAceLogger) {
  sql("INSERT INTO devices (id, address, hostname, interval_ms, timeout_ms, echo_count, "
      "min_replies,"
      " source, created_at, updated_at)"
      " VALUES (7, '192.0.2.7', 'core', 1000, 1000, 2, 1, 'file', now(), now())");
  PingResults r = batch_of({7}, kStartMs, Verdict::kAnswered, 1500);
  r.reason[0] = Reason::kLossy;
  r.echo_outcome.push_back(EchoOutcome::kTimeout);
  r.echo_rtt_us.push_back(0);
  r.echo_begin[1] = 2;
  r.burst = {{0, 2, {2500, 500}}};
  record("prober-1", r);
  record("prober-1", batch_of({7}, kStartMs + 1000, Verdict::kFailed));
  record("prober-1", batch_of({7}, kStartMs + 2000, Verdict::kNotMeasured));
  chunk(7);
  EXPECT_EQ(sql("SELECT string_agg(column_name, ',' ORDER BY ordinal_position)"
                " FROM information_schema.columns WHERE table_name = 'ping_results'"),
            "id,host_name,host_address,timestamp,success_count,failure_count,success_rate,"
            "min_latency,max_latency,avg_latency");
  EXPECT_EQ(sql("SELECT string_agg(concat_ws('/', host_name, host_address, success_count,"
                " failure_count, success_rate, min_latency, max_latency, avg_latency), ' '"
                " ORDER BY id) FROM ping_results"),
            "core/192.0.2.7/3/1/75/0.5/2.5/1.5 core/192.0.2.7/0/1/0");
  EXPECT_EQ(sql("SELECT string_agg(verdict || ':' || reason || ':' || echoes_answered, ' ')"
                " FROM ping_history(7, to_timestamp(1800000000), to_timestamp(1800003600))"),
            "not measured:not running:0 failed:timeout:0 answered:lossy:3");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_history(7, to_timestamp(0), to_timestamp(1))"), "0");
}

TEST_F(StoreTest, ReadsALimitOfTheNewestLatestAndStatistics) {
  for (int i = 0; i < 10; ++i) {
    record("prober-1",
           batch_of({7}, kStartMs + i * 1000, i == 3 ? Verdict::kFailed : Verdict::kAnswered,
                    100 + static_cast<uint32_t>(i)));
    if (i == 5) chunk(7);
  }
  record("prober-1", batch_of({8}, kStartMs, Verdict::kNotMeasured));
  const auto newest = read(7, 0, 4'000'000'000'000, 3);
  ASSERT_EQ(newest.rows.size(), 3U);
  EXPECT_TRUE(newest.truncated);
  EXPECT_EQ(newest.rows.back().rtt_us, 109U);
  EXPECT_EQ(newest.echoes_of(newest.rows.back())[0].rtt_us, 109U);
  history::Reader reader(*connection_);
  auto latest = reader.latest(kStartMs - 60'000);
  ASSERT_TRUE(latest) << latest.error().message;
  EXPECT_EQ(latest->rows.size(), 2U);
  EXPECT_EQ(latest->rows.at(7).rtt_us, 109U);
  EXPECT_EQ(latest->names_and_echoes.echoes_of(latest->rows.at(7))[0].rtt_us, 109U);
  auto statistics = history::read_statistics(
      *connection_, {.from_ms = kStartMs - 60'000, .to_ms = kStartMs + 60'000});
  ASSERT_TRUE(statistics) << statistics.error().message;
  ASSERT_EQ(statistics->devices.size(), 2U);
  const Rollup& seven = statistics->devices[0].rollup;
  EXPECT_EQ(seven.verdicts, (std::array<uint64_t, 3>{9, 1, 0}));
  EXPECT_EQ(seven.rtt_min_us, 100U);
  EXPECT_EQ(seven.rtt_max_us, 109U);
  EXPECT_EQ(statistics->devices[1].rollup.verdicts, (std::array<uint64_t, 3>{0, 0, 1}));
}

// A model of what history must show, against whatever mixture of hot rows and chunks there is.
TEST_F(StoreTest, ShowsExactlyWhatWasRecordedWhateverTheMixture) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    SetUp();
    Random random(seed);
    std::map<std::pair<DeviceId, int64_t>, std::vector<std::pair<std::string, PingResults>>> model;
    for (int step = 0; step < 120; ++step) {
      Batch b = empty_batch();
      for (uint64_t n = 0; n < 1 + random.below(3); ++n) {
        const DeviceId device = 1 + random.below(3);
        const std::string producer = random.chance(500) ? "prober-1" : "prober-2";
        const auto at = kStartMs + static_cast<int64_t>(random.below(40)) * 1000;
        PingResults r = batch_of({device}, at, static_cast<Verdict>(random.below(3)),
                                 static_cast<uint32_t>(1 + random.below(4)));
        if (random.chance(200)) r.burst = {{0, 4, {9, 9}}};
        if (random.chance(300)) {
          r.notes = {{.kind = static_cast<NoteKind>(random.below(4)),
                      .rtt_us = static_cast<uint32_t>(random.below(3))}};
        }
        if (random.chance(200)) r.proofs = {{.elapsed_us = static_cast<uint32_t>(random.below(3))}};
        if (random.chance(200)) {
          r.strays = {{.device = device,
                       .due_ms = r.due_ms[0] - 1000 * static_cast<int64_t>(random.below(3)),
                       .rtt_us = static_cast<uint32_t>(random.below(99))}};
        }
        model[{device, r.due_ms[0]}].emplace_back(producer, r);
        add(b, producer, r);
      }
      ASSERT_FALSE(commit(b).conflict);
      if (random.chance(150)) chunk(1 + random.below(3));
      if (step % 40 != 39) continue;
      for (DeviceId device = 1; device <= 3; ++device) {
        const auto results = read(device);
        size_t slots = 0;
        for (const auto& [slot, given] : model) {
          if (slot.first != device) continue;
          std::vector<Claim> claims;
          for (const auto& [producer, r] : given) {
            claims.push_back({producer, 0, view_of(r, 0)});
          }
          const Claim& expected = claims[choose(claims)];
          ASSERT_LT(slots, results.rows.size());
          const history::Row& row = results.rows[slots++];
          ASSERT_EQ(row.due_ms, slot.second);
          EXPECT_EQ(row.verdict, expected.result.verdict);
          EXPECT_EQ(results.producer(row), expected.producer);
          EXPECT_EQ(row.burst_sent, expected.result.burst_sent);
          const history::Details* d = results.details_of(row);
          const history::Details none;
          EXPECT_EQ(
              (d == nullptr ? none : *d).notes,
              std::vector<EchoNote>(expected.result.notes.begin(), expected.result.notes.end()));
          EXPECT_EQ((d == nullptr ? none : *d).proofs,
                    std::vector<ProofResult>(expected.result.proofs.begin(),
                                             expected.result.proofs.end()));
          EXPECT_EQ(row.burst_answered, expected.result.burst_rtt_us.size());
          if (row.echo_count > 0) {
            EXPECT_EQ(results.echoes_of(row)[0].rtt_us, expected.result.rtt_us[0]);
          }
        }
        EXPECT_EQ(results.rows.size(), slots);
      }
    }
    // Exactly the same, and to SQL users, too, once everything is in chunks.
    for (DeviceId device = 1; device <= 3; ++device) {
      const std::string hot = told(read(device));
      chunk(device);
      EXPECT_EQ(told(read(device)), hot);
    }
    for (DeviceId device = 1; device <= 3; ++device) {
      std::string expected;
      const auto results = read(device);
      for (const history::Row& row : results.rows) {
        expected += std::to_string(row.due_ms) + results.producer(row) + to_string(row.verdict) +
                    to_string(row.reason) + std::to_string(row.echo_count + row.burst_sent) + ";";
      }
      EXPECT_EQ(sql("SELECT string_agg(due_ms || prober || verdict || reason || echoes_sent || ';',"
                    " '' ORDER BY due_ms) FROM ping_checks WHERE device_id = " +
                    std::to_string(device)),
                expected);
    }
  }
}

}  // namespace
}  // namespace gema::recorder
