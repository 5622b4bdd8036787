#include "common/domain/slot.h"

#include <xxhash.h>

#include "common/base/assert.h"

namespace gema {
namespace {

uint64_t hash_of(DeviceId device) {
  unsigned char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(device >> (8 * i));
  return XXH64(bytes, sizeof bytes, 0);
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
  return interval_ms > 0 && slot_at_or_before(device, interval_ms, due_ms) == due_ms;
}

}  // namespace gema
