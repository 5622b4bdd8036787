#include "services/prober/io/on_demand.h"

#include <fmt/format.h>

#include "common/codec/on_demand_codec.h"
#include "common/domain/address_policy.h"

namespace gema::prober {
namespace {

IpAddress to_ip(const Address& address) {
  return {.bytes = address.bytes, .family = address.family};
}

}  // namespace

OnDemand::OnDemand(bus::BusClient& client, std::string name, std::string location, Engine& engine)
    : name_(std::move(name)),
      location_(std::move(location)),
      engine_(engine),
      calls_(client, name_) {
  serve();
}

OnDemand::OnDemand(bus::CallTransport transport, std::string name, std::string location,
                   Engine& engine)
    : name_(std::move(name)),
      location_(std::move(location)),
      engine_(engine),
      calls_(std::move(transport), name_) {
  serve();
}

void OnDemand::serve() {
  calls_.handle("ping", [this](const std::string& body, const bus::Responder& responder) {
    take(body, responder);
  });
}

bool OnDemand::on_message(std::string_view topic, std::string_view payload, Now now) {
  now_ = now;
  return calls_.on_message(topic, payload, now);
}

// The device's as this prober knows it: by name it is resolved only where it is checked.
Result<Address> OnDemand::address_of(const PingOrder& order) const {
  const Address own = order.device == 0 ? Address{} : engine_.address_of(order.device);
  if (!order.address.known()) {
    if (own.known()) return own;
    return Error{
        Errc::kRetryable,
        fmt::format("device {} is not checked here, or its name does not resolve", order.device)};
  }
  const AddressVerdict verdict = never_pinged(order.address);
  if (verdict != AddressVerdict::kAllowed) {
    return Error{Errc::kPermanent,
                 fmt::format("{} is not pinged: {}", to_text(order.address), to_string(verdict))};
  }
  if (to_ip(own) == order.address) return own;
  if (is_loopback(order.address)) {
    return Error{order.device == 0 ? Errc::kPermanent : Errc::kRetryable,
                 fmt::format("{} is not pinged: {}", to_text(order.address),
                             to_string(AddressVerdict::kLoopback))};
  }
  return Address{.bytes = order.address.bytes, .family = order.address.family};
}

void OnDemand::take(const std::string& body, const bus::Responder& responder) {
  const auto order = decode_ping_order(body);
  const auto address = order ? address_of(*order) : Result<Address>(order.error());
  if (!address) {
    ++stats_.refused;
    responder.fail(address.error());
    return;
  }
  const uint64_t id = next_id_++;
  const bool begun =
      open_.size() < kOnDemandMax && engine_.probe({.id = id,
                                                    .address = *address,
                                                    .count = static_cast<uint8_t>(order->count),
                                                    .timeout_ms = order->timeout_ms,
                                                    .spacing_ms = order->spacing_ms},
                                                   now_.mono);
  if (!begun) {
    ++stats_.too_many;
    responder.fail({Errc::kUnavailable, "too many pings are under way"});
    return;
  }
  open_.emplace(id, Open{{.prober = name_,
                          .location = location_,
                          .address = to_ip(*address),
                          .started_at = now_.wall},
                         responder});
}

void OnDemand::answer() {
  if (!engine_.has_probes()) return;
  engine_.take_probes([this](const ProbeOutcome& outcome) {
    const auto at = open_.find(outcome.id);
    if (at == open_.end()) return;
    PingReport& report = at->second.report;
    report.outcome = outcome.outcomes;
    report.rtt_us = outcome.rtt_us;
    report.notes = outcome.notes;
    at->second.responder.reply(encode_ping_report(report));
    ++stats_.answered;
    open_.erase(at);
  });
}

}  // namespace gema::prober
