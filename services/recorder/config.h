// Section `recorder:` of gema.yaml.
#pragma once

#include <chrono>
#include <cstdint>

#include "common/config/spec.h"

namespace gema::recorder {

struct Config {
  // How long what came waits for company before it is committed. Longer: fewer, larger commits;
  // what is not committed is not acknowledged, so nothing is risked.
  std::chrono::milliseconds commit_every{500};
  // How often hot rows become chunks. Longer: longer, cheaper chunks, and a longer hot tail for
  // readers to go through.
  std::chrono::seconds chunk_every{60};
  // How long every single result is kept.
  uint32_t raw_retention_days = 90;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::recorder
