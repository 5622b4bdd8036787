// Exports of history, each on a database connection of its own, so that one never waits for another
// nor charts for any: at most kExportsMax at once. An export holds no snapshot between two pieces:
// a slow client holds nobody up.
//
// Thread-safe; each ExportSource belongs to one thread at a time, and may outlive nothing of this.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/postgres/connection.h"
#include "services/gateway/io/history_reads.h"

namespace gema::gateway {

class Exports {
 public:
  explicit Exports(postgres::Options options) : options_(std::move(options)) {}

  // Devices without an address are looked up among those that were removed; one that was never
  // there is kBadInput. Blocks while it connects.
  Result<std::unique_ptr<ExportSource>> open(history::ExportQuery query);

  struct Stats {
    uint64_t running = 0;
    uint64_t whole = 0;
    uint64_t broken_off = 0;  // the client left, or history failed
    uint64_t refused = 0;     // too many at once
    uint64_t bytes = 0;
    uint64_t unreadable_rows = 0;  // stored rows that did not decode, of exports that are over
  };
  Stats stats() const;

 private:
  class Source;
  const postgres::Options options_;
  std::atomic<uint64_t> running_{0};
  std::atomic<uint64_t> whole_{0};
  std::atomic<uint64_t> broken_off_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> unreadable_rows_{0};
};

}  // namespace gema::gateway
