// Reads a PingBatch as our encoder writes it, without protobuf: columns packed, fields in order,
// each once. Most batches are of that kind, and reading one is a few times quicker so.
#pragma once

#include <string_view>

#include "common/domain/ping.h"

namespace gema {

// Requires: `results` is clear. Returns: false on anything unusual or wrong; `results` is then in
// any state, and protobuf has to say what the bytes are.
bool decode_plain_ping(std::string_view bytes, PingResults& results);

// Results whose echoes all together exceed this are refused: 256 KiB of payload cannot hold more
// (one byte per echo at least, unless the column is collapsed to one value).
inline constexpr uint64_t kBatchEchoesMax = 1'000'000;

}  // namespace gema
