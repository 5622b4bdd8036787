// Against a real PostgreSQL.
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "common/postgres/binary.h"
#include "common/postgres/connection.h"
#include "common/postgres/migrate.h"
#include "tests/support/postgres_server.h"

#if defined(__SANITIZE_ADDRESS__)
// libpqxx 6.4 forgets one PGresult when a connection breaks under a statement: about 2 KB each
// time.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libpqxx-6.4";
}
#endif

namespace gema::postgres {
namespace {

class Postgres : public ::testing::Test {
 protected:
  std::unique_ptr<Connection> connect() {
    Options options{.conninfo = server_.conninfo()};
    options.statement_timeout = std::chrono::milliseconds(5'000);
    options.lock_timeout = std::chrono::milliseconds(200);
    auto connection = Connection::open(options);
    EXPECT_TRUE(connection.has_value()) << (connection ? "" : connection.error().message);
    return connection ? std::move(*connection) : nullptr;
  }

  testing::PostgresServer server_;
};

TEST_F(Postgres, CommitsWhatSucceedsAndRollsBackWhatFails) {
  auto c = connect();
  ASSERT_TRUE(c->transact([](Transaction& tx) { tx.exec("CREATE TABLE t (a int PRIMARY KEY)"); }));
  ASSERT_TRUE(c->transact([](Transaction& tx) { tx.exec("INSERT INTO t VALUES ($1)", 1); }));
  auto refused = c->transact([](Transaction& tx) -> Result<void> {
    tx.exec("INSERT INTO t VALUES ($1)", 2);
    return Error{Errc::kBadInput, "changed my mind"};
  });
  EXPECT_EQ(refused.error().message, "changed my mind");
  auto doubled = c->transact([](Transaction& tx) {
    tx.exec("INSERT INTO t VALUES ($1)", 3);
    tx.exec("INSERT INTO t VALUES ($1)", 1);
  });
  EXPECT_EQ(doubled.error().code, Errc::kBadInput);
  EXPECT_NE(doubled.error().message.find("SQLSTATE 23505"), std::string::npos);
  auto count = c->transact(
      [](Transaction& tx) { return tx.exec("SELECT count(*) FROM t")[0][0].as<int64_t>(); });
  EXPECT_EQ(*count, 1);
}

TEST_F(Postgres, TellsWhatTheCallerMayDoNext) {
  auto c = connect();
  auto code = [&](const char* sql) {
    return c->transact([&](Transaction& tx) { tx.exec(sql); }).error().code;
  };
  EXPECT_EQ(code("SELECT * FROM nowhere"), Errc::kPermanent);
  EXPECT_EQ(code("SELECT 'x'::int"), Errc::kBadInput);
  EXPECT_EQ(code("SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)"), Errc::kRetryable);
  EXPECT_EQ(code("SET TRANSACTION READ ONLY; CREATE TABLE x (a int)"), Errc::kUnavailable);
  EXPECT_EQ(code("DO $$ BEGIN RAISE disk_full; END $$"), Errc::kUnavailable);
  EXPECT_EQ(code("DO $$ BEGIN RAISE serialization_failure; END $$"), Errc::kRetryable);
  EXPECT_EQ(code("DO $$ BEGIN RAISE program_limit_exceeded; END $$"), Errc::kBadInput);
  EXPECT_EQ(code("DO $$ BEGIN RAISE EXCEPTION 'not this one'; END $$"), Errc::kBadInput);
  EXPECT_TRUE(c->usable());
}

TEST_F(Postgres, WaitsForALockNoLongerThanTold) {
  auto a = connect();
  auto b = connect();
  ASSERT_TRUE(a->transact([](Transaction& tx) { tx.exec("CREATE TABLE t ()"); }));
  auto outer = a->transact([&](Transaction& tx) {
    tx.exec("LOCK TABLE t");
    auto inner = b->transact([](Transaction& other) { other.exec("LOCK TABLE t"); });
    EXPECT_EQ(inner.error().code, Errc::kRetryable);
  });
  EXPECT_TRUE(outer);
}

TEST_F(Postgres, NeverReconnectsSilently) {
  auto c = connect();
  server_.restart();
  const auto first = c->transact([](Transaction& tx) { tx.exec("SELECT 1"); });
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::kUnavailable) << first.error().message;
  EXPECT_FALSE(c->usable());
  const auto second = c->transact([](Transaction& tx) { tx.exec("SELECT 1"); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_TRUE(connect()->transact([](Transaction& tx) { tx.exec("SELECT 1"); }));
}

TEST_F(Postgres, IsInDoubtWhenTheConnectionBreaksDuringCommit) {
  auto c = connect();
  ASSERT_TRUE(c->transact([](Transaction& tx) {
    tx.exec(
        "CREATE TABLE t (a int);"
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION die()");
  }));
  auto broken = c->transact([](Transaction& tx) { tx.exec("INSERT INTO t VALUES (1)"); });
  ASSERT_FALSE(broken);
  EXPECT_TRUE(broken.error().code == Errc::kTimeout || broken.error().code == Errc::kUnavailable)
      << broken.error().message;
  EXPECT_FALSE(c->usable());
}

TEST_F(Postgres, SaysSoWhenTheServerIsAwayOrRefusesUs) {
  Options options{.host = server_.socket_dir(), .user = "nobody_we_know"};
  auto refused = Connection::open(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kPermanent) << refused.error().message;
  server_.stop();
  options.user = "gema";
  auto away = Connection::open(options);
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, Errc::kUnavailable) << away.error().message;
}

TEST_F(Postgres, ASnapshotSeesOneMomentAndWritesNothing) {
  auto reader = connect();
  auto writer = connect();
  ASSERT_TRUE(writer->transact([](Transaction& tx) { tx.exec("CREATE TABLE t (a int)"); }));
  const auto count = [](Transaction& tx) {
    return tx.exec("SELECT count(*) FROM t")[0][0].as<int64_t>();
  };
  const auto seen = reader->snapshot([&](Transaction& tx) {
    const int64_t before = count(tx);
    EXPECT_TRUE(
        writer->transact([](Transaction& other) { other.exec("INSERT INTO t VALUES (1)"); }));
    EXPECT_EQ(tx.exec("SHOW transaction_isolation")[0][0].as<std::string>(), "repeatable read");
    EXPECT_EQ(count(tx), before);
    return before;
  });
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(*seen, 0);
  EXPECT_EQ(*reader->snapshot(count), 1) << "the next one sees it";
  EXPECT_FALSE(reader->snapshot([](Transaction& tx) { tx.exec("INSERT INTO t VALUES (2)"); }));
  EXPECT_EQ(*reader->transact(count), 1);
}

TEST_F(Postgres, CopiesAndReadsBackInBinary) {
  auto c = connect();
  const std::vector<int32_t> numbers{1, -2, std::numeric_limits<int32_t>::min()};
  auto done = c->transact([&](Transaction& tx) {
    tx.exec(
        "CREATE TABLE t (a bigint, b integer, c smallint, d bytea, e integer[], f text,"
        " g timestamptz)");
    CopyIn copy(tx, "COPY t (a, b, c, d, e, f, g) FROM STDIN (FORMAT binary)");
    for (int64_t i = 0; i < 20'000; ++i) {
      copy.row(7);
      copy.int64(i - 5);
      copy.int32(-7);
      copy.int16(-8);
      copy.bytes(std::string_view("a\0b\xff", 4));
      copy.int32_array(i % 2 == 0 ? std::span<const int32_t>(numbers) : std::span<const int32_t>());
      copy.null();
      copy.timestamptz_us(1'700'000'000'123'456);
    }
    copy.finish();
    // Ordinary statements go on in the same transaction.
    EXPECT_EQ(tx.exec("SELECT count(*) FROM t")[0][0].as<int>(), 20'000);
    EXPECT_EQ(tx.exec("SELECT extract(epoch FROM min(g)) * 1000000 = 1700000000123456 FROM t")[0][0]
                  .as<bool>(),
              true);
  });
  ASSERT_TRUE(done) << done.error().message;
  auto read = c->snapshot([&](Transaction& tx) {
    Params params;
    params.int64(-4).int32(-7).int16(-8).bytes(std::string_view("a\0b\xff", 4));
    const BinaryResult r(
        tx,
        "SELECT a, b, c, d, e, f FROM t"
        " WHERE a <= $1 AND b = $2::int AND c = $3::smallint AND d = $4 ORDER BY a",
        params);
    ASSERT_EQ(r.rows(), 2);
    EXPECT_EQ(r.int64(0, 0), -5);
    EXPECT_EQ(r.int32(0, 1), -7);
    EXPECT_EQ(r.int16(0, 2), -8);
    EXPECT_EQ(r.bytes(0, 3), std::string_view("a\0b\xff", 4));
    std::vector<int32_t> out{9};
    EXPECT_TRUE(r.int32_array(0, 4, out));
    EXPECT_EQ(out, numbers);
    EXPECT_TRUE(r.int32_array(1, 4, out));
    EXPECT_TRUE(out.empty());
    EXPECT_TRUE(r.is_null(0, 5));
    const BinaryResult odd(
        tx, "SELECT '{{1,2},{3,4}}'::int[], '{1,NULL}'::int[], '{1}'::bigint[], '\\x07'::bytea",
        {});
    for (int column = 0; column < 4; ++column) {
      EXPECT_FALSE(odd.int32_array(0, column, out)) << column;
    }
  });
  ASSERT_TRUE(read) << read.error().message;
}

TEST_F(Postgres, AnswersAPipelineInTurn) {
  auto c = connect();
  const auto sums = c->snapshot([](Transaction& tx) {
    std::vector<int64_t> out;
    {
      Pipeline p(tx);
      p.add("LOCK TABLE pg_class IN ACCESS SHARE MODE", {});
      // Together more than a socket holds.
      p.add("SELECT g::bigint, repeat('x', 1000) FROM generate_series(1, 3000) g", {});
      p.add("SELECT $1::bigint + $2", Params().int64(40).int64(2));
      p.add("SELECT 7::bigint", {});
      p.send();
      EXPECT_EQ(p.next().rows(), 0);
      const BinaryResult many = p.next();
      EXPECT_EQ(many.rows(), 3000);
      EXPECT_EQ(many.bytes(2999, 1), std::string(1000, 'x'));
      out = {many.int64(2999, 0), p.next().int64(0, 0)};
      // The last answer is not asked for.
    }
    out.push_back(tx.exec("SELECT 9::bigint")[0][0].as<int64_t>());
    return out;
  });
  ASSERT_TRUE(sums) << sums.error().message;
  EXPECT_EQ(*sums, (std::vector<int64_t>{3000, 42, 9}));
}

TEST_F(Postgres, APipelineGoesOnWhileAnswersAreRead) {
  auto c = connect();
  const auto sum = c->snapshot([](Transaction& tx) {
    int64_t out = 0;
    {
      Pipeline p(tx);
      p.add("DECLARE numbers CURSOR FOR SELECT g::bigint FROM generate_series(1, 1000) g", {});
      p.add("FETCH 7 FROM numbers", {});
      p.send_and_go_on();
      p.next();
      for (bool more = true; more;) {
        const BinaryResult rows = p.next();
        more = rows.rows() == 7;
        p.add("FETCH 7 FROM numbers", {});
        p.send_and_go_on();
        for (int i = 0; i < rows.rows(); ++i) out += rows.int64(i, 0);
      }
      // The last answer is not asked for.
    }
    tx.exec("CLOSE numbers");
    return out;
  });
  ASSERT_TRUE(sum) << sum.error().message;
  EXPECT_EQ(*sum, 500'500);
}

TEST_F(Postgres, APipelineThatIsNotSentDoesNothing) {
  auto c = connect();
  ASSERT_TRUE(c->transact([](Transaction& tx) { tx.exec("CREATE TABLE t (a int)"); }));
  const auto done = c->transact([](Transaction& tx) {
    { const Pipeline p(tx); }
    tx.exec("INSERT INTO t VALUES (1)");
  });
  EXPECT_TRUE(done) << done.error().message;
  EXPECT_TRUE(c->usable());
}

TEST_F(Postgres, AFailureInAPipelineEndsTheTransactionNotTheConnection) {
  auto c = connect();
  for (const size_t failing : {0U, 1U, 2U}) {
    const auto failed = c->snapshot([&](Transaction& tx) {
      Pipeline p(tx);
      for (size_t i = 0; i < 3; ++i) {
        p.add(i == failing ? "SELECT 1 / (random() * 0)::integer" : "SELECT 1", {});
      }
      p.send();
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_LE(i, failing);
        p.next();
      }
    });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::kBadInput);
    EXPECT_NE(failed.error().message.find("SQLSTATE 22012"), std::string::npos);
    EXPECT_TRUE(c->usable());
    const auto next =
        c->snapshot([](Transaction& tx) { return tx.exec("SELECT 1")[0][0].as<int64_t>(); });
    ASSERT_TRUE(next) << next.error().message;
  }
}

TEST_F(Postgres, APipelineWhoseServerGoesAwayEndsTheConnection) {
  auto c = connect();
  const auto failed = c->snapshot([](Transaction& tx) {
    Pipeline p(tx);
    p.add("SELECT 1", {});
    p.add("SELECT pg_terminate_backend(pg_backend_pid())", {});
    p.add("SELECT 1", {});
    p.send();
    for (int i = 0; i < 3; ++i) p.next();
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::kUnavailable) << failed.error().message;
  EXPECT_FALSE(c->usable());
}

TEST_F(Postgres, RollsBackAFailedCopy) {
  auto c = connect();
  ASSERT_TRUE(c->transact([](Transaction& tx) { tx.exec("CREATE TABLE t (a int PRIMARY KEY)"); }));
  auto doubled = c->transact([](Transaction& tx) {
    CopyIn copy(tx, "COPY t (a) FROM STDIN (FORMAT binary)");
    for (int i = 0; i < 2; ++i) {
      copy.row(1);
      copy.int32(1);
    }
    copy.finish();
  });
  EXPECT_EQ(doubled.error().code, Errc::kBadInput) << doubled.error().message;
  auto given_up = c->transact([](Transaction& tx) -> Result<void> {
    CopyIn copy(tx, "COPY t (a) FROM STDIN (FORMAT binary)");
    copy.row(1);
    copy.int32(1);
    return Error{Errc::kBadInput, "stop"};
  });
  EXPECT_EQ(given_up.error().message, "stop");
  auto count = c->transact(
      [](Transaction& tx) { return tx.exec("SELECT count(*) FROM t")[0][0].as<int>(); });
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(*count, 0);
}

// --- migrations ------------------------------------------------------------------------------

constexpr Migration kTwo[] = {{1, "first", "CREATE TABLE one (a int); CREATE TABLE uno ()"},
                              {3, "third", "CREATE TABLE three (a int)"}};

TEST_F(Postgres, AppliesMigrationsOnceAndInOrder) {
  auto c = connect();
  EXPECT_EQ(*schema_version(*c, kTwo), 0);
  EXPECT_EQ(*migrate(*c, std::span(kTwo).first(1)), 1);
  EXPECT_EQ(*schema_version(*c, kTwo), 1);
  EXPECT_EQ(*migrate(*c, kTwo), 1);
  EXPECT_EQ(*migrate(*c, kTwo), 0);
  EXPECT_EQ(*schema_version(*c, kTwo), 3);
}

TEST_F(Postgres, AppliesMigrationsOnceWhenTwoProcessesStartTogether) {
  std::vector<std::thread> threads;
  std::atomic<int> applied{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Options options{.conninfo = server_.conninfo()};
      auto c = Connection::open(options);
      auto count = migrate(**c);
      ASSERT_TRUE(count) << count.error().message;
      applied += *count;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(applied, static_cast<int>(built_in_migrations().size()));
}

TEST_F(Postgres, LeavesNothingBehindOfAMigrationThatFails) {
  auto c = connect();
  const Migration broken[] = {{1, "broken", "CREATE TABLE one (a int); SELECT * FROM nowhere"}};
  EXPECT_FALSE(migrate(*c, broken));
  EXPECT_EQ(*migrate(*c, kTwo), 2);
}

TEST_F(Postgres, RefusesADatabaseOfANewerGema) {
  auto c = connect();
  ASSERT_TRUE(migrate(*c, kTwo));
  for (auto result :
       {migrate(*c, std::span(kTwo).first(1)), schema_version(*c, std::span(kTwo).first(1))}) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::kPermanent);
    EXPECT_NE(
        result.error().message.find("schema has version 3 (third), this program knows up to 1"),
        std::string::npos)
        << result.error().message;
  }
}

TEST_F(Postgres, RefusesAMigrationThatWasEditedAfterItWasApplied) {
  auto c = connect();
  ASSERT_TRUE(migrate(*c, kTwo));
  const Migration edited[] = {{1, "first", "CREATE TABLE one (a bigint)"}, kTwo[1]};
  auto result = migrate(*c, edited);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kPermanent);
  EXPECT_NE(result.error().message.find("0001_first"), std::string::npos);
}

TEST(Migrations, AreNumberedAndNamed) {
  int before = 0;
  for (const Migration& m : built_in_migrations()) {
    EXPECT_GT(m.version, before);
    EXPECT_NE(std::string(m.name), "");
    EXPECT_NE(std::string(m.sql), "");
    before = m.version;
  }
  EXPECT_EQ(newest_version(), before);
  EXPECT_GE(before, 2);
}

}  // namespace
}  // namespace gema::postgres
