#include "common/bus/secure_socket.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>
#include <zmq.hpp>

#include "common/base/assert.h"
#include "common/bus/limits.h"

namespace gema::bus {
namespace {

// ZMQ_ZAP_ENFORCE_DOMAIN is draft in Debian's header and absent from cppzmq; the library has it.
constexpr int kZapEnforceDomain = 93;

template <class T>
bool set(void* socket, int option, T value) {
  return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

int get_int(void* socket, int option, int otherwise) {
  int value = otherwise;
  size_t size = sizeof value;
  return zmq_getsockopt(socket, option, &value, &size) == 0 ? value : otherwise;
}

std::string get_text(void* socket, int option) {
  std::array<char, 256> text{};
  size_t size = text.size();
  if (zmq_getsockopt(socket, option, text.data(), &size) != 0) return "";
  return text.data();
}

Error refused(std::string_view what) {
  return Error{Errc::kPermanent, fmt::format("bus: libzmq refused {}: {}", what, last_zmq_error())};
}

}  // namespace

std::string last_zmq_error() {
  return zmq_strerror(zmq_errno());
}

std::shared_ptr<zmq::context_t> process_context() {
  static std::mutex mutex;
  static std::weak_ptr<zmq::context_t> shared;
  const std::lock_guard lock(mutex);
  auto context = shared.lock();
  if (!context) {
    context = std::make_shared<zmq::context_t>(1);
    shared = context;
  }
  return context;
}

Result<void> set_wire_options(void* socket, const WireLimits& limits) {
  GEMA_ASSERT(limits.message_bytes_max > 0);
  GEMA_ASSERT(limits.send_queue_max > 0 && limits.receive_queue_max > 0);
  const bool done =
      set(socket, ZMQ_MAXMSGSIZE, limits.message_bytes_max) &&
      set(socket, ZMQ_SNDHWM, limits.send_queue_max) &&
      set(socket, ZMQ_RCVHWM, limits.receive_queue_max) && set(socket, ZMQ_LINGER, 0) &&
      set(socket, ZMQ_HANDSHAKE_IVL, kHandshakeMs) && set(socket, ZMQ_TCP_MAXRT, kTcpMaxRetryMs) &&
      set(socket, ZMQ_TCP_KEEPALIVE, 1) && set(socket, ZMQ_TCP_KEEPALIVE_IDLE, kKeepaliveIdleS) &&
      set(socket, ZMQ_TCP_KEEPALIVE_INTVL, kKeepaliveIntervalS) &&
      set(socket, ZMQ_TCP_KEEPALIVE_CNT, kKeepaliveCount) && set(socket, ZMQ_IPV6, 1);
  if (!done) return refused("a size, queue or time-out option");
  return {};
}

Result<void> secure_server(void* socket, const KeyPair& own, std::string_view domain) {
  if (domain.empty()) {
    return Error{Errc::kBadInput, "bus: the ZAP domain is empty; libzmq would accept every key"};
  }
  if (!set(socket, ZMQ_CURVE_SERVER, 1) ||
      zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own.secret_key.c_str(),
                     own.secret_key.size() + 1) != 0 ||
      zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain.data(), domain.size()) != 0 ||
      !set(socket, kZapEnforceDomain, 1)) {
    return refused("a CURVE server option");
  }
  return check_server_is_secure(socket);
}

Result<void> check_server_is_secure(void* socket) {
  if (get_int(socket, ZMQ_MECHANISM, ZMQ_NULL) != ZMQ_CURVE ||
      get_int(socket, ZMQ_CURVE_SERVER, 0) != 1) {
    return Error{Errc::kPermanent, "bus: the socket is not a CURVE server"};
  }
  if (get_int(socket, kZapEnforceDomain, 0) != 1) {
    return Error{Errc::kPermanent, "bus: libzmq does not enforce the ZAP domain (option 93)"};
  }
  if (get_text(socket, ZMQ_ZAP_DOMAIN).empty()) {
    return Error{Errc::kPermanent, "bus: the socket's ZAP domain is empty"};
  }
  return {};
}

Result<void> secure_client(void* socket, const KeyPair& own, std::string_view broker_public_key) {
  const std::string server_key(broker_public_key);
  if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key.c_str(), server_key.size() + 1) != 0 ||
      zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own.public_key.c_str(),
                     own.public_key.size() + 1) != 0 ||
      zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own.secret_key.c_str(),
                     own.secret_key.size() + 1) != 0) {
    return refused("a CURVE client key");
  }
  if (get_int(socket, ZMQ_MECHANISM, ZMQ_NULL) != ZMQ_CURVE) {
    return Error{Errc::kPermanent, "bus: the socket is not a CURVE client"};
  }
  return {};
}

struct SocketMonitor::Impl {
  void* watched = nullptr;
  zmq::socket_t inbox;
};

SocketMonitor::SocketMonitor() = default;
SocketMonitor::~SocketMonitor() {
  stop();
}
SocketMonitor::SocketMonitor(SocketMonitor&&) noexcept = default;
SocketMonitor& SocketMonitor::operator=(SocketMonitor&& other) noexcept {
  stop();
  impl_ = std::move(other.impl_);
  return *this;
}

Result<void> SocketMonitor::start(zmq::context_t& context, void* socket, int events) {
  GEMA_ASSERT(impl_ == nullptr);
  static std::atomic<uint64_t> counter{0};
  const std::string address = fmt::format("inproc://gema.monitor.{}", counter++);
  auto impl = std::make_unique<Impl>();
  impl->inbox = zmq::socket_t(context, zmq::socket_type::pair);
  void* inbox = impl->inbox.handle();
  // Unbounded inbox: libzmq's I/O thread writes events with a blocking send and would stop
  // serving every peer at a bound. Events are rare, and drained each turn.
  if (!set(inbox, ZMQ_LINGER, 0) || !set(inbox, ZMQ_RCVHWM, 0)) return refused("monitor options");
  if (zmq_socket_monitor(socket, address.c_str(), events) != 0) return refused("a monitor");
  if (zmq_connect(inbox, address.c_str()) != 0) {
    zmq_socket_monitor(socket, nullptr, 0);
    return refused("a monitor's inbox");
  }
  impl->watched = socket;
  impl_ = std::move(impl);
  return {};
}

void SocketMonitor::stop() {
  if (impl_ == nullptr) return;
  zmq_socket_monitor(impl_->watched, nullptr, 0);
  impl_.reset();
}

bool SocketMonitor::next(SocketEvent& event) {
  if (impl_ == nullptr) return false;
  zmq::message_t head;
  void* inbox = impl_->inbox.handle();
  if (zmq_msg_recv(head.handle(), inbox, ZMQ_DONTWAIT) < 0) return false;
  zmq::message_t endpoint;
  if (!head.more() || zmq_msg_recv(endpoint.handle(), inbox, ZMQ_DONTWAIT) < 0) return false;
  if (head.size() < 6) return false;
  uint16_t number = 0;
  uint32_t value = 0;
  const char* bytes = head.data<char>();
  std::memcpy(&number, bytes, sizeof number);
  std::memcpy(&value, bytes + sizeof number, sizeof value);
  event.event = number;
  event.value = static_cast<int>(value);
  event.endpoint = endpoint.to_string();
  return true;
}

int SocketMonitor::fd() const {
  return impl_ == nullptr ? -1 : get_int(impl_->inbox.handle(), ZMQ_FD, -1);
}

}  // namespace gema::bus
