#include "common/domain/slot.h"

#include <bit>

#include "common/base/assert.h"

namespace gema {
namespace {

// XXH64 of the id's eight bytes, lowest first, seed 0; written out, as a slot is checked for every
// result (xxHash specification 0.1.1, https://github.com/Cyan4973/xxHash).
uint64_t hash_of(DeviceId device) {
  constexpr uint64_t kPrime1 = 0x9e3779b185ebca87, kPrime2 = 0xc2b2ae3d27d4eb4f;
  constexpr uint64_t kPrime3 = 0x165667b19e3779f9, kPrime4 = 0x85ebca77c2b2ae63;
  constexpr uint64_t kPrime5 = 0x27d4eb2f165667c5;
  uint64_t hash = kPrime5 + sizeof device;
  hash ^= std::rotl(device * kPrime2, 31) * kPrime1;
  hash = std::rotl(hash, 27) * kPrime1 + kPrime4;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

}  // namespace

uint32_t partition_of(DeviceId device) {
  return static_cast<uint32_t>(hash_of(device) % kPartitions);
}

int64_t slot_phase_ms(DeviceId device, uint32_t interval_ms) {
  GEMA_ASSERT(interval_ms > 0);
  return static_cast<int64_t>(hash_of(device) % interval_ms);
}

int64_t slot_at_or_before(DeviceId device, uint32_t interval_ms, int64_t at_ms) {
  const int64_t phase = slot_phase_ms(device, interval_ms);
  const int64_t interval = interval_ms;
  const int64_t past = at_ms - phase;
  int64_t k = past / interval;
  if (past < 0 && past % interval != 0) --k;  // division rounds towards zero
  return k * interval + phase;
}

int64_t slot_after(DeviceId device, uint32_t interval_ms, int64_t at_ms) {
  return slot_at_or_before(device, interval_ms, at_ms) + interval_ms;
}

bool is_slot(DeviceId device, uint32_t interval_ms, int64_t due_ms) {
  return interval_ms > 0 && (due_ms - slot_phase_ms(device, interval_ms)) % interval_ms == 0;
}

bool is_slot_of(DeviceId device, uint32_t partition, uint32_t interval_ms, int64_t due_ms) {
  if (interval_ms == 0) return false;
  const uint64_t hash = hash_of(device);
  return hash % kPartitions == partition &&
         (due_ms - static_cast<int64_t>(hash % interval_ms)) % interval_ms == 0;
}

}  // namespace gema
