#include "services/prober/io/prober_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

namespace gema::prober {

void ProberMetrics::total(const char* name, const char* help, uint64_t value,
                          const obs::Labels& labels) {
  prometheus::Counter& counter = metrics_.counter(name, help, labels);
  const double more = static_cast<double>(value) - counter.Value();
  if (more > 0) counter.Increment(more);
}

void ProberMetrics::now(const char* name, const char* help, double value,
                        const obs::Labels& labels) {
  metrics_.gauge(name, help, labels).Set(value);
}

void ProberMetrics::update(const Figures& f) {
  update_engine(f.engine.stats());
  update_lag(f.engine.stats());
  update_proofs(f.proofs);
  update_trust(f.engine);
  now("devices", "Devices assigned.", f.engine.devices());
  now("paused", "1 while probing is paused.", f.engine.paused() ? 1 : 0);
  total("pings_total", "Pings on demand that were carried out.", f.on_demand.answered);
  total("pings_refused_total", "Pings on demand refused by a rule, the address or the device.",
        f.on_demand.refused);
  total("pings_too_many_total", "Pings on demand refused because too many were under way.",
        f.on_demand.too_many);
  now("devices_refused", "Devices of the assignment beyond this prober's limits.",
      static_cast<double>(f.devices_refused));
  total("assignments_refused_total", "Assignments or parts refused.", f.assignments_refused);
  now("checks_in_flight", "Checks that wait for answers or for earlier slots.",
      f.engine.checks_in_flight());
  now("names", "Host names assigned.", static_cast<double>(f.names));
  now("names_unresolved", "Host names without an address.",
      static_cast<double>(f.names_unresolved));
  now("names_failing", "Host names whose last question failed.",
      static_cast<double>(f.names_failing));
  total("names_asked_total", "Questions for a host name's addresses.", f.resolver.asked);
  for (size_t fault = 1; fault < f.resolver.failures.size(); ++fault) {
    if (f.resolver.failures[fault] == 0) continue;
    total("resolve_failures_total", "Questions for a host name that gave no address, by reason.",
          f.resolver.failures[fault], {{"reason", to_string(static_cast<NameFault>(fault))}});
  }
  total("address_changes_total", "Host names that got another address, or lost theirs.",
        f.resolver.address_changes);
  total("foreign_packets_total", "Packets that answer no echo of ours.",
        f.sockets.foreign + f.engine.stats().foreign);
  total("forged_packets_total", "Packets with our numbers, but a wrong token or source.",
        f.sockets.forged);
  total("socket_drops_total", "Packets the kernel dropped for want of receive buffer.",
        f.sockets.drops);
  total("socket_errors_total", "Failed receive calls.", f.sockets.receive_errors);
  total("send_calls_total", "System calls that sent.", f.sockets.send_calls);
  total("send_stamps_total", "Echoes whose time of sending is the kernel's own stamp.",
        f.sockets.stamped);
  total("receive_calls_total", "System calls that received.", f.sockets.receive_calls);
  now("spool_bytes", "Bytes in the spool.", static_cast<double>(f.spool.spool_bytes));
  now("spool_unacknowledged_records", "Records that some group has not acknowledged.",
      static_cast<double>(f.spool.unacknowledged));
  total("spool_dropped_total", "Records dropped at the spool's bound.", f.spool.dropped);
  total("spool_replayed_total", "Records replayed to a group.", f.spool.replayed);
  now("records_waiting", "Records the spool has refused so far.",
      static_cast<double>(f.records_waiting));
  total("records_dropped_total", "Records dropped because the spool kept refusing.",
        f.records_dropped);
  total("append_errors_total", "Appends and marks that the disk refused.", f.append_errors);
  total("clock_steps_total", "Steps of the clock by more than 2 s.", f.clock_steps);
  total("wall_steps_total", "Smaller steps of the wall clock.", f.wall_steps);
  now("clock_error_seconds", "Wall clock minus slot time.", f.clock_error_seconds);
  total("paused_ms_total", "Time in which the process did not run.", f.paused_ms);
  total("bus_published_total", "Messages published.", f.bus.published);
  total("bus_dropped_total", "Messages not published for want of room.", f.bus.dropped_full);
}

void ProberMetrics::update_engine(const Stats& s) {
  total("echoes_sent_total", "Echo requests sent.", s.sent);
  total("replies_total", "Echo replies in time.", s.replies);
  total("timeouts_total", "Echoes without answer in time.", s.timeouts);
  total("unreachable_total", "Echoes answered by destination unreachable.", s.unreachable);
  total("time_exceeded_total", "Echoes answered by time exceeded.", s.time_exceeded);
  total("late_replies_total", "Replies after their timeout.", s.late_replies);
  total("duplicates_total", "Further answers to an answered echo.", s.duplicates);
  total("surplus_replies_total", "Answers to a burst that was decided already.", s.surplus);
  total("send_errors_total", "Echoes the kernel refused to send.", s.send_errors);
  total("send_busy_total", "Echoes put off because the kernel had no room.", s.busy);
  total("bursts_total", "Failing checks confirmed by a burst.", s.bursts);
  total("results_total", "Results.", s.answered, {{"verdict", "answered"}});
  total("results_total", "Results.", s.failed, {{"verdict", "failed"}});
  total("results_total", "Results.", s.not_measured, {{"verdict", "not measured"}});
  for (size_t r = 0; r < s.not_measured_by_reason.size(); ++r) {
    if (s.not_measured_by_reason[r] == 0) continue;
    total("not_measured_total", "Results not measured, by reason.", s.not_measured_by_reason[r],
          {{"reason", to_string(static_cast<Reason>(r))}});
  }
  total("slots_late_total", "Slots sent later than a tenth of their interval.", s.slots_late);
  total("slots_missed_total", "Slots not measured because of this prober.", s.slots_missed);
  total("slots_dropped_total", "Slots that could not even be noted.", s.slots_dropped);
}

void ProberMetrics::update_trust(const Engine& engine) {
  for (int cause = 1; cause <= kSuspicionMax; ++cause) {
    const auto suspicion = static_cast<Suspicion>(cause);
    now("suspect", "1 while this prober does not trust itself, by cause.",
        engine.suspicion() == suspicion ? 1 : 0, {{"cause", to_string(suspicion)}});
  }
  now("canaries_answered", "Canaries that answer.", engine.canaries().answering());
  now("canaries_failed", "Canaries that answered before and do not now.",
      engine.canaries().failing());
  const Stats& s = engine.stats();
  total("canaries_forgotten_total", "Canaries given up because devices answered meanwhile.",
        s.canaries_forgotten);
  total("verdicts_held_total", "Times that failures waited for the canaries.", s.holds);
  total("strays_total", "Answers told after the result of their check.", s.strays);
  total("asides_dropped_total", "What was not told at a bound.", s.strays_dropped,
        {{"what", "stray"}});
  total("asides_dropped_total", "What was not told at a bound.", s.notes_dropped,
        {{"what", "note"}});
  total("asides_dropped_total", "What was not told at a bound.", s.changes_dropped,
        {{"what", "address change"}});
}

void ProberMetrics::update_proofs(const Proofs& proofs) {
  now("proofs_in_flight", "Proofs of life being asked for.",
      static_cast<double>(proofs.in_flight()));
  now("proofs_waiting", "Proofs of life waiting for room.", static_cast<double>(proofs.waiting()));
  total("proofs_refused_total", "Proofs of life not tried because too many waited.",
        proofs.stats().refused);
  for (size_t kind = 0; kind < proofs.stats().outcomes.size(); ++kind) {
    for (size_t outcome = 0; outcome < proofs.stats().outcomes[kind].size(); ++outcome) {
      if (proofs.stats().outcomes[kind][outcome] == 0) continue;
      total("proofs_total", "Proofs of life, by what was asked and what came of it.",
            proofs.stats().outcomes[kind][outcome],
            {{"kind", to_string(static_cast<ProofKind>(kind))},
             {"outcome", to_string(static_cast<ProofOutcome>(outcome))}});
    }
  }
}

void ProberMetrics::update_lag(const Stats& s) {
  std::vector<double> bounds;
  for (const uint32_t us : kLagBucketsUs) bounds.push_back(us / 1e6);
  prometheus::Histogram& lag =
      metrics_.histogram("send_lag_seconds", "Delay between due and sent.", bounds);
  std::vector<double> more;
  for (size_t i = 0; i < s.lag.size(); ++i) {
    more.push_back(static_cast<double>(s.lag[i] - lag_seen_[i]));
  }
  lag.ObserveMultiple(more, static_cast<double>(s.lag_us_sum - lag_sum_seen_) / 1e6);
  lag_seen_ = s.lag;
  lag_sum_seen_ = s.lag_us_sum;
}

}  // namespace gema::prober
