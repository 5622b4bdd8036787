// What people ask of probing by call: one ping now, and that nothing is probed until further
// notice. Values; common/codec/on_demand_codec.h turns them into messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/ip_address.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"

namespace gema {

// --- a ping on demand: never in history ---------------------------------------------------------

inline constexpr uint32_t kPingCountMax = 100;
inline constexpr uint32_t kPingTimeoutMsMax = 50'000;
inline constexpr uint32_t kPingSpacingMsMin = 10;
inline constexpr uint32_t kPingSpacingMsMax = 10'000;
// From the first echo to the end of the last one's timeout. A call lives 60 s at most; the rest is
// for its way and for a prober that is busy.
inline constexpr uint64_t kPingMsMax = 55'000;

// To a prober. Either an address, or the device whose address the prober itself knows, or both
// (then the address is asked, and the device says why).
struct PingOrder {
  IpAddress address;
  DeviceId device = 0;  // 0 = none
  uint32_t count = 1;
  uint32_t timeout_ms = 3000;  // of each echo
  uint32_t spacing_ms = 200;   // from one echo to the next

  // From the first echo to the end of the last one's timeout.
  uint64_t total_ms() const { return uint64_t{spacing_ms} * (count - 1) + timeout_ms; }
  friend bool operator==(const PingOrder&, const PingOrder&) = default;
};

// The rule an order breaks ("count = 0: must be from 1 to 100"); nullopt: none.
std::optional<std::string> broken_rule(const PingOrder& order);

// What became of it. rtt_us[i] and outcome[i] are those of echo i (rtt 0 unless kReply); notes say
// who refused, by their `echo` (their `index` is 0).
struct PingReport {
  std::string prober;
  std::string location;
  IpAddress address;
  WallTime started_at{};
  std::vector<EchoOutcome> outcome;
  std::vector<uint32_t> rtt_us;
  std::vector<EchoNote> notes;

  friend bool operator==(const PingReport&, const PingReport&) = default;
};

struct PingSummary {
  uint32_t sent = 0;  // echoes that left
  uint32_t received = 0;
  uint32_t min_us = 0;     // of those received; 0 = none
  uint32_t median_us = 0;  // the lower one of an even number
  uint32_t max_us = 0;
};
PingSummary summary_of(const PingReport& report);

// --- pause --------------------------------------------------------------------------------------

// Whether the installation probes. Inventory owns it.
struct Probing {
  bool paused = false;
  std::string by;      // who paused; "" while not paused
  std::string reason;  // as given; may be ""
  WallTime since{};    // of the pause, or of the last resumption; 0 = since ever

  friend bool operator==(const Probing&, const Probing&) = default;
};

// "probing.pause" and "probing.resume".
struct ProbingChange {
  std::string by;      // who is named in history; "" = the actor
  std::string reason;  // pause only
  std::string actor;   // for the audit: whose token it was
};

}  // namespace gema
