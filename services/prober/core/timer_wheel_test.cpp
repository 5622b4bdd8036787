#include "services/prober/core/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/base/random.h"

namespace gema::prober {
namespace {

MonoTime at(Duration d) {
  return MonoTime(1000s) + d;
}

TEST(TimerWheel, FiresOnceAtTheFirstTickAfterTheDeadline) {
  TimerWheel wheel(at(0s));
  wheel.resize(10);
  wheel.set(3, at(10ms));
  std::vector<uint32_t> fired;
  wheel.expire(at(9ms), fired);
  EXPECT_TRUE(fired.empty());
  wheel.expire(at(14ms), fired);
  EXPECT_EQ(fired, std::vector<uint32_t>{3});
  wheel.expire(at(60s), fired);
  EXPECT_EQ(fired.size(), 1U);
}

TEST(TimerWheel, ACancelledOrReplacedDeadlineDoesNotFire) {
  TimerWheel wheel(at(0s));
  wheel.resize(3);
  wheel.set(0, at(10ms));
  wheel.set(1, at(10ms));
  wheel.set(2, at(10ms));
  wheel.cancel(1);
  wheel.cancel(1);
  wheel.set(2, at(500ms));
  std::vector<uint32_t> fired;
  wheel.expire(at(100ms), fired);
  EXPECT_EQ(fired, std::vector<uint32_t>{0});
  wheel.expire(at(1s), fired);
  EXPECT_EQ(fired, (std::vector<uint32_t>{0, 2}));
}

TEST(TimerWheel, SaysWhenToWakeUpAndNeverWhenEmpty) {
  TimerWheel wheel(at(0s));
  wheel.resize(2);
  EXPECT_FALSE(wheel.next());
  wheel.set(0, at(3s));
  ASSERT_TRUE(wheel.next());
  EXPECT_GE(*wheel.next(), at(3s));
  EXPECT_LE(*wheel.next(), at(3s + 4ms));
  wheel.cancel(0);
  EXPECT_FALSE(wheel.next());
}

TEST(TimerWheel, AgreesWithASortedMapOverRandomUse) {
  const uint64_t seed = 4711;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  TimerWheel wheel(at(0s));
  wheel.resize(200);
  std::map<uint32_t, MonoTime> model;
  Duration now{};
  std::vector<uint32_t> fired;
  for (int step = 0; step < 20'000; ++step) {
    const auto index = static_cast<uint32_t>(random.below(200));
    if (random.chance(500)) {
      const auto deadline = at(now + std::chrono::microseconds(random.below(40'000'000)));
      wheel.set(index, deadline);
      model[index] = deadline;
    } else if (random.chance(300)) {
      wheel.cancel(index);
      model.erase(index);
    }
    // Rarely a stall of more than one revolution.
    now += std::chrono::microseconds(random.chance(2) ? random.below(60'000'000)
                                                      : random.below(20'000));
    fired.clear();
    wheel.expire(at(now), fired);
    for (const uint32_t f : fired) {
      ASSERT_TRUE(model.contains(f));
      ASSERT_LE(model[f], at(now));
      model.erase(f);
    }
    for (const auto& [i, deadline] : model) {
      ASSERT_GT(deadline + 4ms, at(now)) << i;
      ASSERT_TRUE(wheel.next());
    }
    if (model.empty()) {
      ASSERT_FALSE(wheel.next());
    }
  }
}

}  // namespace
}  // namespace gema::prober
