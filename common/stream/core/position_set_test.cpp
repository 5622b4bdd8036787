#include "common/stream/core/position_set.h"

#include <gtest/gtest.h>

#include "common/base/random.h"

namespace gema::stream {
namespace {

PositionSet sample() {
  PositionSet set;
  set.set({"prober-1", 77, 0}, {10, 20, {{12, 13}, {19, 19}}, 1, false});
  set.set({"prober-1", 77, 7}, {5, 5, {}, 1, false});
  set.set({"prober-2", 1, 3}, {900, 900, {}, 2, true});
  return set;
}

TEST(PositionSet, CoversWhatIsIncludedAndNothingElse) {
  PositionSet set = sample();
  auto covers = [&](uint64_t seq) { return set.covers({"prober-1", 77, 0, seq}); };
  EXPECT_FALSE(covers(0));
  EXPECT_TRUE(covers(1));
  EXPECT_TRUE(covers(11));
  EXPECT_FALSE(covers(12));
  EXPECT_FALSE(covers(13));
  EXPECT_TRUE(covers(14));
  EXPECT_FALSE(covers(19));
  EXPECT_TRUE(covers(20));
  EXPECT_FALSE(covers(21));
  EXPECT_FALSE(set.covers({"prober-1", 78, 0, 1}));
}

TEST(PositionSet, SurvivesTheTripThroughBytes) {
  Result<PositionSet> back = PositionSet::parse(sample().serialise());
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(*back, sample());
  Result<PositionSet> empty = PositionSet::parse(PositionSet{}.serialise());
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE(empty->empty());
}

TEST(PositionSet, RefusesEveryFlippedBitAndEveryShorterText) {
  std::string bytes = sample().serialise();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string bad = bytes;
    bad[bit / 8] = static_cast<char>(static_cast<unsigned char>(bad[bit / 8]) ^ (1U << (bit % 8)));
    EXPECT_FALSE(PositionSet::parse(bad).has_value()) << "bit " << bit;
  }
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(PositionSet::parse(bytes.substr(0, n)).has_value()) << n << " bytes";
  }
}

TEST(PositionSet, TellsWhatToWrite) {
  PositionSet before = sample();
  PositionSet after = sample();
  after.set({"prober-1", 77, 7}, {6, 6, {}, 1, false});
  after.set({"prober-3", 5, 0}, {1, 1, {}, 1, false});
  after.erase({"prober-2", 1, 3});
  PositionSet::Changes changes = after.changes_since(before);
  ASSERT_EQ(changes.upserts.size(), 2U);
  EXPECT_EQ(changes.upserts[0].first.partition, 7U);
  EXPECT_EQ(changes.upserts[1].first.producer, "prober-3");
  ASSERT_EQ(changes.removals.size(), 1U);
  EXPECT_EQ(changes.removals[0].producer, "prober-2");
  EXPECT_TRUE(before.changes_since(before).upserts.empty());
}

TEST(PositionSet, WritesRangesAsText) {
  EXPECT_EQ(format_ranges({{3, 5}, {9, 9}}), "3-5,9-9");
  EXPECT_EQ(format_ranges({}), "");
  EXPECT_EQ(*parse_ranges("3-5,9-9"), (std::vector<SeqRange>{{3, 5}, {9, 9}}));
  EXPECT_TRUE(parse_ranges("")->empty());
  for (const char* bad : {"3", "5-3", "3-5,", ",3-5", "3-5,4-9", "0-1", "x", "3-5 9-9", "-3",
                          "3-99999999999999999999"}) {
    EXPECT_FALSE(parse_ranges(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace gema::stream
