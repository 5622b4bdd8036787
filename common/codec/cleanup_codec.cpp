#include "common/codec/cleanup_codec.h"

#include <fmt/format.h>

#include "common/codec/message.h"
#include "gema/v1/history.pb.h"

namespace gema {
std::string encode_cleanup_order(const CleanupOrder& order) {
  v1::HistoryCleanupRequest message;
  message.set_older_than_days(order.older_than_days);
  message.set_dry_run(order.dry_run);
  message.set_actor(order.actor);
  return message.SerializeAsString();
}

Result<CleanupOrder> decode_cleanup_order(std::string_view bytes) {
  v1::HistoryCleanupRequest message;
  if (!parse(bytes, message)) {
    return bad_message("history.cleanup", "bytes are no HistoryCleanupRequest");
  }
  const uint32_t days = message.older_than_days();
  if (days < 1 || days > kCleanupDaysMax) {
    return Error{Errc::kBadInput,
                 fmt::format("older_than_days must be from 1 to {}", kCleanupDaysMax)};
  }
  return CleanupOrder{
      .older_than_days = days, .dry_run = message.dry_run(), .actor = message.actor()};
}

std::string encode_cleanup_report(const CleanupReport& report) {
  v1::HistoryCleanupReply message;
  message.set_leaves(report.leaves);
  message.set_bytes(report.bytes);
  message.set_before_ms(report.before_ms);
  return message.SerializeAsString();
}

Result<CleanupReport> decode_cleanup_report(std::string_view bytes) {
  v1::HistoryCleanupReply message;
  if (!parse(bytes, message)) {
    return bad_message("history.cleanup", "bytes are no HistoryCleanupReply");
  }
  return CleanupReport{
      .leaves = message.leaves(), .bytes = message.bytes(), .before_ms = message.before_ms()};
}

}  // namespace gema
