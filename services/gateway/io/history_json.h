// Bodies of the history routes. Columns: an object of arrays of one length, times in Unix ms and
// round trip times in us, so that a chart of a day costs a millisecond to write and little to read.
//
// In: what common/history gave, and a View for the names of devices. Out: JSON text. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/domain/cleanup.h"
#include "services/gateway/core/history_params.h"
#include "services/gateway/core/live_view.h"
#include "services/gateway/core/periods.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/io/history_reads.h"

namespace gema::gateway {

// Results as history has them, newest first, in the form of write_result().
std::vector<DetailedResult> detailed_results(const history::Results& results);

// Results by rising time. `next_before`: when older ones exist in the window, the oldest's time.
std::string results_columns_json(DeviceId id, Window window, const history::Results& results);

// `ids`: whose measurements the series holds.
std::string series_json(const std::vector<DeviceId>& ids, const history::Series& series,
                        const std::vector<Percentile>& percentiles);

std::string outages_json(const View& view, const history::Outages& outages);

struct AvailabilityBody {
  DeviceId device = 0;
  Period period = Period::kAll;
  const char* period_name = "all";
  std::string timezone;
};
std::string availability_json(const AvailabilityBody& what, const history::Availability& read,
                              const UtcOffset& offset);

std::string statistics_json(const history::WindowStatistics& statistics,
                            const std::vector<Percentile>& percentiles, bool per_device);

std::string overview_json(const HistoryOverview& overview);
std::string cleanup_json(const CleanupReport& report, bool dry_run);

}  // namespace gema::gateway
