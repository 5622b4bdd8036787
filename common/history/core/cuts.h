// A window of time cut into segments, and what that asks of stored periods: an hour that no cut
// falls into is summed up by one rollup; one that is cut, by the rollups of its minutes if every
// cut falls between two of them; else single results must be read.
//
// Also: into which steps a series is cut. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace gema::history {

inline constexpr int64_t kHourMs = 3'600'000;
inline constexpr int64_t kDayMs = 24 * kHourMs;
// The instants that readers are asked for lie in [0, kTimeMax] (the year 2261).
inline constexpr int64_t kTimeMax = 9'200'000'000'000;

// The last multiple of `unit_ms` that is not after `ms`. Requires: unit_ms > 0.
int64_t floor_to(int64_t ms, int64_t unit_ms);
int64_t ceil_to(int64_t ms, int64_t unit_ms);

class Cuts {
 public:
  // Segments are [bounds[i], bounds[i + 1]). Requires: rising, at least two.
  explicit Cuts(std::vector<int64_t> bounds);

  size_t segments() const { return bounds_.size() - 1; }
  int64_t from(size_t segment) const { return bounds_[segment]; }
  int64_t to(size_t segment) const { return bounds_[segment + 1]; }
  int64_t begin() const { return bounds_.front(); }
  int64_t end() const { return bounds_.back(); }

  // The segment that holds the instant; nullopt when none does.
  std::optional<size_t> at(int64_t ms) const;
  // The segment that holds all of [from_ms, to_ms).
  std::optional<size_t> whole(int64_t from_ms, int64_t to_ms) const;
  // Anything of [from_ms, to_ms) lies in the window.
  bool touches(int64_t from_ms, int64_t to_ms) const;
  // Every cut that falls into the span falls between two of its `parts` equal parts; the window's
  // ends are cuts, too. Requires: parts > 0.
  bool fits(int64_t from_ms, int64_t to_ms, size_t parts) const;

 private:
  std::vector<int64_t> bounds_;
};

// --- series -----------------------------------------------------------------------------------

struct SeriesCost {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  size_t points_max = 1;
  size_t devices = 1;
  // Results of one device in the window, those of the location that has the most, and of all;
  // nullopt: too many to be worth counting.
  std::optional<uint64_t> results;
  std::optional<uint64_t> results_of_all_locations;
  bool hours_only = false;  // nothing finer is there
};

// The steps of a series.
struct Steps {
  int64_t step_ms = 0;          // 0: single results
  std::vector<int64_t> bounds;  // the ends of the steps, clipped to the window
};
// Never more than points_max of them. Requires: from_ms < to_ms, points_max > 0.
Steps choose_steps(const SeriesCost& cost);

// Single results are worth reading for a step below a minute up to this many; below an hour,
// rollups of minutes of this many device hours.
inline constexpr uint64_t kSeriesResultsMax = 20'000;
inline constexpr uint64_t kSeriesHoursMax = 5'000;
// Windows longer than this per point never show single results, so these are not counted.
inline constexpr int64_t kCountedPerPointMs = 300'000;

// --- availability -----------------------------------------------------------------------------

// Times of checks may add up to more than the span that they lie in: the last one reaches beyond
// it, or several locations check at once. They then share it out in proportion.
struct Shares {
  uint64_t up_ms = 0;
  uint64_t down_ms = 0;

  friend bool operator==(const Shares&, const Shares&) = default;
};
// up + down <= span. Requires: span_ms < 2^62.
Shares fit(Shares shares, uint64_t span_ms);

}  // namespace gema::history
