#include "common/observability/http.h"

#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/observability/log.h"
#include "common/runtime/clock.h"

namespace gema::obs {
namespace {

constexpr Duration kBeatMax = 10s;
// sun_path holds 108 bytes with the closing zero.
constexpr size_t kSocketPathMax = 107;

}  // namespace

HealthServer::HealthServer(const Health& health, const Metrics& metrics)
    : server_(std::make_unique<httplib::Server>()) {
  server_->new_task_queue = [] { return new httplib::ThreadPool(2); };
  server_->set_keep_alive_max_count(1);
  server_->set_payload_max_length(0);
  server_->set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
        response.status = 500;
        response.set_content("internal error\n", "text/plain");
      });
  server_->Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
    const int64_t beat = last_beat_.load();
    const Duration silent = runtime::read_clock().mono.time_since_epoch() - Duration(beat);
    const bool alive = beat == 0 || silent < kBeatMax;
    response.status = alive ? 200 : 503;
    response.set_content(alive ? "ok\n" : "the loop is stuck\n", "text/plain");
  });
  server_->Get("/readyz", [&health](const httplib::Request&, httplib::Response& response) {
    const auto waiting = health.waiting_for();
    response.status = waiting.empty() ? 200 : 503;
    std::string body = waiting.empty() ? "ready\n" : "";
    for (const auto& line : waiting) body += "waiting for " + line + "\n";
    for (const auto& line : health.impaired()) body += "impaired: " + line + "\n";
    response.set_content(body, "text/plain");
  });
  server_->Get("/metrics", [&metrics](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics.serialise(), "text/plain; version=0.0.4");
  });
}

Result<std::unique_ptr<HealthServer>> HealthServer::start(const std::string& socket_path,
                                                          const Health& health,
                                                          const Metrics& metrics) {
  if (socket_path.size() > kSocketPathMax) {
    return Error{Errc::kPermanent,
                 "the socket path " + socket_path +
                     " is longer than 107 bytes; choose a shorter data directory"};
  }
  std::unique_ptr<HealthServer> self(new HealthServer(health, metrics));
  self->path_ = socket_path;
  ::unlink(socket_path.c_str());
  self->server_->set_address_family(AF_UNIX);
  if (!self->server_->bind_to_port(socket_path.c_str(), 80)) {
    return Error{Errc::kPermanent, "cannot listen on the Unix socket " + socket_path};
  }
  ::chmod(socket_path.c_str(), 0600);
  self->thread_ = std::thread([server = self->server_.get()] { server->listen_after_bind(); });
  // stop() before the accept loop runs would be lost and the destructor would hang.
  while (!self->server_->is_running()) std::this_thread::yield();
  return self;
}

HealthServer::~HealthServer() {
  server_->stop();
  if (thread_.joinable()) thread_.join();
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace gema::obs
