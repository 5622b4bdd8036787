// Whether the installation probes: who paused it, since when, and what the audit has still to be
// told. In: a call to pause or resume. Out: the state after it. Pure.
//
// Repeating either changes nothing: the first who paused stays the one who is named until somebody
// resumes. It needs no database: the state is inventory's own (DIR/state/inventory/probing.pb), and
// rows of the audit wait there until PostgreSQL takes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/on_demand.h"

namespace gema::inventory {

struct ProbingEvent {
  WallTime at{};
  bool paused = false;  // or resumed
  std::string actor;    // whose token it was
  std::string by;
  std::string reason;

  friend bool operator==(const ProbingEvent&, const ProbingEvent&) = default;
};

// What is kept on disk.
struct KeptProbing {
  Probing state;
  std::vector<ProbingEvent> unwritten;  // at most kProbingEventsMax; the oldest goes, counted

  friend bool operator==(const KeptProbing&, const KeptProbing&) = default;
};

enum class ProbingAction { kPause, kResume };

struct ProbingPlan {
  KeptProbing after;
  bool changes = false;
  uint32_t forgotten = 0;  // audit rows dropped at the bound
};

// Fails with kBadInput, naming the field, when a text is too long or not text.
Result<ProbingPlan> plan_probing(const KeptProbing& before, ProbingAction action,
                                 const ProbingChange& change, WallTime now);

}  // namespace gema::inventory
