// A device of the catalogue by its id. Pure.
#pragma once

#include <algorithm>

#include "common/domain/catalogue.h"

namespace gema {

// The device if it is known and checked.
inline const Device* find_checked(const Catalogue& catalogue, DeviceId device) {
  const auto& all = catalogue.devices;
  const auto found = std::lower_bound(all.begin(), all.end(), device,
                                      [](const Device& d, DeviceId id) { return d.id < id; });
  return found != all.end() && found->id == device && is_checked(*found) ? &*found : nullptr;
}

}  // namespace gema
