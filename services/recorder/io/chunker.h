// Turns hot rows into chunks, partition by partition, each once per chunk_every, and keeps house.
// On a worker and a connection of its own, so that recording never waits for it. When the database
// is away it simply tries again: hot rows wait.
#pragma once

#include <array>
#include <string>

#include "common/base/time.h"
#include "common/domain/slot.h"
#include "common/runtime/worker.h"
#include "services/recorder/io/store.h"

namespace gema::recorder {

struct ChunkerOptions {
  postgres::Options postgres;
  Duration chunk_every = 120s;
  Duration housekeep_every = 60s;
  Duration retry_after = 5s;
  RowRetention retention;
};

struct ChunkerCounts {
  uint64_t runs = 0;
  uint64_t failures = 0;
  uint64_t hot_rows = 0;
  uint64_t chunks = 0;
  uint64_t results = 0;
  uint64_t strays = 0;
  uint64_t doubled = 0;
  uint64_t discarded = 0;
  uint64_t undecodable = 0;
  uint64_t refused = 0;
  uint64_t hot_leaves_dropped = 0;
  uint64_t quarantine_trimmed = 0;
  uint64_t address_changes_dropped = 0;
  uint64_t gaps_dropped = 0;
  uint64_t transitions_dropped = 0;
  uint64_t epochs_dropped = 0;
  uint64_t refused_dropped = 0;
  double seconds = 0;       // of all runs
  double last_seconds = 0;  // of the last one
};

class Chunker {
 public:
  Chunker(ChunkerOptions options, Now now);

  MonoTime turn(Now now);
  int fd() const { return worker_.fd(); }
  // Why it cannot do its work just now; "": it can.
  const std::string& waiting_for() const { return waiting_for_; }
  const ChunkerCounts& counts() const { return counts_; }

 private:
  struct Job {
    int partition = 0;  // -1 = housekeeping
    WallTime now{};
  };
  struct Done {
    int partition = 0;
    Result<Chunked> chunked{Chunked{}};
    Result<Housekept> housekept{Housekept{}};
    double seconds = 0;
  };

  Done work(const Job& job);
  void on_done(const Done& done, Now now);
  void failed(const Error& error);

  ChunkerOptions options_;
  std::array<MonoTime, kPartitions> due_{};
  MonoTime housekeep_due_{};
  bool busy_ = false;
  std::string waiting_for_;
  ChunkerCounts counts_;
  Store store_;  // used on the worker's thread only
  runtime::Worker<Job, Done> worker_;
};

}  // namespace gema::recorder
