#include "services/gateway/core/history_params.h"

#include <algorithm>
#include <charconv>

#include "common/base/rfc3339.h"
#include "common/base/time.h"
#include "services/gateway/core/limits.h"
#include "services/gateway/core/params.h"

namespace gema::gateway {
namespace {

constexpr int64_t kHourMs = 3'600'000;

Error refused(std::string_view name, std::string_view value, std::string_view rule) {
  return Error{Errc::kBadInput, std::string(name) + " = \"" + std::string(value.substr(0, 64)) +
                                    "\": " + std::string(rule)};
}

std::optional<int64_t> parse_instant(const std::string& text) {
  if (text.find_first_of("-:T", 1) == std::string::npos) {
    return parse_integer(text);
  }
  std::string repaired = text;
  // "...T10:00:00 07:00" was "...T10:00:00+07:00" before it became a query.
  if (const size_t blank = repaired.rfind(' '); blank != std::string::npos && blank >= 19) {
    repaired[blank] = '+';
  }
  const auto time = parse_rfc3339(repaired);
  if (!time) {
    return std::nullopt;
  }
  return unix_ms(*time);
}

// What stands between commas; of an empty text one empty item.
std::vector<std::string_view> items_of(std::string_view list) {
  std::vector<std::string_view> out;
  for (size_t begin = 0;;) {
    const size_t comma = list.find(',', begin);
    out.push_back(list.substr(begin, comma - begin));
    if (comma == std::string_view::npos) {
      return out;
    }
    begin = comma + 1;
  }
}

// Digits, perhaps a point and digits: "99.9", "50", "0.5".
std::optional<double> parse_percentage(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view part =
      point == std::string_view::npos ? std::string_view("0") : text.substr(point + 1);
  const auto digits = [](std::string_view s, size_t most) {
    return !s.empty() && s.size() <= most && s.find_first_not_of("0123456789") == s.npos;
  };
  if (!digits(whole, 3) || !digits(part, 6)) {
    return std::nullopt;
  }
  const std::string copy(text);
  double value = 0;
  std::from_chars(copy.data(), copy.data() + copy.size(), value);
  return value <= 100 ? std::optional<double>(value) : std::nullopt;
}

std::string label_of(double fraction) {
  // Fractions of a list of our own: at most a few decimals.
  char text[32];
  const double percent = static_cast<double>(static_cast<int64_t>(fraction * 1e6 + 0.5)) / 1e4;
  const auto [end, error] = std::to_chars(text, text + sizeof(text), percent);
  return error == std::errc() ? std::string(text, end) : std::string();
}

}  // namespace

Result<int64_t> instant_param(std::string_view name, const std::string* text, int64_t absent) {
  if (text == nullptr) {
    return absent;
  }
  const auto instant = parse_instant(*text);
  if (!instant) {
    return refused(name, *text,
                   "must be an RFC 3339 time (2026-11-20T09:00:00Z) or Unix milliseconds, of the "
                   "years 2000 to 2099");
  }
  if (*instant < kInstantMinMs || *instant >= kInstantMaxMs) {
    return refused(name, *text, "must lie in the years 2000 to 2099 (Unix milliseconds)");
  }
  return *instant;
}

Result<Window> window_params(const WindowTexts& texts, const WindowRules& rules) {
  const auto to = instant_param("to", texts.to, rules.to_absent_ms);
  if (!to) {
    return to.error();
  }
  if (texts.from != nullptr && texts.hours != nullptr) {
    return refused("hours", *texts.hours, "give hours or from, not both");
  }
  const auto hours = integer_param("hours", texts.hours, rules.hours_absent, 1, rules.hours_max);
  if (!hours) {
    return hours.error();
  }
  const auto from = instant_param("from", texts.from, *to - *hours * kHourMs);
  if (!from) {
    return from.error();
  }
  if (*from >= *to) {
    const std::string end =
        texts.to == nullptr ? "now" : "to = \"" + texts.to->substr(0, 64) + "\"";
    return refused("from", *texts.from, "must be before " + end);
  }
  return Window{*from, *to};
}

Result<std::vector<Percentile>> percentiles_param(std::string_view name, const std::string* text,
                                                  std::string_view absent,
                                                  const std::vector<double>& smoke) {
  std::vector<Percentile> out;
  const std::string_view list = text == nullptr ? absent : std::string_view(*text);
  if (list == "smoke") {
    for (const double fraction : smoke) {
      out.push_back({label_of(fraction), fraction});
    }
    return out;
  }
  if (text != nullptr && list.empty()) {
    return out;  // none
  }
  const std::string rule =
      "must be \"smoke\" or at most " + std::to_string(kPercentilesMax) +
      " rising percentages from 0 to 100, with commas between them (50,95,99.9)";
  for (const std::string_view item : items_of(list)) {
    const auto percentage = parse_percentage(item);
    if (!percentage || out.size() == kPercentilesMax ||
        (!out.empty() && out.back().fraction * 100 >= *percentage)) {
      return refused(name, text == nullptr ? absent : *text, rule);
    }
    out.push_back({std::string(item), *percentage / 100});
  }
  return out;
}

Result<std::vector<DeviceId>> devices_param(std::string_view name, const std::string* text,
                                            size_t most) {
  std::vector<DeviceId> out;
  if (text == nullptr) {
    return out;
  }
  for (const std::string_view item : items_of(*text)) {
    const auto id = parse_device_id(item);
    if (!id || out.size() == most) {
      return refused(name, *text,
                     "must be at most " + std::to_string(most) +
                         " device ids (whole numbers from 1), with commas between them");
    }
    out.push_back(*id);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<bool> flag_param(std::string_view name, const std::string* text, bool absent) {
  if (text == nullptr) {
    return absent;
  }
  if (*text == "1" || *text == "true") {
    return true;
  }
  if (*text == "0" || *text == "false") {
    return false;
  }
  return refused(name, *text, "must be 1, true, 0 or false");
}

Result<size_t> choice_param(std::string_view name, const std::string* text, size_t absent,
                            const std::vector<std::string_view>& choices) {
  if (text == nullptr) {
    return absent;
  }
  std::string rule = "must be one of";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (*text == choices[i]) {
      return i;
    }
    rule += (i == 0 ? " " : ", ") + std::string(choices[i]);
  }
  return refused(name, *text, rule);
}

}  // namespace gema::gateway
