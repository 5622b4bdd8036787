// Publishes a process's v1::Heartbeat on heartbeat/<process>/ each second.
#pragma once

#include <functional>
#include <string>

#include "common/base/time.h"
#include "common/bus/client.h"
#include "gema/v1/inventory.pb.h"

namespace gema::bus {

class Heartbeat {
 public:
  // `fill` adds what only the process knows (location, versions held, ready, waiting_for, paused)
  // to a heartbeat that already names process, kind and times.
  using Fill = std::function<void(v1::Heartbeat&)>;

  // Requires: `client` outlives this. Kind is the program: "prober" for "prober-1".
  Heartbeat(BusClient& client, std::string kind, Now started, Fill fill);

  // Publishes when due. Returns when to call again.
  MonoTime tick(Now now);
  // The next one is due at once: something that others wait for has changed.
  void hurry() { due_ = MonoTime{}; }

 private:
  BusClient& client_;
  Fill fill_;
  v1::Heartbeat message_;
  MonoTime due_;
};

}  // namespace gema::bus
