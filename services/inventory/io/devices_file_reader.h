// Reads a devices file from disk: CSV, or YAML when its name ends in .yaml or .yml (a list under
// `devices:`, or the config.yaml of ace-connection-logger as it is).
#pragma once

#include <filesystem>

#include "common/base/result.h"
#include "services/inventory/core/devices_file.h"

namespace gema::inventory {

// Fails with kBadInput, naming file and reason, when it cannot be read as a whole. Blocks.
Result<DevicesFile> read_devices_file(const std::filesystem::path& path,
                                      const DeviceDefaults& defaults);

// The YAML half, for tests.
Result<DevicesFile> read_devices_yaml(const std::string& text, DeviceDefaults defaults);

}  // namespace gema::inventory
