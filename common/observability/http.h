// GET /healthz, /readyz and /metrics on a Unix socket (mode 0600), on a thread of its own.
//   /healthz 200 as long as the process runs its loop (see beat); 503 when the loop is stuck
//   /readyz  200 "ready", or 503 with one line per thing waited for
//   /metrics Prometheus' text format
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/observability/health.h"
#include "common/observability/metrics.h"

namespace httplib {
class Server;
}

namespace gema::obs {

class HealthServer {
 public:
  // Fails with kPermanent when the path is over 107 bytes or cannot be bound.
  static Result<std::unique_ptr<HealthServer>> start(const std::string& socket_path,
                                                     const Health& health, const Metrics& metrics);
  ~HealthServer();

  // The loop calls this each turn. Without a beat for 10 s (guess: no turn may take that long)
  // /healthz answers 503, so that a supervisor sees a hang.
  void beat(MonoTime now) { last_beat_.store(now.time_since_epoch().count()); }

 private:
  HealthServer(const Health& health, const Metrics& metrics);

  std::string path_;
  std::atomic<int64_t> last_beat_{0};
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

}  // namespace gema::obs
