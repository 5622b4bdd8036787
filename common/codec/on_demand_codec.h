// Pings on demand, and pause and resume, to bytes and back: the bodies of those calls.
//
// Decoding never trusts its input: it fails with kBadInput, naming the rule.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/domain/on_demand.h"

namespace gema {

namespace v1 {
class ProbingState;
}

std::string encode_ping_order(const PingOrder& order);
// Checks the bounds of domain/on_demand.h too, and that address or device is there.
Result<PingOrder> decode_ping_order(std::string_view bytes);

std::string encode_ping_report(const PingReport& report);
Result<PingReport> decode_ping_report(std::string_view bytes);

std::string encode_probing_change(const ProbingChange& change);
Result<ProbingChange> decode_probing_change(std::string_view bytes);

void to_proto(const Probing& probing, v1::ProbingState& message);
Probing from_proto(const v1::ProbingState& message);
std::string encode_probing(const Probing& probing);
Result<Probing> decode_probing(std::string_view bytes);

}  // namespace gema
