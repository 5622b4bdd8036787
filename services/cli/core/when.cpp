#include "services/cli/core/when.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "common/base/rfc3339.h"

namespace gema::cli {
namespace {

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kDayUs = 86'400 * kSecondUs;

std::optional<int64_t> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int64_t value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_char(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<int64_t> take_fraction_us(std::string_view& text) {
  int64_t value = 0;
  size_t digits = 0;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
    if (++digits > 9) return std::nullopt;
    if (digits <= 6) value = value * 10 + (text.front() - '0');
  }
  if (digits == 0) return std::nullopt;
  for (; digits < 6; ++digits) value *= 10;
  return value;
}

int64_t floor_to(int64_t value, int64_t unit) {
  return value - ((value % unit) + unit) % unit;
}

int64_t local_us_of(int64_t utc_us, const UtcOffset& offset) {
  return utc_us + offset(floor_to(utc_us, kSecondUs) / kSecondUs) * kSecondUs;
}

// "24h", "1d12h", in ms; nullopt: no such text.
std::optional<int64_t> parse_ago(std::string_view text) {
  int64_t sum = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    int64_t value = 0;
    size_t digits = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
      value = value * 10 + (text[digits] - '0');
      if (digits > 8) return std::nullopt;
    }
    if (digits == 0 || digits == text.size()) return std::nullopt;
    const char unit = text[digits];
    const int64_t seconds = unit == 's'   ? 1
                            : unit == 'm' ? 60
                            : unit == 'h' ? 3'600
                            : unit == 'd' ? 86'400
                            : unit == 'w' ? 604'800
                                          : 0;
    if (seconds == 0) return std::nullopt;
    sum += value * seconds * 1'000;
    text.remove_prefix(digits + 1);
  }
  return sum;
}

}  // namespace

std::optional<int64_t> parse_naive_us(std::string_view text) {
  using namespace std::chrono;  // NOLINT: calendar types
  const auto y = take_number(text, 4);
  if (!y || !take_char(text, '-')) return std::nullopt;
  const auto m = take_number(text, 2);
  if (!m || !take_char(text, '-')) return std::nullopt;
  const auto d = take_number(text, 2);
  if (!d) return std::nullopt;
  const year_month_day date{year{static_cast<int>(*y)}, month{static_cast<unsigned>(*m)},
                            day{static_cast<unsigned>(*d)}};
  if (!date.ok() || *y < 1) return std::nullopt;
  int64_t us = sys_days{date}.time_since_epoch().count() * kDayUs;
  if (text.empty()) return us;
  if (!take_char(text, ' ') && !take_char(text, 'T')) return std::nullopt;
  const auto hours = take_number(text, 2);
  if (!hours || *hours > 23 || !take_char(text, ':')) return std::nullopt;
  const auto minutes = take_number(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  us += (*hours * 3'600 + *minutes * 60) * kSecondUs;
  if (text.empty()) return us;
  if (!take_char(text, ':')) return std::nullopt;
  const auto seconds_value = take_number(text, 2);
  if (!seconds_value || *seconds_value > 59) return std::nullopt;
  us += *seconds_value * kSecondUs;
  if (text.empty()) return us;
  if (!take_char(text, '.')) return std::nullopt;
  const auto fraction = take_fraction_us(text);
  if (!fraction || !text.empty()) return std::nullopt;
  return us + *fraction;
}

LocalInstant utc_of_local(int64_t local_us, const UtcOffset& offset) {
  // The offsets in force a day before and a day after: zones change at most once in between.
  const int64_t before = offset(floor_to(local_us - kDayUs, kSecondUs) / kSecondUs) * kSecondUs;
  const int64_t after = offset(floor_to(local_us + kDayUs, kSecondUs) / kSecondUs) * kSecondUs;
  const int64_t a = local_us - before;
  const int64_t b = local_us - after;
  const bool a_right = local_us_of(a, offset) == local_us;
  const bool b_right = local_us_of(b, offset) == local_us;
  if (a_right && b_right && a != b) return {std::min(a, b), true, std::max(a, b), false};
  if (a_right) return {a, false, a, false};
  if (b_right) return {b, false, b, false};
  return {a, false, a, true};
}

int64_t LocalOrder::take(int64_t local_us, const UtcOffset& offset) {
  constexpr int64_t kBack = 60 * kSecondUs;
  const LocalInstant instant = utc_of_local(local_us, offset);
  int64_t us = instant.utc_us;
  if (instant.twice) {
    ++twice_;
    if (last_us_ != INT64_MIN && us < last_us_ - kBack) us = instant.second_us;
  }
  if (instant.skipped) ++skipped_;
  last_us_ = us;
  return us;
}

Result<int64_t> parse_when(std::string_view text, int64_t now_ms, const UtcOffset& offset) {
  if (text == "now") return now_ms;
  if (text == "today" || text == "yesterday") {
    int64_t day = floor_to(local_us_of(now_ms * 1'000, offset), kDayUs);
    if (text == "yesterday") day -= kDayUs;
    return utc_of_local(day, offset).utc_us / 1'000;
  }
  std::string_view ago = text;
  take_char(ago, '-');
  if (const auto ms = parse_ago(ago)) return now_ms - *ms;
  if (const auto local = parse_naive_us(text)) {
    return floor_to(utc_of_local(*local, offset).utc_us, 1'000) / 1'000;
  }
  if (const auto exact = parse_rfc3339(text)) return unix_ms(*exact);
  return Error{Errc::kBadInput, "\"" + std::string(text) + "\" is no instant; write " + kWhenHelp};
}

}  // namespace gema::cli
