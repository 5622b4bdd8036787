// Larger things as parts and whole again. A thing's parts are consecutive records; the digest
// (XXH64) covers the whole. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "common/stream/core/types.h"

namespace gema::stream {

struct PartView {
  PartInfo info;
  std::string_view bytes;
};

// Cuts `whole` into parts of at most kPartBytes. `id` tells things apart.
// Requires: 0 < whole.size() <= kThingBytesMax.
std::vector<PartView> split(std::string_view whole, uint64_t id);

// True when `part` can be one of a thing that split() made.
bool is_possible(const PartInfo& part);

uint64_t digest_of(std::string_view whole);

}  // namespace gema::stream
