// What is known of devices in a window, in pieces of at most an hour, each summed up in a rollup:
// from rows of days, hours and minutes where these are complete, from single results where they are
// not (the open hour, what came late, cuts finer than the rollups, rollups that do not decode). So
// the pieces always tell everything up to the newest recorded result, and nothing twice.
//
// A piece is the same whatever it was made from: single results are rolled up as the compactor
// will.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/domain/rollup.h"
#include "common/history/core/cuts.h"
#include "common/history/scan.h"

namespace gema::history {

// Fails with kBadInput unless from_ms < to_ms, both of a time that history can hold.
Result<void> check_window(int64_t from_ms, int64_t to_ms);

struct Piece {
  DeviceId device = 0;
  int32_t location = 0;  // by Scan::names()
  size_t segment = 0;    // of the cuts
  int64_t hour_ms = 0;   // the piece lies within this hour and the segment
};

class Pieces {
 public:
  // Of a piece there may be several parts: their sum is meant.
  using Each = std::function<void(const Piece&, const Rollup&)>;

  // Requires: the scan is of the devices and the window. Both must outlive this.
  Pieces(Scan& scan, std::vector<BrokenRow>& broken) : scan_(scan), broken_(broken) {}

  // Calls `each` for the pieces of the devices, in no stated order; `location`: of it only.
  void read(const Devices& devices, const Cuts& cuts, std::optional<int32_t> location,
            const Each& each);

  // The last read() found hours that are cut but of which only the whole is known any more. They
  // went to the segment that holds their middle.
  bool coarse() const { return coarse_; }

  // A table of rollups, and its columns.
  struct Table {
    const char* name;
    const char* start;
    const char* rollups;
    const char* order;
  };

 private:
  using ByHour = std::map<int64_t, std::vector<DeviceId>>;  // hour -> devices

  // Rollups of one device and span, of all locations.
  struct Group {
    DeviceId device = 0;
    int64_t start_ms = 0;
    bool broken = false;
    std::vector<std::pair<int32_t, std::vector<Rollup>>> locations;
    size_t used = 0;
  };

  void read_state();
  void find_pending();
  void find_late(int64_t hour_ms, const std::map<uint32_t, int64_t>& compacted);
  bool from_results(DeviceId device, int64_t hour_ms) const;
  void read_groups(const Table& table, const std::string& where,
                   const std::function<void(const Group&)>& each);
  void read_days();
  void read_recent();
  void read_old_minutes();
  void read_minutes();
  void take_hours(const Group& group, size_t index, int64_t hour_ms);
  void take_minutes(const Group& group);
  void read_results();
  void roll_up(DeviceId device, const Merged& merged, int64_t hour_ms, size_t begin, size_t end);
  void drop_told(ByHour& hours);
  void read_coarse();
  void emit(const Piece& piece, const Rollup& rollup);

  Scan& scan_;
  std::vector<BrokenRow>& broken_;
  const Devices* devices_ = nullptr;
  const Cuts* cuts_ = nullptr;
  std::optional<int32_t> location_;
  const Each* each_ = nullptr;
  bool coarse_ = false;

  std::set<int64_t> built_days_;
  int64_t recent_from_ms_ = 0;
  std::vector<int64_t> recent_hours_;  // of the window, of days that are not built
  std::set<int64_t>
      open_hours_;  // no rollup is there: all their devices from results, no packed rows
  ByHour late_;     // rollups are there, but results came since
  ByHour minutes_;  // wanted from rows of minutes
  ByHour results_;  // wanted from results, although nothing came since
  std::set<std::pair<int64_t, DeviceId>> found_;  // of these: results were there
};

}  // namespace gema::history
