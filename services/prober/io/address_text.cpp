#include "services/prober/io/address_text.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <charconv>

namespace gema::prober {
namespace {

// "eth0" or "3"; 0 when there is no such interface.
uint32_t interface_index(const std::string& text) {
  if (const unsigned index = if_nametoindex(text.c_str()); index != 0) return index;
  uint32_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  return error == std::errc() && end == text.data() + text.size() ? index : 0;
}

}  // namespace

std::optional<Address> parse_address(const std::string& text) {
  Address address;
  if (inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) {
    address.family = 4;
    return address;
  }
  const size_t percent = text.find('%');
  if (inet_pton(AF_INET6, text.substr(0, percent).c_str(), address.bytes.data()) != 1) {
    return std::nullopt;
  }
  address.family = 6;
  if (percent == std::string::npos) return address;
  address.scope = interface_index(text.substr(percent + 1));
  return address.scope != 0 ? std::optional(address) : std::nullopt;
}

std::string to_text(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.family == 0) return text;
  inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes.data(), text, sizeof text);
  std::string scope;
  if (address.scope != 0) scope = "%" + std::to_string(address.scope);
  return text + scope;
}

}  // namespace gema::prober
