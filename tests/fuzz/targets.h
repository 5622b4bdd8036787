// Every target; targets.cpp lists them by name.
#pragma once

#include "tests/fuzz/fuzz.h"

namespace gema::fuzz {

// First byte: bit 0 with IP header, bit 1 the whole identifier is ours; then the packet.
void packet_v4(Bytes bytes);
void packet_v6(Bytes bytes);
void packet_quoted(Bytes bytes);  // bit 2: IPv6

void ping_batch(Bytes bytes);
void hot_row(Bytes bytes);
// Echoes, number of samples (u16), of extra (u16), then both as i32, then details; little-endian.
void chunk(Bytes bytes);
void packed_chunk(Bytes bytes);
// Without the checksum at their end, which the target makes: so what comes behind it is reached.
void sealed_chunk(Bytes bytes);
void rollup_row(Bytes bytes);
// First byte: which of the messages of common/codec/cleanup_codec.h and csv_codec.h.
void history_call(Bytes bytes);
// First byte: which of the messages of common/codec/device_codec.h.
void device_message(Bytes bytes);
void devices_csv(Bytes bytes);
// What is expected, NUL, Location, NUL, body.
void web_reply(Bytes bytes);

}  // namespace gema::fuzz
