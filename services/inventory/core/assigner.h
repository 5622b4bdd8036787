// Who checks what: which probers are alive, which of them owns a device at each of its locations,
// and what each prober's assignment therefore holds.
//
// In: heartbeats, the catalogue, time. Out: which assignments to publish, whether owners must be
// kept on disk. It decides by rendezvous hashing over a location's live probers, so that one
// prober's coming or going moves only what it gains or loses.
//
//  - Silent 5 s = dead; what it owned goes to the others at once.
//  - Nothing moves for 10 s after inventory's own (re)connection, nor when more than half of the
//    probers vanish together: then it is more likely we who are cut off. We notice our own
//    connection by hearing our own heartbeat come back from the broker.
//  - A device nobody owns is given out at once (1 s after the first prober was heard, so that a
//    fresh installation's probers share from the start).
//  - A prober that says it is leaving gets nothing more; what it has moves as planned, if there is
//    anybody else, and it goes on until then.
//  - Planned moves: the new owner gets the device first; the old one loses it when the new one's
//    heartbeat shows that it holds that assignment. Checked twice meanwhile, never not at all.
//  - A prober whose heartbeat shows an older assignment gets it again, ever less often.
//
// Invariants: an (existing, checked) device has at most one owner per location, and one as soon as
// the location ever had a live prober; versions of one prober's assignment only grow.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/catalogue.h"
#include "services/inventory/core/limits.h"

namespace gema::inventory {

struct AssignerConfig {
  std::string self = "inventory";                   // whose heartbeat is our own
  std::string default_location = kDefaultLocation;  // of devices that name none
  uint32_t down_after = 3;
  uint64_t generation = 1;
};

struct ProberHeartbeat {
  std::string prober;
  std::string location;  // empty = the default one
  Version held;          // assignment
  bool leaving = false;  // it will stop as soon as others have its devices
};

// Who owned what, as kept on disk.
struct Owners {
  struct Location {
    std::vector<std::string> probers;  // live ones
    std::map<DeviceId, std::string> owner;

    friend bool operator==(const Location&, const Location&) = default;
  };
  std::map<std::string, Location> locations;

  friend bool operator==(const Owners&, const Owners&) = default;
};

struct AssignerEffects {
  std::set<std::string> publish;  // probers whose assignment is to be sent (again)
  bool keep_owners = false;       // they changed: write them to disk
};

struct AssignerStats {
  size_t probers_live = 0;
  size_t unassigned = 0;  // (device, location) pairs without an owner
  size_t moving = 0;      // planned moves under way
  uint64_t moves_planned = 0;
  uint64_t moves_after_death = 0;
  uint64_t deaths = 0;
  uint64_t mass_losses = 0;      // held because more than half vanished together
  uint64_t connections = 0;      // own (re)connections noticed
  uint64_t repairs = 0;          // assignments sent again
  uint64_t refused_probers = 0;  // beyond kProbersMax
};

class Assigner {
 public:
  explicit Assigner(AssignerConfig config) : config_(std::move(config)) {}

  // Before the first event: what the last run knew. Its probers count as alive until the hold after
  // our connection ends, so that a restart of inventory moves nothing.
  void restore(const Owners& owners, Now now);

  AssignerEffects on_catalogue(const std::vector<Device>& devices, Now now);
  AssignerEffects on_prober(const ProberHeartbeat& heartbeat, Now now);
  AssignerEffects on_own_heartbeat(Now now);
  AssignerEffects tick(Now now);
  std::optional<MonoTime> next_wakeup() const;

  // Everything is issued again under the new generation. Requires: higher than before.
  AssignerEffects set_generation(uint64_t generation);

  // From now on every assignment says that probing is paused, and by whom; "" = it is not. Those
  // that were given are issued again at once.
  AssignerEffects set_paused_by(const std::string& by, Now now);

  // What the prober should hold; an unknown prober's is empty with version 0.
  Assignment assignment_of(const std::string& prober) const;
  std::map<std::string, Version> versions() const;
  Version issued_version(const std::string& prober) const;
  uint64_t generation() const { return config_.generation; }
  Owners owners() const;
  AssignerStats stats() const;
  bool connected(Now now) const;
  bool holding(Now now) const { return now.mono < hold_until_; }
  // True when the prober counts as alive.
  bool alive(const std::string& prober) const;

 private:
  struct Prober {
    std::string location;
    MonoTime last_heard{};
    bool alive = true;
    bool leaving = false;
    bool judged = false;  // was quiet when a hold began: dies at its end, without another hold
    Version held;         // as its last heartbeat said
    uint64_t number = 0;  // of its current assignment
    bool stale = true;    // the current assignment must be issued under a new number
    std::vector<AssignedDevice> devices;  // of its current assignment
    MonoTime sent_at{};
    Duration repair_after = kRepairFirst;
  };
  struct Ownership {
    std::string owner;         // empty = nobody yet
    std::string next;          // a planned move under way; empty = none
    uint64_t next_number = 0;  // the assignment of `next` that first holds the device
  };
  using LocationDevices = std::map<DeviceId, Ownership>;

  Version version_of(const Prober& prober) const { return {config_.generation, prober.number}; }
  void judge_silence(Now now);
  void decide(Now now);
  void decide_device(DeviceId id, Ownership& ownership, const std::string& location,
                     const std::vector<std::string>& candidates, bool hold);
  void issue(Now now, AssignerEffects& effects);
  AssignerEffects due(Now now);

  AssignerConfig config_;
  std::string paused_by_;
  struct Checked {
    AssignedDevice device;
    std::vector<std::string> probe_from;
  };
  std::map<DeviceId, Checked> devices_;
  std::map<std::string, Prober> probers_;
  std::map<std::string, LocationDevices> locations_;
  std::optional<MonoTime> own_heard_;
  std::optional<MonoTime> first_prober_heard_;
  MonoTime hold_until_{};
  bool hold_was_active_ = false;
  MonoTime decided_at_{};
  MonoTime ticked_at_{};
  bool ever_decided_ = false;
  bool changed_ = false;  // something that decide() depends on
  bool urgent_ = false;   // do not wait for kCoalesce
  bool owners_changed_ = false;
  AssignerStats counts_;
};

}  // namespace gema::inventory
