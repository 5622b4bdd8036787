// The states of all devices as one flat array, found by id with one hash.
//
// Entries are never removed: a device that leaves the catalogue is only no longer named, and keeps
// its transition counter. So an index stays valid for good. Bound: kDevicesMax.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/domain/transition.h"
#include "services/timeout-tracker/core/device_status.h"
#include "services/timeout-tracker/core/limits.h"

namespace gema::timeout_tracker {

// Numbers for the few names that states repeat; 0 is "".
class Names {
 public:
  uint16_t number(std::string_view name);
  const std::string& name(uint16_t number) const { return names_[number]; }
  const std::vector<std::string>& all() const { return names_; }

 private:
  std::vector<std::string> names_{std::string()};
};

DeviceState to_device_state(DeviceId device, const State& state,
                            const std::vector<std::string>& names);
State from_device_state(const DeviceState& state, Names& names);

class DeviceTable {
 public:
  struct Entry {
    DeviceId device = 0;
    State state;
    uint32_t touched = 0;  // the generation in which the state last changed
    bool named = false;    // in the catalogue
    bool guarded = false;  // see Tracker::overlay
  };

  static constexpr uint32_t kNone = UINT32_MAX;

  DeviceTable();

  // The index of `device`, or kNone.
  uint32_t find(DeviceId device) const {
    uint64_t at = hash(device) & mask_;
    while (slots_[at] != kNone) {
      if (entries_[slots_[at]].device == device) return slots_[at];
      at = (at + 1) & mask_;
    }
    return kNone;
  }

  // The index of `device`, added when it is new; kNone at the bound.
  uint32_t find_or_add(DeviceId device);

  Entry& operator[](uint32_t index) { return entries_[index]; }
  const Entry& operator[](uint32_t index) const { return entries_[index]; }
  size_t size() const { return entries_.size(); }
  std::vector<Entry>& entries() { return entries_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  // SplitMix64's finaliser: ids are often consecutive, and attackers do not choose them.
  static uint64_t hash(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  void insert(uint32_t index);

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // open addressing, at most half full
  uint64_t mask_ = 0;
};

}  // namespace gema::timeout_tracker
