// The call "history.cleanup", to bytes and back.
//
// Decoding never trusts its input: it fails with kBadInput, naming the rule.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/domain/cleanup.h"

namespace gema {

std::string encode_cleanup_order(const CleanupOrder& order);
Result<CleanupOrder> decode_cleanup_order(std::string_view bytes);

std::string encode_cleanup_report(const CleanupReport& report);
Result<CleanupReport> decode_cleanup_report(std::string_view bytes);

}  // namespace gema
