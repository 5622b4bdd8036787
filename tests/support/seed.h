// The seed of a random test: GEMA_TEST_SEED, so that a run that failed can be had again.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace gema::testing {

inline uint64_t seed_of_run(uint64_t otherwise = 1) {
  const char* text = std::getenv("GEMA_TEST_SEED");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace gema::testing
