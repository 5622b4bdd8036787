// Instants as people write them, and local times without an offset as the old systems wrote them.
// Pure: `now` and the local offset are the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/result.h"
#include "common/domain/local_iso.h"

namespace gema::cli {

// What a person may write where an instant is asked for. In words, for --help.
inline constexpr const char* kWhenHelp =
    "2026-11-20, \"2026-11-20 10:00\", 2026-11-20T10:00:00Z, now, today, yesterday, or so long "
    "ago: "
    "90s 15m 24h 7d 2w (also -24h, 1d12h)";

// Returns: Unix ms. Local times are those of `offset`'s zone; one that the clock showed twice is
// the first, one that it skipped is moved on by what was skipped.
Result<int64_t> parse_when(std::string_view text, int64_t now_ms, const UtcOffset& offset);

// Microseconds of local time since 1970-01-01 00:00:00 local time: "2025-09-19T10:45:47.075895",
// with a space or T, seconds and fraction (up to nine digits, six are kept) optional, or a date
// alone. nullopt: no such text.
std::optional<int64_t> parse_naive_us(std::string_view text);

struct LocalInstant {
  int64_t utc_us = 0;
  bool twice = false;     // the clock showed this time twice; utc_us is the first
  int64_t second_us = 0;  // the second; utc_us unless `twice`
  bool skipped = false;   // the clock never showed it
};
LocalInstant utc_of_local(int64_t local_us, const UtcOffset& offset);

// Local times in the order in which they were written, so that of an hour which the clock showed
// twice the second pass is told from the first: where the first reading would go back in time by
// more than a minute, it is the second.
class LocalOrder {
 public:
  // Returns: Unix us. Counts what was doubtful.
  int64_t take(int64_t local_us, const UtcOffset& offset);
  uint64_t twice() const { return twice_; }
  uint64_t skipped() const { return skipped_; }

 private:
  int64_t last_us_ = INT64_MIN;
  uint64_t twice_ = 0;
  uint64_t skipped_ = 0;
};

}  // namespace gema::cli
