// The bodies of the multi-ping system's routes, as its clients expect them: every value of a row is
// a text ("True", "12.5", "" for nothing), times are naive local ISO. README and source of that
// system disagree on some bodies; then both sets of keys are here.
//
// In: a View (or history rows) and parameters. Out: JSON text. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/domain/csv_files.h"
#include "common/domain/multi_ping.h"
#include "services/gateway/core/json.h"
#include "services/gateway/core/live_view.h"

namespace gema::gateway {

// What service/status tells besides the view.
struct MultiPingSettings {
  int64_t ping_interval_s = 5;
  int64_t ping_timeout_s = 3;
  int64_t max_workers = 20;
  int64_t device_check_interval_s = 30;
  std::string csv_output_directory = "ping_results";
};

// One result of history, newest first in a list.
struct HistoryRow {
  int64_t due_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;
};

// Counts over a window of history, for one device or all.
struct HistoryStatistics {
  uint64_t devices = 0;  // with any measured result
  uint64_t answered = 0;
  uint64_t failed = 0;
  double rtt_mean_us = 0;  // 0 = nothing was answered
  uint32_t rtt_min_us = 0;
  uint32_t rtt_max_us = 0;
};

std::string health_body();

// "error" with the family's envelope: {"success":false,"error":...}.
std::string error_body(std::string_view error);

// limit: the query parameter as it came (nullptr = absent).
std::string latest_body(const View& view, const std::string* limit, const UtcOffset& offset);
std::string status_body(const View& view, const UtcOffset& offset);
// `rows` newest first. device: nullptr when the catalogue does not know it (any more).
std::string device_body(DeviceId id, const Device* device, const std::vector<HistoryRow>& rows,
                        const UtcOffset& offset);

// Over the latest results, as the source system does when no window is asked for.
HistoryStatistics statistics_of(const View& view, std::optional<DeviceId> device);
std::string statistics_body(const HistoryStatistics& statistics, std::optional<DeviceId> device);

std::string timeout_summary_body(const View& view);
std::string timeout_devices_body(const View& view, int64_t min_consecutive,
                                 const UtcOffset& offset);
std::string timeout_critical_body(const View& view, int64_t threshold, const UtcOffset& offset);
std::string service_status_body(const View& view, const MultiPingSettings& settings,
                                const UtcOffset& offset);

std::string csv_rebuild_body(uint64_t device_count);
std::string csv_files_body(const std::vector<CsvFile>& files, const UtcOffset& offset);

// Indices of the devices whose consecutive timeouts are at least `least`, most first.
std::vector<size_t> timeout_devices(const View& view, int64_t least);

}  // namespace gema::gateway
