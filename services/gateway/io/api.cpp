#include "services/gateway/io/api.h"

#include <algorithm>
#include <limits>

#include "common/base/assert.h"
#include "common/base/rfc3339.h"
#include "common/base/utf8.h"
#include "services/gateway/core/params.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/io/device_json.h"
#include "services/gateway/io/responses.h"

namespace gema::gateway {
namespace {

using http::Request;
using http::Response;

constexpr const char* kNotThere = "Multi-ping service not available";
constexpr const char* kTrackingOff = "Timeout tracking is disabled";
constexpr int64_t kHourMs = 3'600'000;

Response json(int status, std::string body) {
  return json_response(status, std::move(body));
}

Response fail(int status, std::string_view error) {
  return error_response(status, error);
}

// The page may load its own script and style and talk to its own origin; nothing else.
Response asset(const Asset& asset) {
  Response response;
  response.content_type = asset.content_type;
  response.body = asset.text;
  response.headers = {
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
       "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
      {"X-Content-Type-Options", "nosniff"},
      {"X-Frame-Options", "DENY"},
      {"Referrer-Policy", "no-referrer"},
      {"Cache-Control", "no-cache"}};
  return response;
}

std::optional<DeviceId> id_param(const Request& request) {
  return parse_device_id(*request.param("id"));
}

// Requires: the id in the path was no id.
Response no_such_id(const Request& request) {
  return fail(404, "no device \"" + request.param("id")->substr(0, 64) +
                       "\": an id is a whole number from 1");
}

const Device* find(const View& view, DeviceId id) {
  const auto index = view.find(id);
  return index ? &view.catalogue->devices[*index] : nullptr;
}

const Device* find_address(const View& view, const std::string& address) {
  if (view.catalogue == nullptr) {
    return nullptr;
  }
  for (const Device& device : view.catalogue->devices) {
    if (device.address == address) {
      return &device;
    }
  }
  return nullptr;
}

}  // namespace

Api::Api(ApiDependencies dependencies)
    : deps_(std::move(dependencies)), on_demand_(deps_.on_demand, deps_.ping) {
  add("GET", "/", &Api::page, Access::kOpen);
  add("GET", "/assets/app.js", &Api::script, Access::kOpen);
  add("GET", "/assets/style.css", &Api::style, Access::kOpen);
  add("GET", "/health", &Api::health, Access::kOpen);

  add_multi_ping("GET", "/health", &Api::api_health, Access::kOpen);
  add_multi_ping("GET", "/ping/latest", &Api::latest);
  add_multi_ping("GET", "/ping/device/{id}", &Api::device_history);
  add_multi_ping("GET", "/ping/statistics", &Api::statistics);
  add_multi_ping("GET", "/ping/status", &Api::status);
  add_multi_ping("GET", "/ping/timeout/summary", &Api::timeout_summary);
  add_multi_ping("GET", "/ping/timeout/devices", &Api::timeout_devices);
  add_multi_ping("GET", "/ping/timeout/critical", &Api::timeout_critical);
  add_multi_ping("GET", "/ping/service/status", &Api::service_status);
  add_multi_ping("POST", "/ping/service/start", &Api::service_start);
  add_multi_ping("POST", "/ping/service/stop", &Api::service_stop);
  add_multi_ping("POST", "/ping/test/{ip}", &Api::test_ping);
  add_multi_ping("POST", "/ping/csv/rebuild", &Api::csv_rebuild);
  add_multi_ping("GET", "/ping/csv/files", &Api::csv_files);

  add("GET", "/api/v1/devices", &Api::list_devices);
  add("POST", "/api/v1/devices", &Api::create_device);
  add("GET", "/api/v1/devices/{id}", &Api::get_device);
  add("PATCH", "/api/v1/devices/{id}", &Api::update_device);
  add("DELETE", "/api/v1/devices/{id}", &Api::delete_device);
  add("GET", "/api/v1/devices/{id}/results", &Api::device_results);
  add("GET", "/api/v1/devices/{id}/addresses", &Api::device_addresses);
  add("GET", "/api/v1/devices/{id}/series", &Api::device_series);
  add("GET", "/api/v1/devices/{id}/outages", &Api::device_outages);
  add("GET", "/api/v1/devices/{id}/availability", &Api::device_availability);
  add("GET", "/api/v1/series", &Api::group_series);
  add("GET", "/api/v1/outages", &Api::all_outages);
  add("GET", "/api/v1/statistics", &Api::v1_statistics);
  add("GET", "/api/v1/export", &Api::export_results);
  add("GET", "/api/v1/history", &Api::history_overview);
  add("POST", "/api/v1/history/cleanup", &Api::history_cleanup);
  add("GET", "/api/v1/status", &Api::v1_status);
  add("POST", "/api/v1/ping", &Api::v1_ping);
  add("GET", "/api/v1/probing", &Api::v1_probing);
  add("POST", "/api/v1/probing/pause", &Api::v1_pause);
  add("POST", "/api/v1/probing/resume", &Api::v1_resume);
  add("GET", "/api/v1/events", &Api::events);
  add("GET", "/api/v1/metrics", &Api::metrics);
}

void Api::add(const char* method, const std::string& pattern, Handler handler, Access access) {
  router_.add(method, pattern, static_cast<int>(routes_.size()));
  routes_.push_back({pattern, handler, access});
}

void Api::add_multi_ping(const char* method, const std::string& path, Handler handler,
                         Access access) {
  router_.add(method, "/api/monitoring" + path, static_cast<int>(routes_.size()));
  add(method, "/api" + path, handler, access);
}

Response Api::handle(const Request& request) const {
  const MonoTime begin = deps_.clock().mono;
  std::string route;
  Response response = dispatch(request, route);
  if (deps_.observe) {
    deps_.observe(route, response.status, deps_.clock().mono - begin);
  }
  return response;
}

Response Api::dispatch(const Request& request, std::string& route) const {
  using Kind = http::Router::Match::Kind;
  auto match = router_.match(request.method, request.segments);
  if (match.kind == Kind::kNoSuchPath) {
    return fail(404, "no such route");
  }
  if (match.kind == Kind::kNoSuchMethod) {
    Response response = fail(405, "method " + request.method.substr(0, 16) +
                                      " is not allowed here; allowed: " + match.allow);
    response.headers.emplace_back("Allow", match.allow);
    return response;
  }
  const Route& found = routes_[static_cast<size_t>(match.route)];
  route = found.pattern;
  if (found.access == Access::kToken) {
    const Auth::Verdict verdict = deps_.auth.check(request);
    if (verdict != Auth::Verdict::kAdmin) {
      Response response = fail(401, verdict == Auth::Verdict::kMissing
                                        ? "a token is required: send \"Authorization: Bearer "
                                          "TOKEN\" or \"X-API-Token: TOKEN\""
                                        : "invalid token");
      response.headers.emplace_back("WWW-Authenticate", "Bearer");
      return response;
    }
  }
  Request with_params = request;
  with_params.params = std::move(match.params);
  return (this->*found.handler)(with_params);
}

Response Api::error(int status, const std::string& why) const {
  return fail(status, why);
}

// --- page and health ----------------------------------------------------------------------------

Response Api::page(const Request&) const {
  return asset(deps_.index);
}
Response Api::script(const Request&) const {
  return asset(deps_.script);
}
Response Api::style(const Request&) const {
  return asset(deps_.style);
}

Response Api::api_health(const Request&) const {
  return json(200, health_body());
}

Response Api::health(const Request&) const {
  Json body;
  body.object()
      .text("status", "healthy")
      .text("timestamp", format_rfc3339(deps_.clock().wall))
      .end_object();
  return json(200, body.take());
}

// --- the multi-ping system's routes -------------------------------------------------------------

Response Api::latest(const Request& request) const {
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return fail(503, kNotThere);
  }
  return json(200, latest_body(view, request.query_value("limit"), deps_.local_offset()));
}

Response Api::device_history(const Request& request) const {
  const auto id = id_param(request);
  if (!id) {
    return no_such_id(request);
  }
  const auto hours = integer_param("hours", request.query_value("hours"), 24, 1, kHistoryHoursMax);
  if (!hours) {
    return fail(422, hours.error().message);
  }
  const std::string* limit = request.query_value("limit");
  const auto wanted = limit == nullptr ? std::nullopt : parse_integer(*limit);
  const int64_t rows_max =
      wanted && *wanted > 0 ? std::min(*wanted, kHistoryRowsMax) : kHistoryRowsMax;
  // A result of this very moment is in the window too.
  const int64_t to_ms = unix_ms(deps_.clock().wall) + 1000;
  auto history =
      deps_.device_history(*id, to_ms - *hours * kHourMs, to_ms, static_cast<size_t>(rows_max));
  if (!history) {
    return history_away(history.error());
  }
  auto& rows = history->rows;
  rows.resize(rows_for_limit(limit, kHistoryRowsMax, kHistoryRowsMax, rows.size()));
  const View view = known_devices();
  Response response = json(200, device_body(*id, find(view, *id), rows, deps_.local_offset()));
  if (history->truncated && rows_max == kHistoryRowsMax) {
    response.headers.emplace_back("X-Truncated", "older results exist in this window");
  }
  return response;
}

Response Api::statistics(const Request& request) const {
  std::optional<DeviceId> device;
  if (const std::string* text = request.query_value("device_id")) {
    device = parse_device_id(*text);
    if (!device) {
      return fail(422,
                  "device_id = \"" + text->substr(0, 64) + "\": must be a whole number from 1");
    }
  }
  if (request.query_value("hours") == nullptr) {
    const View view = deps_.view();
    if (view.catalogue == nullptr) {
      return fail(503, kNotThere);
    }
    return json(200, statistics_body(statistics_of(view, device), device));
  }
  const auto hours = integer_param("hours", request.query_value("hours"), 24, 1, kHistoryHoursMax);
  if (!hours) {
    return fail(422, hours.error().message);
  }
  auto statistics = window_statistics(device, *hours);
  if (!statistics) {
    return history_away(statistics.error());
  }
  return json(200, statistics_body(*statistics, device));
}

Response Api::status(const Request&) const {
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return fail(503, kNotThere);
  }
  return json(200, status_body(view, deps_.local_offset()));
}

Response Api::timeout_summary(const Request&) const {
  const View view = deps_.view();
  if (view.catalogue == nullptr || !view.tracker_loaded) {
    return fail(503, kNotThere);
  }
  return json(200, timeout_summary_body(view));
}

Response Api::timeout_devices(const Request& request) const {
  const auto least =
      integer_param("min_consecutive", request.query_value("min_consecutive"), 1, 0, 1'000'000'000);
  if (!least) {
    return fail(422, least.error().message);
  }
  const View view = deps_.view();
  if (view.catalogue == nullptr || !view.tracker_loaded) {
    return fail(503, kNotThere);
  }
  return json(200, timeout_devices_body(view, *least, deps_.local_offset()));
}

Response Api::timeout_critical(const Request& request) const {
  const View view = deps_.view();
  const auto threshold = integer_param("threshold", request.query_value("threshold"),
                                       view.critical_threshold, 0, 1'000'000'000);
  if (!threshold) {
    return fail(422, threshold.error().message);
  }
  if (view.catalogue == nullptr || !view.tracker_loaded) {
    return fail(503, kNotThere);
  }
  if (!view.tracking_enabled) {
    return fail(503, kTrackingOff);
  }
  return json(200, timeout_critical_body(view, *threshold, deps_.local_offset()));
}

Response Api::service_status(const Request&) const {
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return fail(503, kNotThere);
  }
  return json(200, service_status_body(view, deps_.settings, deps_.local_offset()));
}

Response Api::csv_rebuild(const Request& request) const {
  const std::string* date = request.query_value("date");
  const std::string day = date == nullptr ? "" : *date;
  const auto bad_day = [&] {
    return fail(422, "date = \"" + day.substr(0, 64) +
                         "\": must be a date as 2026-11-20, of a day whose file is kept");
  };
  // A call carries only text: it would fail, and look like a recorder that is away.
  if (!is_clean_text(day)) return bad_day();
  const auto rebuilt = deps_.rebuild_csv(day);
  if (!rebuilt) {
    return fail(503, kNotThere);
  }
  switch (rebuilt->outcome) {
    case CsvRebuildOutcome::kDone:
    case CsvRebuildOutcome::kStarted:
      return json(200, csv_rebuild_body(rebuilt->device_count));
    case CsvRebuildOutcome::kBusy:
      return fail(409, "Ping cycle already in progress, please wait and try again");
    case CsvRebuildOutcome::kNoDevices:
      return fail(404, "No active devices found");
    case CsvRebuildOutcome::kNotReady:
      return fail(503, std::string(kNotThere) + ": " + rebuilt->error);
    case CsvRebuildOutcome::kBadDay:
      return bad_day();
    case CsvRebuildOutcome::kFailed:
      break;
  }
  return fail(500, rebuilt->error);
}

Response Api::csv_files(const Request&) const {
  const auto files = deps_.csv_files();
  if (!files) {
    return fail(503, kNotThere);
  }
  return json(200, csv_files_body(*files, deps_.local_offset()));
}

// --- /api/v1 ------------------------------------------------------------------------------------

Response Api::list_devices(const Request& request) const {
  const auto limit =
      integer_param("limit", request.query_value("limit"), kDevicesPageDefault, 1, kDevicesPageMax);
  const auto after = integer_param("after", request.query_value("after"), 0, 0,
                                   std::numeric_limits<int64_t>::max());
  if (!limit || !after) {
    return fail(422, (!limit ? limit : after).error().message);
  }
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return fail(503, "the catalogue is not known yet: waiting for inventory");
  }
  return json(200, devices_page(view, static_cast<DeviceId>(*after), static_cast<size_t>(*limit)));
}

Response Api::get_device(const Request& request) const {
  const auto id = id_param(request);
  if (!id) {
    return no_such_id(request);
  }
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return fail(503, "the catalogue is not known yet: waiting for inventory");
  }
  const auto index = view.find(*id);
  if (!index) {
    return fail(404, "no device " + std::to_string(*id));
  }
  return json(200, device_live_json(view, *index));
}

Response Api::device_addresses(const Request& request) const {
  const auto id = id_param(request);
  if (!id) {
    return no_such_id(request);
  }
  const auto limit =
      integer_param("limit", request.query_value("limit"), kResultsRowsDefault, 1, kAddressRowsMax);
  if (!limit) {
    return fail(422, limit.error().message);
  }
  const auto rows = deps_.device_addresses(*id, static_cast<size_t>(*limit));
  return rows ? json(200, addresses_json(*id, *rows)) : history_away(rows.error());
}

// See the errors of device.* in proto/gema/v1/call.proto.
Response Api::device_error(const Error& error, DeviceId id) const {
  switch (error.code) {
    case Errc::kBadInput:
      return fail(422, error.message);
    case Errc::kPermanent:
      if (id != 0 && error.message.rfind("no such device", 0) == 0) {
        return fail(404, "no device " + std::to_string(id));
      }
      return fail(409, error.message);
    case Errc::kTimeout:
      return fail(503, "inventory did not answer in time; the change may have taken effect");
    case Errc::kRetryable:
    case Errc::kUnavailable:
      break;
  }
  return fail(503, "the device cannot be changed now: " + error.message);
}

Response Api::create_device(const Request& request) const {
  if (!has_json_body(request)) {
    return fail(415, "the body must be JSON (Content-Type: application/json)");
  }
  auto parsed = parse_new_device(request.body);
  if (parsed.error) {
    return fail(parsed.error->malformed ? 400 : 422, parsed.error->message);
  }
  // Inventory answers a repeated creation with the device there is (a call may come twice); a
  // caller who asks for what exists is told so here.
  const View view = deps_.view();
  if (const Device* there = find_address(view, parsed.value.device.address)) {
    return fail(409,
                "address: " + there->address + " is already device " + std::to_string(there->id));
  }
  parsed.value.actor = "api";
  const auto created = deps_.change_device("device.create", parsed.value);
  if (!created) {
    return device_error(created.error(), 0);
  }
  Response response = json(201, device_json(*created));
  response.headers.emplace_back("Location", "/api/v1/devices/" + std::to_string(created->id));
  return response;
}

Response Api::update_device(const Request& request) const {
  const auto id = id_param(request);
  if (!id) {
    return no_such_id(request);
  }
  if (!has_json_body(request)) {
    return fail(415, "the body must be JSON (Content-Type: application/json)");
  }
  auto parsed = parse_device_patch(request.body, *id);
  if (parsed.error) {
    return fail(parsed.error->malformed ? 400 : 422, parsed.error->message);
  }
  parsed.value.actor = "api";
  const auto changed = deps_.change_device("device.update", parsed.value);
  return changed ? json(200, device_json(*changed)) : device_error(changed.error(), *id);
}

Response Api::delete_device(const Request& request) const {
  const auto id = id_param(request);
  if (!id) {
    return no_such_id(request);
  }
  // Inventory takes the deletion of a deleted device for a repeated call.
  const View view = deps_.view();
  if (view.catalogue != nullptr && find(view, *id) == nullptr) {
    return fail(404, "no device " + std::to_string(*id));
  }
  DeviceChange change;
  change.device.id = *id;
  change.actor = "api";
  const auto deleted = deps_.change_device("device.delete", change);
  if (!deleted) {
    return device_error(deleted.error(), *id);
  }
  Response response;
  response.status = 204;
  return response;
}

Response Api::v1_status(const Request&) const {
  return json(200, status_json(deps_.view()));
}

Response Api::events(const Request& request) const {
  if (request.head) {
    Response response;
    response.content_type = "text/event-stream";
    return response;
  }
  auto client = deps_.events->join();
  if (client == nullptr) {
    return fail(503, "too many clients of the event stream: try again later");
  }
  const View view = deps_.view();
  std::vector<DeviceId> newest;
  if (view.catalogue != nullptr) {
    std::vector<size_t> order;
    for (size_t i = 0; i < view.live.size(); ++i) {
      if (view.live[i].measured()) {
        order.push_back(i);
      }
    }
    const size_t count = std::min(order.size(), kRecentResultsMax);
    std::partial_sort(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
        [&view](size_t a, size_t b) { return view.live[a].slot_ms > view.live[b].slot_ms; });
    for (size_t i = count; i > 0; --i) {
      newest.push_back(view.catalogue->devices[order[i - 1]].id);
    }
  }
  std::string first = "retry: 2000\n\n" + counts_frame(view);
  if (view.catalogue != nullptr) {
    first += silent_frame(view) + results_frame(view, newest);
  }
  Response response;
  response.content_type = "text/event-stream";
  response.headers = {{"Cache-Control", "no-store"},
                      {"X-Accel-Buffering", "no"},
                      {"X-Content-Type-Options", "nosniff"}};
  response.stream = [this, client, first = std::move(first),
                     last_write = deps_.clock().mono](http::StreamSink& sink) mutable {
    if (!first.empty()) {
      return sink.write(std::exchange(first, {}));
    }
    const auto frame = client->next(std::chrono::milliseconds(500));
    const MonoTime now = deps_.clock().mono;
    if (frame != nullptr) {
      last_write = now;
      return sink.write(*frame);
    }
    if (client->too_slow()) {
      sink.write("event: dropped\ndata: {\"reason\":\"this client did not keep up\"}\n\n");
      return false;
    }
    if (now - last_write >= kHeartbeatEvery) {
      last_write = now;
      return sink.write(": heartbeat\n\n");
    }
    return sink.alive();
  };
  response.stream_closed = [events = deps_.events, client] { events->leave(client); };
  return response;
}

Response Api::metrics(const Request&) const {
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.headers = {{"Cache-Control", "no-store"}};
  response.body = deps_.all_metrics();
  return response;
}

}  // namespace gema::gateway
