// The timeout-tracker as a process: the bus, the catalogue and the calls around the Engine.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/catalogue/catalogue_feed.h"
#include "common/runtime/service_main.h"
#include "services/timeout-tracker/config.h"
#include "services/timeout-tracker/engine.h"
#include "services/timeout-tracker/io/timeouts_writer.h"

namespace gema::timeout_tracker {

class App {
 public:
  static constexpr const char* kName = "timeout-tracker";
  static constexpr const char* kSummary = "decides which devices are up, down or unknown";
  using Config = timeout_tracker::Config;

  App(Config config, const runtime::Environment& environment);
  ~App();

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  void answer_calls();
  void on_message(Now now);
  void take_catalogue(Catalogue catalogue);
  void publish(Now now);
  MonoTime turn_timeouts(Now now);

  Config config_;
  runtime::Environment environment_;
  CatalogueFeed catalogue_;
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<TimeoutsWriter> timeouts_;  // none when the file is switched off
  std::unique_ptr<bus::Caller> caller_;
  std::unique_ptr<bus::CallServer> server_;
  std::unique_ptr<bus::Heartbeat> heartbeat_;
  Now now_{};            // of this turn, for the handlers of calls
  std::string topic_;    // reused
  std::string payload_;  // reused
};

}  // namespace gema::timeout_tracker
