// The helpers themselves: what they promise to every integration test.
#include <gmock/gmock.h>
#include <libpq-fe.h>
#include <signal.h>

#include <fstream>
#include <memory>

#include "tests/support/child_process.h"
#include "tests/support/postgres_server.h"
#include "tests/support/redis_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::testing {
namespace {

std::string ask(PostgresServer& server, const std::string& sql) {
  PGconn* connection = PQconnectdb(server.conninfo().c_str());
  PGresult* result = PQexec(connection, sql.c_str());
  std::string answer = PQresultStatus(result) == PGRES_TUPLES_OK ? PQgetvalue(result, 0, 0)
                                                                 : PQerrorMessage(connection);
  PQclear(result);
  PQfinish(connection);
  return answer;
}

TEST(TempDir, IsGoneWithItsOwner) {
  std::filesystem::path path;
  {
    TempDir dir;
    path = dir.path();
    std::ofstream(dir / "file") << "x";
    EXPECT_TRUE(std::filesystem::exists(path / "file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ChildProcess, TellsHowItEnded) {
  ChildProcess fails({.command = {"sh", "-c", "exit 3"}, .log = {}, .environment = {}});
  EXPECT_EQ(fails.wait(), 3);
  ChildProcess killed({.command = {"sleep", "60"}, .log = {}, .environment = {}});
  killed.signal(SIGKILL);
  EXPECT_EQ(killed.wait(), 128 + SIGKILL);
  ChildProcess missing({.command = {"/no/such/program"}, .log = {}, .environment = {}});
  EXPECT_EQ(missing.wait(), 127);
}

TEST(ChildProcess, IsKilledWithAllItsDescendants) {
  TempDir dir;
  ChildProcess shell(
      {.command = {"sh", "-c",
                   "sleep 60 & echo $! > " + (dir / "pid").string() + "; mv " +
                       (dir / "pid").string() + " " + (dir / "child").string() + "; wait"},
       .log = {},
       .environment = {}});
  ASSERT_TRUE(wait_until([&] { return std::filesystem::exists(dir / "child"); }));
  pid_t grandchild = 0;
  std::ifstream(dir / "child") >> grandchild;
  ASSERT_TRUE(alive(grandchild));
  shell.kill_tree();
  EXPECT_FALSE(alive(grandchild));
}

TEST(PostgresServer, KeepsCommittedRowsOverKill9) {
  PostgresServer server;
  ask(server, "CREATE TABLE t (x int)");
  ask(server, "INSERT INTO t VALUES (42)");
  server.kill9();
  EXPECT_FALSE(server.running());
  server.start();
  EXPECT_EQ(ask(server, "SELECT x FROM t"), "42");
  server.stop();
  EXPECT_FALSE(server.running());
  server.restart();
  EXPECT_EQ(ask(server, "SELECT x FROM t"), "42");
}

TEST(PostgresServer, TakesSettings) {
  PostgresServer server({.fsync = true, .settings = {"max_connections=7"}});
  EXPECT_EQ(ask(server, "SHOW max_connections"), "7");
  EXPECT_EQ(ask(server, "SHOW fsync"), "on");
}

TEST(PostgresServer, SaysWhyItDoesNotStart) {
  try {
    PostgresServer server({.fsync = false, .settings = {"no_such_setting=1"}});
    FAIL() << "it started";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("no_such_setting"));
  }
}

TEST(RedisServer, StartsStopsAndComesBack) {
  RedisServer server;
  server.kill9();
  EXPECT_FALSE(server.running());
  server.restart();
  EXPECT_TRUE(server.running());
  server.stop();
  EXPECT_FALSE(server.running());
}

TEST(FreePort, IsAPort) {
  EXPECT_GT(free_port(), 1023);
}

}  // namespace
}  // namespace gema::testing
