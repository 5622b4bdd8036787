// The borders of hours, days, weeks and months of local time within a window: where the periods of
// an availability report begin and end. Pure: local time is asked of the caller.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/domain/local_iso.h"
#include "services/gateway/core/history_params.h"

namespace gema::gateway {

enum class Period { kAll, kHour, kDay, kWeek, kMonth };  // weeks begin on Mondays

// Strictly rising, from window.from_ms to window.to_ms, with every local beginning of a period
// between them. Where clocks are set forward over a beginning, the period begins with the first
// instant after the hole; where they are set back over it, with the first time it comes. Stops
// after `most` + 1 of them: more than `most` periods. Requires: from < to, most >= 1.
std::vector<int64_t> period_bounds(Window window, Period period, const UtcOffset& offset,
                                   size_t most);

// The local beginning as people write it: "2026-11-20", of hours "2026-11-20T09:00", of months
// "2026-11"; of kAll and of a beginning that is none, the time to the second.
std::string period_label(int64_t from_ms, Period period, const UtcOffset& offset);

}  // namespace gema::gateway
