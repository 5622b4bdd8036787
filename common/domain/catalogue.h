// What exists (Catalogue) and who checks what (Assignment), as values. common/codec/device_codec.h
// turns them into messages; inventory makes them, everyone else keeps the last one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/domain/device.h"

namespace gema {

// The location of a prober that names none and of a device that asks for none.
inline constexpr const char* kDefaultLocation = "default";

// A device somebody lost (the source systems' "hilang") stays in the inventory and is not checked.
inline bool is_checked(const Device& device) {
  return device.kondisi != "hilang";
}

struct Catalogue {
  Version version;
  std::vector<Device> devices;  // ascending ids
  DeviceId next_device_id = 1;  // ids from here on were never given; inventory's own bookkeeping

  friend bool operator==(const Catalogue&, const Catalogue&) = default;
};

// How a device may prove that it lives when its echoes fail.
struct ProofSpec {
  std::string web_url;  // "" = not by HTTP
  uint32_t web_status = 200;
  bool web_insecure = false;
  std::string web_auth;
  std::string web_json;
  std::vector<uint32_t> tcp_ports;

  bool any() const { return !web_url.empty() || !tcp_ports.empty(); }
  friend bool operator==(const ProofSpec&, const ProofSpec&) = default;
};

struct AssignedDevice {
  DeviceId id = 0;
  std::string address;
  uint32_t interval_ms = 5000;
  uint32_t timeout_ms = 3000;
  uint32_t echo_count = 1;
  uint32_t min_replies = 1;
  uint32_t echo_spacing_ms = kEchoSpacingMs;
  ProofSpec proof;

  friend bool operator==(const AssignedDevice&, const AssignedDevice&) = default;
};

// Everything one prober checks. An empty list is an order too: check nothing.
struct Assignment {
  Version version;
  std::string prober;
  std::string location;
  uint32_t down_after = 3;  // failed checks in a row until which every failing check gets a burst
  std::string paused_by;    // not empty: probing is paused, by whom; slots are not measured: paused
  std::vector<AssignedDevice> devices;  // ascending ids

  friend bool operator==(const Assignment&, const Assignment&) = default;
};

// What a caller asks of inventory ("device.create", "device.update", "device.delete").
struct DeviceChange {
  Device device;                    // update, delete: id says which
  std::vector<std::string> fields;  // update: which of its fields to take, by their names
  std::string actor;                // for the audit
};

}  // namespace gema
