// What this prober is to check: takes the parts that inventory publishes, keeps the last assignment
// on disk, and applies it to the engine. A lower version than the one held is refused. One thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/codec/device_codec.h"
#include "services/prober/core/catch_up.h"
#include "services/prober/core/engine.h"
#include "services/prober/io/proof.h"
#include "services/prober/io/resolver.h"
#include "services/prober/io/state_files.h"

namespace gema::prober {

class Assignments {
 public:
  Assignments(std::string prober, std::filesystem::path path, Engine& engine, Resolver& resolver,
              Proofs& proofs);

  // Applies what the last run kept. Returns its schedules, in order of device, for the catch-up. A
  // damaged file is reported in the error, and is as if there were none.
  Result<std::vector<KeptSchedule>> restore();
  // A message on assign/<prober>/. Returns true when an assignment took effect.
  Result<bool> on_part(std::string_view part);

  Version version() const { return version_; }
  bool any() const { return version_ != Version{}; }
  uint64_t refused_devices() const { return refused_; }

 private:
  struct Prepared {
    std::vector<Target> targets;
    std::vector<Resolver::Named> names;
  };
  Prepared prepare(Assignment& assignment);
  void apply(Assignment& assignment);
  Result<void> keep(Assignment assignment);

  const std::string prober_;
  const std::filesystem::path path_;
  Engine& engine_;
  Resolver& resolver_;
  Proofs& proofs_;
  SnapshotAssembler assembler_;
  Version version_;
  uint64_t refused_ = 0;  // devices of the assignment in force that are beyond our limits
};

}  // namespace gema::prober
