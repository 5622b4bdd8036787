#include "services/inventory/config.h"

#include <algorithm>

#include "services/inventory/core/limits.h"

namespace gema::inventory {

using namespace std::chrono_literals;

void Config::describe(config::Spec& spec, Config& config) {
  spec.text("devices_file", config.devices_file,
            "CSV or YAML file of devices, read at start, on SIGHUP and on request; empty: devices "
            "come by call only.");
  spec.duration_s("interval_s", config.interval, 1s, 86'400s,
                  "How often a device is checked that does not say so itself.");
  spec.alias("PING_INTERVAL", "interval_s");
  spec.duration_s("timeout_s", config.timeout, 1s, 60s,
                  "How long an echo's answer is waited for, where the device does not say so.");
  spec.alias("PING_TIMEOUT", "timeout_s");
  spec.integer("echo_count", config.echo_count, 1, kEchoCountMax,
               "Echo requests in one check, where the device does not say so.");
  spec.integer("min_replies", config.min_replies, 1, kEchoCountMax,
               "Answers that make a check answered, where the device does not say so.");
  spec.duration_ms("echo_spacing_ms", config.echo_spacing,
                   std::chrono::milliseconds(kEchoSpacingMsMin),
                   std::chrono::milliseconds(kEchoSpacingMsMax),
                   "Between two echo requests of one check, where the device does not say so. A "
                   "train longer than its interval is refused.");
  spec.text("default_location", config.default_location,
            "Location of probers and devices that name none.");
  spec.flag("allow_loopback_by_call", config.allow_loopback_by_call,
            "Whether a call may create a device with a loopback address (files always may).");
}

DeviceDefaults Config::defaults() const {
  const auto ms = [](std::chrono::seconds time) {
    return static_cast<uint32_t>(std::chrono::milliseconds(time).count());
  };
  return {.interval_ms = ms(interval),
          .timeout_ms = ms(timeout),
          .echo_count = echo_count,
          .min_replies = std::min(min_replies, echo_count),
          .echo_spacing_ms = static_cast<uint32_t>(echo_spacing.count())};
}

CallRules Config::call_rules() const {
  return {.defaults = defaults(), .loopback_allowed = allow_loopback_by_call};
}

}  // namespace gema::inventory
