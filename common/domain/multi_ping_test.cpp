#include "common/domain/multi_ping.h"

#include <gtest/gtest.h>

#include <vector>

namespace gema {
namespace {

const UtcOffset kJakarta = [](int64_t) { return 7 * 3600; };

std::vector<std::string> cells(const Device& device, const PingSample& sample) {
  std::vector<std::string> out;
  for_each_cell(device, sample, kJakarta, [&](std::string_view text) { out.emplace_back(text); });
  EXPECT_EQ(out.size(), kPingColumns.size());
  return out;
}

TEST(MultiPingRow, IsAllTextsInTheOrderOfTheColumns) {
  Device device{.id = 7, .address = "10.0.0.7", .hostname = "POCC"};
  device.merk = "Vivotek";
  device.os = "linux";
  device.kondisi = "baik";
  device.id_lokasi = "4";
  EXPECT_EQ(cells(device, {1'758'246'347'075, Verdict::kAnswered, Reason::kNone, 12'500}),
            (std::vector<std::string>{"2025-09-19T08:45:47.075000", "7", "10.0.0.7", "POCC", "True",
                                      "12.5", "", "Vivotek", "linux", "baik", "4"}));
}

TEST(MultiPingRow, SaysWhyThereIsNoRoundTripAndFallsBackToTheAddress) {
  const Device device{.id = 7, .address = "10.0.0.7"};
  const auto failed = cells(device, {0, Verdict::kFailed, Reason::kTimeout, 0});
  EXPECT_EQ(failed[3], "10.0.0.7");
  EXPECT_EQ(failed[4], "False");
  EXPECT_EQ(failed[5], "");
  EXPECT_EQ(failed[6], "No response (timeout)");
  const auto unreachable = cells(device, {0, Verdict::kFailed, Reason::kUnreachable, 0});
  EXPECT_EQ(unreachable[6], "Ping error: unreachable");
  const auto paused = cells(device, {0, Verdict::kNotMeasured, Reason::kPaused, 0});
  EXPECT_EQ(paused[4], "");
  EXPECT_EQ(paused[6], "Not measured: paused");
}

TEST(MultiPingRow, AProofOfLifeIsASuccessWithoutARoundTripOfZero) {
  const auto alive = cells({.id = 7}, {0, Verdict::kAnswered, Reason::kWebAlive, 0});
  EXPECT_EQ(alive[4], "True");
  EXPECT_EQ(alive[5], "");
}

TEST(MeanRtt, TakesOwnEchoesAndBurstAndNothingElse) {
  PingResults results;
  results.device = {1};
  results.echo_outcome = {EchoOutcome::kReply, EchoOutcome::kTimeout};
  results.echo_rtt_us = {100, 0};
  results.echo_begin = {0, 2};
  EXPECT_EQ(mean_rtt_us(results, 0, nullptr), 100U);
  const BurstResult burst{.index = 0, .sent = 3, .rtt_us = {101, 102}};
  EXPECT_EQ(mean_rtt_us(results, 0, &burst), 101U);
  results.echo_outcome[0] = EchoOutcome::kTimeout;
  EXPECT_EQ(mean_rtt_us(results, 0, nullptr), 0U);
}

}  // namespace
}  // namespace gema
