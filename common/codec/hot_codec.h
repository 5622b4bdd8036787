// The records of one hot row of history: who sent each, and its payload as it came. Written by the
// recorder, read by common/history. Little-endian:
//   u8 format (1), then per record: u8 length, producer; u64 epoch; u64 seq; i64 produced_at_us;
//   u32 length, payload
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace gema {

struct HotRecord {
  std::string_view producer;  // at most 255 bytes
  uint64_t epoch = 0;
  uint64_t seq = 0;
  int64_t produced_at_us = 0;
  std::string_view payload;
};

// `row` empty: begins it.
void append_hot(const HotRecord& record, std::string& row);

// Calls `each` for every record, in order. Fails with kBadInput where the bytes break the format,
// or a producer's name is none: bits have flipped, and what follows cannot be believed.
Result<void> read_hot(std::string_view row, const std::function<void(const HotRecord&)>& each);

}  // namespace gema
