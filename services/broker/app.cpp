#include "services/broker/app.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>

#include "common/bus/topics.h"
#include "services/broker/core/limits.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GEMA_SHADOW_MEMORY 1  // sanitizers reserve terabytes of address space
#else
#define GEMA_SHADOW_MEMORY 0
#endif

namespace gema::broker {
namespace {

constexpr size_t kMib = 1024 * 1024;

size_t resident_bytes() {
  const int fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  std::array<char, 128> text{};
  const ssize_t n = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  unsigned long total = 0;
  unsigned long resident = 0;
  if (n <= 0 || std::sscanf(text.data(), "%lu %lu", &total, &resident) != 2) return 0;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

// Changes whenever the file was replaced or written.
std::string stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{}:{}:{}.{}", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

// Descriptors for three sockets' connections; what the kernel refuses would let accept() spin.
Result<void> raise_limits(size_t connections_max, size_t memory_mib) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const rlim_t wanted = 3 * connections_max + 256;
  if (files.rlim_max < wanted) {
    return Error{Errc::kBadInput,
                 fmt::format("broker.connections_max = {}: needs {} descriptors, the system allows "
                             "{} (ulimit -Hn)",
                             connections_max, wanted, files.rlim_max)};
  }
  files.rlim_cur = std::max(files.rlim_cur, wanted);
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (GEMA_SHADOW_MEMORY == 0) {
    rlimit space{};
    space.rlim_cur = space.rlim_max = memory_mib * kMib * kMemoryHardFactor;
    ::setrlimit(RLIMIT_AS, &space);
  }
  return {};
}

}  // namespace

App::App(Config config, const runtime::Environment& environment)
    : config_(std::move(config)),
      environment_(environment),
      clients_path_((environment.common.keys_dir() / "clients.yaml").string()) {}

App::~App() = default;

Result<void> App::start() {
  if (config_.zap_domain.empty()) {
    return Error{Errc::kBadInput,
                 "broker.zap_domain is empty: libzmq would accept every key; refusing to start"};
  }
  auto raised = raise_limits(config_.connections_max, config_.memory_mib);
  if (!raised) return raised;
  auto keys = bus::read_key_pair(environment_.common.keys_dir(), bus::kBrokerName);
  if (!keys) return keys.error();
  clients_stamp_ = stamp_of(clients_path_);
  auto clients = read_clients(clients_path_);
  if (!clients) return clients.error();
  clients_ = std::make_unique<SharedAllowList>(std::make_shared<AllowList>(std::move(*clients)));

  auto forwarder = Forwarder::open({.ingress = environment_.common.ingress_endpoint(),
                                    .inner = environment_.common.inner_endpoint(),
                                    .edge = environment_.common.edge_endpoint(),
                                    .keys = *keys,
                                    .zap_domain = config_.zap_domain,
                                    .connections_max = config_.connections_max,
                                    .ingress_queue_bytes = config_.ingress_queue_mib * kMib,
                                    .egress_queue_bytes = config_.egress_queue_mib * kMib},
                                   *clients_, environment_.metrics);
  if (!forwarder) return forwarder.error();
  forwarder_ = std::move(*forwarder);
  for (const int fd : forwarder_->fds()) {
    environment_.loop.add_fd(fd, [this, fd](Now) { forwarder_->on_readable(fd); });
  }
  return open_ingress();
}

Result<void> App::open_ingress() {
  // Subscribers come back first, or what publishers have kept for us would find nobody to go to.
  // Waiting here, before the first turn, keeps a port in use an error of the start. Handshakes need
  // no turn: libzmq's I/O thread and the ZAP handler do them.
  environment_.health.set_waiting("ingress", "subscribers get half a second to come back first");
  ::poll(nullptr, 0, static_cast<int>(kSettle.count()));
  auto bound = forwarder_->bind_ingress();
  if (!bound) return bound;
  environment_.health.clear_waiting("ingress");
  for (const std::string& endpoint : forwarder_->bound_endpoints()) {
    std::cout << endpoint << '\n';
  }
  std::cout.flush();
  obs::log_info("forwarding", {{"clients", clients_->get()->clients().size()}});
  return {};
}

std::optional<MonoTime> App::turn(Now now) {
  if (!started_) started_ = now;
  watch_allow_list(now);
  watch_memory(now);
  heartbeat(now);
  const bool look = now.mono >= look_due_;
  if (look) look_due_ = now.mono + kLookAtAllEvery;
  const bool more = forwarder_->turn(
      look,
      [&](std::string_view name, Refusal why, std::string_view topic) {
        complain(now, name.empty() ? "a key no longer listed" : name, to_string(why), topic);
      },
      [&](const char* socket, Verdict why) { complain(now, socket, to_string(why), ""); });
  if (more) return now.mono;
  const MonoTime next = std::min({allow_list_due_, heartbeat_due_, memory_due_});
  return forwarder_->should_look_at_all() ? std::min(next, look_due_) : next;
}

void App::watch_allow_list(Now now) {
  const bool asked = environment_.loop.take_reload();
  if (!asked && now.mono < allow_list_due_) return;
  allow_list_due_ = now.mono + kAllowListPollEvery;
  const std::string stamp = stamp_of(clients_path_);
  if (!asked && stamp == clients_stamp_) return;
  clients_stamp_ = stamp;
  auto clients = read_clients(clients_path_);
  if (!clients) {
    obs::log_error("the allow-list cannot be read; the old one stands",
                   {{"error", clients.error().message}});
    environment_.metrics
        .counter("allow_list_errors_total", "Times the allow-list could not be read.")
        .Increment();
    return;
  }
  obs::log_info("allow-list read", {{"clients", clients->size()}});
  clients_->set(std::make_shared<AllowList>(std::move(*clients)));
  forwarder_->cut_revoked(
      [&](const char* socket, Verdict why) { complain(now, socket, to_string(why), ""); });
}

void App::watch_memory(Now now) {
  if (now.mono < memory_due_) return;
  memory_due_ = now.mono + kMemoryCheckEvery;
  if (trim_) {
    trim_ = false;
    ::malloc_trim(0);
  }
  const size_t resident = resident_bytes();
  if (resident <= config_.memory_mib * kMib || now.mono < cut_again_at_) return;
  cut_again_at_ = now.mono + kMemoryCutAgainAfter;
  trim_ = true;
  obs::log_error("memory: all connections are cut",
                 {{"resident_mib", resident / kMib}, {"memory_mib", config_.memory_mib}});
  forwarder_->cut_all([](const char*, Verdict) {});
}

void App::heartbeat(Now now) {
  if (now.mono < heartbeat_due_) return;
  heartbeat_due_ = now.mono + 1s;
  forwarder_->publish_heartbeat(environment_.instance, started_->wall, now.wall);
}

void App::complain(Now now, std::string_view who, std::string_view what, std::string_view topic) {
  std::pair<std::string, std::string> pair{who, what};
  const auto at = complaints_.find(pair);
  if (at != complaints_.end() && now.mono - at->second < kComplaintEvery) return;
  if (complaints_.size() >= kComplaintsRemembered) complaints_.clear();
  complaints_[std::move(pair)] = now.mono;
  obs::log_warn("refused", {{"who", who}, {"reason", what}, {"topic", topic}});
}

void App::stop() {
  if (!forwarder_) return;
  for (const int fd : forwarder_->fds()) environment_.loop.remove_fd(fd);
  forwarder_.reset();
}

}  // namespace gema::broker
