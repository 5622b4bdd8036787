// Answers libzmq's question "may this key connect?" (ZAP, RFC 27), on a thread of its own, so that
// handshakes go on while the loop is busy.
//
// Says yes to a key on the allow-list whose role fits the socket: the ZAP domain tells which socket
// asks. Everything else, malformed requests included, is refused. The User-Id it gives a connection
// is the key itself (Z85): a key taken off the list and one that replaced it are never mixed up.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "common/base/result.h"
#include "services/broker/io/allow_list.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace gema::broker {

struct ZapDomains {
  std::string ingress;  // any known key
  std::string inner;    // keys of role inner
  std::string edge;     // keys of role edge
};

class ZapHandler {
 public:
  // Bound when it returns: only now may server sockets be bound. kPermanent when this process has a
  // handler already. Requires: `clients` and `context` outlive it.
  static Result<std::unique_ptr<ZapHandler>> start(zmq::context_t& context, ZapDomains domains,
                                                   const SharedAllowList& clients);
  ~ZapHandler();

  struct Counts {
    std::atomic<uint64_t> accepted{0};
    std::atomic<uint64_t> unknown_key{0};
    std::atomic<uint64_t> wrong_role{0};
    std::atomic<uint64_t> malformed{0};
  };
  const Counts& counts() const { return counts_; }

 private:
  ZapHandler(ZapDomains domains, const SharedAllowList& clients);
  void run();
  void answer_one();

  ZapDomains domains_;
  const SharedAllowList& clients_;
  Counts counts_;
  std::unique_ptr<zmq::socket_t> socket_;  // the thread's own once it runs
  std::unique_ptr<zmq::socket_t> stop_in_;
  std::unique_ptr<zmq::socket_t> stop_out_;
  std::thread thread_;  // lint: allow(thread) a ZAP handler answers while the loop is busy
};

}  // namespace gema::broker
