// The program gema against a real PostgreSQL: old files in, questions answered.
#include "services/cli/cli_fixture_for_test.h"
#include "services/cli/io/sources.h"

namespace gema::cli {
namespace {

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
  const auto from = [&](const std::string& prober, const std::string& location) {
    return R"({"at":"2026-01-01T00:00:00Z","address":"198.18.0.1","location":")" + location +
           R"(","prober":")" + prober +
           R"(","interval_ms":1000,"verdict":"answered","reason":"none","echoes":[1]})" + "\n";
  };
  refused(from("a\\u0000b", "x"), "prober = \"a");
  refused(from("a", std::string(65, 'x')), "must be text of 1 to 64 bytes");
  refused(
      "at,address,location,prober,interval_ms,verdict,reason,echoes\r\n"
      "2026-01-01T00:00:00Z,198.18.0.1,x,\xff,1000,answered,none,1\r\n",
      "line 2: prober = ");
  {
    const auto other = dir_ / "other.db";
    sqlite3* db = nullptr;
    sqlite3_open(other.c_str(), &db);
    sqlite3_exec(db, "CREATE TABLE ping_results (id INTEGER)", nullptr, nullptr, nullptr);
    sqlite3_close(db);
    EXPECT_EQ(gema({"import", other}), 2);
    EXPECT_NE(err_.find("no such column"), std::string::npos) << err_;
  }
  for (const auto& [option, value] : {std::pair<std::string, std::string>("--location", ""),
                                      {"--location", "a\tb"},
                                      {"--producer", "\xff"},
                                      {"--producer", std::string(65, 'x')},
                                      {"--interval-s", "nan"}}) {
    EXPECT_EQ(gema({"import", good, option, value}), 2) << option;
    EXPECT_EQ(err_.rfind("gema: " + option + " = ", 0), 0U) << err_;
    EXPECT_TRUE(nothing());
  }
  EXPECT_EQ(gema({"import", dir_ / "nowhere"}), 2);
  EXPECT_NE(err_.find("No such file"), std::string::npos) << err_;
  EXPECT_EQ(read_all(good), bytes);  // never written to
}

TEST_F(CliTest, TheNewestOfOneLocationAreFoundBehindThoseOfOthers) {
  std::string text = "at,address,location,prober,interval_ms,verdict,reason,echoes\r\n";
  const auto add = [&](int64_t at_ms, const char* location) {
    std::string at = sqlite_time(at_ms);
    at[10] = 'T';
    text += at + "Z,198.18.0.1," + location + ",p,60000,answered,none,5\r\n";
  };
  // Between them lie more than one look back.
  const int64_t begin = day_ms_ - 20 * kDayMs;
  for (int minute = 0; minute < 6; ++minute) add(begin + minute * 60'000, "far");
  for (int minute = 6; minute < 30; ++minute) add(day_ms_ + minute * 60'000, "near");
  write_all(dir_ / "two.csv", text);
  ASSERT_EQ(gema({"import", dir_ / "two.csv"}), 0) << err_;
  const auto ask = [&](const char* location, const char* limit) {
    const json rows =
        answer({"results", "gate", "--from", "40d", "--location", location, "--limit", limit});
    std::string out = std::to_string(rows.size());
    for (const json& row : rows) EXPECT_EQ(row["location"], location);
    for (const json& row : rows) out += " " + row["at"].get<std::string>().substr(14, 2);
    return out + (err_.find("there are more") == std::string::npos ? "" : " more");
  };
  EXPECT_EQ(ask("far", "2"), "2 04 05 more");
  EXPECT_EQ(ask("far", "6"), "6 00 01 02 03 04 05");
  EXPECT_EQ(ask("near", "1"), "1 29 more");
  EXPECT_EQ(ask("nowhere", "5"), "0");
  ASSERT_EQ(gema({"results", "gate", "--location", "nowhere"}), 0);
  EXPECT_EQ(err_, "gema: no results in this range from location nowhere\n");
}

// A percentile is the middle of a bin, which may lie beyond every sample in it.
TEST_F(CliTest, PercentilesLieBetweenTheLeastAndTheGreatest) {
  for (const int us : {3'500, 12'500, 1'040, 999}) {
    fresh();
    write_all(dir_ / "one.csv",
              "at,address,location,prober,interval_ms,verdict,reason,echoes\r\n"
              "2026-01-01T00:00:00Z,198.18.0.1,x,p,1000,answered,none," +
                  std::to_string(us) + "\r\n");
    ASSERT_EQ(gema({"import", dir_ / "one.csv"}), 0) << err_;
    const json row = answer({"series", "gate", "--from", "2026-01-01", "--to", "2026-01-02"}).at(0);
    for (const char* name : {"rtt_min_us", "rtt_p50_us", "rtt_p99_us", "rtt_max_us"}) {
      EXPECT_EQ(row[name], us) << name;
    }
  }
}

TEST_F(CliTest, WhatIsNoFileForImportIsSaidInOneLine) {
  using namespace std::string_literals;
  const auto path = dir_ / "some.thing";
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"\x1f\x8b\x08\0abc"s, "is compressed: unpack it first"},
           {"PK\x03\x04rest"s, "is compressed: unpack it first"},
           {"\xff\xfe{\0\"\0"s, "is UTF-16 text"},
           {"\xff\xd8\xff\xe0\0\x10JFIF\0"s, "is neither text nor a SQLite database"},
           {"\n \r\n\n", "is empty"},
           {" [{\"at\": 1}]\n", "is a JSON array"}}) {
    write_all(path, text);
    EXPECT_EQ(gema({"import", path}), 2);
    EXPECT_EQ(err_, "gema: " + path.string() + ": " + err_.substr(err_.rfind(": is ") + 2));
    EXPECT_NE(err_.find(why), std::string::npos) << err_;
  }
  // A header alone is a file without checks.
  write_all(path, "timestamp,ip_address,ping_success\n");
  EXPECT_EQ(gema({"import", path}), 0) << err_;
  EXPECT_EQ(out_, "Nothing to import: no checks.\n");
  EXPECT_EQ(gema({"export", "nobody", "gate", "198.18.0.77"}), 2);
  EXPECT_EQ(err_,
            "gema: device = nobody, 198.18.0.77: no device of the inventory has such an id, address"
            " or name\n");
  EXPECT_EQ(gema({"export", "all", "--from", "2001-01-01", "--to", "2001-02-01"}), 0);
  EXPECT_EQ(err_, "gema: history has no results of these devices in this range\n");
}

TEST_F(CliTest, AFileThatIsRewrittenWhileItIsReadIsRefused) {
  const std::string header = "timestamp,ip_address,ping_success,response_time_ms\n";
  const std::string line = "2026-01-01T00:00:00,198.18.0.1,True,1.5\n";
  std::string text = header;
  while (text.size() < 1'000'000) text += line;
  const auto path = dir_ / "daily.csv";
  const auto read_while = [&](const std::function<void()>& happens) {
    write_all(path, text);
    // So that what happens is not within the same tick of the file system's clock.
    const auto now = std::filesystem::last_write_time(path);
    std::filesystem::last_write_time(path, now - std::chrono::hours(1));
    uint64_t rows = 0;
    bool happened = false;
    const auto read = read_source(path, {.begin = [](SourceKind) {},
                                         .row = [&](SourceRow&, uint64_t) { ++rows; },
                                         .bad = [](uint64_t, const std::string&) {},
                                         .progress =
                                             [&](double) {
                                               if (!happened) happens();
                                               happened = true;
                                               return true;
                                             }});
    return read ? std::to_string(rows) : read.error().message;
  };
  const auto lines = [&](size_t bytes) {
    return std::to_string((bytes - header.size()) / line.size());
  };
  EXPECT_EQ(read_while([] {}), lines(text.size()));
  EXPECT_NE(read_while([&] { std::filesystem::resize_file(path, 1'000); }).find("was cut short"),
            std::string::npos);
  EXPECT_NE(read_while([&] {
              std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
              file.write("x", 1);
            }).find("was changed"),
            std::string::npos);
  // Old systems append; another file in its place is for the next time.
  EXPECT_EQ(read_while([&] { std::ofstream(path, std::ios::app) << line; }),
            lines(text.size() + line.size()));
  EXPECT_EQ(read_while([&] {
              write_all(dir_ / "new", header);
              std::filesystem::rename(dir_ / "new", path);
            }),
            lines(text.size()));
}

TEST_F(CliTest, KilledOrBrokenOffInTheMiddleItLeavesNothingBehind) {
  const auto file = ace_file(2, 3);
  auto holder = open();
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
  auto other = open();
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
