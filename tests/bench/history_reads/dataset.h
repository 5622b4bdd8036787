// Fills a database with history and, beside it, the row table that one would make without Gema.
//
// History comes about as in life, by the recorder's own code: commits of batches, chunks, hours
// compacted to packed rows and rollups, days rolled up, leaves dropped; only faster. What is older
// than the open hours is committed ten minutes at a time (the compactor's outcome does not depend
// on that); the last 80 minutes become a short chunk each minute, and of the last minute there are
// hot rows only, one per commit of half a second.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "common/postgres/connection.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/store.h"
#include "tests/bench/history_reads/samples.h"

namespace gema::bench {

struct Plan {
  uint32_t devices = 5'788;
  uint32_t long_devices = 12;  // have `long_days` of history, the others a day
  int long_days = 90;
  int64_t end_ms = 0;  // "now": the newest slot is before it
  int64_t rows_ms = 86'400'000;

  int64_t begin_ms() const { return end_ms - rows_ms; }  // of what the row table has
  // Where the history of all devices begins: the hour before.
  int64_t day_begin_ms() const { return begin_ms() / 3'600'000 * 3'600'000; }
  int64_t long_begin_ms() const;
  // Evenly among all, so that partitions are used alike.
  std::vector<DeviceId> long_ids() const;
};

class History {
 public:
  History(const postgres::Options& options, const Samples& samples, const Plan& plan);

  // Runs on the calling thread and one more. Returns how many samples were recorded.
  uint64_t fill();

 private:
  struct Member {
    DeviceId id;
    int64_t phase_ms;
  };
  using Members = std::array<std::vector<Member>, kPartitions>;

  static Members members(const std::vector<DeviceId>& ids);
  // Commits the slots in [from_ms, to_ms), records of `record_ms` each.
  void commit(recorder::Store& store, const Members& who, int64_t from_ms, int64_t to_ms,
              int64_t record_ms);
  void chunk(recorder::Store& store, int64_t now_ms);
  void fill_long(recorder::Store& store);
  void compact_until(int64_t now_ms);
  void run_compactor();

  const postgres::Options options_;
  const Samples& samples_;
  const Plan plan_;
  recorder::Loaded known_;
  int64_t token_ = 0;
  std::array<uint64_t, kPartitions> seq_{};
  uint64_t recorded_ = 0;

  // The compactor's clock: it does what is due then, and waits for a later one.
  std::mutex mutex_;
  std::condition_variable moved_;
  int64_t compact_now_ms_ = 0;
  bool compact_end_ = false;
};

// The row table: one row per check, in the order in which they came, its key
// (device_id, at) built at the end, so as small as it can be. Returns how many rows.
uint64_t fill_rows(const postgres::Options& options, const Samples& samples, const Plan& plan);

}  // namespace gema::bench
