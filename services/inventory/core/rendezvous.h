// Highest random weight hashing (Thaler, Ravishankar 1998): every device ranks the probers by a
// hash of the pair and takes the first, so a prober's coming or going moves only its own share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/slot.h"

namespace gema::inventory {

uint64_t rendezvous_weight(DeviceId device, std::string_view prober);

// The prober with the highest weight (ties: the first by name); empty when there is none.
std::string_view rendezvous_owner(DeviceId device, const std::vector<std::string>& probers);

}  // namespace gema::inventory
