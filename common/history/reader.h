// Reads recorded history back: every result of a device in a window, in slot order, one per slot
// and location, merged from chunks and hot rows as one snapshot sees them. What the gateway serves
// and what tests check with.
//
// Where two results exist for one slot and location, the rule of docs/ARCHITECTURE.md decides
// (measured beats not measured, answered beats failed, then the lower producer id; within one
// producer a later clock-step epoch comes first); the loser is not returned.
//
// A row that does not decode (flipped bits, cut short, a version from the future) is left out, and
// broken() names it.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"

namespace gema::history {

Statistics statistics_of(const Results& results);

// True when a lost record may have held the device's slot at `due_ms`: the slot is then not
// measured because of a stream gap, never a failure.
bool explained_by(const std::vector<Gap>& gaps, DeviceId device, int64_t due_ms);

// The slots that a device checked each `interval_ms` has in [from_ms, to_ms), against those found.
struct SlotAudit {
  uint64_t expected = 0;
  uint64_t found = 0;                  // expected ones with a result of that interval
  std::vector<int64_t> missing;        // expected ones without, rising
  uint64_t unexpected = 0;             // results in the window that no expected slot explains
  uint64_t not_measured = 0;           // found, but not measured
  std::map<Reason, uint64_t> reasons;  // of those
};
SlotAudit audit_slots(const Results& results, DeviceId device, uint32_t interval_ms,
                      int64_t from_ms, int64_t to_ms, const std::string& location = "default");

class Reader {
 public:
  explicit Reader(postgres::Connection& connection) : connection_(connection) {}

  // Every result of `device` with from_ms <= due_ms < to_ms; at most `limit` of them, the newest.
  Result<Results> results(DeviceId device, int64_t from_ms, int64_t to_ms,
                          size_t limit = 1'000'000);

  // The newest result of each device not older than `since_ms`, over all locations.
  struct Latest {
    std::map<DeviceId, Row> rows;
    Results names_and_echoes;  // its rows are empty; names, echoes, details of the rows above
  };
  Result<Latest> latest(int64_t since_ms);

  // Calls `each` once for every device that has results with from_ms <= due_ms < to_ms, in no
  // stated order: its rows by rising due_ms, then location; indices into other columns mean
  // nothing. `each` must leave the connection alone.
  Result<void> each_device(int64_t from_ms, int64_t to_ms,
                           const std::function<void(DeviceId, const std::vector<Row>&)>& each);

  // The newest `limit` address changes of a device, newest first.
  Result<std::vector<AddressChangeRow>> address_changes(DeviceId device, size_t limit = 100);

  // Announced losses whose span touches the window or is unknown, newest first, at most `limit`.
  Result<std::vector<Gap>> gaps(int64_t from_ms, int64_t to_ms, size_t limit = 1000);

  // Rows that the last call of results(), latest() or each_device() left out.
  const std::vector<BrokenRow>& broken() const { return broken_; }

 private:
  postgres::Connection& connection_;
  std::vector<BrokenRow> broken_;
};

}  // namespace gema::history
