// The `gateway:` section.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/config/spec.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/io/on_demand.h"

namespace gema::gateway {

struct Config {
  std::string socket;      // "" = DIR/run/gateway.sock
  std::string token_file;  // "" = DIR/admin.token
  uint32_t request_threads = 16;
  uint32_t event_clients_max = 64;
  uint32_t body_bytes_max = 64 * 1024;
  uint32_t history_connections = 2;
  std::chrono::seconds history_timeout{10};
  std::chrono::seconds call_timeout{5};
  // The private networks: where monitored devices live, and where an echo harms nobody else. Public
  // addresses are pinged when they are devices, or listed here.
  std::vector<std::string> ping_allow = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                         "100.64.0.0/10", "fc00::/7"};
  std::vector<std::string> ping_deny;
  uint32_t pings_per_minute = 60;
  uint32_t pings_per_minute_total = 300;
  uint32_t pings_at_once = 8;
  MultiPingSettings multi_ping;

  // Requires: the lists were checked (describe() does).
  OnDemandOptions on_demand() const;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::gateway
