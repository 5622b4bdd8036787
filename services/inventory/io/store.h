// The inventory in PostgreSQL (migrations/0001_inventory.sql): read whole, written by plans.
//
// All calls block; they belong to inventory's worker thread, one at a time. After an error of kind
// kUnavailable the next call opens a new connection.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/postgres/connection.h"
#include "services/inventory/core/inventory.h"
#include "services/inventory/core/probing.h"

namespace gema::inventory {

struct ProberRow {
  std::string name;
  std::string location;
};

class Store {
 public:
  explicit Store(postgres::Options options) : options_(std::move(options)) {}

  // What load() compares the database with.
  struct Known {
    std::optional<Version> ours;    // what this run already published from this database
    uint64_t generation_above = 0;  // the highest generation on disk and in heartbeats
    DeviceId next_id = 1;           // from disk
  };

  // Applies missing migrations and reads everything. At the first load of a run (no `ours`), when
  // the database is older than `ours`, or when it is not above every known generation, a new
  // generation begins (in the same transaction). Fails with kPermanent on a newer schema.
  Result<Inventory> load(const Known& known);

  // Writes a plan, its audit and its schedules in one transaction. `before` is the version the plan
  // was made from; somebody else's change in between is kRetryable, and nothing is written.
  // kTimeout: in doubt; load() tells.
  Result<void> write(const Plan& plan, Version before, Version after, const std::string& actor,
                     WallTime now);

  Result<void> write_probers(const std::vector<ProberRow>& probers, WallTime now);

  // Who paused and resumed, for the audit; device 0. A row that is there already is not written
  // again, so that repeating an attempt in doubt is harmless.
  Result<void> write_probing(const std::vector<ProbingEvent>& events);

  // Is the connection still good?
  Result<void> ping();

 private:
  Result<void> connect();

  postgres::Options options_;
  std::unique_ptr<postgres::Connection> connection_;
};

}  // namespace gema::inventory
