// The zone whose local time the multi-ping routes speak.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/domain/local_iso.h"

namespace gema::runtime {

// Sets the process' time zone ("" = leave the system's). Fails with kBadInput when there is no such
// zone. Call before threads start.
Result<void> use_timezone(const std::string& zone);

// Offsets of the process' time zone. Each object remembers the quarter of an hour it was last asked
// about, so make one per request: it belongs to one thread.
UtcOffset local_offset();

}  // namespace gema::runtime
