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
}

}  // namespace gema::recorder
