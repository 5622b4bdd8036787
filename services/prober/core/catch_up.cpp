#include "services/prober/core/catch_up.h"

#include <algorithm>

#include "common/domain/slot.h"

namespace gema::prober {

CatchUp plan_catch_up(std::span<const KeptSchedule> kept, std::optional<int64_t> done_until_ms,
                      const std::map<DeviceId, int64_t>& spooled, int64_t now_ms) {
  CatchUp plan;
  const uint64_t share = kept.empty() ? 0 : kMissedTotalMax / kept.size();
  const auto most = static_cast<int64_t>(std::min<uint64_t>(kMissedSlotsMax, share));
  for (const KeptSchedule& k : kept) {
    const auto last = spooled.find(k.device);
    if (!done_until_ms && last == spooled.end()) continue;
    int64_t from = k.since_ms - 1;
    if (done_until_ms) from = std::max(from, *done_until_ms);
    if (last != spooled.end()) from = std::max(from, last->second);
    const int64_t to = std::min(k.until_ms, now_ms);
    const int64_t first = slot_after(k.device, k.interval_ms, from);
    if (first > to) continue;
    const int64_t interval = k.interval_ms;
    const int64_t all = (to - first) / interval + 1;
    const int64_t young = (std::min(to - first, kMissedAgeMsMax)) / interval + 1;
    const int64_t count = std::min({all, young, most});
    plan.left_out += static_cast<uint64_t>(all - count);
    if (count == 0) continue;
    plan.slots += static_cast<uint64_t>(count);
    plan.runs.push_back({.device = k.device,
                         .interval_ms = k.interval_ms,
                         .first_due_ms = first + (all - count) * interval,
                         .count = static_cast<uint32_t>(count),
                         .reason = Reason::kNotRunning});
  }
  return plan;
}

void Marks::note(int64_t at_ms, std::string position) {
  if (noted_.size() >= kMarksKept) {
    std::deque<Noted> half;
    for (size_t i = 0; i < noted_.size(); i += 2) half.push_back(std::move(noted_[i]));
    noted_ = std::move(half);
  }
  noted_.push_back({at_ms, std::move(position)});
}

std::optional<std::string> Marks::position_for(int64_t done_until_ms) {
  while (noted_.size() >= 2 && noted_[1].at_ms <= done_until_ms) noted_.pop_front();
  if (noted_.empty() || noted_.front().at_ms > done_until_ms) return std::nullopt;
  return noted_.front().position;
}

}  // namespace gema::prober
