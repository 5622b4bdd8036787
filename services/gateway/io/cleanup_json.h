// The body of a request to clean history up.
#pragma once

#include <string>

#include "common/domain/cleanup.h"
#include "services/gateway/io/parsed.h"

namespace gema::gateway {

// {"older_than_days": 30, "dry_run": true}; the actor is left empty.
Parsed<CleanupOrder> parse_cleanup(const std::string& body);

}  // namespace gema::gateway
