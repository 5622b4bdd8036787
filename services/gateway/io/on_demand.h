// Pings on demand, from a request to a report: plans them (core/ping_plan.h), keeps to the limits,
// and asks probers until one has done it.
//
// Thread-safe: ping() runs on request threads and waits for the answer there.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <variant>

#include "common/base/result.h"
#include "services/gateway/core/ping_plan.h"
#include "services/gateway/core/rate_limit.h"

namespace gema::gateway {

struct OnDemandOptions {
  AddressPolicy policy;
  RateLimits rate;
  uint32_t at_once = 8;  // pings under way; one more is answered 503
};

struct OnDemandStats {
  uint64_t done = 0;            // reports
  uint64_t refused = 0;         // a rule or the policy
  uint64_t over_rate = 0;       // 429
  uint64_t too_many = 0;        // 503: at_once
  uint64_t without_answer = 0;  // 503: no prober did it
};

class OnDemand {
 public:
  // The call "ping" of a prober, waited for. Errors as in proto/gema/v1/call.proto.
  using Ask = std::function<Result<PingReport>(const std::string& prober, const PingOrder& order,
                                               Duration deadline)>;
  OnDemand(OnDemandOptions options, Ask ask);

  struct Done {
    PingReport report;
    DeviceId device = 0;
  };
  // `client`: who asks, for the rate limit.
  std::variant<Done, PingRefusal> ping(const View& view, const PingAsk& ask,
                                       const std::string& client, Now now);

  OnDemandStats stats() const;

 private:
  std::optional<PingRefusal> admit(const std::string& client, Now now);
  std::variant<Done, PingRefusal> carry_out(const PingPlan& plan);

  const OnDemandOptions options_;
  const Ask ask_;
  std::atomic<uint64_t> turn_ = 0;
  mutable std::mutex mutex_;
  RateLimit rate_;
  uint32_t under_way_ = 0;
  OnDemandStats stats_;
};

}  // namespace gema::gateway
