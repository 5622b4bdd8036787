#include "services/timeout-tracker/config.h"

namespace gema::timeout_tracker {

void Config::describe(config::Spec& spec, Config& config) {
  spec.integer("up_after", config.policy.up_after, 1, 1000,
               "Answered checks in a row until a device that was down is up.");
  spec.integer("unknown_after", config.policy.unknown_after, 1, 1000,
               "Failed checks until a device that never answered is unknown.");
  spec.duration_s("checkpoint_s", config.checkpoint, std::chrono::seconds(1),
                  std::chrono::seconds(60), "Time between two checkpoints to Redis.");
  spec.integer("critical_threshold", config.critical_threshold, 1, 1'000'000,
               "Consecutive timeouts that the timeout routes call critical.");
  spec.alias("TIMEOUT_CRITICAL_THRESHOLD", "critical_threshold");
  spec.flag("enabled", config.enabled,
            "Whether the timeout routes show anything; statuses are decided either way.");
  spec.alias("ENABLE_TIMEOUT_TRACKING", "enabled");
  spec.duration_s("csv_write_every_s", config.csv_write_every, std::chrono::seconds(0),
                  std::chrono::seconds(3600),
                  "timeout_tracking.csv is written when something changed, at most so often; rarer "
                  "where it is large. 0: there is no such file, as while enabled is false.");
  spec.duration_s("redis_wait_s", config.redis_wait, std::chrono::seconds(0),
                  std::chrono::seconds(3600),
                  "At start: wait this long for Redis, then rebuild the states without it.");
  spec.duration_s("rebuild_wait_s", config.rebuild_wait, std::chrono::seconds(0),
                  std::chrono::seconds(3600),
                  "Rebuilding: wait this long for PostgreSQL, then go on without history.");
}

}  // namespace gema::timeout_tracker
