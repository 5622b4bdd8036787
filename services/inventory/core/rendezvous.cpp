#include "services/inventory/core/rendezvous.h"

#include <xxhash.h>

namespace gema::inventory {

uint64_t rendezvous_weight(DeviceId device, std::string_view prober) {
  return XXH64(prober.data(), prober.size(), device);
}

std::string_view rendezvous_owner(DeviceId device, const std::vector<std::string>& probers) {
  std::string_view best;
  uint64_t best_weight = 0;
  for (const std::string& prober : probers) {
    const uint64_t weight = rendezvous_weight(device, prober);
    const bool better =
        best.empty() || weight > best_weight || (weight == best_weight && prober < best);
    if (!better) continue;
    best = prober;
    best_weight = weight;
  }
  return best;
}

}  // namespace gema::inventory
