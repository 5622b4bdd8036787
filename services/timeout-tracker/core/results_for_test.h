// Makes batches for the core's tests: one echo a check, slots by number.
#pragma once

#include <string>

#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "tests/support/ping_results.h"

namespace gema::timeout_tracker::test {

inline constexpr uint32_t kIntervalMs = 1000;
inline constexpr int64_t kStartMs = 1'763'632'561'000;

// The k-th slot of a device since kStartMs.
inline int64_t slot_of(DeviceId device, int64_t k) {
  return slot_after(device, kIntervalMs, kStartMs) + k * kIntervalMs;
}

inline void add(PingResults& results, DeviceId device, int64_t slot_ms, Verdict verdict,
                uint32_t rtt_us = 300) {
  results.location = "default";
  gema::testing::append(results, {.device = device,
                                  .interval_ms = kIntervalMs,
                                  .due_ms = slot_ms,
                                  .verdict = verdict,
                                  .rtt_us = rtt_us});
}

// The same with a letter: "a" answered, "f" failed, "-" not measured.
inline Verdict verdict_of(char letter) {
  return letter == 'a'   ? Verdict::kAnswered
         : letter == 'f' ? Verdict::kFailed
                         : Verdict::kNotMeasured;
}

}  // namespace gema::timeout_tracker::test
