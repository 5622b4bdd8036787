#include "services/prober/core/packet.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/base/random.h"

namespace gema::prober {
namespace {

constexpr ParseOptions kOurs{.identifier = 0x5a30, .mask = 0xfff0, .with_ip_header = true};
using Bytes = std::vector<uint8_t>;

EchoPayload payload() {
  return {.check = 0xb1234,
          .generation = 77,
          .ordinal = 3,
          .burst = true,
          .timeout_ms = 3000,
          .sent_ns = 0x0123456789abcdef,
          .token = 0xfeedfacecafebeef};
}

Bytes echo(Family family, const EchoPayload& p = payload()) {
  std::array<uint8_t, kEchoBytes> out{};
  write_echo(family, kOurs.identifier, p, out);
  return {out.begin(), out.end()};
}

Bytes v4_header(uint8_t protocol, size_t options = 0) {
  Bytes header(20 + options, 0);
  header[0] = static_cast<uint8_t>(0x40 | (20 + options) / 4);
  header[9] = protocol;
  header[16] = 10;
  header[17] = 64;
  header[18] = 1;
  header[19] = 9;
  return header;
}

Bytes v6_header(uint8_t next) {
  Bytes header(40, 0);
  header[0] = 0x60;
  header[6] = next;
  header[24] = 0x20;
  header[39] = 0x42;
  return header;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes reply_v4(size_t options = 0) {
  Bytes icmp = echo(Family::kV4);
  icmp[0] = 0;
  return v4_header(1, options) + icmp;
}

Bytes error_v4(uint8_t type, size_t quoted = kEchoBytes) {
  Bytes inner = echo(Family::kV4);
  inner.resize(quoted);
  return v4_header(1) + Bytes{type, 1, 0, 0, 0, 0, 0, 0} + v4_header(1) + inner;
}

TEST(Packet, AnEchoReplyGivesBackWhatWasSent) {
  for (const size_t options : {0, 40}) {
    const Packet packet = parse_v4(reply_v4(options), kOurs);
    EXPECT_EQ(packet.kind, PacketKind::kReply);
    EXPECT_EQ(packet.check, 0xb1234U);
    EXPECT_EQ(packet.payload, payload());
  }
  Bytes six = echo(Family::kV6);
  six[0] = 129;
  const Packet packet = parse_v6(six, kOurs);
  EXPECT_EQ(packet.kind, PacketKind::kReply);
  EXPECT_EQ(packet.payload, payload());
}

TEST(Packet, TheChecksumOfAnIpv4EchoIsRight) {
  const Bytes bytes = echo(Family::kV4);
  EXPECT_EQ(internet_checksum(bytes), 0);
  // RFC 1071, section 3: the sum of these words is ddf2.
  const Bytes example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(internet_checksum(example), static_cast<uint16_t>(~0xddf2));
}

struct ErrorCase {
  const char* name;
  uint8_t type;
  PacketKind kind;
};

TEST(Packet, UnreachableAndTimeExceededQuoteOurEcho) {
  for (const ErrorCase& c : {ErrorCase{"unreachable", 3, PacketKind::kUnreachable},
                             ErrorCase{"time exceeded", 11, PacketKind::kTimeExceeded}}) {
    SCOPED_TRACE(c.name);
    const Packet whole = parse_v4(error_v4(c.type), kOurs);
    EXPECT_EQ(whole.kind, c.kind);
    EXPECT_TRUE(whole.has_payload);
    EXPECT_EQ(whole.payload, payload());
    EXPECT_EQ(whole.destination.family, 4);
    EXPECT_EQ(whole.destination.bytes[3], 9);
    const Packet least = parse_v4(error_v4(c.type, 8), kOurs);  // RFC 792's minimum
    EXPECT_EQ(least.kind, c.kind);
    EXPECT_FALSE(least.has_payload);
    EXPECT_EQ(least.check, 0xb1234U);
  }
  for (const ErrorCase& c : {ErrorCase{"unreachable", 1, PacketKind::kUnreachable},
                             ErrorCase{"time exceeded", 3, PacketKind::kTimeExceeded}}) {
    SCOPED_TRACE(c.name);
    const Packet packet =
        parse_v6(Bytes{c.type, 3, 0, 0, 0, 0, 0, 0} + v6_header(58) + echo(Family::kV6), kOurs);
    EXPECT_EQ(packet.kind, c.kind);
    EXPECT_EQ(packet.payload, payload());
    EXPECT_EQ(packet.destination.bytes[15], 0x42);
  }
}

TEST(Packet, AnErrorsTypeAndCodeSayWhatBecameOfTheEcho) {
  struct Row {
    Family family;
    uint8_t type;
    std::vector<uint8_t> codes;
    EchoOutcome outcome;
  };
  using enum EchoOutcome;
  const Row rows[] = {
      {Family::kV4, 3, {0, 6, 11}, kNetUnreachable},
      {Family::kV4, 3, {1, 7, 12}, kHostUnreachable},
      {Family::kV4, 3, {3}, kPortUnreachable},
      {Family::kV4, 3, {9, 10, 13, 14, 15}, kProhibited},
      {Family::kV4, 3, {2, 4, 5, 8, 16, 255}, kUnreachable},
      {Family::kV4, 11, {0, 1}, kTimeExceeded},
      {Family::kV6, 1, {0}, kNetUnreachable},
      {Family::kV6, 1, {1, 5, 6}, kProhibited},
      {Family::kV6, 1, {3}, kHostUnreachable},
      {Family::kV6, 1, {4}, kPortUnreachable},
      {Family::kV6, 1, {2, 7, 8, 255}, kUnreachable},
      {Family::kV6, 2, {0}, kUnreachable},  // too big
      {Family::kV6, 3, {0, 1}, kTimeExceeded},
  };
  for (const Row& row : rows) {
    for (const uint8_t code : row.codes) {
      SCOPED_TRACE(testing::Message() << int{row.type} << "/" << int{code});
      EXPECT_EQ(outcome_of(row.family, row.type, code), row.outcome);
      const bool four = row.family == Family::kV4;
      const Bytes head{row.type, code, 0, 0, 0, 0, 0, 0};
      const Packet packet =
          four ? parse_v4(v4_header(1) + head + v4_header(1) + echo(Family::kV4), kOurs)
               : parse_v6(head + v6_header(58) + echo(Family::kV6), kOurs);
      EXPECT_NE(packet.kind, PacketKind::kForeign);
      EXPECT_EQ(packet.kind == PacketKind::kTimeExceeded, row.outcome == kTimeExceeded);
      EXPECT_EQ(packet.icmp_type, row.type);
      EXPECT_EQ(packet.icmp_code, code);
    }
  }
}

TEST(Packet, AnErrorQueueGivesTheEchoBack) {
  ParseOptions datagram{.identifier = 0x1234, .mask = 0xffff, .with_ip_header = false};
  EchoPayload p = payload();
  p.check = 0x4321;
  std::array<uint8_t, kEchoBytes> out{};
  write_echo(Family::kV4, 0x1234, p, out);
  EXPECT_EQ(parse_quoted(Family::kV4, out, datagram).check, 0x4321U);
  EXPECT_EQ(parse_quoted(Family::kV6, out, datagram).kind, PacketKind::kForeign);
}

struct ForeignCase {
  const char* name;
  Bytes bytes;
};

TEST(Packet, EverythingElseIsForeign) {
  auto changed = [](Bytes bytes, size_t at, uint8_t value) {
    bytes[at] = value;
    return bytes;
  };
  auto cut = [](Bytes bytes, size_t size) {
    bytes.resize(size);
    return bytes;
  };
  const ForeignCase cases[] = {
      {"nothing", {}},
      {"another identifier", changed(reply_v4(), 24, 0x11)},
      {"payload says another check", changed(reply_v4(), 28, 0xff)},
      {"an echo request, ours or not", changed(reply_v4(), 20, 8)},
      {"a redirect", changed(error_v4(3), 20, 5)},
      {"not IPv4", changed(reply_v4(), 0, 0x65)},
      {"header longer than the packet", changed(cut(reply_v4(), 24), 0, 0x4f)},
      {"header too short", changed(reply_v4(), 0, 0x44)},
      {"not ICMP", changed(reply_v4(), 9, 17)},
      {"reply without our payload", cut(reply_v4(), 20 + 8)},
      {"reply cut within it", cut(reply_v4(), 20 + kEchoBytes - 1)},
      {"error about UDP", changed(error_v4(3), 28 + 9, 17)},
      {"error about a later fragment", changed(error_v4(3), 28 + 7, 1)},
      {"error about an echo reply", changed(error_v4(3), 28 + 20, 0)},
      {"error that quotes seven bytes", error_v4(3, 7)},
  };
  for (const ForeignCase& c : cases) {
    EXPECT_EQ(parse_v4(c.bytes, kOurs).kind, PacketKind::kForeign) << c.name;
  }
  EXPECT_EQ(parse_v6(Bytes{1, 0, 0, 0, 0, 0, 0, 0} + v6_header(17) + echo(Family::kV6), kOurs).kind,
            PacketKind::kForeign);
}

TEST(Packet, MutilatedBytesAreReadOrForeignButNeverHarmful) {
  const uint64_t seed = 31337;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const Bytes six_error = Bytes{1, 0, 0, 0, 0, 0, 0, 0} + v6_header(58) + echo(Family::kV6);
  const Bytes samples[] = {reply_v4(), reply_v4(40), error_v4(3), error_v4(11, 8), six_error};
  int foreign = 0;
  for (int i = 0; i < 200'000; ++i) {
    Bytes bytes = samples[random.below(5)];
    for (uint64_t k = 0; k <= random.below(4); ++k) {
      bytes[random.below(bytes.size())] = static_cast<uint8_t>(random.next());
    }
    if (random.chance(300)) bytes.resize(random.below(bytes.size() + 1));
    bytes.shrink_to_fit();  // so that AddressSanitizer sees a byte too far
    foreign += parse_v4(bytes, kOurs).kind == PacketKind::kForeign ? 1 : 0;
    foreign += parse_v6(bytes, kOurs).kind == PacketKind::kForeign ? 1 : 0;
    parse_quoted(Family::kV4, bytes, kOurs);
  }
  EXPECT_GT(foreign, 200'000);  // at least the family that it is not
  EXPECT_LT(foreign, 400'000);
}

TEST(Packet, TheTokenCoversPayloadAndDestination) {
  std::array<uint8_t, kTokenInputBytes> a{}, b{};
  Address there{.family = 4};
  there.bytes[0] = 10;
  token_input(payload(), there, a);
  Address elsewhere = there;
  elsewhere.bytes[3] = 1;
  token_input(payload(), elsewhere, b);
  EXPECT_NE(a, b);
  EchoPayload other = payload();
  other.generation ^= 1;
  token_input(other, there, b);
  EXPECT_NE(a, b);
  other = payload();
  other.token ^= 1;  // not covered by itself
  token_input(other, there, b);
  EXPECT_EQ(a, b);
}

}  // namespace
}  // namespace gema::prober
