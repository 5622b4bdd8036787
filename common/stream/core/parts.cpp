#include "common/stream/core/parts.h"

#include <xxhash.h>

#include "common/base/assert.h"
#include "common/stream/core/limits.h"

namespace gema::stream {

uint64_t digest_of(std::string_view whole) {
  return XXH64(whole.data(), whole.size(), 0);
}

std::vector<PartView> split(std::string_view whole, uint64_t id) {
  GEMA_ASSERT(!whole.empty() && whole.size() <= kThingBytesMax);
  auto count = static_cast<uint32_t>((whole.size() + kPartBytes - 1) / kPartBytes);
  uint64_t digest = digest_of(whole);
  std::vector<PartView> parts;
  parts.reserve(count);
  for (uint32_t index = 0; index < count; ++index) {
    parts.push_back({PartInfo{id, index, count, digest},
                     whole.substr(uint64_t{index} * kPartBytes, kPartBytes)});
  }
  return parts;
}

bool is_possible(const PartInfo& part) {
  return part.count > 0 && part.count <= kPartsMax && part.index < part.count;
}

}  // namespace gema::stream
