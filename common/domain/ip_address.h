// An IP address as bytes: what results carry.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gema {

struct IpAddress {
  std::array<uint8_t, 16> bytes{};  // IPv4: the first four, the rest zero
  uint8_t family = 0;               // 4, 6, or 0 = none

  bool known() const { return family != 0; }
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

// "192.0.2.1", RFC 5952 for IPv6; "" for none.
std::string to_text(const IpAddress& address);

// What to_text() gives, and every other spelling of an address (no zone, no port, no brackets);
// nullopt for anything else. An IPv4 address mapped into IPv6 is the IPv4 address.
std::optional<IpAddress> parse_ip(std::string_view text);

// 4 or 16 bytes in network order, as messages carry them (0 bytes: none); nullopt for other
// lengths.
std::optional<IpAddress> ip_from_bytes(std::string_view bytes);
std::string_view bytes_of(const IpAddress& address);

}  // namespace gema
