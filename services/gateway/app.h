// The gateway: what a caller may see and change. Owns nothing but a live view.
//
// Threads: the loop's (bus, live view, events), the HTTP server's (handlers), and one per database
// connection. They meet in SharedView, EventHub, LoopBridge and HistoryService, each thread-safe.
#pragma once

#include <memory>
#include <optional>

#include "common/http/server.h"
#include "common/runtime/service_main.h"
#include "services/gateway/config.h"
#include "services/gateway/io/api.h"
#include "services/gateway/io/bus_feed.h"
#include "services/gateway/io/event_hub.h"
#include "services/gateway/io/exports.h"
#include "services/gateway/io/history_service.h"
#include "services/gateway/io/loop_bridge.h"
#include "services/gateway/io/shared_view.h"

namespace gema::gateway {

class App {
 public:
  static constexpr const char* kName = "gateway";
  static constexpr const char* kSummary =
      "serves the REST API, live events and the page behind nginx";
  using Config = gateway::Config;

  App(Config config, const runtime::Environment& environment);

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  Result<Device> change_device(const std::string& method, const DeviceChange& change);
  Result<Probing> change_probing(bool pause, const ProbingChange& change);
  Result<PingReport> ping(const std::string& prober, const PingOrder& order, Duration deadline);
  template <class T>
  Result<T> wait_for_call(Duration deadline,
                          const std::function<void(std::function<void(Result<T>)>, Now)>& call);
  // On a request's thread: makes a call on the loop's and waits for its answer.
  Result<std::string> call(const std::string& process, const std::string& method,
                           const std::string& body, Duration deadline);
  ApiDependencies dependencies(Auth auth);
  HistoryReads history_reads();
  void count(const std::string& route, int status, Duration took);
  void update_metrics(Now now);

  const Config config_;
  const runtime::Environment environment_;
  SharedView view_;
  EventHub events_;
  LoopBridge bridge_;
  std::unique_ptr<BusFeed> feed_;
  std::unique_ptr<HistoryService> history_;
  std::unique_ptr<Exports> exports_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<http::Server> server_;  // its threads use all of the above
  MonoTime metrics_due_{};
};

}  // namespace gema::gateway
