// What query parameters mean: the source system's lenient rules for its own routes, strict ones
// with a sentence for everything else. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace gema::gateway {

// A decimal integer with optional sign and nothing else around it but blanks (what Python's int()
// takes, without its underscores).
std::optional<int64_t> parse_integer(std::string_view text);

// How many of `total` rows, from the first, `limit` asks for, as the source system reads it: no
// integer = `absent`; at most `most`; 0 = all; negative = all but the last n.
size_t rows_for_limit(const std::string* limit, int64_t absent, int64_t most, size_t total);

// The parameter, or `absent`; an error that names parameter, value and rule when it is no integer
// of [least, most].
Result<int64_t> integer_param(std::string_view name, const std::string* text, int64_t absent,
                              int64_t least, int64_t most);

// A device id: 1 .. 2^63 - 1 in digits; nullopt for anything else.
std::optional<uint64_t> parse_device_id(std::string_view text);

}  // namespace gema::gateway
