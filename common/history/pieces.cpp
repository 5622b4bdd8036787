#include "common/history/pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "common/base/assert.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;

constexpr size_t kHoursPerDay = 24;

// In the order of their primary keys, so that nothing needs sorting.
constexpr Pieces::Table kHours{"ping_rollup_hours", "day_ms", "rollups", "device_id, day_ms"};
constexpr Pieces::Table kRecent{"ping_rollup_recent", "hour_ms", "rollup", "hour_ms, device_id"};
constexpr Pieces::Table kMinutes{"ping_rollup_minutes", "hour_ms", "rollups", "device_id, hour_ms"};

// Rows that begin at these instants (rising). Of all devices the span that holds them: PostgreSQL
// reads it in the order of its key.
std::string among(const char* column, const std::vector<int64_t>& starts, bool all_devices) {
  if (all_devices) {
    return fmt::format("{0} >= {1} AND {0} <= {2}", column, starts.front(), starts.back());
  }
  return fmt::format("{} = ANY ('{{{}}}'::bigint[])", column, fmt::join(starts, ","));
}

void sort_unique(std::vector<DeviceId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

// Hours that follow each other and want the same devices, as one range.
struct Run {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  const std::vector<DeviceId>* devices = nullptr;
};

// Of few devices a longer range is one statement; of many, one hour's results at a time.
constexpr size_t kRunDevicesMax = 100;

std::vector<Run> runs_of(const std::map<int64_t, std::vector<DeviceId>>& hours) {
  std::vector<Run> runs;
  for (const auto& [hour_ms, devices] : hours) {
    if (devices.empty()) continue;
    if (!runs.empty() && runs.back().to_ms == hour_ms && devices.size() <= kRunDevicesMax &&
        *runs.back().devices == devices) {
      runs.back().to_ms += kHourMs;
    } else {
      runs.push_back({hour_ms, hour_ms + kHourMs, &devices});
    }
  }
  return runs;
}

bool wanted(const std::map<int64_t, std::vector<DeviceId>>& hours, int64_t hour_ms,
            DeviceId device) {
  const auto it = hours.find(hour_ms);
  return it != hours.end() && std::binary_search(it->second.begin(), it->second.end(), device);
}

}  // namespace

void Pieces::read(const Devices& devices, const Cuts& cuts, std::optional<int32_t> location,
                  const Each& each) {
  devices_ = &devices;
  cuts_ = &cuts;
  location_ = location;
  each_ = &each;
  coarse_ = false;
  built_days_.clear();
  recent_hours_.clear();
  open_hours_.clear();
  late_.clear();
  minutes_.clear();
  results_.clear();
  found_.clear();

  read_state();
  find_pending();
  read_days();
  read_recent();
  read_old_minutes();
  read_minutes();
  read_results();
  read_coarse();
}

void Pieces::emit(const Piece& piece, const Rollup& rollup) {
  if (rollup.checks() > 0) (*each_)(piece, rollup);
}

// --- what there is ----------------------------------------------------------------------------

void Pieces::read_state() {
  Params window;
  window.int64(floor_to(cuts_->begin(), kDayMs)).int64(cuts_->end());
  const BinaryResult days(
      scan_.tx(), "SELECT day_ms FROM ping_days WHERE day_ms >= $1 AND day_ms < $2", window);
  for (int i = 0; i < days.rows(); ++i) built_days_.insert(days.int64(i, 0));
  const BinaryResult state(scan_.tx(), "SELECT recent_from_ms FROM history_state", {});
  recent_from_ms_ = state.rows() == 0 ? 0 : state.int64(0, 0);
  const BinaryResult leaves(scan_.tx(),
                            "SELECT from_ms, to_ms FROM history_leaves('ping_rollup_recent')"
                            " WHERE from_ms < $2 AND to_ms > $1",
                            window);
  for (int i = 0; i < leaves.rows(); ++i) {
    const int64_t from_ms = std::max(
        {leaves.int64(i, 0), floor_to(cuts_->begin(), kHourMs), ceil_to(recent_from_ms_, kHourMs)});
    const int64_t to_ms = std::min(leaves.int64(i, 1), cuts_->end());
    for (int64_t hour_ms = from_ms; hour_ms < to_ms; hour_ms += kHourMs) {
      if (!built_days_.contains(floor_to(hour_ms, kDayMs))) recent_hours_.push_back(hour_ms);
    }
  }
}

// Hours whose rollups do not tell everything.
void Pieces::find_pending() {
  Params window;
  window.int64(floor_to(cuts_->begin(), kHourMs)).int64(cuts_->end());
  // By partition: up to where each is compacted.
  std::map<int64_t, std::map<uint32_t, int64_t>> pending;
  const BinaryResult hours(scan_.tx(),
                           "SELECT hour_ms, partition, compacted FROM ping_hours"
                           " WHERE written > compacted AND hour_ms >= $1 AND hour_ms < $2",
                           window);
  for (int i = 0; i < hours.rows(); ++i) {
    const auto partition = static_cast<uint32_t>(hours.int16(i, 1));
    if (devices_->has_partition(partition)) {
      pending[hours.int64(i, 0)][partition] = hours.int64(i, 2);
    }
  }
  for (const auto& [device, hot] : scan_.hot()) {
    if (!devices_->has(device)) continue;
    for (size_t s = 0; s < hot.used; ++s) {
      for (const int64_t due_ms : hot.sources[s].results.due_ms) {
        if (due_ms < cuts_->begin() || due_ms >= cuts_->end()) continue;
        std::vector<DeviceId>& of_hour = late_[floor_to(due_ms, kHourMs)];
        if (of_hour.empty() || of_hour.back() != device) of_hour.push_back(device);
      }
    }
  }
  for (const auto& entry : late_) pending[entry.first];
  if (pending.empty()) return;

  std::set<int64_t> rolled_up;
  std::string asked;
  for (const auto& entry : pending) {
    if (std::binary_search(recent_hours_.begin(), recent_hours_.end(), entry.first)) {
      asked += fmt::format("{}{}", asked.empty() ? "" : ",", entry.first);
    }
  }
  if (!asked.empty()) {
    const BinaryResult r(scan_.tx(),
                         fmt::format("SELECT h FROM unnest('{{{}}}'::bigint[]) h WHERE EXISTS"
                                     " (SELECT FROM ping_rollup_recent r WHERE r.hour_ms = h{})",
                                     asked, devices_->where("r.device_id")),
                         {});
    for (int i = 0; i < r.rows(); ++i) rolled_up.insert(r.int64(i, 0));
  }
  for (const auto& [hour_ms, compacted] : pending) {
    const bool recent =
        hour_ms >= recent_from_ms_ && !built_days_.contains(floor_to(hour_ms, kDayMs));
    if (recent && !rolled_up.contains(hour_ms)) {
      open_hours_.insert(hour_ms);
      late_.erase(hour_ms);
    } else {
      find_late(hour_ms, compacted);
    }
  }
}

void Pieces::find_late(int64_t hour_ms, const std::map<uint32_t, int64_t>& compacted) {
  std::vector<DeviceId>& late = late_[hour_ms];
  if (!compacted.empty()) {
    Params span;
    span.int64(hour_ms).int64(hour_ms + kHourMs);
    const BinaryResult chunks(
        scan_.tx(),
        fmt::format("SELECT device_id, max(part) FROM ping_chunks WHERE start_ms >= $1"
                    " AND start_ms < $2{} GROUP BY device_id",
                    devices_->where("device_id")),
        span);
    for (int i = 0; i < chunks.rows(); ++i) {
      const auto device = static_cast<DeviceId>(chunks.int64(i, 0));
      const auto up_to = compacted.find(partition_of(device));
      if (up_to != compacted.end() && chunks.int64(i, 1) >> 20 > up_to->second) {
        late.push_back(device);
      }
    }
  }
  sort_unique(late);
}

bool Pieces::from_results(DeviceId device, int64_t hour_ms) const {
  return open_hours_.contains(hour_ms) || wanted(late_, hour_ms, device);
}

// --- rollups ----------------------------------------------------------------------------------

void Pieces::read_groups(const Table& table, const std::string& where,
                         const std::function<void(const Group&)>& each) {
  Group group;
  bool any = false;
  each_row(
      scan_.tx(),
      fmt::format("SELECT device_id, {}, location_id, {} FROM {} WHERE {}{} ORDER BY {}",
                  table.start, table.rollups, table.name, where, devices_->where("device_id"),
                  table.order),
      {},
      [&](const BinaryResult& rows, int i) {
        const auto device = static_cast<DeviceId>(rows.int64(i, 0));
        const int64_t start_ms = rows.int64(i, 1);
        if (!any || group.device != device || group.start_ms != start_ms) {
          if (any) each(group);
          group.device = device;
          group.start_ms = start_ms;
          group.broken = false;
          group.used = 0;
          any = true;
        }
        const int32_t location = rows.int32(i, 2);
        if (location_ && *location_ != location) return;
        if (group.used == group.locations.size()) group.locations.emplace_back();
        auto& [of, rollups] = group.locations[group.used];
        of = location;
        if (unpack_rollups(rows.bytes(i, 3), rollups)) {
          ++group.used;
        } else {
          group.broken = true;
          broken_.push_back({table.name, device, start_ms, location});
        }
      },
      devices_->ids().size() == 1);
  if (any) each(group);
}

// What the rollup `index` of each location of the group says of an hour.
void Pieces::take_hours(const Group& group, size_t index, int64_t hour_ms) {
  if (!cuts_->touches(hour_ms, hour_ms + kHourMs) || from_results(group.device, hour_ms)) return;
  const auto segment = cuts_->whole(hour_ms, hour_ms + kHourMs);
  bool any = group.broken;
  for (size_t l = 0; l < group.used; ++l) {
    const auto& [location, rollups] = group.locations[l];
    if (index >= rollups.size() || rollups[index].checks() == 0) continue;
    any = true;
    if (segment && !group.broken) {
      emit({group.device, location, *segment, hour_ms}, rollups[index]);
    }
  }
  if (any && (!segment || group.broken)) minutes_[hour_ms].push_back(group.device);
}

void Pieces::read_days() {
  if (built_days_.empty()) return;
  read_groups(kHours, among("day_ms", {built_days_.begin(), built_days_.end()}, devices_->all()),
              [&](const Group& group) {
                if (!built_days_.contains(group.start_ms)) return;
                for (size_t hour = 0; hour < kHoursPerDay; ++hour) {
                  take_hours(group, hour, group.start_ms + static_cast<int64_t>(hour) * kHourMs);
                }
              });
}

void Pieces::read_recent() {
  if (recent_hours_.empty()) return;
  read_groups(kRecent, among("hour_ms", recent_hours_, devices_->all()), [&](const Group& group) {
    if (std::binary_search(recent_hours_.begin(), recent_hours_.end(), group.start_ms)) {
      take_hours(group, 0, group.start_ms);
    }
  });
}

// Hours from before there were recent rows, of days that are not built.
void Pieces::read_old_minutes() {
  const int64_t to_ms = std::min(recent_from_ms_, cuts_->end());
  if (to_ms <= cuts_->begin()) return;
  const BinaryResult days(
      scan_.tx(), "SELECT from_ms FROM history_leaves('ping_rollup_minutes') ORDER BY 1", {});
  for (int i = 0; i < days.rows(); ++i) {
    const int64_t day_ms = days.int64(i, 0);
    if (built_days_.contains(day_ms) || !cuts_->touches(day_ms, day_ms + kDayMs)) continue;
    read_groups(kMinutes,
                fmt::format("hour_ms >= {} AND hour_ms < {}",
                            std::max(day_ms, floor_to(cuts_->begin(), kHourMs)),
                            std::min(day_ms + kDayMs, to_ms)),
                [&](const Group& group) { take_minutes(group); });
  }
}

void Pieces::read_minutes() {
  for (auto& entry : minutes_) sort_unique(entry.second);
  const Devices* all = devices_;
  ByHour found;
  for (const Run& run : runs_of(minutes_)) {
    const Devices some(*run.devices);
    devices_ = &some;
    read_groups(kMinutes, fmt::format("hour_ms >= {} AND hour_ms < {}", run.from_ms, run.to_ms),
                [&](const Group& group) {
                  found[group.start_ms].push_back(group.device);
                  take_minutes(group);
                });
  }
  devices_ = all;
  // What has no row of minutes is looked for among results.
  for (const auto& [hour_ms, devices] : minutes_) {
    std::vector<DeviceId>& there = found[hour_ms];
    sort_unique(there);
    std::set_difference(devices.begin(), devices.end(), there.begin(), there.end(),
                        std::back_inserter(results_[hour_ms]));
  }
}

void Pieces::take_minutes(const Group& group) {
  const int64_t hour_ms = group.start_ms;
  const int64_t end_ms = hour_ms + kHourMs;
  if (!cuts_->touches(hour_ms, end_ms) || from_results(group.device, hour_ms)) return;
  bool right = !group.broken;
  for (size_t l = 0; l < group.used && right; ++l) {
    const size_t n = group.locations[l].second.size();
    right = n > 0 && cuts_->fits(hour_ms, end_ms, n);
  }
  if (!right) {
    results_[hour_ms].push_back(group.device);
    return;
  }
  for (size_t l = 0; l < group.used; ++l) {
    const auto& [location, rollups] = group.locations[l];
    const int64_t part_ms = kHourMs / static_cast<int64_t>(rollups.size());
    for (size_t i = 0; i < rollups.size(); ++i) {
      const auto segment = cuts_->at(hour_ms + static_cast<int64_t>(i) * part_ms);
      if (segment) emit({group.device, location, *segment, hour_ms}, rollups[i]);
    }
  }
}

// --- results ----------------------------------------------------------------------------------

void Pieces::read_results() {
  // Each pair of hour and device once.
  ByHour wanted_hours = late_;
  for (auto& [hour_ms, devices] : results_) {
    auto& to = wanted_hours[hour_ms];
    to.insert(to.end(), devices.begin(), devices.end());
    sort_unique(to);
    sort_unique(devices);
  }
  auto each_hour = [&](DeviceId device, const Merged& merged) {
    const auto& entries = merged.entries();
    for (size_t begin = 0; begin < entries.size();) {
      const int64_t hour_ms = floor_to(entries[begin].due_ms, kHourMs);
      size_t end = begin + 1;
      while (end < entries.size() && entries[end].due_ms < hour_ms + kHourMs) ++end;
      roll_up(device, merged, hour_ms, begin, end);
      if (wanted(results_, hour_ms, device)) found_.emplace(hour_ms, device);
      begin = end;
    }
  };
  auto clipped = [&](int64_t from_ms, int64_t to_ms, bool packed) {
    return Scan::Range{std::max(from_ms, cuts_->begin()), std::min(to_ms, cuts_->end()), packed};
  };
  for (const Run& run : runs_of(wanted_hours)) {
    scan_.results(Devices(*run.devices), clipped(run.from_ms, run.to_ms, true), each_hour);
  }
  for (const int64_t hour_ms : open_hours_) {
    scan_.results(*devices_, clipped(hour_ms, hour_ms + kHourMs, false), each_hour);
  }
}

// Results of one device and hour: entries [begin, end).
void Pieces::roll_up(DeviceId device, const Merged& merged, int64_t hour_ms, size_t begin,
                     size_t end) {
  const std::vector<Merged::Entry>& entries = merged.entries();
  // As the compactor does it: the shortest interval of a location decides how long a rollup is.
  std::map<int32_t, uint32_t> locations;
  for (size_t i = begin; i < end; ++i) {
    const Source& source = *entries[i].source;
    const uint32_t interval_ms = source.results.interval_ms[entries[i].index];
    const auto [it, fresh] = locations.emplace(source.location, interval_ms);
    if (!fresh) it->second = std::min(it->second, interval_ms);
  }
  for (const auto& [location, interval_ms] : locations) {
    if (location_ && *location_ != location) continue;
    const int64_t part_ms = kHourMs / static_cast<int64_t>(rollups_per_hour(interval_ms));
    RollupBuilder builder(hour_ms, kHourMs, 1);
    std::optional<size_t> segment;
    int64_t segment_end_ms = hour_ms;
    int64_t part_end_ms = hour_ms;
    auto flush = [&] {
      if (!segment) return;
      for (const Rollup& rollup : builder.take()) {
        emit({device, location, *segment, hour_ms}, rollup);
      }
    };
    for (size_t i = begin; i < end; ++i) {
      const Source& source = *entries[i].source;
      const int64_t due_ms = entries[i].due_ms;
      if (source.location != location) continue;
      if (due_ms >= segment_end_ms) {
        flush();
        segment = cuts_->at(due_ms);
        segment_end_ms = segment ? cuts_->to(*segment) : kTimeMax;
        if (!segment) continue;
        builder.split();
      }
      if (due_ms >= part_end_ms) {
        builder.split();
        part_end_ms = floor_to(due_ms - hour_ms, part_ms) + hour_ms + part_ms;
      }
      builder.add(due_ms, source.results.interval_ms[entries[i].index],
                  view_of(source, entries[i].index));
    }
    flush();
  }
}

// Results of the hour are there, if none within the cuts: that tells all.
void Pieces::drop_told(ByHour& hours) {
  ByHour told;
  for (const Run& run : runs_of(hours)) {
    Params span;
    span.int64(run.from_ms).int64(run.to_ms);
    const std::string where =
        "start_ms >= $1 AND start_ms < $2" + Devices(*run.devices).where("device_id");
    const BinaryResult rows(
        scan_.tx(),
        fmt::format("SELECT DISTINCT device_id, start_ms - start_ms % 3600000 FROM ("
                    "SELECT device_id, start_ms FROM ping_packed WHERE {0} UNION ALL "
                    "SELECT device_id, start_ms FROM ping_chunks WHERE {0}) AS stored",
                    where),
        span);
    for (int i = 0; i < rows.rows(); ++i) {
      told[rows.int64(i, 1)].push_back(static_cast<DeviceId>(rows.int64(i, 0)));
    }
  }
  for (auto& [hour_ms, devices] : told) {
    sort_unique(devices);
    std::erase_if(hours[hour_ms], [&there = devices](DeviceId device) {
      return std::binary_search(there.begin(), there.end(), device);
    });
  }
}

// Hours that are cut, or whose rollups are broken, and of which no results are there any more: what
// the day or the hour says goes to where its middle lies.
void Pieces::read_coarse() {
  ByHour coarse;
  for (const auto& [hour_ms, devices] : results_) {
    for (const DeviceId device : devices) {
      if (found_.contains({hour_ms, device})) continue;
      if (!from_results(device, hour_ms)) coarse[hour_ms].push_back(device);
    }
  }
  drop_told(coarse);
  const size_t told = broken_.size();  // once is enough
  auto take = [&](const Group& group, size_t index, int64_t hour_ms) {
    if (!wanted(coarse, hour_ms, group.device)) return;
    const auto segment = cuts_->at(hour_ms + kHourMs / 2);
    for (size_t l = 0; l < group.used; ++l) {
      const auto& [location, rollups] = group.locations[l];
      if (index >= rollups.size() || rollups[index].checks() == 0) continue;
      coarse_ = true;
      if (segment) emit({group.device, location, *segment, hour_ms}, rollups[index]);
    }
  };
  const Devices* all = devices_;
  for (const Run& run : runs_of(coarse)) {
    const Devices some(*run.devices);
    devices_ = &some;
    read_groups(
        kHours,
        fmt::format("day_ms >= {} AND day_ms < {}", floor_to(run.from_ms, kDayMs), run.to_ms),
        [&](const Group& group) {
          const int64_t day_ms = group.start_ms;
          if (!built_days_.contains(day_ms)) return;
          for (size_t hour = 0; hour < kHoursPerDay; ++hour) {
            const int64_t hour_ms = day_ms + static_cast<int64_t>(hour) * kHourMs;
            if (hour_ms >= run.from_ms && hour_ms < run.to_ms) take(group, hour, hour_ms);
          }
        });
    std::vector<int64_t> hours;
    for (const int64_t hour_ms : recent_hours_) {
      if (hour_ms >= run.from_ms && hour_ms < run.to_ms) hours.push_back(hour_ms);
    }
    if (hours.empty()) continue;
    read_groups(kRecent, among("hour_ms", hours, false),
                [&](const Group& group) { take(group, 0, group.start_ms); });
  }
  devices_ = all;
  broken_.resize(told);
}

}  // namespace gema::history
