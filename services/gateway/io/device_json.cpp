#include "services/gateway/io/device_json.h"

#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "services/gateway/core/limits.h"
#include "services/gateway/io/json_body.h"

namespace gema::gateway {
namespace {

using json = nlohmann::json;

// Takes one field's value into the device; returns the rule it breaks.
using Setter = std::function<std::optional<std::string>(Device&, const json&)>;

Setter text(std::string Device::*field) {
  return [field](Device& device, const json& value) -> std::optional<std::string> {
    if (!value.is_string()) {
      return "must be a string";
    }
    if (value.get_ref<const std::string&>().size() > kFieldBytesMax) {
      return "must have at most " + std::to_string(kFieldBytesMax) + " bytes";
    }
    device.*field = value.get<std::string>();
    return std::nullopt;
  };
}

std::optional<uint64_t> whole_number(const json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>();
  }
  return std::nullopt;
}

// Fields whose 0 means "not given" on the way to inventory have 1 as their `least`.
Setter number(uint32_t Device::*field, uint32_t least = 0) {
  return [field, least](Device& device, const json& value) -> std::optional<std::string> {
    const auto given = whole_number(value);
    if (!given || *given < least || *given > std::numeric_limits<uint32_t>::max()) {
      return "must be a whole number from " + std::to_string(least) + " to 4294967295";
    }
    device.*field = static_cast<uint32_t>(*given);
    return std::nullopt;
  };
}

std::optional<std::string> set_web_insecure(Device& device, const json& value) {
  if (!value.is_boolean()) {
    return "must be true or false";
  }
  device.web_insecure = value.get<bool>();
  return std::nullopt;
}

std::optional<std::string> set_tcp_ports(Device& device, const json& value) {
  if (!value.is_array() || value.size() > 64) {
    return "must be an array of at most 64 ports";
  }
  std::vector<uint32_t> ports;
  for (const json& port : value) {
    const auto given = whole_number(port);
    if (!given || *given < 1 || *given > 65'535) {
      return "must hold whole numbers from 1 to 65535";
    }
    ports.push_back(static_cast<uint32_t>(*given));
  }
  device.tcp_ports = std::move(ports);
  return std::nullopt;
}

Setter identity(DeviceId Device::*field, bool null_is_none) {
  return [field, null_is_none](Device& device, const json& value) -> std::optional<std::string> {
    if (null_is_none && value.is_null()) {
      device.*field = 0;
      return std::nullopt;
    }
    const auto given = whole_number(value);
    if (!given || *given > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        (*given == 0 && !null_is_none)) {
      return "must be a device id (a whole number from 1)";
    }
    device.*field = *given;
    return std::nullopt;
  };
}

std::optional<std::string> set_probe_from(Device& device, const json& value) {
  if (!value.is_array() || value.size() > 64) {
    return "must be an array of at most 64 locations";
  }
  std::vector<std::string> locations;
  for (const json& location : value) {
    if (!location.is_string() || location.get_ref<const std::string&>().size() > 64) {
      return "must hold strings of at most 64 bytes";
    }
    locations.push_back(location.get<std::string>());
  }
  device.probe_from = std::move(locations);
  return std::nullopt;
}

std::optional<std::string> set_tags(Device& device, const json& value) {
  if (!value.is_object() || value.size() > 64) {
    return "must be an object of at most 64 strings";
  }
  std::map<std::string, std::string> tags;
  for (const auto& [name, tag] : value.items()) {
    if (!tag.is_string() || tag.get_ref<const std::string&>().size() > kFieldBytesMax ||
        name.size() > 128) {
      return "must hold strings of at most " + std::to_string(kFieldBytesMax) +
             " bytes under names of at most 128";
    }
    tags.emplace(name, tag.get<std::string>());
  }
  device.tags = std::move(tags);
  return std::nullopt;
}

struct Field {
  std::string name;  // inventory's
  Setter set;
};

// What a caller may write, with the other names the source systems have for it.
const std::map<std::string, Field>& fields() {
  static const std::map<std::string, Field> all = [] {
    std::map<std::string, Field> out;
    const auto add = [&out](const char* name, Setter set,
                            std::initializer_list<const char*> aliases = {}) {
      for (const char* alias : aliases) {
        out[alias] = {name, set};
      }
      out[name] = {name, std::move(set)};
    };
    add("id", identity(&Device::id, false), {"device_id"});
    add("address", text(&Device::address), {"ip_address"});
    add("hostname", text(&Device::hostname));
    add("merk", text(&Device::merk), {"manufacturer"});
    add("os", text(&Device::os));
    add("kondisi", text(&Device::kondisi));
    add("supplier", text(&Device::supplier));
    add("type", text(&Device::type));
    add("post_code", text(&Device::post_code));
    add("web_url", text(&Device::web_url));
    add("id_lokasi", text(&Device::id_lokasi));
    add("probe_from", set_probe_from);
    add("parent", identity(&Device::parent, true));
    add("interval_ms", number(&Device::interval_ms));
    add("timeout_ms", number(&Device::timeout_ms));
    add("echo_count", number(&Device::echo_count));
    add("min_replies", number(&Device::min_replies));
    add("echo_spacing_ms", number(&Device::echo_spacing_ms, 1));
    add("web_status", number(&Device::web_status, 1));
    add("web_insecure", set_web_insecure);
    add("web_auth", text(&Device::web_auth));
    add("web_json", text(&Device::web_json));
    add("tcp_ports", set_tcp_ports);
    add("tags", set_tags);
    return out;
  }();
  return all;
}

Parsed<DeviceChange> fail(bool malformed, std::string message) {
  Parsed<DeviceChange> out;
  out.error = BodyError{malformed, std::move(message)};
  return out;
}

Parsed<DeviceChange> parse(const std::string& body) {
  const Parsed<json> parsed = parse_object(body);
  if (parsed.error) {
    return fail(parsed.error->malformed, parsed.error->message);
  }
  Parsed<DeviceChange> out;
  for (const auto& [name, value] : parsed.value.items()) {
    const auto field = fields().find(name);
    if (field == fields().end()) {
      return fail(false, "\"" + name.substr(0, 64) + "\": no such field");
    }
    if (const auto rule = field->second.set(out.value.device, value)) {
      return fail(false, name + " = " + shown(value) + ": " + *rule);
    }
    for (const auto& known : out.value.fields) {
      if (known == field->second.name) {
        return fail(false, "\"" + name + "\": given twice under different names");
      }
    }
    out.value.fields.push_back(field->second.name);
  }
  return out;
}

bool has(const DeviceChange& change, const char* field) {
  return std::find(change.fields.begin(), change.fields.end(), field) != change.fields.end();
}

}  // namespace

Parsed<DeviceChange> parse_new_device(const std::string& body) {
  auto parsed = parse(body);
  if (!parsed.error && has(parsed.value, "id")) {
    return fail(false, "id: is given by Gema, not by the caller");
  }
  if (!parsed.error && !has(parsed.value, "address")) {
    return fail(false, "address: required");
  }
  if (!parsed.error) {
    // What is not given is inventory's default, which 0 asks for.
    Device& device = parsed.value.device;
    for (auto field :
         {&Device::interval_ms, &Device::timeout_ms, &Device::echo_count, &Device::min_replies}) {
      const char* name = field == &Device::interval_ms  ? "interval_ms"
                         : field == &Device::timeout_ms ? "timeout_ms"
                         : field == &Device::echo_count ? "echo_count"
                                                        : "min_replies";
      if (!has(parsed.value, name)) {
        device.*field = 0;
      } else if (device.*field == 0) {
        return fail(false, std::string(name) + " = 0: must be at least 1");
      }
    }
  }
  return parsed;
}

Parsed<DeviceChange> parse_device_patch(const std::string& body, DeviceId id) {
  auto parsed = parse(body);
  if (parsed.error) {
    return parsed;
  }
  if (has(parsed.value, "id")) {
    return fail(false, "id: cannot be changed");
  }
  if (parsed.value.fields.empty()) {
    return fail(false, "the body names no field to change");
  }
  parsed.value.device.id = id;
  return parsed;
}

}  // namespace gema::gateway
