// When a check is due. A slot is the instant k * interval + phase on the Unix time line, with
// phase = XXH64(device id as 8 little-endian bytes, seed 0) mod interval: the same for every
// prober, so two of them agree on what one slot is. Test vectors in slot_test.cpp.
#pragma once

#include <cstdint>

namespace gema {

using DeviceId = uint64_t;

// Number of partitions of every stream, fixed at installation.
inline constexpr uint32_t kPartitions = 8;

// The partition that carries a device: XXH64(id, seed 0) mod kPartitions.
uint32_t partition_of(DeviceId device);

// A device's offset within its interval, in ms. Requires: interval_ms > 0.
int64_t slot_phase_ms(DeviceId device, uint32_t interval_ms);

// The latest slot at or before `at_ms` (Unix ms). Requires: interval_ms > 0.
int64_t slot_at_or_before(DeviceId device, uint32_t interval_ms, int64_t at_ms);

// The first slot strictly after `at_ms`.
int64_t slot_after(DeviceId device, uint32_t interval_ms, int64_t at_ms);

// True when `due_ms` is a slot of the device at that interval: what consumers check before they
// believe a result (an impossible slot is quarantined).
bool is_slot(DeviceId device, uint32_t interval_ms, int64_t due_ms);

// The same, and that the device belongs to the partition.
bool is_slot_of(DeviceId device, uint32_t partition, uint32_t interval_ms, int64_t due_ms);

}  // namespace gema
