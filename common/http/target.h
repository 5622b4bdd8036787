// Takes a request target ("/api/x%20y?limit=5") apart. Values in, values out.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"

namespace gema::http {

struct Target {
  std::vector<std::string> segments;
  std::vector<std::pair<std::string, std::string>> query;

  friend bool operator==(const Target&, const Target&) = default;
};

// Bounds of a target; beyond them it is refused (kBadInput), never cut.
inline constexpr size_t kTargetBytesMax = 8192;
inline constexpr size_t kSegmentsMax = 32;
inline constexpr size_t kQueryPairsMax = 64;

// Splits before it decodes, so that "%2F" stays inside its segment. Empty segments are dropped
// ("//a/" is "/a"). Fails on anything that is no origin-form target: no leading "/", a broken
// percent escape, a NUL or another control character, "." or ".." as a segment.
Result<Target> parse_target(std::string_view target);

}  // namespace gema::http
