// Packs the integers of a chunk into a few bytes a sample, without loss: what history keeps for
// good. docs/packed-chunk.md describes the format with a worked example.
//
// Round trip times are noise around a level, so each block of 128 keeps its median and, per sample,
// the distance from it as a Golomb-Rice code: with everything less than half a bit a sample above
// the entropy of Gaussian noise. Codes (losses, slots not measured) are runs. A
// stretch of one value, or of one code, costs nothing per sample.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace gema {

// Numbers in one packed chunk; more is refused. An hour of the fastest check (10 ms) is 360,000.
inline constexpr size_t kPackedNumbersMax = 1'000'000;

// The arrays of common/domain/chunk.h: `echoes` samples a slot, and entries that some slots need.
struct ChunkArrays {
  uint32_t echoes = 1;
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;

  friend bool operator==(const ChunkArrays&, const ChunkArrays&) = default;
};

// Any numbers may stand in the arrays: unpack_chunk(pack_chunk(x)) = x. Requires: echoes > 0, the
// samples are whole slots, and neither array exceeds kPackedNumbersMax.
std::string pack_chunk(uint32_t echoes, std::span<const int32_t> samples,
                       std::span<const int32_t> extra);

// Reads every version ever written into `out` (replaced; its memory is kept). Fails with kBadInput
// on anything else: another version, bytes cut short or left over, a wrong checksum. Never
// allocates more than kPackedNumbersMax numbers. `out` is empty after a failure.
Result<void> unpack_chunk(std::string_view bytes, ChunkArrays& out);

}  // namespace gema
