#include "services/recorder/core/judge.h"

#include <algorithm>
#include <limits>

#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

// What a row could not even hold.
const char* impossible(const PingResults& r, size_t i, uint32_t partition) {
  constexpr uint64_t kIdMax = std::numeric_limits<int64_t>::max();
  constexpr uint32_t kIntervalMax = std::numeric_limits<int32_t>::max();
  const uint32_t echoes = r.echo_begin[i + 1] - r.echo_begin[i];
  if (r.device[i] - 1 < kIdMax && r.interval_ms[i] <= kIntervalMax && echoes <= kEchoesMax &&
      is_slot_of(r.device[i], partition, r.interval_ms[i], r.due_ms[i])) {
    return nullptr;
  }
  if (r.device[i] == 0 || r.device[i] > kIdMax) return "a device id is out of range";
  if (r.interval_ms[i] > kIntervalMax) return "an interval is out of range";
  if (echoes > kEchoesMax) return "a check has too many echoes";
  if (partition_of(r.device[i]) != partition) return "a device belongs to another partition";
  return "a due time is no slot";
}

// The same for what stands beside the results.
const char* impossible_aside(const PingResults& r, uint32_t partition) {
  constexpr uint64_t kIdMax = std::numeric_limits<int64_t>::max();
  auto belongs = [&](DeviceId device) {
    return device != 0 && device <= kIdMax && partition_of(device) == partition;
  };
  for (const Stray& stray : r.strays) {
    if (!belongs(stray.device)) return "a late answer's device belongs to another partition";
  }
  for (const AddressChange& change : r.address_changes) {
    if (!belongs(change.device)) return "an address change's device belongs to another partition";
    if (change.at_ms < 0 || change.at_ms > kTimeMaxMs) return "an address change's time is no time";
  }
  return nullptr;
}

bool is_location(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('\0') == std::string::npos;
}

}  // namespace

Judgement judge(const PingResults& results, uint32_t partition, WallTime now, Duration retention) {
  Judgement out;
  const auto [oldest, newest] = std::minmax_element(results.due_ms.begin(), results.due_ms.end());
  out.oldest_ms = *oldest;
  out.newest_ms = *newest;
  auto quarantine = [&](const char* reason) {
    out.fate = Fate::kQuarantine;
    out.reason = reason;
    return out;
  };
  if (!is_location(results.location)) return quarantine("the location has no proper name");
  for (const BurstResult& burst : results.burst) {
    if (burst.sent > kEchoesMax) return quarantine("a burst has too many echoes");
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (const char* reason = impossible(results, i, partition)) return quarantine(reason);
  }
  if (const char* reason = impossible_aside(results, partition)) return quarantine(reason);
  for (const Stray& stray : results.strays) out.newest_ms = std::max(out.newest_ms, stray.due_ms);
  if (out.newest_ms > unix_ms(now + kFutureMax)) {
    out.fate = Fate::kSetAside;
  } else if (out.newest_ms < unix_ms(now - retention)) {
    out.fate = Fate::kDiscard;
  }
  return out;
}

const char* unfit_for_chunks(const PingResults& r, WallTime now) {
  constexpr uint64_t kIdMax = std::numeric_limits<int64_t>::max();
  constexpr uint32_t kIntervalMax = std::numeric_limits<int32_t>::max();
  // Our own clock may have been put back meanwhile.
  const int64_t latest_ms = unix_ms(now + 24h);
  for (size_t i = 0; i < r.size(); ++i) {
    if (r.device[i] == 0 || r.device[i] > kIdMax) return "a device id is out of range";
    if (r.interval_ms[i] > kIntervalMax) return "an interval is out of range";
    if (r.echo_begin[i + 1] - r.echo_begin[i] > kEchoesMax) return "a check has too many echoes";
    if (r.due_ms[i] > latest_ms) return "a slot is a day ahead";
  }
  for (const Stray& stray : r.strays) {
    if (stray.device == 0 || stray.device > kIdMax) return "a late answer's device id is none";
    if (stray.due_ms > latest_ms) return "a late answer is a day ahead";
  }
  for (const BurstResult& burst : r.burst) {
    if (burst.sent > kEchoesMax) return "a burst has too many echoes";
  }
  return is_location(r.location) ? nullptr : "the location has no proper name";
}

}  // namespace gema::recorder
