// All that a reader of history sees, as one text: for comparing, and for showing where it differs.
#pragma once

#include <string>

#include "common/history/results.h"

namespace gema::testing {

// A line each row; without details: its echoes only.
inline std::string told(const history::Results& results, bool details = true) {
  std::string out;
  for (const history::Row& row : results.rows) {
    out += std::to_string(row.due_ms) + "/" + std::to_string(row.interval_ms) +
           results.location(row) + results.producer(row) + to_string(row.verdict) +
           to_string(row.reason) + std::to_string(row.rtt_us) + "b" +
           std::to_string(row.burst_sent);
    for (const history::Echo& e : results.echoes_of(row)) {
      out += std::string(" ") + to_string(e.outcome) + std::to_string(e.rtt_us);
    }
    for (const history::Echo& e : results.burst_answers_of(row)) {
      out += " b" + std::to_string(e.rtt_us);
    }
    if (const history::Details* d = details ? results.details_of(row) : nullptr) {
      for (const EchoNote& n : d->notes) {
        out += " note " + std::to_string(n.echo) + to_string(n.kind) + std::to_string(n.icmp_type) +
               "/" + std::to_string(n.icmp_code) + "e" + std::to_string(n.error) + "r" +
               std::to_string(n.rtt_us) + "x" + std::to_string(n.count) + to_text(n.from);
      }
      for (const ProofResult& p : d->proofs) {
        out += std::string(" proof ") + to_string(p.kind) + to_string(p.outcome) +
               std::to_string(p.port) + "s" + std::to_string(p.status) + "t" +
               std::to_string(p.elapsed_us);
      }
      for (const Stray& s : d->strays) {
        out += " stray " + std::to_string(s.echo) + to_string(s.kind) + std::to_string(s.rtt_us);
      }
      if (!d->text.empty()) out += " by " + d->text;
    }
    out += "\n";
  }
  return out;
}

}  // namespace gema::testing
