// main() of every service: command line, configuration, logs, health and metrics, loop, clean stop.
//
// An App is what a service brings:
//   struct App {
//     static constexpr const char* kName = "recorder";           // section, binary, metric prefix
//     static constexpr const char* kSummary = "keeps the history";
//     struct Config { static void describe(config::Spec&, Config&); };
//     App(Config, const runtime::Environment&);
//     Result<void> start();                        // an error: one line on stderr, exit code 2
//     std::optional<MonoTime> turn(Now);           // see Loop::run
//     void stop();                                 // after the last turn
//   };
// A binary with words of its own before or beside these handles them in its main.cpp first.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/config/common.h"
#include "common/config/spec.h"
#include "common/observability/health.h"
#include "common/observability/log.h"
#include "common/observability/metrics.h"
#include "common/runtime/loop.h"

namespace gema::runtime {

struct Environment {
  std::string instance;  // "prober-1"; the service's name by default
  config::Common common;
  Loop& loop;
  obs::Metrics& metrics;
  obs::Health& health;

  // DIR/state/<instance> and DIR/spool/<instance>; made by service_main, mode 0700.
  std::filesystem::path state_dir() const { return common.data_dir / "state" / instance; }
  std::filesystem::path spool_dir() const { return common.data_dir / "spool" / instance; }
};

// What the non-template half needs to know of an App.
struct ServiceHooks {
  const char* name;
  const char* summary;
  config::Spec* own;  // bound to the App's Config
  // Makes the App and starts it.
  std::function<Result<void>(const Environment&)> start;
  std::function<std::optional<MonoTime>(Now)> turn;
  std::function<void()> stop;
};

// Exit codes: 0 clean stop, 1 failed while running, 2 bad command line, configuration or start.
int run_service(int argc, char** argv, const ServiceHooks& hooks);

template <class App>
int service_main(int argc, char** argv) {
  typename App::Config config;
  config::Spec spec(App::kName);
  App::Config::describe(spec, config);
  std::unique_ptr<App> app;
  ServiceHooks hooks{.name = App::kName,
                     .summary = App::kSummary,
                     .own = &spec,
                     .start =
                         [&](const Environment& environment) {
                           app = std::make_unique<App>(config, environment);
                           return app->start();
                         },
                     .turn = [&](Now now) { return app->turn(now); },
                     .stop =
                         [&] {
                           if (app) app->stop();
                           app.reset();
                         }};
  return run_service(argc, argv, hooks);
}

}  // namespace gema::runtime
