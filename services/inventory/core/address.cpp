#include "services/inventory/core/address.h"

#include <arpa/inet.h>  // lint: allow(core-includes) inet_pton and inet_ntop only compute
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

namespace gema::inventory {
namespace {

// Where clouds hand out their machines' credentials: nobody's device, much abused.
constexpr std::string_view kMetadata = "is a cloud's metadata address";

Error refuse(std::string_view text, std::string_view rule) {
  return Error{Errc::kBadInput, fmt::format("\"{}\" {}", text.substr(0, 80), rule)};
}

using Ipv4 = std::array<uint8_t, 4>;
using Ipv6 = std::array<uint8_t, 16>;

template <class Bytes>
std::optional<Bytes> parse_ip(int family, const std::string& text) {
  Bytes bytes{};
  if (inet_pton(family, text.c_str(), bytes.data()) != 1) return std::nullopt;
  return bytes;
}

template <class Bytes>
std::string print_ip(int family, const Bytes& bytes) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(family, bytes.data(), text, sizeof text) == nullptr ? std::string() : text;
}

Result<std::string> check_ipv4(std::string_view text, const Ipv4& ip, AddressRules rules) {
  if (ip == Ipv4{}) return refuse(text, "is the unspecified address");
  if (ip[0] == 0) return refuse(text, "is within 0.0.0.0/8, which no host has");
  if (ip == Ipv4{255, 255, 255, 255}) return refuse(text, "is the broadcast address");
  if (ip[0] >= 224 && ip[0] <= 239) return refuse(text, "is a multicast address");
  // "Reserved for future use" since 1989: no host has one, most systems refuse to send there.
  if (ip[0] >= 240) return refuse(text, "is a reserved address (240.0.0.0/4)");
  if (ip == Ipv4{169, 254, 169, 254}) return refuse(text, kMetadata);
  if (ip[0] == 127 && !rules.loopback_allowed) {
    return refuse(text, "is a loopback address, which only a devices file may name");
  }
  return print_ip(AF_INET, ip);
}

Result<std::string> check_ipv6(std::string_view text, const Ipv6& ip, AddressRules rules) {
  const Ipv6 zero{};
  if (ip == zero) return refuse(text, "is the unspecified address");
  if (ip[0] == 0xff) return refuse(text, "is a multicast address");
  if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) {
    return refuse(text, "is a link-local address: without a zone nobody can send there");
  }
  if (ip == Ipv6{0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}) {
    return refuse(text, kMetadata);
  }
  Ipv6 loopback{};
  loopback[15] = 1;
  if (ip == loopback && !rules.loopback_allowed) {
    return refuse(text, "is a loopback address, which only a devices file may name");
  }
  const bool mapped =
      std::equal(ip.begin(), ip.begin() + 10, zero.begin()) && ip[10] == 0xff && ip[11] == 0xff;
  if (mapped) return check_ipv4(text, {ip[12], ip[13], ip[14], ip[15]}, rules);
  return print_ip(AF_INET6, ip);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_label_char(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-';
}

Result<std::string> check_name(std::string_view text, std::string name, AddressRules rules) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (name.size() > 1 && name.back() == '.') name.pop_back();
  const std::string_view neither = "is neither an IP address nor a host name";
  if (name.size() > 253) return refuse(text, neither);
  size_t begin = 0;
  std::string_view last;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('.', begin), name.size());
    last = std::string_view(name).substr(begin, end - begin);
    if (last.empty() || last.size() > 63 || last.front() == '-' || last.back() == '-' ||
        !std::all_of(last.begin(), last.end(), is_label_char)) {
      return refuse(text, neither);
    }
    begin = end + 1;
  }
  // "10.0.0.300" and "1.2.3" are mistyped addresses, not names: no top-level name is a number.
  if (std::all_of(last.begin(), last.end(), is_digit)) return refuse(text, neither);
  const bool local = name == "localhost" || name.ends_with(".localhost");
  if (local && !rules.loopback_allowed) {
    return refuse(text, "is a loopback name, which only a devices file may use");
  }
  return name;
}

}  // namespace

Result<std::string> canonical_address(std::string_view text, AddressRules rules) {
  if (text.empty()) return Error{Errc::kBadInput, "is missing"};
  const std::string copy(text);
  if (copy.find('\0') != std::string::npos) return refuse("", "holds a zero byte");
  if (auto ip = parse_ip<Ipv4>(AF_INET, copy)) return check_ipv4(text, *ip, rules);
  if (auto ip = parse_ip<Ipv6>(AF_INET6, copy)) return check_ipv6(text, *ip, rules);
  if (copy.find('%') != std::string::npos)
    return refuse(text, "has a zone, which is not supported");
  return check_name(text, copy, rules);
}

}  // namespace gema::inventory
