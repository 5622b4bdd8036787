#include "services/prober/core/catch_up.h"

#include <gtest/gtest.h>

#include "common/domain/slot.h"

namespace gema::prober {
namespace {

constexpr int64_t kNow = 1'763'632'561'250;

std::vector<int64_t> slots(const CatchUp& plan, DeviceId device) {
  std::vector<int64_t> all;
  for (const MissedRun& run : plan.runs) {
    if (run.device != device) continue;
    for (uint32_t i = 0; i < run.count; ++i) {
      all.push_back(run.first_due_ms + static_cast<int64_t>(i) * run.interval_ms);
    }
  }
  return all;
}

std::vector<int64_t> expected(DeviceId device, uint32_t interval, int64_t after, int64_t to) {
  std::vector<int64_t> all;
  for (int64_t t = slot_after(device, interval, after); t <= to; t += interval) all.push_back(t);
  return all;
}

TEST(CatchUp, ReportsTheSlotsBetweenTheMarkAndNow) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000}};
  const CatchUp plan = plan_catch_up(kept, kNow - 10'000, {}, kNow);
  EXPECT_EQ(slots(plan, 1), expected(1, 1000, kNow - 10'000, kNow));
  EXPECT_EQ(plan.slots, 10U);
  EXPECT_EQ(plan.runs[0].reason, Reason::kNotRunning);
}

TEST(CatchUp, DoesNotReportWhatIsInTheSpool) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000},
                               {.device = 2, .interval_ms = 1000}};
  const int64_t last = slot_at_or_before(1, 1000, kNow - 4000);
  const CatchUp plan = plan_catch_up(kept, kNow - 10'000, {{1, last}}, kNow);
  EXPECT_EQ(slots(plan, 1), expected(1, 1000, last, kNow));
  EXPECT_EQ(slots(plan, 2), expected(2, 1000, kNow - 10'000, kNow));
}

TEST(CatchUp, ANewlyAssignedDeviceOwesNothingFromBefore) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000, .since_ms = kNow - 3000}};
  EXPECT_EQ(slots(plan_catch_up(kept, kNow - 60'000, {}, kNow), 1),
            expected(1, 1000, kNow - 3001, kNow));
}

TEST(CatchUp, ADeviceMovedAwayOwesItsSlotsUntilThen) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000, .until_ms = kNow - 5000}};
  EXPECT_EQ(slots(plan_catch_up(kept, kNow - 10'000, {}, kNow), 1),
            expected(1, 1000, kNow - 10'000, kNow - 5000));
}

TEST(CatchUp, AChangedIntervalIsReportedAsTheSchedulesThatItWas) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000, .until_ms = kNow - 5000},
                               {.device = 1, .interval_ms = 300, .since_ms = kNow - 4999}};
  const CatchUp plan = plan_catch_up(kept, kNow - 10'000, {}, kNow);
  auto both = expected(1, 1000, kNow - 10'000, kNow - 5000);
  const auto later = expected(1, 300, kNow - 5000, kNow);
  both.insert(both.end(), later.begin(), later.end());
  EXPECT_EQ(slots(plan, 1), both);
}

TEST(CatchUp, WithoutAMarkOnlyTheSpoolSpeaks) {
  const KeptSchedule kept[] = {{.device = 1, .interval_ms = 1000},
                               {.device = 2, .interval_ms = 1000}};
  const CatchUp plan =
      plan_catch_up(kept, std::nullopt, {{2, slot_at_or_before(2, 1000, kNow - 2500)}}, kNow);
  EXPECT_TRUE(slots(plan, 1).empty());
  EXPECT_FALSE(slots(plan, 2).empty());
}

TEST(CatchUp, KeepsTheYoungestWithinItsBoundsAndCountsTheRest) {
  const KeptSchedule one[] = {{.device = 1, .interval_ms = 1000}};
  const CatchUp plan = plan_catch_up(one, kNow - 10'000'000, {}, kNow);
  EXPECT_EQ(plan.slots, kMissedSlotsMax);
  EXPECT_EQ(plan.slots + plan.left_out, 10'000U);
  EXPECT_EQ(slots(plan, 1).back(), slot_at_or_before(1, 1000, kNow));
  // Rare slots: by age.
  const KeptSchedule hourly[] = {{.device = 1, .interval_ms = 3'600'000}};
  const CatchUp day = plan_catch_up(hourly, kNow - 100LL * 3'600'000, {}, kNow);
  EXPECT_EQ(day.slots + day.left_out, 100U);
  EXPECT_LE(day.slots, 25U);
  EXPECT_GE(day.slots, 24U);
  std::vector<KeptSchedule> many(10'000, {.device = 1, .interval_ms = 1000});
  for (size_t i = 0; i < many.size(); ++i) many[i].device = i + 1;
  EXPECT_LE(plan_catch_up(many, kNow - 3'600'000, {}, kNow).slots, kMissedTotalMax);
}

TEST(Marks, GiveThePositionThatPrecedesEveryLaterSlot) {
  Marks marks;
  EXPECT_EQ(marks.position_for(5), std::nullopt);
  marks.note(10, "a");
  marks.note(20, "b");
  marks.note(30, "c");
  EXPECT_EQ(marks.position_for(9), std::nullopt);
  EXPECT_EQ(marks.position_for(10), "a");
  EXPECT_EQ(marks.position_for(29), "b");
  EXPECT_EQ(marks.position_for(30), "c");
}

TEST(Marks, AtTheirBoundStayOnTheSafeSide) {
  Marks marks;
  for (int64_t t = 1; t <= 5000; ++t) marks.note(t, std::to_string(t));
  const auto position = marks.position_for(2500);
  ASSERT_TRUE(position);
  EXPECT_LE(std::stoll(*position), 2500);
}

}  // namespace
}  // namespace gema::prober
