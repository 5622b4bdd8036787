#include "common/base/rfc3339.h"

#include <fmt/format.h>

#include <charconv>

namespace gema {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::microseconds;
using std::chrono::sys_days;
using std::chrono::year_month_day;

// Reads exactly `digits` decimal digits at the front of `text` and removes them.
std::optional<int> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_char(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Duration> take_fraction(std::string_view& text) {
  if (!take_char(text, '.')) return Duration(0);
  int64_t nanos = 0;
  int64_t unit = 100'000'000;
  size_t digits = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    if (++digits > 9) return std::nullopt;
    nanos += unit * (text.front() - '0');
    unit /= 10;
    text.remove_prefix(1);
  }
  if (digits == 0) return std::nullopt;
  return Duration(nanos);
}

std::optional<Duration> take_offset(std::string_view& text) {
  if (take_char(text, 'Z') || take_char(text, 'z')) return Duration(0);
  int sign = 0;
  if (take_char(text, '+')) sign = 1;
  if (sign == 0 && take_char(text, '-')) sign = -1;
  if (sign == 0) return std::nullopt;
  auto hours = take_number(text, 2);
  if (!hours || *hours > 23 || !take_char(text, ':')) return std::nullopt;
  auto minutes = take_number(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  return sign * (std::chrono::hours(*hours) + std::chrono::minutes(*minutes));
}

std::optional<WallTime> parse(std::string_view text) {
  auto year = take_number(text, 4);
  if (!year || !take_char(text, '-')) return std::nullopt;
  auto month = take_number(text, 2);
  if (!month || !take_char(text, '-')) return std::nullopt;
  auto day = take_number(text, 2);
  if (!day) return std::nullopt;
  const year_month_day date{std::chrono::year(*year),
                            std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  if (!take_char(text, 'T') && !take_char(text, 't') && !take_char(text, ' ')) return std::nullopt;
  auto hour = take_number(text, 2);
  if (!hour || *hour > 23 || !take_char(text, ':')) return std::nullopt;
  auto minute = take_number(text, 2);
  if (!minute || *minute > 59 || !take_char(text, ':')) return std::nullopt;
  auto second = take_number(text, 2);
  if (!second || *second > 60) return std::nullopt;  // 60: a leap second, folded into the next
  auto fraction = take_fraction(text);
  if (!fraction) return std::nullopt;
  auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  const auto since_epoch = sys_days(date).time_since_epoch() + std::chrono::hours(*hour) +
                           std::chrono::minutes(*minute) + std::chrono::seconds(*second);
  // Nanoseconds in 64 bits reach from 1677 to 2262.
  if (*year < 1678 || *year > 2261) return std::nullopt;
  return WallTime(Duration(since_epoch) + *fraction - *offset);
}

}  // namespace

std::string format_rfc3339(WallTime time) {
  const auto us = floor<microseconds>(time.time_since_epoch());
  const auto day = floor<days>(us);
  const year_month_day date{sys_days(day)};
  const std::chrono::hh_mm_ss clock{us - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

Result<WallTime> parse_rfc3339(std::string_view text) {
  if (auto time = parse(text)) return *time;
  return Error{Errc::kBadInput,
               fmt::format("\"{}\" is not an RFC 3339 time such as 2026-11-20T09:56:01Z", text)};
}

}  // namespace gema
