#include "services/broker/config.h"

namespace gema::broker {

void Config::describe(config::Spec& spec, Config& config) {
  spec.text(
      "zap_domain", config.zap_domain,
      "Name of the authentication domain; must not be empty, or libzmq would let anybody in.");
  spec.integer("connections_max", config.connections_max, 8, 100'000,
               "Connections to each of the three sockets; one more is cut at once.");
  spec.integer("ingress_queue_mib", config.ingress_queue_mib, 1, 4096,
               "What may wait from one publisher if all its messages are of the largest size.");
  spec.integer("egress_queue_mib", config.egress_queue_mib, 1, 4096,
               "What may wait for one subscriber, likewise; beyond it messages to it are dropped.");
  spec.integer(
      "memory_mib", config.memory_mib, 64, 1'000'000,
      "Resident memory at which all connections are cut, so that libzmq lets go of what it "
      "holds for them; four times as much address space is the most the kernel gives.");
}

}  // namespace gema::broker
