// A gateway's API behind a real Unix socket, as nginx asks it, for the tests: what lies behind the
// routes (bus, database) is a function here.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/http/server.h"
#include "services/gateway/core/view_for_test.h"
#include "services/gateway/io/api.h"
#include "services/gateway/io/device_json.h"
#include "services/gateway/io/shared_view.h"
#include "services/gateway/page/page.h"
#include "tests/support/temp_dir.h"

namespace gema::gateway::testing {

using json = nlohmann::json;

inline constexpr const char* kToken = "gema-test-token-0123456789";

struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  json parsed() const { return json::parse(body); }
  std::string error() const { return parsed().at("error"); }
};

class Connection {
 public:
  explicit Connection(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      ADD_FAILURE() << "cannot connect to " << path;
    }
  }
  ~Connection() { ::close(fd_); }
  void send(const std::string& bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // Until the server closes or `enough` came.
  std::string read(std::string_view enough = {}) {
    char buffer[65536];
    while (enough.empty() || text_.find(enough) == std::string::npos) {
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) {
        break;
      }
      text_.append(buffer, static_cast<size_t>(n));
    }
    return text_;
  }

 private:
  int fd_;
  std::string text_;
};

struct ApiTest : ::testing::Test {
  ApiTest() : events({.clients_max = 2, .frames_max = 8, .bytes_max = 1 << 20}) {
    socket = (dir / "g.sock").string();
    now = at(1s);
  }
  ~ApiTest() override {
    if (server) {
      server->stop();
    }
  }

  void start() {
    ApiDependencies deps{.auth = std::move(*Auth::of_token(kToken)),
                         .settings = {},
                         .events = &events,
                         .index = {"text/html; charset=utf-8", page::index_html()},
                         .script = {"text/javascript; charset=utf-8", page::app_js()},
                         .style = {"text/css; charset=utf-8", page::style_css()},
                         .view = [this] { return view.copy(now); },
                         .catalogue = [this] { return view.catalogue(); },
                         .clock =
                             [this] {
                               return Now{now.mono + std::chrono::seconds(later_s), now.wall};
                             },
                         .local_offset = [] { return UtcOffset([](int64_t) { return 7 * 3600; }); },
                         .timezone = "Asia/Jakarta",
                         .device_history =
                             [this](DeviceId id, int64_t from_ms, int64_t to_ms, size_t limit) {
                               asked = {id, from_ms, to_ms, limit};
                               return history;
                             },
                         .device_addresses =
                             [this](DeviceId id, size_t limit) {
                               asked = {id, 0, 0, limit};
                               return addresses;
                             },
                         .history = history_reads(),
                         .change_device =
                             [this](const std::string& method, const DeviceChange& change) {
                               changes.emplace_back(method, change);
                               return changed;
                             },
                         .on_demand = {.rate = {.per_minute = 3, .per_minute_total = 100}},
                         .ping = [this](const std::string& prober, const PingOrder& order,
                                        Duration) { return answer_ping(prober, order); },
                         .change_probing =
                             [this](bool pause, const ProbingChange& change) {
                               pauses.emplace_back(pause, change);
                               if (probing) {
                                 view.with([this](LiveView& live) { live.on_probing(*probing); });
                               }
                               return probing;
                             },
                         .rebuild_csv =
                             [this](const std::string& day) {
                               csv_day = day;
                               return csv_rebuilt;
                             },
                         .csv_files = [this] { return csv_files; },
                         .all_metrics = [] { return std::string("gema_x 1\n"); },
                         .observe =
                             [this](const std::string& route, int status, Duration) {
                               const std::lock_guard lock(mutex);
                               observed.insert(route + " " + std::to_string(status));
                             }};
    api = std::make_unique<Api>(std::move(deps));
    http::ServerOptions options;
    options.socket = socket;
    options.threads_max = 8;
    options.write_timeout = std::chrono::seconds(1);
    options.handler = [this](const http::Request& request) { return api->handle(request); };
    options.error_body = [this](int status, const std::string& why, const http::Request&) {
      return api->error(status, why);
    };
    auto started = http::Server::start(std::move(options));
    ASSERT_TRUE(started) << started.error().message;
    server = std::move(*started);
  }

  HistoryReads history_reads() {
    return {.results =
                [this](const ResultsQuery& query) {
                  asked_results = query;
                  asked = {query.device, query.from_ms, query.to_ms, query.limit};
                  return results_;
                },
            .series =
                [this](const history::SeriesQuery& query) {
                  asked_series = query;
                  return series;
                },
            .outages =
                [this](const history::OutageQuery& query) {
                  asked_outages = query;
                  return outages;
                },
            .availability =
                [this](const history::AvailabilityQuery& query) {
                  asked_availability = query;
                  return availability;
                },
            .statistics = [this](const history::StatisticsQuery& query)
                -> Result<std::shared_ptr<const history::WindowStatistics>> {
              asked_statistics = query;
              if (!statistics) return statistics.error();
              return std::make_shared<const history::WindowStatistics>(*statistics);
            },
            .overview = [this] { return overview; },
            .open_export =
                [this](const history::ExportQuery& query) {
                  asked_export = query;
                  return open_export();
                },
            .cleanup =
                [this](const CleanupOrder& order) {
                  cleanups.push_back(order);
                  return cleaned;
                }};
  }

  // Three devices; 1 answers, 2 fails for the fifth time, 3 was never measured.
  void fill() {
    view.with([](LiveView& live) {
      Catalogue devices = catalogue({1, 2, 3});
      devices.devices[0].hostname = "<script>alert(1)</script>";
      live.on_catalogue(devices, at(0s));
      live.take_snapshot_request(at(0s));
      Snapshot snapshot;
      snapshot.states = {state(2, 5, kEpochMs, DeviceStatus::kDown)};
      live.on_snapshot(snapshot, at(0s));
      live.on_results(record(1), results({{1, kEpochMs, Verdict::kAnswered, 12'500}}), at(0s).wall,
                      at(0s));
    });
  }

  Result<PingReport> answer_ping(const std::string& prober, const PingOrder& order) {
    if (ping_error) return *ping_error;
    PingReport report{.prober = prober, .location = "default", .address = order.address};
    report.outcome.assign(order.count, ping_outcome);
    report.rtt_us.assign(order.count, ping_outcome == EchoOutcome::kReply ? 1500 : 0);
    return report;
  }
  void add_prober() {
    view.with([this](LiveView& live) {
      Process p;
      p.name = "prober-1";
      p.kind = "prober";
      p.heard_at = now.mono;
      live.on_heartbeat(p);
    });
  }

  static std::string head(const std::string& method, const std::string& target) {
    return method + " " + target + " HTTP/1.0\r\nX-Real-IP: 192.0.2.1\r\n";
  }

  Answer raw(const std::string& bytes) {
    Connection connection(socket);
    connection.send(bytes);
    const std::string text = connection.read();
    Answer answer;
    const size_t end = text.find("\r\n\r\n");
    EXPECT_NE(end, std::string::npos) << text;
    answer.head = text.substr(0, end);
    answer.body = end == std::string::npos ? "" : text.substr(end + 4);
    answer.status = std::atoi(text.c_str() + 9);  // lint: allow(banned-call) status line of a test
    return answer;
  }
  Answer get(const std::string& target) {
    return raw(head("GET", target) + "Authorization: Bearer " + kToken + "\r\n\r\n");
  }
  Answer send(const std::string& method, const std::string& target, const std::string& body,
              const std::string& type = "application/json") {
    return raw(head(method, target) + "X-API-Token: " + kToken + "\r\nContent-Type: " + type +
               "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  gema::testing::TempDir dir;
  std::string socket;
  Now now;
  std::atomic<int64_t> later_s{0};  // added while a request is under way
  SharedView view;
  EventHub events;
  std::unique_ptr<Api> api;
  std::unique_ptr<http::Server> server;

  struct Asked {
    DeviceId device = 0;
    int64_t from_ms = 0;
    int64_t to_ms = 0;
    size_t limit = 0;
  } asked;
  Result<DeviceHistory> history = DeviceHistory{};
  ResultsQuery asked_results;
  Result<history::Results> results_ = history::Results{};
  history::SeriesQuery asked_series;
  Result<history::Series> series = history::Series{};
  history::OutageQuery asked_outages;
  Result<history::Outages> outages = history::Outages{};
  history::AvailabilityQuery asked_availability;
  Result<history::Availability> availability = history::Availability{};
  history::StatisticsQuery asked_statistics;
  Result<history::WindowStatistics> statistics = history::WindowStatistics{};
  Result<HistoryOverview> overview = HistoryOverview{};
  history::ExportQuery asked_export;
  std::function<Result<std::unique_ptr<ExportSource>>()> open_export =
      []() -> Result<std::unique_ptr<ExportSource>> {
    return Error{Errc::kUnavailable, "no export in this test"};
  };
  std::vector<CleanupOrder> cleanups;
  Result<CleanupReport> cleaned = CleanupReport{};
  Result<std::vector<AddressRow>> addresses = std::vector<AddressRow>{};
  std::vector<std::pair<std::string, DeviceChange>> changes;
  Result<Device> changed = device(7, "new");
  std::vector<std::pair<bool, ProbingChange>> pauses;
  Result<Probing> probing = Probing{.paused = true, .by = "admin", .since = at(1s).wall};
  std::optional<Error> ping_error;
  EchoOutcome ping_outcome = EchoOutcome::kReply;
  std::string csv_day;
  Result<CsvRebuilt> csv_rebuilt = CsvRebuilt{};
  Result<std::vector<CsvFile>> csv_files = std::vector<CsvFile>();
  std::mutex mutex;
  std::set<std::string> observed;
};

}  // namespace gema::gateway::testing
