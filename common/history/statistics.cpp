#include "common/history/statistics.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_set>

#include "common/history/pieces.h"

namespace gema::history {
namespace {

using postgres::Transaction;

constexpr std::array<double, 7> kSmoke = {0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975};

// The middle of a bin may lie beyond the least or the greatest of the samples, which are exact.
uint32_t within(const Rollup& rollup, uint32_t us) {
  return std::min(std::max(us, rollup.rtt_min_us), rollup.rtt_max_us);
}

}  // namespace

Result<void> check_window(int64_t from_ms, int64_t to_ms) {
  if (from_ms < 0 || to_ms > kTimeMax) {
    return Error{Errc::kBadInput, "the window lies outside of what history can hold"};
  }
  if (from_ms >= to_ms) return Error{Errc::kBadInput, "the window ends before it begins"};
  return {};
}

Result<WindowStatistics> read_statistics(postgres::Connection& connection,
                                         const StatisticsQuery& query) {
  if (auto right = check_window(query.from_ms, query.to_ms); !right) return right.error();
  return connection.snapshot([&](Transaction& tx) {
    WindowStatistics out{.to_ms = query.to_ms};
    out.from_ms = query.whole_hours ? floor_to(query.from_ms, kHourMs) : query.from_ms;
    const Devices devices = query.devices.empty() ? Devices() : Devices(query.devices);
    Scan scan(tx, out.broken, devices, out.from_ms, out.to_ms);
    std::optional<int32_t> location;
    if (query.location) {
      location = scan.names().find(*query.location);
      if (!location) return out;
    }
    std::map<DeviceId, Rollup> found;
    std::unordered_set<DeviceId> measured;
    Pieces(scan, out.broken)
        .read(devices, Cuts({out.from_ms, out.to_ms}), location,
              [&](const Piece& piece, const Rollup& rollup) {
                if (rollup.verdicts[0] + rollup.verdicts[1] > 0) measured.insert(piece.device);
                if (query.per_device) {
                  found[piece.device].merge(rollup);
                } else {
                  out.total.merge(rollup);
                }
              });
    out.measured = measured.size();
    out.devices.reserve(found.size());
    for (auto& [device, rollup] : found) {
      out.total.merge(rollup);
      out.devices.push_back({device, std::move(rollup)});
    }
    return out;
  });
}

std::optional<uint32_t> percentile_us(const Rollup& rollup, double q) {
  if (rollup.sketch.empty()) return std::nullopt;
  return within(rollup, rollup.sketch.quantile_us(q));
}

std::span<const double> smoke_quantiles() {
  return kSmoke;
}

std::vector<uint32_t> smoke_us(const Rollup& rollup) {
  std::vector<uint32_t> out;
  if (rollup.sketch.empty()) return out;
  for (const double q : kSmoke) out.push_back(within(rollup, rollup.sketch.quantile_us(q)));
  return out;
}

}  // namespace gema::history
