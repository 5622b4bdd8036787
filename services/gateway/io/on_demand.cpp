#include "services/gateway/io/on_demand.h"

#include "services/gateway/core/limits.h"

namespace gema::gateway {

OnDemand::OnDemand(OnDemandOptions options, Ask ask)
    : options_(std::move(options)), ask_(std::move(ask)), rate_(options_.rate) {}

std::variant<OnDemand::Done, PingRefusal> OnDemand::ping(const View& view, const PingAsk& ask,
                                                         const std::string& client, Now now) {
  auto plan = plan_ping(view, ask, options_.policy, turn_++);
  if (auto* refusal = std::get_if<PingRefusal>(&plan)) {
    const std::lock_guard lock(mutex_);
    ++(refusal->status == 503 ? stats_.without_answer : stats_.refused);
    return std::move(*refusal);
  }
  if (auto refusal = admit(client, now)) return std::move(*refusal);
  auto result = carry_out(std::get<PingPlan>(plan));
  const std::lock_guard lock(mutex_);
  --under_way_;
  const auto* refusal = std::get_if<PingRefusal>(&result);
  ++(refusal == nullptr       ? stats_.done
     : refusal->status == 503 ? stats_.without_answer
                              : stats_.refused);
  return result;
}

std::optional<PingRefusal> OnDemand::admit(const std::string& client, Now now) {
  const std::lock_guard lock(mutex_);
  if (under_way_ >= options_.at_once) {
    ++stats_.too_many;
    return PingRefusal{503, "too many pings are under way: try again in a moment", 1};
  }
  const RateLimit::Decision decision = rate_.take(client, now);
  if (decision.why != RateLimit::Decision::Why::kAllowed) {
    ++stats_.over_rate;
    const int64_t seconds = (decision.retry_after + 999'999'999ns) / 1s;
    const bool own = decision.why == RateLimit::Decision::Why::kClient;
    const uint32_t most = own ? options_.rate.per_minute : options_.rate.per_minute_total;
    return PingRefusal{429,
                       "more than " + std::to_string(most) + " pings a minute" +
                           (own ? " by this client" : "") + ": try again in " +
                           std::to_string(seconds) + " s",
                       seconds};
  }
  ++under_way_;
  return std::nullopt;
}

std::variant<OnDemand::Done, PingRefusal> OnDemand::carry_out(const PingPlan& plan) {
  const Duration deadline = std::chrono::milliseconds(plan.order.total_ms()) + kPingSlack;
  std::string why;
  for (const std::string& prober : plan.probers) {
    auto report = ask_(prober, plan.order, deadline);
    if (report) return Done{std::move(*report), plan.order.device};
    switch (report.error().code) {
      case Errc::kBadInput:
        return PingRefusal{422, report.error().message, {}};
      case Errc::kPermanent:
        return PingRefusal{403, report.error().message, {}};
      case Errc::kTimeout:
        // Another one would take as long again, and the caller waits.
        return PingRefusal{503, prober + " did not answer in time", {}};
      case Errc::kRetryable:
      case Errc::kUnavailable:
        why = prober + ": " + report.error().message;  // the next one may
    }
  }
  return PingRefusal{503, "no prober can do this now: " + why, {}};
}

OnDemandStats OnDemand::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace gema::gateway
