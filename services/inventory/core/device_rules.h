// What a device may look like: one list of its fields, the rules for their values, and the reading
// of values from text. The devices file, the calls and the audit all use it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/catalogue.h"
#include "services/inventory/core/address.h"

namespace gema::inventory {

// What a device gets that does not say otherwise.
struct DeviceDefaults {
  uint32_t interval_ms = 5000;
  uint32_t timeout_ms = 3000;
  uint32_t echo_count = 1;
  uint32_t min_replies = 1;
  uint32_t echo_spacing_ms = kEchoSpacingMs;
};

struct FieldProblem {
  std::string field;
  std::string reason;

  friend bool operator==(const FieldProblem&, const FieldProblem&) = default;
};

// "address: ...; interval_ms: ..."
std::string to_text(const std::vector<FieldProblem>& problems);

// The fields a caller or a file may set, by their names: address, hostname, merk, ...
std::span<const std::string_view> device_fields();

// The field's canonical name: "ip_address" -> "address", "manufacturer" -> "merk",
// "interval_s" -> "interval_ms"; a field's own name; nullopt for anything else.
std::optional<std::string_view> canonical_field(std::string_view name);

// A field's value as text (for the audit and for comparing). Requires: a name of device_fields().
std::string field_text(const Device& device, std::string_view field);

// Copies one field. Requires: a name of device_fields().
void copy_field(const Device& from, std::string_view field, Device& to);

// Sets a field from text, as files write it: `name` may be an alias; "interval_s" reads seconds
// with up to three decimals; probe_from and tcp_ports are separated by ";". Parent is not set here:
// what a file writes there needs the whole file. Returns what is wrong with the text.
std::optional<FieldProblem> set_field(Device& device, std::string_view name, std::string_view text);

// Brings the values to their canonical form (address, kondisi, web_url, probe_from, tcp_ports) and
// returns everything that breaks a rule. A device without problems may be stored.
std::vector<FieldProblem> check_device(Device& device, AddressRules rules);

// Seconds with up to three decimals ("0.5") as ms.
Result<uint32_t> parse_seconds(std::string_view text);

std::string_view trimmed(std::string_view text);

}  // namespace gema::inventory
