// The prober's section of gema.yaml. What to check comes from inventory, not from here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/config/spec.h"
#include "common/domain/catalogue.h"

namespace gema::prober {

struct Config {
  std::string location = kDefaultLocation;
  uint32_t burst_count = 4;
  std::chrono::milliseconds burst_spacing{100};
  std::chrono::milliseconds flush{200};
  uint64_t spool_bytes_max = 512ULL << 20;
  std::vector<std::string> canaries{"gateway"};
  std::chrono::milliseconds suspect_lag{1000};
  uint32_t suspect_send_errors_percent = 10;
  uint32_t suspect_socket_drops_percent = 1;
  std::string address_family = "any";
  std::vector<std::string> dns_servers;  // none: the system's
  std::string source_ipv4, source_ipv6;
  uint32_t dscp = 0;
  uint32_t payload_bytes = 32;
  bool dont_fragment = false;
  uint32_t proofs_max = 1024;
  std::string secrets_dir;  // empty: secrets in the data directory
  std::string web_ca_file;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::prober
