#include "common/domain/on_demand.h"

#include <fmt/format.h>

#include <algorithm>

namespace gema {

std::optional<std::string> broken_rule(const PingOrder& order) {
  const auto range = [](const char* name, uint64_t value, uint64_t least, uint64_t most) {
    return value >= least && value <= most
               ? std::optional<std::string>()
               : fmt::format("{} = {}: must be from {} to {}", name, value, least, most);
  };
  if (auto rule = range("count", order.count, 1, kPingCountMax)) return rule;
  if (auto rule = range("timeout_ms", order.timeout_ms, 1, kPingTimeoutMsMax)) return rule;
  if (auto rule = range("spacing_ms", order.spacing_ms, kPingSpacingMsMin, kPingSpacingMsMax)) {
    return rule;
  }
  if (order.total_ms() > kPingMsMax) {
    return fmt::format(
        "{} echoes, {} ms apart, with a timeout of {} ms take {} ms: at most {} are "
        "waited for",
        order.count, order.spacing_ms, order.timeout_ms, order.total_ms(), kPingMsMax);
  }
  return std::nullopt;
}

PingSummary summary_of(const PingReport& report) {
  PingSummary out;
  std::vector<uint32_t> rtt;
  for (size_t i = 0; i < report.outcome.size(); ++i) {
    const EchoOutcome outcome = report.outcome[i];
    if (outcome != EchoOutcome::kSendError && outcome != EchoOutcome::kNotSent) ++out.sent;
    if (outcome == EchoOutcome::kReply) rtt.push_back(report.rtt_us[i]);
  }
  out.received = static_cast<uint32_t>(rtt.size());
  if (rtt.empty()) return out;
  std::sort(rtt.begin(), rtt.end());
  out.min_us = rtt.front();
  out.median_us = rtt[(rtt.size() - 1) / 2];
  out.max_us = rtt.back();
  return out;
}

}  // namespace gema
