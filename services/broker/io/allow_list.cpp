#include "services/broker/io/allow_list.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <set>
#include <sstream>

#include "common/bus/keys.h"
#include "services/broker/core/limits.h"

namespace gema::broker {
namespace {

constexpr const char* kHeader =
    "# Who may connect to the bus, and with which rights. gema-broker --make-keys keeps entries "
    "of\n"
    "# a known kind up to date and leaves \"kind: custom\" alone. The broker reads this file "
    "again\n"
    "# whenever it changes. Rights: services/broker/core/rights.h.\n";

struct BadEntry {
  std::string text;
};

std::string quoted(const std::vector<std::string>& words) {
  std::string text = "[";
  for (const std::string& word : words) {
    if (text.size() > 1) text += ", ";
    text += '"' + word + '"';
  }
  return text + "]";
}

std::vector<std::string> words(const YAML::Node& node, const std::string& where) {
  if (!node) return {};
  if (!node.IsSequence()) throw BadEntry{where + " must be a list"};
  std::vector<std::string> list;
  for (const auto& item : node) list.push_back(item.as<std::string>());
  return list;
}

Client client_from(const YAML::Node& node, const std::string& where) {
  static const std::set<std::string> known = {
      "name", "kind", "role", "public_key", "produces", "groups", "calls", "answers", "publishes"};
  if (!node.IsMap()) throw BadEntry{where + " must be a map"};
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    if (!known.contains(key)) throw BadEntry{fmt::format("{}: unknown key \"{}\"", where, key)};
  }
  Client client;
  client.name = node["name"].as<std::string>("");
  if (!bus::is_valid_name(client.name) || client.name == bus::kBrokerName) {
    throw BadEntry{fmt::format("{}: name \"{}\" must be 1 to 63 of a-z, 0-9, - and not \"{}\"",
                               where, client.name, bus::kBrokerName)};
  }
  const auto role = role_from(node["role"].as<std::string>(""));
  if (!role) throw BadEntry{fmt::format("{} ({}): role must be inner or edge", where, client.name)};
  client.role = *role;
  client.kind = node["kind"].as<std::string>("custom");
  client.public_key = node["public_key"].as<std::string>("");
  if (!bus::is_key_text(client.public_key)) {
    throw BadEntry{
        fmt::format("{} ({}): public_key must be 40 characters of Z85", where, client.name)};
  }
  client.produces = words(node["produces"], where + ".produces");
  client.groups = words(node["groups"], where + ".groups");
  client.calls = words(node["calls"], where + ".calls");
  client.answers = node["answers"].as<bool>(false);
  client.publishes = words(node["publishes"], where + ".publishes");
  return client;
}

}  // namespace

AllowList::AllowList(std::vector<Client> clients) : clients_(std::move(clients)) {
  for (size_t i = 0; i < clients_.size(); ++i) by_key_.emplace(clients_[i].public_key, i);
}

const Client* AllowList::find_key(std::string_view public_key) const {
  const auto at = by_key_.find(public_key);
  return at == by_key_.end() ? nullptr : &clients_[at->second];
}

Result<std::vector<Client>> parse_clients(const std::string& yaml) try {
  const YAML::Node root = YAML::Load(yaml);
  if (!root.IsMap() || !root["clients"] || root.size() != 1) {
    throw BadEntry{"the file must hold \"clients:\" and nothing else"};
  }
  const YAML::Node list = root["clients"];
  if (!list.IsSequence() && !list.IsNull()) throw BadEntry{"clients must be a list"};
  if (list.size() > kClientsMax) throw BadEntry{fmt::format("more than {} clients", kClientsMax)};
  std::vector<Client> clients;
  std::set<std::string> names;
  std::set<std::string> keys;
  for (size_t i = 0; i < list.size(); ++i) {
    Client client = client_from(list[i], fmt::format("clients[{}]", i));
    if (!names.insert(client.name).second) {
      throw BadEntry{fmt::format("the name \"{}\" is there twice", client.name)};
    }
    if (!keys.insert(client.public_key).second) {
      throw BadEntry{fmt::format("the key of \"{}\" is there twice", client.name)};
    }
    clients.push_back(std::move(client));
  }
  return clients;
} catch (const BadEntry& bad) {
  return Error{Errc::kBadInput, "allow-list: " + bad.text};
} catch (const YAML::Exception& error) {
  return Error{Errc::kBadInput, fmt::format("allow-list: {}", error.what())};
}

std::string print_clients(const std::vector<Client>& clients) {
  std::string text = kHeader;
  text += clients.empty() ? "clients: []\n" : "clients:\n";
  for (const Client& client : clients) {
    text += fmt::format(
        "  - name: \"{}\"\n    kind: \"{}\"\n    role: {}\n    public_key: \"{}\"\n"
        "    produces: {}\n    groups: {}\n    calls: {}\n    answers: {}\n    publishes: {}\n",
        client.name, client.kind, to_string(client.role), client.public_key,
        quoted(client.produces), quoted(client.groups), quoted(client.calls), client.answers,
        quoted(client.publishes));
  }
  return text;
}

Result<std::vector<Client>> read_clients(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Errc::kUnavailable, fmt::format("cannot read the allow-list {}", path)};
  std::string text(kAllowListBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kAllowListBytesMax) {
    return Error{Errc::kBadInput,
                 fmt::format("the allow-list {} is over {} bytes", path, kAllowListBytesMax)};
  }
  auto clients = parse_clients(text);
  if (!clients) return Error{clients.error().code, path + ": " + clients.error().message};
  return clients;
}

}  // namespace gema::broker
