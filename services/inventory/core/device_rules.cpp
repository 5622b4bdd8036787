#include "services/inventory/core/device_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/utf8.h"
#include "services/inventory/core/limits.h"
#include "services/inventory/core/proof_rules.h"

namespace gema::inventory {
namespace {

constexpr std::array<std::string_view, 23> kFields = {
    "address",    "hostname",     "merk",       "os",         "kondisi",     "supplier",
    "type",       "post_code",    "web_url",    "id_lokasi",  "probe_from",  "parent",
    "tags",       "interval_ms",  "timeout_ms", "echo_count", "min_replies", "echo_spacing_ms",
    "web_status", "web_insecure", "web_auth",   "web_json",   "tcp_ports"};

struct TextField {
  std::string_view name;
  std::string Device::*member;
  size_t bytes_max;
};
const std::array<TextField, 12> kTextFields = {{{"address", &Device::address, kTextMax},
                                                {"hostname", &Device::hostname, kTextMax},
                                                {"merk", &Device::merk, kTextMax},
                                                {"os", &Device::os, kTextMax},
                                                {"kondisi", &Device::kondisi, kTextMax},
                                                {"supplier", &Device::supplier, kTextMax},
                                                {"type", &Device::type, kTextMax},
                                                {"post_code", &Device::post_code, kTextMax},
                                                {"web_url", &Device::web_url, kUrlMax},
                                                {"id_lokasi", &Device::id_lokasi, kTextMax},
                                                {"web_auth", &Device::web_auth, kTextMax},
                                                {"web_json", &Device::web_json, kTextMax}}};

struct NumberField {
  std::string_view name;
  uint32_t Device::*member;
  uint32_t min;
  uint32_t max;
};
const std::array<NumberField, 6> kNumberFields = {
    {{"interval_ms", &Device::interval_ms, kIntervalMsMin, kIntervalMsMax},
     {"timeout_ms", &Device::timeout_ms, kTimeoutMsMin, kTimeoutMsMax},
     {"echo_count", &Device::echo_count, 1, kEchoCountMax},
     {"min_replies", &Device::min_replies, 1, kEchoCountMax},
     {"echo_spacing_ms", &Device::echo_spacing_ms, kEchoSpacingMsMin, kEchoSpacingMsMax},
     {"web_status", &Device::web_status, 100, 599}}};

template <class Table>
auto find_field(const Table& table, std::string_view name) -> decltype(table.data()) {
  for (const auto& field : table) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ";") + part;
  return text;
}

std::vector<std::string> split_locations(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(';'), text.size());
    const std::string_view part = trimmed(text.substr(0, end));
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Result<uint32_t> parse_whole(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Error{Errc::kBadInput, fmt::format("\"{}\" is not a whole number", text.substr(0, 40))};
  }
  return value;
}

std::string ports_text(const std::vector<uint32_t>& ports) {
  std::string text;
  for (const uint32_t port : ports) text += fmt::format("{}{}", text.empty() ? "" : ";", port);
  return text;
}

Result<bool> parse_flag(std::string_view text) {
  const std::string word = lower(text);
  if (word == "true" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "no" || word == "0") return false;
  return Error{Errc::kBadInput,
               fmt::format("\"{}\" is neither true nor false", text.substr(0, 40))};
}

void check_texts(Device& device, std::vector<FieldProblem>& problems) {
  for (const TextField& field : kTextFields) {
    std::string& value = device.*field.member;
    value = std::string(trimmed(value));
    if (value.size() > field.bytes_max) {
      problems.push_back(
          {std::string(field.name), fmt::format("is longer than {} bytes", field.bytes_max)});
    } else if (!is_clean_text(value)) {
      problems.push_back({std::string(field.name), "holds control characters or is not UTF-8"});
    }
  }
}

void check_numbers(const Device& device, std::vector<FieldProblem>& problems) {
  bool in_range = true;
  for (const NumberField& field : kNumberFields) {
    const uint32_t value = device.*field.member;
    if (value >= field.min && value <= field.max) continue;
    in_range = false;
    problems.push_back({std::string(field.name),
                        fmt::format("{} is not within {} to {}", value, field.min, field.max)});
  }
  if (!in_range) return;
  if (device.min_replies > device.echo_count) {
    problems.push_back({"min_replies", fmt::format("{} is more than echo_count {}",
                                                   device.min_replies, device.echo_count)});
  }
  const uint32_t train_ms = (device.echo_count - 1) * device.echo_spacing_ms;
  if (train_ms > device.interval_ms) {
    problems.push_back(
        {"echo_count",
         fmt::format("{} echoes, {} ms apart, take {} ms, longer than the interval of {} ms",
                     device.echo_count, device.echo_spacing_ms, train_ms, device.interval_ms)});
  }
}

void check_proof(Device& device, AddressRules rules, std::vector<FieldProblem>& problems) {
  if (auto url = canonical_url(device.web_url, rules)) {
    device.web_url = *url;
  } else {
    problems.push_back({"web_url", url.error().message});
  }
  if (const auto name = check_secret_name(device.web_auth); !name) {
    problems.push_back({"web_auth", name.error().message});
  }
  if (const auto json = check_web_json(device.web_json); !json) {
    problems.push_back({"web_json", json.error().message});
  }
  if (const auto ports = check_ports(device.tcp_ports)) problems.push_back({"tcp_ports", *ports});
}

void check_lists(Device& device, std::vector<FieldProblem>& problems) {
  std::sort(device.probe_from.begin(), device.probe_from.end());
  device.probe_from.erase(std::unique(device.probe_from.begin(), device.probe_from.end()),
                          device.probe_from.end());
  if (device.probe_from.size() > kLocationsMax) {
    problems.push_back({"probe_from", fmt::format("names more than {} locations", kLocationsMax)});
  }
  for (const std::string& location : device.probe_from) {
    if (location.empty() || location.size() > kTagNameMax || !is_clean_text(location) ||
        location.find(';') != std::string::npos) {
      problems.push_back(
          {"probe_from", "holds a location name that is empty, too long or not text"});
      break;
    }
  }
  if (device.tags.size() > kTagsMax) {
    problems.push_back({"tags", fmt::format("are more than {}", kTagsMax)});
  }
  for (const auto& [name, value] : device.tags) {
    if (name.empty() || name.size() > kTagNameMax || !is_clean_text(name) ||
        value.size() > kTagValueMax || !is_clean_text(value)) {
      problems.push_back({"tags", fmt::format("\"{}\" is too long or not text",
                                              is_clean_text(name) ? name.substr(0, 40) : "?")});
      break;
    }
  }
}

}  // namespace

std::string to_text(const std::vector<FieldProblem>& problems) {
  std::string text;
  for (const FieldProblem& problem : problems) {
    if (!text.empty()) text += "; ";
    text += problem.field + ": " + problem.reason;
  }
  return text;
}

std::span<const std::string_view> device_fields() {
  return kFields;
}

std::optional<std::string_view> canonical_field(std::string_view name) {
  if (name == "ip_address") return "address";
  if (name == "manufacturer") return "merk";
  if (name == "interval_s") return "interval_ms";
  const auto found = std::find(kFields.begin(), kFields.end(), name);
  if (found == kFields.end()) return std::nullopt;
  return *found;
}

std::string field_text(const Device& device, std::string_view field) {
  if (const auto* text = find_field(kTextFields, field)) return device.*(text->member);
  if (const auto* number = find_field(kNumberFields, field)) {
    return fmt::format("{}", device.*(number->member));
  }
  if (field == "probe_from") return join(device.probe_from);
  if (field == "parent") return fmt::format("{}", device.parent);
  if (field == "web_insecure") return device.web_insecure ? "true" : "false";
  if (field == "tcp_ports") return ports_text(device.tcp_ports);
  GEMA_ASSERT(field == "tags");
  std::string text;
  for (const auto& [name, value] : device.tags) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, value);
  }
  return text;
}

void copy_field(const Device& from, std::string_view field, Device& to) {
  if (const auto* text = find_field(kTextFields, field)) {
    to.*(text->member) = from.*(text->member);
  } else if (const auto* number = find_field(kNumberFields, field)) {
    to.*(number->member) = from.*(number->member);
  } else if (field == "probe_from") {
    to.probe_from = from.probe_from;
  } else if (field == "parent") {
    to.parent = from.parent;
  } else if (field == "web_insecure") {
    to.web_insecure = from.web_insecure;
  } else if (field == "tcp_ports") {
    to.tcp_ports = from.tcp_ports;
  } else {
    GEMA_ASSERT(field == "tags");
    to.tags = from.tags;
  }
}

std::optional<FieldProblem> set_field(Device& device, std::string_view name,
                                      std::string_view text) {
  const auto field = canonical_field(name);
  GEMA_ASSERT(field.has_value() && *field != "parent" && *field != "tags");
  if (const auto* member = find_field(kTextFields, *field)) {
    device.*(member->member) = std::string(text);
    return std::nullopt;
  }
  if (*field == "probe_from") {
    device.probe_from = split_locations(text);
    return std::nullopt;
  }
  if (*field == "tcp_ports") {
    auto ports = parse_ports(text);
    if (!ports) return FieldProblem{std::string(name), ports.error().message};
    device.tcp_ports = std::move(*ports);
    return std::nullopt;
  }
  if (*field == "web_insecure") {
    const auto flag = parse_flag(text);
    if (!flag) return FieldProblem{std::string(name), flag.error().message};
    device.web_insecure = *flag;
    return std::nullopt;
  }
  auto value = name == "interval_s" ? parse_seconds(text) : parse_whole(text);
  if (!value) return FieldProblem{std::string(name), value.error().message};
  const auto* number = find_field(kNumberFields, *field);
  GEMA_ASSERT(number != nullptr);
  device.*(number->member) = *value;
  return std::nullopt;
}

std::vector<FieldProblem> check_device(Device& device, AddressRules rules) {
  std::vector<FieldProblem> problems;
  check_texts(device, problems);
  if (problems.empty() || problems.front().field != "address") {
    auto address = canonical_address(device.address, rules);
    if (address) {
      device.address = *address;
    } else {
      problems.push_back({"address", address.error().message});
    }
  }
  device.kondisi = device.kondisi.empty() ? "baik" : lower(device.kondisi);
  check_proof(device, rules, problems);
  check_lists(device, problems);
  check_numbers(device, problems);
  if (device.parent != 0 && device.parent == device.id) {
    problems.push_back({"parent", "is the device itself"});
  }
  return problems;
}

Result<uint32_t> parse_seconds(std::string_view text) {
  const Error bad{Errc::kBadInput,
                  fmt::format("\"{}\" is not a number of seconds", text.substr(0, 40))};
  const size_t point = std::min(text.find('.'), text.size());
  auto whole = parse_whole(text.substr(0, point));
  if (!whole || *whole > 4'000'000) return bad;
  uint32_t ms = *whole * 1000;
  if (point == text.size()) return ms;
  std::string_view decimals = text.substr(point + 1);
  if (decimals.empty() || decimals.size() > 3) return bad;
  auto fraction = parse_whole(decimals);
  if (!fraction) return bad;
  uint32_t scaled = *fraction;
  for (size_t i = decimals.size(); i < 3; ++i) scaled *= 10;
  return ms + scaled;
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace gema::inventory
