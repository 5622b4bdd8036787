// What the tests of the program gema stand on: a real PostgreSQL with two devices, old files, and
// the program itself.
#pragma once

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
#include "common/history/outages.h"
#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/postgres/binary.h"
#include "common/runtime/clock.h"
#include "services/cli/io/import_store.h"
#include "services/cli/io/stage.h"
#include "tests/support/child_process.h"
#include "tests/support/database.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::cli {

using nlohmann::json;
using postgres::Connection;
using postgres::Transaction;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;

inline std::string read_all(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline void write_all(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// "2026-11-20 10:00:00.250000", UTC
inline std::string sqlite_time(int64_t ms) {
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

class CliTest : public testing::DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    add_devices();
    now_ms_ = unix_ms(runtime::read_clock().wall);
    day_ms_ = now_ms_ - now_ms_ % kDayMs - 3 * kDayMs;  // begins three days ago, at midnight
  }

  void fresh() {
    empty_schema();
    add_devices();
  }
  void add_devices() {
    add_device(1, "198.18.0.1", "gate");
    add_device(2, "198.18.0.2", "pump");
  }

  void add_device(int id, const std::string& address, const std::string& name) {
    sql("INSERT INTO devices (id, address, hostname, interval_ms, timeout_ms, echo_count,"
        " min_replies, source, created_at, updated_at) VALUES (" +
        std::to_string(id) + ",'" + address + "','" + name +
        "', 60000, 2000, 5, 1, 'file', now(), now())");
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
  int64_t now_ms_ = 0;
  int64_t day_ms_ = 0;
  std::string zone_ = "UTC";
  std::string out_, err_;
};

}  // namespace gema::cli
