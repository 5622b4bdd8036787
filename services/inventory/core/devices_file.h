// From the text of a devices file to devices, line by line: the good ones are taken, a bad one is
// named by its line and the reason. Ids and parents come later (core/inventory.h), because they
// depend on what is already there.
//
// YAML is parsed in io/ and arrives here as Records, so that CSV and YAML obey the same rules.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "services/inventory/core/device_rules.h"

namespace gema::inventory {

// One device as written: names and values in the file's order.
struct Record {
  int line = 0;
  std::vector<std::pair<std::string, std::string>> fields;
  std::vector<std::pair<std::string, std::string>> tags;  // named as such (YAML `tags:`)
};

struct FileDevice {
  int line = 0;
  std::optional<DeviceId> device_id;  // when the file gives one
  std::string parent;  // as written: a device_id, an inventory id, an address or a name
  Device device;       // id and parent 0, source "file", values checked
};

struct FileProblem {
  int line = 0;  // 0 = the file as a whole
  std::string reason;

  friend bool operator==(const FileProblem&, const FileProblem&) = default;
};

// "line 7: address: ..."
std::string to_text(const FileProblem& problem);

// A bad line still says whom it means: that device is left as it is, not removed. With both empty
// nobody knows, and then nothing at all is removed.
struct BadLine {
  std::optional<DeviceId> device_id;
  std::string address;
};

struct DevicesFile {
  std::vector<FileDevice> devices;
  std::vector<FileProblem> problems;  // by line
  std::vector<BadLine> bad;
};

// Fails with kBadInput when the file cannot be read as a whole: no header line, no address column,
// a column twice.
Result<DevicesFile> read_devices_csv(std::string_view text, const DeviceDefaults& defaults);

// The same for records; `problems` found while parsing are kept in front.
DevicesFile read_devices(const std::vector<Record>& records, const DeviceDefaults& defaults,
                         std::vector<FileProblem> problems = {});

}  // namespace gema::inventory
