#include "common/history/core/cuts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "common/base/random.h"

namespace gema::history {
namespace {

constexpr int64_t kMinuteMs = 60'000;

TEST(Cuts, SayWhichSegmentHoldsAnInstant) {
  const Cuts cuts({100, 200, 500});
  EXPECT_EQ(cuts.at(99), std::nullopt);
  EXPECT_EQ(cuts.at(100), 0U);
  EXPECT_EQ(cuts.at(199), 0U);
  EXPECT_EQ(cuts.at(200), 1U);
  EXPECT_EQ(cuts.at(499), 1U);
  EXPECT_EQ(cuts.at(500), std::nullopt);
}

TEST(Cuts, SayWhichSegmentHoldsAWholeSpan) {
  const Cuts cuts({100, 200, 500});
  EXPECT_EQ(cuts.whole(100, 200), 0U);
  EXPECT_EQ(cuts.whole(200, 500), 1U);
  EXPECT_EQ(cuts.whole(150, 201), std::nullopt);
  EXPECT_EQ(cuts.whole(99, 150), std::nullopt);
  EXPECT_EQ(cuts.whole(400, 501), std::nullopt);
}

TEST(Cuts, FitPartsWhenEveryCutFallsBetweenTwo) {
  EXPECT_TRUE(Cuts({0, 7'200'000}).fits(0, kHourMs, 1));
  EXPECT_TRUE(Cuts({5 * kMinuteMs, 7'200'000}).fits(0, kHourMs, 12));
  EXPECT_FALSE(Cuts({5 * kMinuteMs, 7'200'000}).fits(0, kHourMs, 4));
  EXPECT_FALSE(Cuts({5 * kMinuteMs + 1, 7'200'000}).fits(0, kHourMs, 60));
  EXPECT_FALSE(Cuts({0, kMinuteMs, 7'200'000}).fits(0, kHourMs, 12));
  EXPECT_FALSE(Cuts({0, 30 * kMinuteMs + 1}).fits(0, kHourMs, 60));  // the window's end
}

// Each instant of an hour is told by its whole, by its parts, or one by one: always exactly once.
TEST(Cuts, GiveEveryPartOfAnHourToOneSegmentOrNone) {
  const uint64_t seed = 80;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 2'000; ++round) {
    const int64_t unit = random.chance(300) ? 1 : random.chance(500) ? kMinuteMs : 5 * kMinuteMs;
    std::set<int64_t> bounds;
    for (uint64_t n = 2 + random.below(6); n > 0 || bounds.size() < 2; n -= n > 0 ? 1 : 0) {
      bounds.insert(floor_to(static_cast<int64_t>(random.below(3 * kHourMs)), unit));
    }
    const Cuts cuts({bounds.begin(), bounds.end()});
    const int64_t hour_ms = kHourMs;
    const int64_t end_ms = 2 * kHourMs;
    if (const auto segment = cuts.whole(hour_ms, end_ms)) {
      ASSERT_LE(cuts.from(*segment), hour_ms);
      ASSERT_GE(cuts.to(*segment), end_ms);
    }
    for (const size_t parts : {60U, 12U, 4U, 1U}) {
      const int64_t part_ms = kHourMs / static_cast<int64_t>(parts);
      bool crossed = false;
      for (int64_t at = hour_ms; at < end_ms; at += part_ms) {
        // The first and the last instant of a part are in one segment, or the parts do not fit.
        crossed = crossed || cuts.at(at) != cuts.at(at + part_ms - 1);
      }
      if (cuts.fits(hour_ms, end_ms, parts)) {
        ASSERT_FALSE(crossed);
      } else if (!crossed) {
        // A segment that lies within a part.
        const bool within = std::any_of(bounds.begin(), bounds.end(), [&](int64_t b) {
          return b > hour_ms && b < end_ms && (b - hour_ms) % part_ms != 0;
        });
        ASSERT_TRUE(within);
      }
    }
    ASSERT_EQ(cuts.touches(hour_ms, end_ms), cuts.begin() < end_ms && cuts.end() > hour_ms);
  }
}

void expect_sound(const SeriesCost& cost, const Steps& steps) {
  ASSERT_GE(steps.bounds.size(), 2U);
  ASSERT_EQ(steps.bounds.front(), cost.from_ms);
  ASSERT_EQ(steps.bounds.back(), cost.to_ms);
  ASSERT_TRUE(std::is_sorted(steps.bounds.begin(), steps.bounds.end(), std::less_equal<>()));
  if (steps.step_ms == 0) return;
  ASSERT_LE(steps.bounds.size() - 1, cost.points_max);
  for (size_t i = 1; i < steps.bounds.size(); ++i) {
    ASSERT_LE(steps.bounds[i] - steps.bounds[i - 1], steps.step_ms);
  }
}

TEST(Steps, KeepTheBudgetAndCoverTheWindowWhateverIsAsked) {
  const uint64_t seed = 81;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 20'000; ++round) {
    SeriesCost cost{.from_ms = static_cast<int64_t>(random.below(2'000'000'000'000)),
                    .points_max = 1 + random.below(1U << random.below(14)),
                    .devices = 1 + random.below(3),
                    .hours_only = random.chance(100)};
    cost.to_ms =
        cost.from_ms + 1 + static_cast<int64_t>(random.below(uint64_t{1} << random.below(43)));
    cost.to_ms = std::min(cost.to_ms, kTimeMax);
    if (random.chance(500)) {
      cost.results = random.below(30'000);
      cost.results_of_all_locations = *cost.results + random.below(10'000);
    }
    const Steps steps = choose_steps(cost);
    expect_sound(cost, steps);
    if (HasFatalFailure()) FAIL() << cost.from_ms << " " << cost.to_ms << " " << cost.points_max;
    if (cost.hours_only && cost.points_max > 1) {
      ASSERT_GE(steps.step_ms, kHourMs);
    }
    if (steps.step_ms == 0) {
      ASSERT_LE(*cost.results, cost.points_max);
    }
  }
}

TEST(Steps, AreTheFinestOfTheLadderThatFit) {
  const int64_t from_ms = 1'800'057'600'000;  // a day begins
  auto step = [&](int64_t span_ms, size_t points_max) {
    return choose_steps({.from_ms = from_ms, .to_ms = from_ms + span_ms, .points_max = points_max})
        .step_ms;
  };
  EXPECT_EQ(step(kHourMs, 60), kMinuteMs);
  EXPECT_EQ(step(kHourMs, 59), 5 * kMinuteMs);
  EXPECT_EQ(step(kDayMs, 1'000), 5 * kMinuteMs);
  EXPECT_EQ(step(90 * kDayMs, 1'000), 3 * kHourMs);
  EXPECT_EQ(step(90 * kDayMs, 90), kDayMs);
  EXPECT_EQ(step(5 * 365 * kDayMs, 1'000), 7 * kDayMs);
  EXPECT_EQ(step(kHourMs, 1), kHourMs);
}

TEST(Steps, ShowSingleResultsWhereTheyFit) {
  SeriesCost cost{.from_ms = 0, .to_ms = kHourMs, .points_max = 720};
  cost.results = cost.results_of_all_locations = 720;
  EXPECT_EQ(choose_steps(cost).step_ms, 0);
  cost.points_max = 719;
  EXPECT_EQ(choose_steps(cost).step_ms, 10'000);
  cost.devices = 2;
  EXPECT_EQ(choose_steps(cost).step_ms, kMinuteMs);
}

TEST(Steps, OfAWeekBeginOnMondays) {
  const SeriesCost cost{
      .from_ms = 1'800'057'600'000, .to_ms = 1'800'057'600'000 + 700 * kDayMs, .points_max = 120};
  const Steps steps = choose_steps(cost);
  EXPECT_EQ(steps.step_ms, 7 * kDayMs);
  // 1970-01-01 was a Thursday.
  EXPECT_EQ((steps.bounds[1] / kDayMs + 3) % 7, 0);
}

TEST(Fit, LeavesTimesThatFitAndSharesOutWhatDoesNot) {
  EXPECT_EQ(fit({.up_ms = 50, .down_ms = 10}, 100), (Shares{50, 10}));
  EXPECT_EQ(fit({.up_ms = 90, .down_ms = 10}, 100), (Shares{90, 10}));
  EXPECT_EQ(fit({.up_ms = 150, .down_ms = 50}, 100), (Shares{75, 25}));
  EXPECT_EQ(fit({.up_ms = 105, .down_ms = 0}, 100), (Shares{100, 0}));
  EXPECT_EQ(fit({.up_ms = 5, .down_ms = 5}, 0), (Shares{0, 0}));
  EXPECT_EQ(fit({.up_ms = uint64_t{1} << 60, .down_ms = uint64_t{1} << 60}, 101), (Shares{51, 50}));
}

}  // namespace
}  // namespace gema::history
