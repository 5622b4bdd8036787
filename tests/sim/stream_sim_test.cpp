#include <gtest/gtest.h>

#include <cstdio>

#include "tests/sim/stream_world.h"

namespace gema::sim {
namespace {

constexpr uint64_t kSeeds = 300;
constexpr uint32_t kRecords = 10'000;

void announce(uint64_t seed) {
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
              draw_rates(seed).text().c_str());
  std::fflush(stdout);
}

TEST(StreamSim, EverySeedKeepsThePromises) {
  uint64_t announced_lost = 0;
  uint64_t power_cut_lost = 0;
  uint64_t failovers = 0;
  uint64_t epochs = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    announce(seed);
    RunResult result = run_world({.seed = seed, .records = kRecords});
    for (const std::string& violation : result.violations) {
      ADD_FAILURE() << "seed " << seed << ": " << violation << "\n  replay: stream_sim --seed "
                    << seed;
    }
    EXPECT_EQ(result.records, kRecords);
    announced_lost += result.announced_lost;
    power_cut_lost += result.power_cut_lost;
    failovers += result.failovers;
    epochs += result.epochs;
  }
  // The faults did happen, or all of this says nothing.
  EXPECT_GT(announced_lost, 10'000U);
  EXPECT_GT(power_cut_lost, 1'000U);
  EXPECT_GT(failovers, 100U);
  EXPECT_GT(epochs, 1'000U);
}

TEST(StreamSim, OneSeedIsOneRunExactly) {
  for (uint64_t seed : {7U, 8U, 24U}) {  // 8 and 24: messages travel as bytes
    announce(seed);
    RunResult first = run_world({.seed = seed, .records = kRecords});
    RunResult second = run_world({.seed = seed, .records = kRecords});
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.replayed, second.replayed) << "seed " << seed;
    EXPECT_NE(first.trace_hash, run_world({.seed = seed + 1000, .records = kRecords}).trace_hash);
  }
}

// A planted fault is noticed within a few seeds, and the same seed is clean without it.
void expect_caught(Plant plant) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    RunResult result = run_world({.seed = seed, .records = kRecords, .plant = plant});
    if (result.violations.empty()) continue;
    announce(seed);
    std::printf("  %s\n", result.violations.front().c_str());
    EXPECT_TRUE(run_world({.seed = seed, .records = kRecords}).violations.empty());
    return;
  }
  FAIL() << "a hundred seeds, and nobody noticed";
}

TEST(StreamSim, CatchesAcknowledgingBeforeTheEffectIsDurable) {
  expect_caught(Plant::kAckBeforeDurable);
}

TEST(StreamSim, CatchesReusingSeqsAfterAPowerCut) {
  expect_caught(Plant::kReuseSeqs);
}

TEST(StreamSim, CatchesDroppingARecordAtAFullQueueSilently) {
  expect_caught(Plant::kSilentDrop);
}

}  // namespace
}  // namespace gema::sim
