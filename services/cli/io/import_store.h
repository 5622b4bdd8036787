// Puts staged checks into history: packed rows, rollups and the outages they imply, in one
// transaction, so that an import that breaks leaves nothing behind. ADR 0110 says how and why.
//
// It holds the lock that the recorder's compactor takes for each step, and writes what the
// compactor would have written. What an hour has already is merged with what is imported; what an
// earlier import of the same drifting source brought for the same span is replaced. So importing a
// file twice changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/postgres/connection.h"
#include "services/cli/io/stage.h"

namespace gema::cli {

struct ImportOptions {
  uint32_t raw_retention_days = 90;
  uint32_t hour_rollups_days = 1827;
  uint32_t down_after = 1;   // failed checks in a row that begin an outage
  bool outages = true;       // write transitions
  uint32_t interval_ms = 0;  // of drifting sources; 0 = their own spacing
  // Where spacing says nothing: the device's interval in the inventory.
  std::map<DeviceId, uint32_t> device_interval_ms;
};

// Counts of checks, unless they say otherwise.
struct ImportDone {
  uint64_t results = 0;        // in history as single results now
  uint64_t only_rollups = 0;   // past raw retention: in hour rollups only
  uint64_t too_old = 0;        // past every retention: left out
  uint64_t doubled = 0;        // the same source had one for the slot
  uint64_t measured_here = 0;  // somebody else had a result for the very slot: left out
  uint64_t replaced = 0;       // of an earlier import
  uint64_t hours = 0;          // hours of devices
  uint64_t unchanged_hours = 0;
  uint64_t outages = 0;      // begun
  uint64_t broken_rows = 0;  // stored rows that do not decode, left as they are
  // Days of devices left out: their hour rollups are there, what these were made of is not.
  uint64_t refused_days = 0;
  uint64_t refused_checks = 0;
  std::vector<std::string> refused_shown;
};

// `progress(done, of)`, checks; returns false to break off: nothing is then changed.
using ImportProgress = std::function<bool(uint64_t done, uint64_t of)>;

Result<ImportDone> import_staged(postgres::Connection& connection, Stage& stage,
                                 const ImportOptions& options, WallTime now,
                                 const ImportProgress& progress);

}  // namespace gema::cli
