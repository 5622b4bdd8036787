// The engine's tables: devices and their assignment, checks, blocks of echoes.
#include <algorithm>
#include <bit>

#include "common/base/assert.h"
#include "common/domain/address_policy.h"
#include "services/prober/core/engine.h"

namespace gema::prober {
namespace {

IpAddress to_ip(const Address& address) {
  return {.bytes = address.bytes, .family = address.family};
}

// What no echo may go to is no address; a name server may say anything.
Address usable(const Address& address) {
  return may_be_pinged(address) ? address : Address{};
}

}  // namespace

bool may_be_pinged(const Address& address) {
  switch (never_pinged(to_ip(address))) {
    case AddressVerdict::kUnspecified:
    case AddressVerdict::kBroadcast:
    case AddressVerdict::kMulticast:
    case AddressVerdict::kReserved:
      return false;
    default:
      return true;
  }
}

// --- devices ------------------------------------------------------------------------------------

uint32_t Engine::find(DeviceId id) const {
  const auto at = std::lower_bound(by_id_.begin(), by_id_.end(), id,
                                   [&](uint32_t i, DeviceId v) { return devices_[i].id < v; });
  return at != by_id_.end() && devices_[*at].id == id ? *at : kNone;
}

Address Engine::address_of(DeviceId device) const {
  const uint32_t index = find(device);
  return index == kNone || devices_[index].phase != Phase::kActive ? Address{}
                                                                   : devices_[index].address;
}

uint32_t Engine::new_device(const Target& target) {
  uint32_t index;
  if (free_devices_.empty()) {
    index = static_cast<uint32_t>(devices_.size());
    devices_.emplace_back();
  } else {
    index = free_devices_.back();
    free_devices_.pop_back();
  }
  Device& d = devices_[index] = Device{};
  d.id = target.id;
  d.interval_ms = target.interval_ms;
  d.partition = static_cast<uint8_t>(partition_of(target.id));
  d.phase = Phase::kRetired;
  return index;
}

// Its schedule ends with the last slot that was due; what is in flight ends by itself.
void Engine::retire(Device& d) {
  leaving_.push_back({d.id, d.interval_ms, d.since_ms, schedule_.until_ms()});
  d.phase = Phase::kRetired;
}

// Retired devices whose last result has left.
void Engine::reclaim() {
  std::erase_if(by_id_, [&](uint32_t index) {
    Device& d = devices_[index];
    if (d.phase != Phase::kRetired || d.head != kNone || d.queued) return false;
    d.phase = Phase::kReleased;
    free_devices_.push_back(index);
    return true;
  });
  if (free_devices_.empty()) return;
  // A late answer must not be told of a device that took another's place.
  for (Check& c : checks_) {
    if (c.state == State::kFree && c.device != kNone &&
        devices_[c.device].phase == Phase::kReleased) {
      c.device = kNone;
    }
  }
}

AssignChange Engine::assign(std::span<const Target> targets, uint32_t down_after) {
  AssignChange change;
  down_after_ = down_after;
  reclaim();
  const std::vector<uint32_t> before = std::move(by_id_);
  by_id_.clear();
  by_id_.reserve(before.size() + targets.size());
  devices_.reserve(devices_.size() +
                   (targets.size() > before.size() ? targets.size() - before.size() : 0));
  std::vector<Schedule::Entry> entries;
  entries.reserve(targets.size());
  size_t old = 0;
  auto leave_up_to = [&](const Target* next) {
    for (; old < before.size() && (next == nullptr || devices_[before[old]].id < next->id); ++old) {
      Device& d = devices_[before[old]];
      if (d.phase == Phase::kActive) {
        retire(d);
        ++change.removed;
      }
      by_id_.push_back(before[old]);
    }
  };
  for (const Target& target : targets) {
    GEMA_ASSERT(&target == targets.data() || (&target - 1)->id < target.id);
    leave_up_to(&target);
    const bool known = old < before.size() && devices_[before[old]].id == target.id;
    const uint32_t index = known ? before[old++] : new_device(target);
    by_id_.push_back(index);
    Device& d = devices_[index];
    if (d.phase != Phase::kActive) {
      d.since_ms = schedule_.until_ms() + 1;
      ++change.added;
    } else if (d.interval_ms != target.interval_ms) {
      retire(d);
      d.since_ms = schedule_.until_ms() + 1;
      ++change.changed;
    } else if (d.timeout_ms != target.timeout_ms || d.echo_count != target.echo_count ||
               d.min_replies != target.min_replies || d.address != usable(target.address) ||
               d.spacing_ms != target.echo_spacing_ms || d.has_proof != target.has_proof) {
      ++change.changed;
    }
    d.phase = Phase::kActive;
    d.interval_ms = target.interval_ms;
    d.timeout_ms = target.timeout_ms;
    d.echo_count = target.echo_count;
    d.min_replies = target.min_replies;
    d.spacing_ms = static_cast<uint16_t>(target.echo_spacing_ms);
    d.has_proof = target.has_proof;
    if (const Address address = usable(target.address); d.address != address) {
      for (uint32_t c = d.head; c != kNone; c = check(c).next) check(c).frozen = true;
      d.address = address;
    }
    entries.push_back({index, target.interval_ms,
                       static_cast<uint32_t>(slot_phase_ms(target.id, target.interval_ms))});
  }
  leave_up_to(nullptr);
  active_ = static_cast<uint32_t>(targets.size());
  schedule_.assign(std::move(entries));
  return change;
}

void Engine::set_address(DeviceId device, const Address& given) {
  const Address address = usable(given);
  const uint32_t index = find(device);
  if (index == kNone || devices_[index].address == address) return;
  Device& d = devices_[index];
  for (uint32_t c = d.head; c != kNone; c = check(c).next) check(c).frozen = true;
  auto& changes = records_[d.partition].changes;
  if (changes.size() < kAddressChangesMax) {
    changes.push_back({.device = d.id,
                       .at_ms = schedule_.until_ms(),
                       .from = to_ip(d.address),
                       .to = to_ip(address)});
  } else {
    ++stats_.changes_dropped;
  }
  d.address = address;
}

void Engine::add_missed(std::span<const MissedRun> runs) {
  for (const MissedRun& run : runs) {
    uint32_t index = find(run.device);
    if (index == kNone) {  // left while the prober was away; only its rest is reported
      index = new_device({.id = run.device, .interval_ms = run.interval_ms});
      const auto at = std::lower_bound(by_id_.begin(), by_id_.end(), run.device,
                                       [&](uint32_t i, DeviceId v) { return devices_[i].id < v; });
      by_id_.insert(at, index);
    }
    miss(index, run);
  }
}

int64_t Engine::since_ms(DeviceId device) const {
  const uint32_t index = find(device);
  return index == kNone ? 0 : devices_[index].since_ms;
}

void Engine::set_since_ms(DeviceId device, int64_t since_ms) {
  const uint32_t index = find(device);
  GEMA_ASSERT(index != kNone);
  devices_[index].since_ms = since_ms;
}

const std::vector<Leaving>& Engine::leaving(int64_t done_until_ms) {
  std::erase_if(leaving_, [&](const Leaving& l) { return l.until_ms <= done_until_ms; });
  return leaving_;
}

// --- checks -------------------------------------------------------------------------------------

uint32_t Engine::allocate_check() {
  if (live_ * 2 >= checks_.size() && checks_.size() < config_.checks_max) {
    const size_t size = std::clamp<size_t>(checks_.size() * 2, kChecksMin, config_.checks_max);
    checks_.resize(size);
    wheel_.resize(static_cast<uint32_t>(size));
  }
  if (live_ >= checks_.size() - checks_.size() / 8)
    return kNone;  // an eighth stays free, so that
                   // the search below is short
  while (check(cursor_).state != State::kFree) {
    cursor_ = cursor_ + 1 == checks_.size() ? 0 : cursor_ + 1;
  }
  const uint32_t index = cursor_;
  cursor_ = cursor_ + 1 == checks_.size() ? 0 : cursor_ + 1;
  ++live_;
  Check& c = check(index);
  const uint32_t generation = c.generation + 1;
  c = Check{};
  c.generation = generation;
  c.state = State::kFinished;  // the caller's to set
  return index;
}

Engine::Extra& Engine::extra(Check& c) {
  if (c.extra == kNone) {
    if (free_extras_.empty()) {
      c.extra = static_cast<uint32_t>(extras_.size());
      extras_.emplace_back();
    } else {
      c.extra = free_extras_.back();
      free_extras_.pop_back();
    }
  }
  return extras_[c.extra];
}

const Address& Engine::address_of(const Check& c) const {
  return c.device == kNone ? probes_[c.missed].address : devices_[c.device].address;
}

void Engine::release_check(uint32_t index) {
  Check& c = check(index);
  if (c.extra != kNone && c.state != State::kMissed) {
    extras_[c.extra].notes.clear();
    extras_[c.extra].proofs.clear();
    free_extras_.push_back(c.extra);
  }
  if (c.train_block != kNone) release_block(c.train_block, c.echo_count);
  if (c.burst_block != kNone) release_block(c.burst_block, config_.burst_count);
  c.state = State::kFree;
  --live_;
}

// The device's newest slot.
uint32_t Engine::append(uint32_t device, int64_t due_ms) {
  const uint32_t index = allocate_check();
  if (index == kNone) return kNone;
  Check& c = check(index);
  c.device = device;
  c.due_ms = due_ms;
  Device& d = devices_[device];
  if (d.tail == kNone) {
    d.head = index;
  } else {
    check(d.tail).next = index;
  }
  d.tail = index;
  return index;
}

uint32_t Engine::echoes_in_all(const Check& c) const {
  return c.burst_block == kNone ? c.echo_count : c.echo_count + config_.burst_count;
}

Engine::Echo& Engine::echo(Check& c, uint32_t ordinal) {
  if (ordinal >= c.echo_count) return echoes_[c.burst_block + ordinal - c.echo_count];
  return c.train_block == kNone ? c.echo : echoes_[c.train_block + ordinal];
}

// --- blocks of echoes ---------------------------------------------------------------------------

uint32_t Engine::allocate_block(uint32_t echoes) {
  const uint32_t size = std::max(std::bit_ceil(echoes), 4U);
  auto& free = free_blocks_[static_cast<size_t>(std::countr_zero(size))];
  if (!free.empty()) {
    const uint32_t start = free.back();
    free.pop_back();
    return start;
  }
  const auto start = static_cast<uint32_t>(echoes_.size());
  echoes_.resize(echoes_.size() + size);
  return start;
}

void Engine::release_block(uint32_t start, uint32_t echoes) {
  const uint32_t size = std::max(std::bit_ceil(echoes), 4U);
  free_blocks_[static_cast<size_t>(std::countr_zero(size))].push_back(start);
}

}  // namespace gema::prober
