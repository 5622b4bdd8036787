// The prober's shell: sockets, spool, bus and time around the engine. What happens when is read in
// turn().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/runtime/service_main.h"
#include "common/stream/producer.h"
#include "services/prober/config.h"
#include "services/prober/core/engine.h"
#include "services/prober/core/slot_clock.h"
#include "services/prober/io/assignments.h"
#include "services/prober/io/icmp_sockets.h"
#include "services/prober/io/on_demand.h"
#include "services/prober/io/prober_metrics.h"
#include "services/prober/io/proof.h"
#include "services/prober/io/resolver.h"
#include "services/prober/io/spooler.h"

namespace gema::prober {

struct App {
  using Config = prober::Config;
  static constexpr const char* kName = "prober";
  static constexpr const char* kSummary = "sends echo requests and says what came back";

  // Opens the sockets, then gives up the right to. main() calls it first: capabilities belong to
  // threads, and the process has only one then. start() reports what failed.
  static void open_sockets();

  App(Config config, const runtime::Environment& environment);
  ~App();

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  void open_proofs();
  Result<void> open_spool(Now now);
  Result<void> open_bus(Now now);
  void restore_assignment(Now now);
  void report_missed_slots(const std::vector<KeptSchedule>& schedules, Now now);

  Now check_clock(Now now);
  void on_clock_event(ClockEvent event, Now now);
  void note_pause(Now now);
  bool drain(Now now);
  size_t send(Now now);
  void pace(size_t sends);
  void prove(Now now);
  void read_canaries(MonoTime now);
  void note_suspicion();
  void flush(Now now);
  void take_results(Now now);
  void use_bus(Now now);
  void each_second(Now now);
  MonoTime next_wakeup(Now now, bool drained);
  bool may_stop(Now now);

  const Config config_;
  const runtime::Environment environment_;
  std::unique_ptr<IcmpSockets> sockets_;
  std::unique_ptr<SlotClock> clock_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Proofs> proofs_;
  std::unique_ptr<Assignments> assignments_;
  std::unique_ptr<stream::Producer> producer_;
  std::unique_ptr<Spooler> spooler_;
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<bus::Heartbeat> heartbeat_;
  std::unique_ptr<OnDemand> on_demand_;
  ProberMetrics metrics_;

  std::vector<Send> sends_;
  std::vector<Sent> sent_;
  std::vector<Answer> answers_;
  std::vector<Resolved> resolved_;
  std::vector<ProofDone> proofs_done_;
  std::string topic_, payload_;  // of the message in hand

  MonoTime wanted_{};                   // when this turn was asked for
  MonoTime last_send_{};                // the last turn that sent
  Duration quantum_ = kSendQuantumMax;  // between turns that send
  bool stamping_ = true;                // sends are few enough for the kernel's stamps
  uint64_t sent_before_ = 0;            // until the last second_due_
  MonoTime read_due_{};                 // the sockets, while nothing is awaited (late replies)
  MonoTime flush_due_{};
  MonoTime second_due_{};
  MonoTime bus_due_{};
  MonoTime canaries_due_{};
  bool bus_readable_ = false;
  std::optional<MonoTime> leaving_since_, idle_since_;
  Version version_at_leaving_;
  uint32_t paused_ms_ = 0;  // since the last flush
  ProberHealth reported_;   // totals that earlier flushes have told
  uint64_t paused_ms_total_ = 0, paused_ms_logged_ = 0;
  uint64_t clock_steps_ = 0, wall_steps_ = 0;
  uint64_t assignments_refused_ = 0;
  std::string append_error_logged_;
  std::string canaries_logged_;
  Suspicion suspicion_logged_ = Suspicion::kNone;
};

}  // namespace gema::prober
