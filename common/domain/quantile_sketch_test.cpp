#include "common/domain/quantile_sketch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/random.h"

namespace gema {
namespace {

std::vector<uint32_t> samples_of(Random& random, size_t n) {
  std::vector<uint32_t> samples(n);
  const uint64_t kind = random.below(4);
  for (uint32_t& v : samples) {
    v = kind == 0   ? static_cast<uint32_t>(random.below(300))
        : kind == 1 ? 30'000 + static_cast<uint32_t>(random.below(2000))
        : kind == 2 ? static_cast<uint32_t>(random.next()) >> random.below(32)
                    : static_cast<uint32_t>(random.chance(20) ? 900'000 : 420);
  }
  return samples;
}

QuantileSketch sketch_of(std::vector<uint32_t> samples) {
  QuantileSketch sketch;
  sketch.add_all(samples);
  return sketch;
}

TEST(QuantileSketch, HasBinsOfTwoPercentAtMost) {
  for (uint16_t i = 0; i < quantile_bins(); ++i) {
    const uint32_t begin = quantile_bin_begin(i);
    const uint32_t last = quantile_bin_begin(static_cast<uint16_t>(i + 1)) - 1;
    EXPECT_EQ(quantile_bin(begin), i);
    if (last <= std::numeric_limits<int32_t>::max()) {
      EXPECT_EQ(quantile_bin(last), i);
    }
    EXPECT_LE(last - begin, begin / 50) << "bin " << i;
  }
  EXPECT_EQ(quantile_bin(std::numeric_limits<uint32_t>::max()), quantile_bins() - 1);
}

// Against the sorted samples themselves, merged from any parts.
TEST(QuantileSketch, IsWithinItsErrorOnMergedParts) {
  const uint64_t seed = 99;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint32_t> all;
    QuantileSketch merged;
    for (uint64_t part = 1 + random.below(5); part > 0; --part) {
      const auto samples = samples_of(random, 1 + random.below(500));
      all.insert(all.end(), samples.begin(), samples.end());
      merged.merge(sketch_of(samples));
    }
    EXPECT_EQ(merged, sketch_of(all));
    EXPECT_EQ(merged.count(), all.size());
    std::sort(all.begin(), all.end());
    for (const double q : {0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank =
          static_cast<size_t>(std::max(1.0, std::ceil(q * static_cast<double>(all.size()))));
      const double truth = std::min<double>(all[rank - 1], std::numeric_limits<int32_t>::max());
      EXPECT_LE(std::abs(merged.quantile_us(q) - truth), truth * kQuantileError)
          << "q " << q << " of " << all.size();
    }
  }
}

TEST(QuantileSketch, AddsOneByOneAsAllAtOnce) {
  const uint64_t seed = 98;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const auto samples = samples_of(random, 2000);
  QuantileSketch one_by_one;
  for (const uint32_t v : samples) one_by_one.add(v);
  EXPECT_EQ(one_by_one, sketch_of(samples));
}

TEST(QuantileSketch, IsGivenBackByItsBytes) {
  const uint64_t seed = 97;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 1000; ++round) {
    QuantileSketch sketch = sketch_of(samples_of(random, random.below(2000)));
    if (random.chance(100)) sketch.add(7, random.next() >> 20);
    std::string bytes;
    sketch.pack(bytes);
    const size_t size = bytes.size();
    bytes += "more";
    std::string_view rest = bytes;
    const auto read = QuantileSketch::unpack(rest);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    ASSERT_EQ(*read, sketch);
    ASSERT_EQ(rest, "more");
    ASSERT_EQ(bytes.size(), size + 4);
  }
}

TEST(QuantileSketch, OfAMinuteTakesAFewBytes) {
  const uint64_t seed = 96;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  QuantileSketch minute, hour;
  for (int i = 0; i < 60; ++i) minute.add(30'000 + static_cast<uint32_t>(random.below(2000)));
  for (int i = 0; i < 3600; ++i) hour.add(30'000 + static_cast<uint32_t>(random.below(20'000)));
  std::string bytes;
  minute.pack(bytes);
  EXPECT_LE(bytes.size(), 16u);
  bytes.clear();
  hour.pack(bytes);
  EXPECT_LE(bytes.size(), 120u);
}

TEST(QuantileSketch, ReadsOrRefusesAnyBytesButNeverCrashes) {
  const uint64_t seed = 95;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes;
    sketch_of(samples_of(random, random.below(300))).pack(bytes);
    for (uint64_t n = random.below(4); n > 0; --n) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    if (random.chance(300)) bytes.resize(random.below(bytes.size() + 1));
    std::string_view rest = bytes;
    const auto read = QuantileSketch::unpack(rest);
    refused += read ? 0 : 1;
    if (!read || read->empty()) continue;
    EXPECT_LE(read->quantile_us(0), read->quantile_us(1));
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace gema
