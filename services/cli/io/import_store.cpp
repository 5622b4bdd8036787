#include "services/cli/io/import_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "common/domain/hour_merger.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/rollup.h"
#include "common/postgres/binary.h"
#include "services/cli/core/outage_maker.h"
#include "services/cli/core/runs.h"
#include "services/cli/io/import_day.h"
#include "services/cli/io/import_outages.h"
#include "services/cli/io/import_writer.h"

namespace gema::cli {
namespace {

using postgres::BinaryResult;
using postgres::Transaction;

// The migration whose tables this file writes.
constexpr int kSchemaNeeded = 7;
constexpr size_t kRefusedShown = 20;
constexpr uint64_t kTellEvery = 2'000;

int64_t floor_to(int64_t ms, int64_t unit) {
  return ms - ((ms % unit) + unit) % unit;
}

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
  void take_old_day(Day& day);
  bool merge_hour(Day& day, size_t hour);
  bool add_stored(Day& day, size_t hour, StoredRow& stored);
  void place(Day& day, size_t hour, uint32_t source);
  void finish_day(Day& day, bool any);
  std::string rolled_up(const std::vector<HourOfDay>& hours);
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
  std::vector<OutageCheck>* seen_ = nullptr;           // takes what is put on slots
  std::optional<ImportedOutages> outages_;
  ImportWriter out_{tx_};
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
  if (options_.outages) outages_.emplace(tx_, options_.down_after, raw_from_ms_);
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
  int64_t from_ms = INT64_MAX;
  int64_t to_ms = INT64_MIN;
  for (const StageSpan& span : stage_.spans()) {
    if (span.device != device) continue;
    const StageSource& named = stage_.source(span.source);
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
    from_ms = std::min(from_ms, span.first_ms - source.tolerance_ms);
    to_ms = std::max(to_ms, span.last_ms + source.tolerance_ms);
    sources_[span.source] = source;
  }
  if (outages_) outages_->begin(device, from_ms, to_ms);
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
  out_.flush();
  if (outages_) done_.outages += outages_->finish();
}

void Import::take_day(Day& day) {
  const uint64_t checks = day.count();
  if (day.day_ms < hours_from_ms_) {
    done_.too_old += checks;
    return tell(checks);
  }
  const bool old = day.day_ms < raw_from_ms_;
  if (!fresh_days_.contains(day.day_ms)) {
    read_day(tx_, {.results = !old, .minutes = minute_days_.contains(day.day_ms)}, day);
  }
  if (const char* why = why_refused(day, old)) {
    ++done_.refused_days;
    done_.refused_checks += checks;
    if (outages_) outages_->refuse_day(day.day_ms);
    if (done_.refused_shown.size() < kRefusedShown) {
      done_.refused_shown.push_back(
          fmt::format("device {} on {}: {}", day.device, day_text(day.day_ms), why));
    }
    return tell(checks);
  }
  if (old) {
    take_old_day(day);
  } else {
    bool changed = false;
    for (size_t hour = 0; hour < kHours; ++hour) {
      if (!day.checks[hour].empty() && merge_hour(day, hour)) changed = true;
    }
    finish_day(day, changed);
  }
  out_.flush_much();
  tell(checks);
}

// Single results of that time are not kept: its hour rollups are made here, or never.
void Import::take_old_day(Day& day) {
  std::map<int32_t, std::map<size_t, std::string>> minutes;
  std::vector<OutageCheck> seen;
  if (outages_) seen_ = &seen;
  for (size_t hour = 0; hour < kHours; ++hour) {
    if (day.checks[hour].empty()) continue;
    merger_.begin(day.device, day.day_ms + static_cast<int64_t>(hour) * kHourMs);
    taken_slots_.clear();
    for (const auto& [source, about] : sources_) place(day, hour, source);
    CompactedHour merged = merger_.take();
    done_.only_rollups += merged.results;
    done_.doubled += merged.doubled;
    ++done_.hours;
    for (MinuteRollups& m : merged.minutes) minutes[m.location][hour] = std::move(m.rollups);
  }
  seen_ = nullptr;
  std::map<int32_t, std::string> made;
  for (const auto& [location, hours] : minutes) {
    std::vector<HourOfDay> rows;
    for (const auto& [hour, bytes] : hours) rows.push_back({hour, bytes});
    made[location] = rolled_up(rows);
  }
  if (day.hours.empty() || made == day.hours) {
    if (outages_) outages_->take_old_day(day.day_ms, std::move(seen));
    if (!day.hours.empty()) {
      ++done_.unchanged_hours;
      return;
    }
    for (auto& [location, bytes] : made) {
      out_.hours.push_back({day.device, day.day_ms, location, std::move(bytes)});
    }
    return;
  }
  if (outages_) outages_->refuse_day(day.day_ms);
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
        if (seen_ != nullptr) {
          seen_->push_back({.due_ms = due_ms,
                            .interval_ms = step_ms,
                            .verdict = view.verdict,
                            .reason = view.reason,
                            .rtt_us = mean_rtt_us(results, i, nullptr),
                            .location = names_[source.names.location],
                            .prober = names_[source.names.producer]});
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
    out_.packed_gone.add(day.device, day.packed->int64(stored.row, 0),
                         day.packed->int32(stored.row, 1));
  }
  for (PackedRow& row : merged.rows) {
    out_.packed.push_back({day.device, part++, std::move(row)});
  }
  const bool recent = !built_days_.contains(day.day_ms) && !fresh_days_.contains(day.day_ms);
  for (MinuteRollups& m : merged.minutes) {
    if (!fresh_days_.contains(day.day_ms)) {
      out_.minutes_gone.add(day.device, hour_ms, m.location);
      if (recent) out_.recent_gone.add(day.device, hour_ms, m.location);
    }
    out_.minutes.push_back({day.device, hour_ms, m.location, m.rollups});
    if (recent) out_.recent.push_back({day.device, hour_ms, m.location, std::move(m.hour)});
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
    if (stored != day.hours.end()) out_.hours_gone.add(day.device, day.day_ms, location);
    out_.hours.push_back({day.device, day.day_ms, location, std::move(bytes)});
  }
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
