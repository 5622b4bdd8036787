#include "common/domain/hour_merger.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/random.h"
#include "common/domain/packed_chunk.h"

namespace gema {
namespace {

constexpr int64_t kHour = 1'800'000'000'000 / kChunkSpanMs * kChunkSpanMs;

struct Chunk {
  HourSource source;
  int64_t start_ms = 0;
  uint32_t step_ms = 1000;
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
};

// Runs of one device's hour, now and then with holes, losses and bursts.
std::vector<Chunk> random_hour(Random& random) {
  std::vector<Chunk> chunks;
  const uint32_t step_ms = random.chance(800) ? 1000 : 15'000;
  const int64_t slots = kChunkSpanMs / step_ms;
  for (int64_t slot = static_cast<int64_t>(random.below(3)); slot < slots;) {
    Chunk chunk{.start_ms = kHour + 77 + slot * step_ms, .step_ms = step_ms};
    const auto n = std::min<int64_t>(1 + static_cast<int64_t>(random.below(200)), slots - slot);
    for (int64_t i = 0; i < n; ++i) {
      const bool inside = i > 0 && i + 1 < n;
      if (inside && random.chance(20)) {
        chunk.samples.push_back(kNoResult);
      } else if (random.chance(20)) {
        chunk.samples.push_back(random.chance(500) ? -1 : kNotMeasuredBase - 20);
      } else {
        chunk.samples.push_back(20'000 + static_cast<int32_t>(random.below(400)));
      }
      if (chunk.samples.back() == -1 && random.chance(700)) {
        const auto index = static_cast<int32_t>(i);
        chunk.extra.insert(chunk.extra.end(), {index, 0 << 8 | 1, 4, 2, 21'000, 22'000});
      }
    }
    chunks.push_back(std::move(chunk));
    slot += n + (random.chance(200) ? static_cast<int64_t>(random.below(40)) : 0);
  }
  return chunks;
}

CompactedHour merged(const std::vector<Chunk>& chunks) {
  static const std::map<int32_t, std::string> names;
  HourMerger merger(names);
  merger.begin(9, kHour);
  for (const Chunk& chunk : chunks) {
    EXPECT_TRUE(merger.add(chunk.source, {.device = 9,
                                          .start_ms = chunk.start_ms,
                                          .step_ms = chunk.step_ms,
                                          .samples = chunk.samples,
                                          .extra = chunk.extra}));
  }
  return merger.take();
}

void expect_same(const CompactedHour& a, const CompactedHour& b) {
  ASSERT_EQ(a.rows.size(), b.rows.size());
  EXPECT_EQ(a.results, b.results);
  for (size_t i = 0; i < a.rows.size(); ++i) {
    EXPECT_EQ(a.rows[i].start_ms, b.rows[i].start_ms);
    EXPECT_EQ(a.rows[i].results, b.rows[i].results);
    EXPECT_EQ(a.rows[i].details, b.rows[i].details);
    EXPECT_EQ(a.rows[i].packed, b.rows[i].packed);
  }
  ASSERT_EQ(a.minutes.size(), b.minutes.size());
  for (size_t i = 0; i < a.minutes.size(); ++i) {
    EXPECT_EQ(a.minutes[i].rollups, b.minutes[i].rollups);
    EXPECT_EQ(a.minutes[i].hour, b.minutes[i].hour);
  }
}

// Chunks that follow each other are joined; those that overlap are taken apart, result by result.
TEST(HourMerger, GivesTheSameHoweverOftenAndInWhateverOrderChunksCome) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    std::vector<Chunk> chunks = random_hour(random);
    const CompactedHour once = merged(chunks);
    EXPECT_EQ(once.doubled, 0U);
    for (size_t i = chunks.size(); i > 1; --i) std::swap(chunks[i - 1], chunks[random.below(i)]);
    expect_same(merged(chunks), once);
    const size_t again = random.below(chunks.size());
    chunks.push_back(chunks[again]);
    const CompactedHour twice = merged(chunks);
    EXPECT_GT(twice.doubled, 0U);
    expect_same(twice, once);
  }
}

TEST(HourMerger, TakesItsOwnRowsAgain) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const CompactedHour once = merged(random_hour(random));
    std::vector<Chunk> rows;
    for (const PackedRow& row : once.rows) {
      ChunkArrays arrays;
      ASSERT_TRUE(unpack_chunk(row.packed, arrays));
      rows.push_back({row.source, row.start_ms, row.step_ms, arrays.samples, arrays.extra});
    }
    expect_same(merged(rows), once);
  }
}

TEST(HourMerger, RefusesNumbersThatBreakTheRules) {
  static const std::map<int32_t, std::string> names;
  HourMerger merger(names);
  merger.begin(9, kHour);
  auto takes = [&](std::vector<int32_t> samples, std::vector<int32_t> extra) {
    return merger.add(
        {}, {.device = 9, .start_ms = kHour, .step_ms = 1000, .samples = samples, .extra = extra});
  };
  EXPECT_FALSE(takes({5, -77}, {}));
  EXPECT_FALSE(takes({5, kNotMeasuredBase - kReasonMax - 1}, {}));
  EXPECT_FALSE(takes({5, -1}, {1, 1, 4}));
  EXPECT_FALSE(takes({5, -1}, {1, 1, 4, 2, 9}));
  EXPECT_FALSE(takes({5, -1}, {1, 1, 4, 1, -9}));
  EXPECT_FALSE(takes({5, -1}, {2, 1, 4, 0}));
  EXPECT_FALSE(takes({5, -1}, {1, 7 << 8, 4, 0}));
  EXPECT_TRUE(merger.take().rows.empty());
}

}  // namespace
}  // namespace gema
