// Outages of an imported past: told from what history holds, however it got there.
#include "services/cli/cli_fixture_for_test.h"

namespace gema::cli {
namespace {

struct ImportedPast : CliTest {
  // A file of one host, a check a minute from `first` on: "." answered, "x" failed, " " none.
  std::filesystem::path file(const std::string& name, const std::string& script, int64_t first = 0,
                             int64_t begin_ms = 0) {
    const auto path = dir_ / name;
    std::filesystem::remove(path);
    AceFile ace(path);
    for (size_t i = 0; i < script.size(); ++i) {
      const int64_t minute = first + static_cast<int64_t>(i);
      const bool answered = script[i] == '.';
      if (script[i] == ' ') continue;
      ace.add("198.18.0.1", (begin_ms == 0 ? day_ms_ : begin_ms) + minute * 60'000 + minute % 5,
              answered ? 5 : 0, answered ? 0 : 5);
    }
    return path;
  }
  void import(const std::filesystem::path& path, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"import", path});
    ASSERT_EQ(gema(more), 0) << out_ << err_;
  }
  // Each outage as the minutes it lasts from and to, and how it ended.
  std::string outages(int64_t begin_ms = 0) {
    std::string out;
    const int64_t zero_ms = begin_ms == 0 ? day_ms_ : begin_ms;
    history::OutageQuery query{.to_ms = now_ms_, .with_checks = false, .now_ms = now_ms_};
    auto got = history::read_outages(*connection_, query);
    EXPECT_TRUE(got);
    for (auto o = got->rows.rbegin(); o != got->rows.rend(); ++o) {
      const auto minute = [&](int64_t ms) { return std::to_string((ms - zero_ms) / 60'000); };
      out += (out.empty() ? "" : ", ") + minute(o->start_ms) + "-" +
             minute(o->end_ms.value_or(now_ms_)) +
             (o->end == history::OutageEnd::kAnswered ? "" : "?");
    }
    return out;
  }
};

TEST_F(ImportedPast, APartAfterTheWholeChangesNoOutage) {
  const std::string script = std::string(100, '.') + std::string(50, 'x') + std::string(100, '.') +
                             std::string(5, 'x') + std::string(100, '.');
  const auto whole = file("whole.db", script);
  import(whole);
  const std::string told = outages();
  EXPECT_EQ(told, "100-150, 250-255");
  const auto at = [&](int64_t minute) { return sqlite_time(day_ms_ + minute * 60'000) + "Z"; };
  // Parts that begin and end before, within and behind an outage, and within both.
  for (const auto& [from, to] : std::vector<std::pair<int, int>>{{0, 50},
                                                                 {50, 120},
                                                                 {110, 130},
                                                                 {100, 150},
                                                                 {120, 200},
                                                                 {120, 252},
                                                                 {149, 151},
                                                                 {252, 300},
                                                                 {160, 240},
                                                                 {300, 355}}) {
    SCOPED_TRACE(std::to_string(from) + "-" + std::to_string(to));
    import(whole, {"--from", at(from), "--to", at(to)});
    EXPECT_EQ(outages(), told);
    const json active = answer({"outages", "all", "--from", "10d", "--active"});
    EXPECT_TRUE(active.empty()) << active;
  }
}

TEST_F(ImportedPast, InPiecesItIsAsInOneFile) {
  const std::string script = std::string(30, '.') + std::string(40, 'x') + std::string(20, ' ') +
                             std::string(40, 'x') + std::string(30, '.') + "xx..xxx" +
                             std::string(30, '.') + std::string(9, 'x');
  for (const std::string down_after : {"1", "3"}) {
    SCOPED_TRACE("down after " + down_after);
    fresh();
    import(file("whole.db", script), {"--down-after", down_after});
    const std::string whole = outages();
    EXPECT_EQ(whole, down_after == "1" ? "30-130, 160-162, 164-167, 197-206?"
                                       : "30-130, 164-167, 197-206?");
    std::vector<std::pair<size_t, size_t>> pieces = {{0, 50},    {50, 75},   {75, 110}, {110, 161},
                                                     {161, 165}, {165, 166}, {166, 206}};
    Random random(7);
    for (int round = 0; round < 3; ++round) {
      fresh();
      for (size_t i = pieces.size(); i-- > 1 && round > 0;) {
        std::swap(pieces[i], pieces[random.below(i + 1)]);
      }
      std::string order;
      for (const auto& [from, to] : pieces) {
        order += " " + std::to_string(from);
        const std::string part = script.substr(from, to - from);
        if (part.find_first_not_of(' ') == std::string::npos) continue;
        // One interval for all pieces, so that the same checks are on the same slots.
        import(file("piece.db", part, static_cast<int64_t>(from)),
               {"--down-after", down_after, "--interval-s", "60"});
      }
      EXPECT_EQ(outages(), whole) << order;
    }
  }
}

TEST_F(ImportedPast, UnderAnotherNameTheSameChecksKeepTheirOutages) {
  const auto path =
      file("a.db", std::string(50, '.') + std::string(10, 'x') + std::string(50, '.'));
  import(path);
  EXPECT_EQ(outages(), "50-60");
  import(path, {"--producer", "import:second"});
  EXPECT_EQ(outages(), "50-60");
}

TEST_F(ImportedPast, ChecksThatCameWithoutOutagesGetThemLater) {
  const auto path =
      file("a.db", std::string(50, '.') + std::string(10, 'x') + std::string(50, '.'));
  import(path, {"--no-outages"});
  EXPECT_EQ(outages(), "");
  import(path);
  EXPECT_EQ(outages(), "50-60");
}

TEST_F(ImportedPast, OfSeveralLocationsADeviceIsDownWhereNoneReachesIt) {
  const std::string good(50, '.');
  // Here it is down twice, there once: in both at the same time only once.
  const auto here =
      file("here.db", good + std::string(20, 'x') + good + std::string(20, 'x') + good);
  import(here, {"--location", "here"});
  EXPECT_EQ(outages(), "50-70, 120-140");
  const auto there =
      file("there.db", good + good + std::string(20, '.') + std::string(40, 'x') + good);
  import(there, {"--location", "there"});
  EXPECT_EQ(outages(), "120-140");
  // In one file it comes to the same.
  ASSERT_EQ(gema({"export", "1", "--from", "10d", "-o", dir_ / "both.csv"}), 0) << err_;
  fresh();
  import(dir_ / "both.csv", {"--down-after", "1"});
  EXPECT_EQ(outages(), "120-140");
  const json row = answer({"outages", "gate", "--from", "10d"})[0];
  EXPECT_EQ(row["prober"], "import:ace");
  EXPECT_EQ(row["ended_by"], "answered again");
}

TEST_F(ImportedPast, PastRawRetentionAPartChangesNoOutageEither) {
  const int64_t old_ms = day_ms_ - 200 * kDayMs;
  std::string script(3 * 1'440 - 100, '.');
  script.replace(1'400, 100, std::string(100, 'x'));  // over midnight
  script.replace(3'000, 10, std::string(10, 'x'));
  script.replace(4'210, 10, std::string(10, 'x'));  // to the end
  const auto path = file("old.db", script, 0, old_ms);
  import(path);
  const std::string told = outages(old_ms);
  EXPECT_EQ(told, "1400-1500, 3000-3010, 4210-4220?");
  const std::string once = everything();
  import(path);
  EXPECT_EQ(everything(), once);
  for (int day = 0; day < 3; ++day) {
    SCOPED_TRACE(day);
    const auto at = [&](int n) { return sqlite_time(old_ms + n * kDayMs) + "Z"; };
    import(path, {"--from", at(day), "--to", at(day + 1)});
    EXPECT_EQ(outages(old_ms), told);
  }
  // What is refused, because its day is there already, says nothing of outages either.
  import(file("part.db", std::string(60, 'x'), 2'000, old_ms), {"--producer", "import:second"});
  EXPECT_NE(out_.find("left out"), std::string::npos) << out_;
  EXPECT_EQ(outages(old_ms), told);
}

TEST_F(ImportedPast, OfADayThatIsRefusedItsOutagesStay) {
  const std::string script = std::string(2'000, '.') + std::string(10, 'x') + std::string(900, '.');
  const auto path = file("a.db", script);
  import(path);
  EXPECT_EQ(outages(), "2000-2010");
  // As housekeeping of another retention would have left it.
  sql("TRUNCATE ping_packed, ping_rollup_minutes");
  import(path);
  EXPECT_NE(out_.find("what they were made of is gone"), std::string::npos) << out_;
  EXPECT_EQ(outages(), "2000-2010");
}

}  // namespace
}  // namespace gema::cli
