#include "services/inventory/io/state_files.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "common/bus/keys.h"
#include "common/codec/device_codec.h"
#include "common/codec/on_demand_codec.h"
#include "gema/v1/inventory.pb.h"
#include "proto/parse.h"

namespace gema::inventory {
namespace {

constexpr const char* kCatalogueFile = "catalogue.pb";
constexpr const char* kOwnersFile = "owners.pb";
constexpr const char* kProbingFile = "probing.pb";

Result<std::optional<std::string>> read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::optional<std::string>{};
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  if (in.peek() != std::ifstream::traits_type::eof()) bytes << in.rdbuf();
  if (in.bad()) return Error{Errc::kPermanent, fmt::format("{}: cannot be read", path.string())};
  return std::optional<std::string>(bytes.str());
}

}  // namespace

std::string encode_owners(const Owners& owners) {
  v1::Owners message;
  for (const auto& [name, location] : owners.locations) {
    v1::Owners::Location* out = message.add_locations();
    out->set_name(name);
    for (const std::string& prober : location.probers) out->add_probers(prober);
    std::map<std::string, uint32_t> index;
    for (const auto& [device, owner] : location.owner) {
      const auto [at, fresh] = index.emplace(owner, static_cast<uint32_t>(index.size()));
      if (fresh) out->add_owners(owner);
      out->add_devices(device);
      out->add_owner(at->second);
    }
  }
  return message.SerializeAsString();
}

Result<Owners> decode_owners(std::string_view bytes) {
  v1::Owners message;
  const Error bad{Errc::kBadInput, "owners: the bytes are not what was written"};
  if (!parse(bytes, message)) return bad;
  Owners owners;
  for (const v1::Owners::Location& in : message.locations()) {
    if (in.devices_size() != in.owner_size()) return bad;
    Owners::Location& location = owners.locations[in.name()];
    location.probers.assign(in.probers().begin(), in.probers().end());
    for (int i = 0; i < in.devices_size(); ++i) {
      if (in.owner(i) >= static_cast<uint32_t>(in.owners_size())) return bad;
      location.owner[in.devices(i)] = in.owners(static_cast<int>(in.owner(i)));
    }
  }
  return owners;
}

std::string encode_kept_probing(const KeptProbing& kept) {
  v1::KeptProbing message;
  to_proto(kept.state, *message.mutable_state());
  for (const ProbingEvent& event : kept.unwritten) {
    v1::ProbingEvent* out = message.add_unwritten();
    out->set_at_us(unix_us(event.at));
    out->set_paused(event.paused);
    out->set_actor(event.actor);
    out->set_by(event.by);
    out->set_reason(event.reason);
  }
  return message.SerializeAsString();
}

Result<KeptProbing> decode_kept_probing(std::string_view bytes) {
  v1::KeptProbing message;
  if (!parse(bytes, message)) {
    return Error{Errc::kBadInput, "probing: the bytes are not what was written"};
  }
  KeptProbing kept{.state = from_proto(message.state())};
  for (const v1::ProbingEvent& event : message.unwritten()) {
    kept.unwritten.push_back({.at = wall_from_us(event.at_us()),
                              .paused = event.paused(),
                              .actor = event.actor(),
                              .by = event.by(),
                              .reason = event.reason()});
  }
  return kept;
}

Result<std::optional<Catalogue>> StateFiles::read_catalogue() const {
  auto bytes = read_file(dir_ / kCatalogueFile);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<Catalogue>{};
  auto catalogue = decode_catalogue(**bytes);
  if (!catalogue) return catalogue.error();
  return std::optional<Catalogue>(std::move(*catalogue));
}

Result<std::optional<Owners>> StateFiles::read_owners() const {
  auto bytes = read_file(dir_ / kOwnersFile);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<Owners>{};
  auto owners = decode_owners(**bytes);
  if (!owners) return owners.error();
  return std::optional<Owners>(std::move(*owners));
}

Result<std::optional<KeptProbing>> StateFiles::read_probing() const {
  auto bytes = read_file(dir_ / kProbingFile);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<KeptProbing>{};
  auto kept = decode_kept_probing(**bytes);
  if (!kept) return kept.error();
  return std::optional<KeptProbing>(std::move(*kept));
}

Result<void> StateFiles::write_probing(const KeptProbing& kept) const {
  return bus::write_file_atomically(dir_ / kProbingFile, encode_kept_probing(kept), 0600);
}

Result<void> StateFiles::write_catalogue(const std::string& bytes) const {
  return bus::write_file_atomically(dir_ / kCatalogueFile, bytes, 0600);
}

Result<void> StateFiles::write_owners(const Owners& owners) const {
  return bus::write_file_atomically(dir_ / kOwnersFile, encode_owners(owners), 0600);
}

}  // namespace gema::inventory
