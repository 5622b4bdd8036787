// The compactor's transactions: short chunks of closed hours become packed rows and rollups, and
// what late data touches is merged again. docs/ARCHITECTURE.md, "History"; ADR 0040.
//
// One unit of work per call, so that whoever runs it can stop between two; progress within an hour
// is kept in memory only. A crash or an error at any point is safe: an hour that was not finished
// is merged again from what is there, with the same outcome. Only one compactor works at a time, in
// the whole database (an advisory lock of its session).
//
// A device's hour that PostgreSQL refuses for its content is left as it was, and what was to be
// added to it goes to stream_quarantine (io/refusals.h), so that the rest of the hour is compacted.
//
// All calls block: they belong on a worker's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/cleanup.h"
#include "common/domain/hour_merger.h"
#include "common/domain/slot.h"
#include "common/postgres/connection.h"
#include "services/recorder/io/refusals.h"

namespace gema::recorder {

struct CompactOptions {
  postgres::Options postgres;
  Duration compact_after = 10min;     // of an hour's end, and of the last chunk that came late
  Duration raw_retention = 90 * 24h;  // of single results and minute rollups
  Duration minutes_retention = 90 * 24h;
  Duration hours_retention = 1827 * 24h;
};

struct Compacted {
  bool more = false;  // call again at once
  bool idle = false;  // another compactor, or an import, is at work
  uint64_t hours = 0;
  uint64_t late_hours = 0;  // of these: had been compacted before
  uint64_t days = 0;
  uint64_t rows = 0;
  uint64_t results = 0;
  uint64_t doubled = 0;
  uint64_t packed_bytes = 0;  // details included
  uint64_t rollup_bytes = 0;
  uint64_t broken = 0;   // rows that did not decode, left out
  uint64_t refused = 0;  // devices whose rows PostgreSQL refuses: what was new of them is set aside

  void add(const Compacted& other);
};

// What there is to do, and how much is stored.
struct CompactStatus {
  uint64_t pending_hours = 0;  // closed, not compacted, or not with all that came since
  uint64_t dirty_hours = 0;    // of these: what came late makes them so
  double lag_s = 0;            // since the oldest of them closed
  uint64_t broken_rows = 0;
  uint64_t refused_records = 0;
  std::map<std::string, uint64_t> table_bytes;  // indexes included
};

struct CompactHousekept {
  uint64_t chunk_leaves_dropped = 0;   // compacted
  uint64_t recent_leaves_dropped = 0;  // of ping_rollup_recent: their days are built
  uint64_t leaves_dropped = 0;         // past retention, of all tables
};

class CompactStore {
 public:
  explicit CompactStore(CompactOptions options);

  // Compacts some devices of the oldest hour that is due, or finishes it, or builds a day.
  Result<Compacted> step(WallTime now);
  // Drops leaves of short chunks that are compacted, and of everything past its retention.
  Result<CompactHousekept> housekeep(WallTime now);
  Result<CompactStatus> status(WallTime now);
  // Drops results and minute rollups of days that ended so long ago; hour rollups stay.
  Result<CleanupReport> cleanup(const CleanupOrder& order, WallTime now);

 private:
  struct Device {
    DeviceId id;
    uint64_t bytes;
  };
  struct Hour {
    int64_t hour_ms = 0;
    std::array<int64_t, kPartitions> compacted{};  // up to where it is
    std::array<int64_t, kPartitions> marks{};      // to become that
    std::vector<Device> devices;
    size_t next = 0;
    bool late = false;
    bool day_built = false;
  };
  struct Day {
    int64_t day_ms = 0;
    std::vector<DeviceId> devices;
    size_t next = 0;
  };

  Result<void> ensure_ready();
  Result<Compacted> work(WallTime now, bool apart);
  Compacted work(postgres::Transaction& tx, WallTime now, bool apart);
  std::string put_off(WallTime now);
  void make_leaves(postgres::Transaction& tx, const Hour& hour);
  std::optional<Hour> next_hour(postgres::Transaction& tx, WallTime now);
  std::optional<Day> next_day(postgres::Transaction& tx, WallTime now);
  // Devices [begin, end) of the hour.
  void compact(postgres::Transaction& tx, const Hour& hour, size_t begin, size_t end,
               Compacted& out);
  // The same device by device where need be: what PostgreSQL refuses is set aside.
  void compact_apart(postgres::Transaction& tx, const Hour& hour, size_t begin, size_t end,
                     Compacted& out);
  Result<void> refuse(postgres::Transaction& tx, const Hour& hour, const Device& device,
                      const Error& error, Refusals& refusals, Compacted& out);
  void finish(postgres::Transaction& tx, const Hour& hour, WallTime now);
  void roll_up(postgres::Transaction& tx, int64_t day_ms, const std::string& devices,
               Compacted& out);
  void read_names(postgres::Transaction& tx);
  void note_broken(postgres::Transaction& tx, const char* table, DeviceId device, int64_t start_ms,
                   int64_t part, const std::string& reason, Compacted& out);

  template <class Work>
  auto run(Work&& work) -> typename postgres::internal::AsResult<
      std::invoke_result_t<Work, postgres::Transaction&>>::type;

  const CompactOptions options_;
  std::unique_ptr<postgres::Connection> connection_;
  bool leader_ = false;
  std::map<int32_t, std::string> names_;
  HourMerger merger_{names_};
  std::map<int64_t, WallTime> put_off_;  // hours, and days by their end less 1 ms; until when
  std::optional<int64_t> at_;            // which of these is being worked at
  std::optional<Hour> hour_;
  std::optional<Day> day_;
};

}  // namespace gema::recorder
