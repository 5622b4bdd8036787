#include "services/cli/io/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "common/domain/ip_address.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/sheet.h"

namespace gema::cli {
namespace {

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// Every spelling of an address is one address.
std::string address_key(const std::string& text) {
  const auto ip = parse_ip(text);
  return ip ? to_text(*ip) : lower(text);
}

std::optional<DeviceId> parse_id(const std::string& text) {
  DeviceId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id == 0) return std::nullopt;
  return id;
}

const std::string* field_of(const KnownDevice& d, const std::string& name) {
  if (name == "type") return &d.type;
  if (name == "merk" || name == "manufacturer") return &d.merk;
  if (name == "os") return &d.os;
  if (name == "kondisi") return &d.kondisi;
  if (name == "supplier") return &d.supplier;
  if (name == "post_code") return &d.post_code;
  if (name == "id_lokasi") return &d.id_lokasi;
  if (name == "source") return &d.source;
  if (name.starts_with("tag.")) {
    const auto tag = d.tags.find(name.substr(4));
    return tag == d.tags.end() ? nullptr : &tag->second;
  }
  return nullptr;
}

bool is_field(const std::string& name) {
  static const KnownDevice any;
  return field_of(any, name) != nullptr || (name.starts_with("tag.") && name.size() > 4);
}

}  // namespace

Result<Inventory> Inventory::read(postgres::Connection& connection) {
  return connection.snapshot([](postgres::Transaction& tx) -> Result<Inventory> {
    if (tx.exec("SELECT to_regclass('devices') IS NULL")[0][0].as<bool>()) {
      return Error{Errc::kUnavailable,
                   "this database has no inventory yet: start the stack once (deploy/local/up)"};
    }
    Inventory out;
    for (const auto& row :
         tx.exec("SELECT id, address, hostname, merk, os, kondisi, supplier, type, post_code,"
                 " id_lokasi, source, tags::text, interval_ms, removed_at IS NOT NULL"
                 " FROM devices ORDER BY id")) {
      KnownDevice d{.id = static_cast<DeviceId>(row[0].as<int64_t>()),
                    .address = row[1].as<std::string>(),
                    .hostname = row[2].as<std::string>(),
                    .merk = row[3].as<std::string>(),
                    .os = row[4].as<std::string>(),
                    .kondisi = row[5].as<std::string>(),
                    .supplier = row[6].as<std::string>(),
                    .type = row[7].as<std::string>(),
                    .post_code = row[8].as<std::string>(),
                    .id_lokasi = row[9].as<std::string>(),
                    .source = row[10].as<std::string>(),
                    .interval_ms = row[12].as<uint32_t>(),
                    .removed = row[13].as<bool>()};
      const auto tags = nlohmann::json::parse(row[11].as<std::string>(), nullptr, false);
      if (tags.is_object()) {
        for (const auto& [name, value] : tags.items()) {
          if (value.is_string()) d.tags[name] = value.get<std::string>();
        }
      }
      const size_t place = out.devices_.size();
      if (!d.removed) {
        out.by_address_[address_key(d.address)].push_back(place);
        if (!d.hostname.empty()) out.by_name_[lower(d.hostname)].push_back(place);
      }
      out.devices_.push_back(std::move(d));
    }
    return out;
  });
}

const KnownDevice* Inventory::find(DeviceId id) const {
  const auto at = std::lower_bound(devices_.begin(), devices_.end(), id,
                                   [](const KnownDevice& d, DeviceId i) { return d.id < i; });
  return at != devices_.end() && at->id == id ? &*at : nullptr;
}

Result<std::vector<const KnownDevice*>> Inventory::choose(
    const std::vector<std::string>& words) const {
  std::set<size_t> chosen;
  std::vector<std::string> strangers;
  for (const std::string& word : words) {
    if (word == "all") {
      for (size_t i = 0; i < devices_.size(); ++i) {
        if (!devices_[i].removed) chosen.insert(i);
      }
      continue;
    }
    const size_t equals = word.find('=');
    if (equals != std::string::npos && is_field(word.substr(0, equals))) {
      bool any = false;
      for (size_t i = 0; i < devices_.size(); ++i) {
        const std::string* value = field_of(devices_[i], word.substr(0, equals));
        if (devices_[i].removed || value == nullptr || *value != word.substr(equals + 1)) continue;
        chosen.insert(i);
        any = true;
      }
      if (!any) return Error{Errc::kBadInput, fmt::format("no device has {}", word)};
      continue;
    }
    if (const auto id = parse_id(word)) {
      if (const KnownDevice* d = find(*id)) {
        chosen.insert(static_cast<size_t>(d - devices_.data()));
        continue;
      }
    }
    std::vector<size_t> found;
    if (const auto at = by_address_.find(address_key(word)); at != by_address_.end()) {
      found = at->second;
    } else if (const auto named = by_name_.find(lower(word)); named != by_name_.end()) {
      found = named->second;
    }
    if (found.size() > 1) {
      std::string ids;
      for (const size_t i : found) ids += fmt::format(" {}", devices_[i].id);
      return Error{Errc::kBadInput,
                   fmt::format("device = {}: {} devices have it; name one by id:{}", word,
                               found.size(), ids)};
    }
    if (found.empty()) {
      strangers.push_back(word);
      continue;
    }
    chosen.insert(found.front());
  }
  if (!strangers.empty()) {
    const size_t all = strangers.size();
    strangers.resize(std::min(all, kStrangersShown));
    return Error{
        Errc::kBadInput,
        fmt::format(
            "device = {}{}: no device of the inventory has {} id, address or name",
            printable(fmt::format("{}", fmt::join(strangers, ", "))),
            all > kStrangersShown ? fmt::format(", and {} more", all - kStrangersShown) : "",
            all == 1 ? "this" : "such an")};
  }
  std::vector<const KnownDevice*> out;
  for (const size_t i : chosen) out.push_back(&devices_[i]);
  return out;
}

const KnownDevice* Inventory::find(const Host& host) const {
  const auto pick = [&](const std::vector<size_t>& places) -> const KnownDevice* {
    if (places.size() == 1) return &devices_[places.front()];
    for (const size_t i : places) {
      if (host.id && devices_[i].id == *host.id) return &devices_[i];
    }
    const KnownDevice* named = nullptr;
    for (const size_t i : places) {
      if (lower(devices_[i].hostname) != lower(host.name)) continue;
      if (named != nullptr) return nullptr;
      named = &devices_[i];
    }
    return named;
  };
  if (const auto at = by_address_.find(address_key(host.address)); at != by_address_.end()) {
    return pick(at->second);
  }
  // A device that has an IP address now, and was known by its name; or the other way round.
  for (const std::string& name : {host.address, host.name}) {
    if (name.empty()) continue;
    const auto named = by_name_.find(lower(name));
    if (named != by_name_.end() && named->second.size() == 1) {
      return &devices_[named->second.front()];
    }
  }
  return nullptr;
}

}  // namespace gema::cli
