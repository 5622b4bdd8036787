// A window of one device (or of a group, merged) as a series of points: for charts of any span at
// about the same cost. Each point sums up what was due in its step: checks, losses by reason,
// least, mean, greatest, deviation, jitter, quantiles (common/domain/rollup.h).
//
// The resolution is the finest of a fixed ladder that keeps within the budget: single results where
// they fit, then steps from 5 s to 28 days, aligned to UTC (steps of 7 days begin on Mondays). The
// first and the last point sum up only what lies within the window.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/rollup.h"
#include "common/domain/slot.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"

namespace gema::history {

// The most points that one series may be asked for.
inline constexpr size_t kPointsMax = 10'000;
inline constexpr size_t kPointsDefault = 1'000;

struct SeriesQuery {
  std::vector<DeviceId> devices;  // at least one; of several the measurements are merged
  int64_t from_ms = 0;            // window [from_ms, to_ms)
  int64_t to_ms = 0;
  size_t points_max = kPointsDefault;   // of each location; 1 .. kPointsMax
  std::optional<std::string> location;  // nullopt: a series for each
};

struct SeriesPoint {
  int64_t from_ms = 0;  // the step's, clipped to the window; of a single result its slot
  int64_t to_ms = 0;    // likewise; of a single result its slot and interval
  Rollup rollup;
};

struct LocationSeries {
  std::string location;
  std::vector<SeriesPoint> points;  // by rising time; steps without any check have none
};

struct Series {
  int64_t from_ms = 0;  // as asked
  int64_t to_ms = 0;
  int64_t step_ms = 0;                    // 0: every point is a single result
  std::vector<LocationSeries> locations;  // by name
  std::vector<BrokenRow> broken;
};

// Fails with kBadInput, saying what is wrong, on a query that breaks the rules above.
Result<Series> read_series(postgres::Connection& connection, const SeriesQuery& query);

}  // namespace gema::history
