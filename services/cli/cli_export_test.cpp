// gema export against a real PostgreSQL: results out, and back.
#include "services/cli/cli_fixture_for_test.h"
#include "tests/support/told.h"

namespace gema::cli {
namespace {

using testing::told;

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
  auto holder = open();
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

// --- many devices ----------------------------------------------------------------------------

// `checks` of one device, a second apart.
void add_checks(Stage& stage, DeviceId device, int64_t from_ms, int checks) {
  const uint32_t source = stage.source({"default", "prober-1", false});
  for (int i = 0; i < checks; ++i) {
    stage.add(device, source,
              {.at_ms = from_ms + i * 1'000,
               .interval_ms = 1'000,
               .verdict = Verdict::kAnswered,
               .outcomes = {EchoOutcome::kReply},
               .rtt_us = {static_cast<uint32_t>(device * 1'000 + i % 7)}});
  }
}

struct ManyDevices : CliTest {
  // Devices 1 and 2 are there already.
  void add_devices_up_to(int last) {
    sql("INSERT INTO devices (id, address, hostname, interval_ms, timeout_ms, echo_count,"
        " min_replies, source, created_at, updated_at) SELECT n, 'host-' || n, '', 1000, 500, 1, 1,"
        " 'file', now(), now() FROM generate_series(3, " +
        std::to_string(last) + ") n");
  }
  void put(Stage& stage) {
    stage.close();
    const auto put =
        import_staged(*connection_, stage, {.outages = false}, runtime::read_clock().wall,
                      [](uint64_t, uint64_t) { return true; });
    ASSERT_TRUE(put) << put.error().message;
  }
  // Statements that gema sends, by the server's log.
  int statements_of(const std::vector<std::string>& words) {
    sql("ALTER ROLE CURRENT_USER SET log_statement = 'all'");
    const size_t before = server().log().size();
    EXPECT_EQ(gema(words), 0) << err_;
    const std::string log = server().log().substr(before);
    sql("ALTER ROLE CURRENT_USER RESET log_statement");
    int count = 0;
    for (const char* kind : {"LOG:  statement:", "LOG:  execute "}) {
      for (size_t at = log.find(kind); at != std::string::npos; at = log.find(kind, at + 1)) {
        ++count;
      }
    }
    return count;
  }
};

TEST_F(ManyDevices, TogetherAreAsEachByItself) {
  add_devices_up_to(40);
  Stage stage;
  const int64_t at_ms = day_ms_ + 7 * kHourMs;
  // Nothing; little; a whole piece of what is read together; too much for that; many stored rows.
  for (DeviceId device = 1; device <= 40; device += 2) {
    add_checks(stage, device, at_ms, static_cast<int>(device) * 3);
  }
  add_checks(stage, 8, at_ms, 50'000);
  add_checks(stage, 12, at_ms, 60'000);
  for (int hour = 0; hour < 60; ++hour) {
    for (int run = 0; run < 5; ++run) {
      add_checks(stage, 20, day_ms_ + hour * kHourMs + run * 700'123, 2);
    }
  }
  put(stage);
  std::string header, one_by_one;
  for (int device = 1; device <= 40; ++device) {
    ASSERT_EQ(gema({"export", std::to_string(device), "--from", "10d"}), 0) << err_;
    header = out_.substr(0, out_.find('\n') + 1);
    one_by_one += out_.substr(header.size());
  }
  EXPECT_EQ(std::count(one_by_one.begin(), one_by_one.end(), '\n'), 20 * 60 + 110'000 + 600);
  ASSERT_EQ(gema({"export", "all", "--from", "10d"}), 0) << err_;
  EXPECT_TRUE(out_ == header + one_by_one) << out_.size() << " " << one_by_one.size();
}

TEST_F(ManyDevices, WithoutResultsTakeNoQueryEach) {
  add_devices_up_to(5'000);
  Stage stage;
  for (const DeviceId device : {7, 4'990}) add_checks(stage, device, day_ms_, 10);
  put(stage);
  const int statements = statements_of({"export", "all", "--from", "10d", "--format", "ndjson"});
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 20);
  EXPECT_GT(statements, 10);
  EXPECT_LT(statements, 150) << statements;
}

// --- stored rows that do not decode ----------------------------------------------------------

TEST_F(CliTest, AnExportSaysWhichStoredRowsDoNotDecode) {
  ASSERT_EQ(gema({"import", ace_file(2, 1)}), 0) << err_;
  ASSERT_EQ(gema({"export", "all", "--from", "10d"}), 0) << err_;
  const auto whole = std::count(out_.begin(), out_.end(), '\n');
  const std::string hour = std::to_string(day_ms_ + 5 * kHourMs);
  // What the disk may do.
  const std::string held = sql(
      "WITH gone AS (UPDATE ping_packed SET packed = set_byte(packed, 0, 99) WHERE device_id = 1"
      " AND start_ms >= " +
      hour + " AND start_ms < " + hour +
      " + 3600000 RETURNING results)"
      " SELECT count(*) || ' ' || sum(results) FROM gone");
  ASSERT_EQ(held, "1 60");
  for (const std::string format : {"csv", "ndjson"}) {
    SCOPED_TRACE(format);
    const auto file = dir_ / ("damaged." + format);
    for (const std::vector<std::string>& words :
         std::vector<std::vector<std::string>>{{"all"}, {"1"}}) {
      std::vector<std::string> command = {"export", "--from", "10d", "--format", format};
      command.insert(command.end(), words.begin(), words.end());
      EXPECT_EQ(gema(command), 3);
      EXPECT_NE(err_.find("1 stored row does not decode"), std::string::npos) << err_;
      EXPECT_NE(err_.find("ping_packed device 1 20"), std::string::npos) << err_;
      // A line of its own between the hours before and after.
      const size_t at = out_.find("unreadable");
      ASSERT_NE(at, std::string::npos);
      const size_t line = out_.rfind('\n', at) + 1;
      EXPECT_NE(out_.substr(line, 60).find("T05:00:"), std::string::npos) << out_.substr(line, 60);
      EXPECT_NE(out_.substr(out_.rfind('\n', line - 2), 60).find("T04:59:"), std::string::npos);
      EXPECT_NE(out_.substr(out_.find('\n', at), 60).find("T06:00:"), std::string::npos);
    }
    EXPECT_EQ(gema({"export", "all", "--from", "10d", "--format", format, "-o", file}), 3);
    const std::string text = read_all(file);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'),
              whole - 60 + 1 - (format == "ndjson" ? 1 : 0));
    // What is whole may be imported elsewhere; that something is missing is said.
    fresh();
    EXPECT_EQ(gema({"import", file}), 0) << err_;
    EXPECT_NE(out_.find("1 lines that stand for results which were unreadable"), std::string::npos)
        << out_;
    EXPECT_EQ(results(1).rows.size(), 1'440 - 60);
    ASSERT_EQ(gema({"import", ace_file(2, 1)}), 0) << err_;
    sql("UPDATE ping_packed SET packed = set_byte(packed, 0, 99) WHERE device_id = 1 AND start_ms"
        " >= " +
        hour + " AND start_ms < " + hour + " + 3600000");
  }
  EXPECT_EQ(gema({"results", "all", "--from", "10d"}), 3);
  EXPECT_NE(err_.find("ping_packed device 1"), std::string::npos) << err_;
  // Many are counted, the first are named.
  sql("UPDATE ping_packed SET packed = ''");
  EXPECT_EQ(gema({"export", "all", "--from", "10d"}), 3);
  EXPECT_NE(err_.find("48 stored rows do not decode"), std::string::npos) << err_;
  EXPECT_NE(err_.find("and 28 more"), std::string::npos) << err_;
}

}  // namespace
}  // namespace gema::cli
