// Keeps the newest catalogue that inventory published: collects its parts, keeps the last one on
// disk for the next start, and knows when one is missing. Lower versions are refused.
// Thread: the loop's. Writes a file of a few MiB at most, without waiting for the disk.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/codec/device_codec.h"
#include "common/domain/catalogue.h"

namespace gema::timeout_tracker {

class CatalogueFeed {
 public:
  explicit CatalogueFeed(std::filesystem::path file) : file_(std::move(file)) {}

  // From disk. False: there is none that can be read; inventory will publish it.
  bool load();

  // What came on catalogue/, or as the reply to "catalogue.snapshot". True: devices() changed.
  Result<bool> on_part(std::string_view payload);
  Result<bool> on_snapshot(std::string_view catalogue);

  // A heartbeat of inventory. Other processes' are ignored.
  void on_heartbeat(std::string_view process, std::string_view payload);
  // Inventory has named a newer version than we hold: ask for it.
  bool lacks_named_version() const { return named_ > assembler_.held(); }

  // Ids of all devices, ascending.
  const std::vector<DeviceId>& devices() const { return devices_; }
  Version version() const { return assembler_.held(); }

 private:
  Result<bool> take(std::string_view bytes);
  void save(std::string_view bytes) const;

  const std::filesystem::path file_;
  SnapshotAssembler assembler_;
  Version named_;
  std::vector<DeviceId> devices_;
};

}  // namespace gema::timeout_tracker
