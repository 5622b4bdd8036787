#include "services/prober/core/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "common/base/assert.h"

namespace gema::prober {

TimerWheel::TimerWheel(MonoTime now) : done_(now.time_since_epoch().count() / kTickNs) {
  first_.fill(kNone);
}

void TimerWheel::resize(uint32_t size) {
  if (size > entries_.size()) entries_.resize(size);
}

void TimerWheel::set(uint32_t index, MonoTime deadline) {
  GEMA_ASSERT(index < entries_.size());
  if (entries_[index].tick >= 0) unlink(index);
  const int64_t ns = deadline.time_since_epoch().count();
  Entry& entry = entries_[index];
  entry.tick = std::max((ns + kTickNs - 1) / kTickNs, done_ + 1);
  const uint32_t bucket = bucket_of(entry.tick);
  entry.previous = kNone;
  entry.next = first_[bucket];
  if (entry.next != kNone) entries_[entry.next].previous = index;
  first_[bucket] = index;
  occupied_[bucket / 64] |= uint64_t{1} << bucket % 64;
}

void TimerWheel::cancel(uint32_t index) {
  GEMA_ASSERT(index < entries_.size());
  if (entries_[index].tick >= 0) unlink(index);
}

void TimerWheel::unlink(uint32_t index) {
  Entry& entry = entries_[index];
  const uint32_t bucket = bucket_of(entry.tick);
  if (entry.previous != kNone) {
    entries_[entry.previous].next = entry.next;
  } else {
    first_[bucket] = entry.next;
    if (entry.next == kNone) occupied_[bucket / 64] &= ~(uint64_t{1} << bucket % 64);
  }
  if (entry.next != kNone) entries_[entry.next].previous = entry.previous;
  entry.tick = -1;
}

void TimerWheel::take_due(uint32_t bucket, int64_t tick, std::vector<uint32_t>& out) {
  for (uint32_t index = first_[bucket]; index != kNone;) {
    const uint32_t next = entries_[index].next;
    if (entries_[index].tick <= tick) {
      unlink(index);
      out.push_back(index);
    }
    index = next;
  }
}

void TimerWheel::expire(MonoTime now, std::vector<uint32_t>& out) {
  const int64_t until = now.time_since_epoch().count() / kTickNs;
  if (until <= done_) return;
  // After a stall longer than a revolution each bucket is looked at once.
  const int64_t from = std::max(done_ + 1, until - static_cast<int64_t>(kBuckets) + 1);
  done_ = until;
  for (int64_t tick = from; tick <= until; ++tick) {
    const uint32_t bucket = bucket_of(tick);
    if (bucket % 64 == 0 && occupied_[bucket / 64] == 0 && tick + 63 <= until) {
      tick += 63;
      continue;
    }
    if (first_[bucket] != kNone) take_due(bucket, until, out);
  }
}

std::optional<MonoTime> TimerWheel::next() const {
  // From the bucket after `done_` around the wheel: at most 65 words.
  const uint32_t start = bucket_of(done_ + 1);
  for (uint32_t seen = 0; seen < kBuckets;) {
    const uint32_t bucket = (start + seen) % kBuckets;
    const uint64_t word = occupied_[bucket / 64] >> bucket % 64;
    if (word != 0) {
      seen += static_cast<uint32_t>(std::countr_zero(word));
      if (seen >= kBuckets) break;
      return MonoTime(Duration((done_ + 1 + seen) * kTickNs));
    }
    seen += 64 - bucket % 64;
  }
  return std::nullopt;
}

}  // namespace gema::prober
