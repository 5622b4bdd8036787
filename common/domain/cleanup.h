// What is asked of and told about a cleanup of history on demand, as values;
// common/codec/cleanup_codec.h turns them into messages.
#pragma once

#include <cstdint>
#include <string>

namespace gema {

struct CleanupOrder {
  uint32_t older_than_days = 0;
  bool dry_run = false;
  std::string actor;

  friend bool operator==(const CleanupOrder&, const CleanupOrder&) = default;
};
inline constexpr uint32_t kCleanupDaysMax = 36'500;

struct CleanupReport {
  uint32_t leaves = 0;  // partitions dropped, or that would be
  uint64_t bytes = 0;
  int64_t before_ms = 0;  // results before this instant are concerned

  friend bool operator==(const CleanupReport&, const CleanupReport&) = default;
};

}  // namespace gema
