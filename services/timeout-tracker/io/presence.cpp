#include "services/timeout-tracker/io/presence.h"

#include "common/codec/device_codec.h"

namespace gema::timeout_tracker {

bus::Heartbeat make_heartbeat(bus::BusClient& client, Now started, const obs::Health& health,
                              std::function<Version()> catalogue) {
  return bus::Heartbeat(client, "timeout-tracker", started,
                        [&health, catalogue = std::move(catalogue)](v1::Heartbeat& message) {
                          message.set_ready(health.ready());
                          for (const std::string& what : health.waiting_for()) {
                            message.add_waiting_for(what);
                          }
                          to_proto(catalogue(), *message.mutable_catalogue());
                        });
}

}  // namespace gema::timeout_tracker
