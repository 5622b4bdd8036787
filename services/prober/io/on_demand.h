// The call "ping": echoes for somebody who asks now, outside every schedule and never in history.
// Takes the request, hands it to the engine, and answers when the last echo is answered or has
// timed out.
//
// It does not trust the bus: what is never pinged is refused here once more (domain's
// address_policy.h), and a loopback address is asked only as this prober's own device. Bound:
// kOnDemandMax; more are answered "unavailable". One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"
#include "common/bus/calls.h"
#include "common/domain/on_demand.h"
#include "services/prober/core/engine.h"

namespace gema::prober {

struct OnDemandStats {
  uint64_t answered = 0;
  uint64_t refused = 0;   // broken, forbidden, or not this prober's device
  uint64_t too_many = 0;  // at the bound
};

class OnDemand {
 public:
  // Requires: both outlive this; `name` is the client's own.
  OnDemand(bus::BusClient& client, std::string name, std::string location, Engine& engine);
  OnDemand(bus::CallTransport transport, std::string name, std::string location, Engine& engine);

  // True when the message was a call to us.
  bool on_message(std::string_view topic, std::string_view payload, Now now);
  // Answers what the engine has finished.
  void answer();
  std::optional<MonoTime> tick(Now now) { return calls_.tick(now); }

  const OnDemandStats& stats() const { return stats_; }

 private:
  struct Open {
    PingReport report;
    bus::Responder responder;
  };
  void serve();
  void take(const std::string& body, const bus::Responder& responder);
  Result<Address> address_of(const PingOrder& order) const;

  const std::string name_;
  const std::string location_;
  Engine& engine_;
  bus::CallServer calls_;
  Now now_{};  // of the message in hand
  uint64_t next_id_ = 1;
  std::map<uint64_t, Open> open_;  // at most kOnDemandMax
  OnDemandStats stats_;
};

}  // namespace gema::prober
