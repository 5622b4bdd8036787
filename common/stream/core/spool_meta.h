// The small file beside the segments: how the spool was left, and what segments alone cannot tell.
// Pure bytes; written whole each time, with a checksum. Lost or damaged, the spool is treated as
// not cleanly stopped, which costs a new epoch and nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/stream/core/segment.h"
#include "common/stream/core/types.h"

namespace gema::stream {

struct EpochMeta {
  uint64_t epoch = 0;
  uint64_t predecessor = 0;
  EpochReason reason = EpochReason::kUnspecified;
  PerPartition last{};
  PerPartition dropped_through{};
  std::vector<GroupStart> starts;

  friend bool operator==(const EpochMeta&, const EpochMeta&) = default;
};

struct SpoolMeta {
  bool clean = false;   // stopped with everything on disk
  std::string boot_id;  // of the machine, when written
  std::vector<std::string> groups;
  std::vector<EpochMeta> epochs;  // oldest first

  friend bool operator==(const SpoolMeta&, const SpoolMeta&) = default;
};

std::string encode_meta(const SpoolMeta& meta);
// nullopt for anything that encode_meta cannot have made.
std::optional<SpoolMeta> decode_meta(std::string_view bytes);

}  // namespace gema::stream
