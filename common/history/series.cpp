#include "common/history/series.h"

#include <fmt/format.h>

#include <map>

#include "common/history/pieces.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

Result<void> check(const SeriesQuery& query) {
  if (auto right = check_window(query.from_ms, query.to_ms); !right) return right;
  if (query.devices.empty()) return Error{Errc::kBadInput, "a series is of at least one device"};
  if (query.points_max == 0 || query.points_max > kPointsMax) {
    return Error{Errc::kBadInput, fmt::format("a series has 1 to {} points", kPointsMax)};
  }
  return {};
}

// Single results of a part of the window are no more, but rollups are.
bool only_rolled_up(Scan& scan, DeviceId device, const SeriesCost& cost) {
  Params params;
  params.int64(static_cast<int64_t>(device)).int64(floor_to(cost.from_ms, kDayMs));
  const BinaryResult rows(
      scan.tx(),
      "SELECT FROM ping_rollup_hours WHERE device_id = $1 AND day_ms >= $2 AND day_ms < ("
      "SELECT greatest(s.floor_ms, (SELECT min(from_ms) FROM history_leaves('ping_packed')))"
      " FROM history_state s) LIMIT 1",
      params);
  return rows.rows() > 0;
}

// How many results one device has at most: stored ones, and hot ones. None, where that says
// nothing.
void count_results(Scan& scan, DeviceId device, std::optional<int32_t> location, SeriesCost& cost) {
  std::map<int32_t, uint64_t> of_location;
  Params params;
  params.int64(static_cast<int64_t>(device))
      .int64(floor_to(cost.from_ms, kHourMs))
      .int64(cost.to_ms);
  const BinaryResult stored(
      scan.tx(),
      "SELECT location_id, sum(n)::bigint FROM ("
      "SELECT location_id, results AS n FROM ping_packed WHERE device_id = $1 AND start_ms >= $2"
      " AND start_ms < $3 UNION ALL "
      "SELECT location_id, coalesce(results, cardinality(samples) / echoes) FROM ping_chunks"
      " WHERE device_id = $1"
      " AND start_ms >= $2 AND start_ms < $3) AS rows (location_id, n) GROUP BY 1",
      params);
  for (int i = 0; i < stored.rows(); ++i) {
    of_location[stored.int32(i, 0)] += static_cast<uint64_t>(stored.int64(i, 1));
  }
  if (const auto hot = scan.hot().find(device); hot != scan.hot().end()) {
    for (size_t s = 0; s < hot->second.used; ++s) {
      of_location[hot->second.sources[s].location] += hot->second.sources[s].results.size();
    }
  }
  uint64_t most = 0;
  uint64_t all = 0;
  for (const auto& [id, n] : of_location) {
    all += n;
    if (!location || *location == id) most = std::max(most, n);
  }
  if (all == 0 || only_rolled_up(scan, device, cost)) return;
  cost.results = most;
  cost.results_of_all_locations = all;
}

using Found = std::map<int32_t, std::vector<SeriesPoint>>;  // by location

// Every result a point of its own.
Found single_results(Scan& scan, const Devices& devices, std::optional<int32_t> location,
                     const SeriesQuery& query) {
  Found found;
  scan.results(devices, {query.from_ms, query.to_ms}, [&](DeviceId, const Merged& merged) {
    for (const Merged::Entry& entry : merged.entries()) {
      const Source& source = *entry.source;
      if (location && *location != source.location) continue;
      const uint32_t interval_ms = source.results.interval_ms[entry.index];
      RollupBuilder builder(entry.due_ms, 1, 1);
      builder.add(entry.due_ms, interval_ms, view_of(source, entry.index));
      found[source.location].push_back({.from_ms = entry.due_ms,
                                        .to_ms = entry.due_ms + interval_ms,
                                        .rollup = std::move(builder.take().front())});
    }
  });
  return found;
}

Found summed_up(Pieces& pieces, const Devices& devices, std::optional<int32_t> location,
                const Cuts& cuts) {
  std::map<int32_t, std::vector<Rollup>> rollups;
  pieces.read(devices, cuts, location, [&](const Piece& piece, const Rollup& rollup) {
    std::vector<Rollup>& of_location = rollups[piece.location];
    if (of_location.empty()) of_location.resize(cuts.segments());
    of_location[piece.segment].merge(rollup);
  });
  Found found;
  for (auto& [id, of_location] : rollups) {
    std::vector<SeriesPoint>& points = found[id];
    for (size_t i = 0; i < of_location.size(); ++i) {
      if (of_location[i].checks() == 0) continue;
      points.push_back({cuts.from(i), cuts.to(i), std::move(of_location[i])});
    }
  }
  return found;
}

}  // namespace

Result<Series> read_series(postgres::Connection& connection, const SeriesQuery& query) {
  if (auto right = check(query); !right) return right.error();
  return connection.snapshot([&](Transaction& tx) {
    Series out{.from_ms = query.from_ms, .to_ms = query.to_ms};
    const Devices devices(query.devices);
    Scan scan(tx, out.broken, devices, query.from_ms, query.to_ms);
    std::optional<int32_t> location;
    if (query.location) {
      location = scan.names().find(*query.location);
      if (!location) return out;
    }
    SeriesCost cost{.from_ms = query.from_ms,
                    .to_ms = query.to_ms,
                    .points_max = query.points_max,
                    .devices = devices.ids().size()};
    if (cost.devices == 1 &&
        (cost.to_ms - cost.from_ms) / kCountedPerPointMs <= static_cast<int64_t>(cost.points_max)) {
      count_results(scan, devices.ids().front(), location, cost);
    }
    Steps steps = choose_steps(cost);
    Found found;
    if (steps.step_ms == 0) {
      found = single_results(scan, devices, location, query);
    } else {
      Pieces pieces(scan, out.broken);
      found = summed_up(pieces, devices, location, Cuts(steps.bounds));
      if (pieces.coarse() && steps.step_ms < kHourMs) {
        cost.hours_only = true;
        out.broken.clear();
        steps = choose_steps(cost);
        found = summed_up(pieces, devices, location, Cuts(steps.bounds));
      }
    }
    out.step_ms = steps.step_ms;
    std::map<std::string, std::vector<SeriesPoint>> by_name;
    for (auto& [id, points] : found) by_name[scan.names()[id]] = std::move(points);
    for (auto& [name, points] : by_name) {
      if (!points.empty()) out.locations.push_back({name, std::move(points)});
    }
    return out;
  });
}

}  // namespace gema::history
