#include "services/gateway/core/periods.h"

#include <algorithm>
#include <chrono>

#include "common/base/assert.h"

namespace gema::gateway {
namespace {

constexpr int64_t kHour = 3'600;
constexpr int64_t kDay = 86'400;
constexpr int64_t kQuarter = 900;  // offsets are whole quarters of an hour, and change at them

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

std::chrono::year_month_day date_of(int64_t local_s) {
  return std::chrono::sys_days(std::chrono::days(floor_div(local_s, kDay)));
}

int64_t seconds_of(std::chrono::year_month_day date) {
  return std::chrono::sys_days(date).time_since_epoch().count() * kDay;
}

// The beginning after that of the period that holds `local_s`; both on the local time line.
int64_t next_beginning(int64_t local_s, Period period) {
  switch (period) {
    case Period::kDay:
      return (floor_div(local_s, kDay) + 1) * kDay;
    case Period::kWeek: {
      constexpr int64_t kMonday = 4 * kDay;  // 1970-01-05
      return (floor_div(local_s - kMonday, 7 * kDay) + 1) * 7 * kDay + kMonday;
    }
    case Period::kMonth: {
      const auto date = date_of(local_s);
      return seconds_of(date.year() / date.month() / 1 + std::chrono::months(1));
    }
    case Period::kAll:
    case Period::kHour:
      break;
  }
  GEMA_ASSERT(false);
  return 0;
}

// The first instant after `begin_s` at which a local hour begins: clocks that are set back make an
// hour come twice, not last two.
int64_t next_hour(int64_t begin_s, const UtcOffset& offset) {
  int64_t at = (floor_div(begin_s, kQuarter) + 1) * kQuarter;
  while ((at + offset(at)) % kHour != 0) at += kQuarter;
  return at;
}

// The first instant at or after `begin_s` whose local time is at least `local_s`.
int64_t first_instant(int64_t local_s, int64_t begin_s, const UtcOffset& offset) {
  const int64_t guess = local_s - offset(local_s - offset(local_s));
  // No change of the offset near: local time passes local_s once.
  constexpr int64_t kNear = 3 * kHour;  // no clock was ever set back by more since 2000
  const int64_t east = offset(guess);
  if (guess + east == local_s && offset(guess - kNear) == east) return std::max(begin_s, guess);
  int64_t at = std::max(begin_s, floor_div(guess - 26 * kHour, kQuarter) * kQuarter);
  while (at + offset(at) < local_s) at = (floor_div(at, kQuarter) + 1) * kQuarter;
  return at;
}

void append_padded(std::string& out, unsigned value) {
  out += static_cast<char>('0' + value / 10 % 10);
  out += static_cast<char>('0' + value % 10);
}

}  // namespace

std::vector<int64_t> period_bounds(Window window, Period period, const UtcOffset& offset,
                                   size_t most) {
  GEMA_ASSERT(window.from_ms < window.to_ms && most >= 1);
  std::vector<int64_t> out{window.from_ms};
  if (period != Period::kAll) {
    int64_t at_s = floor_div(window.from_ms, 1'000);
    int64_t local_s = at_s + offset(at_s);
    while (out.size() <= most) {
      if (period == Period::kHour) {
        at_s = next_hour(at_s, offset);
      } else {
        local_s = next_beginning(local_s, period);
        at_s = first_instant(local_s, at_s, offset);
      }
      if (at_s * 1'000 >= window.to_ms) break;
      if (at_s * 1'000 > out.back()) out.push_back(at_s * 1'000);
    }
  }
  out.push_back(window.to_ms);
  return out;
}

std::string period_label(int64_t from_ms, Period period, const UtcOffset& offset) {
  const int64_t at_s = floor_div(from_ms, 1'000);
  const int64_t local_s = at_s + offset(at_s);
  const auto date = date_of(local_s);
  const auto of_day = static_cast<unsigned>(local_s - seconds_of(date));
  std::string out = std::to_string(static_cast<int>(date.year())) + "-";
  append_padded(out, static_cast<unsigned>(date.month()));
  const bool at_midnight = of_day == 0 && from_ms % 1'000 == 0;
  if (period == Period::kMonth && at_midnight && date.day() == std::chrono::day(1)) return out;
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()));
  if (at_midnight && (period == Period::kDay || period == Period::kWeek)) return out;
  out += 'T';
  append_padded(out, of_day / kHour);
  out += ':';
  append_padded(out, of_day / 60 % 60);
  if (period == Period::kHour && of_day % kHour == 0) return out;
  out += ':';
  append_padded(out, of_day % 60);
  return out;
}

}  // namespace gema::gateway
