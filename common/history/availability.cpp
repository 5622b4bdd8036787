#include "common/history/availability.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/history/outages.h"
#include "common/history/pieces.h"

namespace gema::history {
namespace {

using postgres::Transaction;

// Devices times periods of one answer.
constexpr size_t kPeriodsMax = 200'000;

Result<void> check(const AvailabilityQuery& query) {
  if (query.devices.empty()) {
    return Error{Errc::kBadInput, "availability is of at least one device"};
  }
  if (query.bounds.size() < 2 || query.bounds.size() > kBoundsMax) {
    return Error{Errc::kBadInput, fmt::format("periods have 2 to {} bounds", kBoundsMax)};
  }
  for (size_t i = 1; i < query.bounds.size(); ++i) {
    if (auto right = check_window(query.bounds[i - 1], query.bounds[i]); !right) return right;
  }
  if ((query.bounds.size() - 1) * query.devices.size() > kPeriodsMax) {
    return Error{Errc::kBadInput, fmt::format("devices times periods are {} at most", kPeriodsMax)};
  }
  return {};
}

uint64_t span(int64_t from_ms, int64_t to_ms) {
  return to_ms > from_ms ? static_cast<uint64_t>(to_ms - from_ms) : 0;
}

// What a device's checks stand for within an hour and a period, all locations.
using Hours = std::map<std::pair<size_t, int64_t>, Shares>;

void add_piece(const Piece& piece, const Rollup& rollup, Hours& hours, AvailabilityPeriod& period) {
  constexpr auto kUp = static_cast<size_t>(Verdict::kAnswered);
  constexpr auto kDown = static_cast<size_t>(Verdict::kFailed);
  Shares& shares = hours[{piece.segment, piece.hour_ms}];
  shares.up_ms += rollup.time_ms[kUp];
  shares.down_ms += rollup.time_ms[kDown];
  period.answered += rollup.verdicts[kUp];
  period.failed += rollup.verdicts[kDown];
  period.not_measured += rollup.verdicts[static_cast<size_t>(Verdict::kNotMeasured)];
}

void settle(const Hours& hours, std::vector<AvailabilityPeriod>& periods) {
  for (const auto& [key, shares] : hours) {
    AvailabilityPeriod& period = periods[key.first];
    const int64_t from_ms = std::max(period.from_ms, key.second);
    const int64_t to_ms = std::min(period.to_ms, key.second + kHourMs);
    const Shares fitted = fit(shares, span(from_ms, to_ms));
    period.up_ms += fitted.up_ms;
    period.down_ms += fitted.down_ms;
  }
  for (AvailabilityPeriod& period : periods) {
    period.not_measured_ms = span(period.from_ms, period.to_ms) - period.up_ms - period.down_ms;
  }
}

void add_outage(const Outage& outage, int64_t now_ms, AvailabilityPeriod& period) {
  const int64_t from_ms = std::max(period.from_ms, outage.start_ms);
  const int64_t to_ms = std::min(period.to_ms, outage.end_ms.value_or(now_ms));
  if (from_ms >= to_ms) return;
  ++period.outages;
  period.outage_ms += span(from_ms, to_ms);
}

AvailabilityPeriod total_of(const std::vector<AvailabilityPeriod>& periods) {
  AvailabilityPeriod total{.from_ms = periods.front().from_ms, .to_ms = periods.front().from_ms};
  for (const AvailabilityPeriod& p : periods) {
    total.to_ms = std::max(total.to_ms, p.to_ms);
    total.up_ms += p.up_ms;
    total.down_ms += p.down_ms;
    total.not_measured_ms += p.not_measured_ms;
    total.answered += p.answered;
    total.failed += p.failed;
    total.not_measured += p.not_measured;
    total.outage_ms += p.outage_ms;
  }
  return total;
}

}  // namespace

std::optional<double> AvailabilityPeriod::up_percent() const {
  if (up_ms + down_ms == 0) return std::nullopt;
  return 100.0 * static_cast<double>(up_ms) / static_cast<double>(up_ms + down_ms);
}

Result<Availability> read_availability(postgres::Connection& connection,
                                       const AvailabilityQuery& query) {
  if (auto right = check(query); !right) return right.error();
  return connection.snapshot([&](Transaction& tx) -> Result<Availability> {
    Availability out;
    const Devices devices(query.devices);
    const Cuts cuts(query.bounds);
    Scan scan(tx, out.broken, devices, cuts.begin(), cuts.end());
    std::map<DeviceId, size_t> places;
    for (const DeviceId device : query.devices) {
      if (!places.emplace(device, out.devices.size()).second) continue;
      DeviceAvailability& of = out.devices.emplace_back();
      of.device = device;
      for (size_t i = 0; i < cuts.segments(); ++i) {
        of.periods.push_back(
            {.from_ms = cuts.from(i), .to_ms = std::clamp(query.now_ms, cuts.from(i), cuts.to(i))});
      }
    }
    std::optional<int32_t> location;
    bool any = true;
    if (query.location) {
      location = scan.names().find(*query.location);
      any = location.has_value();
    }
    std::vector<Hours> hours(out.devices.size());
    if (any) {
      Pieces(scan, out.broken)
          .read(devices, cuts, location, [&](const Piece& piece, const Rollup& rollup) {
            const size_t place = places.at(piece.device);
            add_piece(piece, rollup, hours[place], out.devices[place].periods[piece.segment]);
          });
    }
    for (size_t i = 0; i < out.devices.size(); ++i) settle(hours[i], out.devices[i].periods);

    auto outages =
        read_outages(tx, {.devices = query.devices,
                          .from_ms = cuts.begin(),
                          .to_ms = std::max(std::min(cuts.end(), query.now_ms), cuts.begin() + 1),
                          .with_checks = false,
                          .limit = kOutagesMax,
                          .now_ms = query.now_ms});
    if (!outages) return outages.error();
    out.broken.insert(out.broken.end(), outages->broken.begin(), outages->broken.end());
    std::vector<uint64_t> counted(out.devices.size());
    for (const Outage& outage : outages->rows) {
      const size_t place = places.at(outage.device);
      std::vector<AvailabilityPeriod>& periods = out.devices[place].periods;
      const int64_t end_ms = outage.end_ms.value_or(query.now_ms);
      // The first period that it may reach.
      size_t first = outage.start_ms <= cuts.begin() ? 0 : cuts.at(outage.start_ms).value_or(0);
      for (size_t i = first; i < periods.size() && periods[i].from_ms < end_ms; ++i) {
        add_outage(outage, query.now_ms, periods[i]);
      }
      if (outage.start_ms < std::min(cuts.end(), query.now_ms) && end_ms > cuts.begin()) {
        ++counted[place];
      }
    }
    for (size_t i = 0; i < out.devices.size(); ++i) {
      out.devices[i].total = total_of(out.devices[i].periods);
      out.devices[i].total.outages = counted[i];
    }
    return out;
  });
}

}  // namespace gema::history
