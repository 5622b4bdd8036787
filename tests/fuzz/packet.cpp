// What a socket hands us as ICMP and ICMPv6: replies, errors that quote an echo, the error queue.
#include "services/prober/core/packet.h"

#include "tests/fuzz/targets.h"

namespace gema::fuzz {
namespace {

using prober::Family;
using prober::Packet;
using prober::PacketKind;
using prober::ParseOptions;

constexpr uint16_t kIdentifier = 0x5a30;

ParseOptions options_of(uint8_t choice) {
  return {.identifier = kIdentifier,
          .mask = static_cast<uint16_t>((choice & 2) != 0 ? 0xffff : 0xfff0),
          .with_ip_header = (choice & 1) != 0};
}

// Where somewhere in the bytes our identifier stands; without it nothing may be called ours.
bool names_us(Bytes bytes, const ParseOptions& options) {
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    const auto word = static_cast<uint16_t>(bytes[i] << 8 | bytes[i + 1]);
    if ((word & options.mask) == (options.identifier & options.mask)) return true;
  }
  return false;
}

void check(const Packet& packet, Bytes bytes, const ParseOptions& options, Family family) {
  if (packet.kind == PacketKind::kForeign) return;
  FUZZ_CHECK(names_us(bytes, options));
  FUZZ_CHECK(bytes.size() >= prober::kIcmpHeaderBytes);
  // Only the bits of the identifier that are not ours may carry bits of the check.
  FUZZ_CHECK((packet.check >> 16 & options.mask) == 0);
  if (packet.has_payload) FUZZ_CHECK(packet.payload.check == packet.check);
  if (packet.kind == PacketKind::kReply) {
    FUZZ_CHECK(packet.has_payload);
    FUZZ_CHECK(bytes.size() >= prober::kEchoBytes);
    return;
  }
  FUZZ_CHECK(packet.destination.family == (family == Family::kV4 ? 4 : 6));
  const EchoOutcome outcome = outcome_of(family, packet.icmp_type, packet.icmp_code);
  FUZZ_CHECK(packet.kind == PacketKind::kTimeExceeded ? outcome == EchoOutcome::kTimeExceeded
                                                      : is_unreachable(outcome));
}

// Another prober's echoes are never ours, whatever else the bytes say.
ParseOptions of_another(ParseOptions options) {
  options.identifier = static_cast<uint16_t>(~options.identifier);
  return options;
}

bool both_ours(PacketKind a, PacketKind b) {
  return a != PacketKind::kForeign && b != PacketKind::kForeign;
}

}  // namespace

void packet_v4(Bytes bytes) {
  const ParseOptions options = options_of(take_byte(bytes));
  const Packet packet = parse_v4(bytes, options);
  check(packet, bytes, options, Family::kV4);
  FUZZ_CHECK(!both_ours(packet.kind, parse_v4(bytes, of_another(options)).kind));
}

void packet_v6(Bytes bytes) {
  const ParseOptions options = options_of(take_byte(bytes));
  const Packet packet = parse_v6(bytes, options);
  check(packet, bytes, options, Family::kV6);
  FUZZ_CHECK(!both_ours(packet.kind, parse_v6(bytes, of_another(options)).kind));
}

void packet_quoted(Bytes bytes) {
  const uint8_t choice = take_byte(bytes);
  const ParseOptions options = options_of(choice);
  const Family family = (choice & 4) != 0 ? Family::kV6 : Family::kV4;
  const Packet packet = parse_quoted(family, bytes, options);
  if (packet.kind == PacketKind::kForeign) return;
  FUZZ_CHECK(names_us(bytes, options) && packet.has_payload);
  FUZZ_CHECK(packet.payload.check == packet.check);
  FUZZ_CHECK(parse_quoted(family, bytes, of_another(options)).kind == PacketKind::kForeign);
  // Written again it is what was read, but for what nobody reads.
  std::array<uint8_t, prober::kEchoBytes> again{};
  write_echo(family, options.identifier, packet.payload, again);
  const Packet same = parse_quoted(family, again, options);
  FUZZ_CHECK(same.check == packet.check && same.payload == packet.payload);
}

}  // namespace gema::fuzz
