// Echo requests as bytes, and what a received packet means.
//
// In: spans. Out: values. Nothing here trusts the network: every length is checked, and a packet
// that is not an answer to one of our echoes is Foreign. Who may call it ours is decided in two
// steps: here by identifier and shape, in io/ by the token (a keyed hash over the payload and the
// destination, so a reply must also come from the address that was asked).
//
// An echo request is 8 bytes of ICMP header and a payload of 32:
//   check u32 | generation u32 | ordinal u8, burst u8, 0 u16 | timeout_ms u32 | sent u64 | token
//   u64
// A larger payload, if configured, follows as a tail that is the same in all; nothing reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/domain/ping.h"
#include "services/prober/core/address.h"

namespace gema::prober {

inline constexpr size_t kIcmpHeaderBytes = 8;
inline constexpr size_t kPayloadBytes = 32;
// What IPv4's length field leaves; IPv6 would allow 20 more.
inline constexpr size_t kPayloadBytesMax = 65'535 - 20 - kIcmpHeaderBytes;
inline constexpr size_t kEchoBytes = kIcmpHeaderBytes + kPayloadBytes;
inline constexpr size_t kTokenOffset = 24;  // in the payload
// What the token is a hash of: the payload before it, then family, scope and address.
inline constexpr size_t kTokenInputBytes = kTokenOffset + 24;

struct EchoPayload {
  uint32_t check = 0;
  uint32_t generation = 0;
  uint8_t ordinal = 0;
  bool burst = false;
  uint32_t timeout_ms = 0;  // lets a reply to a forgotten check be told late from double
  uint64_t sent_ns = 0;     // when it was written, on the prober's own clock
  uint64_t token = 0;

  friend bool operator==(const EchoPayload&, const EchoPayload&) = default;
};

enum class Family : uint8_t { kV4, kV6 };

// Writes an echo request. `identifier` is the prober's; the check's upper four bits go into it.
// IPv4 gets its checksum, IPv6 leaves it to the kernel. `tail_sum`: checksum_sum() of what the
// caller sends behind `out`.
void write_echo(Family family, uint16_t identifier, const EchoPayload& payload,
                std::span<uint8_t, kEchoBytes> out, uint32_t tail_sum = 0);

// The bytes that the token authenticates.
void token_input(const EchoPayload& payload, const Address& destination,
                 std::span<uint8_t, kTokenInputBytes> out);

enum class PacketKind : uint8_t {
  kForeign,       // not ours, not understood, or mutilated
  kReply,         // echo reply with our payload
  kUnreachable,   // destination unreachable, or packet too big, for one of our echoes
  kTimeExceeded,  // time to live exceeded in transit
};

struct Packet {
  PacketKind kind = PacketKind::kForeign;
  uint32_t check = 0;                    // from identifier and sequence number
  bool has_payload = false;              // errors quote at least 8 bytes of ours, often all of it
  EchoPayload payload;                   // as received; nothing verified but that `check` agrees
  uint8_t icmp_type = 0, icmp_code = 0;  // of errors
  Address destination;                   // errors: where the quoted echo was sent
};

struct ParseOptions {
  uint16_t identifier = 0;     // ours
  uint16_t mask = 0xfff0;      // which of its bits are
  bool with_ip_header = true;  // IPv4 raw sockets deliver it; datagram and IPv6 sockets do not
};

// Total: any bytes give a Packet.
Packet parse_v4(std::span<const uint8_t> bytes, const ParseOptions& options);
Packet parse_v6(std::span<const uint8_t> bytes, const ParseOptions& options);

// What an error says became of the echo. Requires: a type that kUnreachable or kTimeExceeded have.
EchoOutcome outcome_of(Family family, uint8_t icmp_type, uint8_t icmp_code);

// An echo request of ours as an error queue gives it back (datagram sockets): no IP header.
Packet parse_quoted(Family family, std::span<const uint8_t> bytes, const ParseOptions& options);

// RFC 1071, over an even or odd number of bytes. `sum`: checksum_sum() of more bytes.
uint16_t internet_checksum(std::span<const uint8_t> bytes, uint32_t sum = 0);
// Not folded and not inverted. Requires: no more bytes than an IP packet has.
uint32_t checksum_sum(std::span<const uint8_t> bytes);

}  // namespace gema::prober
