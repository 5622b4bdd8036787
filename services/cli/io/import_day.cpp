#include "services/cli/io/import_day.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <tuple>

#include "common/domain/rollup.h"

namespace gema::cli {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

void read_day(Transaction& tx, const DayParts& wanted, Day& day) {
  const auto window = [&] {
    Params params;
    params.int64(static_cast<int64_t>(day.device)).int64(day.day_ms).int64(day.day_ms + kDayMs);
    return params;
  };
  if (wanted.results) {
    day.packed.emplace(
        tx,
        "SELECT start_ms, part, step_ms, location_id, producer_id, clock_steps, results, packed,"
        " details FROM ping_packed WHERE device_id = $1 AND start_ms >= $2 AND start_ms < $3"
        " ORDER BY start_ms, part",
        window());
    for (int i = 0; i < day.packed->rows(); ++i) {
      day.stored[static_cast<size_t>((day.packed->int64(i, 0) - day.day_ms) / kHourMs)].push_back(
          {i});
    }
  }
  if (wanted.minutes) {
    const BinaryResult minutes(tx,
                               "SELECT location_id, hour_ms, rollups FROM ping_rollup_minutes"
                               " WHERE device_id = $1 AND hour_ms >= $2 AND hour_ms < $3",
                               window());
    for (int i = 0; i < minutes.rows(); ++i) {
      day.minutes[{minutes.int32(i, 0),
                   static_cast<size_t>((minutes.int64(i, 1) - day.day_ms) / kHourMs)}] =
          std::string(minutes.bytes(i, 2));
    }
  }
  Params one;
  one.int64(static_cast<int64_t>(day.device)).int64(day.day_ms);
  const BinaryResult hours(tx,
                           "SELECT location_id, rollups FROM ping_rollup_hours"
                           " WHERE device_id = $1 AND day_ms = $2",
                           one);
  for (int i = 0; i < hours.rows(); ++i) {
    day.hours[hours.int32(i, 0)] = std::string(hours.bytes(i, 1));
  }
}

const char* why_refused(const Day& day, bool old) {
  if (old && !day.minutes.empty()) {
    return "it is past the time that single results are kept, and has minute rollups still";
  }
  if (old) return nullptr;  // what its rollups hold decides
  for (const auto& [location, bytes] : day.hours) {
    const auto hours = unpack_rollups(bytes);
    if (!hours || hours->size() != kHours) return "its hour rollups do not decode";
    for (size_t hour = 0; hour < kHours; ++hour) {
      if ((*hours)[hour].checks() > 0 && !day.minutes.contains({location, hour})) {
        return "its hour rollups are there, but what they were made of is gone";
      }
    }
  }
  return nullptr;
}

bool unchanged(const Day& day, size_t hour, const CompactedHour& merged) {
  using Content =
      std::tuple<int64_t, int32_t, int32_t, int32_t, int16_t, std::string_view, std::string_view>;
  if (!day.packed) return false;
  std::vector<Content> before;
  std::vector<Content> after;
  const BinaryResult& rows = *day.packed;
  for (const StoredRow& s : day.stored[hour]) {
    if (s.broken) continue;
    const int i = s.row;
    before.emplace_back(rows.int64(i, 0), rows.int32(i, 2), rows.int32(i, 3), rows.int32(i, 4),
                        rows.int16(i, 5), rows.bytes(i, 7),
                        rows.is_null(i, 8) ? std::string_view() : rows.bytes(i, 8));
  }
  for (const PackedRow& row : merged.rows) {
    after.emplace_back(row.start_ms, static_cast<int32_t>(row.step_ms), row.source.location,
                       row.source.producer, row.source.clock_steps, row.packed, row.details);
  }
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  if (before != after) return false;
  size_t stored_minutes = 0;
  for (const auto& [key, bytes] : day.minutes) stored_minutes += key.second == hour ? 1 : 0;
  return stored_minutes == merged.minutes.size() &&
         std::all_of(merged.minutes.begin(), merged.minutes.end(), [&](const MinuteRollups& m) {
           const auto stored = day.minutes.find({m.location, hour});
           return stored != day.minutes.end() && stored->second == m.rollups;
         });
}

std::string day_text(int64_t day_ms) {
  using namespace std::chrono;  // NOLINT: calendar types
  const year_month_day date{sys_days{days{day_ms / kDayMs}}};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

}  // namespace gema::cli
