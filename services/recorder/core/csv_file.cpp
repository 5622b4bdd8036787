#include "services/recorder/core/csv_file.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "common/domain/csv_text.h"

namespace gema::recorder {
namespace {

using namespace std::chrono;  // NOLINT: calendar types

constexpr int64_t kDaySeconds = 86'400;
// Offsets change, and local days begin, at quarters of an hour only.
constexpr int64_t kQuarterSeconds = 900;
// Local time is at most so far from UTC.
constexpr int64_t kEastMostSeconds = 15 * 3'600;

constexpr std::string_view kPrefix = "ping_results_";
constexpr std::string_view kSuffix = ".csv";
constexpr size_t kShortColumns = 7;

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

LocalDay local_day_at(int64_t unix_s, const UtcOffset& offset) {
  return static_cast<LocalDay>(floor_div(unix_s + offset(unix_s), kDaySeconds));
}

std::string digits(int64_t value, size_t width) {
  const std::string text = std::to_string(value);
  return std::string(width > text.size() ? width - text.size() : 0, '0') + text;
}

std::string format(LocalDay day, const char* between) {
  const year_month_day date{sys_days{days{day}}};
  return digits(static_cast<int>(date.year()), 4) + between +
         digits(static_cast<unsigned>(date.month()), 2) + between +
         digits(static_cast<unsigned>(date.day()), 2);
}

// Requires nothing: anything but digits is no number.
std::optional<int> number(std::string_view text) {
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::optional<LocalDay> day_of(std::string_view y, std::string_view m, std::string_view d) {
  const auto yy = number(y);
  const auto mm = number(m);
  const auto dd = number(d);
  if (!yy || !mm || !dd || *yy < 1970) return std::nullopt;
  const year_month_day date{year{*yy}, month{static_cast<unsigned>(*mm)},
                            std::chrono::day{static_cast<unsigned>(*dd)}};
  if (!date.ok()) return std::nullopt;
  return static_cast<LocalDay>(sys_days{date}.time_since_epoch().count());
}

bool newer(const CsvResult& a, const CsvResult& b) {
  return a.sample.due_ms != b.sample.due_ms ? a.sample.due_ms > b.sample.due_ms
                                            : a.device < b.device;
}

}  // namespace

LocalDay local_day(int64_t unix_ms, const UtcOffset& offset) {
  return local_day_at(floor_div(unix_ms, 1'000), offset);
}

DaySpan span_of(LocalDay day, const UtcOffset& offset) {
  const int64_t begin = day * kDaySeconds - kEastMostSeconds;
  const int64_t end = (day + int64_t{1}) * kDaySeconds + kEastMostSeconds;
  DaySpan span;
  bool found = false;
  int64_t last = 0;
  for (int64_t at = begin; at < end; at += kQuarterSeconds) {
    if (local_day_at(at, offset) != day) continue;
    if (!found) span.from_ms = at * 1'000;
    if (found && at != last + kQuarterSeconds) span.whole = false;
    found = true;
    last = at;
  }
  // A date that a zone skipped (Samoa, 30 December 2011) has no instants at all.
  span.to_ms = found ? (last + kQuarterSeconds) * 1'000 : span.from_ms;
  return span;
}

std::string csv_file_name(LocalDay day) {
  return std::string(kPrefix) + format(day, "") + std::string(kSuffix);
}

std::optional<LocalDay> day_of_file_name(std::string_view name) {
  if (name.size() != kPrefix.size() + 8 + kSuffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  const std::string_view date = name.substr(kPrefix.size(), 8);
  return day_of(date.substr(0, 4), date.substr(4, 2), date.substr(6, 2));
}

std::string format_day(LocalDay day) {
  return format(day, "-");
}

std::optional<LocalDay> parse_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  return day_of(text.substr(0, 4), text.substr(5, 2), text.substr(8, 2));
}

bool past_keeping(LocalDay day, LocalDay today, uint32_t keep_days) {
  return int64_t{today} - day > int64_t{keep_days};
}

void append_header(std::string& out, CsvColumns columns) {
  const size_t count = columns == CsvColumns::kAll ? kPingColumns.size() : kShortColumns;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    out += kPingColumns[i];
  }
  out += "\r\n";
}

void append_row(std::string& out, const Device& device, const PingSample& sample,
                const UtcOffset& offset, CsvColumns columns) {
  const size_t count = columns == CsvColumns::kAll ? kPingColumns.size() : kShortColumns;
  size_t column = 0;
  for_each_cell(device, sample, offset, [&](std::string_view text) {
    if (column == count) return;
    if (column++ > 0) out += ',';
    append_csv_cell(out, text);
  });
  out += "\r\n";
}

std::vector<DeviceId> checked_devices(const Catalogue& catalogue) {
  std::vector<DeviceId> out;
  for (const Device& device : catalogue.devices) {
    if (is_checked(device)) out.push_back(device.id);
  }
  return out;
}

double results_per_second(const Catalogue& catalogue) {
  double sum = 0;
  for (const Device& device : catalogue.devices) {
    if (is_checked(device)) sum += 1'000.0 / std::max<uint32_t>(device.interval_ms, 1);
  }
  return sum;
}

std::vector<CsvResult> choose_rows(std::vector<CsvResult> rows, const Catalogue& catalogue,
                                   uint64_t limit, CsvRows kind) {
  std::erase_if(
      rows, [&](const CsvResult& row) { return find_checked(catalogue, row.device) == nullptr; });
  if (limit > 0 && rows.size() > limit) {
    const auto cut = rows.begin() + static_cast<std::ptrdiff_t>(limit);
    std::nth_element(rows.begin(), cut, rows.end(), newer);
    rows.erase(cut, rows.end());
  }
  if (kind == CsvRows::kDevices) {
    std::sort(rows.begin(), rows.end(),
              [](const CsvResult& a, const CsvResult& b) { return a.device < b.device; });
  } else {
    std::stable_sort(rows.begin(), rows.end(), [](const CsvResult& a, const CsvResult& b) {
      return a.sample.due_ms != b.sample.due_ms ? a.sample.due_ms < b.sample.due_ms
                                                : a.device < b.device;
    });
  }
  return rows;
}

void CsvLineCounter::take(std::string_view text) {
  for (const char c : text) {
    if (c == '"') quoted_ = !quoted_;
    open_ = c != '\n' || quoted_;
    if (!open_) ++lines_;
  }
}

uint64_t CsvLineCounter::rows() const {
  const uint64_t lines = lines_ + (open_ ? 1 : 0);
  return lines == 0 ? 0 : lines - 1;
}

}  // namespace gema::recorder
