// What the history routes ask of history, as functions, so that tests put their own in.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/domain/cleanup.h"
#include "common/history/availability.h"
#include "common/history/export.h"
#include "common/history/outages.h"
#include "common/history/reader.h"
#include "common/history/series.h"
#include "common/history/statistics.h"
#include "services/gateway/io/history_overview.h"

namespace gema::gateway {

struct ResultsQuery {
  DeviceId device = 0;
  int64_t from_ms = 0;  // window [from_ms, to_ms)
  int64_t to_ms = 0;
  size_t limit = 0;  // the newest; those of other locations at the oldest's slot come on top
  std::optional<std::string> location;  // nullopt: all
  uint32_t interval_ms = 0;  // of the device's checks, where that is known: how much to read
};

// An export under way: pieces of text, one after the other. Its destructor ends it.
class ExportSource {
 public:
  virtual ~ExportSource() = default;
  // Appends the next piece (perhaps nothing). Returns: false at the end. Blocks as a query does.
  virtual Result<bool> next(std::string& out) = 0;
};

struct HistoryReads {
  std::function<Result<history::Results>(const ResultsQuery&)> results;
  std::function<Result<history::Series>(const history::SeriesQuery&)> series;
  std::function<Result<history::Outages>(const history::OutageQuery&)> outages;
  std::function<Result<history::Availability>(const history::AvailabilityQuery&)> availability;
  // Shared: several askers may get one answer.
  std::function<Result<std::shared_ptr<const history::WindowStatistics>>(
      const history::StatisticsQuery&)>
      statistics;
  std::function<Result<HistoryOverview>()> overview;
  // Fails with kUnavailable, saying so, when too many exports are under way.
  std::function<Result<std::unique_ptr<ExportSource>>(const history::ExportQuery&)> open_export;
  // "history.cleanup" of the recorder, by call.
  std::function<Result<CleanupReport>(const CleanupOrder&)> cleanup;
};

}  // namespace gema::gateway
