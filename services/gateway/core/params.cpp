#include "services/gateway/core/params.h"

#include <algorithm>
#include <charconv>

namespace gema::gateway {

std::optional<int64_t> parse_integer(std::string_view text) {
  while (!text.empty() && text.front() == ' ') {
    text.remove_prefix(1);
  }
  while (!text.empty() && text.back() == ' ') {
    text.remove_suffix(1);
  }
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
    text.remove_prefix(1);
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

size_t rows_for_limit(const std::string* limit, int64_t absent, int64_t most, size_t total) {
  const auto parsed = limit == nullptr ? std::nullopt : parse_integer(*limit);
  const int64_t wanted = std::min(parsed.value_or(absent), most);
  if (wanted == 0) {
    return total;
  }
  if (wanted > 0) {
    return std::min(static_cast<size_t>(wanted), total);
  }
  // rows[:-n]; the magnitude of the least integer does not fit, so it is compared negatively.
  const auto rows = static_cast<int64_t>(total);
  return wanted <= -rows ? 0 : static_cast<size_t>(rows + wanted);
}

Result<int64_t> integer_param(std::string_view name, const std::string* text, int64_t absent,
                              int64_t least, int64_t most) {
  if (text == nullptr) {
    return absent;
  }
  const auto value = parse_integer(*text);
  if (!value || *value < least || *value > most) {
    return Error{Errc::kBadInput, std::string(name) + " = \"" + text->substr(0, 64) +
                                      "\": must be an integer from " + std::to_string(least) +
                                      " to " + std::to_string(most)};
  }
  return *value;
}

std::optional<uint64_t> parse_device_id(std::string_view text) {
  if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != text.npos) {
    return std::nullopt;
  }
  const auto value = parse_integer(text);
  if (!value || *value == 0) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(*value);
}

}  // namespace gema::gateway
