#include "tests/bench/history_reads/samples.h"

#include <algorithm>
#include <cmath>

namespace gema::bench {
namespace {

constexpr int64_t kDayMs = 86'400'000;
// The prober was not running for so long, once a day, for all devices alike.
constexpr int64_t kRestartAtMs = 9 * 3'600'000 + 17 * 60'000;
constexpr int64_t kRestartMs = 15'000;
// Of 1000 devices so many have an outage each day.
constexpr uint64_t kOutages = 30;
constexpr int64_t kBurstsMs = 15'000;  // a device is known to be down after three failures

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

uint64_t hash(uint64_t a, uint64_t b) {
  return mix(mix(a + 0x9e3779b97f4a7c15ULL) ^ (b * 0xd6e8feb86659fd93ULL));
}

float unit(uint64_t bits) {
  return static_cast<float>(bits & 0xffffff) / static_cast<float>(0x1000000);
}

}  // namespace

Samples::Samples(uint32_t devices) : profiles_(devices + 1) {
  for (uint32_t d = 1; d <= devices; ++d) {
    const uint64_t h = hash(d, 0);
    const uint64_t g = hash(d, 1);
    // 0.25 ms (the next room) to 80 ms (another continent), evenly over the orders of magnitude.
    profiles_[d] = {.level_us = 250 * std::pow(320.0F, unit(h)),
                    .noise = 0.005F + 0.04F * unit(h >> 24),
                    .wander = 0.05F * unit(g),
                    .phase = 6.28F * unit(g >> 24),
                    .lost = d % 10 == 0 ? 655U : 6U,  // 1 %, the others one in 10,000
                    .spikes = 300};
  }
}

Sample Samples::at(DeviceId device, int64_t due_ms) const {
  const Profile& p = profiles_[device];
  const auto slot = static_cast<uint64_t>(due_ms) / kIntervalMs;
  const int64_t of_day = due_ms % kDayMs;
  if (of_day >= kRestartAtMs && of_day < kRestartAtMs + kRestartMs) {
    return {.verdict = Verdict::kNotMeasured,
            .reason = Reason::kNotRunning,
            .outcome = EchoOutcome::kNotSent};
  }
  const uint64_t outage = hash(device, static_cast<uint64_t>(due_ms / kDayMs) + 7);
  if (outage % 1000 < kOutages) {
    const auto begin =
        static_cast<int64_t>((outage >> 10) % 23 * 3'600'000 + (outage >> 20) % 3'000'000);
    const auto length = static_cast<int64_t>(60'000 + (outage >> 40) % 3'600'000);
    if (of_day >= begin && of_day < begin + length) {
      return {.verdict = Verdict::kFailed,
              .reason = Reason::kTimeout,
              .outcome = EchoOutcome::kTimeout,
              .burst_sent = static_cast<uint8_t>(of_day < begin + kBurstsMs ? 4 : 0)};
    }
  }
  const uint64_t h = hash(device << 32, slot);
  if ((h & 0xffff) < p.lost) {
    return {.verdict = Verdict::kFailed,
            .reason = Reason::kTimeout,
            .outcome = EchoOutcome::kTimeout,
            .burst_sent = 4};
  }
  const uint64_t g = mix(h + 0x9e3779b97f4a7c15ULL);
  // Nearly normal, and a little skewed as queues make it.
  const float sum =
      static_cast<float>((g & 0xffff) + (g >> 16 & 0xffff) + (g >> 32 & 0xffff) + (g >> 48)) /
          65'536.0F -
      2.0F;
  const float normal = sum * 1.732F;
  const float hours = static_cast<float>(slot % (86'400'000 / kIntervalMs)) / 720.0F;
  const float level = p.level_us * (1 + p.wander * std::sin(hours * 0.2618F + p.phase));
  float rtt = level * (1 + p.noise * (normal + 0.25F * normal * normal));
  if ((h >> 16 & 0xffff) < p.spikes) {
    rtt += -std::log(1 - unit(h >> 40)) * 20'000;
  }
  return {.rtt_us = static_cast<uint32_t>(std::max(60.0F, rtt))};
}

}  // namespace gema::bench
