// How the measurement speaks: metrics on stdout, one JSON object a line; everything else on stderr.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "common/base/result.h"

namespace gema::bench {

void note(const std::string& text);
[[noreturn]] void fail(const std::string& why);
// Says how far it has come, at most every five seconds. Thread-safe.
void progress(const std::string& what, int64_t done, int64_t of);
void say(const std::string& metric, double value, std::optional<double> reference = {});

template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().message);
  return std::move(*result);
}
inline void must(const Result<void>& result) {
  if (!result) fail(result.error().message);
}

}  // namespace gema::bench
