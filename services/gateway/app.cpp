#include "services/gateway/app.h"

#include <malloc.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <future>

#include "common/codec/cleanup_codec.h"
#include "common/codec/csv_codec.h"
#include "common/observability/log.h"
#include "common/postgres/from_config.h"
#include "common/runtime/clock.h"
#include "common/runtime/local_time.h"
#include "services/gateway/io/metrics_collector.h"
#include "services/gateway/page/page.h"

namespace gema::gateway {
namespace {

constexpr Duration kMetricsEvery = 1s;
// What each thread's share of the heap may keep when it is free.
constexpr int kMemoryKept = 16 << 20;
constexpr const char* kRecorder = "recorder";
// The recorder says after 3 s that a file takes longer.
constexpr Duration kRebuildPatience = 6s;

postgres::Options postgres_options(const config::Common& common, std::chrono::seconds timeout) {
  postgres::Options out = postgres::options_from(common, "gema-gateway");
  out.statement_timeout = timeout;
  out.lock_timeout = timeout;
  return out;
}

}  // namespace

App::App(Config config, const runtime::Environment& environment)
    : config_(std::move(config)),
      environment_(environment),
      events_({.clients_max = config_.event_clients_max}),
      bridge_(kLoopJobsMax) {}

Result<void> App::start() {
  // glibc gives large memory back to the kernel at once, and fetches it again, page by page, with
  // the next request: a third of what a day of results costs.
  mallopt(M_MMAP_THRESHOLD, kMemoryKept / 2);
  mallopt(M_TRIM_THRESHOLD, kMemoryKept);
  const config::Common& common = environment_.common;
  if (auto zone = runtime::use_timezone(common.timezone); !zone) {
    return zone.error();
  }
  auto auth = Auth::load(config_.token_file.empty() ? common.data_dir / "admin.token"
                                                    : std::filesystem::path(config_.token_file));
  if (!auth) {
    return auth.error();
  }
  const Now now = runtime::read_clock();
  BusFeedOptions feed{.bus = {.ingress = common.ingress_endpoint(),
                              .egress = common.inner_endpoint(),
                              .keys_dir = common.keys_dir(),
                              .name = environment_.instance},
                      .state_dir = environment_.state_dir(),
                      .call_timeout = config_.call_timeout};
  auto opened = BusFeed::open(std::move(feed), view_, events_, environment_.health, now);
  if (!opened) {
    return opened.error();
  }
  feed_ = std::move(*opened);
  environment_.loop.add_fd(feed_->fd());
  environment_.loop.add_fd(bridge_.fd(), [this](Now at) { bridge_.run_jobs(at); });
  history_ = std::make_unique<HistoryService>(
      HistoryOptions{.postgres = postgres_options(common, config_.history_timeout),
                     .connections = config_.history_connections,
                     .patience = config_.history_timeout});
  exports_ = std::make_unique<Exports>(postgres_options(common, config_.history_timeout));
  api_ = std::make_unique<Api>(dependencies(std::move(*auth)));

  http::ServerOptions options;
  options.socket = config_.socket.empty() ? common.run_dir() / "gateway.sock"
                                          : std::filesystem::path(config_.socket);
  options.threads_max = config_.request_threads + config_.event_clients_max;
  options.body_bytes_max = config_.body_bytes_max;
  options.handler = [this](const http::Request& request) { return api_->handle(request); };
  options.error_body = [this](int status, const std::string& why, const http::Request&) {
    count("", status, {});
    return api_->error(status, why);
  };
  options.on_exception = [](const std::string& what, const http::Request& request) {
    obs::log_error("a request failed by an exception",
                   {{"what", what}, {"method", request.method}, {"target", request.target}});
  };
  auto server = http::Server::start(std::move(options));
  if (!server) {
    return server.error();
  }
  server_ = std::move(*server);
  return {};
}

ApiDependencies App::dependencies(Auth auth) {
  MultiPingSettings settings = config_.multi_ping;
  settings.csv_output_directory = environment_.common.csv_output_dir;
  return {
      .auth = std::move(auth),
      .settings = settings,
      .events = &events_,
      .index = {"text/html; charset=utf-8", page::index_html()},
      .script = {"text/javascript; charset=utf-8", page::app_js()},
      .style = {"text/css; charset=utf-8", page::style_css()},
      .view = [this] { return view_.copy(runtime::read_clock()); },
      .catalogue = [this] { return view_.catalogue(); },
      .clock = [] { return runtime::read_clock(); },
      .local_offset = [] { return runtime::local_offset(); },
      .timezone = environment_.common.timezone.empty() ? "local" : environment_.common.timezone,
      .device_history =
          [this](DeviceId device, int64_t from_ms, int64_t to_ms, size_t limit) {
            return history_->device(device, from_ms, to_ms, limit);
          },
      .device_addresses = [this](DeviceId device,
                                 size_t limit) { return history_->addresses(device, limit); },
      .history = history_reads(),
      .change_device = [this](const std::string& method,
                              const DeviceChange& change) { return change_device(method, change); },
      .on_demand = config_.on_demand(),
      .ping = [this](const std::string& prober, const PingOrder& order,
                     Duration deadline) { return ping(prober, order, deadline); },
      .change_probing =
          [this](bool pause, const ProbingChange& change) { return change_probing(pause, change); },
      .rebuild_csv = [this](const std::string& day) -> Result<CsvRebuilt> {
        const auto reply = call(kRecorder, "csv.rebuild", encode_csv_rebuild(day),
                                std::max<Duration>(config_.call_timeout, kRebuildPatience));
        if (!reply) return reply.error();
        return decode_csv_rebuilt(*reply);
      },
      .csv_files = [this]() -> Result<std::vector<CsvFile>> {
        const auto reply = call(kRecorder, "csv.files", "", config_.call_timeout);
        if (!reply) return reply.error();
        return decode_csv_files(*reply);
      },
      .all_metrics = [this] { return collect_metrics(environment_.common.run_dir()); },
      .observe = [this](const std::string& route, int status,
                        Duration took) { count(route, status, took); }};
}

HistoryReads App::history_reads() {
  return {
      .results = [this](const ResultsQuery& query) { return history_->results(query); },
      .series = [this](const history::SeriesQuery& query) { return history_->series(query); },
      .outages = [this](const history::OutageQuery& query) { return history_->outages(query); },
      .availability =
          [this](const history::AvailabilityQuery& query) { return history_->availability(query); },
      .statistics =
          [this](const history::StatisticsQuery& query) { return history_->statistics(query); },
      .overview = [this] { return history_->overview(); },
      .open_export = [this](const history::ExportQuery& query) { return exports_->open(query); },
      .cleanup = [this](const CleanupOrder& order) -> Result<CleanupReport> {
        const auto reply =
            call(kRecorder, "history.cleanup", encode_cleanup_order(order), kCleanupPatience);
        if (!reply) return reply.error();
        return decode_cleanup_report(*reply);
      }};
}

// On a request's thread: the loop's thread makes the call, we wait for its answer.
template <class T>
Result<T> App::wait_for_call(Duration deadline,
                             const std::function<void(std::function<void(Result<T>)>, Now)>& call) {
  auto answer = std::make_shared<std::promise<Result<T>>>();
  auto came = answer->get_future();
  const bool posted = bridge_.post([call, answer](Now now) {
    call([answer](Result<T> result) { answer->set_value(std::move(result)); }, now);
  });
  if (!posted) {
    return Error{Errc::kUnavailable, "too many calls at once: try again in a moment"};
  }
  // The call has its own deadline; ours only catches a loop that is stuck.
  if (came.wait_for(deadline + std::chrono::seconds(1)) != std::future_status::ready) {
    return Error{Errc::kTimeout, "no answer in time"};
  }
  return came.get();
}

Result<Device> App::change_device(const std::string& method, const DeviceChange& change) {
  return wait_for_call<Device>(config_.call_timeout, [this, method, change](auto done, Now now) {
    feed_->change_device(method, change, std::move(done), now);
  });
}

Result<Probing> App::change_probing(bool pause, const ProbingChange& change) {
  return wait_for_call<Probing>(config_.call_timeout, [this, pause, change](auto done, Now now) {
    feed_->change_probing(pause, change, std::move(done), now);
  });
}

Result<PingReport> App::ping(const std::string& prober, const PingOrder& order, Duration deadline) {
  return wait_for_call<PingReport>(deadline, [=, this](auto done, Now now) {
    feed_->ping(prober, order, deadline, std::move(done), now);
  });
}

Result<std::string> App::call(const std::string& process, const std::string& method,
                              const std::string& body, Duration deadline) {
  return wait_for_call<std::string>(deadline, [=, this](auto done, Now now) {
    feed_->call(process, method, body, deadline, std::move(done), now);
  });
}

std::optional<MonoTime> App::turn(Now now) {
  bridge_.run_jobs(now);
  MonoTime wakeup = feed_->turn(now);
  if (metrics_due_ <= now.mono) {
    metrics_due_ = now.mono + kMetricsEvery;
    update_metrics(now);
    if (!server_->running()) {
      obs::log_error("the HTTP server stopped by itself; leaving, to be started again");
      environment_.loop.stop();
    }
  }
  return std::min(wakeup, metrics_due_);
}

void App::stop() {
  if (server_) {
    server_->stop();
  }
  if (feed_) {
    environment_.loop.remove_fd(feed_->fd());
    environment_.loop.remove_fd(bridge_.fd());
  }
  history_.reset();
  exports_.reset();
  feed_.reset();
}

void App::count(const std::string& route, int status, Duration took) {
  environment_.metrics
      .counter("requests_total", "Requests by route and status code.",
               {{"route", route.empty() ? "none" : route}, {"code", std::to_string(status)}})
      .Increment();
  if (!route.empty()) {
    environment_.metrics
        .histogram("request_seconds", "Time to answer a request (of a stream: to begin it).",
                   {0.001, 0.005, 0.02, 0.1, 0.5, 2, 10})
        .Observe(std::chrono::duration<double>(took).count());
  }
}

void App::update_metrics(Now now) {
  obs::Metrics& metrics = environment_.metrics;
  const auto gauge = [&metrics](const char* name, const char* help, double value) {
    metrics.gauge(name, help).Set(value);
  };
  const auto [stats, age] = view_.with([&now](LiveView& live) {
    const auto newest = live.newest_record_at();
    return std::pair(live.stats(), newest ? now.wall - *newest : Duration(-1s));
  });
  gauge("view_age_seconds", "Age of the newest record of results in the view; -1 = none yet.",
        std::chrono::duration<double>(age).count());
  gauge("view_results", "Results taken since the start.", static_cast<double>(stats.results));
  gauge("view_late_slots", "Results at or before a device's newest slot.",
        static_cast<double>(stats.late_slots));
  gauge("view_unknown_devices", "Results of devices the catalogue does not name.",
        static_cast<double>(stats.unknown_devices));
  gauge("view_future_records", "Records refused for a slot in the future.",
        static_cast<double>(stats.future_records));
  gauge("view_gaps", "Gaps seen in the observed streams.", static_cast<double>(stats.gaps));
  gauge("view_snapshots", "Snapshots of the tracker taken.", static_cast<double>(stats.snapshots));
  gauge("view_snapshots_unaligned", "Snapshots that lacked records from before the kept ones.",
        static_cast<double>(stats.snapshots_unaligned));
  gauge("view_snapshots_failed", "Snapshots asked for without an answer.",
        static_cast<double>(feed_->stats().snapshots_failed));
  gauge("view_buffer_overflows", "Times the buffer of a snapshot reached its bound.",
        static_cast<double>(stats.buffer_overflows));
  gauge("view_processes_refused", "Heartbeats beyond the bound of processes.",
        static_cast<double>(stats.processes_refused));
  gauge("undecodable", "Records, parts and heartbeats that could not be decoded.",
        static_cast<double>(feed_->stats().undecodable));
  const EventHub::Stats events = events_.stats();
  gauge("event_clients", "Clients of the event stream.", static_cast<double>(events.clients));
  gauge("event_clients_refused", "Clients refused at the bound.",
        static_cast<double>(events.refused));
  gauge("event_clients_dropped", "Clients dropped because they did not keep up.",
        static_cast<double>(events.dropped));
  const HistoryService::Stats history = history_->stats();
  gauge("history_queries", "Queries of history.", static_cast<double>(history.queries));
  gauge("history_failed", "Queries of history that failed.", static_cast<double>(history.failed));
  gauge("history_refused", "Queries refused because too many waited.",
        static_cast<double>(history.refused));
  const StatisticsCache::Stats cache = history_->cache_stats();
  gauge("statistics_hits", "Questions about all devices answered from memory.",
        static_cast<double>(cache.hits));
  gauge("statistics_misses", "Questions about all devices that asked the database.",
        static_cast<double>(cache.misses));
  const Exports::Stats exports = exports_->stats();
  gauge("exports_running", "Exports under way.", static_cast<double>(exports.running));
  gauge("exports_whole", "Exports that were read to their end.",
        static_cast<double>(exports.whole));
  gauge("exports_broken_off", "Exports whose client left, or that history could not go on with.",
        static_cast<double>(exports.broken_off));
  gauge("exports_refused", "Exports refused because too many were under way.",
        static_cast<double>(exports.refused));
  gauge("exports_bytes", "Bytes of exports read.", static_cast<double>(exports.bytes));
  gauge("exports_unreadable_rows", "Stored rows that did not decode and exports left out.",
        static_cast<double>(exports.unreadable_rows));
  const OnDemandStats pings = api_->on_demand_stats();
  gauge("pings", "Pings on demand that a prober has carried out.", static_cast<double>(pings.done));
  gauge("pings_refused", "Pings on demand that a rule or the address policy refused.",
        static_cast<double>(pings.refused));
  gauge("pings_over_rate", "Pings on demand answered 429.", static_cast<double>(pings.over_rate));
  gauge("pings_too_many", "Pings on demand refused because too many were under way.",
        static_cast<double>(pings.too_many));
  gauge("pings_without_answer", "Pings on demand that no prober carried out.",
        static_cast<double>(pings.without_answer));
  const http::Server::Stats http = server_->stats();
  gauge("http_threads_busy", "Threads that work on a request or a stream.",
        static_cast<double>(http.busy));
  gauge("http_held_back", "Times accepting paused because too many requests waited.",
        static_cast<double>(http.held_back));
  const bus::BusStats& bus = feed_->client().stats();
  gauge("bus_received", "Messages received from the bus.", static_cast<double>(bus.received));
  gauge("bus_dropped", "Messages dropped because the bus was away or slow.",
        static_cast<double>(bus.dropped_full + bus.dropped_invalid));
}

}  // namespace gema::gateway
