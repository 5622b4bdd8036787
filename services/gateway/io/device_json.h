// What a caller sends to create or change a device, from JSON to a DeviceChange. Types, names and
// sizes are checked here; whether an address may be pinged or an interval is allowed, inventory
// decides.
#pragma once

#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/domain/catalogue.h"

namespace gema::gateway {

// Both fail with kBadInput: `malformed` set when the body is no JSON object at all (400), else a
// sentence that names field, value and rule (422). Unknown fields are errors.
struct BodyError {
  bool malformed = false;
  std::string message;
};

template <class T>
struct Parsed {
  T value{};
  std::optional<BodyError> error;
};

// address is required; an id is refused. Numbers that are not given are 0: inventory's defaults.
Parsed<DeviceChange> parse_new_device(const std::string& body);
// At least one field; `id` may not be among them. The change's fields name what is there.
Parsed<DeviceChange> parse_device_patch(const std::string& body, DeviceId id);

}  // namespace gema::gateway
