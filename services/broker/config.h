// The broker's section of gema.yaml. Endpoints and keys_dir are common: section "bus".
#pragma once

#include <cstddef>
#include <string>

#include "common/config/spec.h"

namespace gema::broker {

struct Config {
  std::string zap_domain = "gema";
  size_t connections_max = 1024;
  size_t ingress_queue_mib = 64;
  size_t egress_queue_mib = 256;
  size_t memory_mib = 512;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::broker
