#include "common/stream/core/seq_set.h"

#include <gtest/gtest.h>

#include <set>

#include "common/base/random.h"

namespace gema::stream {
namespace {

TEST(SeqSet, BehavesAsASetOfNumbers) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed * 1000);
    SeqSet set;
    std::set<uint64_t> model;
    for (int step = 0; step < 300; ++step) {
      uint64_t first = 1 + random.below(80);
      SeqRange range{first, first + random.below(12)};
      uint64_t changed = 0;
      if (random.chance(600)) {
        for (uint64_t s = range.first; s <= range.last; ++s) changed += model.insert(s).second;
        EXPECT_EQ(set.add(range), changed);
      } else {
        for (uint64_t s = range.first; s <= range.last; ++s) changed += model.erase(s);
        EXPECT_EQ(set.remove(range), changed);
      }
      ASSERT_EQ(set.count(), model.size());
      uint64_t in_ranges = 0;
      uint64_t previous_end = 0;
      for (const SeqRange& r : set.ranges()) {
        EXPECT_GT(r.first, previous_end == 0 ? 0 : previous_end + 1);  // never adjacent
        previous_end = r.last;
        in_ranges += r.size();
      }
      EXPECT_EQ(in_ranges, model.size());
      for (uint64_t s = 1; s <= 95; ++s) ASSERT_EQ(set.contains(s), model.count(s) > 0) << s;
      uint64_t missing = 0;
      for (const SeqRange& r : set.missing(range)) missing += r.size();
      uint64_t expected = 0;
      for (uint64_t s = range.first; s <= range.last; ++s) expected += 1 - model.count(s);
      EXPECT_EQ(missing, expected);
      uint64_t probe = 1 + random.below(95);
      if (model.count(probe) == 0) {
        EXPECT_EQ(set.stands_alone(probe),
                  model.count(probe - 1) == 0 && model.count(probe + 1) == 0);
      }
    }
  }
}

TEST(SeqSet, HoldsRangesOfAnySizeInConstantSpace) {
  SeqSet set;
  EXPECT_EQ(set.add({1, UINT64_MAX - 2}), UINT64_MAX - 2);
  EXPECT_EQ(set.remove({1000, 1999}), 1000U);
  EXPECT_EQ(set.range_count(), 2U);
}

}  // namespace
}  // namespace gema::stream
