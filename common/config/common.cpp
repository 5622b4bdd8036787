#include "common/config/common.h"

namespace gema::config {
namespace {

using namespace std::chrono_literals;

std::string endpoint(const std::string& given, const Common& common, const char* name) {
  if (!given.empty()) return given;
  return "ipc://" + (std::filesystem::absolute(common.run_dir()) / name).string();
}

}  // namespace

std::string Common::ingress_endpoint() const {
  return endpoint(bus_ingress, *this, "bus-ingress.sock");
}
std::string Common::inner_endpoint() const {
  return endpoint(bus_inner, *this, "bus-inner.sock");
}
std::string Common::edge_endpoint() const {
  return endpoint(bus_edge, *this, "bus-edge.sock");
}

std::filesystem::path Common::keys_dir() const {
  return bus_keys_dir.empty() ? data_dir / "keys" : std::filesystem::path(bus_keys_dir);
}

std::filesystem::path Common::csv_dir() const {
  return data_dir / csv_output_dir;  // an absolute one stands for itself
}

std::string Common::postgres_host_or_socket() const {
  return postgres_host.empty() ? std::filesystem::absolute(run_dir()).string() : postgres_host;
}

std::vector<Spec> Common::describe(Common& c) {
  Spec general("general");
  general.text(
      "timezone", c.timezone,
      "Time zone of local times in CSV files, API rows and messages; empty: the system's.");

  Spec csv("csv");
  csv.text("output_dir", c.csv_output_dir,
           "Directory of the CSV files: daily results, timeout_tracking.csv; a relative one lies "
           "in DIR.");
  csv.alias("CSV_OUTPUT_DIR", "output_dir");

  Spec bus("bus");
  bus.text("ingress", c.bus_ingress,
           "Where processes send to the broker; empty: a Unix socket in DIR/run. tcp://HOST:5555.");
  bus.text("inner", c.bus_inner,
           "Where our services listen to the broker; empty: a Unix socket. tcp://HOST:5556.");
  bus.text("edge", c.bus_edge,
           "Where probers listen to the broker; empty: a Unix socket. tcp://HOST:5557.");
  bus.text("keys_dir", c.bus_keys_dir, "Directory of the bus keys; empty: DIR/keys.");

  Spec postgres("postgres");
  postgres.text("host", c.postgres_host,
                "Host name, or directory of a Unix socket; empty: DIR/run.");
  postgres.integer("port", c.postgres_port, 1, 65535, "Port (names the Unix socket, too).");
  postgres.text("database", c.postgres_database, "Database name.");
  postgres.text("user", c.postgres_user, "User name.");
  postgres.text("password_file", c.postgres_password_file,
                "File that holds the password; empty: none is sent.");
  postgres.duration_s("connect_timeout_s", c.postgres_connect_timeout, 1s, 60s,
                      "How long a connection attempt may take.");

  Spec detection("detection");
  detection.integer("down_after", c.down_after, 1, 1'000,
                    "Failed checks in a row until a device that was up is down; until then every "
                    "failing check gets a burst of its own.");

  Spec redis("redis");
  redis.text("host", c.redis_host, "Host name; empty: the Unix socket DIR/run/redis.sock.");
  redis.alias("REDIS_HOST", "host");
  redis.integer("port", c.redis_port, 1, 65535, "Port, with a host name.");
  redis.alias("REDIS_PORT", "port");
  redis.text("password_file", c.redis_password_file,
             "File that holds the password; empty: none is sent.");

  Spec log("log");
  log.choice("level", c.log_level, {"debug", "info", "warn", "error"}, "Least level written.");
  log.alias("LOG_LEVEL", "level");

  return {std::move(general),  std::move(csv),   std::move(detection), std::move(bus),
          std::move(postgres), std::move(redis), std::move(log)};
}

const std::vector<std::string>& all_sections() {
  static const std::vector<std::string> names = {
      "general", "csv",       "detection", "bus",      "postgres",        "redis",  "log",
      "broker",  "inventory", "prober",    "recorder", "timeout-tracker", "gateway"};
  return names;
}

const std::map<std::string, std::string>& accepted_without_effect() {
  static const std::map<std::string, std::string> names = {
      {"MAX_PING_WORKERS", "one prober needs no workers"},
      {"USE_MULTI_PING", "all devices are always probed together"}};
  return names;
}

}  // namespace gema::config
