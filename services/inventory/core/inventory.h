// Which devices exist, under which ids, and what a file or a call changes about that.
//
// Planning is pure: (what is stored, what is asked) -> the rows to write. io/store writes a plan in
// one transaction; only then apply() makes it true in memory. Nothing is half done.
//
// Ids: a file's device_id is kept when it is free or already that source's; a clash between sources
// gets a new id and keeps source and source_id. Without a device_id an address known to its source
// keeps its id and a new one gets the next free id, in file order from 1. Ids are never given
// twice: a removed device keeps its row.
//
// File and calls: what a source says anew wins, field by field; what a call changed stays until the
// file says something new about that very field. A device of the file that a call removed stays
// away until its line changes, or vanishes and comes again.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/catalogue.h"
#include "services/inventory/core/device_rules.h"
#include "services/inventory/core/devices_file.h"

namespace gema::inventory {

struct StoredDevice {
  Device device;
  std::optional<Device>
      source_record;  // what its file last said; id 0; none once it vanished there
  bool removed = false;

  friend bool operator==(const StoredDevice&, const StoredDevice&) = default;
};

struct Inventory {
  Version version;
  DeviceId next_id = 1;  // lower ids were given, or are taken by a device_id of a file
  std::map<DeviceId, StoredDevice> devices;  // removed ones included

  friend bool operator==(const Inventory&, const Inventory&) = default;
};

enum class Action { kCreated, kUpdated, kRemoved, kRestored, kNoted };
const char* to_string(Action action);  // "device.created", ...; kNoted = only source_record changed

struct FieldChange {
  std::string field;
  std::string before;
  std::string after;

  friend bool operator==(const FieldChange&, const FieldChange&) = default;
};

struct Change {
  Action action = Action::kUpdated;
  StoredDevice after;
  std::vector<FieldChange> fields;  // for the audit
  bool schedule_changed = false;    // a row in schedules follows
};

struct Plan {
  std::vector<Change> changes;  // ascending ids; empty = nothing to write
  DeviceId next_id = 1;
  std::vector<FileProblem> problems;  // of a file: its own and those of ids and parents, by line
  size_t devices = 0;                 // of a file: good lines
  size_t withheld = 0;  // of a file: devices not removed because an unreadable line may mean them

  size_t count(Action action) const;
};

// The checked schedule of a device; interval 0 = not checked.
uint32_t scheduled_interval_ms(const StoredDevice& device);

// A whole file against what is stored. Fails with kBadInput when it has no good line: an empty or
// truncated file must not empty the inventory.
Result<Plan> plan_file(const Inventory& inventory, const DevicesFile& file);

struct CallRules {
  DeviceDefaults defaults;
  bool loopback_allowed = false;
};

struct Planned {
  Plan plan;
  Device device;  // the answer
};

// Calls. Repeating one that took effect changes nothing and gives the same answer. They fail with
// kBadInput, naming the field ("address: ..."), when a value breaks a rule; with kPermanent when
// there is no such device (the message begins so) or it clashes with another one.
Result<Planned> plan_create(const Inventory& inventory, Device device, const CallRules& rules);
Result<Planned> plan_update(const Inventory& inventory, const Device& device,
                            const std::vector<std::string>& fields, const CallRules& rules);
Result<Planned> plan_delete(const Inventory& inventory, DeviceId id);

// Requires: the plan was made from this inventory.
void apply(Inventory& inventory, const Plan& plan, Version version);

// The devices that exist, for everyone.
Catalogue catalogue_of(const Inventory& inventory);

// Back from what inventory kept on disk, when the database is away. Removed devices and source
// records are not in it; nothing may be planned from it.
Inventory inventory_of(const Catalogue& catalogue);

}  // namespace gema::inventory
