// This host's default gateways, from the kernel's routing table: what the word "gateway" among the
// canaries means. Routes of policy tables are not looked at.
#pragma once

#include <string_view>
#include <vector>

#include "services/prober/core/address.h"

namespace gema::prober {

// IPv4 first. Empty where there is none, or where /proc cannot be read.
std::vector<Address> default_gateways();

// The texts of /proc/net/route and /proc/net/ipv6_route. Lines that are not understood are skipped.
std::vector<Address> parse_gateways_v4(std::string_view text);
std::vector<Address> parse_gateways_v6(std::string_view text);

}  // namespace gema::prober
