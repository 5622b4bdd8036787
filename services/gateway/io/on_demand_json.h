// Bodies of /api/v1/ping and /api/v1/probing/*. Ranges of numbers are core/ping_plan's business.
#pragma once

#include <string>

#include "common/domain/on_demand.h"
#include "services/gateway/core/ping_plan.h"
#include "services/gateway/io/parsed.h"

namespace gema::gateway {

// One of address and device; count, timeout_ms, spacing_ms, location, prober as in PingAsk.
Parsed<PingAsk> parse_ping(const std::string& body);

// by and reason; an empty body is none of them.
Parsed<ProbingChange> parse_probing_change(const std::string& body);

}  // namespace gema::gateway
