// What the devices of a measurement answered: round trip times as networks give them (a level per
// device that wanders, noise that grows with it, spikes), losses, outages, and a restart of the
// prober. A pure function of device and slot, so that history, the row table and the exact
// quantiles are filled from equal samples without keeping them.
#pragma once

#include <cstdint>
#include <vector>

#include "common/domain/ping.h"
#include "common/domain/slot.h"

namespace gema::bench {

inline constexpr uint32_t kIntervalMs = 5'000;

struct Sample {
  Verdict verdict = Verdict::kAnswered;
  Reason reason = Reason::kNone;
  EchoOutcome outcome = EchoOutcome::kReply;
  uint32_t rtt_us = 0;     // 0 unless answered
  uint8_t burst_sent = 0;  // none was answered
};

class Samples {
 public:
  // Requires: ids are 1 to `devices`.
  explicit Samples(uint32_t devices);

  // Requires: a slot of the device at kIntervalMs.
  Sample at(DeviceId device, int64_t due_ms) const;
  uint32_t devices() const { return static_cast<uint32_t>(profiles_.size()) - 1; }

 private:
  struct Profile {
    float level_us;
    float noise;    // share of the level
    float wander;   // share of the level, over hours
    float phase;    // of the wandering
    uint32_t lost;  // of 65,536
    uint32_t spikes;
  };
  std::vector<Profile> profiles_;
};

}  // namespace gema::bench
