// Bodies of pings on demand and of pause and resume, ours and the multi-ping system's. Pure.
#pragma once

#include <string>

#include "common/domain/local_iso.h"
#include "common/domain/on_demand.h"
#include "services/gateway/core/json.h"
#include "services/gateway/core/live_view.h"

namespace gema::gateway {

// --- the multi-ping system's ---
// `target` as the caller wrote it.
std::string test_ping_body(const std::string& target, const PingReport& report);
std::string service_changed_body(bool running);
// Adds who paused, since when and why, to a body of the service's status.
void write_pause(Json& json, const View& view, const UtcOffset& offset);
// Is anything probed? By inventory's word, or where there is none by what probers say.
bool is_probing(const View& view);

// --- ours ---
std::string ping_json(const PingReport& report, DeviceId device);
std::string probing_json(const View& view);
// {"paused":...,"by":...,"reason":...,"since":...}; null where inventory has not said.
void write_probing(Json& json, const View& view);

}  // namespace gema::gateway
