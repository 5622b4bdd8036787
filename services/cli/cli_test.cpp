// The program gema against a real PostgreSQL: old files in, questions answered, results out.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/base/random.h"
#include "common/domain/local_iso.h"
#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "common/runtime/clock.h"
#include "services/cli/io/import_store.h"
#include "services/cli/io/stage.h"
#include "tests/support/child_process.h"
#include "tests/support/postgres_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::cli {
namespace {

using nlohmann::json;
using postgres::Connection;
using postgres::Transaction;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;

testing::PostgresServer& server() {
  static testing::PostgresServer instance;
  return instance;
}

std::string read_all(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_all(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// "2026-11-20 10:00:00.250000", UTC
std::string sqlite_time(int64_t ms) {
  std::string text = local_iso(ms * 1'000, [](int64_t) { return int64_t{0}; });
  text[10] = ' ';
  return text;
}

// A database as ace-connection-logger keeps it.
class AceFile {
 public:
  explicit AceFile(const std::filesystem::path& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    run("CREATE TABLE ping_results (id INTEGER PRIMARY KEY AUTOINCREMENT, host_name TEXT NOT NULL,"
        " host_address TEXT NOT NULL, timestamp DATETIME NOT NULL, success_count INTEGER NOT NULL,"
        " failure_count INTEGER NOT NULL, success_rate REAL NOT NULL, min_latency REAL,"
        " max_latency REAL, avg_latency REAL, UNIQUE(host_address, timestamp));"
        "CREATE TABLE outage_events (id INTEGER PRIMARY KEY, host_address TEXT); BEGIN");
  }
  ~AceFile() {
    run("COMMIT");
    sqlite3_close(db_);
  }
  void run(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sql << ": " << sqlite3_errmsg(db_);
  }
  void add(const std::string& address, int64_t ms, int answered, int failed, double least = 1,
           double mean = 2, double most = 4) {
    const std::string latencies =
        answered > 0
            ? std::to_string(least) + "," + std::to_string(most) + "," + std::to_string(mean)
            : "NULL,NULL,NULL";
    run("INSERT INTO ping_results (host_name, host_address, timestamp, success_count,"
        " failure_count, success_rate, min_latency, max_latency, avg_latency) VALUES ('host','" +
        address + "','" + sqlite_time(ms) + "'," + std::to_string(answered) + "," +
        std::to_string(failed) + ",0," + latencies + ")");
  }

 private:
  sqlite3* db_ = nullptr;
};

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    connection_ = std::move(*Connection::open({.conninfo = server().conninfo()}));
    fresh();
    now_ms_ = unix_ms(runtime::read_clock().wall);
    day_ms_ = now_ms_ - now_ms_ % kDayMs - 3 * kDayMs;  // begins three days ago, at midnight
  }

  void fresh() {
    sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    auto migrated = postgres::migrate(*connection_);
    ASSERT_TRUE(migrated) << migrated.error().message;
    add_device(1, "198.18.0.1", "gate");
    add_device(2, "198.18.0.2", "pump");
  }

  void add_device(int id, const std::string& address, const std::string& name) {
    sql("INSERT INTO devices (id, address, hostname, interval_ms, timeout_ms, echo_count,"
        " min_replies, source, created_at, updated_at) VALUES (" +
        std::to_string(id) + ",'" + address + "','" + name +
        "', 60000, 2000, 5, 1, 'file', now(), now())");
  }

  std::string sql(const std::string& statement) {
    auto result = connection_->transact([&](Transaction& tx) {
      const auto rows = tx.exec(statement);
      return rows.empty() || rows[0][0].is_null() ? std::string() : rows[0][0].as<std::string>();
    });
    EXPECT_TRUE(result) << statement << ": " << (result ? "" : result.error().message);
    return result ? *result : "";
  }

  testing::ChildProcess begin(const std::vector<std::string>& words) {
    std::vector<std::string> command = {
        "sh",        "-c",         "out=$1; err=$2; shift 2; exec \"$@\" >\"$out\" 2>\"$err\"",
        "sh",        dir_ / "out", dir_ / "err",
        GEMA_BINARY, "--data",     dir_.path()};
    command.insert(command.end(), words.begin(), words.end());
    return testing::ChildProcess({.command = command,
                                  .log = dir_ / "log",
                                  .environment = {"GEMA_POSTGRES__HOST=" + server().socket_dir(),
                                                  "GEMA_GENERAL__TIMEZONE=" + zone_}});
  }
  // The exit code; output in out_ and err_.
  int gema(const std::vector<std::string>& words) {
    auto child = begin(words);
    const auto code = child.wait(std::chrono::seconds(120));
    out_ = read_all(dir_ / "out");
    err_ = read_all(dir_ / "err");
    return code.value_or(-1);
  }
  json answer(std::vector<std::string> words) {
    words.insert(words.end(), {"--format", "json"});
    EXPECT_EQ(gema(words), 0) << err_;
    return json::parse(out_, nullptr, false);
  }

  // Everything that an import may touch.
  std::string everything() {
    return sql(
        "SELECT md5(concat((SELECT string_agg(p::text, '' ORDER BY device_id, start_ms, part) FROM"
        " ping_packed p), (SELECT string_agg(m::text, '' ORDER BY device_id, hour_ms, location_id)"
        " FROM ping_rollup_minutes m), (SELECT string_agg(h::text, '' ORDER BY device_id, day_ms,"
        " location_id) FROM ping_rollup_hours h), (SELECT string_agg(r::text, '' ORDER BY "
        "device_id,"
        " hour_ms, location_id) FROM ping_rollup_recent r), (SELECT string_agg(id::text ||"
        " counter::text || slot_at::text || state::text, '' ORDER BY device_id, counter, id) FROM"
        " transitions t), (SELECT string_agg(day_ms::text, '' ORDER BY 1) FROM ping_days)))");
  }
  bool nothing() {
    return sql("SELECT (SELECT count(*) FROM ping_packed) + (SELECT count(*) FROM"
               " ping_rollup_minutes) + (SELECT count(*) FROM ping_rollup_hours) + (SELECT count(*)"
               " FROM transitions) + (SELECT count(*) FROM ping_days) + (SELECT count(*) FROM"
               " history_leaves('ping_packed'))") == "0";
  }

  history::Results results(DeviceId device) {
    history::Reader reader(*connection_);
    auto got = reader.results(device, 0, now_ms_ + kDayMs, 100'000'000);
    EXPECT_TRUE(got);
    EXPECT_TRUE(reader.broken().empty());
    return *std::move(got);
  }

  // Three days of minutes, with an outage of ten checks on the second and echoes lost here and
  // there.
  std::filesystem::path ace_file(int hosts = 2, int64_t days = 3) {
    const auto path = dir_ / "connection_logs.db";
    std::filesystem::remove(path);
    AceFile file(path);
    for (int64_t minute = 0; minute < days * 1'440; ++minute) {
      for (int host = 1; host <= hosts; ++host) {
        const int64_t at = day_ms_ + minute * 60'000 + 1'234 * host + minute % 7 * 11;
        if (at >= now_ms_) continue;
        const bool down = host == 1 && minute >= 2'000 && minute < 2'010;
        if (down) {
          file.add("198.18.0.1", at, 0, 5);
        } else {
          file.add("198.18.0." + std::to_string(host), at, minute % 10 == 0 ? 4 : 5,
                   minute % 10 == 0 ? 1 : 0, 1, 2, 4);
        }
      }
    }
    return path;
  }

  testing::TempDir dir_;
  std::unique_ptr<Connection> connection_;
  int64_t now_ms_ = 0;
  int64_t day_ms_ = 0;
  std::string zone_ = "UTC";
  std::string out_, err_;
};

TEST_F(CliTest, TheOldPastShowsInEveryAnswer) {
  const auto file = ace_file();
  ASSERT_EQ(gema({"import", file}), 0) << out_ << err_;
  const history::Results got = results(1);
  ASSERT_EQ(got.rows.size(), 3 * 1'440);
  for (const history::Row& row : got.rows) {
    const int64_t minute = (row.due_ms - day_ms_) / 60'000;
    EXPECT_LE(std::abs(row.due_ms - (day_ms_ + minute * 60'000 + 1'234 + minute % 7 * 11)), 1'000);
    EXPECT_NEAR(row.interval_ms, 60'000, 15);
    EXPECT_EQ(got.producer(row), "import:ace");
    const auto echoes = got.echoes_of(row);
    ASSERT_EQ(echoes.size(), 5);
    if (minute >= 2'000 && minute < 2'010) {
      EXPECT_EQ(row.verdict, Verdict::kFailed);
      continue;
    }
    EXPECT_EQ(row.reason, minute % 10 == 0 ? Reason::kLossy : Reason::kNone);
    EXPECT_EQ(row.rtt_us, 2'000);
    EXPECT_EQ(echoes.front().rtt_us, 1'000);
  }

  const json outages = answer({"outages", "gate", "--from", "10d"});
  ASSERT_EQ(outages.size(), 1) << outages;
  EXPECT_EQ(outages[0]["ended_by"], "answered again");
  EXPECT_NEAR(outages[0]["duration_ms"].get<double>(), 600'000, 2'000);
  EXPECT_EQ(outages[0]["prober"], "import:ace");
  EXPECT_EQ(outages[0]["failed_checks"], 10);

  const json statistics = answer({"statistics", "all", "--from", "10d"});
  ASSERT_EQ(statistics.size(), 2) << statistics;
  EXPECT_EQ(statistics[0]["checks"], 3 * 1'440);
  EXPECT_EQ(statistics[0]["failed"], 10);
  EXPECT_EQ(statistics[0]["rtt_min_us"], 1'000);
  EXPECT_EQ(statistics[0]["rtt_max_us"], 4'000);
  EXPECT_EQ(statistics[1]["failed"], 0);

  const json availability = answer({"availability", "1", "--from", "10d", "--per", "day"});
  double down_ms = 0, up_ms = 0;
  for (const json& day : availability) {
    down_ms += day["down_ms"].get<double>();
    up_ms += day["up_ms"].get<double>();
  }
  EXPECT_NEAR(down_ms, 600'000, 1'000);
  EXPECT_NEAR(up_ms, (3 * 1'440 - 10) * 60'000.0, 120'000);

  const json series = answer({"series", "gate", "--from", "10d", "--points", "10"});
  uint64_t checks = 0;
  for (const json& point : series) checks += point["checks"].get<uint64_t>();
  EXPECT_EQ(checks, 3 * 1'440);
  EXPECT_EQ(answer({"results", "198.18.0.2", "--from", "10d", "--limit", "7"}).size(), 7);
  EXPECT_NE(err_.find("the newest 7"), std::string::npos);
  EXPECT_EQ(gema({"results", "gate", "--from", "10d", "--limit", "3"}), 0);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 4) << out_;
  EXPECT_EQ(out_.find('\x1b'), std::string::npos);
}

TEST_F(CliTest, ImportingTwiceChangesNothing) {
  const auto file = ace_file(2, 2);
  ASSERT_EQ(gema({"import", file}), 0) << err_;
  const std::string once = everything();
  const std::string rows = sql("SELECT string_agg(ctid::text, '' ORDER BY ctid) FROM ping_packed");
  ASSERT_EQ(gema({"import", file}), 0) << err_;
  EXPECT_NE(out_.find("nothing changed"), std::string::npos) << out_;
  EXPECT_EQ(everything(), once);
  EXPECT_EQ(sql("SELECT string_agg(ctid::text, '' ORDER BY ctid) FROM ping_packed"), rows);
}

TEST_F(CliTest, AFileThatHasGrownReplacesWhatItBroughtBefore) {
  // The old system went on with another interval, so the same checks are put on other slots.
  const auto path = dir_ / "grown.db";
  const auto make = [&](int64_t slow) {
    std::filesystem::remove(path);
    AceFile file(path);
    int64_t at = day_ms_ + 500;
    for (int64_t i = 0; i < 600; ++i, at += 60'000 + i % 5) {
      file.add("198.18.0.1", at, i % 100 < 3 ? 0 : 5, i % 100 < 3 ? 5 : 0);
    }
    for (int64_t i = 0; i < slow; ++i, at += 60'400) file.add("198.18.0.1", at, 5, 0);
  };
  make(0);
  ASSERT_EQ(gema({"import", path}), 0) << err_;
  EXPECT_EQ(results(1).rows.size(), 600);
  EXPECT_EQ(answer({"outages", "all", "--from", "10d"}).size(), 6);
  make(900);
  ASSERT_EQ(gema({"import", path}), 0) << err_;
  EXPECT_NE(out_.find("600 results of an earlier import replaced"), std::string::npos) << out_;
  EXPECT_EQ(results(1).rows.size(), 1'500);
  EXPECT_EQ(answer({"statistics", "1", "--from", "10d"})[0]["checks"], 1'500);
  EXPECT_EQ(answer({"outages", "all", "--from", "10d"}).size(), 6);
  // Under another name the very same checks are nothing new.
  ASSERT_EQ(gema({"import", path, "--producer", "import:second"}), 0) << err_;
  EXPECT_NE(out_.find("1,500 results left out"), std::string::npos) << out_;
  EXPECT_EQ(results(1).rows.size(), 1'500);
}

TEST_F(CliTest, HostsThatTheInventoryLacksAreAllNamedAndNothingIsImported) {
  const auto path = dir_ / "x.db";
  {
    AceFile file(path);
    file.add("198.18.0.1", day_ms_, 5, 0);
    file.add("203.0.113.9", day_ms_, 5, 0);
    file.add("=evil.example", day_ms_, 5, 0);
  }
  const auto devices = dir_ / "devices.csv";
  EXPECT_EQ(gema({"import", path, "--write-devices", devices}), 1);
  EXPECT_NE(err_.find("203.0.113.9"), std::string::npos) << err_;
  EXPECT_NE(err_.find("=evil.example"), std::string::npos) << err_;
  EXPECT_TRUE(nothing());
  EXPECT_EQ(
      read_all(devices),
      "ip_address,hostname,merk,os,kondisi\r\n203.0.113.9,host,,,\r\n'=evil.example,host,,,\r\n");
  ASSERT_EQ(gema({"import", path, "--skip-unknown"}), 0) << err_;
  EXPECT_NE(out_.find("2 rows of hosts"), std::string::npos) << out_;
  EXPECT_EQ(results(1).rows.size(), 1);
}

TEST_F(CliTest, BadLinesAreNamedAndRefuseTheImport) {
  const auto path = dir_ / "ping_results_20260101.csv";
  write_all(
      path,
      "timestamp,device_id,ip_address,hostname,ping_success,response_time_ms,error_message\r\n"
      "2026-01-01T10:00:00,1,198.18.0.1,gate,True,1.5,\r\n"
      "2026-01-01T10:00:05,1,198.18.0.1,gate,True,fast,\r\n"
      "2026-01-01T10:00:10,1,198.18.0.1,gate,True\r\n"
      "2099-01-01T10:00:10,1,198.18.0.1,gate,True,1.5,\r\n" +
          std::string("\0\0\0\n", 4) +
          "2026-01-01T10:00:15,1,198.18.0.1,gate,False,,\"No response (timeout)\"\r\n");
  EXPECT_EQ(gema({"import", path}), 1);
  EXPECT_NE(err_.find("line 3: response_time_ms = \"fast\": must be"), std::string::npos) << err_;
  EXPECT_NE(err_.find("line 4: 5 cells"), std::string::npos) << err_;
  EXPECT_NE(err_.find("line 5: 2099-01-01 10:00:10 is in the future"), std::string::npos) << err_;
  EXPECT_NE(err_.find("line 6: holds a zero byte"), std::string::npos) << err_;
  EXPECT_NE(err_.find("4 bad lines"), std::string::npos) << err_;
  EXPECT_TRUE(nothing());
  ASSERT_EQ(gema({"import", path, "--skip-bad", "--dry-run"}), 0) << err_;
  EXPECT_TRUE(nothing());
  ASSERT_EQ(gema({"import", path, "--skip-bad"}), 0) << err_;
}

TEST_F(CliTest, HostileFilesAreRefusedInOneLine) {
  const auto good = ace_file();
  const std::string bytes = read_all(good);
  const auto path = dir_ / "bad";
  const auto refused = [&](const std::string& text, const char* why) {
    write_all(path, text);
    EXPECT_NE(gema({"import", path}), 0) << why;
    EXPECT_NE(err_.find(why), std::string::npos) << err_;
    EXPECT_TRUE(nothing());
  };
  refused("", "is empty");
  refused("a,b,c\n1,2,3\n", "the first line names neither");
  refused(bytes.substr(0, bytes.size() / 2), "SQLite cannot read it");
  refused(bytes.substr(0, 16) + std::string(4096, '\x5a'), "SQLite cannot read it");
  std::string flipped = bytes;
  Random random(3);
  for (int i = 0; i < 2'000; ++i) {
    flipped[100 + random.below(flipped.size() - 100)] = static_cast<char>(random.below(256));
  }
  write_all(path, flipped);
  EXPECT_NE(gema({"import", path}), 0);
  EXPECT_TRUE(nothing());
  refused("{\"at\":1}\n{nonsense\n", "is no JSON object");
  {
    const auto other = dir_ / "other.db";
    sqlite3* db = nullptr;
    sqlite3_open(other.c_str(), &db);
    sqlite3_exec(db, "CREATE TABLE ping_results (id INTEGER)", nullptr, nullptr, nullptr);
    sqlite3_close(db);
    EXPECT_EQ(gema({"import", other}), 2);
    EXPECT_NE(err_.find("no such column"), std::string::npos) << err_;
  }
  EXPECT_EQ(gema({"import", dir_ / "nowhere"}), 2);
  EXPECT_NE(err_.find("No such file"), std::string::npos) << err_;
  EXPECT_EQ(read_all(good), bytes);  // never written to
}

TEST_F(CliTest, KilledOrBrokenOffInTheMiddleItLeavesNothingBehind) {
  const auto file = ace_file(2, 3);
  auto holder = std::move(*Connection::open({.conninfo = server().conninfo()}));
  for (const int signal : {SIGKILL, SIGINT}) {
    SCOPED_TRACE(signal);
    testing::ChildProcess child;
    // It stops where somebody holds the last table that it writes for the first device.
    auto held = holder->transact([&](Transaction& tx) {
      tx.exec("LOCK TABLE transitions IN ACCESS EXCLUSIVE MODE");
      child = begin({"import", file});
      EXPECT_TRUE(testing::wait_until(
          [&] { return sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; }));
      child.signal(signal);
      if (signal == SIGKILL) child.wait();
    });
    EXPECT_TRUE(held);
    EXPECT_EQ(child.wait(), 128 + signal) << read_all(dir_ / "err");
    EXPECT_TRUE(testing::wait_until(
        [&] { return sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"; }));
    EXPECT_TRUE(nothing());
  }
  EXPECT_NE(read_all(dir_ / "err").find("nothing was imported"), std::string::npos);
  ASSERT_EQ(gema({"import", file}), 0) << err_;
}

TEST_F(CliTest, TheCompactorWaitsAndAnImportWaitsForIt) {
  auto other = std::move(*Connection::open({.conninfo = server().conninfo()}));
  testing::ChildProcess child;
  auto held = other->transact([&](Transaction& tx) {
    tx.exec("SELECT pg_advisory_xact_lock(hashtext('gema compaction'))");
    child = begin({"import", ace_file(1, 1)});
    EXPECT_TRUE(testing::wait_until([&] {
      return sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") ==
             "1";
    }));
  });
  EXPECT_TRUE(held);
  EXPECT_EQ(child.wait(std::chrono::seconds(60)), 0);
  EXPECT_EQ(results(1).rows.size(), 1'440);
}

// --- export and back -------------------------------------------------------------------------

std::string told(const history::Results& results, bool details) {
  std::string out;
  for (const history::Row& row : results.rows) {
    out += std::to_string(row.due_ms) + "/" + std::to_string(row.interval_ms) +
           results.location(row) + results.producer(row) + to_string(row.verdict) +
           to_string(row.reason) + std::to_string(row.burst_sent);
    for (const history::Echo& e : results.echoes_of(row)) {
      out += std::string(" ") + to_string(e.outcome) + std::to_string(e.rtt_us);
    }
    for (const history::Echo& e : results.burst_answers_of(row))
      out += " b" + std::to_string(e.rtt_us);
    if (const history::Details* d = details ? results.details_of(row) : nullptr) {
      for (const EchoNote& n : d->notes) {
        out += " note" + std::to_string(n.echo) + to_string(n.kind) + std::to_string(n.icmp_code) +
               std::to_string(n.rtt_us) + std::to_string(n.count) + std::to_string(n.error) +
               to_text(n.from);
      }
      for (const ProofResult& p : d->proofs) {
        out +=
            " proof" + std::to_string(p.port) + to_string(p.outcome) + std::to_string(p.elapsed_us);
      }
      for (const Stray& s : d->strays)
        out += " stray" + std::to_string(s.echo) + std::to_string(s.rtt_us);
      if (!d->text.empty()) out += " by " + d->text;
    }
    out += "\n";
  }
  return out;
}

// Results as our own probers give them, of several locations, intervals and every kind of detail.
void fill(Stage& stage, Random& random, DeviceId device, int64_t day_ms) {
  for (const char* location : {"default", "north, \"quoted\""}) {
    const uint32_t source = stage.source({location, std::string("prober-") + location, false});
    uint32_t interval = 5'000;
    int64_t at = day_ms + 20 * kHourMs + static_cast<int64_t>(random.below(5'000));
    for (int i = 0; i < 4'000; ++i) {
      if (random.chance(3)) interval = random.chance(500) ? 5'000 : 1'000;
      at += interval;
      if (random.chance(20)) at += 100 * int64_t{interval};
      Check c{.at_ms = at, .interval_ms = interval};
      const uint64_t kind = random.below(10);
      if (kind == 0) {
        c.reason = random.chance(500) ? Reason::kPaused : Reason::kProberSuspect;
        if (c.reason == Reason::kPaused) c.text = "Siti \"S\", =x\n";
      } else {
        c.verdict = kind < 8 ? Verdict::kAnswered : Verdict::kFailed;
        c.reason = kind < 6 ? Reason::kNone : kind < 8 ? Reason::kLossy : Reason::kUnreachable;
        for (uint64_t e = 1 + random.below(4); e > 0; --e) {
          const bool reply = kind < 6 || (kind < 8 && random.chance(600));
          c.outcomes.push_back(reply       ? EchoOutcome::kReply
                               : kind == 9 ? EchoOutcome::kHostUnreachable
                                           : EchoOutcome::kTimeout);
          c.rtt_us.push_back(reply ? static_cast<uint32_t>(random.below(30'000)) : 0);
        }
        if (kind >= 6 && random.chance(700)) {
          c.burst_sent = 4;
          if (kind < 8) c.burst_rtt_us = {11, 12};
        }
        if (kind == 9) {
          EchoNote note{.echo = 0, .kind = NoteKind::kIcmpError, .icmp_type = 3, .icmp_code = 1};
          note.from = *parse_ip(random.chance(500) ? "198.18.0.9" : "2001:db8:2::9");
          c.notes = {note};
          c.proofs = {{.kind = ProofKind::kTcp,
                       .outcome = ProofOutcome::kReset,
                       .port = 443,
                       .elapsed_us = static_cast<uint32_t>(random.below(9'000))}};
        }
        if (random.chance(30))
          c.strays = {{.echo = 0, .kind = NoteKind::kLate, .rtt_us = 5'000'000}};
      }
      stage.add(device, source, c);
    }
  }
}

TEST_F(CliTest, WhatIsExportedComesBackEqual) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    fresh();
    Stage stage;
    Random random(seed);
    for (const DeviceId device : {1, 2}) fill(stage, random, device, day_ms_);
    stage.close();
    const auto put = import_staged(*connection_, stage, {}, runtime::read_clock().wall,
                                   [](uint64_t, uint64_t) { return true; });
    ASSERT_TRUE(put) << put.error().message;
    const std::string full = told(results(1), true) + told(results(2), true);
    const std::string plain = told(results(1), false) + told(results(2), false);
    const json statistics = answer({"statistics", "all", "--from", "10d"});
    ASSERT_EQ(results(1).rows.size(), 8'000);
    ASSERT_EQ(gema({"export", "all", "--from", "10d", "--output", dir_ / "all.csv"}), 0) << err_;
    ASSERT_EQ(gema({"export", "all", "--from", "10d", "--format", "ndjson"}), 0) << err_;
    write_all(dir_ / "all.ndjson", out_);
    // Elsewhere devices have other ids.
    for (const char* file : {"all.csv", "all.ndjson"}) {
      SCOPED_TRACE(file);
      fresh();
      ASSERT_EQ(gema({"import", dir_ / file}), 0) << out_ << err_;
      const bool ndjson = std::string(file) == "all.ndjson";
      EXPECT_EQ(told(results(1), ndjson) + told(results(2), ndjson), ndjson ? full : plain);
      EXPECT_EQ(answer({"statistics", "all", "--from", "10d"}), statistics);
      // And once more, into what is there.
      const std::string once = everything();
      ASSERT_EQ(gema({"import", dir_ / file}), 0) << out_ << err_;
      EXPECT_EQ(everything(), once);
    }
  }
}

TEST_F(CliTest, AnExportThatIsBrokenOffLeavesTheFileAsItWas) {
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  write_all(dir_ / "keep.csv", "mine");
  auto holder = std::move(*Connection::open({.conninfo = server().conninfo()}));
  auto held = holder->transact([&](Transaction& tx) -> Result<int> {
    tx.exec("LOCK TABLE history_names IN ACCESS EXCLUSIVE MODE");
    auto child = begin({"export", "all", "--from", "10d", "-o", dir_ / "keep.csv"});
    EXPECT_TRUE(testing::wait_until([&] {
      return sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gema' AND"
                 " wait_event_type = 'Lock'") == "1";
    }));
    child.signal(SIGKILL);
    child.wait();
    return Error{Errc::kPermanent, "rolled back"};
  });
  EXPECT_FALSE(held);
  EXPECT_EQ(read_all(dir_ / "keep.csv"), "mine");
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    EXPECT_EQ(entry.path().string().find(".part"), std::string::npos) << entry.path();
  }
  ASSERT_EQ(gema({"export", "gate", "--from", "10d", "-o", dir_ / "keep.csv"}), 0) << err_;
  const std::string text = read_all(dir_ / "keep.csv");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3 * 1'440 + 1);
}

// As root, /dev/null would become a file for everybody on the machine.
TEST_F(CliTest, AnExportIntoWhatIsNoFileIsWrittenIntoIt) {
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  const std::filesystem::path pipe = dir_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", dir_ / "link");
  for (const char* name : {"pipe", "link"}) {
    auto reader = testing::ChildProcess(
        {.command = {"sh", "-c", "cat \"$1\" >\"$2\"", "sh", pipe, dir_ / "read"},
         .log = dir_ / "log"});
    ASSERT_EQ(gema({"export", "gate", "--from", "10d", "-o", dir_ / name}), 0) << err_;
    EXPECT_EQ(reader.wait(), 0);
    const std::string text = read_all(dir_ / "read");
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3 * 1'440 + 1) << name;
    EXPECT_TRUE(std::filesystem::is_fifo(pipe)) << name;
  }
  EXPECT_TRUE(std::filesystem::is_symlink(dir_ / "link"));
  std::filesystem::create_symlink("/dev/full", dir_ / "full");
  EXPECT_EQ(gema({"export", "gate", "--from", "10d", "-o", dir_ / "full"}), 1);
  EXPECT_NE(err_.find("full: cannot be written: No space left"), std::string::npos) << err_;
  EXPECT_TRUE(std::filesystem::is_symlink(dir_ / "full"));
}

// --- the edges of what is kept ---------------------------------------------------------------

TEST_F(CliTest, PastRawRetentionOnlyRollupsAreKeptAndStayRight) {
  const auto path = dir_ / "old.db";
  const int64_t old_ms = day_ms_ - 200 * kDayMs;
  {
    AceFile file(path);
    for (int64_t minute = 0; minute < 1'440; ++minute)
      file.add("198.18.0.1", old_ms + minute * 60'000, 5, 0);
  }
  ASSERT_EQ(gema({"import", path}), 0) << err_;
  EXPECT_NE(out_.find("1,440 results past raw retention"), std::string::npos) << out_;
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), "0");
  EXPECT_EQ(answer({"statistics", "1", "--from", "300d"})[0]["checks"], 1'440);
  const std::string once = everything();
  ASSERT_EQ(gema({"import", path}), 0) << err_;
  EXPECT_EQ(everything(), once);
  // Of the same day somebody else knows other checks: rollups of it cannot be taken apart.
  const auto second = dir_ / "second.db";
  {
    AceFile file(second);
    for (int64_t minute = 0; minute < 10; ++minute) {
      file.add("198.18.0.1", old_ms + minute * 60'000 + 30'000, 0, 5);
    }
  }
  ASSERT_EQ(gema({"import", second, "--producer", "import:second", "--no-outages"}), 0) << err_;
  EXPECT_NE(out_.find("10 results of 1 days of devices left out"), std::string::npos) << out_;
  EXPECT_EQ(everything(), once);
}

TEST_F(CliTest, ADayWhoseMinutesAreGoneIsNeverBuiltFromAPart) {
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  const std::string hours =
      sql("SELECT md5(string_agg(h::text, '' ORDER BY h::text)) FROM"
          " ping_rollup_hours h");
  // As housekeeping of another retention would have left it.
  sql("TRUNCATE ping_packed, ping_rollup_minutes");
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  EXPECT_NE(out_.find("what they were made of is gone"), std::string::npos) << out_;
  EXPECT_EQ(sql("SELECT md5(string_agg(h::text, '' ORDER BY h::text)) FROM ping_rollup_hours h"),
            hours);
}

TEST_F(CliTest, LiveTransitionsAreNotTouchedAndEndTheImportedPast) {
  const int64_t live_ms = day_ms_ + kDayMs;
  sql("INSERT INTO transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
      " decided_at, state) VALUES ('00000000-0000-5000-8000-000000000001', 1, 1, 0, 1, 1,"
      " to_timestamp(" +
      std::to_string(live_ms / 1'000) + "), now(), '')");
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  EXPECT_EQ(sql("SELECT count(*) FROM transitions WHERE device_id = 1 AND counter >= 0"), "1");
  // The outage at minute 2,000 is after our own tracker began.
  EXPECT_EQ(sql("SELECT count(*) FROM transitions WHERE device_id = 1 AND to_status = 2"), "0");
  EXPECT_EQ(sql("SELECT count(*) FROM transitions WHERE device_id = 1 AND counter < 0"), "1");
}

TEST_F(CliTest, LocalTimesAreThoseOfTheZoneGiven) {
  const auto path = dir_ / "z.db";
  {
    AceFile file(path);
    file.add("198.18.0.1", day_ms_ + 12 * kHourMs, 5, 0);
  }
  ASSERT_EQ(gema({"import", path, "--time-zone", "Asia/Jakarta"}), 0) << err_;
  EXPECT_EQ(results(1).rows.at(0).due_ms, day_ms_ + 5 * kHourMs);
  EXPECT_EQ(gema({"import", path, "--time-zone", "Mars/Olympus"}), 2);
  EXPECT_NE(err_.find("no such time zone"), std::string::npos) << err_;
}

TEST_F(CliTest, WhatIsWrongIsSaidOnceWithExitCodeTwo) {
  const auto wrong = [&](const std::vector<std::string>& words, const char* why) {
    EXPECT_EQ(gema(words), 2) << why;
    EXPECT_NE((err_ + out_).find(why), std::string::npos) << err_ << out_;
  };
  wrong({"results", "nobody"}, "device = nobody: no device of the inventory");
  wrong({"results", "gate", "--from", "soon"}, "--from = \"soon\" is no instant");
  for (const char* name : {"results", "export", "availability"}) {
    wrong({name, "gate", "--from", "1h", "--to", "2h"},
          "--from 1h --to 2h: the range must begin before it ends");
    wrong({name, "gate", "--from", "1h", "--to", "1h"}, "the range must begin before it ends");
    wrong({name, "gate", "--from", "2400-01-01", "--to", "2401-01-01"},
          "history holds the years 1970 to 2261");
    EXPECT_EQ(gema({name, "gate", "--from", "0001-01-01", "--to", "9999-01-01"}), 0) << err_;
  }
  wrong({"series", "gate", "--points", "0"}, "--points");
  wrong({"results", "gate", "--format", "xml"}, "--format");
  wrong({"cleanup"}, "--older-than-days");
  wrong({"cleanup", "--older-than-days", "0"}, "--older-than-days");
  wrong({"availability", "gate", "--from", "5000d", "--per", "hour"}, "periods");
  wrong({"nonsense"}, "nonsense: is no command");
  wrong({}, "subcommand");
  EXPECT_EQ(gema({"results", "type=router"}), 2);
  EXPECT_EQ(gema({"--help"}), 0);
  EXPECT_NE(out_.find("gema statistics all"), std::string::npos);
}

TEST_F(CliTest, WithoutPostgresItSaysWhatToDo) {
  auto child = testing::ChildProcess(
      {.command = {GEMA_BINARY, "--data", dir_.path(), "results", "all"}, .log = dir_ / "away"});
  EXPECT_EQ(child.wait(), 1);
  EXPECT_NE(read_all(dir_ / "away").find("deploy/local/up --data"), std::string::npos);
}

TEST_F(CliTest, CleanupDropsOldDaysAndSaysWhichWouldGo) {
  ASSERT_EQ(gema({"import", ace_file(2, 3)}), 0) << err_;
  ASSERT_EQ(gema({"cleanup", "--older-than-days", "1", "--dry-run"}), 0) << err_;
  EXPECT_NE(out_.find("Would drop"), std::string::npos) << out_;
  EXPECT_NE(sql("SELECT count(*) FROM ping_packed"), "0");
  ASSERT_EQ(gema({"cleanup", "--older-than-days", "1"}), 0) << err_;
  EXPECT_NE(out_.find("ping_packed"), std::string::npos) << out_;
  EXPECT_EQ(answer({"statistics", "1", "--from", "10d"})[0]["checks"], 3 * 1'440);  // rollups stay
}

}  // namespace
}  // namespace gema::cli
