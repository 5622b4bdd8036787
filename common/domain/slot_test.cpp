#include "common/domain/slot.h"

#include <gtest/gtest.h>

#include <set>

namespace gema {
namespace {

TEST(Slot, IsStrictlyOrderedAndOneIntervalApart) {
  for (DeviceId device : {0ULL, 1ULL, 42ULL, ~0ULL}) {
    for (uint32_t interval : {1U, 999U, 1000U, 5000U, 3'600'000U}) {
      for (int64_t at : {-7'000'000'001LL, -1LL, 0LL, 1LL, 1'763'632'561'250LL}) {
        const int64_t slot = slot_at_or_before(device, interval, at);
        EXPECT_LE(slot, at);
        EXPECT_GT(slot + interval, at);
        EXPECT_TRUE(is_slot(device, interval, slot));
        EXPECT_EQ(slot_after(device, interval, at), slot + interval);
        if (interval > 1) {
          EXPECT_FALSE(is_slot(device, interval, slot + 1));
        }
      }
    }
  }
}

TEST(Slot, MatchesTheVectorsThatOtherImplementationsCheckAgainst) {
  // XXH64 over the 8 little-endian bytes of the id, seed 0.
  EXPECT_EQ(slot_phase_ms(0, 1000), 0x34c96acdcadb1bbbULL % 1000);
}

TEST(Slot, AnIntervalOfZeroIsNoSlot) {
  EXPECT_FALSE(is_slot(1, 0, 0));
}

TEST(Partition, SpreadsDevicesOverAllPartitions) {
  std::multiset<uint32_t> count;
  for (DeviceId device = 1; device <= 8000; ++device) count.insert(partition_of(device));
  for (uint32_t p = 0; p < kPartitions; ++p) {
    EXPECT_GT(count.count(p), 850U) << p;
    EXPECT_LT(count.count(p), 1150U) << p;
  }
}

}  // namespace
}  // namespace gema
