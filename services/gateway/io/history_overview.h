// What an operator asks of history: how much there is and from when to when, what waits, what is
// missing or does not decode.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/postgres/connection.h"

namespace gema::gateway {

struct HistoryOverview {
  struct Table {
    std::string name;
    uint64_t bytes = 0;  // indexes included
    uint64_t leaves = 0;
    std::optional<int64_t> from_ms;  // of the oldest leaf, to the end of the newest
    std::optional<int64_t> to_ms;
  };
  std::vector<Table> tables;
  std::optional<int64_t> last_commit_ms;  // of results; nullopt: none in hot rows
  std::optional<int64_t> chunked_ms;  // when hot rows last became chunks, of the oldest partition
  uint64_t hours_pending = 0;         // not packed yet
  uint64_t hours_dirty = 0;           // packed, and results came since
  uint64_t broken_rows = 0;
  uint64_t quarantined = 0;
  uint64_t set_aside = 0;  // slots in our future
  uint64_t gaps = 0;
  std::optional<int64_t> last_gap_ms;
  int64_t floor_ms = 0;  // a cleanup removed what is older; 0: there was none
};

// Blocks; the thread rule is the connection's.
Result<HistoryOverview> read_overview(postgres::Connection& connection);

}  // namespace gema::gateway
