// The broker's shell: sockets, allow-list, memory watch, heartbeat.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/runtime/service_main.h"
#include "services/broker/config.h"
#include "services/broker/io/allow_list.h"
#include "services/broker/io/forwarder.h"

namespace gema::broker {

struct App {
  using Config = broker::Config;
  static constexpr const char* kName = "broker";
  static constexpr const char* kSummary = "decides who may publish what, and forwards it";

  App(Config config, const runtime::Environment& environment);
  ~App();

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  Result<void> open_ingress();
  void watch_allow_list(Now now);
  void watch_memory(Now now);
  void heartbeat(Now now);
  void complain(Now now, std::string_view who, std::string_view what, std::string_view topic);

  const Config config_;
  const runtime::Environment environment_;
  std::string clients_path_;
  std::unique_ptr<SharedAllowList> clients_;
  std::unique_ptr<Forwarder> forwarder_;
  std::string clients_stamp_;  // identity of the file last looked at

  std::optional<Now> started_;
  MonoTime allow_list_due_{};
  MonoTime memory_due_{};
  MonoTime look_due_{};
  MonoTime cut_again_at_{};
  bool trim_ = false;
  MonoTime heartbeat_due_{};
  std::map<std::pair<std::string, std::string>, MonoTime> complaints_;  // <= kComplaintsRemembered
};

}  // namespace gema::broker
