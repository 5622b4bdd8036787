// What may stand as a device's address: an IP address or a host name (RFC 1123), in one canonical
// form, so that two spellings of one address are one.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"

namespace gema::inventory {

struct AddressRules {
  bool loopback_allowed = true;
  bool web_loopback_allowed = true;  // of the host in web_url
};

// Returns the canonical form: dotted quad, RFC 5952 IPv6 (a mapped IPv4 address becomes IPv4), or
// the host name in lower case without a final dot. Fails with kBadInput and the rule that `text`
// breaks: neither form, broadcast, multicast, unspecified, reserved, a link-local IPv6
// address, the metadata service of a cloud, loopback where it is not allowed.
Result<std::string> canonical_address(std::string_view text, AddressRules rules = {});

}  // namespace gema::inventory
