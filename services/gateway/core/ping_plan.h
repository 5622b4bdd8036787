// What a ping on demand means: which address or device is asked, whether that is allowed, and which
// probers may be asked to do it, in order. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/domain/address_policy.h"
#include "common/domain/on_demand.h"
#include "services/gateway/core/live_view.h"

namespace gema::gateway {

// As a caller says it.
struct PingAsk {
  std::string target;   // an IP address, or what a device is called or addressed by
  DeviceId device = 0;  // instead of a target
  uint32_t count = 1;
  uint32_t timeout_ms = 3000;
  uint32_t spacing_ms = 200;
  std::string location;  // "" = wherever it is checked from
  std::string prober;    // "" = any
};

// Why not, as a response.
struct PingRefusal {
  int status = 400;
  std::string error;
  std::optional<int64_t> retry_after_s;
};

struct PingPlan {
  PingOrder order;
  std::vector<std::string> probers;  // to ask, the best first; never empty, at most kProbersAsked
};

// 400: the target is no address, and no or several devices are called so. 403: the policy. 404: no
// such device. 422: a number out of range, or a location or prober nobody has heard of. 503: no
// prober is there. `turn` spreads what no prober has a claim on.
std::variant<PingPlan, PingRefusal> plan_ping(const View& view, const PingAsk& ask,
                                              const AddressPolicy& policy, uint64_t turn);

}  // namespace gema::gateway
