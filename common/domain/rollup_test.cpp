#include "common/domain/rollup.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/base/crc32c.h"
#include "common/base/random.h"

namespace gema {
namespace {

struct Sample {
  int64_t due_ms = 0;
  Verdict verdict = Verdict::kAnswered;
  Reason reason = Reason::kNone;
  std::vector<EchoOutcome> outcomes;
  std::vector<uint32_t> rtt_us;
  uint32_t burst_sent = 0;
  std::vector<uint32_t> burst_rtt_us;
  uint32_t interval_ms = 5000;

  ResultView view() const {
    return {.verdict = verdict,
            .reason = reason,
            .outcomes = outcomes,
            .rtt_us = rtt_us,
            .burst_sent = burst_sent,
            .burst_rtt_us = burst_rtt_us};
  }
};

Sample any_sample(int64_t due_ms, Random& random) {
  Sample s{.due_ms = due_ms};
  if (random.chance(100)) {
    s.verdict = Verdict::kNotMeasured;
    s.reason = static_cast<Reason>(16 + random.below(9));
    return s;
  }
  for (uint64_t n = 1 + random.below(3); n > 0; --n) {
    const bool reply = random.chance(900);
    s.outcomes.push_back(reply ? EchoOutcome::kReply : EchoOutcome::kHostUnreachable);
    s.rtt_us.push_back(reply ? 400 + static_cast<uint32_t>(random.below(100)) : 0);
  }
  if (random.chance(50)) {
    s.burst_sent = 4;
    s.burst_rtt_us.assign(random.below(5), 777);
  }
  s.reason = random.chance(900) ? Reason::kNone : Reason::kLossy;
  return s;
}

std::vector<Sample> any_samples(size_t n, int64_t step_ms, Random& random) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < n; ++i) {
    samples.push_back(any_sample(static_cast<int64_t>(i) * step_ms, random));
  }
  return samples;
}

std::vector<Rollup> rolled_up(const std::vector<Sample>& samples, int64_t period_ms,
                              size_t periods) {
  RollupBuilder builder(0, period_ms, periods);
  for (const Sample& s : samples) builder.add(s.due_ms, s.interval_ms, s.view());
  return builder.take();
}

TEST(Rollup, CountsWhatTheResultsSay) {
  Sample lost{.due_ms = 1000,
              .verdict = Verdict::kFailed,
              .reason = Reason::kTimeout,
              .outcomes = {EchoOutcome::kTimeout},
              .rtt_us = {0},
              .burst_sent = 4};
  Sample paused{.due_ms = 2000, .verdict = Verdict::kNotMeasured, .reason = Reason::kPaused};
  Sample good{
      .due_ms = 0, .outcomes = {EchoOutcome::kReply, EchoOutcome::kReply}, .rtt_us = {4, 8}};
  Sample burst{.due_ms = 3000,
               .reason = Reason::kLossy,
               .outcomes = {EchoOutcome::kTimeout},
               .rtt_us = {0},
               .burst_sent = 2,
               .burst_rtt_us = {6}};
  const Rollup r = rolled_up({good, lost, paused, burst}, 60'000, 1)[0];
  EXPECT_EQ(r.verdicts, (std::array<uint64_t, 3>{2, 1, 1}));
  EXPECT_EQ(r.reasons[static_cast<size_t>(Reason::kPaused)], 1u);
  EXPECT_EQ(r.time_ms, (std::array<uint64_t, 3>{10'000, 5'000, 5'000}));
  EXPECT_EQ(r.sent_echoes(), 2u + 5 + 0 + 3);
  EXPECT_EQ(r.answered_echoes(), 3u);
  EXPECT_EQ(r.rtt_min_us, 4u);
  EXPECT_EQ(r.rtt_max_us, 8u);
  EXPECT_DOUBLE_EQ(r.mean_us(), 6);
  EXPECT_DOUBLE_EQ(r.deviation_us(), std::sqrt(8.0 / 3));
  EXPECT_DOUBLE_EQ(r.jitter_us(), 4);
  EXPECT_EQ(r.sketch.quantile_us(0.5), 6u);
}

TEST(Rollup, OfNothingIsEmpty) {
  const Rollup r;
  EXPECT_EQ(r.checks(), 0u);
  EXPECT_EQ(r.mean_us(), 0);
  EXPECT_EQ(r.deviation_us(), 0);
  EXPECT_EQ(r.jitter_us(), 0);
}

TEST(Rollup, OfAnHourIsThoseOfItsMinutesMerged) {
  const uint64_t seed = 60;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 30; ++round) {
    const auto samples = any_samples(720, 5000, random);
    Rollup merged;
    for (const Rollup& minute : rolled_up(samples, 60'000, 60)) merged.merge(minute);
    Rollup hour = rolled_up(samples, 3'600'000, 1)[0];
    // Across a border of minutes nothing is compared.
    EXPECT_LE(merged.jitter_count, hour.jitter_count);
    hour.jitter_count = merged.jitter_count;
    hour.jitter_sum_us = merged.jitter_sum_us;
    EXPECT_EQ(merged, hour);
  }
}

TEST(Rollup, LeavesOutWhatLiesBeyondItsPeriods) {
  RollupBuilder builder(60'000, 60'000, 2);
  const Sample s{.outcomes = {EchoOutcome::kReply}, .rtt_us = {5}};
  for (const int64_t due_ms : {59'999, 60'000, 119'999, 120'000, 179'999, 180'000}) {
    builder.add(due_ms, 1000, s.view());
  }
  const auto rollups = builder.take();
  EXPECT_EQ(rollups[0].checks(), 2u);
  EXPECT_EQ(rollups[1].checks(), 2u);
}

TEST(Rollup, IsGivenBackByItsBytes) {
  const uint64_t seed = 61;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 200; ++round) {
    auto samples = any_samples(random.below(900), 5000, random);
    // The interval changed, now and then.
    for (Sample& s : samples) {
      if (round % 3 == 1 && s.due_ms > 1'000'000) s.interval_ms = 10'000;
      if (round % 3 == 2 && random.chance(10)) s.interval_ms = 1'000;
    }
    auto rollups = rolled_up(samples, 60'000, 60);
    if (random.chance(300)) {
      for (int i = 0; i < 50; ++i) rollups[0].merge(rollups[0]);  // counts and squares of 2^50
    }
    const auto read = unpack_rollups(pack_rollups(rollups));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    ASSERT_EQ(*read, rollups);
  }
}

TEST(Rollup, OfAnHourInMinutesTakesLessThanHalfAByteASample) {
  const uint64_t seed = 62;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::vector<Sample> samples;
  for (int i = 0; i < 3600; ++i) {
    samples.push_back({.due_ms = i * 1000,
                       .outcomes = {EchoOutcome::kReply},
                       .rtt_us = {30'000 + static_cast<uint32_t>(random.below(350))}});
  }
  EXPECT_LE(pack_rollups(rolled_up(samples, 60'000, 60)).size(), 1800u);
}

TEST(Rollup, TimesTakeNoBytesWhereAllChecksHaveOneInterval) {
  const uint64_t seed = 64;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  auto samples = any_samples(720, 5000, random);
  const auto even = pack_rollups(rolled_up(samples, 60'000, 60));
  for (Sample& s : samples) s.interval_ms = 0;
  EXPECT_EQ(even.size(), pack_rollups(rolled_up(samples, 60'000, 60)).size() + 1);
  // One rollup with another interval writes its own out, and no other does.
  samples[0].interval_ms = 1;
  EXPECT_LE(pack_rollups(rolled_up(samples, 60'000, 60)).size(), even.size() + 8);
}

TEST(Rollup, ReadsTheWorkedExample) {
  RollupBuilder builder(0, 60'000, 2);
  const std::vector<EchoOutcome> reply{EchoOutcome::kReply};
  const std::vector<EchoOutcome> lost{EchoOutcome::kTimeout};
  const std::vector<uint32_t> none{0};
  int64_t due_ms = 0;
  for (const uint32_t rtt_us : {420U, 422U, 419U}) {
    const std::vector<uint32_t> rtts{rtt_us};
    builder.add(due_ms, 15'000, {.verdict = Verdict::kAnswered, .outcomes = reply, .rtt_us = rtts});
    due_ms += 15'000;
  }
  builder.add(due_ms, 15'000,
              {.verdict = Verdict::kFailed,
               .reason = Reason::kTimeout,
               .outcomes = lost,
               .rtt_us = none,
               .burst_sent = 4});
  const auto rollups = builder.take();
  const std::string page =
      "0202987502000300010200030101020003000104"
      "00a30303040502050701b6010300c3530369";
  std::string bytes;
  for (size_t i = 0; i < page.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(page.substr(i, 2), nullptr, 16)));
  }
  const auto read = unpack_rollups(bytes);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(*read, rollups);
  EXPECT_EQ(pack_rollups(rollups), bytes);
}

TEST(Rollup, ReadsRowsOfVersion1WhichDoNotSayWhatTimeChecksStandFor) {
  const std::string page =
      "01020200030001020003010102000300010400"
      "a30303040502050701b60103008997c757";
  std::string bytes;
  for (size_t i = 0; i < page.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(page.substr(i, 2), nullptr, 16)));
  }
  const auto read = unpack_rollups(bytes);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(read->at(0).verdicts, (std::array<uint64_t, 3>{3, 1, 0}));
  EXPECT_EQ(read->at(0).time_ms, (std::array<uint64_t, 3>{}));
  EXPECT_EQ(read->at(0).rtt_max_us, 422u);
  EXPECT_EQ(read->at(0).sketch.count(), 3u);
  EXPECT_EQ(read->at(1).checks(), 0u);
}

TEST(Rollup, ReadsOrRefusesAnyBytesButNeverCrashes) {
  const uint64_t seed = 63;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    const auto rollups = rolled_up(any_samples(random.below(100), 5000, random), 60'000, 8);
    std::string bytes = pack_rollups(rollups);
    if (random.chance(500)) bytes.resize(bytes.size() - 4);
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      bytes[1 + random.below(bytes.size() - 1)] = static_cast<char>(random.next());
    }
    const uint32_t crc = crc32c(bytes);
    for (uint32_t shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(crc >> shift));
    }
    const auto read = unpack_rollups(bytes);
    refused += read ? 0 : 1;
    if (!read) continue;
    for (const Rollup& r : *read) EXPECT_GE(r.mean_us() + r.jitter_us(), 0);
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace gema
