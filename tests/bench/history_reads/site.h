// The real gateway behind the real nginx as deploy/local/up runs them, on a real broker, reading
// history from the measurement's PostgreSQL; inventory and timeout-tracker are played (a catalogue
// of so many devices, and their states).
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "common/bus/testing/broker_process.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace gema::bench {

struct SiteOptions {
  std::filesystem::path source;  // where deploy/local is
  std::filesystem::path binary;  // of the gateway
  std::string postgres_socket_dir;
  uint32_t devices = 100'000;
};

class Site {
 public:
  explicit Site(SiteOptions options);  // ready, or it ends the program
  ~Site();

  const std::string& url() const { return url_; }
  const std::string& token() const { return token_; }

 private:
  void play();
  void start_gateway();
  void start_nginx();

  const SiteOptions options_;
  const std::string token_ = "gema-bench-token-0123456789";
  std::string url_;
  testing::TempDir data_;
  bus::testing::BrokerProcess broker_;
  testing::ChildProcess gateway_;
  testing::ChildProcess nginx_;
  std::string catalogue_;
  std::string states_;
  std::atomic<bool> stop_{false};
  std::thread player_;
};

}  // namespace gema::bench
