#include "services/prober/config.h"

#include "services/prober/core/limits.h"

namespace gema::prober {

void Config::describe(config::Spec& spec, Config& config) {
  spec.text("location", config.location,
            "The vantage point this prober stands at; devices name it in probe_from.");
  spec.integer("burst_count", config.burst_count, 0, kBurstCountMax,
               "Echoes that confirm a failing check before it counts as failed; 0: none.");
  spec.duration_ms("burst_spacing_ms", config.burst_spacing, std::chrono::milliseconds(10),
                   std::chrono::milliseconds(5000), "Between two of them.");
  spec.duration_ms("flush_ms", config.flush, std::chrono::milliseconds(10),
                   std::chrono::milliseconds(1000),
                   "How long results wait for company before they are spooled and published.");
  spec.integer("spool_bytes_max", config.spool_bytes_max, 16 << 20, int64_t{1} << 40,
               "What the spool may hold while nobody acknowledges; beyond it the oldest results "
               "are dropped, counted and announced. 10,000 devices each second write about 250 MB "
               "an hour.");
}

}  // namespace gema::prober
