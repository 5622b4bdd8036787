// Every route of the gateway: what a caller may see and change. Requests in, responses out; what it
// needs of the rest of the process comes as functions, so that tests put their own in.
//
// Thread-safe: handle() runs on the server's request threads, many at once. It never touches the
// loop's objects: views are copies, calls and queries wait with a deadline inside the functions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/domain/csv_files.h"
#include "common/http/message.h"
#include "common/http/router.h"
#include "services/gateway/core/live_view.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/io/auth.h"
#include "services/gateway/io/event_hub.h"
#include "services/gateway/io/history_reads.h"
#include "services/gateway/io/history_service.h"
#include "services/gateway/io/on_demand.h"

namespace gema::gateway {

struct Asset {
  std::string_view content_type;
  std::string_view text;
};

struct ApiDependencies {
  Auth auth;
  MultiPingSettings settings;
  EventHub* events = nullptr;
  Asset index;
  Asset script;
  Asset style;

  std::function<View()> view;
  std::function<std::shared_ptr<const Catalogue>()> catalogue;  // that of `view`, without a copy
  std::function<Now()> clock;
  std::function<UtcOffset()> local_offset;
  std::string timezone;  // its name
  std::function<Result<DeviceHistory>(DeviceId, int64_t from_ms, int64_t to_ms, size_t limit)>
      device_history;
  std::function<Result<std::vector<AddressRow>>(DeviceId, size_t limit)> device_addresses;
  HistoryReads history;
  // "device.create", "device.update" or "device.delete" of inventory, by call.
  std::function<Result<Device>(const std::string& method, const DeviceChange& change)>
      change_device;
  OnDemandOptions on_demand;
  OnDemand::Ask ping;
  // "probing.pause" or "probing.resume" of inventory, by call.
  std::function<Result<Probing>(bool pause, const ProbingChange& change)> change_probing;
  // "csv.rebuild" and "csv.files" of the recorder, by call. `day`: "" = today.
  std::function<Result<CsvRebuilt>(const std::string& day)> rebuild_csv;
  std::function<Result<std::vector<CsvFile>>()> csv_files;
  std::function<std::string()> all_metrics;
  // After each request: route pattern ("" = none), status, and how long it took to answer.
  std::function<void(const std::string& route, int status, Duration took)> observe;
};

class Api {
 public:
  explicit Api(ApiDependencies dependencies);

  http::Response handle(const http::Request& request) const;
  // For errors the server finds before there is a request to handle.
  http::Response error(int status, const std::string& why) const;

  // (method, pattern) of every route: openapi.yaml lists exactly these.
  std::vector<std::pair<std::string, std::string>> routes() const { return router_.routes(); }
  OnDemandStats on_demand_stats() const { return on_demand_.stats(); }

 private:
  using Handler = http::Response (Api::*)(const http::Request&) const;
  enum class Access { kOpen, kToken };
  struct Route {
    std::string pattern;
    Handler handler;
    Access access;
  };

  void add(const char* method, const std::string& pattern, Handler handler,
           Access access = Access::kToken);
  // A route of the multi-ping system: below its base, "/api", and below the one that its later
  // versions have, "/api/monitoring". Counted as one route.
  void add_multi_ping(const char* method, const std::string& path, Handler handler,
                      Access access = Access::kToken);
  http::Response dispatch(const http::Request& request, std::string& route) const;
  http::Response device_error(const Error& error, DeviceId id) const;

  http::Response page(const http::Request&) const;
  http::Response script(const http::Request&) const;
  http::Response style(const http::Request&) const;
  http::Response health(const http::Request&) const;
  http::Response api_health(const http::Request&) const;
  http::Response latest(const http::Request&) const;
  http::Response device_history(const http::Request&) const;
  http::Response statistics(const http::Request&) const;
  http::Response status(const http::Request&) const;
  http::Response timeout_summary(const http::Request&) const;
  http::Response timeout_devices(const http::Request&) const;
  http::Response timeout_critical(const http::Request&) const;
  http::Response service_status(const http::Request&) const;
  http::Response csv_rebuild(const http::Request&) const;
  http::Response csv_files(const http::Request&) const;
  http::Response list_devices(const http::Request&) const;
  http::Response get_device(const http::Request&) const;
  http::Response device_addresses(const http::Request&) const;
  http::Response create_device(const http::Request&) const;
  http::Response update_device(const http::Request&) const;
  http::Response delete_device(const http::Request&) const;
  http::Response v1_status(const http::Request&) const;
  http::Response events(const http::Request&) const;
  http::Response metrics(const http::Request&) const;

  // io/api_on_demand.cpp
  http::Response test_ping(const http::Request&) const;
  http::Response v1_ping(const http::Request&) const;
  http::Response service_start(const http::Request&) const;
  http::Response service_stop(const http::Request&) const;
  http::Response v1_probing(const http::Request&) const;
  http::Response v1_pause(const http::Request&) const;
  http::Response v1_resume(const http::Request&) const;
  http::Response change_probing(const http::Request&, bool pause) const;

  // io/api_history.cpp
  View known_devices() const;
  http::Response device_results(const http::Request&) const;
  http::Response device_series(const http::Request&) const;
  http::Response group_series(const http::Request&) const;
  http::Response series_of(const http::Request&, std::vector<DeviceId> ids) const;
  http::Response device_outages(const http::Request&) const;
  http::Response all_outages(const http::Request&) const;
  http::Response outages_of(const http::Request&, std::vector<DeviceId> ids) const;
  http::Response device_availability(const http::Request&) const;
  http::Response v1_statistics(const http::Request&) const;
  http::Response export_results(const http::Request&) const;
  http::Response history_overview(const http::Request&) const;
  http::Response history_cleanup(const http::Request&) const;
  int64_t statistics_end_ms() const;
  Result<HistoryStatistics> window_statistics(std::optional<DeviceId> device, int64_t hours) const;

  const ApiDependencies deps_;
  mutable OnDemand on_demand_;  // thread-safe
  http::Router router_;
  std::vector<Route> routes_;
};

}  // namespace gema::gateway
