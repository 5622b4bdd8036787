// What inventory can be told (section `inventory` of gema.yaml).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/config/spec.h"
#include "services/inventory/core/inventory.h"

namespace gema::inventory {

struct Config {
  std::string devices_file;  // CSV or YAML; empty = devices come by call only
  // What a device gets whose line or call does not say otherwise.
  std::chrono::seconds interval{5};
  std::chrono::seconds timeout{3};
  uint32_t echo_count = 1;
  uint32_t min_replies = 1;
  std::chrono::milliseconds echo_spacing{kEchoSpacingMs};
  std::string default_location = kDefaultLocation;
  bool allow_loopback_by_call = false;

  static void describe(config::Spec& spec, Config& config);

  DeviceDefaults defaults() const;
  CallRules call_rules() const;
};

}  // namespace gema::inventory
