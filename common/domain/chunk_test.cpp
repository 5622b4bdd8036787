#include "common/domain/chunk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "common/base/random.h"

namespace gema {
namespace {

// Appends one result at slot `due_ms` to `r`.
void add(PingResults& r, int64_t due_ms, Verdict verdict, Reason reason,
         const std::vector<EchoOutcome>& outcomes, const std::vector<uint32_t>& rtt_us,
         const std::vector<BurstResult>& burst = {}) {
  r.device.push_back(42);
  r.interval_ms.push_back(1000);
  r.due_ms.push_back(due_ms);
  r.verdict.push_back(verdict);
  r.reason.push_back(reason);
  r.echo_outcome.insert(r.echo_outcome.end(), outcomes.begin(), outcomes.end());
  r.echo_rtt_us.insert(r.echo_rtt_us.end(), rtt_us.begin(), rtt_us.end());
  r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
  for (BurstResult b : burst) {
    b.index = static_cast<uint32_t>(r.size() - 1);
    r.burst.push_back(b);
  }
}

struct Arrays {
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
};

Arrays pack(const PingResults& r, uint32_t echoes) {
  Arrays a;
  size_t burst = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    append_sample(view_of(r, i, burst), static_cast<uint32_t>(i), echoes, a.samples, a.extra);
  }
  return a;
}

PingResults unpack(const Arrays& a, uint32_t echoes, int64_t start_ms = 1000) {
  PingResults out;
  EXPECT_TRUE(append_chunk({.device = 42,
                            .start_ms = start_ms,
                            .step_ms = 1000,
                            .echoes = echoes,
                            .samples = a.samples,
                            .extra = a.extra},
                           out));
  return out;
}

using enum EchoOutcome;

TEST(Chunk, CostsOneNumberForEachPlainResult) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kNone, {kReply}, {350});
  add(r, 2000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0});
  add(r, 3000, Verdict::kFailed, Reason::kUnreachable, {EchoOutcome::kUnreachable}, {0});
  add(r, 4000, Verdict::kNotMeasured, Reason::kNotRunning, {}, {});
  const Arrays a = pack(r, 1);
  EXPECT_EQ(a.samples, (std::vector<int32_t>{350, -1, -2, -216}));
  EXPECT_TRUE(a.extra.empty());
  EXPECT_EQ(unpack(a, 1), r);
}

TEST(Chunk, KeepsBurstsAndVerdictsThatTheEchoesDoNotTell) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kLossy, {EchoOutcome::kTimeout}, {0},
      {{0, 4, {900, 800}}});
  add(r, 2000, Verdict::kNotMeasured, Reason::kProberSuspect, {EchoOutcome::kTimeout}, {0});
  add(r, 3000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0}, {{0, 4, {}}});
  add(r, 4000, Verdict::kAnswered, Reason::kNone, {kReply}, {5});
  const Arrays a = pack(r, 1);
  EXPECT_EQ(a.extra.size(), 6U + 4U + 4U);
  EXPECT_EQ(unpack(a, 1), r);
}

TEST(Chunk, KeepsSeveralEchoesAndChecksWithFewerOfThem) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kNone, {kReply, kReply, kReply}, {1, 2, 3});
  add(r, 2000, Verdict::kAnswered, Reason::kLossy, {kReply, EchoOutcome::kTimeout}, {7, 0});
  add(r, 3000, Verdict::kFailed, Reason::kTimeout, {kReply, EchoOutcome::kTimeout, kReply},
      {7, 0, 9});  // min_replies was 3
  add(r, 4000, Verdict::kNotMeasured, Reason::kPaused, {}, {});
  add(r, 5000, Verdict::kNotMeasured, Reason::kSendError, {EchoOutcome::kSendError}, {0});
  EXPECT_EQ(unpack(pack(r, 3), 3), r);
}

TEST(Chunk, LeavesOutSlotsWithoutAResult) {
  Arrays a{{10, kNoResult, 30}, {}};
  const PingResults out = unpack(a, 1);
  EXPECT_EQ(out.due_ms, (std::vector<int64_t>{1000, 3000}));
}

TEST(Chunk, GivesBackRandomResultsExactly) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(seed);
  Random random(seed);
  for (int round = 0; round < 2000; ++round) {
    PingResults r;
    const uint32_t echoes = 1 + static_cast<uint32_t>(random.below(4));
    for (size_t i = 0; i < 1 + random.below(20); ++i) {
      std::vector<EchoOutcome> outcomes;
      std::vector<uint32_t> rtts;
      for (uint64_t e = 0; e < random.below(echoes + 1); ++e) {
        const auto outcome = static_cast<uint32_t>(random.below(kEchoOutcomeMax + 1));
        outcomes.push_back(is_echo_outcome(outcome) ? static_cast<EchoOutcome>(outcome) : kReply);
        rtts.push_back(outcomes.back() == kReply ? static_cast<uint32_t>(random.below(1 << 30))
                                                 : 0);
      }
      std::vector<BurstResult> burst;
      if (random.chance(200)) burst = {{0, 4, std::vector<uint32_t>(random.below(5), 77)}};
      const auto reason =
          static_cast<Reason>(random.chance(500) ? random.below(5) : 16 + random.below(9));
      add(r, 1000 + static_cast<int64_t>(i) * 1000, static_cast<Verdict>(random.below(3)), reason,
          outcomes, rtts, burst);
    }
    ASSERT_EQ(unpack(pack(r, echoes), echoes), r) << "round " << round;
  }
}

TEST(Chunk, RefusesArraysThatBreakTheRules) {
  PingResults out;
  const std::vector<int32_t> good{1, 2, 3};
  const std::vector<std::vector<int32_t>> bad_samples{{-50}, {1, 2, -300}, {-11}};
  for (const auto& samples : bad_samples) {
    EXPECT_FALSE(append_chunk({.step_ms = 1000, .samples = samples}, out));
  }
  const std::vector<std::vector<int32_t>> bad_extra{
      {0}, {0, 0, 4, 9}, {9, 0, 0, 0}, {0, 3 << 8, 0, 0}, {0, 0, -1, 0}, {1, 0, 0, 0, 0, 0, 0, 0}};
  for (const auto& extra : bad_extra) {
    EXPECT_FALSE(append_chunk({.step_ms = 1000, .samples = good, .extra = extra}, out));
  }
  EXPECT_FALSE(append_chunk({.step_ms = 1000, .echoes = 2, .samples = good}, out));
  EXPECT_FALSE(append_chunk({.step_ms = 0, .samples = good}, out));
  EXPECT_EQ(out.echo_outcome.size(), out.echo_begin.back());
  EXPECT_EQ(out.device.size() + 1, out.echo_begin.size());
}

// --- which of several results counts --------------------------------------------------------

const std::vector<EchoOutcome> kOneReply{kReply};
const std::vector<uint32_t> kRtt5{5};
const std::vector<uint32_t> kRtt6{6};
const ResultView kAnswered5{.verdict = Verdict::kAnswered, .outcomes = kOneReply, .rtt_us = kRtt5};
const ResultView kAnswered6{.verdict = Verdict::kAnswered, .outcomes = kOneReply, .rtt_us = kRtt6};
const ResultView kFailed{.verdict = Verdict::kFailed, .reason = Reason::kTimeout};
const ResultView kAway{.verdict = Verdict::kNotMeasured, .reason = Reason::kNotRunning};

size_t chosen(std::vector<Claim> claims) {
  return choose(claims);
}

TEST(Conflict, MeasuredBeatsNotMeasured) {
  EXPECT_EQ(chosen({{"a", 0, kAway}, {"b", 0, kFailed}}), 1U);
}
TEST(Conflict, AnsweredBeatsFailed) {
  EXPECT_EQ(chosen({{"a", 0, kFailed}, {"b", 0, kAnswered6}}), 1U);
}
TEST(Conflict, ThenTheLowerProducerIdCounts) {
  EXPECT_EQ(chosen({{"b", 0, kAnswered5}, {"a", 0, kAnswered6}}), 1U);
}
TEST(Conflict, AfterAClockStepTheLaterEpochOfThatProducerCountsFirst) {
  EXPECT_EQ(chosen({{"a", 0, kAnswered5}, {"a", 1, kFailed}}), 1U);
  // Its superseded answer does not beat another producer's failure either.
  EXPECT_EQ(chosen({{"a", 0, kAnswered5}, {"a", 1, kAway}, {"b", 0, kFailed}}), 2U);
  // Another producer's clock steps mean nothing here.
  EXPECT_EQ(chosen({{"b", 3, kFailed}, {"a", 0, kAnswered5}}), 1U);
}

TEST(Conflict, DoesNotDependOnTheOrderOfArrival) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  Random random(seed);
  const std::vector<ResultView> results{kAnswered5, kAnswered6, kFailed, kAway};
  const char* names[] = {"a", "b", "c"};
  for (int round = 0; round < 3000; ++round) {
    std::vector<Claim> claims;
    for (uint64_t i = 0; i < 1 + random.below(6); ++i) {
      claims.push_back({names[random.below(3)], static_cast<uint32_t>(random.below(3)),
                        results[random.below(results.size())]});
    }
    auto what = [&](const std::vector<Claim>& in) {
      const Claim& c = in[choose(in)];
      return std::tuple(std::string(c.producer), c.clock_steps, c.result.verdict,
                        c.result.rtt_us.data());
    };
    const auto first = what(claims);
    for (size_t i = claims.size(); i > 1; --i) std::swap(claims[i - 1], claims[random.below(i)]);
    ASSERT_EQ(what(claims), first) << "round " << round;
  }
}

}  // namespace
}  // namespace gema
