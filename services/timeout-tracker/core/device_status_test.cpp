#include "services/timeout-tracker/core/device_status.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <tuple>

#include "common/base/random.h"

namespace gema::timeout_tracker {
namespace {

// "a" answered, "f" failed, "-" not measured, "l" answered for a slot already decided; one slot a
// letter. Returns the last decision.
Decision play(State& state, const std::string& script, const Policy& policy, int64_t& slot) {
  Decision decision;
  for (const char letter : script) {
    if (letter != 'l') slot += 1000;
    const Verdict verdict = letter == 'f'   ? Verdict::kFailed
                            : letter == '-' ? Verdict::kNotMeasured
                                            : Verdict::kAnswered;
    decision = decide(state, {.slot_ms = slot, .verdict = verdict, .rtt_us = 300}, policy);
  }
  return decision;
}

struct Row {
  const char* name;
  const char* before;  // whatever leads there
  const char* verdict;
  DeviceStatus status;
  Taken taken;
  std::optional<StatusChange> change;
};

using S = DeviceStatus;
using R = TransitionReason;

const Row kRows[] = {
    {"A new device that answers is up", "", "a", S::kUp, Taken::kCounted,
     StatusChange{S::kNew, S::kUp, R::kFirstAnswer}},
    {"Three failures leave a new device new", "ff", "f", S::kNew, Taken::kCounted, {}},
    {"Four failures make a new device unknown", "fff", "f", S::kUnknown, Taken::kCounted,
     StatusChange{S::kNew, S::kUnknown, R::kNeverAnswered}},
    {"An unknown device stays unknown however often it fails",
     "ffffffff",
     "f",
     S::kUnknown,
     Taken::kCounted,
     {}},
    {"An unknown device that answers is up", "ffff", "a", S::kUp, Taken::kCounted,
     StatusChange{S::kUnknown, S::kUp, R::kFirstAnswer}},
    {"A new device is up after failures, too", "fff", "a", S::kUp, Taken::kCounted,
     StatusChange{S::kNew, S::kUp, R::kFirstAnswer}},
    {"Two failures leave a device up", "af", "f", S::kUp, Taken::kCounted, {}},
    {"Three failures in a row are down", "aff", "f", S::kDown, Taken::kCounted,
     StatusChange{S::kUp, S::kDown, R::kFailuresInARow}},
    {"An answer between begins the count again", "affaf", "f", S::kUp, Taken::kCounted, {}},
    {"A device that is down stays down", "afff", "f", S::kDown, Taken::kCounted, {}},
    {"A device that is down and answers is up", "afff", "a", S::kUp, Taken::kCounted,
     StatusChange{S::kDown, S::kUp, R::kAnsweredAgain}},
    {"Not measured adds nothing", "aff", "-", S::kUp, Taken::kNotMeasured, {}},
    {"Not measured resets nothing", "aff-", "f", S::kDown, Taken::kCounted,
     StatusChange{S::kUp, S::kDown, R::kFailuresInARow}},
    {"A gap of slots counts as nothing", "aff--------", "f", S::kDown, Taken::kCounted,
     StatusChange{S::kUp, S::kDown, R::kFailuresInARow}},
    {"The first content of a slot counts", "aff", "l", S::kUp, Taken::kLateSlot, {}},
    {"A late answer brings nothing up", "afff", "l", S::kDown, Taken::kLateSlot, {}},
};

TEST(DeviceStatus, DecidesEachRowOfTheTable) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.name);
    State state;
    int64_t slot = 1'000'000;
    play(state, row.before, {}, slot);
    const State before = state;
    const Decision decision = play(state, row.verdict, {}, slot);
    EXPECT_EQ(decision.taken, row.taken);
    EXPECT_EQ(decision.change, row.change);
    EXPECT_EQ(state.status, row.status);
    if (row.taken != Taken::kCounted) {
      EXPECT_EQ(state, before);
    }
  }
}

TEST(DeviceStatus, TheTableHasARowForEveryReasonOfAVerdict) {
  std::set<R> reasons;
  for (const Row& row : kRows) {
    if (row.change) reasons.insert(row.change->reason);
  }
  EXPECT_EQ(reasons, (std::set<R>{R::kFirstAnswer, R::kFailuresInARow, R::kAnsweredAgain,
                                  R::kNeverAnswered}));
}

TEST(DeviceStatus, CountsTimeoutsInARowWithTheirFirstAndLastSlot) {
  State state;
  int64_t slot = 0;
  play(state, "afffff", {}, slot);
  EXPECT_EQ(state.consecutive_timeouts, 5U);
  EXPECT_EQ(state.first_timeout_ms, 2000);
  EXPECT_EQ(state.last_timeout_ms, 6000);
  EXPECT_EQ(state.since_ms, 4000);
  EXPECT_EQ(state.last_success_ms, 1000);
  play(state, "a", {}, slot);
  EXPECT_EQ(state.consecutive_timeouts, 0U);
  EXPECT_EQ(state.first_timeout_ms, 0);
  EXPECT_EQ(state.last_timeout_ms, 0);
  EXPECT_EQ(state.last_success_ms, 7000);
  EXPECT_EQ(state.last_rtt_us, 300U);
}

TEST(DeviceStatus, FailedAttemptsCountOnlyWhileNeverSuccessful) {
  State state;
  int64_t slot = 0;
  play(state, "ff", {}, slot);
  EXPECT_EQ(state.failed_attempts, 2U);
  play(state, "afff", {}, slot);
  EXPECT_EQ(state.failed_attempts, 0U);
}

TEST(DeviceStatus, RecoveryHasAThresholdOfItsOwn) {
  const Policy policy{.down_after = 2, .up_after = 3, .unknown_after = 1};
  State state;
  int64_t slot = 0;
  EXPECT_EQ(play(state, "aff", policy, slot).change,
            (StatusChange{S::kUp, S::kDown, R::kFailuresInARow}));
  EXPECT_FALSE(play(state, "aafaa", policy, slot).change);
  EXPECT_EQ(play(state, "a", policy, slot).change,
            (StatusChange{S::kDown, S::kUp, R::kAnsweredAgain}));
}

TEST(DeviceStatus, AResetIsATransitionThatKeepsTheStatus) {
  State state;
  int64_t slot = 0;
  play(state, "afff", {}, slot);
  const uint64_t counter = state.transition_counter;
  EXPECT_EQ(reset_timeouts(state), (StatusChange{S::kDown, S::kDown, R::kReset}));
  EXPECT_EQ(state.consecutive_timeouts, 0U);
  EXPECT_EQ(state.first_timeout_ms, 0);
  EXPECT_EQ(state.transition_counter, counter + 1);
  EXPECT_FALSE(reset_timeouts(state));
  EXPECT_EQ(state.transition_counter, counter + 1);
}

TEST(DeviceStatusProperty, TransitionsFollowEachOtherAndNeverSkipAPhase) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const std::set<std::tuple<S, S, R>> edges = {{S::kNew, S::kUp, R::kFirstAnswer},
                                               {S::kUnknown, S::kUp, R::kFirstAnswer},
                                               {S::kUp, S::kDown, R::kFailuresInARow},
                                               {S::kDown, S::kUp, R::kAnsweredAgain},
                                               {S::kNew, S::kUnknown, R::kNeverAnswered}};
  Random random(seed);
  std::set<std::tuple<S, S, R>> seen;
  for (int run = 0; run < 2000; ++run) {
    const Policy policy{.down_after = 1 + static_cast<uint32_t>(random.below(5)),
                        .up_after = 1 + static_cast<uint32_t>(random.below(3)),
                        .unknown_after = 1 + static_cast<uint32_t>(random.below(6))};
    const auto failing = static_cast<uint32_t>(random.below(1000));
    State state;
    DeviceStatus last = DeviceStatus::kNew;
    uint32_t failures = 0;  // counted by the test itself
    uint32_t answers = 0;
    uint64_t changes = 0;
    int64_t slot = 1;
    for (int i = 0; i < 200; ++i) {
      const bool late = random.chance(100);
      if (!late) slot += 1 + static_cast<int64_t>(random.below(3000));
      const Verdict verdict = random.chance(100)       ? Verdict::kNotMeasured
                              : random.chance(failing) ? Verdict::kFailed
                                                       : Verdict::kAnswered;
      const Decision decision = decide(state, {.slot_ms = slot, .verdict = verdict}, policy);
      if (decision.taken == Taken::kCounted) {
        failures = verdict == Verdict::kFailed ? failures + 1 : 0;
        answers = verdict == Verdict::kAnswered ? answers + 1 : 0;
      }
      ASSERT_EQ(state.consecutive_timeouts, failures);
      if (!decision.change) continue;
      ++changes;
      ASSERT_EQ(decision.change->from, last);
      last = decision.change->to;
      const auto edge = std::tuple{decision.change->from, last, decision.change->reason};
      ASSERT_TRUE(edges.count(edge)) << to_string(decision.change->reason);
      seen.insert(edge);
      if (last == S::kDown) {
        ASSERT_EQ(failures, policy.down_after);
      }
      if (decision.change->reason == R::kAnsweredAgain) {
        ASSERT_EQ(answers, policy.up_after);
      }
    }
    ASSERT_EQ(state.status, last);
    ASSERT_EQ(state.transition_counter, changes);
  }
  EXPECT_EQ(seen, edges);
}

}  // namespace
}  // namespace gema::timeout_tracker
