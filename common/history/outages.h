// Outages: from the first failed check of a device until it answers again, as the timeout-tracker
// decided and announced (docs/ARCHITECTURE.md); what its transitions tell, and what history knows
// of the time between.
//
// An outage begins with the first failed slot of those that made the device down, and ends with the
// slot that made it up again. A reset of counters does not end it, nor does a pause: nobody then
// knows better. A device that is removed while it is down ends its outage.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/ping.h"
#include "common/domain/transition.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"

namespace gema::history {

enum class OutageEnd : uint8_t {
  kStill = 0,       // the device is down
  kAnswered = 1,    // it answered again
  kRemoved = 2,     // it was removed while it was down
  kSuperseded = 3,  // the next outage begins, and nobody said that this one had ended
  kUnknown = 4,     // what was imported of another system's past ends here
};
const char* to_string(OutageEnd end);  // "still down", "answered again", "device removed", ...

struct Outage {
  TransitionId id{};  // of the transition to down: the outage's own
  DeviceId device = 0;
  int64_t start_ms = 0;       // slot of the first failed check
  int64_t confirmed_ms = 0;   // slot of the one that made it down
  int64_t decided_at_ms = 0;  // when that was decided
  OutageEnd end = OutageEnd::kStill;
  std::optional<TransitionId> end_id;  // of the transition out of down
  std::optional<int64_t> end_ms;       // slot of the answer; nullopt = still down
  std::optional<int64_t> end_decided_at_ms;
  int64_t duration_ms = 0;           // up to `now` when it is still down; never negative
  Reason reason = Reason::kNone;     // what the confirming check said
  uint32_t failures_to_confirm = 0;  // failed checks in a row that made it down
  std::string location;              // of the confirming check
  std::string prober;
  bool reset_meanwhile = false;  // somebody reset its counters while it was down

  // Of the time from start to end (or now), all locations, from results and rollups; nullopt unless
  // `with_checks`, beyond the newest kCheckedOutagesMax, and where history does not have it.
  std::optional<uint64_t> checks;         // measured
  std::optional<uint64_t> failed_checks;  // of these
  // Answered echoes of the check that ended it, in percent of those sent; nullopt as above.
  std::optional<double> recovery_percent;
};

struct OutageQuery {
  std::vector<DeviceId> devices;  // empty: all
  // Those that overlap the window [from_ms, to_ms).
  int64_t from_ms = 0;
  int64_t to_ms = INT64_MAX;
  bool active_only = false;
  bool with_checks = true;
  size_t limit = 50;  // the newest, 1 .. kOutagesMax
  int64_t now_ms = 0;
};
inline constexpr size_t kOutagesMax = 10'000;
inline constexpr size_t kCheckedOutagesMax = 200;

struct Outages {
  std::vector<Outage> rows;  // by start, the newest first
  bool truncated = false;    // more existed than `limit`
  std::vector<BrokenRow> broken;
};

// Fails with kBadInput, saying what is wrong, on a query that breaks the rules above.
Result<Outages> read_outages(postgres::Connection& connection, const OutageQuery& query);
// The same as a part of something that begin_reading() began.
Result<Outages> read_outages(postgres::Transaction& tx, const OutageQuery& query);

}  // namespace gema::history
