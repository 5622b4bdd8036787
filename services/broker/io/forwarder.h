// The broker's three listening sockets and the way of a message through them.
//
//   ingress  PULL   any allowed key     each message: whose key, one frame, a topic, its right
//   inner    XPUB   keys of role inner  gets everything
//   edge     XPUB   keys of role edge   gets what edge_sees()
//
// XPUB, and not PUB, only to see the subscriptions and bound them (docs/adr/0010); never MANUAL.
// It keeps no message: what a subscriber's queue cannot take is dropped by libzmq for that
// subscriber alone.
//
// Threads: the loop's, besides the ZAP handler's own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/bus/keys.h"
#include "common/observability/metrics.h"
#include "services/broker/core/connections.h"
#include "services/broker/core/rights.h"
#include "services/broker/io/allow_list.h"

namespace gema::broker {

struct ForwarderOptions {
  std::string ingress;
  std::string inner;
  std::string edge;
  bus::KeyPair keys;
  std::string zap_domain;  // not empty
  size_t connections_max = 0;
  size_t ingress_queue_bytes = 0;  // per publisher
  size_t egress_queue_bytes = 0;   // per subscriber
};

class Forwarder {
 public:
  // `name` is empty for a key that is no longer on the list.
  using OnRefused = std::function<void(std::string_view name, Refusal why, std::string_view topic)>;
  using OnCut = std::function<void(const char* socket, Verdict why)>;

  // Starts the ZAP handler, secures all three sockets, then binds the egress. Fails (kBadInput,
  // kPermanent) on anything that would leave a socket open to others.
  static Result<std::unique_ptr<Forwarder>> open(const ForwarderOptions& options,
                                                 const SharedAllowList& clients,
                                                 obs::Metrics& metrics);
  ~Forwarder();

  // Once subscribers have had time to come back.
  Result<void> bind_ingress();

  // Messages that wait, and connections and subscriptions whose descriptor was readable, up to the
  // bounds of a turn. Returns: is there more? `look_at_all`: whatever the descriptors said; needed
  // within kLookAtAllEvery when should_look_at_all().
  bool turn(bool look_at_all, const OnRefused& on_refused, const OnCut& on_cut);

  bool should_look_at_all() const;

  // The broker's own v1::Heartbeat, to the inner role.
  void publish_heartbeat(const std::string& process, WallTime started, WallTime now);

  // After the allow-list has changed: subscribers whose key has gone or changed its role are cut.
  // (A publisher's messages are refused one by one.)
  void cut_revoked(const OnCut& on_cut);
  // Every connection: libzmq holds something for one of them that we cannot see.
  void cut_all(const OnCut& on_cut);

  // To be watched for input: on_readable() before the turn for each that is.
  std::vector<int> fds() const;
  void on_readable(int fd);
  // The real endpoints, "ingress tcp://127.0.0.1:40123", ...
  std::vector<std::string> bound_endpoints() const;

 private:
  struct Impl;
  explicit Forwarder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gema::broker
