// A day of one device: what is imported of it, and what history has of it already.
// Thread rule: the connection's.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/domain/hour_merger.h"
#include "common/domain/slot.h"
#include "common/postgres/binary.h"
#include "services/cli/io/stage.h"

namespace gema::cli {

inline constexpr int64_t kHourMs = kChunkSpanMs;
inline constexpr int64_t kDayMs = 24 * kHourMs;
inline constexpr size_t kHours = 24;

// What is stored of an hour, row by row.
struct StoredRow {
  int row = 0;  // in Day::packed
  bool broken = false;
};

struct Day {
  DeviceId device = 0;
  int64_t day_ms = 0;
  std::array<std::vector<StagedCheck>, kHours> checks;
  std::optional<postgres::BinaryResult> packed;
  std::array<std::vector<StoredRow>, kHours> stored;
  // By location and hour, by location.
  std::map<std::pair<int32_t, size_t>, std::string> minutes;
  std::map<int32_t, std::string> hours;

  uint64_t count() const {
    uint64_t n = 0;
    for (const auto& of_hour : checks) n += of_hour.size();
    return n;
  }
};

struct DayParts {
  bool results = false;
  bool minutes = false;
};
// Reads what is stored of a day; its hour rollups always.
void read_day(postgres::Transaction& tx, const DayParts& wanted, Day& day);

// A day must never be built again from a part of what it was made of. `old`: single results of that
// time are not kept. nullptr: nothing stands against it.
const char* why_refused(const Day& day, bool old);

// Whether what is stored of an hour is what it comes to with what is imported.
bool unchanged(const Day& day, size_t hour, const CompactedHour& merged);

std::string day_text(int64_t day_ms);  // "2026-11-20"

}  // namespace gema::cli
