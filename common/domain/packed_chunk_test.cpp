#include "common/domain/packed_chunk.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "common/base/crc32c.h"
#include "common/base/random.h"
#include "common/domain/chunk.h"

namespace gema {
namespace {

ChunkArrays unpacked(const std::string& bytes) {
  ChunkArrays out;
  const auto done = unpack_chunk(bytes, out);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return out;
}

ChunkArrays packed_and_unpacked(const ChunkArrays& x) {
  return unpacked(pack_chunk(x.echoes, x.samples, x.extra));
}

// Box and Muller (1958).
double gaussian(Random& random) {
  auto uniform = [&] { return (static_cast<double>(random.below(1 << 30)) + 1) / (1 << 30); };
  return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform());
}

std::vector<int32_t> noise(size_t n, double level_us, double spread_us, Random& random) {
  std::vector<int32_t> samples(n);
  for (int32_t& v : samples) {
    v = static_cast<int32_t>(std::max(0.0, level_us + spread_us * gaussian(random)));
  }
  return samples;
}

int32_t any_number(Random& random) {
  switch (random.below(6)) {
    case 0:
      return static_cast<int32_t>(random.next());
    case 1:
      return std::numeric_limits<int32_t>::min();
    case 2:
      return std::numeric_limits<int32_t>::max();
    case 3:
      return kNotMeasuredBase - static_cast<int32_t>(random.below(30));
    case 4:
      return -static_cast<int32_t>(random.below(101));
    default:
      return static_cast<int32_t>(random.below(2000));
  }
}

// Stretches of one kind each: noise, one value, one code, anything; whole slots without echoes.
ChunkArrays any_chunk(Random& random) {
  ChunkArrays x{.echoes = 1 + static_cast<uint32_t>(random.below(5))};
  const size_t slots = random.below(400);
  while (x.samples.size() < slots * x.echoes) {
    const uint64_t kind = random.below(5);
    const int32_t one = any_number(random);
    for (size_t n = random.below(200) * x.echoes; n > 0; --n) {
      const bool slot_begins = x.samples.size() % x.echoes == 0;
      if (kind == 4 && slot_begins) {
        x.samples.push_back(random.chance(500) ? kNoResult : kNotMeasuredBase - 17);
        x.samples.resize(x.samples.size() + x.echoes - 1, kNoEcho);
        continue;
      }
      x.samples.push_back(kind == 0   ? 1000 + static_cast<int32_t>(random.below(300))
                          : kind == 1 ? one
                          : kind == 2 ? -1
                                      : any_number(random));
    }
  }
  x.samples.resize(slots * x.echoes);
  for (size_t n = random.below(20); n > 0; --n) x.extra.push_back(any_number(random));
  return x;
}

TEST(PackedChunk, GivesBackAnyNumbersExactly) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int i = 0; i < 3000; ++i) {
    const ChunkArrays x = any_chunk(random);
    ASSERT_EQ(packed_and_unpacked(x), x) << "round " << i;
  }
}

TEST(PackedChunk, OfNothingIsAFewBytes) {
  EXPECT_EQ(packed_and_unpacked({}), ChunkArrays{});
  EXPECT_LE(pack_chunk(1, {}, {}).size(), 12u);
}

// log2(4.13 spread) bits: the entropy of Gaussian noise at a resolution of 1 us.
TEST(PackedChunk, OfNoiseTakesLittleMoreThanItsEntropy) {
  const uint64_t seed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const double spread : {5.0, 20.0, 100.0, 1000.0, 5000.0}) {
    const auto samples = noise(3600, 30'000, spread, random);
    const double bits = 8.0 * static_cast<double>(pack_chunk(1, samples, {}).size()) / 3600;
    EXPECT_LT(bits, std::log2(4.13 * spread) + 0.45) << "spread " << spread;
  }
}

TEST(PackedChunk, OfOneValueOrOfOneCodeTakesNoBytesForASample) {
  const std::vector<int32_t> same(3600, 420);
  EXPECT_LE(pack_chunk(1, same, {}).size(), 100u);
  const std::vector<int32_t> lost(3600, -1);
  EXPECT_LE(pack_chunk(1, lost, {}).size(), 24u);
  std::vector<int32_t> paused;
  for (int i = 0; i < 720; ++i) {
    paused.push_back(kNotMeasuredBase - 17);
    paused.resize(paused.size() + 4, kNoEcho);
  }
  EXPECT_LE(pack_chunk(5, paused, {}).size(), 24u);
}

TEST(PackedChunk, KeepsABlockDenseBesideASpike) {
  const uint64_t seed = 4;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  auto samples = noise(1280, 30'000, 20, random);
  const size_t before = pack_chunk(1, samples, {}).size();
  for (size_t i = 5; i < samples.size(); i += 128) samples[i] = 2'000'000'000;
  EXPECT_LE(pack_chunk(1, samples, {}).size(), before + 10 * 9);
}

// What the first writer wrote; it must be readable for ever. docs/packed-chunk.md explains each
// byte of it.
TEST(PackedChunk, ReadsTheWorkedExample) {
  const ChunkArrays example{.samples = {420, 422, 419, -1, -1, 425, kNoResult, 420},
                            .extra = {3, 258, 4, 0}};
  const std::string bytes = pack_chunk(example.echoes, example.samples, example.extra);
  std::string hex;
  for (const char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(static_cast<uint8_t>(c)));
    hex += two;
  }
  EXPECT_EQ(hex, "010008010203010201640105c806018c1f00040684040800404f2439");
  EXPECT_EQ(unpacked(bytes), example);
}

TEST(PackedChunk, RefusesEveryCutAndEveryFlippedBit) {
  const uint64_t seed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  auto samples = noise(300, 500, 30, random);
  for (size_t i = 100; i < 110; ++i) samples[i] = -1;
  const std::string good = pack_chunk(1, samples, std::vector<int32_t>{1, 2, 3});
  ChunkArrays out;
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(unpack_chunk(good.substr(0, n), out)) << "cut to " << n;
    EXPECT_TRUE(out.samples.empty() && out.extra.empty());
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string broken = good;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(unpack_chunk(broken, out)) << "bit " << bit;
  }
  EXPECT_FALSE(unpack_chunk(good + '\0', out));
}

// With the checksum made right again, so that the reader itself is tried.
TEST(PackedChunk, ReadsOrRefusesAnyBytesButNeverCrashes) {
  const uint64_t seed = 6;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  ChunkArrays out;
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    const ChunkArrays x = any_chunk(random);
    std::string bytes = pack_chunk(x.echoes, x.samples, x.extra);
    bytes.resize(bytes.size() - 4);
    for (uint64_t n = 1 + random.below(4); n > 0; --n) {
      bytes[1 + random.below(bytes.size() - 1)] = static_cast<char>(random.next());
    }
    const uint32_t crc = crc32c(bytes);
    for (uint32_t shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(crc >> shift));
    }
    refused += unpack_chunk(bytes, out) ? 0 : 1;
    ASSERT_LE(out.samples.size(), kPackedNumbersMax);
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace gema
