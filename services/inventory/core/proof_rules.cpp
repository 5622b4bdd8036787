#include "services/inventory/core/proof_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

Error bad(std::string message) {
  return Error{Errc::kBadInput, std::move(message)};
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::optional<uint32_t> parse_port(std::string_view text) {
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && port >= 1 && port <= 65'535 ? std::optional(port) : std::nullopt;
}

// "host", "host:port", "[v6]", "[v6]:port"
struct Authority {
  std::string_view host;
  std::string_view port;
  bool port_given = false;
};

std::optional<Authority> split_authority(std::string_view text) {
  size_t end = text.find(':');
  Authority out;
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return std::nullopt;
    out.host = text.substr(1, bracket - 1);
    if (out.host.find(':') == std::string_view::npos) return std::nullopt;
    end = bracket + 1;
  } else {
    out.host = text.substr(0, end);
  }
  if (end >= text.size()) return out;
  if (text[end] != ':') return std::nullopt;
  out.port = text.substr(end + 1);
  out.port_given = true;
  return out;
}

}  // namespace

Result<std::string> canonical_url(std::string_view url, AddressRules rules) {
  if (url.empty()) return std::string();
  std::string whole(url);
  const std::string start = lower(url.substr(0, 8));
  if (!start.starts_with("http://") && !start.starts_with("https://")) {
    // "host/path" is what people write; another scheme would become a link that runs code.
    const size_t colon = url.find(':');
    const bool scheme = url.find("://") != std::string_view::npos ||
                        (colon < url.find_first_of("/[") &&
                         (colon + 1 >= url.size() || url[colon + 1] < '0' || url[colon + 1] > '9'));
    if (scheme) return bad("is not an http or https address");
    whole = "http://" + whole;
  }
  if (std::any_of(whole.begin(), whole.end(),
                  [](char c) { return c == ' ' || c == '\\' || c == '"' || c == '<'; })) {
    return bad("holds a space, a backslash, a quote or \"<\"");
  }
  const std::string_view rest = std::string_view(whole).substr(whole.find("://") + 3);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) {
    return bad("holds a user name or password: name a secret by web_auth instead");
  }
  const auto parts = split_authority(authority);
  if (!parts || parts->host.empty()) return bad("has no host");
  if (parts->port_given && !parse_port(parts->port)) {
    return bad(fmt::format("port \"{}\" is not within 1 to 65535", parts->port.substr(0, 20)));
  }
  rules.loopback_allowed = rules.web_loopback_allowed;
  if (const auto host = canonical_address(parts->host, rules); !host) {
    return bad("its host " + host.error().message);
  }
  return whole;
}

Result<void> check_secret_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (name.starts_with('.') || name.size() > kSecretNameMax ||
      !std::all_of(name.begin(), name.end(), fits)) {
    return bad("is not the name of a secret (letters, digits, \".\", \"_\", \"-\")");
  }
  return {};
}

Result<void> check_web_json(std::string_view text) {
  if (text.empty()) return {};
  const std::string_view pointer = text.substr(0, text.find('='));
  if (!text.starts_with('/') || pointer.size() == text.size()) {
    return bad("is not of the form \"/pointer/to/the=value\"");
  }
  for (size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] != '~') continue;
    if (i + 1 == pointer.size() || (pointer[i + 1] != '0' && pointer[i + 1] != '1')) {
      return bad("holds a \"~\" that is neither \"~0\" nor \"~1\"");
    }
  }
  return {};
}

Result<std::vector<uint32_t>> parse_ports(std::string_view text) {
  std::vector<uint32_t> ports;
  while (!text.empty()) {
    const size_t end = std::min(text.find(';'), text.size());
    std::string_view part = text.substr(0, end);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.empty()) continue;
    const auto port = parse_port(part);
    if (!port) {
      return bad(fmt::format("\"{}\" is not a port from 1 to 65535", part.substr(0, 20)));
    }
    ports.push_back(*port);
  }
  return ports;
}

std::optional<std::string> check_ports(std::vector<uint32_t>& ports) {
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  if (ports.size() > kTcpPortsMax) return fmt::format("are more than {}", kTcpPortsMax);
  if (!ports.empty() && (ports.front() < 1 || ports.back() > 65'535)) {
    return "hold a number that is not within 1 to 65535";
  }
  return std::nullopt;
}

}  // namespace gema::inventory
