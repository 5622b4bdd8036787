// Socket options of the bus: the one place where CURVE, the ZAP domain, sizes and time-outs are
// set.
//
// Fail closed: a server socket that would accept anybody (no key, an empty ZAP domain, a domain
// that libzmq does not enforce) is an error here, before it is bound. libzmq 4.3.4 accepts every
// key when the domain is empty, and when it is not enforced and no ZAP handler is there.
//
// Takes libzmq's own socket handles (zmq::socket_t::handle()). One thread per socket, as always.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/bus/keys.h"

namespace zmq {
class context_t;
}

namespace gema::bus {

// The context of this process, shared by all its bus sockets; gone with the last of its users.
std::shared_ptr<zmq::context_t> process_context();

struct WireLimits {
  int64_t message_bytes_max = 0;  // received; beyond it libzmq cuts the peer
  int send_queue_max = 0;         // messages per peer; 0 is refused (libzmq: unbounded)
  int receive_queue_max = 0;
};

// Sizes, queues, handshake and TCP time-outs, keepalive, no lingering. No ZMTP heartbeats.
Result<void> set_wire_options(void* socket, const WireLimits& limits);

// Requires nothing; refuses (kBadInput) an empty domain, and anything it cannot read back.
Result<void> secure_server(void* socket, const KeyPair& own, std::string_view domain);

// Before bind: is this socket a CURVE server with an enforced, non-empty domain? As libzmq has it,
// not as we remember it.
Result<void> check_server_is_secure(void* socket);

Result<void> secure_client(void* socket, const KeyPair& own, std::string_view broker_public_key);

// What happened to a socket's connections: libzmq's monitor, with an inbox that never blocks
// libzmq's I/O thread. Drain it each turn.
struct SocketEvent {
  int event = 0;  // ZMQ_EVENT_...
  int value = 0;  // a file descriptor, an errno or a ZAP status, by event
  std::string endpoint;
};

class SocketMonitor {
 public:
  SocketMonitor();
  ~SocketMonitor();
  SocketMonitor(SocketMonitor&&) noexcept;
  SocketMonitor& operator=(SocketMonitor&&) noexcept;

  // Requires: `socket` lives until the monitor is destroyed or moved over, or stop() is called.
  Result<void> start(zmq::context_t& context, void* socket, int events);
  void stop();
  bool next(SocketEvent& event);  // false: nothing now
  int fd() const;                 // edge-triggered, as all of libzmq's: drain with next()

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "connection refused", ... : libzmq's text for the calling thread's last error.
std::string last_zmq_error();

}  // namespace gema::bus
