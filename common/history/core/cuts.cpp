#include "common/history/core/cuts.h"

#include <algorithm>
#include <array>

#include "common/base/assert.h"

namespace gema::history {
namespace {

constexpr int64_t kSecond = 1'000;
constexpr int64_t kMinute = 60 * kSecond;
// 1970-01-05 was a Monday.
constexpr int64_t kMonday = 4 * kDayMs;
constexpr int64_t kWeek = 7 * kDayMs;

constexpr std::array<int64_t, 16> kLadder = {
    5 * kSecond,  10 * kSecond, 15 * kSecond, 30 * kSecond, kMinute,     5 * kMinute,
    15 * kMinute, 30 * kMinute, kHourMs,      2 * kHourMs,  3 * kHourMs, 6 * kHourMs,
    12 * kHourMs, kDayMs,       kWeek,        4 * kWeek,
};

int64_t origin_of(int64_t step_ms) {
  return step_ms >= kWeek ? kMonday : 0;
}

uint64_t steps_in(const SeriesCost& cost, int64_t step_ms) {
  const int64_t origin = origin_of(step_ms);
  return static_cast<uint64_t>(
      (floor_to(cost.to_ms - 1 - origin, step_ms) - floor_to(cost.from_ms - origin, step_ms)) /
          step_ms +
      1);
}

// The least step that what is stored gives at a bearable cost.
int64_t least_step(const SeriesCost& cost) {
  const auto hours = static_cast<uint64_t>((cost.to_ms - cost.from_ms) / kHourMs + 1);
  if (cost.hours_only || hours * cost.devices > kSeriesHoursMax) return kHourMs;
  if (cost.devices > 1) return kMinute;
  const uint64_t results = cost.results_of_all_locations.value_or(kSeriesResultsMax + 1);
  return results <= kSeriesResultsMax ? kLadder[0] : kMinute;
}

std::vector<int64_t> bounds_of(const SeriesCost& cost, int64_t step_ms) {
  std::vector<int64_t> bounds{cost.from_ms};
  const int64_t origin = origin_of(step_ms);
  for (int64_t at = floor_to(cost.from_ms - origin, step_ms) + origin + step_ms; at < cost.to_ms;
       at += step_ms) {
    bounds.push_back(at);
  }
  bounds.push_back(cost.to_ms);
  return bounds;
}

}  // namespace

int64_t floor_to(int64_t ms, int64_t unit_ms) {
  return ms - ((ms % unit_ms) + unit_ms) % unit_ms;
}

int64_t ceil_to(int64_t ms, int64_t unit_ms) {
  return floor_to(ms + unit_ms - 1, unit_ms);
}

Cuts::Cuts(std::vector<int64_t> bounds) : bounds_(std::move(bounds)) {
  GEMA_ASSERT(bounds_.size() >= 2);
  for (size_t i = 1; i < bounds_.size(); ++i) GEMA_ASSERT(bounds_[i - 1] < bounds_[i]);
}

std::optional<size_t> Cuts::at(int64_t ms) const {
  if (ms < begin() || ms >= end()) return std::nullopt;
  const auto after = std::upper_bound(bounds_.begin(), bounds_.end(), ms);
  return static_cast<size_t>(after - bounds_.begin() - 1);
}

std::optional<size_t> Cuts::whole(int64_t from_ms, int64_t to_ms) const {
  const auto segment = at(from_ms);
  if (!segment || to_ms > to(*segment)) return std::nullopt;
  return segment;
}

bool Cuts::touches(int64_t from_ms, int64_t to_ms) const {
  return from_ms < end() && to_ms > begin();
}

bool Cuts::fits(int64_t from_ms, int64_t to_ms, size_t parts) const {
  GEMA_ASSERT(parts > 0);
  const int64_t part_ms = (to_ms - from_ms) / static_cast<int64_t>(parts);
  auto at = std::upper_bound(bounds_.begin(), bounds_.end(), from_ms);
  for (; at != bounds_.end() && *at < to_ms; ++at) {
    if ((*at - from_ms) % part_ms != 0) return false;
  }
  return true;
}

Steps choose_steps(const SeriesCost& cost) {
  GEMA_ASSERT(cost.from_ms < cost.to_ms && cost.points_max > 0);
  if (cost.devices == 1 && !cost.hours_only && cost.results && *cost.results <= cost.points_max &&
      cost.results_of_all_locations.value_or(kSeriesResultsMax + 1) <= kSeriesResultsMax) {
    return {.step_ms = 0, .bounds = {cost.from_ms, cost.to_ms}};
  }
  const int64_t least = least_step(cost);
  for (const int64_t step_ms : kLadder) {
    if (step_ms < least || steps_in(cost, step_ms) > cost.points_max) continue;
    return {.step_ms = step_ms, .bounds = bounds_of(cost, step_ms)};
  }
  // However long a step is, the end of one may fall into the window.
  if (cost.points_max == 1) {
    return {.step_ms = cost.to_ms - cost.from_ms, .bounds = {cost.from_ms, cost.to_ms}};
  }
  int64_t step_ms = kLadder.back();
  while (steps_in(cost, step_ms) > cost.points_max) step_ms *= 2;
  return {.step_ms = step_ms, .bounds = bounds_of(cost, step_ms)};
}

Shares fit(Shares shares, uint64_t span_ms) {
  const uint64_t sum = shares.up_ms + shares.down_ms;
  if (sum <= span_ms) return shares;
  __extension__ using Wide = unsigned __int128;
  const auto up =
      static_cast<uint64_t>((static_cast<Wide>(shares.up_ms) * span_ms + sum / 2) / sum);
  return {up, span_ms - up};
}

}  // namespace gema::history
