#include "services/timeout-tracker/core/checkpoint_cycle.h"

#include <gtest/gtest.h>

namespace gema::timeout_tracker {
namespace {

Now at(Duration since_start) {
  return {.mono = MonoTime(1h) + since_start,
          .wall = wall_from_ms(1'763'632'561'000) + since_start};
}

TEST(CheckpointCycle, BeginsWithAllStatesAndGoesOnWithChanges) {
  CheckpointCycle cycle(5s, 0xabc, at(0s));
  ASSERT_TRUE(cycle.due(at(0s)));
  const CheckpointPlan first = cycle.begin(at(0s), 4);
  EXPECT_TRUE(first.full());
  EXPECT_EQ(first.changed_after, 0U);
  EXPECT_FALSE(cycle.due(at(1h)));  // one at a time
  EXPECT_FALSE(cycle.next_wakeup());
  cycle.succeeded(at(10ms));
  EXPECT_FALSE(cycle.due(at(4999ms)));
  EXPECT_EQ(cycle.next_wakeup(), at(5s).mono);
  ASSERT_TRUE(cycle.due(at(5s)));
  const CheckpointPlan second = cycle.begin(at(5s), 5);
  EXPECT_EQ(second.base, first.id);
  EXPECT_EQ(second.changed_after, 4U);
  EXPECT_NE(second.id, first.id);
}

TEST(CheckpointCycle, AFailedOneIsTriedAgainOnTheSameBase) {
  CheckpointCycle cycle(5s, 1, at(0s));
  const std::string base = cycle.begin(at(0s), 1).id;
  cycle.succeeded(at(0s));
  cycle.begin(at(5s), 2);
  cycle.failed(at(6s));
  EXPECT_FALSE(cycle.due(at(6s)));
  ASSERT_TRUE(cycle.due(at(7s)));
  const CheckpointPlan again = cycle.begin(at(7s), 3);
  EXPECT_EQ(again.base, base);
  EXPECT_EQ(again.changed_after, 1U);  // with what the failed one would have carried
  EXPECT_EQ(cycle.age(at(8s)), 8s);
}

TEST(CheckpointCycle, ALostBaseMeansAllStatesAtOnce) {
  CheckpointCycle cycle(5s, 1, at(0s));
  cycle.begin(at(0s), 1);
  cycle.succeeded(at(0s));
  cycle.begin(at(5s), 2);
  cycle.base_lost(at(5s));
  ASSERT_TRUE(cycle.due(at(5s)));
  EXPECT_TRUE(cycle.begin(at(5s), 3).full());
}

TEST(CheckpointCycle, ASlowOneLeavesTheWorkerHalfItsTime) {
  CheckpointCycle cycle(5s, 1, at(0s));
  cycle.begin(at(0s), 1);
  cycle.succeeded(at(20s));
  EXPECT_EQ(cycle.next_wakeup(), at(40s).mono);
}

TEST(CheckpointCycle, IdsOfTwoRunsDiffer) {
  CheckpointCycle one(5s, 1, at(0s));
  CheckpointCycle two(5s, 2, at(0s));
  EXPECT_NE(one.begin(at(0s), 1).id, two.begin(at(0s), 1).id);
}

}  // namespace
}  // namespace gema::timeout_tracker
