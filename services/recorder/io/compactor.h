// Runs the CompactStore: hour after hour into packed rows and rollups, and keeps its house. On a
// worker and a connection of its own, at a lower priority, and at most half of the time unless it
// has fallen behind; so that neither recording nor transposing waits for it. When the database is
// away it simply tries again.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/base/time.h"
#include "common/runtime/worker.h"
#include "services/recorder/io/compact_store.h"

namespace gema::recorder {

struct CompactorOptions {
  CompactOptions store;
  Duration look_every = 10s;  // for hours that are due
  Duration housekeep_every = 60s;
  Duration retry_after = 5s;
};

struct CompactorCounts {
  Compacted done;  // of all runs
  CompactHousekept housekept;
  CompactStatus status;  // as last seen
  uint64_t failures = 0;
  double seconds = 0;  // of all runs
};

class Compactor {
 public:
  Compactor(CompactorOptions options, Now now);

  MonoTime turn(Now now);

  // Drops old history. `done` is called from turn(). One at a time: a further one fails at once
  // with kUnavailable.
  using CleanupDone = std::function<void(const Result<CleanupReport>&)>;
  void clean_up(const CleanupOrder& order, CleanupDone done);

  int fd() const { return worker_.fd(); }
  // Why it cannot do its work just now; "": it can.
  const std::string& waiting_for() const { return waiting_for_; }
  const CompactorCounts& counts() const { return counts_; }

 private:
  struct Job {
    bool housekeep = false;
    WallTime now{};
    std::optional<CleanupOrder> cleanup{};
  };
  struct Done {
    bool housekeep = false;
    Result<Compacted> compacted{Compacted{}};
    Result<CompactHousekept> housekept{CompactHousekept{}};
    Result<CompactStatus> status{CompactStatus{}};
    std::optional<Result<CleanupReport>> cleaned{};
    double seconds = 0;
  };

  Done work(const Job& job);
  void on_done(const Done& done, Now now);
  void failed(const Error& error);

  CompactorOptions options_;
  MonoTime due_{};
  MonoTime housekeep_due_{};
  bool busy_ = false;
  std::optional<CleanupOrder> cleanup_;  // asked for, not begun
  CleanupDone cleanup_done_;             // set: one is asked for or under way
  std::string waiting_for_;
  CompactorCounts counts_;
  CompactStore store_;  // used on the worker's thread only
  runtime::Worker<Job, Done> worker_;
};

}  // namespace gema::recorder
