#include "services/recorder/config.h"

namespace gema::recorder {

using namespace std::chrono_literals;

void Config::describe(config::Spec& spec, Config& config) {
  spec.duration_ms("commit_every_ms", config.commit_every, 50ms, 1000ms,
                   "How long results wait for company before they are committed to PostgreSQL.");
  spec.duration_s("chunk_every_s", config.chunk_every, 1s, 3600s,
                  "How often hot rows are transposed into chunks.");
  spec.integer("raw_retention_days", config.raw_retention_days, 1, 3650,
               "How many days every single result is kept; older ones are dropped by whole days.");
  spec.duration_s(
      "compact_after_s", config.compact_after, 0s, 86400s,
      "How long after an hour's end its results are packed for good; what comes later is "
      "merged again.");
  spec.integer("minute_rollups_days", config.minute_rollups_days, 0, 36500,
               "How many days rollups of minutes are kept; at least as long as single results.");
  spec.integer("hour_rollups_days", config.hour_rollups_days, 1, 36500,
               "How many days rollups of hours are kept; at least as long as single results.");
}

}  // namespace gema::recorder
