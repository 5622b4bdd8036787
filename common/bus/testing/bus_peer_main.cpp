// A subscriber as a process of its own, for tests that stop it: counts numbered messages and says
// so on stdout, a line each 50 ms in which something came: "<received> <first> <last>".
//   bus_peer KEYS_DIR NAME INGRESS EGRESS PREFIX
#include <poll.h>

#include <cstdio>
#include <string>

#include "common/bus/client.h"
#include "common/bus/testing/broker_process.h"
#include "common/runtime/clock.h"

int main(int argc, char** argv) {
  using namespace gema;
  if (argc != 6) return 2;
  auto client = bus::BusClient::open(
      {.ingress = argv[3], .egress = argv[4], .keys_dir = argv[1], .name = argv[2]});
  if (!client) return 2;
  (*client)->subscribe(argv[5]);
  std::string topic;
  std::string payload;
  uint64_t received = 0;
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t said = 0;
  MonoTime say_at{};
  while (true) {
    const Now now = runtime::read_clock();
    (*client)->tick(now);
    while ((*client)->receive(topic, payload)) {
      last = bus::testing::number_of(payload);
      if (received++ == 0) first = last;
    }
    if (said != received && now.mono >= say_at) {
      said = received;
      say_at = now.mono + 50ms;
      std::printf("%lu %lu %lu\n", static_cast<unsigned long>(received),
                  static_cast<unsigned long>(first), static_cast<unsigned long>(last));
      std::fflush(stdout);
    }
    pollfd wait{(*client)->fd(), POLLIN, 0};
    ::poll(&wait, 1, 50);
  }
}
