#include "common/domain/ip_address.h"

#include <arpa/inet.h>  // lint: allow(core-includes) inet_pton only computes
#include <fmt/format.h>

#include <algorithm>

namespace gema {
namespace {

// RFC 5952, section 4: groups in lower case without leading zeros, the first longest run of two or
// more zero groups as "::".
std::string to_text_v6(const std::array<uint8_t, 16>& bytes) {
  std::array<unsigned, 8> group{};
  for (size_t i = 0; i < 8; ++i) group[i] = bytes[2 * i] * 256U + bytes[2 * i + 1];
  size_t run_begin = 8, run_length = 1;
  for (size_t i = 0; i < 8; ++i) {
    size_t end = i;
    while (end < 8 && group[end] == 0) ++end;
    if (end - i > run_length) {
      run_begin = i;
      run_length = end - i;
    }
    i = std::max(i, end);
  }
  std::string text;
  for (size_t i = 0; i < 8; ++i) {
    if (i == run_begin) {
      text += "::";
      i += run_length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    text += fmt::format("{:x}", group[i]);
  }
  return text;
}

}  // namespace

std::string to_text(const IpAddress& address) {
  const auto& b = address.bytes;
  if (address.family == 4) return fmt::format("{}.{}.{}.{}", b[0], b[1], b[2], b[3]);
  if (address.family == 6) return to_text_v6(b);
  return {};
}

std::optional<IpAddress> parse_ip(std::string_view text) {
  if (text.size() >= INET6_ADDRSTRLEN || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string copy(text);
  IpAddress address;
  if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
    address.family = 4;
    return address;
  }
  if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) != 1) return std::nullopt;
  address.family = 6;
  auto& b = address.bytes;
  const bool zeros = std::all_of(b.begin(), b.begin() + 10, [](uint8_t c) { return c == 0; });
  if (!zeros || b[10] != 0xff || b[11] != 0xff) return address;
  IpAddress mapped;
  mapped.family = 4;
  std::copy_n(b.begin() + 12, 4, mapped.bytes.begin());
  return mapped;
}

std::optional<IpAddress> ip_from_bytes(std::string_view bytes) {
  IpAddress address;
  if (bytes.empty()) return address;
  if (bytes.size() != 4 && bytes.size() != 16) return std::nullopt;
  address.family = bytes.size() == 4 ? 4 : 6;
  std::transform(bytes.begin(), bytes.end(), address.bytes.begin(),
                 [](char c) { return static_cast<uint8_t>(c); });
  return address;
}

std::string_view bytes_of(const IpAddress& address) {
  const size_t n = address.family == 4 ? 4 : address.family == 6 ? 16 : 0;
  return {reinterpret_cast<const char*>(address.bytes.data()), n};
}

}  // namespace gema
