// Availability of devices per period: how long they were up, how long down, and how long nobody
// measured. The three add up to exactly the period.
//
// A check stands for its interval: answered for up, failed for down. What is left of the period was
// not measured: paused, the prober not running or suspect, before the first result, gaps. A period
// that has not ended yet ends now.
//
// Where several locations check a device at the same time, their time is shared out in proportion,
// hour by hour.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/slot.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"

namespace gema::history {

struct AvailabilityPeriod {
  int64_t from_ms = 0;
  int64_t to_ms = 0;  // at most `now`; from_ms when the period has not begun
  uint64_t up_ms = 0;
  uint64_t down_ms = 0;
  uint64_t not_measured_ms = 0;  // up + down + not measured = to - from
  // Checks that were due in it.
  uint64_t answered = 0;
  uint64_t failed = 0;
  uint64_t not_measured = 0;
  // Confirmed outages that overlap it, and their time within it.
  uint64_t outages = 0;
  uint64_t outage_ms = 0;

  // 100 up / (up + down); nullopt when nothing was measured.
  std::optional<double> up_percent() const;

  friend bool operator==(const AvailabilityPeriod&, const AvailabilityPeriod&) = default;
};

struct AvailabilityQuery {
  std::vector<DeviceId> devices;  // at least one
  // Periods are [bounds[i], bounds[i + 1]); strictly rising, 2 .. kBoundsMax of them. The caller
  // decides about days and months of which time zone.
  std::vector<int64_t> bounds;
  std::optional<std::string> location;  // nullopt: all
  int64_t now_ms = 0;
};
inline constexpr size_t kBoundsMax = 10'001;

struct DeviceAvailability {
  DeviceId device = 0;
  std::vector<AvailabilityPeriod> periods;  // as the bounds say
  AvailabilityPeriod total;                 // of all of them
};

struct Availability {
  std::vector<DeviceAvailability> devices;  // in the order of the query
  std::vector<BrokenRow> broken;
};

// Fails with kBadInput, saying what is wrong, on a query that breaks the rules above.
Result<Availability> read_availability(postgres::Connection& connection,
                                       const AvailabilityQuery& query);

}  // namespace gema::history
