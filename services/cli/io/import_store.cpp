#include "services/cli/io/import_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "common/codec/transition_codec.h"
#include "common/domain/hour_merger.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/rollup.h"
#include "common/postgres/binary.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/outage_maker.h"
#include "services/cli/core/runs.h"

namespace gema::cli {
namespace {

using postgres::BinaryResult;
using postgres::CopyIn;
using postgres::Params;
using postgres::Transaction;

// The migration whose tables this file writes.
constexpr int kSchemaNeeded = 7;
constexpr int64_t kHourMs = kChunkSpanMs;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr size_t kHours = 24;
constexpr size_t kFlushRows = 2'000;
constexpr size_t kRefusedShown = 20;
constexpr uint64_t kTellEvery = 2'000;

int64_t floor_to(int64_t ms, int64_t unit) {
  return ms - ((ms % unit) + unit) % unit;
}

std::string day_text(int64_t day_ms) {
  using namespace std::chrono;  // NOLINT: calendar types
  const year_month_day date{sys_days{days{day_ms / kDayMs}}};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

// What an outage is told by: a check on its slot.
struct Seen {
  int64_t due_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;
};

// Thrown to leave the transaction; ends in import_staged.
struct BrokenOff {};

struct Source {  // of the current device
  HourSource names;
  uint32_t step_ms = 0;
  int64_t tolerance_ms = 0;
  bool drifts = false;
  int64_t first_ms = 0;  // the span that it replaces
  int64_t last_ms = 0;
};

// What is stored of an hour, row by row.
struct StoredRow {
  int row = 0;  // in Day::packed
  bool broken = false;
};

struct Day {
  DeviceId device = 0;
  int64_t day_ms = 0;
  std::array<std::vector<StagedCheck>, kHours> checks;
  std::optional<BinaryResult> packed;
  std::array<std::vector<StoredRow>, kHours> stored;
  // By location and hour, by location.
  std::map<std::pair<int32_t, size_t>, std::string> minutes;
  std::map<int32_t, std::string> hours;

  uint64_t count() const {
    uint64_t n = 0;
    for (const auto& of_hour : checks) n += of_hour.size();
    return n;
  }
};

// '{1,2,3}', and how many.
class ArrayText {
 public:
  void add(int64_t value) {
    text_ += count_++ == 0 ? "{" : ",";
    text_ += std::to_string(value);
  }
  std::string text() const { return count_ == 0 ? "{}" : text_ + "}"; }
  size_t count() const { return count_; }

 private:
  std::string text_;
  size_t count_ = 0;
};

// Rows of a table keyed by device, time and something else, to be deleted.
struct Gone {
  ArrayText devices, times, others;
  int64_t least = INT64_MAX;
  int64_t most = INT64_MIN;

  void add(DeviceId device, int64_t time, int64_t other) {
    devices.add(static_cast<int64_t>(device));
    times.add(time);
    others.add(other);
    least = std::min(least, time);
    most = std::max(most, time);
  }
  void remove(Transaction& tx, const char* table, const char* time, const char* other) const {
    if (devices.count() == 0) return;
    tx.exec(fmt::format("DELETE FROM {0} t USING unnest($1::bigint[], $2::bigint[], $3::bigint[])"
                        " AS gone (device_id, at, other) WHERE t.device_id = gone.device_id"
                        " AND t.{1} = gone.at AND t.{2} = gone.other"
                        " AND t.{1} >= $4::bigint AND t.{1} <= $5::bigint",
                        table, time, other),
            devices.text(), times.text(), others.text(), least, most);
  }
};

struct PackedOut {
  DeviceId device;
  int32_t part;
  PackedRow row;
};
struct RollupOut {
  DeviceId device;
  int64_t time_ms;
  int32_t location;
  std::string bytes;
};

struct Pending {
  std::vector<PackedOut> packed;
  std::vector<RollupOut> minutes, recent, hours;
  Gone packed_gone, minutes_gone, recent_gone, hours_gone;
};

class Import {
 public:
  Import(Transaction& tx, Stage& stage, const ImportOptions& options, WallTime now,
         const ImportProgress& progress)
      : tx_(tx), stage_(stage), options_(options), progress_(progress), now_ms_(unix_ms(now)) {}

  ImportDone run();

 private:
  void begin();
  int32_t name_id(const std::string& name);
  void prepare_days();
  void take_device(DeviceId device);
  void find_steps(DeviceId device);
  void take_day(Day& day);
  void read_day(Day& day);
  const char* why_refused(const Day& day) const;
  void take_old_day(Day& day);
  bool merge_hour(Day& day, size_t hour);
  bool add_stored(Day& day, size_t hour, StoredRow& stored);
  bool unchanged(const Day& day, size_t hour, const CompactedHour& merged) const;
  void place(Day& day, size_t hour, uint32_t source);
  void finish_day(Day& day, bool any);
  std::string rolled_up(const std::vector<HourOfDay>& hours);
  void flush();
  void begin_outages(DeviceId device);
  void see_outages();
  void write_outages(DeviceId device);
  void tell(uint64_t checks);

  Transaction& tx_;
  Stage& stage_;
  const ImportOptions& options_;
  const ImportProgress& progress_;
  const int64_t now_ms_;
  ImportDone done_;
  uint64_t taken_ = 0;
  uint64_t told_ = 0;

  int64_t raw_from_ms_ = 0;    // single results are kept from here on
  int64_t hours_from_ms_ = 0;  // and hour rollups
  std::map<int32_t, std::string> names_;
  std::map<std::string, int32_t> ids_;
  std::set<int64_t> built_days_;
  std::set<int64_t> fresh_days_;  // nobody had anything before
  std::set<int64_t> minute_days_;
  HourMerger merger_{names_};
  ChunkBuilder builder_;
  ChunkArrays arrays_;

  // Of the current device.
  std::map<uint32_t, Source> sources_;
  std::set<std::pair<int32_t, int64_t>> taken_slots_;  // location and slot, of our own probers
  std::optional<OutageMaker> outage_maker_;
  std::vector<Transition> transitions_;
  std::vector<Seen> seen_;        // of the current hour
  int64_t outages_until_ms_ = 0;  // the tracker's own begin
  int64_t outages_from_ms_ = 0;   // the span that the imported ones are told of
  int64_t outages_to_ms_ = 0;
  Pending pending_;
};

ImportDone Import::run() {
  begin();
  prepare_days();
  DeviceId last = 0;
  for (const StageSpan& span : stage_.spans()) {
    if (span.device == last) continue;
    last = span.device;
    take_device(span.device);
  }
  ArrayText days;
  for (const int64_t day : fresh_days_) days.add(day);
  tx_.exec(
      "INSERT INTO ping_days (day_ms, built_ms) SELECT d, $2 FROM unnest($1::bigint[]) d"
      " ON CONFLICT DO NOTHING",
      days.text(), now_ms_);
  return std::move(done_);
}

void Import::tell(uint64_t checks) {
  taken_ += checks;
  if (taken_ < told_ + kTellEvery && taken_ < stage_.checks()) return;
  told_ = taken_;
  if (!progress_(taken_, stage_.checks())) throw BrokenOff{};
}

int32_t Import::name_id(const std::string& name) {
  const auto known = ids_.find(name);
  if (known != ids_.end()) return known->second;
  const auto row = tx_.exec(
      "WITH made AS (INSERT INTO history_names (name) VALUES ($1) ON CONFLICT DO NOTHING"
      " RETURNING id) SELECT id FROM made UNION ALL SELECT id FROM history_names WHERE name = $1",
      name);
  const auto id = row[0][0].as<int32_t>();
  ids_[name] = id;
  names_[id] = name;
  return id;
}

void Import::begin() {
  // A statement of ours is short; the wait for a step of the compactor, too.
  tx_.exec("SET LOCAL lock_timeout = '60s'; SET LOCAL enable_seqscan = off; SET LOCAL jit = off");
  tx_.exec("SELECT pg_advisory_xact_lock(hashtext('gema compaction'))");
  // Whoever cleans up meanwhile waits, and what was cleaned stays clean.
  const auto floor_ms =
      tx_.exec("SELECT floor_ms FROM history_state FOR SHARE")[0][0].as<int64_t>();
  const auto days_ago = [&](uint32_t days) {
    return floor_to(now_ms_ - int64_t{days} * kDayMs, kDayMs);
  };
  raw_from_ms_ = std::max(floor_ms, days_ago(options_.raw_retention_days));
  hours_from_ms_ = days_ago(std::max(options_.hour_rollups_days, options_.raw_retention_days));
  for (const auto& row : tx_.exec("SELECT id, name FROM history_names")) {
    names_[row[0].as<int32_t>()] = row[1].as<std::string>();
    ids_[row[1].as<std::string>()] = row[0].as<int32_t>();
  }
  for (const auto& row : tx_.exec("SELECT day_ms FROM ping_days")) {
    built_days_.insert(row[0].as<int64_t>());
  }
}

// Makes the leaves of all days at once, and notes which days nobody had anything of.
void Import::prepare_days() {
  for (const auto& row : tx_.exec("SELECT from_ms FROM history_leaves('ping_rollup_minutes')")) {
    minute_days_.insert(row[0].as<int64_t>());
  }
  const auto leaf = [&](const char* table, int64_t day_ms) {
    return tx_.exec("SELECT history_make_leaf_at($1, $2)", table, day_ms)[0][0].as<bool>();
  };
  for (const int64_t day : stage_.days()) {
    if (day < hours_from_ms_) continue;
    const bool closed = day + kDayMs + kHourMs <= now_ms_;
    const bool known = minute_days_.contains(day) || built_days_.contains(day);
    if (closed && !known) fresh_days_.insert(day);
    if (closed || built_days_.contains(day)) leaf("ping_rollup_hours", day);
    if (day < raw_from_ms_) continue;
    leaf("ping_packed", day);
    leaf("ping_rollup_minutes", day);
    if (!built_days_.contains(day) && !fresh_days_.contains(day)) leaf("ping_rollup_recent", day);
  }
}

// --- one device ------------------------------------------------------------------------------

void Import::find_steps(DeviceId device) {
  sources_.clear();
  std::set<std::string> locations;
  std::string producer;
  for (const StageSpan& span : stage_.spans()) {
    if (span.device != device) continue;
    const StageSource& named = stage_.source(span.source);
    locations.insert(named.location);
    if (producer.empty()) producer = named.producer;
    Source source{
        .names = {.location = name_id(named.location), .producer = name_id(named.producer)},
        .drifts = named.drifts};
    if (named.drifts) {
      source.step_ms = options_.interval_ms;
      if (source.step_ms == 0) source.step_ms = stage_.spacing(span);
      const auto known = options_.device_interval_ms.find(device);
      if (source.step_ms == 0 && known != options_.device_interval_ms.end()) {
        source.step_ms = known->second;
      }
      if (source.step_ms == 0) source.step_ms = 60'000;
      source.tolerance_ms = tolerance_of(source.step_ms);
      source.first_ms = span.first_ms - source.tolerance_ms;
      source.last_ms = span.last_ms + source.tolerance_ms;
    }
    sources_[span.source] = source;
  }
  outage_maker_.reset();
  transitions_.clear();
  if (!options_.outages) return;
  if (locations.size() == 1) {
    outage_maker_.emplace(device, options_.down_after, producer, *locations.begin());
    begin_outages(device);
  } else {
    done_.several_locations.insert(device);
  }
}

void Import::take_device(DeviceId device) {
  find_steps(device);
  Day day;
  stage_.each(device, [&](const StagedCheck& check) {
    const int64_t day_ms = floor_to(check.at_ms, kDayMs);
    if (day.device != device || day.day_ms != day_ms) {
      if (day.device == device) take_day(day);
      day = Day{.device = device, .day_ms = day_ms};
    }
    day.checks[static_cast<size_t>((check.at_ms - day_ms) / kHourMs)].push_back(check);
  });
  if (day.device == device) take_day(day);
  flush();
  if (outage_maker_) write_outages(device);
}

void Import::take_day(Day& day) {
  const uint64_t checks = day.count();
  if (day.day_ms < hours_from_ms_) {
    done_.too_old += checks;
    return tell(checks);
  }
  if (!fresh_days_.contains(day.day_ms)) read_day(day);
  if (const char* why = why_refused(day)) {
    ++done_.refused_days;
    done_.refused_checks += checks;
    if (done_.refused_shown.size() < kRefusedShown) {
      done_.refused_shown.push_back(
          fmt::format("device {} on {}: {}", day.device, day_text(day.day_ms), why));
    }
    return tell(checks);
  }
  if (day.day_ms < raw_from_ms_) {
    take_old_day(day);
  } else {
    bool changed = false;
    for (size_t hour = 0; hour < kHours; ++hour) {
      if (!day.checks[hour].empty() && merge_hour(day, hour)) changed = true;
    }
    finish_day(day, changed);
  }
  if (pending_.packed.size() + pending_.minutes.size() > kFlushRows) flush();
  tell(checks);
}

void Import::read_day(Day& day) {
  const auto window = [&] {
    Params params;
    params.int64(static_cast<int64_t>(day.device)).int64(day.day_ms).int64(day.day_ms + kDayMs);
    return params;
  };
  if (day.day_ms >= raw_from_ms_) {
    day.packed.emplace(
        tx_,
        "SELECT start_ms, part, step_ms, location_id, producer_id, clock_steps, results, packed,"
        " details FROM ping_packed WHERE device_id = $1 AND start_ms >= $2 AND start_ms < $3"
        " ORDER BY start_ms, part",
        window());
    for (int i = 0; i < day.packed->rows(); ++i) {
      day.stored[static_cast<size_t>((day.packed->int64(i, 0) - day.day_ms) / kHourMs)].push_back(
          {i});
    }
  }
  if (minute_days_.contains(day.day_ms)) {
    const BinaryResult minutes(tx_,
                               "SELECT location_id, hour_ms, rollups FROM ping_rollup_minutes"
                               " WHERE device_id = $1 AND hour_ms >= $2 AND hour_ms < $3",
                               window());
    for (int i = 0; i < minutes.rows(); ++i) {
      day.minutes[{minutes.int32(i, 0),
                   static_cast<size_t>((minutes.int64(i, 1) - day.day_ms) / kHourMs)}] =
          std::string(minutes.bytes(i, 2));
    }
  }
  Params one;
  one.int64(static_cast<int64_t>(day.device)).int64(day.day_ms);
  const BinaryResult hours(tx_,
                           "SELECT location_id, rollups FROM ping_rollup_hours"
                           " WHERE device_id = $1 AND day_ms = $2",
                           one);
  for (int i = 0; i < hours.rows(); ++i) {
    day.hours[hours.int32(i, 0)] = std::string(hours.bytes(i, 1));
  }
}

// A day must never be built again from a part of what it was made of.
const char* Import::why_refused(const Day& day) const {
  if (day.day_ms < raw_from_ms_ && !day.minutes.empty()) {
    return "it is past the time that single results are kept, and has minute rollups still";
  }
  if (day.day_ms < raw_from_ms_) return nullptr;  // take_old_day() decides
  for (const auto& [location, bytes] : day.hours) {
    const auto hours = unpack_rollups(bytes);
    if (!hours || hours->size() != kHours) return "its hour rollups do not decode";
    for (size_t hour = 0; hour < kHours; ++hour) {
      if ((*hours)[hour].checks() > 0 && !day.minutes.contains({location, hour})) {
        return "its hour rollups are there, but what they were made of is gone";
      }
    }
  }
  return nullptr;
}

// Single results of that time are not kept: its hour rollups are made here, or never.
void Import::take_old_day(Day& day) {
  std::map<int32_t, std::map<size_t, std::string>> minutes;
  for (size_t hour = 0; hour < kHours; ++hour) {
    if (day.checks[hour].empty()) continue;
    merger_.begin(day.device, day.day_ms + static_cast<int64_t>(hour) * kHourMs);
    taken_slots_.clear();
    for (const auto& [source, about] : sources_) place(day, hour, source);
    see_outages();
    CompactedHour merged = merger_.take();
    done_.only_rollups += merged.results;
    done_.doubled += merged.doubled;
    ++done_.hours;
    for (MinuteRollups& m : merged.minutes) minutes[m.location][hour] = std::move(m.rollups);
  }
  std::map<int32_t, std::string> made;
  for (const auto& [location, hours] : minutes) {
    std::vector<HourOfDay> rows;
    for (const auto& [hour, bytes] : hours) rows.push_back({hour, bytes});
    made[location] = rolled_up(rows);
  }
  if (day.hours.empty()) {
    for (auto& [location, bytes] : made) {
      pending_.hours.push_back({day.device, day.day_ms, location, std::move(bytes)});
    }
    return;
  }
  if (made == day.hours) {
    ++done_.unchanged_hours;
    return;
  }
  done_.only_rollups -= std::min(done_.only_rollups, day.count());
  ++done_.refused_days;
  done_.refused_checks += day.count();
  if (done_.refused_shown.size() < kRefusedShown) {
    done_.refused_shown.push_back(
        fmt::format("device {} on {}: it is past the time that single results are kept, and has"
                    " hour rollups of something else",
                    day.device, day_text(day.day_ms)));
  }
}

// --- one hour --------------------------------------------------------------------------------

// Puts the checks of one source on slots and adds them to the merger.
void Import::place(Day& day, size_t hour, uint32_t source_place) {
  const Source& source = sources_[source_place];
  const int64_t hour_ms = day.day_ms + static_cast<int64_t>(hour) * kHourMs;
  // Checks of one step at a time: an export may have several.
  std::map<uint32_t, std::vector<const StagedCheck*>> by_step;
  for (const StagedCheck& check : day.checks[hour]) {
    if (check.source == source_place) {
      by_step[source.drifts ? source.step_ms : check.interval_ms].push_back(&check);
    }
  }
  std::vector<int64_t> times;
  PingResults results;
  std::vector<ResultText> texts;
  for (const auto& [step_ms, checks] : by_step) {
    times.clear();
    for (const StagedCheck* check : checks) times.push_back(check->at_ms);
    const int64_t tolerance = source.drifts ? source.tolerance_ms : 0;
    for (const Run& run : cli::place(times, hour_ms, step_ms, tolerance)) {
      results.clear();
      texts.clear();
      uint32_t echoes = 1;
      for (const auto& [check, slot] : run.checks) {
        const bool right =
            append_packed(checks[check]->data, day.device, run.start_ms + int64_t{slot} * step_ms,
                          step_ms, results, texts);
        GEMA_ASSERT(right);
      }
      for (size_t i = 0; i < results.size(); ++i) {
        echoes = std::max(echoes, results.echo_begin[i + 1] - results.echo_begin[i]);
      }
      builder_.begin(day.device, run.start_ms, step_ms, echoes);
      auto text = texts.begin();
      auto stray = results.strays.begin();
      bool any = false;
      for (size_t i = 0; i < results.size(); ++i) {
        const int64_t due_ms = results.due_ms[i];
        ResultView view = view_of(results, i);
        if (text != texts.end() && text->index == i) view.text = (text++)->text;
        const auto first = stray;
        while (stray != results.strays.end() && stray->due_ms == due_ms) ++stray;
        if (source.drifts && taken_slots_.contains({source.names.location, due_ms})) {
          ++done_.measured_here;
          continue;
        }
        builder_.add(view, run.checks[i].slot, {first, stray});
        any = true;
        if (outage_maker_) {
          seen_.push_back({due_ms, view.verdict, view.reason, mean_rtt_us(results, i, nullptr)});
          outages_to_ms_ = std::max(outages_to_ms_, due_ms + int64_t{step_ms});
        }
      }
      if (!any) continue;
      const bool added = merger_.add(source.names, builder_.view());
      GEMA_ASSERT(added);
    }
  }
}

// Returns: false when the row does not decode.
bool Import::add_stored(Day& day, size_t hour, StoredRow& stored) {
  const BinaryResult& rows = *day.packed;
  const int i = stored.row;
  const HourSource names{rows.int32(i, 3), rows.int32(i, 4), rows.int16(i, 5)};
  if (!unpack_chunk(rows.bytes(i, 7), arrays_)) return false;
  const ChunkView chunk{.device = day.device,
                        .start_ms = rows.int64(i, 0),
                        .step_ms = static_cast<uint32_t>(rows.int32(i, 2)),
                        .echoes = arrays_.echoes,
                        .samples = arrays_.samples,
                        .extra = arrays_.extra,
                        .details = rows.bytes(i, 8)};
  const Source* replaced = nullptr;
  for (const auto& [place, source] : sources_) {
    if (source.drifts && source.names == names) replaced = &source;
  }
  PingResults results;
  std::vector<ResultText> texts;
  if (!append_chunk(chunk, results, &texts)) return false;
  if (replaced == nullptr) {
    for (const int64_t due_ms : results.due_ms) taken_slots_.insert({names.location, due_ms});
    return merger_.add(names, chunk);
  }
  // What an earlier import of this source brought, but for the span that comes anew.
  bool any = false;
  int64_t start_ms = 0;
  auto text = texts.begin();
  auto stray = results.strays.begin();
  for (size_t r = 0; r < results.size(); ++r) {
    const int64_t due_ms = results.due_ms[r];
    ResultView view = view_of(results, r);
    if (text != texts.end() && text->index == r) view.text = (text++)->text;
    while (stray != results.strays.end() && stray->due_ms < due_ms) ++stray;
    const auto first = stray;
    while (stray != results.strays.end() && stray->due_ms == due_ms) ++stray;
    if (due_ms >= replaced->first_ms && due_ms <= replaced->last_ms) {
      ++done_.replaced;
      continue;
    }
    if (!any) builder_.begin(day.device, due_ms, chunk.step_ms, chunk.echoes);
    if (!any) start_ms = due_ms;
    any = true;
    builder_.add(view, static_cast<uint32_t>((due_ms - start_ms) / chunk.step_ms), {first, stray});
  }
  (void)hour;
  return !any || merger_.add(names, builder_.view());
}

bool Import::unchanged(const Day& day, size_t hour, const CompactedHour& merged) const {
  using Content =
      std::tuple<int64_t, int32_t, int32_t, int32_t, int16_t, std::string_view, std::string_view>;
  if (!day.packed) return false;
  std::vector<Content> before;
  std::vector<Content> after;
  const BinaryResult& rows = *day.packed;
  for (const StoredRow& s : day.stored[hour]) {
    if (s.broken) continue;
    const int i = s.row;
    before.emplace_back(rows.int64(i, 0), rows.int32(i, 2), rows.int32(i, 3), rows.int32(i, 4),
                        rows.int16(i, 5), rows.bytes(i, 7),
                        rows.is_null(i, 8) ? std::string_view() : rows.bytes(i, 8));
  }
  for (const PackedRow& row : merged.rows) {
    after.emplace_back(row.start_ms, static_cast<int32_t>(row.step_ms), row.source.location,
                       row.source.producer, row.source.clock_steps, row.packed, row.details);
  }
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  if (before != after) return false;
  size_t stored_minutes = 0;
  for (const auto& [key, bytes] : day.minutes) stored_minutes += key.second == hour ? 1 : 0;
  return stored_minutes == merged.minutes.size() &&
         std::all_of(merged.minutes.begin(), merged.minutes.end(), [&](const MinuteRollups& m) {
           const auto stored = day.minutes.find({m.location, hour});
           return stored != day.minutes.end() && stored->second == m.rollups;
         });
}

// Returns: whether anything changed.
bool Import::merge_hour(Day& day, size_t hour) {
  const int64_t hour_ms = day.day_ms + static_cast<int64_t>(hour) * kHourMs;
  merger_.begin(day.device, hour_ms);
  taken_slots_.clear();
  int32_t part = 0;
  for (StoredRow& stored : day.stored[hour]) {
    if (add_stored(day, hour, stored)) continue;
    // Left where it is; no new row takes its key.
    stored.broken = true;
    ++done_.broken_rows;
    part = std::max(part, day.packed->int32(stored.row, 1) + 1);
  }
  for (const auto& [source, about] : sources_) place(day, hour, source);
  see_outages();
  CompactedHour merged = merger_.take();
  done_.results += day.checks[hour].size();
  done_.doubled += merged.doubled;
  ++done_.hours;
  if (unchanged(day, hour, merged)) {
    ++done_.unchanged_hours;
    return false;
  }
  for (const StoredRow& stored : day.stored[hour]) {
    if (stored.broken) continue;
    pending_.packed_gone.add(day.device, day.packed->int64(stored.row, 0),
                             day.packed->int32(stored.row, 1));
  }
  for (PackedRow& row : merged.rows) {
    pending_.packed.push_back({day.device, part++, std::move(row)});
  }
  const bool recent = !built_days_.contains(day.day_ms) && !fresh_days_.contains(day.day_ms);
  for (MinuteRollups& m : merged.minutes) {
    if (!fresh_days_.contains(day.day_ms)) {
      pending_.minutes_gone.add(day.device, hour_ms, m.location);
      if (recent) pending_.recent_gone.add(day.device, hour_ms, m.location);
    }
    pending_.minutes.push_back({day.device, hour_ms, m.location, m.rollups});
    if (recent) pending_.recent.push_back({day.device, hour_ms, m.location, std::move(m.hour)});
    day.minutes[{m.location, hour}] = std::move(m.rollups);
  }
  return true;
}

std::string Import::rolled_up(const std::vector<HourOfDay>& hours) {
  std::vector<size_t> broken;
  std::string out = roll_up_day(hours, broken);
  done_.broken_rows += broken.size();
  return out;
}

// The day's hour rollups, from all of its minutes. Also of days that the compactor has still to
// build: it may have listed their devices before we came.
void Import::finish_day(Day& day, bool any) {
  const bool closed = day.day_ms + kDayMs + kHourMs <= now_ms_;
  if (!closed && !built_days_.contains(day.day_ms)) return;
  if (!any && !day.hours.empty()) return;
  std::map<int32_t, std::vector<HourOfDay>> locations;
  for (const auto& [key, bytes] : day.minutes) {
    locations[key.first].push_back({key.second, bytes});
  }
  for (const auto& [location, hours] : locations) {
    std::string bytes = rolled_up(hours);
    const auto stored = day.hours.find(location);
    if (stored != day.hours.end() && stored->second == bytes) continue;
    if (stored != day.hours.end()) pending_.hours_gone.add(day.device, day.day_ms, location);
    pending_.hours.push_back({day.device, day.day_ms, location, std::move(bytes)});
  }
}

// --- writing ---------------------------------------------------------------------------------

void copy_rollups(Transaction& tx, const char* statement, const std::vector<RollupOut>& rows,
                  bool time_first = false) {
  if (rows.empty()) return;
  CopyIn copy(tx, statement);
  for (const RollupOut& row : rows) {
    copy.row(4);
    if (time_first) copy.int64(row.time_ms);
    copy.int64(static_cast<int64_t>(row.device));
    if (!time_first) copy.int64(row.time_ms);
    copy.int32(row.location);
    copy.bytes(row.bytes);
  }
  copy.finish();
}

void Import::flush() {
  pending_.packed_gone.remove(tx_, "ping_packed", "start_ms", "part");
  pending_.minutes_gone.remove(tx_, "ping_rollup_minutes", "hour_ms", "location_id");
  pending_.recent_gone.remove(tx_, "ping_rollup_recent", "hour_ms", "location_id");
  pending_.hours_gone.remove(tx_, "ping_rollup_hours", "day_ms", "location_id");
  if (!pending_.packed.empty()) {
    CopyIn copy(tx_,
                "COPY ping_packed (device_id, start_ms, part, step_ms, location_id, producer_id,"
                " results, clock_steps, packed, details) FROM STDIN (FORMAT binary)");
    for (const PackedOut& out : pending_.packed) {
      copy.row(10);
      copy.int64(static_cast<int64_t>(out.device));
      copy.int64(out.row.start_ms);
      copy.int32(out.part);
      copy.int32(static_cast<int32_t>(out.row.step_ms));
      copy.int32(out.row.source.location);
      copy.int32(out.row.source.producer);
      copy.int32(static_cast<int32_t>(out.row.results));
      copy.int16(out.row.source.clock_steps);
      copy.bytes(out.row.packed);
      if (out.row.details.empty()) {
        copy.null();
      } else {
        copy.bytes(out.row.details);
      }
    }
    copy.finish();
  }
  copy_rollups(tx_,
               "COPY ping_rollup_minutes (device_id, hour_ms, location_id, rollups) FROM STDIN"
               " (FORMAT binary)",
               pending_.minutes);
  copy_rollups(tx_,
               "COPY ping_rollup_recent (hour_ms, device_id, location_id, rollup) FROM STDIN"
               " (FORMAT binary)",
               pending_.recent, true);
  copy_rollups(tx_,
               "COPY ping_rollup_hours (device_id, day_ms, location_id, rollups) FROM STDIN"
               " (FORMAT binary)",
               pending_.hours);
  pending_ = {};
}

// Outages of the time before the timeout-tracker knew the device: from then on it has its own.
void Import::begin_outages(DeviceId device) {
  const auto live = tx_.exec(
      "SELECT floor(extract(epoch FROM min(slot_at)) * 1000)::bigint FROM transitions"
      " WHERE device_id = $1 AND counter >= 0",
      static_cast<int64_t>(device))[0];
  outages_until_ms_ = live[0].is_null() ? INT64_MAX : live[0].as<int64_t>();
  outages_from_ms_ = INT64_MAX;
  outages_to_ms_ = INT64_MIN;
  for (const StageSpan& span : stage_.spans()) {
    if (span.device != device) continue;
    outages_from_ms_ = std::min(outages_from_ms_, span.first_ms);
    outages_to_ms_ = std::max(outages_to_ms_, span.last_ms);
  }
}

void Import::see_outages() {
  if (!outage_maker_) return;
  std::stable_sort(seen_.begin(), seen_.end(),
                   [](const Seen& a, const Seen& b) { return a.due_ms < b.due_ms; });
  constexpr EchoOutcome kReplied = EchoOutcome::kReply;
  for (const Seen& seen : seen_) {
    if (seen.due_ms >= outages_until_ms_) break;
    ResultView view{.verdict = seen.verdict, .reason = seen.reason};
    if (seen.rtt_us > 0) {
      view.outcomes = {&kReplied, 1};
      view.rtt_us = {&seen.rtt_us, 1};
    }
    if (auto transition = outage_maker_->take(seen.due_ms, view)) {
      transitions_.push_back(*std::move(transition));
    }
  }
  seen_.clear();
}

void Import::write_outages(DeviceId device) {
  const auto id = static_cast<int64_t>(device);
  if (auto end = outage_maker_->finish(std::min(outages_to_ms_, outages_until_ms_))) {
    transitions_.push_back(*std::move(end));
  }
  // What an earlier import said of that time.
  tx_.exec(
      "DELETE FROM transitions WHERE device_id = $1 AND counter < 0"
      " AND slot_at >= to_timestamp($2::bigint / 1000.0)"
      " AND slot_at <= to_timestamp($3::bigint / 1000.0)",
      id, outages_from_ms_, outages_to_ms_);
  if (transitions_.empty()) return;
  CopyIn copy(tx_,
              "COPY transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
              " decided_at, state) FROM STDIN (FORMAT binary)");
  std::string state;
  for (const Transition& t : transitions_) {
    copy.row(9);
    copy.bytes({reinterpret_cast<const char*>(t.id.data()), t.id.size()});
    copy.int64(id);
    copy.int64(imported_counter(t.slot_ms));
    copy.int16(static_cast<int16_t>(t.from));
    copy.int16(static_cast<int16_t>(t.to));
    copy.int16(static_cast<int16_t>(t.reason));
    copy.timestamptz_us(t.slot_ms * 1'000);
    copy.timestamptz_us(t.slot_ms * 1'000);
    encode_state(t.state, state);
    copy.bytes(state);
    if (t.to == DeviceStatus::kDown) ++done_.outages;
  }
  copy.finish();
}

}  // namespace

Result<ImportDone> import_staged(postgres::Connection& connection, Stage& stage,
                                 const ImportOptions& options, WallTime now,
                                 const ImportProgress& progress) {
  try {
    return connection.transact([&](Transaction& tx) -> Result<ImportDone> {
      const auto known = tx.exec("SELECT to_regclass('ping_rollup_recent') IS NOT NULL");
      if (!known[0][0].as<bool>()) {
        return Error{Errc::kUnavailable,
                     fmt::format("PostgreSQL: the schema is older than version {}; inventory brings"
                                 " it up: start this version of the stack once",
                                 kSchemaNeeded)};
      }
      try {
        return Import(tx, stage, options, now, progress).run();
      } catch (const BrokenOff&) {
        return Error{Errc::kPermanent, "broken off; nothing was imported"};
      }
    });
  } catch (const SqliteError& e) {
    return Error{Errc::kPermanent, fmt::format("cannot sort what was read: {}", e.what())};
  }
}

}  // namespace gema::cli
