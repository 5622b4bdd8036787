// The id of a device's n-th transition: UUIDv5 (RFC 4122) over the device's id and n, 8
// little-endian bytes each, in Gema's own namespace. So a transition that is decided again after a
// crash has the id it had before, and whoever consumes it takes it once.
#pragma once

#include <cstdint>

#include "common/domain/transition.h"

namespace gema::timeout_tracker {

TransitionId transition_id(DeviceId device, uint64_t counter);

}  // namespace gema::timeout_tracker
