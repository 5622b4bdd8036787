// A device as the inventory knows it: a value, used by every core that cares what a device is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/domain/slot.h"

namespace gema {

// Versions of catalogue and assignment; ordered first by generation, then by number.
struct Version {
  uint64_t generation = 0;
  uint64_t number = 0;

  friend auto operator<=>(const Version&, const Version&) = default;
};

// Between two echoes of one check, when the device does not say otherwise. A train of n echoes
// lasts (n - 1) times this; one longer than its interval is refused. 100 ms is the burst's spacing.
inline constexpr uint32_t kEchoSpacingMs = 100;

struct Device {
  DeviceId id = 0;
  std::string address;   // IPv4, IPv6, or a host name
  std::string hostname;  // shown; falls back to the address
  std::string merk;      // manufacturer (the word is the source systems')
  std::string os;
  std::string kondisi;  // condition: baik, maintenance, hilang
  std::string supplier;
  std::string type;
  std::string post_code;
  std::string web_url;
  std::string id_lokasi;
  std::vector<std::string> probe_from;  // locations; empty = the default location
  DeviceId parent = 0;                  // 0 = none
  uint32_t interval_ms = 5000;
  uint32_t timeout_ms = 3000;
  uint32_t echo_count = 1;   // 1..100
  uint32_t min_replies = 1;  // 1..echo_count
  uint32_t echo_spacing_ms = kEchoSpacingMs;
  // Proof of life, asked for when echoes fail: web_url (if it is set) as these say, and tcp_ports.
  uint32_t web_status = 200;
  bool web_insecure = false;  // do not check the certificate
  std::string web_auth;  // name of a secret on the prober that holds "user:password"; "" = none
  std::string web_json;  // "/pointer=value" (RFC 6901) that the body must have; "" = none
  std::vector<uint32_t> tcp_ports;
  std::map<std::string, std::string> tags;
  std::string source;     // where it came from: "file", "api", ...
  std::string source_id;  // its id there, when that could not be kept

  friend bool operator==(const Device&, const Device&) = default;
};

}  // namespace gema
