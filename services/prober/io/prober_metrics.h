// The prober's figures as metrics; names and meanings in README.md.
#pragma once

#include "common/bus/client.h"
#include "common/observability/metrics.h"
#include "common/stream/producer.h"
#include "services/prober/core/engine.h"
#include "services/prober/io/icmp_sockets.h"
#include "services/prober/io/on_demand.h"
#include "services/prober/io/proof.h"
#include "services/prober/io/resolver.h"

namespace gema::prober {

class ProberMetrics {
 public:
  explicit ProberMetrics(obs::Metrics& metrics) : metrics_(metrics) {}

  struct Figures {
    const Engine& engine;
    const SocketStats& sockets;
    const Proofs& proofs;
    stream::ProducerStats spool;
    bus::BusStats bus;
    uint64_t devices_refused = 0;
    uint64_t names = 0, names_unresolved = 0, names_failing = 0;
    const ResolverStats& resolver;
    uint64_t records_waiting = 0, records_dropped = 0, append_errors = 0;
    uint64_t clock_steps = 0, wall_steps = 0;
    uint64_t paused_ms = 0;
    uint64_t assignments_refused = 0;
    OnDemandStats on_demand{};
    double clock_error_seconds = 0;
  };
  // About once a second.
  void update(const Figures& figures);

 private:
  void total(const char* name, const char* help, uint64_t value, const obs::Labels& labels = {});
  void now(const char* name, const char* help, double value, const obs::Labels& labels = {});
  void update_engine(const Stats& stats);
  void update_trust(const Engine& engine);
  void update_proofs(const Proofs& proofs);
  void update_lag(const Stats& stats);

  obs::Metrics& metrics_;
  std::array<uint64_t, kLagBucketsUs.size() + 1> lag_seen_{};
  uint64_t lag_sum_seen_ = 0;
};

}  // namespace gema::prober
