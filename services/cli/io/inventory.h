// The devices of the inventory, as PostgreSQL has them, and how a person names some of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/slot.h"
#include "common/postgres/connection.h"
#include "services/cli/core/rows.h"

namespace gema::cli {

struct KnownDevice {
  DeviceId id = 0;
  std::string address;
  std::string hostname;
  std::string merk, os, kondisi, supplier, type, post_code, id_lokasi, source;
  std::map<std::string, std::string> tags;
  uint32_t interval_ms = 0;
  bool removed = false;

  const std::string& shown() const { return hostname.empty() ? address : hostname; }
};

inline constexpr const char* kDevicesHelp =
    "id, address or name; all; or FIELD=VALUE (type=router, merk=..., os=..., kondisi=...,"
    " supplier=..., post_code=..., id_lokasi=..., source=..., tag.NAME=...)";

class Inventory {
 public:
  static Result<Inventory> read(postgres::Connection& connection);

  // By rising id, each once. Removed devices only by their id. Fails with kBadInput, naming the
  // word that is no device, or is several.
  Result<std::vector<const KnownDevice*>> choose(const std::vector<std::string>& words) const;

  // The device that a file's host is: by address, of several with that address the one with the
  // file's id, then name; else by name, where only one has it. nullptr: none.
  const KnownDevice* find(const Host& host) const;
  const KnownDevice* find(DeviceId id) const;

  const std::vector<KnownDevice>& all() const { return devices_; }

 private:
  std::vector<KnownDevice> devices_;                       // by rising id
  std::map<std::string, std::vector<size_t>> by_address_;  // canonical, lower case
  std::map<std::string, std::vector<size_t>> by_name_;
};

}  // namespace gema::cli
