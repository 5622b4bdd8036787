// The rules for how a device may prove that it lives: web_url, web_auth, web_json, tcp_ports. All
// results are in canonical form; errors are kBadInput and say which rule the text breaks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "services/inventory/core/address.h"

namespace gema::inventory {

// "" stays "", "host/path" becomes "http://host/path". Only http and https, with a host that is
// allowed as an address is, without a user name in it.
Result<std::string> canonical_url(std::string_view url, AddressRules rules);

// The name of a secret, "" = none: letters, digits, ".", "_", "-", and no leading ".".
Result<void> check_secret_name(std::string_view name);

// "/json/pointer=value" (RFC 6901), "" = none.
Result<void> check_web_json(std::string_view text);

// "22; 443" -> {22, 443}.
Result<std::vector<uint32_t>> parse_ports(std::string_view text);

// Sorts, removes doubles; returns what is wrong with them.
std::optional<std::string> check_ports(std::vector<uint32_t>& ports);

}  // namespace gema::inventory
