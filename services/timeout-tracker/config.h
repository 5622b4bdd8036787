// The section `timeout-tracker:` of gema.yaml.
#pragma once

#include <chrono>

#include "common/config/spec.h"
#include "services/timeout-tracker/core/device_status.h"

namespace gema::timeout_tracker {

struct Config {
  Policy policy;  // down_after comes from detection.down_after

  // Between two checkpoints. Longer: less work for Redis, more input to read again after a crash,
  // and later acknowledgements.
  std::chrono::seconds checkpoint{5};

  // Consecutive timeouts that the timeout routes call critical (the source system's default).
  uint32_t critical_threshold = 5;

  // Whether the timeout routes show anything. Statuses are decided either way.
  bool enabled = true;

  // timeout_tracking.csv is written when something changed, at most so often. 0: there is none.
  std::chrono::seconds csv_write_every{5};

  // At a start: how long to wait for Redis' answer before the states are rebuilt without it, and
  // then for PostgreSQL before they are rebuilt from the own spool and fresh input alone.
  std::chrono::seconds redis_wait{30};
  std::chrono::seconds rebuild_wait{60};

  // With tracking off there is no file either.
  bool writes_timeouts() const { return enabled && csv_write_every.count() > 0; }

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::timeout_tracker
