#include "services/prober/core/slot_clock.h"

#include <gtest/gtest.h>

namespace gema::prober {
namespace {

constexpr Duration kWall = 1'763'632'561s;

Now reading(Duration mono, Duration wall_error = {}) {
  return {MonoTime(mono), WallTime(kWall + mono + wall_error)};
}

TEST(SlotClock, IsTheWallClockWhileNobodySetsIt) {
  SlotClock clock(reading(10s));
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(clock.on_reading(reading(10s + i * 10ms)), ClockEvent::kNone);
  }
  EXPECT_EQ(clock.slot_ms(MonoTime(11s)), (kWall + 11s) / 1ms);
  EXPECT_EQ(clock.mono_of_slot_ms((kWall + 11s) / 1ms), MonoTime(11s));
  EXPECT_EQ(clock.mono_of_wall_ns((kWall + 11s).count()), MonoTime(11s));
}

TEST(SlotClock, SlewsASmallStepByAtMostOnePercentAndNeverBackwards) {
  for (const Duration step : {1500ms, -1500ms}) {
    SlotClock clock(reading(0s));
    EXPECT_EQ(clock.on_reading(reading(100ms, step)), ClockEvent::kNone);
    EXPECT_TRUE(clock.wants_second_reading());
    EXPECT_EQ(clock.on_reading(reading(100ms, step)), ClockEvent::kWallStepped);
    int64_t last = clock.slot_ns(MonoTime(100ms));
    EXPECT_LE(std::abs(clock.error().count() - Duration(step).count()), Duration(1ms).count());
    Duration mono = 100ms;
    while (mono < 160s) {
      mono += 50ms;
      EXPECT_EQ(clock.on_reading(reading(mono, step)), ClockEvent::kNone);
      const int64_t slot = clock.slot_ns(MonoTime(mono));
      EXPECT_GE(slot - last, Duration(50ms).count() * 99 / 100);
      EXPECT_LE(slot - last, Duration(50ms).count() * 101 / 100);
      last = slot;
    }
    EXPECT_EQ(clock.error(), Duration(0));
  }
}

TEST(SlotClock, FollowsALargerStepAtOnceAndSaysSo) {
  SlotClock clock(reading(0s));
  clock.on_reading(reading(1s, 1h));
  EXPECT_EQ(clock.on_reading(reading(1s, 1h)), ClockEvent::kStepped);
  EXPECT_EQ(clock.slot_ms(MonoTime(1s)), (kWall + 1h + 1s) / 1ms);
  EXPECT_EQ(clock.on_reading(reading(2s, 1h)), ClockEvent::kNone);
  clock.on_reading(reading(3s));
  EXPECT_EQ(clock.on_reading(reading(3s)), ClockEvent::kStepped);
  EXPECT_EQ(clock.slot_ms(MonoTime(3s)), (kWall + 3s) / 1ms);
}

TEST(SlotClock, AStopBetweenTheTwoReadingsIsNoStep) {
  SlotClock clock(reading(0s));
  EXPECT_EQ(clock.on_reading(reading(1s, 5s)), ClockEvent::kNone);  // stopped for 5 s in between
  EXPECT_TRUE(clock.wants_second_reading());
  EXPECT_EQ(clock.on_reading(reading(6s)), ClockEvent::kNone);
  EXPECT_FALSE(clock.wants_second_reading());
  EXPECT_EQ(clock.slot_ms(MonoTime(6s)), (kWall + 6s) / 1ms);
}

TEST(SlotClock, SuspendedTimePassesOnBothClocks) {
  SlotClock clock(reading(0s));
  EXPECT_EQ(clock.on_reading(reading(600s)), ClockEvent::kNone);
  EXPECT_EQ(clock.slot_ms(MonoTime(600s)), (kWall + 600s) / 1ms);
}

}  // namespace
}  // namespace gema::prober
