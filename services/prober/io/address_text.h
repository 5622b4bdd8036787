// Addresses to and from text.
#pragma once

#include <optional>
#include <string>

#include "services/prober/core/address.h"

namespace gema::prober {

// "192.0.2.1", "2001:db8::1", "fe80::1%eth0"; nullopt for anything else: a name.
std::optional<Address> parse_address(const std::string& text);
// "" when there is none.
std::string to_text(const Address& address);

}  // namespace gema::prober
