#include "services/inventory/core/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

Error no_such_device(DeviceId id) {
  return Error{Errc::kPermanent, fmt::format("no such device: {}", id)};
}

const StoredDevice* find(const Inventory& inventory, DeviceId id) {
  const auto found = inventory.devices.find(id);
  return found == inventory.devices.end() ? nullptr : &found->second;
}

bool same_schedule(const StoredDevice& a, const StoredDevice& b) {
  return scheduled_interval_ms(a) == scheduled_interval_ms(b) &&
         a.device.timeout_ms == b.device.timeout_ms && a.device.echo_count == b.device.echo_count &&
         a.device.min_replies == b.device.min_replies && a.device.probe_from == b.device.probe_from;
}

// What of the device changes between two states of its row; nullopt = nothing.
std::optional<Change> change_between(const StoredDevice* before, const StoredDevice& after) {
  if (before != nullptr && *before == after) return std::nullopt;
  Change change{.after = after};
  const bool existed = before != nullptr && !before->removed;
  if (before == nullptr) {
    change.action = Action::kCreated;
  } else if (existed && after.removed) {
    change.action = Action::kRemoved;
  } else if (!existed && !after.removed) {
    change.action = Action::kRestored;
  }
  const Device nothing{.interval_ms = 0, .timeout_ms = 0, .echo_count = 0, .min_replies = 0};
  const Device& old = existed ? before->device : nothing;
  for (const std::string_view field : device_fields()) {
    if (after.removed) break;
    std::string was = field_text(old, field);
    std::string is = field_text(after.device, field);
    if (was == is) continue;
    if (!existed) was.clear();
    change.fields.push_back({std::string(field), std::move(was), std::move(is)});
  }
  if (existed && !after.removed && change.fields.empty()) change.action = Action::kNoted;
  if (before != nullptr && before->removed && after.removed) change.action = Action::kNoted;
  const bool scheduled = existed || !after.removed;
  change.schedule_changed = scheduled && (before == nullptr ? scheduled_interval_ms(after) != 0
                                                            : !same_schedule(*before, after));
  return change;
}

bool comes_from_file(const StoredDevice& stored) {
  return stored.device.source == "file";
}

// The address under which its file knows the device, which a call may have changed since.
const std::string& address_in_file(const StoredDevice& stored) {
  return stored.source_record ? stored.source_record->address : stored.device.address;
}

// --- ids of a file's lines ----------------------------------------------------------------------

class IdGiver {
 public:
  IdGiver(const Inventory& inventory, const std::vector<const FileDevice*>& lines)
      : inventory_(inventory), next_(inventory.next_id) {
    for (const auto& [id, stored] : inventory.devices) {
      if (!comes_from_file(stored)) continue;
      if (!stored.device.source_id.empty()) by_source_id_.emplace(stored.device.source_id, id);
      // A device that is there takes precedence over a removed one that had the address before.
      const auto [at, fresh] = by_address_.emplace(address_in_file(stored), id);
      if (!fresh && inventory.devices.at(at->second).removed) at->second = id;
    }
    for (const FileDevice* line : lines) {
      if (line->device_id) ids_.emplace(line, explicit_id(*line->device_id));
    }
    for (const FileDevice* line : lines) {
      if (ids_.contains(line) || line->device_id) continue;
      const auto known = by_address_.find(line->device.address);
      if (known != by_address_.end() && taken_.insert(known->second).second) {
        ids_.emplace(line, known->second);
      }
    }
    // New ids last, so that none is given that a line further down already has.
    for (const FileDevice* line : lines) {
      const auto at = ids_.find(line);
      if (at != ids_.end() && at->second != 0) continue;
      ids_[line] = fresh_id();
    }
  }

  DeviceId id_of(const FileDevice& line) const { return ids_.at(&line); }
  DeviceId next_id() const { return next_; }

 private:
  // 0 = a clash between sources: a new id.
  DeviceId explicit_id(DeviceId wanted) {
    const auto moved = by_source_id_.find(fmt::format("{}", wanted));
    if (moved != by_source_id_.end()) {
      taken_.insert(moved->second);
      return moved->second;
    }
    const StoredDevice* there = find(inventory_, wanted);
    const bool ours =
        there == nullptr || (comes_from_file(*there) && there->device.source_id.empty());
    if (!ours) return 0;
    // An id below the counter without a row: given once, its row lost with an older database.
    if (there == nullptr && wanted < inventory_.next_id) return 0;
    taken_.insert(wanted);
    return wanted;
  }

  DeviceId fresh_id() {
    while (inventory_.devices.contains(next_) || taken_.contains(next_)) ++next_;
    taken_.insert(next_);
    return next_++;
  }

  const Inventory& inventory_;
  std::map<std::string, DeviceId> by_source_id_;
  std::map<std::string, DeviceId> by_address_;
  std::map<const FileDevice*, DeviceId> ids_;
  std::set<DeviceId> taken_;
  DeviceId next_;
};

// --- parents ------------------------------------------------------------------------------------

// Which device a line means by its `parent`: a device_id of the file, an inventory id, or an
// address or host name of the file, in this order. 0 = none of them.
class ParentFinder {
 public:
  ParentFinder(const std::vector<const FileDevice*>& lines, const IdGiver& ids) {
    for (const FileDevice* line : lines) {
      const DeviceId id = ids.id_of(*line);
      if (line->device_id) by_device_id_.emplace(*line->device_id, id);
      by_name_.emplace(line->device.address, id);
      if (line->device.hostname.empty()) continue;
      const auto [at, fresh] = by_name_.emplace(line->device.hostname, id);
      if (!fresh && at->second != id) at->second = 0;  // two of that name: neither
    }
  }

  DeviceId find_parent(const std::string& text) const {
    DeviceId number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size()) {
      const auto found = by_device_id_.find(number);
      return found == by_device_id_.end() ? number : found->second;
    }
    auto found = by_name_.find(text);
    if (found == by_name_.end()) {
      if (auto address = canonical_address(text)) found = by_name_.find(*address);
    }
    return found == by_name_.end() ? 0 : found->second;
  }

 private:
  std::map<DeviceId, DeviceId> by_device_id_;
  std::map<std::string, DeviceId> by_name_;
};

using Devices = std::map<DeviceId, StoredDevice>;

const Device* existing(const Devices& devices, DeviceId id) {
  const auto found = devices.find(id);
  return found == devices.end() || found->second.removed ? nullptr : &found->second.device;
}

// Why this parent cannot be; empty = it can.
std::string parent_problem(const Devices& devices, const Device& device) {
  if (device.parent == 0) return {};
  const Device* parent = existing(devices, device.parent);
  if (parent == nullptr) return fmt::format("there is no device {}", device.parent);
  if (parent->interval_ms > device.interval_ms) {
    return fmt::format("device {} is checked every {} ms, less often than this one ({} ms)",
                       parent->id, parent->interval_ms, device.interval_ms);
  }
  std::set<DeviceId> seen{device.id};
  for (const Device* at = parent; at != nullptr; at = existing(devices, at->parent)) {
    if (!seen.insert(at->id).second)
      return fmt::format("closes a circle through device {}", at->id);
    if (at->parent == 0) break;
  }
  return {};
}

// --- merging a line into what is stored ----------------------------------------------------------

Device merged(const StoredDevice& stored, const Device& record) {
  Device device = stored.device;
  for (const std::string_view field : device_fields()) {
    const bool news = !stored.source_record ||
                      field_text(*stored.source_record, field) != field_text(record, field);
    if (news) copy_field(record, field, device);
  }
  Device checked = device;
  if (check_device(checked, {.loopback_allowed = true}).empty()) return device;
  // What the file and a call said do not go together: the file's line is at least right in itself.
  Device whole = record;
  whole.id = stored.device.id;
  whole.source = stored.device.source;
  whole.source_id = stored.device.source_id;
  return whole;
}

StoredDevice take_line(const StoredDevice* stored, const FileDevice& line, DeviceId id,
                       DeviceId parent) {
  Device record = line.device;
  record.parent = parent;
  StoredDevice after{.source_record = record};
  const bool removed_by_call = stored != nullptr && stored->removed && stored->source_record;
  if (removed_by_call && *stored->source_record == record) return *stored;
  if (stored == nullptr || stored->removed) {
    after.device = record;
    after.device.id = id;
    after.device.source_id = stored != nullptr ? stored->device.source_id
                             : line.device_id && *line.device_id != id
                                 ? fmt::format("{}", *line.device_id)
                                 : "";
    return after;
  }
  after.device = merged(*stored, record);
  return after;
}

// --- one attempt at a whole file ----------------------------------------------------------------

struct Attempt {
  Devices devices;
  DeviceId next_id = 1;
  size_t withheld = 0;
  std::vector<std::pair<const FileDevice*, FileProblem>> refused;  // not empty: try without these
};

// Who a bad line means stays as it is, unless a good line has its address.
std::set<DeviceId> kept_for_bad_lines(const Inventory& inventory,
                                      const std::vector<const FileDevice*>& good,
                                      const std::vector<BadLine>& bad) {
  std::set<DeviceId> kept;
  std::set<std::string> listed;
  for (const FileDevice* line : good) listed.insert(line->device.address);
  std::set<std::string> source_ids, addresses;
  std::set<DeviceId> ids;
  for (const BadLine& line : bad) {
    if (line.device_id) {
      ids.insert(*line.device_id);
      source_ids.insert(fmt::format("{}", *line.device_id));
    } else if (!line.address.empty()) {
      addresses.insert(line.address);
    }
  }
  for (const auto& [id, stored] : inventory.devices) {
    if (!comes_from_file(stored) || listed.contains(address_in_file(stored))) continue;
    if (stored.device.source_id.empty() ? ids.contains(id)
                                        : source_ids.contains(stored.device.source_id)) {
      kept.insert(id);
    }
    if (addresses.contains(address_in_file(stored))) kept.insert(id);
  }
  return kept;
}

void remove_vanished(Attempt& attempt, const std::set<DeviceId>& listed,
                     const std::set<DeviceId>& kept, bool withhold) {
  for (auto& [id, stored] : attempt.devices) {
    if (!comes_from_file(stored) || listed.contains(id) || kept.contains(id)) continue;
    if (withhold) {
      attempt.withheld += stored.removed ? 0 : 1;
      continue;
    }
    stored.removed = true;
    stored.source_record.reset();
  }
}

Attempt attempt_file(const Inventory& inventory, const std::vector<const FileDevice*>& lines,
                     const std::vector<BadLine>& bad) {
  const IdGiver ids(inventory, lines);
  const ParentFinder parents(lines, ids);
  Attempt attempt{.devices = inventory.devices, .next_id = ids.next_id()};
  std::set<DeviceId> listed;
  for (const FileDevice* line : lines) {
    const DeviceId id = ids.id_of(*line);
    const DeviceId parent = line->parent.empty() ? 0 : parents.find_parent(line->parent);
    if (!line->parent.empty() && parent == 0) {
      attempt.refused.push_back({line,
                                 {line->line, fmt::format("parent: there is no device \"{}\"",
                                                          line->parent.substr(0, 80))}});
    }
    listed.insert(id);
    attempt.devices[id] = take_line(find(inventory, id), *line, id, parent);
  }
  const bool withhold = std::any_of(bad.begin(), bad.end(), [](const BadLine& line) {
    return !line.device_id && line.address.empty();
  });
  remove_vanished(attempt, listed, kept_for_bad_lines(inventory, lines, bad), withhold);
  if (!attempt.refused.empty()) return attempt;
  for (const FileDevice* line : lines) {
    const StoredDevice& stored = attempt.devices.at(ids.id_of(*line));
    const std::string problem =
        stored.removed ? "" : parent_problem(attempt.devices, stored.device);
    if (!problem.empty()) {
      attempt.refused.push_back({line, {line->line, "parent: " + problem}});
    }
  }
  return attempt;
}

// Children that came by call lose a parent that vanished from the file.
void orphan(Devices& devices) {
  for (auto& [id, stored] : devices) {
    if (stored.removed || stored.device.parent == 0) continue;
    if (existing(devices, stored.device.parent) == nullptr) stored.device.parent = 0;
  }
}

std::vector<Change> changes_between(const Devices& before, const Devices& after) {
  std::vector<Change> changes;
  for (const auto& [id, stored] : after) {
    const auto old = before.find(id);
    if (auto change = change_between(old == before.end() ? nullptr : &old->second, stored)) {
      changes.push_back(std::move(*change));
    }
  }
  return changes;
}

Planned planned_change(const Inventory& inventory, const StoredDevice& after, DeviceId next_id) {
  Planned planned{.plan = {.next_id = next_id}, .device = after.device};
  if (auto change = change_between(find(inventory, after.device.id), after)) {
    planned.plan.changes.push_back(std::move(*change));
  }
  return planned;
}

// The rules that need the other devices: a free address, and parents.
Result<void> check_among_others(const Inventory& inventory, const Device& device) {
  std::vector<FieldProblem> problems;
  for (const auto& [id, other] : inventory.devices) {
    if (other.removed || id == device.id) continue;
    if (other.device.address == device.address) {
      return Error{Errc::kPermanent,
                   fmt::format("address: {} is already device {}", device.address, id)};
    }
    const bool child = device.id != 0 && other.device.parent == device.id;
    if (child && other.device.interval_ms < device.interval_ms && problems.empty()) {
      problems.push_back({"interval_ms", fmt::format("child {} is checked more often, every {} ms",
                                                     id, other.device.interval_ms)});
    }
  }
  const std::string parent = parent_problem(inventory.devices, device);
  if (!parent.empty()) problems.push_back({"parent", parent});
  if (!problems.empty()) return Error{Errc::kBadInput, to_text(problems)};
  return {};
}

// Equal in everything a caller may set.
bool same_fields(const Device& a, const Device& b) {
  const auto fields = device_fields();
  return std::all_of(fields.begin(), fields.end(), [&](std::string_view field) {
    return field_text(a, field) == field_text(b, field);
  });
}

}  // namespace

const char* to_string(Action action) {
  switch (action) {
    case Action::kCreated:
      return "device.created";
    case Action::kUpdated:
      return "device.updated";
    case Action::kRemoved:
      return "device.removed";
    case Action::kRestored:
      return "device.restored";
    case Action::kNoted:
      return "device.noted";
  }
  return "?";
}

size_t Plan::count(Action action) const {
  return static_cast<size_t>(
      std::count_if(changes.begin(), changes.end(),
                    [&](const Change& change) { return change.action == action; }));
}

uint32_t scheduled_interval_ms(const StoredDevice& device) {
  return device.removed || !is_checked(device.device) ? 0 : device.device.interval_ms;
}

Result<Plan> plan_file(const Inventory& inventory, const DevicesFile& file) {
  std::vector<const FileDevice*> lines;
  lines.reserve(file.devices.size());
  for (const FileDevice& line : file.devices) lines.push_back(&line);
  Plan plan{.problems = file.problems};
  std::vector<BadLine> bad = file.bad;
  // Each round drops the lines whose parent cannot be; their children fall in the next. It ends,
  // because every round but the last makes `lines` shorter.
  while (!lines.empty()) {
    Attempt attempt = attempt_file(inventory, lines, bad);
    if (attempt.refused.empty()) {
      orphan(attempt.devices);
      plan.changes = changes_between(inventory.devices, attempt.devices);
      plan.next_id = attempt.next_id;
      plan.devices = lines.size();
      plan.withheld = attempt.withheld;
      break;
    }
    for (const auto& [line, problem] : attempt.refused) {
      std::erase(lines, line);
      bad.push_back({line->device_id, line->device.address});
      plan.problems.push_back(problem);
    }
  }
  if (lines.empty()) return Error{Errc::kBadInput, "the file has no good line"};
  std::stable_sort(plan.problems.begin(), plan.problems.end(),
                   [](const FileProblem& a, const FileProblem& b) { return a.line < b.line; });
  return plan;
}

Result<Planned> plan_create(const Inventory& inventory, Device device, const CallRules& rules) {
  device.id = 0;
  device.source = "api";
  device.source_id.clear();
  if (device.interval_ms == 0) device.interval_ms = rules.defaults.interval_ms;
  if (device.timeout_ms == 0) device.timeout_ms = rules.defaults.timeout_ms;
  if (device.echo_count == 0) device.echo_count = rules.defaults.echo_count;
  if (device.echo_spacing_ms == 0) device.echo_spacing_ms = rules.defaults.echo_spacing_ms;
  if (device.min_replies == 0)
    device.min_replies = std::min(rules.defaults.min_replies, device.echo_count);
  std::vector<FieldProblem> problems = check_device(
      device,
      {.loopback_allowed = rules.loopback_allowed, .web_loopback_allowed = rules.loopback_allowed});
  if (problems.empty()) {
    for (const auto& [id, stored] : inventory.devices) {
      if (!stored.removed && stored.device.source == "api" &&
          stored.device.address == device.address && same_fields(stored.device, device)) {
        return Planned{.plan = {.next_id = inventory.next_id}, .device = stored.device};
      }
    }
  }
  if (!problems.empty()) return Error{Errc::kBadInput, to_text(problems)};
  if (auto free = check_among_others(inventory, device); !free) return free.error();
  const auto there = std::count_if(inventory.devices.begin(), inventory.devices.end(),
                                   [](const auto& entry) { return !entry.second.removed; });
  if (static_cast<size_t>(there) >= kDevicesMax) {
    return Error{Errc::kPermanent,
                 fmt::format("there are already {} devices, the most there may be", there)};
  }
  DeviceId id = inventory.next_id;
  while (inventory.devices.contains(id)) ++id;
  device.id = id;
  return planned_change(inventory, StoredDevice{.device = device}, id + 1);
}

Result<Planned> plan_update(const Inventory& inventory, const Device& device,
                            const std::vector<std::string>& fields, const CallRules& rules) {
  const StoredDevice* stored = find(inventory, device.id);
  if (stored == nullptr || stored->removed) {
    return no_such_device(device.id);
  }
  StoredDevice after = *stored;
  std::vector<FieldProblem> problems;
  for (const std::string& name : fields) {
    const auto field = canonical_field(name);
    if (field) {
      copy_field(device, *field, after.device);
    } else {
      problems.push_back({name.substr(0, kTagNameMax), "is not a field of a device"});
    }
  }
  // A device of the file may stay on loopback; a call may not move one there.
  const bool loopback = rules.loopback_allowed || after.device.address == stored->device.address;
  const bool web_loopback =
      rules.loopback_allowed || after.device.web_url == stored->device.web_url;
  for (FieldProblem& problem : check_device(
           after.device, {.loopback_allowed = loopback, .web_loopback_allowed = web_loopback})) {
    problems.push_back(std::move(problem));
  }
  if (!problems.empty()) return Error{Errc::kBadInput, to_text(problems)};
  if (auto free = check_among_others(inventory, after.device); !free) return free.error();
  return planned_change(inventory, after, inventory.next_id);
}

Result<Planned> plan_delete(const Inventory& inventory, DeviceId id) {
  const StoredDevice* stored = find(inventory, id);
  if (stored == nullptr) return no_such_device(id);
  size_t children = 0;
  DeviceId first = 0;
  for (const auto& [other, child] : inventory.devices) {
    if (child.removed || child.device.parent != id) continue;
    if (children++ == 0) first = other;
  }
  if (children > 0) {
    return Error{Errc::kPermanent,
                 fmt::format("device {} is the parent of {} others, the first is device {}", id,
                             children, first)};
  }
  StoredDevice after = *stored;
  after.removed = true;
  return planned_change(inventory, after, inventory.next_id);
}

void apply(Inventory& inventory, const Plan& plan, Version version) {
  for (const Change& change : plan.changes) {
    inventory.devices.insert_or_assign(change.after.device.id, change.after);
  }
  inventory.next_id = std::max(inventory.next_id, plan.next_id);
  inventory.version = version;
}

Catalogue catalogue_of(const Inventory& inventory) {
  Catalogue catalogue{.version = inventory.version, .next_device_id = inventory.next_id};
  for (const auto& [id, stored] : inventory.devices) {
    if (!stored.removed) catalogue.devices.push_back(stored.device);
  }
  return catalogue;
}

Inventory inventory_of(const Catalogue& catalogue) {
  Inventory inventory{.version = catalogue.version, .next_id = catalogue.next_device_id};
  for (const Device& device : catalogue.devices) inventory.devices[device.id] = {.device = device};
  return inventory;
}

}  // namespace gema::inventory
