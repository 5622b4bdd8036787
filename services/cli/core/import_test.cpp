// Checks of old systems as results: trains, rows, runs, outages.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "common/base/random.h"
#include "common/domain/hour_merger.h"
#include "common/domain/packed_chunk.h"
#include "services/cli/core/check.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/outage_maker.h"
#include "services/cli/core/rows.h"
#include "services/cli/core/runs.h"

namespace gema::cli {
namespace {

constexpr int64_t kHour = 1'800'000'000'000;

// --- trains ----------------------------------------------------------------------------------

TEST(Train, HasExactlyTheNumbersOfTheRow) {
  Random random(3);
  for (int round = 0; round < 5'000; ++round) {
    const auto answered = static_cast<int64_t>(random.below(12));
    const auto failed = static_cast<int64_t>(random.below(12)) + (answered == 0 ? 1 : 0);
    std::vector<double> ms;
    for (int64_t i = 0; i < answered; ++i)
      ms.push_back(static_cast<double>(random.below(90'000)) / 1'000);
    TrainNumbers n{
        .answered = answered, .failed = failed, .min_ms = {}, .max_ms = {}, .mean_ms = {}};
    if (answered > 0) {
      n.min_ms = *std::min_element(ms.begin(), ms.end());
      n.max_ms = *std::max_element(ms.begin(), ms.end());
      n.mean_ms = std::accumulate(ms.begin(), ms.end(), 0.0) / static_cast<double>(answered);
    }
    Check check;
    const auto made = make_train(n, check);
    ASSERT_TRUE(made) << made.error().message;
    int64_t replies = 0;
    double sum = 0;
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t e = 0; e < check.outcomes.size(); ++e) {
      if (check.outcomes[e] != EchoOutcome::kReply) continue;
      ++replies;
      sum += check.rtt_us[e];
      least = std::min(least, check.rtt_us[e]);
      most = std::max(most, check.rtt_us[e]);
    }
    ASSERT_EQ(replies, answered);
    ASSERT_EQ(check.outcomes.size(), static_cast<size_t>(answered + failed));
    ASSERT_EQ(check.verdict, answered > 0 ? Verdict::kAnswered : Verdict::kFailed);
    if (answered == 0) continue;
    ASSERT_EQ(least, std::lround(*n.min_ms * 1'000)) << round;
    ASSERT_EQ(most, std::lround(*n.max_ms * 1'000)) << round;
    ASSERT_NEAR(sum / static_cast<double>(answered), *n.mean_ms * 1'000, 1.0) << round;
    ASSERT_TRUE(check_rules(check));
  }
}

TEST(Train, RefusesWhatCannotBe) {
  Check check;
  const auto refused = [&](TrainNumbers n) { return !make_train(n, check).has_value(); };
  EXPECT_TRUE(refused({.answered = 0, .failed = 0}));
  EXPECT_TRUE(refused({.answered = -1, .failed = 5}));
  EXPECT_TRUE(refused({.answered = 1, .failed = 1'000}));
  EXPECT_TRUE(refused({.answered = INT64_MAX, .failed = INT64_MAX}));
  EXPECT_TRUE(refused({.answered = 2, .failed = 0, .min_ms = 5, .max_ms = 4, .mean_ms = 4.5}));
  EXPECT_TRUE(refused({.answered = 2, .failed = 0, .min_ms = 1, .max_ms = 4, .mean_ms = 9}));
  EXPECT_TRUE(refused({.answered = 1, .failed = 0, .min_ms = -1, .max_ms = 1, .mean_ms = 1}));
  EXPECT_TRUE(refused({.answered = 1, .failed = 0, .min_ms = NAN, .max_ms = 1, .mean_ms = 1}));
  EXPECT_TRUE(refused({.answered = 1, .failed = 0, .min_ms = 1, .max_ms = INFINITY, .mean_ms = 1}));
}

TEST(Train, AnAnswerWithoutATimeIsAnAnswer) {
  Check check;
  ASSERT_TRUE(make_train({.answered = 5, .failed = 0}, check));
  EXPECT_EQ(check.verdict, Verdict::kAnswered);
  EXPECT_TRUE(check.outcomes.empty());
  std::string bytes;
  pack_check(check, bytes);
  PingResults out;
  std::vector<ResultText> texts;
  ASSERT_TRUE(append_packed(bytes, 1, kHour, 60'000, out, texts));
  EXPECT_EQ(out.verdict[0], Verdict::kAnswered);
  EXPECT_EQ(out.echo_begin[1], 0);
}

// --- rows ------------------------------------------------------------------------------------

Result<SourceRow> row(const std::vector<std::string>& header,
                      const std::vector<std::string>& cells) {
  const auto layout = CsvLayout::of(header);
  EXPECT_TRUE(layout);
  return layout->parse(cells);
}

const std::vector<std::string> kEleven = {
    "timestamp",     "device_id", "ip_address", "hostname", "ping_success", "response_time_ms",
    "error_message", "merk",      "os",         "kondisi",  "id_lokasi"};

TEST(PingRow, TakesElevenTwelveAndSevenColumns) {
  auto r = row(kEleven, {"2025-09-19T10:45:47.075895", "7", "192.0.2.7", "cam-7", "True", "12.5",
                         "", "Hik", "linux", "baik", "3"});
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->host.address, "192.0.2.7");
  EXPECT_EQ(r->host.id, 7);
  EXPECT_EQ(r->host.merk, "Hik");
  EXPECT_EQ(r->check.rtt_us, (std::vector<uint32_t>{12'500}));
  EXPECT_EQ(r->check.verdict, Verdict::kAnswered);
  r = row({"timestamp", "ip_address", "ping_success", "latency_ms"},
          {"2025-09-19 10:45:47", "192.0.2.7", "true", "0.25"});
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->check.rtt_us, (std::vector<uint32_t>{250}));
  r = row({"timestamp", "device_id", "ip_address", "hostname", "ping_success", "response_time_ms",
           "error_message"},
          {"2025-09-19T10:45:47", "7", "192.0.2.7", "'=x", "False", "", "Ping error: unreachable"});
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->host.name, "=x");
  EXPECT_EQ(r->check.reason, Reason::kUnreachable);
  r = row(kEleven, {"2025-09-19T10:45:47", "7", "192.0.2.7", "", "", "", "Not measured: paused", "",
                    "", "", ""});
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->check.verdict, Verdict::kNotMeasured);
  EXPECT_EQ(r->check.reason, Reason::kPaused);
}

TEST(PingRow, NamesColumnValueAndRule) {
  const auto why = [&](const char* time, const char* ip, const char* success, const char* ms) {
    const auto r = row(kEleven, {time, "7", ip, "", success, ms, "", "", "", "", ""});
    return r ? std::string("taken") : r.error().message;
  };
  EXPECT_EQ(
      why("2025-09-31T10:00:00", "1.1.1.1", "True", "1"),
      "timestamp = \"2025-09-31T10:00:00\": must be a time such as 2025-09-19T10:45:47.075895");
  EXPECT_EQ(why("2025-09-19T10:00:00", "", "True", "1"), "ip_address = \"\": must not be empty");
  EXPECT_EQ(why("2025-09-19T10:00:00", "1.1.1.1", "maybe", "1"),
            "ping_success = \"maybe\": must be True, False or empty");
  EXPECT_EQ(why("2025-09-19T10:00:00", "1.1.1.1", "True", "-3"),
            "response_time_ms = \"-3\": must be milliseconds, 0 to 1800000");
  EXPECT_EQ(why("2025-09-19T10:00:00", "1.1.1.1", "True", "nan"),
            "response_time_ms = \"nan\": must be milliseconds, 0 to 1800000");
  EXPECT_EQ(why("2025-09-19T10:00:00", "1.1.1.1", "True", "fast").substr(0, 25),
            "response_time_ms = \"fast\"");
}

TEST(CsvLayout, RefusesAFileOfAnotherKind) {
  EXPECT_FALSE(CsvLayout::of({"name", "address"}));
  EXPECT_FALSE(CsvLayout::of({}));
  const auto layout = CsvLayout::of({"\xef\xbb\xbftimestamp", "IP_Address", "ping_success"});
  ASSERT_TRUE(layout);
  EXPECT_FALSE(layout->parse({"2025-01-01", "1.1.1.1"}));
}

// --- runs ------------------------------------------------------------------------------------

TEST(Runs, ChecksStayWithinToleranceAndNoneIsDropped) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const auto step = static_cast<uint32_t>(1'000 + random.below(90'000));
    const int64_t tolerance = tolerance_of(step);
    std::vector<int64_t> times;
    for (int64_t at = kHour + static_cast<int64_t>(random.below(step));
         at < kHour + kChunkSpanMs;) {
      times.push_back(at);
      if (random.chance(20)) times.push_back(at);  // twice
      at += step + static_cast<int64_t>(random.below(step / 5)) - step / 20;
      if (random.chance(10)) at += 20 * int64_t{step};
    }
    std::vector<bool> seen(times.size());
    for (const cli::Run& run : place(times, kHour, step, tolerance)) {
      EXPECT_EQ(run.checks.front().slot, 0);
      EXPECT_EQ(run.start_ms, times[run.checks.front().check]) << seed;
      for (size_t i = 0; i < run.checks.size(); ++i) {
        const auto& [check, slot] = run.checks[i];
        const int64_t due = run.start_ms + int64_t{slot} * step;
        EXPECT_LE(std::abs(due - times[check]), tolerance) << seed;
        EXPECT_LT(due, kHour + kChunkSpanMs) << seed;
        if (i > 0) {
          EXPECT_GT(slot, run.checks[i - 1].slot) << seed;
        }
        EXPECT_FALSE(seen[check]);
        seen[check] = true;
      }
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<int64_t>(times.size()))
        << seed;
  }
}

TEST(Runs, TheIntervalIsTheMedianSpacing) {
  std::vector<int64_t> differences = {64'100, 64'103, 64'099, 3'600'000'000, 12};
  EXPECT_EQ(median_spacing(differences), 64'100);
  differences = {86'400'000, 86'400'000};
  EXPECT_EQ(median_spacing(differences), 0);
  differences = {};
  EXPECT_EQ(median_spacing(differences), 0);
}

Check random_check(Random& random) {
  Check c;
  switch (random.below(4)) {
    case 0:
      c.verdict = Verdict::kNotMeasured;
      c.reason = random.chance(500) ? Reason::kPaused : Reason::kNotRunning;
      if (c.reason == Reason::kPaused) c.text = "Siti";
      return c;
    case 1:
      c.verdict = Verdict::kFailed;
      c.reason = Reason::kTimeout;
      break;
    default:
      c.verdict = Verdict::kAnswered;
      c.reason = random.chance(300) ? Reason::kLossy : Reason::kNone;
  }
  for (uint64_t e = 1 + random.below(6); e > 0; --e) {
    const bool reply = c.verdict == Verdict::kAnswered && random.chance(800);
    c.outcomes.push_back(reply ? EchoOutcome::kReply : EchoOutcome::kTimeout);
    c.rtt_us.push_back(reply ? static_cast<uint32_t>(random.below(50'000)) : 0);
  }
  if (random.chance(200)) {
    c.burst_sent = 4;
    c.burst_rtt_us = {7, 9};
  }
  if (random.chance(200)) {
    EchoNote note{.echo = 0, .kind = NoteKind::kIcmpError, .icmp_type = 3, .icmp_code = 1};
    note.from = *parse_ip("198.18.0.1");
    c.notes = {note};
  }
  if (random.chance(100)) {
    c.strays = {{.echo = 0, .kind = NoteKind::kLate, .rtt_us = 4'000'000}};
  }
  return c;
}

TEST(Check, ComesBackFromItsBytes) {
  Random random(11);
  for (int round = 0; round < 3'000; ++round) {
    const Check check = random_check(random);
    std::string bytes;
    pack_check(check, bytes);
    PingResults out;
    std::vector<ResultText> texts;
    ASSERT_TRUE(append_packed(bytes, 5, kHour + round, 60'000, out, texts)) << round;
    Check back;
    const ResultView v = view_of(out, 0);
    back.verdict = v.verdict;
    back.reason = v.reason;
    back.outcomes.assign(v.outcomes.begin(), v.outcomes.end());
    back.rtt_us.assign(v.rtt_us.begin(), v.rtt_us.end());
    back.burst_sent = v.burst_sent;
    back.burst_rtt_us.assign(v.burst_rtt_us.begin(), v.burst_rtt_us.end());
    back.notes.assign(v.notes.begin(), v.notes.end());
    for (Stray s : out.strays) {
      EXPECT_EQ(s.due_ms, kHour + round);
      s.device = 0;
      s.due_ms = 0;
      back.strays.push_back(s);
    }
    if (!texts.empty()) back.text = texts[0].text;
    EXPECT_EQ(back, check) << round;
  }
}

TEST(Check, BytesOfSomebodyElseAreRefused) {
  PingResults out;
  std::vector<ResultText> texts;
  EXPECT_FALSE(append_packed("", 1, 0, 1'000, out, texts));
  EXPECT_FALSE(append_packed(std::string(8, '\0'), 1, 0, 1'000, out, texts));
  EXPECT_FALSE(append_packed(std::string(9, '\xff'), 1, 0, 1'000, out, texts));
}

TEST(Merging, RunsOfOneHourKeepTheirTimes) {
  // Two runs of one step and different phases: the rows must not move either.
  const std::map<int32_t, std::string> names = {{1, "default"}, {2, "import:ace"}};
  HourMerger merger(names);
  merger.begin(9, kHour);
  std::vector<int64_t> wanted;
  for (const int64_t start : {kHour + 1'234, kHour + 1'800'777}) {
    ChunkBuilder builder;
    builder.begin(9, start, 60'000, 1);
    for (uint32_t slot = 0; slot < 20; ++slot) {
      Check c;
      ASSERT_TRUE(make_train({.answered = 1, .failed = 0, .mean_ms = 1}, c));
      builder.add(c.view(), slot, {});
      wanted.push_back(start + int64_t{slot} * 60'000);
    }
    ASSERT_TRUE(merger.add({1, 2, 0}, builder.view()));
  }
  const CompactedHour hour = merger.take();
  EXPECT_EQ(hour.results, 40);
  std::vector<int64_t> got;
  for (const PackedRow& packed : hour.rows) {
    ChunkArrays arrays;
    ASSERT_TRUE(unpack_chunk(packed.packed, arrays));
    PingResults out;
    ASSERT_TRUE(append_chunk({.device = 9,
                              .start_ms = packed.start_ms,
                              .step_ms = packed.step_ms,
                              .echoes = arrays.echoes,
                              .samples = arrays.samples,
                              .extra = arrays.extra},
                             out));
    got.insert(got.end(), out.due_ms.begin(), out.due_ms.end());
  }
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got, wanted);
}

// --- outages ---------------------------------------------------------------------------------

OutageCheck outage_check(int64_t due_ms, char what, const char* location = "default") {
  return {.due_ms = due_ms,
          .interval_ms = 60'000,
          .verdict = what == '.'   ? Verdict::kAnswered
                     : what == 'x' ? Verdict::kFailed
                                   : Verdict::kNotMeasured,
          .reason = what == 'x' ? Reason::kTimeout : Reason::kNone,
          .location = location,
          .prober = "import:ace"};
}

std::vector<Transition> outages_of(const std::string& script, uint32_t down_after) {
  OutageMaker maker(7, down_after);
  std::vector<Transition> out;
  for (size_t i = 0; i < script.size(); ++i) {
    const auto check = outage_check(kHour + static_cast<int64_t>(i) * 60'000, script[i]);
    if (const auto t = maker.take(check)) out.push_back(*t);
  }
  return out;
}

TEST(Outages, BeginWithTheFirstFailureAndEndWithTheFirstAnswer) {
  const auto t = outages_of("..xx?x..", 1);
  ASSERT_EQ(t.size(), 3);
  EXPECT_EQ(t[0].reason, TransitionReason::kFirstAnswer);
  EXPECT_EQ(t[1].to, DeviceStatus::kDown);
  EXPECT_EQ(t[1].slot_ms, kHour + 2 * 60'000);
  EXPECT_EQ(t[1].state.first_timeout_ms, kHour + 2 * 60'000);
  EXPECT_EQ(t[1].state.consecutive_timeouts, 1);
  EXPECT_EQ(t[2].to, DeviceStatus::kUp);
  EXPECT_EQ(t[2].slot_ms, kHour + 6 * 60'000);
}

TEST(Outages, CountFailuresInARow) {
  const auto t = outages_of("xx.xxx.", 3);
  ASSERT_EQ(t.size(), 3);
  EXPECT_EQ(t[1].slot_ms, kHour + 5 * 60'000);
  EXPECT_EQ(t[1].state.first_timeout_ms, kHour + 3 * 60'000);
  EXPECT_EQ(t[1].state.consecutive_timeouts, 3);
}

TEST(Outages, OneThatIsOpenAtTheEndEndsThereNotKnownHow) {
  OutageMaker maker(7, 1);
  ASSERT_TRUE(maker.take(outage_check(kHour, 'x')));
  EXPECT_EQ(maker.end_ms(), kHour + 60'000);
  const auto end = maker.finish(maker.end_ms());
  ASSERT_TRUE(end);
  EXPECT_EQ(end->from, DeviceStatus::kDown);
  EXPECT_EQ(end->to, DeviceStatus::kNew);
  EXPECT_FALSE(maker.finish(kHour + 60'000));
}

TEST(Outages, GoOnFromWhatWasToldBefore) {
  const auto before = outages_of("..xx", 2);
  ASSERT_EQ(before.size(), 2);
  OutageMaker down(7, 2);
  down.resume(before[1].state);
  EXPECT_FALSE(down.take(outage_check(kHour + 240'000, 'x')));
  const auto up = down.take(outage_check(kHour + 300'000, '.'));
  ASSERT_TRUE(up);
  EXPECT_EQ(up->reason, TransitionReason::kAnsweredAgain);
  // Failures before that did not suffice by themselves count.
  OutageMaker counting(7, 3);
  counting.resume(before[0].state);
  counting.prime(outage_check(kHour + 60'000, '.'));
  counting.prime(outage_check(kHour + 120'000, 'x'));
  counting.prime(outage_check(kHour + 180'000, 'x'));
  const auto confirmed = counting.take(outage_check(kHour + 240'000, 'x'));
  ASSERT_TRUE(confirmed);
  EXPECT_EQ(confirmed->to, DeviceStatus::kDown);
  EXPECT_EQ(confirmed->state.first_timeout_ms, kHour + 120'000);
}

// The script of each location, its checks `apart_ms` after the other's.
std::vector<Transition> outages_of(const std::string& here, const std::string& there,
                                   int64_t apart_ms, uint32_t down_after) {
  std::vector<OutageCheck> checks;
  for (size_t i = 0; i < here.size(); ++i) {
    const int64_t due_ms = kHour + static_cast<int64_t>(i) * 60'000;
    checks.push_back(outage_check(due_ms, here[i], "here"));
    checks.push_back(outage_check(due_ms + apart_ms, there[i], "there"));
  }
  keep_one_of_each_slot(checks);
  OutageMaker maker(7, down_after);
  std::vector<Transition> out;
  for (const OutageCheck& check : checks) {
    if (const auto t = maker.take(check)) out.push_back(*t);
  }
  return out;
}

TEST(Outages, ADeviceThatOneLocationReachesIsNotDown) {
  for (const int64_t apart_ms : {0, 1, 25'000, 59'000}) {
    SCOPED_TRACE(apart_ms);
    // Both see the last outage, each alone one before.
    const auto t = outages_of("..xxx......xxxx..", "......xxx..xxxx..", apart_ms, 1);
    ASSERT_EQ(t.size(), 3);
    EXPECT_EQ(t[1].to, DeviceStatus::kDown);
    EXPECT_NEAR(static_cast<double>(t[1].slot_ms), kHour + 11 * 60'000, 60'000);
    EXPECT_EQ(t[2].to, DeviceStatus::kUp);
    EXPECT_EQ(t[2].slot_ms, kHour + 15 * 60'000);
    EXPECT_EQ(t[2].state.location, "here");
  }
  // What is not measured in one place says nothing there.
  EXPECT_EQ(outages_of("...??????...", "....xxxx....", 0, 1).size(), 3);
  // Of one slot one check counts.
  EXPECT_EQ(outages_of(".xx..", ".xx..", 0, 3).size(), 1);
}

TEST(Outages, TheSamePastGivesTheSameIdsAndOthersDiffer) {
  const auto a = outages_of(".x.x.", 1);
  const auto b = outages_of(".x.x.", 1);
  ASSERT_EQ(a.size(), b.size());
  std::set<TransitionId> ids;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, b[i].id);
    ids.insert(a[i].id);
  }
  EXPECT_EQ(ids.size(), a.size());
  EXPECT_LT(imported_counter(kHour), 0);
  EXPECT_LT(imported_counter(kHour), imported_counter(kHour + 1));
}

}  // namespace
}  // namespace gema::cli
