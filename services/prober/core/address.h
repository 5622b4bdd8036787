// Where an echo goes: an IPv4 or IPv6 address as bytes. Text is parsed in io/.
#pragma once

#include <array>
#include <cstdint>

namespace gema::prober {

struct Address {
  std::array<uint8_t, 16> bytes{};  // IPv4: the first four, the rest zero
  uint32_t scope = 0;               // IPv6 link-local: interface index
  uint8_t family = 0;               // 4, 6, or 0 = none

  bool known() const { return family != 0; }
  friend bool operator==(const Address&, const Address&) = default;
};

}  // namespace gema::prober
