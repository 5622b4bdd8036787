// Fuzz targets: what reads bytes that anybody may have sent. A target takes any bytes, and ends the
// process when something does not hold that should. libFuzzer drives them (main.cpp, preset
// `fuzz`); fuzz_corpus_test gives them the kept corpus in every build.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <type_traits>

// Holds in every build, unlike assert().
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

namespace gema::fuzz {

using Bytes = std::span<const uint8_t>;

struct Target {
  const char* name;
  void (*run)(Bytes);
};

std::span<const Target> targets();

// Protocol Buffers would write a line about every text that is no UTF-8.
void keep_protobuf_quiet();

inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The first byte, which chooses among variants of a target, and the rest.
inline uint8_t take_byte(Bytes& bytes) {
  if (bytes.empty()) return 0;
  const uint8_t first = bytes.front();
  bytes = bytes.subspan(1);
  return first;
}

// What is read, written and read again is the same.
template <class Decode, class Encode>
void round_trip(std::string_view bytes, Decode decode, Encode encode) {
  const auto value = decode(bytes);
  if (!value) return;
  const auto same = decode(encode(*value));
  FUZZ_CHECK(same.has_value());
  if constexpr (std::equality_comparable<std::decay_t<decltype(*value)>>) {
    FUZZ_CHECK(*same == *value);
  } else {
    FUZZ_CHECK(encode(*same) == encode(*value));
  }
}

}  // namespace gema::fuzz
