// The heartbeat of this process: alive, ready or waiting for what, which catalogue it holds.
#pragma once

#include <functional>

#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/domain/device.h"
#include "common/observability/health.h"

namespace gema::timeout_tracker {

// Requires: all outlive the heartbeat. `catalogue` gives the version held.
bus::Heartbeat make_heartbeat(bus::BusClient& client, Now started, const obs::Health& health,
                              std::function<Version()> catalogue);

}  // namespace gema::timeout_tracker
