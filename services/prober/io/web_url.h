// Web addresses, taken apart and joined by libcurl's own parser: what is checked is then what is
// connected to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gema::prober {

struct WebUrl {
  std::string text;  // as libcurl wants it
  bool https = false;
  std::string host;  // lower case; IPv6 without brackets
  uint16_t port = 0;

  friend bool operator==(const WebUrl&, const WebUrl&) = default;
};

// nullopt: not http or https, no host, a user name in it, or no URL at all.
std::optional<WebUrl> parse_web_url(const std::string& text);

// Where a redirection leads: an absolute or a relative Location.
std::optional<WebUrl> follow_location(const WebUrl& from, const std::string& location);

}  // namespace gema::prober
