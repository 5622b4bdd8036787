// PingResults to the bytes of a PingBatch and back.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/domain/ping.h"

namespace gema {

// Replaces `out` by the serialised batch. Keeps its memory; allocates nothing once warm beyond what
// protobuf keeps in a thread-local message. Requires: !results.empty().
void encode_ping(const PingResults& results, std::string& out);

// Reads a batch into `results` (cleared first). Fails with kBadInput, naming the rule, on bytes
// that are no PingBatch, columns whose lengths disagree, or enumerators out of range; `results` is
// then empty. It never reads beyond `bytes` and never allocates more than a small multiple of them.
Result<void> decode_ping(std::string_view bytes, PingResults& results);

// False: the batch holds nothing of the device (nor answers that came late). True: it does, or may;
// decode it. Costs a fraction of that.
bool may_hold(std::string_view bytes, DeviceId device);

// The same by protobuf alone: what decode_ping() does with bytes that our encoder did not write.
// The two differ in speed only.
Result<void> decode_any_ping(std::string_view bytes, PingResults& results);

}  // namespace gema
