// Wall time as text and back (RFC 3339, always UTC with "Z").
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"

namespace gema {

// "2026-11-20T09:56:01.250000Z": microseconds always printed, so that texts sort as times do.
std::string format_rfc3339(WallTime time);

// Accepts any RFC 3339 date-time with up to nine fraction digits and "Z" or a numeric offset.
// Fails with kBadInput, naming the text, on anything else (including 30 February).
Result<WallTime> parse_rfc3339(std::string_view text);

}  // namespace gema
