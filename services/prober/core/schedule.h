// Which slots are due: every device's slots in order, none twice, none forgotten.
//
// Periods are known, so there is no queue: devices of one interval stand in a ring, sorted by
// phase, and a cursor walks it. All rings have been walked to the same instant, until_ms(); a
// device added then has its first slot after it. In: slot time. Out: slots due, and those that are
// too late.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace gema::prober {

// A slot older than this when it can be sent is not measured.
int64_t late_after_ms(uint32_t interval_ms);

class Schedule {
 public:
  struct Entry {
    uint32_t device;  // the caller's index
    uint32_t interval_ms;
    uint32_t phase_ms;
  };
  struct Due {
    uint32_t device;
    int64_t due_ms;
  };
  // `count` slots of a device, one interval apart.
  struct Missed {
    uint32_t device;
    int64_t first_due_ms;
    uint64_t count;
  };

  explicit Schedule(int64_t until_ms) : until_ms_(until_ms) {}

  // Replaces all devices. What was walked stays walked.
  void assign(std::vector<Entry> entries);
  // Walks on to `now_ms`: appends the slots in (until_ms(), now_ms]. Per device in order; `missed`
  // comes before `due`. Does nothing when now_ms <= until_ms().
  void advance(int64_t now_ms, std::vector<Due>& due, std::vector<Missed>& missed);
  // The first slot after until_ms().
  std::optional<int64_t> next_due_ms() const;
  int64_t until_ms() const { return until_ms_; }
  // After a clock step, forward or back.
  void restart(int64_t until_ms);

 private:
  struct Slot {
    uint32_t phase_ms;
    uint32_t device;
  };
  struct Ring {
    uint32_t interval_ms;
    std::vector<Slot> slots;  // by phase
    int64_t cycle_ms;         // multiple of interval_ms
    size_t cursor;            // next is cycle_ms + slots[cursor].phase_ms
    int64_t next_ms() const { return cycle_ms + slots[cursor].phase_ms; }
  };

  void place(Ring& ring, int64_t until_ms) const;
  static void walk(Ring& ring, int64_t now_ms, std::vector<Due>& due);
  static void skip(const Ring& ring, int64_t from_ms, int64_t to_ms, std::vector<Missed>& missed);

  std::vector<Ring> rings_;  // by interval; as many as there are intervals
  int64_t until_ms_;
};

}  // namespace gema::prober
