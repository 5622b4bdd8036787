#include "services/inventory/core/probing.h"

#include <gtest/gtest.h>

#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

constexpr WallTime kThen = wall_from_ms(1'758'246'347'000);

ProbingPlan planned(const KeptProbing& before, ProbingAction action, const ProbingChange& change,
                    WallTime now = kThen) {
  auto plan = plan_probing(before, action, change, now);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : ProbingPlan{};
}

TEST(Probing, APauseNamesWhoAndSinceWhenAndIsAudited) {
  const auto plan =
      planned({}, ProbingAction::kPause, {.by = "Siti", .reason = "ring", .actor = "admin"});
  EXPECT_TRUE(plan.changes);
  EXPECT_EQ(plan.after.state,
            (Probing{.paused = true, .by = "Siti", .reason = "ring", .since = kThen}));
  ASSERT_EQ(plan.after.unwritten.size(), 1u);
  EXPECT_EQ(plan.after.unwritten[0],
            (ProbingEvent{
                .at = kThen, .paused = true, .actor = "admin", .by = "Siti", .reason = "ring"}));
}

TEST(Probing, WhoDoesNotSayIsNamedByTheTokenAndNeverByNothing) {
  EXPECT_EQ(planned({}, ProbingAction::kPause, {.actor = "admin"}).after.state.by, "admin");
  EXPECT_EQ(planned({}, ProbingAction::kPause, {}).after.state.by, "somebody");
}

TEST(Probing, RepeatingChangesNothing) {
  const auto paused = planned({}, ProbingAction::kPause, {.by = "Siti"}).after;
  const auto again = planned(paused, ProbingAction::kPause, {.by = "Budi"}, kThen + 1h);
  EXPECT_FALSE(again.changes);
  EXPECT_EQ(again.after, paused) << "the first who paused stays the one who is named";
  EXPECT_FALSE(planned({}, ProbingAction::kResume, {.by = "Budi"}).changes);
}

TEST(Probing, ResumingEndsThePauseAndSaysSinceWhen) {
  const auto paused = planned({}, ProbingAction::kPause, {.by = "Siti"}).after;
  const auto plan = planned(paused, ProbingAction::kResume, {.actor = "admin"}, kThen + 1h);
  EXPECT_TRUE(plan.changes);
  EXPECT_EQ(plan.after.state, (Probing{.since = kThen + 1h}));
  ASSERT_EQ(plan.after.unwritten.size(), 2u);
  EXPECT_FALSE(plan.after.unwritten[1].paused);
}

TEST(Probing, AuditRowsThatNobodyTakesAreBounded) {
  KeptProbing kept;
  uint32_t forgotten = 0;
  for (size_t i = 0; i < kProbingEventsMax + 3; ++i) {
    const auto plan = planned(kept, i % 2 == 0 ? ProbingAction::kPause : ProbingAction::kResume,
                              {.actor = "admin"}, kThen + std::chrono::seconds(i));
    kept = plan.after;
    forgotten += plan.forgotten;
  }
  EXPECT_EQ(kept.unwritten.size(), kProbingEventsMax);
  EXPECT_EQ(forgotten, 3u);
  EXPECT_EQ(kept.unwritten.front().at, kThen + 3s) << "the oldest go first";
}

TEST(Probing, WhatIsNoTextIsRefusedByField) {
  const auto refused = [](const ProbingChange& change) {
    const auto plan = plan_probing({}, ProbingAction::kPause, change, kThen);
    return plan ? std::string("taken") : plan.error().message;
  };
  EXPECT_EQ(refused({.by = "a\nb"}), "by: is too long or not text");
  EXPECT_EQ(refused({.reason = std::string(kTextMax + 1, 'x')}), "reason: is too long or not text");
  EXPECT_EQ(refused({.actor = "\xff"}), "actor: is too long or not text");
}

}  // namespace
}  // namespace gema::inventory
