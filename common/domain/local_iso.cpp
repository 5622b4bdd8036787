#include "common/domain/local_iso.h"

#include <chrono>

namespace gema {
namespace {

// Appends `value` with at least `width` digits. Requires: value >= 0.
void append_padded(std::string& out, int64_t value, size_t width) {
  const std::string digits = std::to_string(value);
  out.append(width > digits.size() ? width - digits.size() : 0, '0');
  out += digits;
}

}  // namespace

std::string local_iso(int64_t unix_us, const UtcOffset& offset) {
  using namespace std::chrono;
  const sys_time<microseconds> utc{microseconds(unix_us)};
  const auto utc_seconds = floor<seconds>(utc);
  const int64_t east = offset(utc_seconds.time_since_epoch().count());
  const auto local = utc_seconds + seconds(east);
  const auto day = floor<days>(local);
  const year_month_day date(day);
  const hh_mm_ss time(local - day);
  const int64_t fraction = (utc - utc_seconds).count();
  std::string out;
  out.reserve(26);
  append_padded(out, static_cast<int>(date.year()), 4);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_padded(out, time.hours().count(), 2);
  out += ':';
  append_padded(out, time.minutes().count(), 2);
  out += ':';
  append_padded(out, time.seconds().count(), 2);
  if (fraction != 0) {
    out += '.';
    append_padded(out, fraction, 6);
  }
  return out;
}

}  // namespace gema
