#include "services/gateway/config.h"

namespace gema::gateway {

using namespace std::chrono_literals;

namespace {

std::optional<std::string> no_cidr(const std::string& text) {
  const auto cidr = parse_cidr(text);
  return cidr ? std::nullopt : std::optional(cidr.error().message);
}

std::vector<Cidr> cidrs(const std::vector<std::string>& texts) {
  std::vector<Cidr> out;
  for (const std::string& text : texts) {
    if (const auto cidr = parse_cidr(text)) out.push_back(*cidr);
  }
  return out;
}

}  // namespace

OnDemandOptions Config::on_demand() const {
  return {.policy = {.allow = cidrs(ping_allow), .deny = cidrs(ping_deny)},
          .rate = {.per_minute = pings_per_minute, .per_minute_total = pings_per_minute_total},
          .at_once = pings_at_once};
}

void Config::describe(config::Spec& spec, Config& config) {
  spec.text("socket", config.socket,
            "Unix socket for nginx, the only one who connects. Empty: DIR/run/gateway.sock.");
  spec.text("token_file", config.token_file,
            "File of the admin token, readable by its owner only. Empty: DIR/admin.token.");
  spec.integer("request_threads", config.request_threads, 2, 256,
               "Requests worked on at once; event streams come on top.");
  spec.integer("event_clients_max", config.event_clients_max, 1, 1000,
               "Clients of /api/v1/events at once; one more is answered 503.");
  spec.integer("body_bytes_max", config.body_bytes_max, 1024, 16 << 20,
               "Largest request body; a larger one is answered 413.");
  spec.integer("history_connections", config.history_connections, 1, 32,
               "Connections to PostgreSQL, so queries of history at once.");
  spec.duration_s("history_timeout_s", config.history_timeout, 1s, 300s,
                  "How long a request waits for history before it is answered 503.");
  spec.duration_s("call_timeout_s", config.call_timeout, 1s, 50s,
                  "How long a request waits for another process (device changes).");
  spec.list("ping_allow", config.ping_allow,
            "Address blocks that may be pinged on demand, besides the devices' own addresses.",
            no_cidr);
  spec.list("ping_deny", config.ping_deny,
            "Address blocks that are never pinged on demand, also where they are devices.",
            no_cidr);
  spec.integer("pings_per_minute", config.pings_per_minute, 1, 100'000,
               "Pings on demand of one client; more are answered 429.");
  spec.integer("pings_per_minute_total", config.pings_per_minute_total, 1, 100'000,
               "Pings on demand of all clients together; more are answered 429.");
  spec.integer("pings_at_once", config.pings_at_once, 1, 200,
               "Pings on demand under way; one more is answered 503. Each holds a request thread.");
  MultiPingSettings& shown = config.multi_ping;
  spec.integer("ping_interval_s", shown.ping_interval_s, 1, 86'400,
               "Shown by /api/ping/service/status while there is no device.");
  spec.alias("PING_INTERVAL", "ping_interval_s");
  spec.integer("ping_timeout_s", shown.ping_timeout_s, 1, 3'600,
               "Shown by /api/ping/service/status.");
  spec.alias("PING_TIMEOUT", "ping_timeout_s");
  spec.integer("max_workers", shown.max_workers, 1, 100'000,
               "Shown by /api/ping/service/status; one prober needs no workers.");
  spec.integer("device_check_interval_s", shown.device_check_interval_s, 1, 86'400,
               "Shown by /api/ping/service/status.");
  spec.alias("DEVICE_CHECK_INTERVAL", "device_check_interval_s");
}

}  // namespace gema::gateway
