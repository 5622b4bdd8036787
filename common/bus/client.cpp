#include "common/bus/client.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <google/protobuf/stubs/logging.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "common/base/assert.h"
#include "common/bus/keys.h"
#include "common/bus/limits.h"
#include "common/bus/secure_socket.h"
#include "common/bus/topics.h"

namespace gema::bus {
namespace {

constexpr int kWatchedEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED;

// A broker that restarts may drop a few handshakes; a broker with another key drops all. Guess.
constexpr int kFailuresBeforeRenewal = 10;

int zmq_fd(void* socket) {
  int fd = -1;
  size_t size = sizeof fd;
  return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

// One of the client's two sockets with what is known about its connection.
struct Side {
  const char* what = "";  // "ingress" or "egress"
  zmq::socket_type type{};
  std::string endpoint;
  zmq::socket_t socket;
  SocketMonitor monitor;
  bool up = false;
  int failures = 0;  // handshakes failed in a row
  std::optional<MonoTime> renew_at;
  bool wants_renewal = false;
  Duration renew_after = kRenewAfterMin;
  std::string why = "not connected yet";
};

}  // namespace

struct BusClient::Impl {
  explicit Impl(BusOptions o) : options(std::move(o)), echo_topic(call_topic(options.name)) {}
  ~Impl();

  Result<void> start();
  Result<void> open_side(Side& side);
  void close_side(Side& side);
  void watch(int fd) const;
  void unwatch(int fd) const;
  void kick() const;
  void drain_events(Side& side);
  void renew_if_due(Side& side, Now now);
  void look_for_silence(Now now);

  BusOptions options;
  std::string echo_topic;
  std::shared_ptr<zmq::context_t> context = process_context();
  Side ingress{"ingress", zmq::socket_type::push, "", {}, {}};
  Side egress{"egress", zmq::socket_type::sub, "", {}, {}};
  int epoll = -1;
  int wake = -1;  // an eventfd: input may wait although libzmq's descriptor does not say so
  std::set<std::string> subscriptions;
  zmq::message_t inbound;
  bool heard = false;  // since the last tick
  std::optional<MonoTime> last_heard;
  std::optional<MonoTime> last_echo;
  BusStats stats;
};

BusClient::Impl::~Impl() {
  close_side(ingress);
  close_side(egress);
  if (wake >= 0) ::close(wake);
  if (epoll >= 0) ::close(epoll);
}

Result<void> BusClient::Impl::start() {
  epoll = ::epoll_create1(EPOLL_CLOEXEC);
  wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll < 0 || wake < 0) {
    return Error{Errc::kPermanent, fmt::format("bus: no descriptors: {}", std::strerror(errno))};
  }
  watch(wake);
  ingress.endpoint = options.ingress;
  egress.endpoint = options.egress;
  subscriptions.insert(echo_topic);
  for (Side* side : {&ingress, &egress}) {
    auto opened = open_side(*side);
    if (!opened) return opened;
  }
  return {};
}

void BusClient::Impl::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void BusClient::Impl::unwatch(int fd) const {
  ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
}

void BusClient::Impl::kick() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake, &one, sizeof one);
}

Result<void> BusClient::Impl::open_side(Side& side) try {
  auto own = read_key_pair(options.keys_dir, options.name);
  if (!own) return own.error();
  auto broker = read_public_key(options.keys_dir, kBrokerName);
  if (!broker) return broker.error();

  zmq::socket_t socket(*context, side.type);
  const bool receives = side.type == zmq::socket_type::sub;
  auto set = set_wire_options(socket.handle(), {receives ? kWireBytesMax : kControlWireBytesMax,
                                                kClientSendQueueMax, kClientReceiveQueueMax});
  if (set) set = secure_client(socket.handle(), *own, *broker);
  if (!set) return set;
  for (const std::string& prefix : subscriptions) {
    if (receives) socket.set(zmq::sockopt::subscribe, prefix);
  }
  SocketMonitor monitor;
  set = monitor.start(*context, socket.handle(), kWatchedEvents);
  if (!set) return set;
  if (zmq_connect(socket.handle(), side.endpoint.c_str()) != 0) {
    return Error{Errc::kBadInput, fmt::format("bus: cannot use the {} endpoint \"{}\": {}",
                                              side.what, side.endpoint, last_zmq_error())};
  }
  side.socket = std::move(socket);
  side.monitor = std::move(monitor);
  if (receives) watch(zmq_fd(side.socket.handle()));
  watch(side.monitor.fd());
  kick();
  return {};
} catch (const zmq::error_t& error) {
  return Error{Errc::kUnavailable,
               fmt::format("bus: cannot make the {} socket: {}", side.what, error.what())};
}

void BusClient::Impl::close_side(Side& side) {
  if (side.socket.handle() == nullptr) return;
  if (side.type == zmq::socket_type::sub) unwatch(zmq_fd(side.socket.handle()));
  unwatch(side.monitor.fd());
  side.monitor.stop();
  side.socket.close();
  side.up = false;
}

void BusClient::Impl::drain_events(Side& side) {
  SocketEvent event;
  while (side.monitor.next(event)) {
    switch (event.event) {
      case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        side.up = true;
        side.failures = 0;
        side.renew_after = kRenewAfterMin;
        side.why.clear();
        break;
      case ZMQ_EVENT_DISCONNECTED:
        if (side.up) {
          ++stats.disconnects;
          side.why = "the broker has gone";
        }
        side.up = false;
        break;
      case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        ++stats.handshakes_refused;
        side.up = false;
        side.wants_renewal = true;
        side.why = fmt::format("the broker refuses our key (ZAP {})", event.value);
        break;
      case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
      case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        ++stats.handshakes_refused;
        side.up = false;
        side.why = "the broker breaks off the handshake (is keys/broker.pub its key?)";
        if (++side.failures >= kFailuresBeforeRenewal) side.wants_renewal = true;
        break;
      default:
        break;
    }
  }
}

void BusClient::Impl::renew_if_due(Side& side, Now now) {
  if (side.wants_renewal && !side.renew_at) {
    side.renew_at = now.mono + side.renew_after;
    side.renew_after = std::min(side.renew_after * 2, kRenewAfterMax);
  }
  side.wants_renewal = false;
  if (!side.renew_at || now.mono < *side.renew_at) return;
  side.renew_at.reset();
  side.failures = 0;
  ++stats.renewals;
  close_side(side);
  auto opened = open_side(side);
  if (!opened) {
    side.why = opened.error().message;
    side.wants_renewal = true;
    renew_if_due(side, now);
  }
}

void BusClient::Impl::look_for_silence(Now now) {
  if (heard || !last_heard || !ingress.up || !egress.up) last_heard = now.mono;
  heard = false;
  const Duration silent = now.mono - *last_heard;
  if (silent < kEchoAfter) {
    last_echo.reset();
    return;
  }
  if (silent >= kSilentAfter) {
    for (Side* side : {&ingress, &egress}) {
      side->why = fmt::format("nothing heard for {} s, not even our own echo",
                              std::chrono::duration_cast<std::chrono::seconds>(silent).count());
      side->renew_at = now.mono;
    }
    last_heard.reset();
    last_echo.reset();
    return;
  }
  if (last_echo && now.mono - *last_echo < kEchoAfter) return;
  last_echo = now.mono;
  const std::string frame = echo_topic + '\0';
  zmq_send(ingress.socket.handle(), frame.data(), frame.size(), ZMQ_DONTWAIT);
}

BusClient::BusClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BusClient::~BusClient() = default;

Result<std::unique_ptr<BusClient>> BusClient::open(BusOptions options) {
  if (!is_valid_name(options.name)) {
    return Error{Errc::kBadInput,
                 fmt::format("bus: \"{}\" is not a name (1 to 63 of a-z, 0-9, -)", options.name)};
  }
  // protobuf prints a line for each message it cannot read: a hostile peer could fill the disk with
  // logs. What cannot be read is counted where it is received.
  google::protobuf::SetLogHandler(nullptr);
  auto impl = std::make_unique<Impl>(std::move(options));
  auto started = impl->start();
  if (!started) return started.error();
  return std::unique_ptr<BusClient>(new BusClient(std::move(impl)));
}

void BusClient::subscribe(std::string_view prefix) {
  std::string text(prefix);
  // Counted once, however often it is asked for: libzmq counts, and would want as many removals.
  if (!impl_->subscriptions.insert(text).second) return;
  if (impl_->egress.socket.handle() == nullptr) return;
  impl_->egress.socket.set(zmq::sockopt::subscribe, text);
  impl_->kick();
}

void BusClient::unsubscribe(std::string_view prefix) {
  std::string text(prefix);
  if (text == impl_->echo_topic || impl_->subscriptions.erase(text) == 0) return;
  if (impl_->egress.socket.handle() == nullptr) return;
  impl_->egress.socket.set(zmq::sockopt::unsubscribe, text);
  impl_->kick();
}

bool BusClient::publish(std::string_view topic, std::string_view payload) {
  BusStats& stats = impl_->stats;
  const size_t size = topic.size() + 1 + payload.size();
  if (size > kFrameBytesMax || topic.size() > kTopicBytesMax || !parse_topic(topic)) {
    ++stats.dropped_invalid;
    return false;
  }
  if (impl_->ingress.socket.handle() == nullptr) {
    ++stats.dropped_full;
    return false;
  }
  zmq::message_t message(size);
  char* bytes = message.data<char>();
  std::memcpy(bytes, topic.data(), topic.size());
  bytes[topic.size()] = '\0';
  if (!payload.empty()) std::memcpy(bytes + topic.size() + 1, payload.data(), payload.size());
  if (zmq_msg_send(message.handle(), impl_->ingress.socket.handle(), ZMQ_DONTWAIT) < 0) {
    ++stats.dropped_full;
    return false;
  }
  ++stats.published;
  stats.published_bytes += size;
  return true;
}

bool BusClient::receive(std::string& topic, std::string& payload) {
  Impl& impl = *impl_;
  while (impl.egress.socket.handle() != nullptr) {
    void* socket = impl.egress.socket.handle();
    if (zmq_msg_recv(impl.inbound.handle(), socket, ZMQ_DONTWAIT) < 0) break;
    impl.heard = true;
    bool single = true;
    while (impl.inbound.more()) {
      single = false;
      if (zmq_msg_recv(impl.inbound.handle(), socket, ZMQ_DONTWAIT) < 0) break;
    }
    const std::string_view frame = impl.inbound.to_string_view();
    const size_t nul = frame.substr(0, kTopicBytesMax + 1).find('\0');
    if (!single || nul == std::string_view::npos) {
      ++impl.stats.received_invalid;
      continue;
    }
    const std::string_view head = frame.substr(0, nul);
    if (frame.size() == nul + 1 && head == impl.echo_topic) {
      ++impl.stats.echoes;
      continue;
    }
    topic.assign(head);
    payload.assign(frame.substr(nul + 1));
    ++impl.stats.received;
    impl.stats.received_bytes += frame.size();
    return true;
  }
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(impl.wake, &count, sizeof count);
  return false;
}

int BusClient::fd() const {
  return impl_->epoll;
}

MonoTime BusClient::tick(Now now) {
  MonoTime wake = now.mono + 1s;
  impl_->look_for_silence(now);
  for (Side* side : {&impl_->ingress, &impl_->egress}) {
    impl_->drain_events(*side);
    impl_->renew_if_due(*side, now);
    if (side->renew_at) wake = std::min(wake, *side->renew_at);
  }
  return wake;
}

bool BusClient::connected() const {
  return impl_->ingress.up && impl_->egress.up;
}

std::string BusClient::why_not_connected() const {
  for (const Side* side : {&impl_->ingress, &impl_->egress}) {
    if (!side->up) return fmt::format("{} {}: {}", side->what, side->endpoint, side->why);
  }
  return "";
}

const std::string& BusClient::name() const {
  return impl_->options.name;
}
const BusStats& BusClient::stats() const {
  return impl_->stats;
}

}  // namespace gema::bus
