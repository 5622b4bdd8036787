#include "services/gateway/core/multi_ping.h"

#include <algorithm>
#include <map>

#include "services/gateway/core/params.h"
#include "services/gateway/core/ping_bodies.h"

namespace gema::gateway {
namespace {

constexpr const char* kServiceType = "Multi-Ping Service";
constexpr size_t kRowBytes = 280;  // about what a row takes; a guess to reserve by
// The source system's word for many: strictly more than ten.
constexpr uint32_t kHighTimeouts = 10;

void write_row(Json& json, const Device& device, const PingSample& sample,
               const UtcOffset& offset) {
  json.object();
  auto column = kPingColumns.begin();
  for_each_cell(device, sample, offset, [&](std::string_view text) { json.text(*column++, text); });
  json.end_object();
}

PingSample sample_of(const DeviceLive& live) {
  return {live.slot_ms, live.verdict, live.reason, live.rtt_us};
}

// Devices that have a row: checked, and measured at least once. In order of their ids.
std::vector<size_t> measured_devices(const View& view) {
  std::vector<size_t> out;
  out.reserve(view.live.size());
  for (size_t i = 0; i < view.live.size(); ++i) {
    if (view.live[i].measured() && is_checked(view.catalogue->devices[i])) {
      out.push_back(i);
    }
  }
  return out;
}

void write_tracking_rows(Json& json, const View& view, const std::vector<size_t>& rows,
                         const UtcOffset& offset) {
  json.key("data").array();
  for (size_t i : rows) {
    const Device& device = view.catalogue->devices[i];
    const DeviceLive& live = view.live[i];
    json.object();
    auto column = kTimeoutColumns.begin();
    for_each_timeout_cell(device,
                          {live.consecutive_timeouts, live.first_timeout_ms, live.last_timeout_ms},
                          offset, [&](std::string_view text) { json.text(*column++, text); });
    json.end_object();
  }
  json.end_array();
}

struct TimeoutSummary {
  uint64_t devices = 0;
  uint32_t max = 0;
  double average = 0;
  uint64_t high = 0;
};

TimeoutSummary summarise(const View& view) {
  TimeoutSummary out;
  uint64_t sum = 0;
  for (size_t i : timeout_devices(view, 1)) {
    const uint32_t count = view.live[i].consecutive_timeouts;
    ++out.devices;
    sum += count;
    out.max = std::max(out.max, count);
    out.high += count > kHighTimeouts ? 1 : 0;
  }
  out.average =
      out.devices == 0 ? 0 : round2(static_cast<double>(sum) / static_cast<double>(out.devices));
  return out;
}

// The interval most devices have, or what is configured when there is no device.
int64_t usual_interval_s(const View& view, int64_t configured_s) {
  std::map<uint32_t, size_t> count;
  for (const Device& device : view.catalogue->devices) {
    ++count[device.interval_ms];
  }
  const auto most = std::max_element(
      count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == count.end() ? configured_s : std::max<int64_t>(1, most->first / 1000);
}

// Sixteen hex digits that change when the devices do, as the source system's "<16 hex>...".
std::string signature(const View& view) {
  if (view.catalogue == nullptr) {
    return "Not set";
  }
  constexpr char kHex[] = "0123456789abcdef";
  const Version& version = view.catalogue->version;
  uint64_t bits = version.generation * 0x9E3779B97F4A7C15ULL ^ version.number;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ULL;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBULL;
  bits ^= bits >> 31;
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) {
    out += kHex[(bits >> shift) & 15];
  }
  return out + "...";
}

void write_timeout_counts(Json& json, const TimeoutSummary& summary) {
  json.number("total_timeout_devices", summary.devices)
      .number("max_consecutive_timeouts", summary.max);
}

}  // namespace

std::vector<size_t> timeout_devices(const View& view, int64_t least) {
  std::vector<size_t> out;
  for (size_t i = 0; i < view.live.size(); ++i) {
    const uint32_t count = view.live[i].consecutive_timeouts;
    if (count > 0 && static_cast<int64_t>(count) >= least &&
        is_checked(view.catalogue->devices[i])) {
      out.push_back(i);
    }
  }
  std::stable_sort(out.begin(), out.end(), [&view](size_t a, size_t b) {
    return view.live[a].consecutive_timeouts > view.live[b].consecutive_timeouts;
  });
  return out;
}

std::string health_body() {
  Json json;
  json.object()
      .boolean("success", true)
      .text("status", "healthy")
      .text("service", "ping-monitoring-api")
      .end_object();
  return json.take();
}

std::string error_body(std::string_view error) {
  Json json;
  json.object().boolean("success", false).text("error", error).end_object();
  return json.take();
}

std::string latest_body(const View& view, const std::string* limit, const UtcOffset& offset) {
  const auto rows = measured_devices(view);
  const size_t count = rows_for_limit(limit, 100, kLatestRowsMax, rows.size());
  Json json(count * kRowBytes + 100);
  json.object().boolean("success", true).key("data").array();
  for (size_t r = 0; r < count; ++r) {
    write_row(json, view.catalogue->devices[rows[r]], sample_of(view.live[rows[r]]), offset);
  }
  json.end_array().number("count", count).end_object();
  return json.take();
}

std::string status_body(const View& view, const UtcOffset& offset) {
  const auto rows = measured_devices(view);
  const auto online =
      std::count_if(rows.begin(), rows.end(), [&view](size_t i) { return view.live[i].online(); });
  Json json(rows.size() * kRowBytes + 200);
  json.object().boolean("success", true).key("data").object();
  json.key("status_breakdown")
      .object()
      .number("online", online)
      .number("offline", static_cast<int64_t>(rows.size()) - online)
      .number("total", rows.size())
      .end_object();
  json.key("last_updated");
  if (rows.empty()) {
    json.null();
  } else {
    json.text(local_iso(view.live[rows.front()].slot_ms * 1000, offset));
  }
  json.key("devices").array();
  for (size_t i : rows) {
    write_row(json, view.catalogue->devices[i], sample_of(view.live[i]), offset);
  }
  json.end_array().end_object().end_object();
  return json.take();
}

std::string device_body(DeviceId id, const Device* device, const std::vector<HistoryRow>& rows,
                        const UtcOffset& offset) {
  Device unknown;
  unknown.id = id;
  Json json(rows.size() * kRowBytes + 100);
  json.object().boolean("success", true).number("device_id", id).key("data").array();
  for (const HistoryRow& row : rows) {
    write_row(json, device == nullptr ? unknown : *device,
              {row.due_ms, row.verdict, row.reason, row.rtt_us}, offset);
  }
  json.end_array().number("count", rows.size()).end_object();
  return json.take();
}

HistoryStatistics statistics_of(const View& view, std::optional<DeviceId> device) {
  HistoryStatistics out;
  double sum = 0;
  size_t timed = 0;
  for (size_t i : measured_devices(view)) {
    if (device && view.catalogue->devices[i].id != *device) {
      continue;
    }
    const DeviceLive& live = view.live[i];
    ++out.devices;
    if (!live.online()) {
      ++out.failed;
      continue;
    }
    ++out.answered;
    if (live.rtt_us == 0) {
      continue;  // by proof of life, without an echo
    }
    out.rtt_min_us = timed == 0 ? live.rtt_us : std::min(out.rtt_min_us, live.rtt_us);
    out.rtt_max_us = std::max(out.rtt_max_us, live.rtt_us);
    sum += live.rtt_us;
    ++timed;
  }
  out.rtt_mean_us = timed == 0 ? 0 : sum / static_cast<double>(timed);
  return out;
}

std::string statistics_body(const HistoryStatistics& s, std::optional<DeviceId> device) {
  const uint64_t total = s.answered + s.failed;
  Json json;
  json.object().boolean("success", true).key("device_id");
  if (device) {
    json.number(*device);
  } else {
    json.null();
  }
  json.key("statistics")
      .object()
      .number("total_devices", s.devices)
      .number("successful_pings", s.answered)
      .number("failed_pings", s.failed)
      .real("success_rate", total == 0 ? 0
                                       : round2(100.0 * static_cast<double>(s.answered) /
                                                static_cast<double>(total)));
  if (s.answered == 0) {
    json.null("average_response_time_ms").null("min_response_time_ms").null("max_response_time_ms");
  } else {
    json.real("average_response_time_ms", round2(s.rtt_mean_us / 1000.0))
        .real("min_response_time_ms", s.rtt_min_us / 1000.0)
        .real("max_response_time_ms", s.rtt_max_us / 1000.0);
  }
  json.end_object().end_object();
  return json.take();
}

std::string timeout_summary_body(const View& view) {
  Json json;
  json.object().boolean("success", true).key("data").object();
  if (!view.tracking_enabled) {
    json.boolean("timeout_tracking_disabled", true);
  } else {
    const TimeoutSummary summary = summarise(view);
    write_timeout_counts(json, summary);
    json.real("average_consecutive_timeouts", summary.average)
        .number("devices_with_high_timeouts", summary.high);
    if (summary.devices > 0 && !view.timeouts_file.empty()) {
      json.text("timeout_csv_path", view.timeouts_file);
    }
  }
  json.end_object().end_object();
  return json.take();
}

std::string timeout_devices_body(const View& view, int64_t min_consecutive,
                                 const UtcOffset& offset) {
  const auto rows =
      view.tracking_enabled ? timeout_devices(view, min_consecutive) : std::vector<size_t>();
  Json json(rows.size() * kRowBytes + 100);
  json.object().boolean("success", true);
  write_tracking_rows(json, view, rows, offset);
  json.number("count", rows.size()).number("min_consecutive_filter", min_consecutive).end_object();
  return json.take();
}

std::string timeout_critical_body(const View& view, int64_t threshold, const UtcOffset& offset) {
  const auto rows = timeout_devices(view, threshold);
  Json json(rows.size() * kRowBytes + 100);
  json.object().boolean("success", true);
  write_tracking_rows(json, view, rows, offset);
  json.number("count", rows.size()).number("threshold", threshold).end_object();
  return json.take();
}

std::string service_status_body(const View& view, const MultiPingSettings& settings,
                                const UtcOffset& offset) {
  const auto active =
      std::count_if(view.catalogue->devices.begin(), view.catalogue->devices.end(), is_checked);
  Json json;
  json.object()
      .boolean("success", true)
      .text("service_type", kServiceType)
      .boolean("service_running", is_probing(view))
      .number("ping_interval_seconds", usual_interval_s(view, settings.ping_interval_s))
      .text("csv_output_directory", settings.csv_output_directory)
      .number("active_devices_count", active)
      .number("max_workers", settings.max_workers)
      .number("ping_timeout_seconds", settings.ping_timeout_s);
  write_pause(json, view, offset);
  json.key("database_monitoring")
      .object()
      .boolean("monitoring_enabled", true)
      .number("check_interval_seconds", settings.device_check_interval_s)
      .text("last_check_timestamp", local_iso(unix_us(view.catalogue_heard_at), offset))
      .number("change_detection_count",
              view.catalogue_changes == 0 ? 0 : view.catalogue_changes - 1)
      .number("cached_device_count", active)
      .text("current_signature", signature(view))
      .end_object();
  json.key("timeout_tracking").object().boolean("enabled", view.tracking_enabled);
  if (view.timeouts_file.empty()) {
    json.null("csv_file");
  } else {
    json.text("csv_file", view.timeouts_file);
  }
  json.key("summary").object();
  if (view.tracking_enabled) {
    const TimeoutSummary summary = summarise(view);
    write_timeout_counts(json, summary);
    json.number("devices_with_high_timeouts", summary.high);
  } else {
    json.boolean("timeout_tracking_disabled", true);
  }
  json.end_object().end_object().end_object();
  return json.take();
}

std::string csv_rebuild_body(uint64_t device_count) {
  Json json;
  json.object()
      .boolean("success", true)
      .text("message", "CSV rebuild initiated successfully from cached database state")
      .number("device_count", device_count)
      .text("note", "Duplicate ping prevention active")
      .end_object();
  return json.take();
}

std::string csv_files_body(const std::vector<CsvFile>& files, const UtcOffset& offset) {
  Json json(files.size() * 200 + 100);
  json.object().boolean("success", true).key("data").array();
  for (const CsvFile& file : files) {
    json.object()
        .text("filename", file.name)
        .text("date", file.date.empty() ? "Unknown" : file.date)
        .number("size_bytes", file.size_bytes)
        .number("device_count", file.rows)
        .text("last_modified", local_iso(unix_us(file.modified_at), offset))
        .end_object();
  }
  json.end_array().number("count", files.size()).end_object();
  return json.take();
}

}  // namespace gema::gateway
