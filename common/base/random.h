// A seeded generator, passed in wherever a core needs chance. SplitMix64 (Steele, Lea, Flood 2014):
// 64 bits of state, equal on every machine, so that one seed replays one run exactly.
// Not for secrets: keys, tokens and probe payloads use libsodium's randombytes in io/.
#pragma once

#include <cstdint>

#include "common/base/assert.h"

namespace gema {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound). Requires: bound > 0. The modulo bias is below 2^-32 for bounds below
  // 2^32, which is all that simulations and jitter ask for.
  uint64_t below(uint64_t bound) {
    GEMA_ASSERT(bound > 0);
    return next() % bound;
  }

  // True with probability per_mille / 1000.
  bool chance(uint32_t per_mille) { return below(1000) < per_mille; }

 private:
  uint64_t state_;
};

}  // namespace gema
