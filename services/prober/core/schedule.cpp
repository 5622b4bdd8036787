#include "services/prober/core/schedule.h"

#include <algorithm>

#include "common/base/assert.h"
#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

int64_t floor_to(int64_t value, int64_t step) {
  const int64_t remainder = value % step;
  return value - (remainder < 0 ? remainder + step : remainder);
}

}  // namespace

int64_t late_after_ms(uint32_t interval_ms) {
  return std::min<int64_t>(interval_ms / 2, kLateMsMax);
}

void Schedule::assign(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (a.interval_ms != b.interval_ms) return a.interval_ms < b.interval_ms;
    if (a.phase_ms != b.phase_ms) return a.phase_ms < b.phase_ms;
    return a.device < b.device;
  });
  rings_.clear();
  for (const Entry& entry : entries) {
    GEMA_ASSERT(entry.interval_ms > 0 && entry.phase_ms < entry.interval_ms);
    if (rings_.empty() || rings_.back().interval_ms != entry.interval_ms) {
      rings_.push_back({entry.interval_ms, {}, 0, 0});
    }
    rings_.back().slots.push_back({entry.phase_ms, entry.device});
  }
  for (Ring& ring : rings_) place(ring, until_ms_);
}

void Schedule::place(Ring& ring, int64_t until_ms) const {
  ring.cycle_ms = floor_to(until_ms, ring.interval_ms);
  const auto passed = until_ms - ring.cycle_ms;
  const auto first = std::upper_bound(ring.slots.begin(), ring.slots.end(), passed,
                                      [](int64_t p, const Slot& s) { return p < s.phase_ms; });
  ring.cursor = static_cast<size_t>(first - ring.slots.begin());
  if (ring.cursor == ring.slots.size()) {
    ring.cursor = 0;
    ring.cycle_ms += ring.interval_ms;
  }
}

void Schedule::walk(Ring& ring, int64_t now_ms, std::vector<Due>& due) {
  while (ring.next_ms() <= now_ms) {
    due.push_back({ring.slots[ring.cursor].device, ring.next_ms()});
    if (++ring.cursor == ring.slots.size()) {
      ring.cursor = 0;
      ring.cycle_ms += ring.interval_ms;
    }
  }
}

void Schedule::skip(const Ring& ring, int64_t from_ms, int64_t to_ms, std::vector<Missed>& missed) {
  const int64_t interval = ring.interval_ms;
  for (const Slot& slot : ring.slots) {
    const int64_t first = floor_to(from_ms - slot.phase_ms, interval) + interval + slot.phase_ms;
    if (first > to_ms) continue;
    missed.push_back({slot.device, first, static_cast<uint64_t>((to_ms - first) / interval + 1)});
  }
}

void Schedule::advance(int64_t now_ms, std::vector<Due>& due, std::vector<Missed>& missed) {
  if (now_ms <= until_ms_) return;
  for (Ring& ring : rings_) {
    const int64_t still_good = now_ms - late_after_ms(ring.interval_ms);
    if (ring.next_ms() < still_good) {
      skip(ring, until_ms_, still_good - 1, missed);
      place(ring, still_good - 1);
    }
    walk(ring, now_ms, due);
  }
  until_ms_ = now_ms;
}

std::optional<int64_t> Schedule::next_due_ms() const {
  std::optional<int64_t> next;
  for (const Ring& ring : rings_) {
    if (!next || ring.next_ms() < *next) next = ring.next_ms();
  }
  return next;
}

void Schedule::restart(int64_t until_ms) {
  until_ms_ = until_ms;
  for (Ring& ring : rings_) place(ring, until_ms);
}

}  // namespace gema::prober
