// What the prober keeps for its next start: DIR/state/<prober>/assignment.pb and mark.pb. Each is a
// message (proto/gema/v1/prober.proto) and its CRC-32C, replaced by renaming. Written through to
// the kernel, which survives kill -9; a power cut may bring back the one before, or nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/catalogue.h"
#include "services/prober/core/engine.h"

namespace gema::prober {

struct KeptAssignment {
  Assignment assignment;
  std::vector<int64_t> since_ms;  // one per device
  std::vector<Leaving> leaving;
};

struct SpoolMark {
  int64_t done_until_ms = 0;
  std::string position;

  friend bool operator==(const SpoolMark&, const SpoolMark&) = default;
};

// nullopt: no such file. kBadInput: there is one, and it is no such thing.
Result<std::optional<KeptAssignment>> read_assignment(const std::filesystem::path& path);
Result<void> write_assignment(const std::filesystem::path& path, const KeptAssignment& kept);
Result<std::optional<SpoolMark>> read_mark(const std::filesystem::path& path);
Result<void> write_mark(const std::filesystem::path& path, const SpoolMark& mark);

}  // namespace gema::prober
