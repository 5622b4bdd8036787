#include "services/gateway/io/on_demand_json.h"

#include <limits>

#include "services/gateway/core/limits.h"
#include "services/gateway/io/json_body.h"

namespace gema::gateway {
namespace {

using json = nlohmann::json;
using Rule = std::optional<std::string>;

Rule take_text(const json& value, size_t most, std::string& out) {
  if (!value.is_string() || value.get_ref<const std::string&>().size() > most) {
    return "must be a string of at most " + std::to_string(most) + " bytes";
  }
  out = value.get<std::string>();
  return std::nullopt;
}

Rule take_number(const json& value, uint32_t& out) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
    return "must be a whole number";
  }
  out = value.get<uint32_t>();
  return std::nullopt;
}

Rule take_device(const json& value, DeviceId& out) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 || value.get<uint64_t>() > kMost) {
    return "must be a device id (a whole number from 1)";
  }
  out = value.get<uint64_t>();
  return std::nullopt;
}

Rule take_ping_field(const std::string& name, const json& value, PingAsk& ask) {
  if (name == "address") return take_text(value, 253, ask.target);
  if (name == "device") return take_device(value, ask.device);
  if (name == "count") return take_number(value, ask.count);
  if (name == "timeout_ms") return take_number(value, ask.timeout_ms);
  if (name == "spacing_ms") return take_number(value, ask.spacing_ms);
  if (name == "location") return take_text(value, 64, ask.location);
  if (name == "prober") return take_text(value, 64, ask.prober);
  return "no such field";
}

Rule take_probing_field(const std::string& name, const json& value, ProbingChange& change) {
  if (name == "by") return take_text(value, 64, change.by);
  if (name == "reason") return take_text(value, 255, change.reason);
  return "no such field";
}

template <class T, class Take>
Parsed<T> parse(const std::string& body, const Take& take) {
  Parsed<T> out;
  const Parsed<json> parsed = parse_object(body);
  out.error = parsed.error;
  if (out.error) return out;
  for (const auto& [name, value] : parsed.value.items()) {
    if (const Rule rule = take(name, value, out.value)) {
      out.error = BodyError{false, *rule == "no such field"
                                       ? "\"" + name.substr(0, 64) + "\": no such field"
                                       : name + " = " + shown(value) + ": " + *rule};
      return out;
    }
  }
  return out;
}

}  // namespace

Parsed<PingAsk> parse_ping(const std::string& body) {
  auto parsed = parse<PingAsk>(body, take_ping_field);
  if (!parsed.error && parsed.value.target.empty() == (parsed.value.device == 0)) {
    parsed.error = BodyError{false, "one of address and device is required"};
  }
  return parsed;
}

Parsed<ProbingChange> parse_probing_change(const std::string& body) {
  return body.empty() ? Parsed<ProbingChange>() : parse<ProbingChange>(body, take_probing_field);
}

}  // namespace gema::gateway
