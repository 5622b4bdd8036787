// One deadline per check, set and cancelled in O(1): most are cancelled, by a reply.
//
// Entries are indices of the caller's own table. Deadlines are rounded up to ticks of 4 ms; one
// revolution is 16 s, and a later deadline simply stays for more revolutions. 16 bytes an entry.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/time.h"

namespace gema::prober {

class TimerWheel {
 public:
  explicit TimerWheel(MonoTime now);

  // Makes room for indices below `size`.
  void resize(uint32_t size);
  // Replaces an earlier deadline of the same index.
  void set(uint32_t index, MonoTime deadline);
  void cancel(uint32_t index);

  // Appends every index whose deadline has passed, earliest tick first, and forgets them.
  void expire(MonoTime now, std::vector<uint32_t>& out);
  // Never later than the earliest deadline rounded up to its tick.
  std::optional<MonoTime> next() const;

 private:
  static constexpr int64_t kTickNs = 4'000'000;
  static constexpr uint32_t kBuckets = 4096;
  static constexpr uint32_t kNone = ~0U;

  struct Entry {
    uint32_t next = kNone;
    uint32_t previous = kNone;  // kNone = first of its bucket
    int64_t tick = -1;          // -1 = not set
  };

  uint32_t bucket_of(int64_t tick) const { return static_cast<uint32_t>(tick) % kBuckets; }
  void unlink(uint32_t index);
  void take_due(uint32_t bucket, int64_t tick, std::vector<uint32_t>& out);

  std::vector<Entry> entries_;
  std::array<uint32_t, kBuckets> first_;
  std::array<uint64_t, kBuckets / 64> occupied_{};
  int64_t done_;  // every tick up to here has been expired
};

}  // namespace gema::prober
