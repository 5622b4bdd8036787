// The routes of history: results, series, outages, availability, statistics, export, cleanup.
#include <algorithm>
#include <initializer_list>
#include <set>

#include "common/base/rfc3339.h"
#include "services/gateway/core/params.h"
#include "services/gateway/io/api.h"
#include "services/gateway/io/cleanup_json.h"
#include "services/gateway/io/history_json.h"
#include "services/gateway/io/responses.h"

namespace gema::gateway {
namespace {

using http::Request;
using http::Response;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr std::string_view kPercentilesDefault = "50,95,99";

// The first refusal of several parameters; each keeps its value.
class Refusals {
 public:
  // `names`: what the route knows ("device" only where the path names none). A misspelt name would
  // silently ask for something else (all devices, say), as would one of two values.
  Refusals(const Request& request, std::initializer_list<std::string_view> names) {
    std::vector<std::string_view> known(names);
    if (request.param("id") != nullptr) {
      known.erase(std::remove(known.begin(), known.end(), "device"), known.end());
    }
    std::set<std::string_view> seen;
    for (const auto& [name, value] : request.query) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        std::string rule = name.substr(0, 64) + ": is no parameter of this route; it has";
        for (const auto& other : known) {
          rule += (other == known.front() ? " " : ", ") + std::string(other);
        }
        add(std::move(rule));
      } else if (!seen.insert(name).second) {
        add(name + " = \"" + value.substr(0, 64) + "\": is given twice");
      }
    }
  }

  template <class T>
  T take(Result<T> result, T otherwise = {}) {
    if (result) return std::move(*result);
    if (!first_) first_ = result.error().message;
    return otherwise;
  }
  void add(std::string message) {
    if (!first_) first_ = std::move(message);
  }
  bool any() const { return first_.has_value(); }
  Response response() const { return error_response(422, *first_); }

 private:
  std::optional<std::string> first_;
};

Window take_window(const Request& request, Refusals& refusals, int64_t to_absent_ms,
                   int64_t hours_max, int64_t hours_absent = 24) {
  return refusals.take(window_params(
      {.from = request.query_value("from"),
       .to = request.query_value("to"),
       .hours = request.query_value("hours")},
      {.to_absent_ms = to_absent_ms, .hours_absent = hours_absent, .hours_max = hours_max}));
}

int64_t take_integer(const Request& request, Refusals& refusals, const char* name, int64_t absent,
                     int64_t least, int64_t most) {
  return refusals.take(integer_param(name, request.query_value(name), absent, least, most), absent);
}

std::vector<Percentile> take_percentiles(const Request& request, Refusals& refusals,
                                         const char* name, std::string_view absent) {
  const auto smoke = history::smoke_quantiles();
  return refusals.take(percentiles_param(name, request.query_value(name), absent,
                                         std::vector<double>(smoke.begin(), smoke.end())));
}

std::optional<std::string> take_location(const Request& request, Refusals& refusals) {
  const std::string* location = request.query_value("location");
  if (location == nullptr) return std::nullopt;
  if (location->empty() || location->size() > 64) {
    refusals.add("location = \"" + location->substr(0, 64) +
                 "\": must be the name of a location, 1 to 64 bytes");
  }
  return *location;
}

const Device* find(const View& view, DeviceId id) {
  const auto index = view.find(id);
  return index ? &view.catalogue->devices[*index] : nullptr;
}

// Requires: the answer about the device is empty. A device that was removed still has its history;
// one that neither the inventory nor history knows is none.
std::optional<Response> unknown_device(const View& view, DeviceId id) {
  if (view.catalogue == nullptr || view.find(id)) return std::nullopt;
  return error_response(404, "no device " + std::to_string(id) +
                                 ": the inventory does not have it, and history has nothing of it "
                                 "in this window");
}

Response bad_id(const Request& request) {
  return error_response(404, "no device \"" + request.param("id")->substr(0, 64) +
                                 "\": an id is a whole number from 1");
}

Response history_failed(const Error& error) {
  // What PostgreSQL calls bad input is our mistake, not the caller's.
  const bool callers =
      error.code == Errc::kBadInput && error.message.find("SQLSTATE") == std::string::npos;
  return callers ? error_response(422, error.message) : history_away(error);
}

}  // namespace

// The devices alone: of 100,000 a copy of the whole view would cost more than a day of results.
View Api::known_devices() const {
  View view;
  view.catalogue = deps_.catalogue();
  return view;
}

// --- one device ------------------------------------------------------------------------------

Response Api::device_results(const Request& request) const {
  const auto id = parse_device_id(*request.param("id"));
  if (!id) return bad_id(request);
  Refusals refusals(request, {"from", "to", "hours", "format", "limit", "before", "location"});
  const bool columns = refusals.take(choice_param("format", request.query_value("format"), 0,
                                                  {"rows", "columns"})) == 1;
  // A result of this very moment is in the window too.
  Window window = take_window(request, refusals, unix_ms(deps_.clock().wall) + 1000,
                              columns ? kWindowHoursMax : kHistoryHoursMax);
  const auto limit =
      columns ? take_integer(request, refusals, "limit", kColumnRowsDefault, 1, kColumnRowsMax)
              : take_integer(request, refusals, "limit", kResultsRowsDefault, 1, kResultsRowsMax);
  const int64_t before =
      refusals.take(instant_param("before", request.query_value("before"), window.to_ms));
  const auto location = take_location(request, refusals);
  if (refusals.any()) return refusals.response();
  window.to_ms = std::min(window.to_ms, before);
  if (window.to_ms <= window.from_ms) {
    return error_response(422, "before = \"" + request.query_value("before")->substr(0, 64) +
                                   "\": must be after the window's beginning, " +
                                   format_rfc3339(wall_from_ms(window.from_ms)));
  }
  const View view = known_devices();
  const Device* device = find(view, *id);
  const auto results =
      deps_.history.results({.device = *id,
                             .from_ms = window.from_ms,
                             .to_ms = window.to_ms,
                             .limit = static_cast<size_t>(limit),
                             .location = location,
                             .interval_ms = device == nullptr ? 0 : device->interval_ms});
  if (!results) return history_failed(results.error());
  if (results->rows.empty()) {
    if (auto unknown = unknown_device(view, *id)) return *unknown;
  }
  if (columns) return json_response(200, results_columns_json(*id, window, *results));
  return json_response(200,
                       results_json(*id, device, detailed_results(*results), results->truncated));
}

Response Api::series_of(const Request& request, std::vector<DeviceId> ids) const {
  Refusals refusals(request, {"device", "from", "to", "hours", "points", "location", "quantiles"});
  history::SeriesQuery query;
  const Window window =
      take_window(request, refusals, unix_ms(deps_.clock().wall) + 1000, kWindowHoursMax);
  query.devices = std::move(ids);
  query.from_ms = window.from_ms;
  query.to_ms = window.to_ms;
  query.points_max = static_cast<size_t>(
      take_integer(request, refusals, "points", history::kPointsDefault, 1, history::kPointsMax));
  query.location = take_location(request, refusals);
  const auto percentiles = take_percentiles(request, refusals, "quantiles", kPercentilesDefault);
  if (refusals.any()) return refusals.response();
  const auto read = deps_.history.series(query);
  if (!read) return history_failed(read.error());
  const bool empty = std::all_of(read->locations.begin(), read->locations.end(),
                                 [](const auto& location) { return location.points.empty(); });
  if (empty) {
    const View view = known_devices();
    for (const DeviceId id : query.devices) {
      if (auto unknown = unknown_device(view, id)) return *unknown;
    }
  }
  return json_response(200, series_json(query.devices, *read, percentiles));
}

Response Api::device_series(const Request& request) const {
  const auto id = parse_device_id(*request.param("id"));
  return id ? series_of(request, {*id}) : bad_id(request);
}

Response Api::group_series(const Request& request) const {
  auto ids = devices_param("device", request.query_value("device"), kDevicesAskedMax);
  if (!ids) return error_response(422, ids.error().message);
  if (ids->empty()) {
    return error_response(422, "device is required: ids with commas between them (device=1,2,3)");
  }
  return series_of(request, std::move(*ids));
}

Response Api::device_availability(const Request& request) const {
  const auto id = parse_device_id(*request.param("id"));
  if (!id) return bad_id(request);
  constexpr const char* kNames[] = {"all", "hour", "day", "week", "month"};
  Refusals refusals(request, {"from", "to", "hours", "period", "location"});
  const int64_t now_ms = unix_ms(deps_.clock().wall);
  const Window window = take_window(request, refusals, now_ms, kWindowHoursMax);
  const size_t chosen = refusals.take(choice_param("period", request.query_value("period"), 0,
                                                   {std::begin(kNames), std::end(kNames)}));
  AvailabilityBody body{.device = *id,
                        .period = static_cast<Period>(chosen),
                        .period_name = kNames[chosen],
                        .timezone = deps_.timezone};
  history::AvailabilityQuery query{.devices = {*id},
                                   .bounds = {},
                                   .location = take_location(request, refusals),
                                   .now_ms = now_ms};
  if (refusals.any()) return refusals.response();
  const UtcOffset offset = deps_.local_offset();
  query.bounds = period_bounds(window, body.period, offset, kPeriodsMax);
  if (query.bounds.size() > kPeriodsMax + 1) {
    return error_response(422, std::string("period = \"") + body.period_name +
                                   "\": the window has more than " + std::to_string(kPeriodsMax) +
                                   " of them; ask for a shorter one, or for longer periods");
  }
  const auto read = deps_.history.availability(query);
  if (!read) return history_failed(read.error());
  const auto& total = read->devices.front().total;
  if (total.answered + total.failed + total.not_measured + total.outages == 0) {
    if (auto unknown = unknown_device(known_devices(), *id)) return *unknown;
  }
  return json_response(200, availability_json(body, *read, offset));
}

// --- outages ---------------------------------------------------------------------------------

Response Api::outages_of(const Request& request, std::vector<DeviceId> ids) const {
  Refusals refusals(request, {"device", "from", "to", "hours", "active", "checks", "limit"});
  const int64_t now_ms = unix_ms(deps_.clock().wall);
  const bool by_device = !ids.empty();
  // All devices: the last day unless a window is asked for. One device: all there is.
  const Window window = take_window(request, refusals, now_ms + 1000, kWindowHoursMax,
                                    by_device ? kWindowHoursMax : 24);
  history::OutageQuery query{.devices = std::move(ids),
                             .from_ms = window.from_ms,
                             .to_ms = window.to_ms,
                             .now_ms = now_ms};
  query.active_only = refusals.take(flag_param("active", request.query_value("active"), false));
  query.with_checks = refusals.take(flag_param("checks", request.query_value("checks"), true));
  query.limit = static_cast<size_t>(
      take_integer(request, refusals, "limit", kOutageRowsDefault, 1, history::kOutagesMax));
  if (refusals.any()) return refusals.response();
  const auto read = deps_.history.outages(query);
  if (!read) return history_failed(read.error());
  const View view = known_devices();
  if (read->rows.empty()) {
    for (const DeviceId id : query.devices) {
      if (auto unknown = unknown_device(view, id)) return *unknown;
    }
  }
  return json_response(200, outages_json(view, *read));
}

Response Api::device_outages(const Request& request) const {
  const auto id = parse_device_id(*request.param("id"));
  return id ? outages_of(request, {*id}) : bad_id(request);
}

Response Api::all_outages(const Request& request) const {
  auto ids = devices_param("device", request.query_value("device"), kDevicesAskedMax);
  return ids ? outages_of(request, std::move(*ids)) : error_response(422, ids.error().message);
}

// --- statistics ------------------------------------------------------------------------------

Response Api::v1_statistics(const Request& request) const {
  Refusals refusals(request, {"device", "from", "to", "hours", "location", "per_device",
                              "whole_hours", "percentiles"});
  history::StatisticsQuery query;
  query.devices =
      refusals.take(devices_param("device", request.query_value("device"), kDevicesAskedMax));
  const Window window = take_window(request, refusals, statistics_end_ms(), kWindowHoursMax);
  query.from_ms = window.from_ms;
  query.to_ms = window.to_ms;
  query.location = take_location(request, refusals);
  const bool per_device =
      refusals.take(flag_param("per_device", request.query_value("per_device"), false));
  query.per_device = per_device || !query.devices.empty();
  query.whole_hours =
      refusals.take(flag_param("whole_hours", request.query_value("whole_hours"),
                               query.devices.empty() && window.to_ms - window.from_ms >= kDayMs));
  const auto percentiles = take_percentiles(request, refusals, "percentiles", "50,90,95,99,99.9");
  if (refusals.any()) return refusals.response();
  const auto read = deps_.history.statistics(query);
  if (!read) return history_failed(read.error());
  const auto& rows = (*read)->devices;
  const View view = known_devices();
  for (const DeviceId id : query.devices) {
    const bool found = std::any_of(rows.begin(), rows.end(),
                                   [id](const auto& device) { return device.device == id; });
    if (found) continue;
    if (auto unknown = unknown_device(view, id)) return *unknown;
  }
  return json_response(200, statistics_json(**read, percentiles, per_device));
}

// Now, up to the next whole multiple of the time that an answer about all devices serves: who asks
// for "the last 24 hours" within it asks for the same window.
int64_t Api::statistics_end_ms() const {
  constexpr int64_t kGrid =
      std::chrono::duration_cast<std::chrono::milliseconds>(kStatisticsFresh).count();
  return (unix_ms(deps_.clock().wall) / kGrid + 1) * kGrid;
}

Result<HistoryStatistics> Api::window_statistics(std::optional<DeviceId> device,
                                                 int64_t hours) const {
  history::StatisticsQuery query;
  query.to_ms = statistics_end_ms();
  query.from_ms = query.to_ms - hours * kHourMs;
  query.whole_hours = !device && hours >= 24;
  query.per_device = false;
  if (device) query.devices = {*device};
  const auto read = deps_.history.statistics(query);
  if (!read) return read.error();
  HistoryStatistics out;
  out.devices = (*read)->measured;
  const Rollup& total = (*read)->total;
  out.answered = total.verdicts[static_cast<size_t>(Verdict::kAnswered)];
  out.failed = total.verdicts[static_cast<size_t>(Verdict::kFailed)];
  out.rtt_mean_us = total.mean_us();
  out.rtt_min_us = total.rtt_min_us;
  out.rtt_max_us = total.rtt_max_us;
  return out;
}

// --- export ----------------------------------------------------------------------------------

namespace {

// Pumps an export into a client, at the client's pace.
class Pump {
 public:
  Pump(std::unique_ptr<ExportSource> source, std::string first, bool more,
       std::function<MonoTime()> clock)
      : source_(std::move(source)),
        text_(std::move(first)),
        more_(more),
        clock_(std::move(clock)) {}

  // Returns: false when it is over; finished only when all of it was written.
  bool operator()(http::StreamSink& sink) {
    using Room = http::StreamSink::Room;
    if (at_ == text_.size() && !more_) {
      sink.finish();
      return false;
    }
    const Room room = sink.wait_for_room();
    const MonoTime now = clock_();
    if (room != Room::kRoom) {
      if (!stalled_since_) stalled_since_ = now;
      return room == Room::kNotYet && now - *stalled_since_ < kExportStallMax;
    }
    stalled_since_.reset();
    if (at_ < text_.size()) {
      const auto piece = std::string_view(text_).substr(at_, kExportWriteBytes);
      at_ += piece.size();
      return sink.write(piece);
    }
    text_.clear();
    at_ = 0;
    const auto more = source_->next(text_);
    // History failed half-way: the stream breaks off, without its end.
    if (!more) return false;
    more_ = *more;
    return true;
  }

 private:
  std::unique_ptr<ExportSource> source_;
  std::string text_;
  size_t at_ = 0;
  bool more_;
  std::optional<MonoTime> stalled_since_;
  std::function<MonoTime()> clock_;
};

}  // namespace

Response Api::export_results(const Request& request) const {
  if (!request.http_1_1) {
    Response response = error_response(
        426,
        "an export needs HTTP/1.1: only its chunks tell a whole export from one that broke off");
    response.headers.emplace_back("Upgrade", "HTTP/1.1");
    return response;
  }
  Refusals refusals(request, {"format", "device", "from", "to", "hours", "location"});
  history::ExportQuery query;
  const bool ndjson = refusals.take(choice_param("format", request.query_value("format"), 0,
                                                 {"csv", "ndjson"})) == 1;
  query.format = ndjson ? history::ExportFormat::kNdjson : history::ExportFormat::kCsv;
  const Window window =
      take_window(request, refusals, unix_ms(deps_.clock().wall) + 1000, kWindowHoursMax);
  query.from_ms = window.from_ms;
  query.to_ms = window.to_ms;
  query.location = take_location(request, refusals);
  const auto ids =
      refusals.take(devices_param("device", request.query_value("device"), kDevicesAskedMax));
  if (refusals.any()) return refusals.response();
  const View view = known_devices();
  if (view.catalogue == nullptr) {
    return error_response(503, "the catalogue is not known yet: waiting for inventory");
  }
  const auto add = [&query](const Device& device) {
    query.devices.push_back({device.id, device.address, device.hostname});
  };
  for (const DeviceId id : ids) {
    if (const Device* device = find(view, id)) {
      add(*device);
    } else {
      query.devices.push_back({.id = id, .address = "", .name = ""});  // removed, perhaps
    }
  }
  if (ids.empty()) {
    for (const Device& device : view.catalogue->devices) add(device);
  }
  auto source = deps_.history.open_export(query);
  if (!source) {
    const bool no_device = source.error().message.rfind("no device ", 0) == 0;
    return no_device ? error_response(404, source.error().message) : history_failed(source.error());
  }
  // What fails at once is an error of its own, not a stream that breaks off.
  std::string first;
  const auto more = (*source)->next(first);
  if (!more) return history_failed(more.error());

  Response response;
  response.content_type =
      ndjson ? "application/x-ndjson" : "text/csv; charset=utf-8; header=present";
  response.headers = {{"Cache-Control", "no-store"},
                      {"X-Accel-Buffering", "no"},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Content-Disposition", std::string("attachment; filename=\"gema_results.") +
                                                  (ndjson ? "ndjson\"" : "csv\"")}};
  response.end_matters = true;
  response.stream = [pump = std::make_shared<Pump>(std::move(*source), std::move(first), *more,
                                                   [this] { return deps_.clock().mono; })](
                        http::StreamSink& sink) { return (*pump)(sink); };
  return response;
}

// --- history itself --------------------------------------------------------------------------

Response Api::history_overview(const Request&) const {
  const auto overview = deps_.history.overview();
  return overview ? json_response(200, overview_json(*overview)) : history_failed(overview.error());
}

Response Api::history_cleanup(const Request& request) const {
  if (!has_json_body(request)) {
    return error_response(415, "the body must be JSON (Content-Type: application/json)");
  }
  auto parsed = parse_cleanup(request.body);
  if (parsed.error) {
    return error_response(parsed.error->malformed ? 400 : 422, parsed.error->message);
  }
  parsed.value.actor = Auth::kAdminName;
  const auto report = deps_.history.cleanup(parsed.value);
  if (report) return json_response(200, cleanup_json(*report, parsed.value.dry_run));
  switch (report.error().code) {
    case Errc::kBadInput:
      return error_response(422, report.error().message);
    case Errc::kTimeout:
      return error_response(
          503, "the recorder did not answer in time; the cleanup may go on: ask again");
    default:
      return error_response(503,
                            "history cannot be cleaned up now: the recorder is not there, or "
                            "its database is away");
  }
}

}  // namespace gema::gateway
