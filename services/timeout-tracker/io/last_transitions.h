// What a rebuild reads from PostgreSQL: each device's state after its latest recorded transition.
// Thread: a worker's; calls block.
#pragma once

#include <vector>

#include "common/base/result.h"
#include "common/domain/transition.h"
#include "common/postgres/connection.h"

namespace gema::timeout_tracker {

// One state per device that ever had a transition. kUnavailable: PostgreSQL, or its schema, is not
// there (yet). States that cannot be read are left out and counted in `unreadable`.
struct LastTransitions {
  std::vector<DeviceState> states;
  size_t unreadable = 0;
};
Result<LastTransitions> read_last_transitions(const postgres::Options& options);

}  // namespace gema::timeout_tracker
