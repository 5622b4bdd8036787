#include "services/inventory/core/assigner.h"

#include <algorithm>

#include "common/base/assert.h"
#include "services/inventory/core/rendezvous.h"

namespace gema::inventory {
namespace {

AssignedDevice assigned(const Device& device) {
  return {.id = device.id,
          .address = device.address,
          .interval_ms = device.interval_ms,
          .timeout_ms = device.timeout_ms,
          .echo_count = device.echo_count,
          .min_replies = device.min_replies,
          .echo_spacing_ms = device.echo_spacing_ms,
          .proof = {.web_url = device.web_url,
                    .web_status = device.web_status,
                    .web_insecure = device.web_insecure,
                    .web_auth = device.web_auth,
                    .web_json = device.web_json,
                    .tcp_ports = device.tcp_ports}};
}

}  // namespace

void Assigner::restore(const Owners& owners, Now now) {
  for (const auto& [name, location] : owners.locations) {
    for (const std::string& prober : location.probers) {
      if (probers_.size() >= kProbersMax) break;
      probers_[prober] = Prober{.location = name, .last_heard = now.mono, .judged = true};
    }
    for (const auto& [device, owner] : location.owner) locations_[name][device].owner = owner;
  }
}

bool Assigner::connected(Now now) const {
  return own_heard_ && now.mono - *own_heard_ < kQuiet;
}

bool Assigner::alive(const std::string& prober) const {
  const auto found = probers_.find(prober);
  return found != probers_.end() && found->second.alive;
}

AssignerEffects Assigner::on_own_heartbeat(Now now) {
  if (!connected(now)) {
    // What we missed while away says nothing about the probers: who stays silent through the hold
    // is dead at its end.
    ++counts_.connections;
    hold_until_ = now.mono + kHold;
    hold_was_active_ = true;
    for (auto& [name, prober] : probers_) {
      prober.judged = true;
    }
  }
  own_heard_ = now.mono;
  return due(now);
}

AssignerEffects Assigner::on_prober(const ProberHeartbeat& heartbeat, Now now) {
  const std::string location =
      heartbeat.location.empty() ? config_.default_location : heartbeat.location;
  auto found = probers_.find(heartbeat.prober);
  if (found == probers_.end()) {
    if (probers_.size() >= kProbersMax) {
      ++counts_.refused_probers;
      return {};
    }
    found = probers_.emplace(heartbeat.prober, Prober{.location = location}).first;
    changed_ = true;
  }
  Prober& prober = found->second;
  if (!prober.alive || prober.location != location) changed_ = true;
  if (prober.leaving != heartbeat.leaving) changed_ = urgent_ = true;
  prober.leaving = heartbeat.leaving;
  prober.alive = true;
  prober.location = location;
  prober.last_heard = now.mono;
  prober.judged = false;
  if (prober.held != heartbeat.held) {
    prober.held = heartbeat.held;
    changed_ =
        true;  // a planned move may be confirmed, and somebody may wait for it in order to stop
    urgent_ = urgent_ || std::any_of(probers_.begin(), probers_.end(), [](const auto& entry) {
                return entry.second.alive && entry.second.leaving;
              });
  }
  if (!first_prober_heard_) first_prober_heard_ = now.mono;
  AssignerEffects effects = due(now);
  const Version current = version_of(prober);
  if (prober.number > 0 && prober.held < current && !effects.publish.contains(heartbeat.prober) &&
      now.mono - prober.sent_at >= prober.repair_after) {
    effects.publish.insert(heartbeat.prober);
    prober.sent_at = now.mono;
    prober.repair_after = std::min(prober.repair_after * 2, kRepairLast);
    ++counts_.repairs;
  }
  return effects;
}

AssignerEffects Assigner::on_catalogue(const std::vector<Device>& devices, Now now) {
  devices_.clear();
  for (const Device& device : devices) {
    if (is_checked(device))
      devices_.emplace(device.id, Checked{assigned(device), device.probe_from});
  }
  changed_ = true;
  return due(now);
}

AssignerEffects Assigner::tick(Now now) {
  ticked_at_ = now.mono;
  judge_silence(now);
  return due(now);
}

void Assigner::judge_silence(Now now) {
  // While we are cut off nobody's silence means anything.
  if (!connected(now) || holding(now)) return;
  size_t alive = 0, quiet = 0;
  bool silent_unjudged = false;
  for (const auto& [name, prober] : probers_) {
    if (!prober.alive || prober.leaving) continue;  // its silence surprises nobody
    ++alive;
    if (now.mono - prober.last_heard >= kQuiet) ++quiet;
    if (now.mono - prober.last_heard >= kSilence && !prober.judged) silent_unjudged = true;
  }
  if (silent_unjudged && quiet * 2 > alive) {
    ++counts_.mass_losses;
    hold_until_ = now.mono + kHold;
    hold_was_active_ = true;
    for (auto& [name, prober] : probers_) {
      if (now.mono - prober.last_heard >= kQuiet) prober.judged = true;
    }
    return;
  }
  for (auto& [name, prober] : probers_) {
    if (!prober.alive || now.mono - prober.last_heard < kSilence) continue;
    prober.alive = false;
    counts_.deaths += prober.leaving ? 0 : 1;
    changed_ = urgent_ = true;
  }
}

AssignerEffects Assigner::due(Now now) {
  AssignerEffects effects;
  if (hold_was_active_ && !holding(now)) {
    hold_was_active_ = false;
    changed_ = true;
  }
  if (!changed_) return effects;
  if (!urgent_ && ever_decided_ && now.mono - decided_at_ < kCoalesce) return effects;
  if (!first_prober_heard_ || now.mono - *first_prober_heard_ < kSettle) return effects;
  decide(now);
  issue(now, effects);
  effects.keep_owners = owners_changed_;
  owners_changed_ = changed_ = urgent_ = false;
  decided_at_ = now.mono;
  ever_decided_ = true;
  return effects;
}

void Assigner::decide(Now now) {
  std::map<std::string, std::vector<std::string>> candidates;  // per location, by name
  for (const auto& [name, prober] : probers_) {
    if (prober.alive && !prober.leaving) candidates[prober.location].push_back(name);
  }
  // What should be owned where, taking over what is known.
  std::map<std::string, LocationDevices> wanted;
  const std::vector<std::string> nowhere{config_.default_location};
  for (const auto& [id, device] : devices_) {
    for (const std::string& name : device.probe_from.empty() ? nowhere : device.probe_from) {
      auto& known = locations_[name];
      const auto found = known.find(id);
      wanted[name][id] = found == known.end() ? Ownership{} : std::move(found->second);
    }
  }
  for (const auto& [name, known] : locations_) {
    if (!owners_changed_ && wanted[name].size() != known.size()) owners_changed_ = true;
  }
  std::erase_if(wanted, [](const auto& entry) { return entry.second.empty(); });
  locations_ = std::move(wanted);
  counts_.unassigned = counts_.moving = 0;
  const bool hold = holding(now) || !connected(now);
  for (auto& [name, devices] : locations_) {
    const std::vector<std::string>& here = candidates[name];
    for (auto& [id, ownership] : devices) {
      decide_device(id, ownership, name, here, hold);
      counts_.unassigned += ownership.owner.empty() ? 1 : 0;
      counts_.moving += ownership.next.empty() ? 0 : 1;
    }
  }
}

void Assigner::decide_device(DeviceId id, Ownership& own, const std::string& location,
                             const std::vector<std::string>& candidates, bool hold) {
  if (candidates.empty()) return;  // nobody to give it to: who owned it goes on, if it can
  const auto is_candidate = [&](const std::string& name) {
    return std::binary_search(candidates.begin(), candidates.end(), name);
  };
  const std::string_view best = rendezvous_owner(id, candidates);
  if (!own.next.empty() && !is_candidate(own.next)) own.next.clear();
  const auto is_leaving = [&](const std::string& name) {
    const auto found = probers_.find(name);
    return found != probers_.end() && found->second.alive && found->second.leaving &&
           found->second.location == location;
  };
  const bool owner_there = !own.owner.empty() && (is_candidate(own.owner) || is_leaving(own.owner));
  if (!owner_there) {
    if (!own.owner.empty()) {
      if (hold) return;
      ++counts_.moves_after_death;
    }
    own.owner = own.next.empty() ? std::string(best) : own.next;
    own.next.clear();
    owners_changed_ = true;
  }
  if (!own.next.empty() &&
      probers_.at(own.next).held >= Version{config_.generation, own.next_number}) {
    own.owner = own.next;
    own.next.clear();
    owners_changed_ = true;
  }
  if (hold || (own.next.empty() ? own.owner : own.next) == best) return;
  if (own.owner == best) {
    own.next.clear();  // it moves back before the move was done
    return;
  }
  own.next = std::string(best);
  own.next_number = probers_.at(own.next).number + 1;
  ++counts_.moves_planned;
}

void Assigner::issue(Now now, AssignerEffects& effects) {
  std::map<std::string, std::vector<AssignedDevice>> lists;
  for (const auto& [name, devices] : locations_) {
    for (const auto& [id, ownership] : devices) {
      for (const std::string* prober : {&ownership.owner, &ownership.next}) {
        const auto at = prober->empty() ? probers_.end() : probers_.find(*prober);
        if (at == probers_.end() || at->second.location != name) continue;
        lists[*prober].push_back(devices_.at(id).device);
      }
    }
  }
  for (auto& [name, prober] : probers_) {
    std::vector<AssignedDevice>& list = lists[name];
    if (!prober.stale && list == prober.devices) continue;
    prober.devices = std::move(list);
    prober.stale = false;
    ++prober.number;
    prober.sent_at = now.mono;
    prober.repair_after = kRepairFirst;
    effects.publish.insert(name);
  }
}

AssignerEffects Assigner::set_generation(uint64_t generation) {
  GEMA_ASSERT(generation > config_.generation);
  config_.generation = generation;
  for (auto& [name, prober] : probers_) prober.stale = true;
  for (auto& [name, devices] : locations_) {
    for (auto& [id, ownership] : devices) {
      if (!ownership.next.empty()) ownership.next_number = probers_.at(ownership.next).number + 1;
    }
  }
  changed_ = true;
  return {};
}

AssignerEffects Assigner::set_paused_by(const std::string& by, Now now) {
  if (by == paused_by_) return {};
  paused_by_ = by;
  for (auto& [name, prober] : probers_) prober.stale = true;
  changed_ = urgent_ = true;
  return due(now);
}

std::optional<MonoTime> Assigner::next_wakeup() const {
  std::optional<MonoTime> wakeup;
  const auto at = [&](MonoTime time) { wakeup = wakeup ? std::min(*wakeup, time) : time; };
  if (hold_was_active_) at(hold_until_);
  if (changed_ && first_prober_heard_) {
    at(std::max(ever_decided_ ? decided_at_ + kCoalesce : MonoTime{},
                *first_prober_heard_ + kSettle));
  }
  for (const auto& [name, prober] : probers_) {
    const MonoTime silent_at = std::max(prober.last_heard + kSilence, hold_until_);
    // One that is past and still alive waits for our own connection: our heartbeat wakes us then.
    if (prober.alive && silent_at > ticked_at_) at(silent_at);
  }
  return wakeup;
}

Assignment Assigner::assignment_of(const std::string& name) const {
  Assignment assignment{.prober = name, .down_after = config_.down_after, .paused_by = paused_by_};
  const auto found = probers_.find(name);
  if (found == probers_.end()) return assignment;
  const Prober& prober = found->second;
  assignment.location = prober.location;
  if (prober.number == 0) return assignment;
  assignment.version = version_of(prober);
  assignment.devices = prober.devices;
  return assignment;
}

std::map<std::string, Version> Assigner::versions() const {
  std::map<std::string, Version> versions;
  for (const auto& [name, prober] : probers_) {
    if (prober.number > 0) versions[name] = version_of(prober);
  }
  return versions;
}

Version Assigner::issued_version(const std::string& name) const {
  const auto found = probers_.find(name);
  return found == probers_.end() || found->second.number == 0 ? Version{}
                                                              : version_of(found->second);
}

Owners Assigner::owners() const {
  Owners owners;
  for (const auto& [name, prober] : probers_) {
    if (prober.alive) owners.locations[prober.location].probers.push_back(name);
  }
  for (const auto& [name, devices] : locations_) {
    for (const auto& [id, ownership] : devices) {
      if (!ownership.owner.empty()) owners.locations[name].owner[id] = ownership.owner;
    }
  }
  return owners;
}

AssignerStats Assigner::stats() const {
  AssignerStats stats = counts_;
  stats.probers_live = static_cast<size_t>(std::count_if(
      probers_.begin(), probers_.end(), [](const auto& entry) { return entry.second.alive; }));
  return stats;
}

}  // namespace gema::inventory
