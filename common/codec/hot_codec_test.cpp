#include "common/codec/hot_codec.h"

#include <gtest/gtest.h>

#include <vector>

namespace gema {
namespace {

std::string two_records() {
  std::string row;
  append_hot({"prober-1", 0xfedcba9876543210, 7, -5, std::string_view("\0abc", 4)}, row);
  append_hot({"p2", 1, 8, 1'700'000'000'000'000, ""}, row);
  return row;
}

TEST(HotCodec, GivesBackWhatWasAppended) {
  const std::string row = two_records();
  std::vector<HotRecord> got;
  ASSERT_TRUE(read_hot(row, [&](const HotRecord& r) { got.push_back(r); }));
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].producer, "prober-1");
  EXPECT_EQ(got[0].epoch, 0xfedcba9876543210U);
  EXPECT_EQ(got[0].seq, 7U);
  EXPECT_EQ(got[0].produced_at_us, -5);
  EXPECT_EQ(got[0].payload, std::string_view("\0abc", 4));
  EXPECT_EQ(got[1].producer, "p2");
  EXPECT_EQ(got[1].produced_at_us, 1'700'000'000'000'000);
  EXPECT_TRUE(got[1].payload.empty());
}

TEST(HotCodec, RefusesARowThatIsCutShortAnywhere) {
  const std::string row = two_records();
  std::string first;
  append_hot({"prober-1", 0xfedcba9876543210, 7, -5, std::string_view("\0abc", 4)}, first);
  for (size_t n = 0; n < row.size(); ++n) {
    const bool whole_records = n == 1 || n == first.size();
    EXPECT_EQ(read_hot(row.substr(0, n), [](const HotRecord&) {}).has_value(), whole_records) << n;
  }
}

TEST(HotCodec, RefusesWhatIsNoProducersName) {
  std::string row = two_records();
  row[2 + 3] = static_cast<char>(0xe2);
  EXPECT_FALSE(read_hot(row, [](const HotRecord&) {}));
  row[2 + 3] = '\0';
  EXPECT_FALSE(read_hot(row, [](const HotRecord&) {}));
  row[2 + 3] = 'x';
  EXPECT_TRUE(read_hot(row, [](const HotRecord&) {}));
}

TEST(HotCodec, RefusesAnUnknownFormat) {
  std::string row = two_records();
  row[0] = 2;
  EXPECT_FALSE(read_hot(row, [](const HotRecord&) {}));
}

}  // namespace
}  // namespace gema
