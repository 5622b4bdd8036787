// What the measurements of writing history share: results as probers make them.
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "services/recorder/bench/measure.h"

namespace gema::recorder::bench {

inline void print(const std::string& metric, double value, double reference = 0) {
  print("history_ingest", metric, value, reference);
}

// Devices 1..n at 1 Hz, one echo each; round trips scatter by 100 us (standard deviation) around
// what the device is used to, one echo in a thousand is lost, and then a burst of four says whether
// the host is there (mostly it is). Batches are as a prober of that load sends them: one per
// partition every 200 ms, results in the order in which they come in.
class Load {
 public:
  static constexpr uint32_t kIntervalMs = 1'000;
  static constexpr int64_t kFlushMs = 200;
  static constexpr size_t kFlushes = kIntervalMs / kFlushMs;

  Load(DeviceId first, DeviceId last, uint64_t seed) : random_(seed) {
    noise_.resize(1U << 16);
    for (float& n : noise_) {
      const double u = (static_cast<double>(random_.below(1U << 30)) + 1) / (1U << 30);
      const double v = static_cast<double>(random_.below(1U << 30)) / (1U << 30);
      n = static_cast<float>(100 * std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v));
    }
    for (DeviceId d = first; d <= last; ++d) {
      const Device device{d, slot_phase_ms(d, kIntervalMs),
                          300 + static_cast<uint32_t>(d * 7919 % 40'000)};
      devices_[static_cast<size_t>(device.phase_ms / kFlushMs)][partition_of(d)].push_back(device);
    }
    for (auto& flush : devices_) {
      for (auto& partition : flush) {
        std::sort(partition.begin(), partition.end(), [](const Device& a, const Device& b) {
          return a.phase_ms * 1000 + a.base_us < b.phase_ms * 1000 + b.base_us;
        });
      }
    }
  }

  // The batches of the flush of slots [from_ms, from_ms + kFlushMs). Requires: from_ms is a
  // multiple of kFlushMs. Returns how many results.
  uint64_t flush(int64_t from_ms, std::array<PingResults, kPartitions>& out) {
    const int64_t second = from_ms - from_ms % kIntervalMs;
    const auto& devices = devices_[static_cast<size_t>((from_ms % kIntervalMs) / kFlushMs)];
    uint64_t results = 0;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      PingResults& r = out[p];
      r.clear();
      r.location = "default";
      for (const Device& d : devices[p]) {
        const auto i = static_cast<uint32_t>(r.device.size());
        r.device.push_back(d.id);
        r.interval_ms.push_back(kIntervalMs);
        r.due_ms.push_back(second + d.phase_ms);
        uint32_t rtt = rtt_of(d);
        if (random_.chance(1)) {
          const bool there = random_.below(4) != 0;
          BurstResult burst{.index = i, .sent = 4, .rtt_us = {}};
          for (int e = 0; there && e < 4; ++e) burst.rtt_us.push_back(rtt_of(d));
          r.burst.push_back(std::move(burst));
          r.verdict.push_back(there ? Verdict::kAnswered : Verdict::kFailed);
          r.reason.push_back(there ? Reason::kLossy : Reason::kTimeout);
          r.echo_outcome.push_back(EchoOutcome::kTimeout);
          rtt = 0;
        } else {
          r.verdict.push_back(Verdict::kAnswered);
          r.reason.push_back(Reason::kNone);
          r.echo_outcome.push_back(EchoOutcome::kReply);
        }
        r.echo_rtt_us.push_back(rtt);
        r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
      }
      results += r.size();
    }
    return results;
  }

 private:
  struct Device {
    DeviceId id;
    int64_t phase_ms;
    uint32_t base_us;
  };

  uint32_t rtt_of(const Device& d) {
    const double rtt = d.base_us + static_cast<double>(noise_[random_.next() >> 48]);
    return static_cast<uint32_t>(std::max(1.0, rtt));
  }

  Random random_;
  std::vector<float> noise_;
  std::array<std::array<std::vector<Device>, kPartitions>, kFlushes> devices_;
};

}  // namespace gema::recorder::bench
