// What codecs of protobuf messages have in common: reading them, ranges of fields, and saying which
// rule a message breaks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/domain/ping.h"
#include "proto/parse.h"

namespace gema {

inline Error bad_message(std::string_view what, std::string_view rule) {
  return Error{Errc::kBadInput, std::string(what).append(": ").append(rule)};
}

// A due time whose sums cannot overflow: years 1678 to 2261.
constexpr bool is_due(int64_t due_ms) {
  constexpr int64_t kDueMax = 9'200'000'000'000;
  return due_ms >= -kDueMax && due_ms <= kDueMax;
}

// Nanoseconds in 64 bits end in the year 2262; what is beyond the year 2200 is no time of ours.
constexpr bool is_time_of_ours(int64_t us) {
  constexpr int64_t kMost = 7'258'118'400'000'000;
  return us >= 0 && us <= kMost;
}

constexpr bool is_verdict(uint32_t number) {
  return number <= static_cast<uint32_t>(Verdict::kNotMeasured);
}

constexpr bool is_reason(uint32_t number) {
  return number <= static_cast<uint32_t>(Reason::kTimeExceeded) ||
         (number >= static_cast<uint32_t>(Reason::kNotRunning) &&
          number <= static_cast<uint32_t>(kReasonMax));
}

}  // namespace gema
