#include "services/prober/core/packet.h"

#include <algorithm>

namespace gema::prober {
namespace {

constexpr uint8_t kV4EchoRequest = 8, kV4EchoReply = 0, kV4Unreachable = 3, kV4TimeExceeded = 11;
constexpr uint8_t kV6EchoRequest = 128, kV6EchoReply = 129, kV6Unreachable = 1, kV6TooBig = 2,
                  kV6TimeExceeded = 3;
constexpr uint8_t kProtocolIcmp = 1, kProtocolIcmpV6 = 58;
constexpr size_t kV6HeaderBytes = 40;

void put16(std::span<uint8_t> out, size_t at, uint16_t v) {
  out[at] = static_cast<uint8_t>(v >> 8);
  out[at + 1] = static_cast<uint8_t>(v);
}

void put_little(std::span<uint8_t> out, size_t at, uint64_t v, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out[at + i] = static_cast<uint8_t>(v >> (8 * i));
}

uint16_t get16(std::span<const uint8_t> in, size_t at) {
  return static_cast<uint16_t>(in[at] << 8 | in[at + 1]);
}

uint64_t get_little(std::span<const uint8_t> in, size_t at, size_t bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes; ++i) v |= static_cast<uint64_t>(in[at + i]) << (8 * i);
  return v;
}

void write_payload(const EchoPayload& payload, std::span<uint8_t> out) {
  put_little(out, 0, payload.check, 4);
  put_little(out, 4, payload.generation, 4);
  out[8] = payload.ordinal;
  out[9] = payload.burst ? 1 : 0;
  out[10] = out[11] = 0;
  put_little(out, 12, payload.timeout_ms, 4);
  put_little(out, 16, payload.sent_ns, 8);
}

EchoPayload read_payload(std::span<const uint8_t> in) {
  EchoPayload payload;
  payload.check = static_cast<uint32_t>(get_little(in, 0, 4));
  payload.generation = static_cast<uint32_t>(get_little(in, 4, 4));
  payload.ordinal = in[8];
  payload.burst = in[9] != 0;
  payload.timeout_ms = static_cast<uint32_t>(get_little(in, 12, 4));
  payload.sent_ns = get_little(in, 16, 8);
  payload.token = get_little(in, kTokenOffset, 8);
  return payload;
}

// `icmp` begins at the ICMP header of an echo request or reply of ours. Fills check and payload;
// false when identifier or payload say that it is not.
bool read_echo(std::span<const uint8_t> icmp, const ParseOptions& options, Packet& packet) {
  if (icmp.size() < kIcmpHeaderBytes) return false;
  const uint16_t identifier = get16(icmp, 4);
  if ((identifier & options.mask) != (options.identifier & options.mask)) return false;
  const uint32_t upper = static_cast<uint16_t>(identifier & ~options.mask);
  packet.check = upper << 16 | get16(icmp, 6);
  if (icmp.size() >= kEchoBytes) {
    packet.payload = read_payload(icmp.subspan(kIcmpHeaderBytes));
    if (packet.payload.check != packet.check) return false;
    packet.has_payload = true;
  }
  return true;
}

Packet reply(std::span<const uint8_t> icmp, const ParseOptions& options) {
  Packet packet;
  // A reply gives all of our bytes back (RFC 792, RFC 4443).
  if (read_echo(icmp, options, packet) && packet.has_payload) packet.kind = PacketKind::kReply;
  return packet;
}

// `icmp` begins at the ICMP header of an error; behind it stands the packet it is about.
Packet error_v4(PacketKind kind, std::span<const uint8_t> icmp, const ParseOptions& options) {
  const std::span<const uint8_t> quoted = icmp.subspan(kIcmpHeaderBytes);
  if (quoted.size() < 20 || quoted[0] >> 4 != 4) return {};
  const size_t header = static_cast<size_t>(quoted[0] & 0xf) * 4;
  if (header < 20 || quoted.size() < header + kIcmpHeaderBytes) return {};
  if (quoted[9] != kProtocolIcmp || (get16(quoted, 6) & 0x1fff) != 0) return {};  // later fragment
  if (quoted[header] != kV4EchoRequest) return {};
  Packet packet;
  if (!read_echo(quoted.subspan(header), options, packet)) return {};
  packet.kind = kind;
  packet.icmp_type = icmp[0];
  packet.icmp_code = icmp[1];
  packet.destination.family = 4;
  std::copy_n(quoted.begin() + 16, 4, packet.destination.bytes.begin());
  return packet;
}

Packet error_v6(PacketKind kind, std::span<const uint8_t> icmp, const ParseOptions& options) {
  const std::span<const uint8_t> quoted = icmp.subspan(kIcmpHeaderBytes);
  if (quoted.size() < kV6HeaderBytes + kIcmpHeaderBytes || quoted[0] >> 4 != 6) return {};
  if (quoted[6] != kProtocolIcmpV6 || quoted[kV6HeaderBytes] != kV6EchoRequest) return {};
  Packet packet;
  if (!read_echo(quoted.subspan(kV6HeaderBytes), options, packet)) return {};
  packet.kind = kind;
  packet.icmp_type = icmp[0];
  packet.icmp_code = icmp[1];
  packet.destination.family = 6;
  std::copy_n(quoted.begin() + 24, 16, packet.destination.bytes.begin());
  return packet;
}

}  // namespace

uint32_t checksum_sum(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += get16(bytes, i);
  if (bytes.size() % 2 != 0) sum += static_cast<uint32_t>(bytes.back() << 8);
  return sum;
}

uint16_t internet_checksum(std::span<const uint8_t> bytes, uint32_t sum) {
  sum += checksum_sum(bytes);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void write_echo(Family family, uint16_t identifier, const EchoPayload& payload,
                std::span<uint8_t, kEchoBytes> out, uint32_t tail_sum) {
  out[0] = family == Family::kV4 ? kV4EchoRequest : kV6EchoRequest;
  out[1] = 0;
  put16(out, 2, 0);
  put16(out, 4, static_cast<uint16_t>(identifier | payload.check >> 16));
  put16(out, 6, static_cast<uint16_t>(payload.check));
  write_payload(payload, out.subspan(kIcmpHeaderBytes));
  put_little(out, kIcmpHeaderBytes + kTokenOffset, payload.token, 8);
  if (family == Family::kV4) put16(out, 2, internet_checksum(out, tail_sum));
}

void token_input(const EchoPayload& payload, const Address& destination,
                 std::span<uint8_t, kTokenInputBytes> out) {
  write_payload(payload, out);
  put_little(out, kTokenOffset, destination.family, 4);
  put_little(out, kTokenOffset + 4, 0, 4);
  std::copy(destination.bytes.begin(), destination.bytes.end(), out.begin() + kTokenOffset + 8);
}

Packet parse_v4(std::span<const uint8_t> bytes, const ParseOptions& options) {
  if (options.with_ip_header) {
    if (bytes.size() < 20 || bytes[0] >> 4 != 4) return {};
    const size_t header = static_cast<size_t>(bytes[0] & 0xf) * 4;
    if (header < 20 || bytes.size() < header || bytes[9] != kProtocolIcmp) return {};
    bytes = bytes.subspan(header);
  }
  if (bytes.size() < kIcmpHeaderBytes) return {};
  switch (bytes[0]) {
    case kV4EchoReply:
      return reply(bytes, options);
    case kV4Unreachable:
      return error_v4(PacketKind::kUnreachable, bytes, options);
    case kV4TimeExceeded:
      return error_v4(PacketKind::kTimeExceeded, bytes, options);
    default:
      return {};
  }
}

Packet parse_v6(std::span<const uint8_t> bytes, const ParseOptions& options) {
  if (bytes.size() < kIcmpHeaderBytes) return {};
  switch (bytes[0]) {
    case kV6EchoReply:
      return reply(bytes, options);
    case kV6Unreachable:
    case kV6TooBig:
      return error_v6(PacketKind::kUnreachable, bytes, options);
    case kV6TimeExceeded:
      return error_v6(PacketKind::kTimeExceeded, bytes, options);
    default:
      return {};
  }
}

EchoOutcome outcome_of(Family family, uint8_t icmp_type, uint8_t icmp_code) {
  if (family == Family::kV4) {
    if (icmp_type == kV4TimeExceeded) return EchoOutcome::kTimeExceeded;
    switch (icmp_code) {
      case 0:   // network unreachable
      case 6:   // network unknown
      case 11:  // network unreachable for this type of service
        return EchoOutcome::kNetUnreachable;
      case 1:   // host unreachable
      case 7:   // host unknown
      case 12:  // host unreachable for this type of service
        return EchoOutcome::kHostUnreachable;
      case 3:
        return EchoOutcome::kPortUnreachable;
      case 9:   // network prohibited
      case 10:  // host prohibited
      case 13:  // filtered
      case 14:  // host precedence violation
      case 15:  // precedence cutoff
        return EchoOutcome::kProhibited;
      default:  // protocol unreachable, fragmentation needed, source route failed, ...
        return EchoOutcome::kUnreachable;
    }
  }
  if (icmp_type == kV6TimeExceeded) return EchoOutcome::kTimeExceeded;
  if (icmp_type != kV6Unreachable) return EchoOutcome::kUnreachable;  // packet too big
  switch (icmp_code) {
    case 0:  // no route
      return EchoOutcome::kNetUnreachable;
    case 1:  // prohibited
    case 5:  // source address failed a policy
    case 6:  // route rejects
      return EchoOutcome::kProhibited;
    case 3:  // address unreachable
      return EchoOutcome::kHostUnreachable;
    case 4:
      return EchoOutcome::kPortUnreachable;
    default:  // beyond the source's scope, error in the source routing header, ...
      return EchoOutcome::kUnreachable;
  }
}

Packet parse_quoted(Family family, std::span<const uint8_t> bytes, const ParseOptions& options) {
  const uint8_t request = family == Family::kV4 ? kV4EchoRequest : kV6EchoRequest;
  Packet packet;
  if (bytes.size() < kIcmpHeaderBytes || bytes[0] != request) return {};
  if (!read_echo(bytes, options, packet) || !packet.has_payload) return {};
  packet.kind = PacketKind::kUnreachable;  // the caller knows the type
  return packet;
}

}  // namespace gema::prober
