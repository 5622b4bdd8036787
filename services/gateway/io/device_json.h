// What a caller sends to create or change a device, from JSON to a DeviceChange. Types, names and
// sizes are checked here; whether an address may be pinged or an interval is allowed, inventory
// decides.
#pragma once

#include <string>

#include "common/domain/catalogue.h"
#include "services/gateway/io/parsed.h"

namespace gema::gateway {

// address is required; an id is refused. Numbers that are not given are 0: inventory's defaults.
Parsed<DeviceChange> parse_new_device(const std::string& body);
// At least one field; `id` may not be among them. The change's fields name what is there.
Parsed<DeviceChange> parse_device_patch(const std::string& body, DeviceId id);

}  // namespace gema::gateway
