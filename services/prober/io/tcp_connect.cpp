#include "services/prober/io/tcp_connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace gema::prober {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const Address& address, uint16_t port) {
  SocketAddress out;
  if (address.family == 4) {
    auto* in = reinterpret_cast<sockaddr_in*>(&out.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    std::memcpy(&in->sin_addr, address.bytes.data(), 4);
    out.length = sizeof *in;
  } else {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_scope_id = address.scope;
    std::memcpy(&in6->sin6_addr, address.bytes.data(), 16);
    out.length = sizeof *in6;
  }
  return out;
}

ProofOutcome outcome_of(int error) {
  switch (error) {
    case 0:
      return ProofOutcome::kAlive;
    case ECONNREFUSED:
    case ECONNRESET:
      return ProofOutcome::kReset;
    case ETIMEDOUT:
      return ProofOutcome::kTimeout;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EAGAIN:  // no local port is free
    case EADDRNOTAVAIL:
      return ProofOutcome::kNotTried;
    default:  // EHOSTUNREACH, ENETUNREACH, EACCES, ...
      return ProofOutcome::kUnreachable;
  }
}

}  // namespace

TcpConnect::~TcpConnect() {
  close();
}

void TcpConnect::close() {
  if (fd_ < 0) return;
  if (watched_) loop_.remove_fd(fd_);
  watched_ = false;
  // A reset leaves nothing behind, neither here (TIME_WAIT) nor in the device's small tables.
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  ::close(fd_);
  fd_ = -1;
}

std::optional<ProofOutcome> TcpConnect::open(const Address& to, uint16_t port,
                                             const Address& source) {
  const int family = to.family == 4 ? AF_INET : AF_INET6;
  fd_ = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return outcome_of(errno);
  if (source.known() && source.family == to.family) {
    const SocketAddress from = socket_address(source, 0);
    // The port is chosen at connect(): many targets may share one.
    const int late = 1;
    ::setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
    if (::bind(fd_, from.get(), from.length) != 0) return outcome_of(errno);
  }
  const SocketAddress at = socket_address(to, port);
  if (::connect(fd_, at.get(), at.length) == 0) return ProofOutcome::kAlive;
  return errno == EINPROGRESS ? std::nullopt : std::optional(outcome_of(errno));
}

void TcpConnect::begin(const Address& to, uint16_t port, const Address& source, Now now,
                       Done done) {
  close();
  if (const auto at_once = open(to, port, source)) {
    if (*at_once != ProofOutcome::kAlive) close();
    done(*at_once, now);
    return;
  }
  done_ = std::move(done);
  loop_.watch_fd(fd_, {.read = false, .write = true}, [this](Now at, auto) { on_ready(at); });
  watched_ = true;
}

void TcpConnect::on_ready(Now now) {
  // The call may be meant for an earlier socket of this number (see Loop::watch_fd).
  pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) != 1) return;
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  loop_.remove_fd(fd_);
  watched_ = false;
  const ProofOutcome outcome = outcome_of(error);
  if (outcome != ProofOutcome::kAlive) close();
  const Done done = std::exchange(done_, nullptr);
  done(outcome, now);
}

int TcpConnect::take() {
  return std::exchange(fd_, -1);
}

}  // namespace gema::prober
