#include "services/prober/io/routes.h"

#include <net/if.h>
#include <net/route.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace gema::prober {
namespace {

std::vector<std::vector<std::string>> words_of_lines(std::string_view text) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    auto& all = lines.emplace_back();
    for (std::string word; words >> word;) all.push_back(word);
  }
  return lines;
}

std::optional<uint32_t> hex(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string read(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

bool is_gateway(uint32_t flags) {
  return (flags & RTF_UP) != 0 && (flags & RTF_GATEWAY) != 0;
}

void add(std::vector<Address>& all, const Address& address) {
  if (std::find(all.begin(), all.end(), address) == all.end()) all.push_back(address);
}

}  // namespace

// Iface Destination Gateway Flags RefCnt Use Metric Mask ...; addresses as the kernel's integers.
std::vector<Address> parse_gateways_v4(std::string_view text) {
  std::vector<Address> all;
  for (const auto& words : words_of_lines(text)) {
    if (words.size() < 8) continue;
    const auto to = hex(words[1]), by = hex(words[2]), flags = hex(words[3]), mask = hex(words[7]);
    if (!to || !by || !flags || !mask) continue;
    if (*to != 0 || *mask != 0 || *by == 0 || !is_gateway(*flags)) continue;
    Address address{.family = 4};
    std::memcpy(address.bytes.data(), &*by, sizeof *by);
    add(all, address);
  }
  return all;
}

// destination length source length next-hop metric references use flags interface
std::vector<Address> parse_gateways_v6(std::string_view text) {
  std::vector<Address> all;
  for (const auto& words : words_of_lines(text)) {
    if (words.size() < 10 || words[0].size() != 32 || words[4].size() != 32) continue;
    const auto flags = hex(words[8]);
    if (words[0].find_first_not_of('0') != std::string::npos || words[1] != "00") continue;
    if (!flags || !is_gateway(*flags)) continue;
    Address address{.family = 6};
    bool good = true;
    for (size_t i = 0; i < 16; ++i) {
      const auto byte = hex(std::string_view(words[4]).substr(2 * i, 2));
      good = good && byte;
      address.bytes[i] = static_cast<uint8_t>(byte.value_or(0));
    }
    const bool link_local = address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
    if (link_local) address.scope = if_nametoindex(words[9].c_str());
    if (!good || (link_local && address.scope == 0)) continue;
    add(all, address);
  }
  return all;
}

std::vector<Address> default_gateways() {
  std::vector<Address> all = parse_gateways_v4(read("/proc/net/route"));
  for (const Address& address : parse_gateways_v6(read("/proc/net/ipv6_route"))) add(all, address);
  return all;
}

}  // namespace gema::prober
