#include "services/prober/core/schedule.h"

#include <gtest/gtest.h>

#include <map>

#include "common/base/random.h"
#include "common/domain/slot.h"

namespace gema::prober {
namespace {

constexpr int64_t kStart = 1'763'632'561'250;

Schedule::Entry entry(uint32_t device, uint32_t interval) {
  return {device, interval, static_cast<uint32_t>(slot_phase_ms(device, interval))};
}

TEST(Schedule, GivesEverySlotOfEveryDeviceOnceAndInOrder) {
  const uint64_t seed = 99;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  Schedule schedule(kStart);
  std::map<uint32_t, uint32_t> interval;
  std::map<uint32_t, int64_t> last;
  auto assign = [&] {
    std::vector<Schedule::Entry> entries;
    for (const auto& [device, ms] : interval) entries.push_back(entry(device, ms));
    schedule.assign(std::move(entries));
  };
  std::vector<Schedule::Due> due;
  std::vector<Schedule::Missed> missed;
  int64_t now = kStart;
  const uint32_t choices[] = {100, 999, 1000, 5000};
  for (int step = 0; step < 5000; ++step) {
    if (step % 50 == 0) {  // a device comes, goes, or changes its interval
      const auto device = static_cast<uint32_t>(random.below(100));
      if (random.chance(300)) {
        interval.erase(device);
      } else {
        interval[device] = choices[random.below(4)];
        last[device] = slot_at_or_before(device, interval[device], schedule.until_ms());
      }
      assign();
    }
    if (const auto next = schedule.next_due_ms()) {
      int64_t expected = INT64_MAX;
      for (const auto& [d, ms] : interval) {
        expected = std::min(expected, slot_after(d, ms, schedule.until_ms()));
      }
      ASSERT_EQ(*next, expected);
    }
    now += static_cast<int64_t>(random.chance(5) ? random.below(30'000) : random.below(40));
    due.clear();
    missed.clear();
    schedule.advance(now, due, missed);
    for (const auto& m : missed) {
      ASSERT_EQ(m.first_due_ms, last[m.device] + interval[m.device]);
      last[m.device] += static_cast<int64_t>(m.count) * interval[m.device];
      ASSERT_LT(last[m.device], now - late_after_ms(interval[m.device]));
    }
    for (const auto& d : due) {
      ASSERT_EQ(d.due_ms, last[d.device] + interval[d.device]);
      ASSERT_GE(d.due_ms, now - late_after_ms(interval[d.device]));
      last[d.device] = d.due_ms;
    }
    for (const auto& [d, ms] : interval) ASSERT_EQ(last[d], slot_at_or_before(d, ms, now)) << d;
  }
}

TEST(Schedule, GoesOnAfterAStepForwardOrBack) {
  Schedule schedule(kStart);
  schedule.assign({entry(7, 1000)});
  std::vector<Schedule::Due> due;
  std::vector<Schedule::Missed> missed;
  for (const int64_t to : {kStart + 3'600'000, kStart - 3'600'000}) {
    schedule.restart(to);
    due.clear();
    missed.clear();
    schedule.advance(to + 1000, due, missed);
    EXPECT_EQ(due.size() + missed.size(), 1U);
    EXPECT_EQ(schedule.until_ms(), to + 1000);
    EXPECT_EQ(*schedule.next_due_ms(), slot_after(7, 1000, to + 1000));
  }
}

TEST(Schedule, WithoutDevicesNeedsNoWakeUp) {
  Schedule schedule(kStart);
  EXPECT_FALSE(schedule.next_due_ms());
}

}  // namespace
}  // namespace gema::prober
