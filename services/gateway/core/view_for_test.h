// Values for the gateway's tests, with defaults everywhere: what a test sets is what matters.
#pragma once

#include <utility>
#include <vector>

#include "services/gateway/core/live_view.h"
#include "tests/support/ping_results.h"

namespace gema::gateway::testing {

inline constexpr int64_t kEpochMs = 1'758'246'347'075;  // 2025-09-19T01:45:47.075Z

inline Now at(Duration since_start) {
  return {MonoTime(1h + since_start), wall_from_ms(kEpochMs) + since_start};
}

inline Device device(DeviceId id, std::string hostname = {}) {
  Device out;
  out.id = id;
  out.address = "10.0.0." + std::to_string(id);
  out.hostname = std::move(hostname);
  out.interval_ms = 1000;
  out.timeout_ms = 500;
  return out;
}

inline Catalogue catalogue(std::vector<DeviceId> ids, uint64_t number = 1) {
  Catalogue out;
  out.version = {.generation = 1, .number = number};
  for (DeviceId id : ids) {
    out.devices.push_back(device(id));
  }
  return out;
}

struct Check {
  DeviceId device = 1;
  int64_t slot_ms = kEpochMs;
  Verdict verdict = Verdict::kAnswered;
  uint32_t rtt_us = 1000;
};

inline PingResults results(const std::vector<Check>& checks) {
  PingResults out;
  out.location = "default";
  for (const Check& check : checks) {
    gema::testing::OneEcho echo{.device = check.device,
                                .due_ms = check.slot_ms,
                                .verdict = check.verdict,
                                .rtt_us = check.rtt_us};
    if (check.verdict == Verdict::kNotMeasured) echo.reason = Reason::kProberSuspect;
    gema::testing::append(out, echo);
  }
  return out;
}

inline RecordId record(uint64_t seq, uint32_t partition = 0) {
  return {.producer = "prober-1", .epoch = 7, .partition = partition, .seq = seq};
}

inline DeviceState state(DeviceId device, uint32_t consecutive_timeouts, int64_t last_slot_ms,
                         DeviceStatus status = DeviceStatus::kUp) {
  DeviceState out;
  out.device = device;
  out.status = status;
  out.consecutive_timeouts = consecutive_timeouts;
  out.last_slot_ms = last_slot_ms;
  out.last_verdict = consecutive_timeouts > 0 ? Verdict::kFailed : Verdict::kAnswered;
  out.last_reason = consecutive_timeouts > 0 ? Reason::kTimeout : Reason::kNone;
  out.last_rtt_us = 1000;
  out.last_timeout_ms = consecutive_timeouts > 0 ? last_slot_ms : 0;
  out.first_timeout_ms =
      consecutive_timeouts > 0 ? last_slot_ms - (consecutive_timeouts - 1) * 1000 : 0;
  return out;
}

// A view whose tracker answered at the start: every device New, nothing measured.
inline LiveView loaded(std::vector<DeviceId> ids) {
  LiveView view;
  view.on_catalogue(catalogue(std::move(ids)), at(0s));
  view.take_snapshot_request(at(0s));
  view.on_snapshot({}, at(0s));
  return view;
}

}  // namespace gema::gateway::testing
