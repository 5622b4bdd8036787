// What the query parameters of the history routes mean: windows, points, percentiles, devices. Each
// refusal names parameter, value and rule. Pure: `now` is passed in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/slot.h"

namespace gema::gateway {

// Instants outside are no times of measurements but mistakes (seconds for milliseconds, say).
inline constexpr int64_t kInstantMinMs = 946'684'800'000;    // 2000-01-01
inline constexpr int64_t kInstantMaxMs = 4'102'444'800'000;  // 2100-01-01

// Unix milliseconds, or an RFC 3339 time (rounded down to a millisecond; a "+" that a client left
// unescaped and that came as a blank is one all the same). `text` null: `absent`.
Result<int64_t> instant_param(std::string_view name, const std::string* text, int64_t absent);

// [from_ms, to_ms)
struct Window {
  int64_t from_ms = 0;
  int64_t to_ms = 0;

  friend bool operator==(const Window&, const Window&) = default;
};

struct WindowTexts {
  const std::string* from = nullptr;
  const std::string* to = nullptr;
  const std::string* hours = nullptr;
};

struct WindowRules {
  int64_t to_absent_ms = 0;  // the end when none is named
  int64_t hours_absent = 24;
  int64_t hours_max = 0;
};

// from and to, or hours before to; from and hours together are refused, as is a window that ends
// before or when it begins.
Result<Window> window_params(const WindowTexts& texts, const WindowRules& rules);

// "50,95,99.9": percentages from 0 to 100, each as written (its label) and as a fraction. Rising,
// none twice. "smoke": those of `smoke`, which are fractions.
struct Percentile {
  std::string label;  // "99.9"
  double fraction = 0;

  friend bool operator==(const Percentile&, const Percentile&) = default;
};
Result<std::vector<Percentile>> percentiles_param(std::string_view name, const std::string* text,
                                                  std::string_view absent,
                                                  const std::vector<double>& smoke);

// "1,2,3": ids by rising number, none twice, at most `most`. `text` null: none.
Result<std::vector<DeviceId>> devices_param(std::string_view name, const std::string* text,
                                            size_t most);

// "1"/"true", "0"/"false".
Result<bool> flag_param(std::string_view name, const std::string* text, bool absent);

// One of `choices`; `absent` when there is none.
Result<size_t> choice_param(std::string_view name, const std::string* text, size_t absent,
                            const std::vector<std::string_view>& choices);

}  // namespace gema::gateway
