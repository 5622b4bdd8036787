// Counts, losses and round trip times of many devices over a window, each device's and all of
// theirs; from rollups, so that a day of all devices is a matter of milliseconds.
//
// Complete up to the newest recorded result. What rollups do not cover (the open hour, what came
// late, the edges of the window) is read from single results.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/rollup.h"
#include "common/domain/slot.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"

namespace gema::history {

struct StatisticsQuery {
  std::vector<DeviceId> devices;  // empty: all that have any result
  int64_t from_ms = 0;            // window [from_ms, to_ms)
  int64_t to_ms = 0;
  std::optional<std::string> location;  // nullopt: all locations merged
  // From the beginning of the hour (UTC) that holds from_ms: saves reading single minutes of many
  // devices. The answer says where it begins.
  bool whole_hours = false;
  bool per_device = true;  // false: the total only
};

struct DeviceStatistics {
  DeviceId device = 0;
  Rollup rollup;
};

struct WindowStatistics {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  std::vector<DeviceStatistics> devices;  // by rising id; those with any result in the window
  uint64_t measured = 0;                  // devices with any check that was answered or failed
  Rollup total;                           // of all of them
  std::vector<BrokenRow> broken;
};

// Fails with kBadInput, saying what is wrong, on a query that breaks the rules above.
Result<WindowStatistics> read_statistics(postgres::Connection& connection,
                                         const StatisticsQuery& query);

// Quantile `q` of round trip times, in us; nullopt when nothing was answered. Within
// kQuantileError, and never beyond the least or the greatest.
std::optional<uint32_t> percentile_us(const Rollup& rollup, double q);

// Quantiles for a band of smoke around the median: 2.5 %, 10 %, 25 %, 50 %, 75 %, 90 %, 97.5 %.
std::span<const double> smoke_quantiles();
// One for each of smoke_quantiles(); empty when nothing was answered.
std::vector<uint32_t> smoke_us(const Rollup& rollup);

}  // namespace gema::history
