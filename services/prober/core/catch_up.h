// What a prober must account for when it starts: the slots between the last that reached its spool
// and now, of everything it was assigned. Nothing sent or planned before a kill -9 vanishes: a slot
// without a record in the spool was not measured, because the prober was not running when its
// answer could have come.
//
// How it knows: a *mark* on disk says that every slot up to an instant is in the spool, and which
// records may hold later ones; those are read back at start. Marks are written once a second and
// name an instant whose records are synced, so a power cut cannot make one lie.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "services/prober/core/engine.h"

namespace gema::prober {

// One schedule of a device that this prober had: slots in [since_ms, until_ms].
struct KeptSchedule {
  DeviceId device = 0;
  uint32_t interval_ms = 0;
  int64_t since_ms = 0;
  int64_t until_ms = INT64_MAX;  // still assigned
};

struct CatchUp {
  std::vector<MissedRun> runs;  // in order of device, then slot
  uint64_t slots = 0;
  uint64_t left_out = 0;  // beyond the bounds of limits.h: the oldest
};

// `kept` in order of device, then since. `done_until_ms`: the mark, if there is one. `spooled`: per
// device the last slot found in the spool after it. Without mark and spooled slot nothing is known
// of a device, and nothing is reported.
CatchUp plan_catch_up(std::span<const KeptSchedule> kept, std::optional<int64_t> done_until_ms,
                      const std::map<DeviceId, int64_t>& spooled, int64_t now_ms);

// Which positions in the spool come before every record with a slot after an instant: the position
// at that instant, since no result precedes its slot. `Position` is opaque here.
class Marks {
 public:
  // At slot time `at_ms` the spool ended at `position`. Called about once a second, in order.
  void note(int64_t at_ms, std::string position);
  // The latest noted position at or before `done_until_ms`; forgets the ones before it.
  std::optional<std::string> position_for(int64_t done_until_ms);
  void clear() { noted_.clear(); }

 private:
  struct Noted {
    int64_t at_ms;
    std::string position;
  };
  std::deque<Noted> noted_;  // at most kMarksKept; full: every second one is forgotten
};

}  // namespace gema::prober
