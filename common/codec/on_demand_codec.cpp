#include "common/codec/on_demand_codec.h"

#include "common/codec/echo_notes.h"
#include "common/codec/message.h"
#include "gema/v1/call.pb.h"
#include "gema/v1/inventory.pb.h"

namespace gema {
namespace {

WallTime time_of(int64_t us) {
  return is_time_of_ours(us) ? wall_from_us(us) : WallTime{};
}

}  // namespace

std::string encode_ping_order(const PingOrder& order) {
  v1::PingRequest message;
  message.set_address(std::string(bytes_of(order.address)));
  message.set_device(order.device);
  message.set_count(order.count);
  message.set_timeout_ms(order.timeout_ms);
  message.set_spacing_ms(order.spacing_ms);
  return message.SerializeAsString();
}

Result<PingOrder> decode_ping_order(std::string_view bytes) {
  v1::PingRequest message;
  if (!parse(bytes, message)) return bad_message("ping", "bytes are no PingRequest");
  const auto address = ip_from_bytes(message.address());
  if (!address) return bad_message("ping", "address must have 4 or 16 bytes");
  PingOrder order{.address = *address,
                  .device = message.device(),
                  .count = message.count(),
                  .timeout_ms = message.timeout_ms(),
                  .spacing_ms = message.spacing_ms()};
  if (!order.address.known() && order.device == 0)
    return bad_message("ping", "names nobody to ping");
  if (const auto rule = broken_rule(order)) return bad_message("ping", *rule);
  return order;
}

std::string encode_ping_report(const PingReport& report) {
  v1::PingReply message;
  message.set_prober(report.prober);
  message.set_location(report.location);
  message.set_address(std::string(bytes_of(report.address)));
  message.set_started_at_us(unix_us(report.started_at));
  for (const EchoOutcome outcome : report.outcome) {
    message.add_outcome(static_cast<uint32_t>(outcome));
  }
  message.mutable_rtt_us()->Add(report.rtt_us.begin(), report.rtt_us.end());
  write_echo_notes(report.notes, message);
  return message.SerializeAsString();
}

Result<PingReport> decode_ping_report(std::string_view bytes) {
  v1::PingReply message;
  if (!parse(bytes, message)) return bad_message("ping reply", "bytes are no PingReply");
  const auto address = ip_from_bytes(message.address());
  if (!address || !address->known()) return bad_message("ping reply", "has no address");
  if (message.outcome_size() == 0 || message.outcome_size() > static_cast<int>(kPingCountMax) ||
      message.rtt_us_size() != message.outcome_size()) {
    return bad_message("ping reply", "outcomes and round trips are not one per echo");
  }
  PingReport report{.prober = message.prober(),
                    .location = message.location(),
                    .address = *address,
                    .started_at = time_of(message.started_at_us())};
  for (const uint32_t outcome : message.outcome()) {
    if (!is_echo_outcome(outcome)) return bad_message("ping reply", "outcome out of range");
    report.outcome.push_back(static_cast<EchoOutcome>(outcome));
  }
  report.rtt_us.assign(message.rtt_us().begin(), message.rtt_us().end());
  if (const char* rule = read_echo_notes(message, 1, report.notes))
    return bad_message("ping reply", rule);
  return report;
}

std::string encode_probing_change(const ProbingChange& change) {
  v1::ProbingChange message;
  message.set_by(change.by);
  message.set_reason(change.reason);
  message.set_actor(change.actor);
  return message.SerializeAsString();
}

Result<ProbingChange> decode_probing_change(std::string_view bytes) {
  v1::ProbingChange message;
  if (!parse(bytes, message)) return bad_message("probing change", "bytes are no ProbingChange");
  return ProbingChange{.by = message.by(), .reason = message.reason(), .actor = message.actor()};
}

void to_proto(const Probing& probing, v1::ProbingState& message) {
  message.set_paused(probing.paused);
  message.set_by(probing.by);
  message.set_reason(probing.reason);
  message.set_since_us(unix_us(probing.since));
}

Probing from_proto(const v1::ProbingState& message) {
  return {.paused = message.paused(),
          .by = message.by(),
          .reason = message.reason(),
          .since = time_of(message.since_us())};
}

std::string encode_probing(const Probing& probing) {
  v1::ProbingState message;
  to_proto(probing, message);
  return message.SerializeAsString();
}

Result<Probing> decode_probing(std::string_view bytes) {
  v1::ProbingState message;
  if (!parse(bytes, message)) return bad_message("probing", "bytes are no ProbingState");
  return from_proto(message);
}

}  // namespace gema
