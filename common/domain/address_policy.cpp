#include "common/domain/address_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace gema {
namespace {

bool in_any(const std::vector<Cidr>& blocks, const IpAddress& address) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](const Cidr& block) { return block.contains(address); });
}

Cidr block(std::string_view text) {
  return *parse_cidr(text);
}

Error no_block(std::string_view text, std::string_view rule) {
  return Error{Errc::kBadInput, fmt::format("\"{}\" {}", text.substr(0, 64), rule)};
}

}  // namespace

bool Cidr::contains(const IpAddress& address) const {
  if (address.family != base.family) return false;
  const size_t whole = bits / 8U;
  if (!std::equal(base.bytes.begin(), base.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                  address.bytes.begin())) {
    return false;
  }
  const unsigned rest = bits % 8U;
  if (rest == 0) return true;
  const unsigned mask = 0xffU << (8U - rest) & 0xffU;
  return (base.bytes[whole] & mask) == (address.bytes[whole] & mask);
}

Result<Cidr> parse_cidr(std::string_view text) {
  const size_t slash = text.find('/');
  const auto base = parse_ip(text.substr(0, slash));
  if (!base) return no_block(text, "is no address block (10.0.0.0/8, 2001:db8::/32)");
  const unsigned most = base->family == 4 ? 32 : 128;
  unsigned bits = most;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc{} || end != digits.data() + digits.size() || bits > most) {
      return no_block(text, fmt::format("must end in a number of bits from 0 to {}", most));
    }
  }
  Cidr cidr{.base = *base, .bits = static_cast<uint8_t>(bits)};
  for (unsigned bit = bits; bit < most; ++bit) {
    if ((base->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0) {
      return no_block(text, "has bits set behind its prefix");
    }
  }
  return cidr;
}

const char* to_string(AddressVerdict verdict) {
  switch (verdict) {
    case AddressVerdict::kAllowed:
      return "allowed";
    case AddressVerdict::kUnspecified:
      return "an unspecified address is never pinged";
    case AddressVerdict::kBroadcast:
      return "a broadcast address is never pinged";
    case AddressVerdict::kMulticast:
      return "a multicast address is never pinged";
    case AddressVerdict::kReserved:
      return "a reserved address is never pinged";
    case AddressVerdict::kMetadata:
      return "a cloud's metadata address is never pinged";
    case AddressVerdict::kLoopback:
      return "a loopback address is pinged only as a device";
    case AddressVerdict::kDenied:
      return "gateway.ping_deny has this address";
    case AddressVerdict::kNotListed:
      return "it is no device's address and gateway.ping_allow does not have it";
  }
  return "?";
}

bool is_loopback(const IpAddress& address) {
  static const Cidr v4 = block("127.0.0.0/8");
  static const Cidr v6 = block("::1");
  return v4.contains(address) || v6.contains(address);
}

AddressVerdict never_pinged(const IpAddress& address) {
  struct Class {
    Cidr block;
    AddressVerdict verdict;
  };
  // The first that fits decides.
  static const std::vector<Class> classes = {
      {block("0.0.0.0"), AddressVerdict::kUnspecified},
      {block("::"), AddressVerdict::kUnspecified},
      {block("255.255.255.255"), AddressVerdict::kBroadcast},
      {block("224.0.0.0/4"), AddressVerdict::kMulticast},
      {block("ff00::/8"), AddressVerdict::kMulticast},
      {block("0.0.0.0/8"), AddressVerdict::kReserved},
      {block("240.0.0.0/4"), AddressVerdict::kReserved},
      // IPv4 in IPv6's clothes (compatible, translated): what it means depends on who translates.
      {block("::/96"), AddressVerdict::kReserved},
      {block("169.254.169.254"), AddressVerdict::kMetadata},
      {block("fd00:ec2::254"), AddressVerdict::kMetadata},
      {block("64:ff9b::a9fe:a9fe"), AddressVerdict::kMetadata},
  };
  if (!address.known()) return AddressVerdict::kUnspecified;
  if (is_loopback(address)) return AddressVerdict::kAllowed;
  for (const Class& one : classes) {
    if (one.block.contains(address)) return one.verdict;
  }
  return AddressVerdict::kAllowed;
}

AddressVerdict judge(const AddressPolicy& policy, const IpAddress& address, bool is_device) {
  const AddressVerdict hard = never_pinged(address);
  if (hard != AddressVerdict::kAllowed) return hard;
  if (in_any(policy.deny, address)) return AddressVerdict::kDenied;
  if (is_device) return AddressVerdict::kAllowed;
  if (is_loopback(address)) return AddressVerdict::kLoopback;
  return in_any(policy.allow, address) ? AddressVerdict::kAllowed : AddressVerdict::kNotListed;
}

}  // namespace gema
