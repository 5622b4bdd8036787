// The `gateway:` section.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/config/spec.h"
#include "services/gateway/core/multi_ping.h"

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
  MultiPingSettings multi_ping;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::gateway
