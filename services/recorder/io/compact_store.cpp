#include "services/recorder/io/compact_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/assert.h"
#include "common/domain/packed_chunk.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "services/recorder/core/halve.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

using postgres::BinaryResult;
using postgres::CopyIn;
using postgres::Params;
using postgres::Transaction;

// The migration whose tables this file writes; inventory applies it.
constexpr int kSchemaNeeded = 9;
constexpr int64_t kDayMs = 86'400'000;

int64_t floor_to(int64_t ms, int64_t unit) {
  return ms - ((ms % unit) + unit) % unit;
}

int64_t count_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

// '{1,2,3}'
template <class Range, class Id>
std::string array_of(const Range& range, Id&& id) {
  std::string out = "{";
  for (const auto& entry : range) {
    if (out.size() > 1) out += ',';
    out += std::to_string(id(entry));
  }
  return out + "}";
}

// Short chunks, as unpack_short() and view_of() read them.
const char kChunkColumns[] =
    "SELECT device_id, start_ms, part, step_ms, location_id, producer_id, clock_steps, echoes,"
    " samples, extra, details, packed FROM ping_chunks";

Result<void> unpack_short(const BinaryResult& rows, int i, ChunkArrays& arrays) {
  if (!rows.is_null(i, 11)) return unpack_chunk(rows.bytes(i, 11), arrays);
  // From before migration 0008.
  arrays.echoes = static_cast<uint32_t>(rows.int16(i, 7));
  if (!rows.int32_array(i, 8, arrays.samples) || !rows.int32_array(i, 9, arrays.extra)) {
    return Error{Errc::kBadInput, "its numbers are no plain array"};
  }
  return {};
}

ChunkView view_of(const BinaryResult& rows, int i, const ChunkArrays& arrays) {
  return {.device = static_cast<DeviceId>(rows.int64(i, 0)),
          .start_ms = rows.int64(i, 1),
          .step_ms = static_cast<uint32_t>(rows.int32(i, 3)),
          .echoes = arrays.echoes,
          .samples = arrays.samples,
          .extra = arrays.extra,
          .details = rows.bytes(i, 10)};
}

}  // namespace

void Compacted::add(const Compacted& other) {
  more = other.more;
  idle = other.idle;
  hours += other.hours;
  late_hours += other.late_hours;
  days += other.days;
  rows += other.rows;
  results += other.results;
  doubled += other.doubled;
  packed_bytes += other.packed_bytes;
  rollup_bytes += other.rollup_bytes;
  broken += other.broken;
  refused += other.refused;
}

CompactStore::CompactStore(CompactOptions options) : options_(std::move(options)) {}

template <class Work>
auto CompactStore::run(Work&& work) ->
    typename postgres::internal::AsResult<std::invoke_result_t<Work, Transaction&>>::type {
  if (auto ready = ensure_ready(); !ready) return ready.error();
  auto result = connection_->transact(std::forward<Work>(work));
  if (!connection_->usable()) connection_.reset();
  return result;
}

Result<void> CompactStore::ensure_ready() {
  if (connection_ != nullptr && connection_->usable()) return {};
  connection_.reset();
  leader_ = false;
  hour_.reset();
  day_.reset();
  auto opened = postgres::Connection::open(options_.postgres);
  if (!opened) return opened.error();
  auto version = postgres::schema_version(**opened);
  if (!version) return version.error();
  if (*version < kSchemaNeeded) {
    return Error{Errc::kUnavailable,
                 fmt::format("PostgreSQL: the schema has version {}, {} is needed (inventory brings"
                             " it up)",
                             *version, kSchemaNeeded)};
  }
  connection_ = std::move(*opened);
  return {};
}

Result<Compacted> CompactStore::step(WallTime now) {
  at_.reset();
  if (hour_) at_ = hour_->hour_ms;
  if (day_) at_ = day_->day_ms + kDayMs - 1;
  auto done = work(now, false);
  if (!done && done.error().code == Errc::kBadInput && hour_) done = work(now, true);
  // Another try would fail the same way; what else is due need not wait for it.
  if (!done && at_ &&
      (done.error().code == Errc::kPermanent || done.error().code == Errc::kBadInput)) {
    put_off_[*at_] = now + kCompactPutOff;
  }
  // Not committed: begin that hour or day again. Done: on to the next one.
  if (!done || done->hours > 0) hour_.reset();
  if (!done || done->days > 0) day_.reset();
  return done;
}

Result<Compacted> CompactStore::work(WallTime now, bool apart) {
  return run([&](Transaction& tx) { return work(tx, now, apart); });
}

Compacted CompactStore::work(Transaction& tx, WallTime now, bool apart) {
  Compacted out;
  if (!leader_) {
    leader_ = tx.exec("SELECT pg_try_advisory_lock(hashtext('gema compactor'))")[0][0].as<bool>();
    if (!leader_) {
      out.idle = true;
      return out;
    }
  }
  // An import (gema import) writes packed rows and rollups, too: one of us at a time.
  if (!tx.exec("SELECT pg_try_advisory_xact_lock(hashtext('gema compaction'))")[0][0].as<bool>()) {
    // What was found to do may be another thing then.
    hour_.reset();
    day_.reset();
    out.idle = true;
    return out;
  }
  // What is lost by a crash is done again. Seldom more than the cheapest plan for us: a few
  // devices out of many.
  tx.exec("SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off");
  if (!hour_ && !day_) hour_ = next_hour(tx, now);
  if (!hour_ && !day_) day_ = next_day(tx, now);
  if (hour_) {
    size_t end = hour_->next;
    for (uint64_t bytes = 0; end < hour_->devices.size(); ++end) {
      bytes += hour_->devices[end].bytes;
      if (end > hour_->next &&
          (bytes > kCompactBytesMax || end - hour_->next >= kCompactDevicesMax)) {
        break;
      }
    }
    if (apart) {
      compact_apart(tx, *hour_, hour_->next, end, out);
    } else if (end > hour_->next) {
      compact(tx, *hour_, hour_->next, end, out);
    }
    if (end == hour_->devices.size()) {
      finish(tx, *hour_, now);
      out.hours = 1;
      out.late_hours = hour_->late ? 1 : 0;
    }
    hour_->next = end;
    out.more = true;
  } else if (day_) {
    const size_t end = std::min(day_->devices.size(), day_->next + kCompactDevicesMax);
    if (end > day_->next) {
      const std::span devices(day_->devices.data() + day_->next, end - day_->next);
      roll_up(tx, day_->day_ms, array_of(devices, [](DeviceId id) { return id; }), out);
    }
    if (end == day_->devices.size()) {
      tx.exec("INSERT INTO ping_days (day_ms, built_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
              day_->day_ms, unix_ms(now));
      out.days = 1;
    }
    day_->next = end;
    out.more = true;
  }
  return out;
}

// --- hours -----------------------------------------------------------------------------------

std::string CompactStore::put_off(WallTime now) {
  std::erase_if(put_off_, [&](const auto& entry) { return entry.second <= now; });
  return array_of(put_off_, [](const auto& entry) { return entry.first; });
}

std::optional<CompactStore::Hour> CompactStore::next_hour(Transaction& tx, WallTime now) {
  const int64_t after_ms = count_ms(options_.compact_after);
  const int64_t now_ms = unix_ms(now);
  // Quiet for a while, so that an hour which is being caught up with is merged once; but not for
  // ever.
  const auto due = tx.exec(
      "SELECT hour_ms, bool_or(compacted > 0 OR dirty_ms > hour_ms + 3600000 + $3::bigint)"
      " FROM ping_hours"
      " WHERE hour_ms IN (SELECT hour_ms FROM ping_hours WHERE written > compacted)"
      " AND hour_ms <= $1::bigint - $3::bigint - 3600000 AND hour_ms >= $2::bigint"
      " AND hour_ms <> ALL ($5::bigint[])"
      " GROUP BY hour_ms"
      " HAVING max(written_ms) <= $1::bigint - $3::bigint OR"
      " min(dirty_ms) FILTER (WHERE written > compacted) <= $1::bigint - $4::bigint"
      " ORDER BY hour_ms LIMIT 1",
      now_ms, floor_to(unix_ms(now - options_.raw_retention), kDayMs), after_ms,
      after_ms + count_ms(kCompactWaitMax), put_off(now));
  if (due.empty()) return std::nullopt;
  Hour hour{.hour_ms = due[0][0].as<int64_t>(), .late = due[0][1].as<bool>()};
  at_ = hour.hour_ms;
  // One statement, one snapshot: what is written later has a higher number than the marks.
  for (const auto& row : tx.exec("SELECT partition, written, compacted FROM ping_hours"
                                 " WHERE hour_ms = $1",
                                 hour.hour_ms)) {
    const auto p = row[0].as<uint32_t>();
    if (p >= kPartitions) continue;
    hour.marks[p] = row[1].as<int64_t>();
    hour.compacted[p] = row[2].as<int64_t>();
  }
  Params params;
  params.int64(hour.hour_ms).int64(hour.hour_ms + kChunkSpanMs);
  const BinaryResult devices(
      tx,
      "SELECT device_id, max(part), sum(coalesce(octet_length(packed),"
      " pg_column_size(samples)))::bigint FROM ping_chunks"
      " WHERE start_ms >= $1 AND start_ms < $2 GROUP BY device_id ORDER BY device_id",
      params);
  for (int i = 0; i < devices.rows(); ++i) {
    const auto id = static_cast<DeviceId>(devices.int64(i, 0));
    if (devices.int64(i, 1) >> 20 <= hour.compacted[partition_of(id)]) continue;
    hour.devices.push_back({id, static_cast<uint64_t>(devices.int64(i, 2))});
  }
  hour.day_built =
      !tx.exec("SELECT FROM ping_days WHERE day_ms = $1", floor_to(hour.hour_ms, kDayMs)).empty();
  make_leaves(tx, hour);
  return hour;
}

void CompactStore::make_leaves(Transaction& tx, const Hour& hour) {
  for (const char* table : {"ping_packed", "ping_rollup_minutes", "ping_rollup_recent"}) {
    if (hour.day_built && table == std::string_view("ping_rollup_recent")) continue;
    tx.exec("SELECT history_make_leaf_at($1, $2)", table, hour.hour_ms);
  }
}

void CompactStore::read_names(Transaction& tx) {
  for (const auto& row : tx.exec("SELECT id, name FROM history_names")) {
    names_[row[0].as<int32_t>()] = row[1].as<std::string>();
  }
}

void CompactStore::note_broken(Transaction& tx, const char* table, DeviceId device,
                               int64_t start_ms, int64_t part, const std::string& reason,
                               Compacted& out) {
  ++out.broken;
  const std::string kept = std::string(table) == "ping_chunks"
                               ? "(SELECT to_jsonb(c) FROM ping_chunks c WHERE device_id = $2"
                                 " AND start_ms = $3 AND part = $4)"
                               : "NULL::jsonb";
  tx.exec(fmt::format("INSERT INTO history_broken (from_table, device_id, start_ms, part, reason,"
                      " kept) SELECT $1, $2, $3, $4, $5, {}"
                      " WHERE (SELECT count(*) FROM history_broken) < {} ON CONFLICT DO NOTHING",
                      kept, kBrokenRowsMax),
          table, static_cast<int64_t>(device), start_ms, part, reason);
}

void CompactStore::compact_apart(Transaction& tx, const Hour& hour, size_t begin, size_t end,
                                 Compacted& out) {
  // Refused now, not at the end, where nobody could tell what.
  tx.exec("SET CONSTRAINTS ALL IMMEDIATE");
  make_leaves(tx, hour);  // not within a savepoint that may be undone
  Refusals refusals(tx, "ping");
  auto attempt = [&](size_t from, size_t to) {
    Compacted some;
    Result<void> done =
        in_savepoint(tx, [&](Transaction& part) { compact(part, hour, from, to, some); });
    if (done) out.add(some);
    return done;
  };
  auto set_aside = [&](size_t i, const Error& error) {
    ++out.refused;
    return refuse(tx, hour, hour.devices[i], error, refusals, out);
  };
  if (Result<void> done = halve(begin, end, attempt, set_aside); !done) {
    throw postgres::RawError(done.error(), false);
  }
}

Result<void> CompactStore::refuse(Transaction& tx, const Hour& hour, const Device& device,
                                  const Error& error, Refusals& refusals, Compacted& out) {
  Params params;
  params.int64(static_cast<int64_t>(device.id)).int64(hour.hour_ms);
  params.int64(hour.hour_ms + kChunkSpanMs).int64(hour.compacted[partition_of(device.id)]);
  const BinaryResult chunks(tx,
                            kChunkColumns + std::string(" WHERE device_id = $1 AND start_ms >= $2"
                                                        " AND start_ms < $3 AND part >> 20 > $4"
                                                        " ORDER BY start_ms, part"),
                            params);
  read_names(tx);
  ChunkArrays arrays;
  for (int c = 0; c < chunks.rows(); ++c) {
    Result<void> right = unpack_short(chunks, c, arrays);
    const ChunkView view = view_of(chunks, c, arrays);
    PingResults unused;
    if (right && !append_chunk(view, unused)) {
      right = Error{Errc::kBadInput, "its numbers break the rules of a chunk"};
    }
    if (!right) {
      note_broken(tx, "ping_chunks", device.id, view.start_ms, chunks.int64(c, 2),
                  right.error().message, out);
      continue;
    }
    Result<void> done =
        refusals.keep_chunk(view, names_[chunks.int32(c, 4)], names_[chunks.int32(c, 5)],
                            chunks.int16(c, 6), chunks.int64(c, 2), error);
    if (!done) return done;
  }
  return {};
}

void CompactStore::compact(Transaction& tx, const Hour& hour, size_t begin, size_t end,
                           Compacted& out) {
  const std::span batch(hour.devices.data() + begin, end - begin);
  const std::string ids = array_of(batch, [](const Device& d) { return d.id; });
  Params span;
  span.int64(hour.hour_ms).int64(hour.hour_ms + kChunkSpanMs);
  const BinaryResult chunks(
      tx,
      fmt::format("{} WHERE device_id = ANY ('{}'::bigint[]) AND start_ms >= $1 AND start_ms < $2"
                  " ORDER BY device_id, start_ms, part",
                  kChunkColumns, ids),
      span);
  const BinaryResult packed(
      tx,
      fmt::format("SELECT device_id, start_ms, part, step_ms, location_id, producer_id,"
                  " clock_steps, packed, details FROM ping_packed"
                  " WHERE device_id = ANY ('{}'::bigint[]) AND start_ms >= $1 AND start_ms < $2"
                  " ORDER BY device_id, start_ms, part",
                  ids),
      span);
  read_names(tx);

  ChunkArrays arrays;
  struct Done {
    DeviceId device;
    int32_t first_part;
    CompactedHour hour;
  };
  std::vector<Done> done;
  std::string gone_devices = "{", gone_starts = "{", gone_parts = "{";
  int c = 0;
  int p = 0;
  for (const Device& device : batch) {
    const auto id = static_cast<int64_t>(device.id);
    merger_.begin(device.id, hour.hour_ms);
    int32_t first_part = 0;
    for (; p < packed.rows() && packed.int64(p, 0) <= id; ++p) {
      GEMA_ASSERT(packed.int64(p, 0) == id);
      auto right = unpack_chunk(packed.bytes(p, 7), arrays);
      if (right && !merger_.add({packed.int32(p, 4), packed.int32(p, 5), packed.int16(p, 6)},
                                {.device = device.id,
                                 .start_ms = packed.int64(p, 1),
                                 .step_ms = static_cast<uint32_t>(packed.int32(p, 3)),
                                 .echoes = arrays.echoes,
                                 .samples = arrays.samples,
                                 .extra = arrays.extra,
                                 .details = packed.bytes(p, 8)})) {
        right = Error{Errc::kBadInput, "its numbers break the rules of a chunk"};
      }
      if (!right) {  // left where it is; no new row takes its key
        note_broken(tx, "ping_packed", device.id, packed.int64(p, 1), packed.int32(p, 2),
                    right.error().message, out);
        first_part = std::max(first_part, packed.int32(p, 2) + 1);
        continue;
      }
      const char* comma = gone_devices.size() > 1 ? "," : "";
      gone_devices += fmt::format("{}{}", comma, id);
      gone_starts += fmt::format("{}{}", comma, packed.int64(p, 1));
      gone_parts += fmt::format("{}{}", comma, packed.int32(p, 2));
    }
    for (; c < chunks.rows() && chunks.int64(c, 0) <= id; ++c) {
      GEMA_ASSERT(chunks.int64(c, 0) == id);
      Result<void> right = unpack_short(chunks, c, arrays);
      if (right && !merger_.add({chunks.int32(c, 4), chunks.int32(c, 5), chunks.int16(c, 6)},
                                view_of(chunks, c, arrays))) {
        right = Error{Errc::kBadInput, "its numbers break the rules of a chunk"};
      }
      if (!right) {
        note_broken(tx, "ping_chunks", device.id, chunks.int64(c, 1), chunks.int64(c, 2),
                    right.error().message, out);
      }
    }
    done.push_back({device.id, first_part, merger_.take()});
  }
  if (gone_devices.size() > 1) {
    tx.exec(
        "DELETE FROM ping_packed p USING unnest($1::bigint[], $2::bigint[], $3::integer[])"
        " AS gone (device_id, start_ms, part) WHERE p.device_id = gone.device_id"
        " AND p.start_ms = gone.start_ms AND p.part = gone.part"
        " AND p.start_ms >= $4::bigint AND p.start_ms < $5::bigint",
        gone_devices + "}", gone_starts + "}", gone_parts + "}", hour.hour_ms,
        hour.hour_ms + kChunkSpanMs);
  }
  tx.exec("DELETE FROM ping_rollup_minutes WHERE hour_ms = $1 AND device_id = ANY ($2::bigint[])",
          hour.hour_ms, ids);
  {
    CopyIn copy(tx,
                "COPY ping_packed (device_id, start_ms, part, step_ms, location_id, producer_id,"
                " results, clock_steps, packed, details) FROM STDIN (FORMAT binary)");
    for (const Done& d : done) {
      int32_t part = d.first_part;
      for (const PackedRow& row : d.hour.rows) {
        copy.row(10);
        copy.int64(static_cast<int64_t>(d.device));
        copy.int64(row.start_ms);
        copy.int32(part++);
        copy.int32(static_cast<int32_t>(row.step_ms));
        copy.int32(row.source.location);
        copy.int32(row.source.producer);
        copy.int32(static_cast<int32_t>(row.results));
        copy.int16(row.source.clock_steps);
        copy.bytes(row.packed);
        if (row.details.empty()) {
          copy.null();
        } else {
          copy.bytes(row.details);
        }
        out.packed_bytes += row.packed.size() + row.details.size();
        ++out.rows;
      }
      out.results += d.hour.results;
      out.doubled += d.hour.doubled;
    }
    copy.finish();
  }
  {
    CopyIn copy(tx,
                "COPY ping_rollup_minutes (device_id, hour_ms, location_id, rollups) FROM STDIN"
                " (FORMAT binary)");
    for (const Done& d : done) {
      for (const MinuteRollups& row : d.hour.minutes) {
        copy.row(4);
        copy.int64(static_cast<int64_t>(d.device));
        copy.int64(hour.hour_ms);
        copy.int32(row.location);
        copy.bytes(row.rollups);
        out.rollup_bytes += row.rollups.size();
      }
    }
    copy.finish();
  }
  if (hour.day_built) {
    roll_up(tx, floor_to(hour.hour_ms, kDayMs), ids, out);
    return;
  }
  tx.exec("DELETE FROM ping_rollup_recent WHERE hour_ms = $1 AND device_id = ANY ($2::bigint[])",
          hour.hour_ms, ids);
  CopyIn copy(tx,
              "COPY ping_rollup_recent (hour_ms, device_id, location_id, rollup) FROM STDIN"
              " (FORMAT binary)");
  for (const Done& d : done) {
    for (const MinuteRollups& row : d.hour.minutes) {
      copy.row(4);
      copy.int64(hour.hour_ms);
      copy.int64(static_cast<int64_t>(d.device));
      copy.int32(row.location);
      copy.bytes(row.hour);
      out.rollup_bytes += row.hour.size();
    }
  }
  copy.finish();
}

void CompactStore::finish(Transaction& tx, const Hour& hour, WallTime now) {
  std::string partitions = "{", marks = "{";
  for (uint32_t p = 0; p < kPartitions; ++p) {
    partitions += fmt::format("{}{}", p == 0 ? "" : ",", p);
    marks += fmt::format("{}{}", p == 0 ? "" : ",", hour.marks[p]);
  }
  tx.exec(
      "UPDATE ping_hours h SET compacted = m.mark, compacted_ms = $4, dirty_ms = $4"
      " FROM unnest($2::smallint[], $3::bigint[]) AS m (partition, mark)"
      " WHERE h.hour_ms = $1 AND h.partition = m.partition",
      hour.hour_ms, partitions + "}", marks + "}", unix_ms(now));
}

// --- days ------------------------------------------------------------------------------------

std::optional<CompactStore::Day> CompactStore::next_day(Transaction& tx, WallTime now) {
  const int64_t closed_ms = unix_ms(now - options_.compact_after) - kDayMs;
  // An hour that is not compacted yet: its day waits, and is then built once.
  const auto due = tx.exec(
      "SELECT l.from_ms FROM history_leaves('ping_rollup_minutes') l"
      " WHERE l.from_ms <= $1::bigint AND l.from_ms NOT IN (SELECT day_ms FROM ping_days)"
      " AND NOT EXISTS (SELECT FROM ping_hours h WHERE h.hour_ms >= l.from_ms"
      "  AND h.hour_ms < l.to_ms AND h.written > h.compacted)"
      " AND l.to_ms - 1 <> ALL ($2::bigint[]) ORDER BY 1 LIMIT 1",
      closed_ms, put_off(now));
  if (due.empty()) return std::nullopt;
  Day day{.day_ms = due[0][0].as<int64_t>()};
  at_ = day.day_ms + kDayMs - 1;
  Params params;
  params.int64(day.day_ms).int64(day.day_ms + kDayMs);
  const BinaryResult devices(tx,
                             "SELECT DISTINCT device_id FROM ping_rollup_minutes"
                             " WHERE hour_ms >= $1 AND hour_ms < $2 ORDER BY device_id",
                             params);
  for (int i = 0; i < devices.rows(); ++i) {
    day.devices.push_back(static_cast<DeviceId>(devices.int64(i, 0)));
  }
  tx.exec("SELECT history_make_leaf_at('ping_rollup_hours', $1)", day.day_ms);
  return day;
}

void CompactStore::roll_up(Transaction& tx, int64_t day_ms, const std::string& devices,
                           Compacted& out) {
  Params params;
  params.int64(day_ms).int64(day_ms + kDayMs);
  const BinaryResult rows(
      tx,
      fmt::format("SELECT device_id, location_id, hour_ms, rollups FROM ping_rollup_minutes"
                  " WHERE device_id = ANY ('{}'::bigint[]) AND hour_ms >= $1 AND hour_ms < $2"
                  " ORDER BY device_id, location_id, hour_ms",
                  devices),
      params);
  tx.exec("DELETE FROM ping_rollup_hours WHERE day_ms = $1 AND device_id = ANY ($2::bigint[])",
          day_ms, devices);
  CopyIn copy(tx,
              "COPY ping_rollup_hours (device_id, day_ms, location_id, rollups) FROM STDIN (FORMAT"
              " binary)");
  std::vector<HourOfDay> hours;
  std::vector<size_t> broken;
  std::vector<int> broken_rows;
  for (int i = 0; i < rows.rows(); ++i) {
    hours.push_back(
        {static_cast<size_t>((rows.int64(i, 2) - day_ms) / kChunkSpanMs), rows.bytes(i, 3)});
    if (i + 1 < rows.rows() && rows.int64(i, 0) == rows.int64(i + 1, 0) &&
        rows.int32(i, 1) == rows.int32(i + 1, 1)) {
      continue;
    }
    const std::string packed = roll_up_day(hours, broken);
    const int first = i + 1 - static_cast<int>(hours.size());
    for (const size_t n : broken) broken_rows.push_back(first + static_cast<int>(n));
    hours.clear();
    copy.row(4);
    copy.int64(rows.int64(i, 0));
    copy.int64(day_ms);
    copy.int32(rows.int32(i, 1));
    copy.bytes(packed);
    out.rollup_bytes += packed.size();
  }
  copy.finish();
  for (const int i : broken_rows) {
    note_broken(tx, "ping_rollup_minutes", static_cast<DeviceId>(rows.int64(i, 0)),
                rows.int64(i, 2), rows.int32(i, 1), "its bytes are no rollups", out);
  }
}

// --- housekeeping ----------------------------------------------------------------------------

Result<CompactHousekept> CompactStore::housekeep(WallTime now) {
  CompactHousekept out;
  // Short: whoever waits behind us for the table waits for the reader before us, too.
  const std::string patience = "SET LOCAL lock_timeout = '500ms'";
  auto compacted = run([&](Transaction& tx) {
    tx.exec(patience);
    return tx.exec("SELECT ping_chunks_drop_compacted($1)", unix_ms(now - kHotKeep))[0][0]
        .as<uint64_t>();
  });
  if (!compacted) return compacted.error();
  out.chunk_leaves_dropped = *compacted;
  // Their days' rows are there; readers that began before these were have ended.
  auto built = run([&](Transaction& tx) {
    tx.exec(patience);
    return tx.exec("SELECT ping_rollup_recent_drop_built($1)", unix_ms(now - kHotKeep))[0][0]
        .as<uint64_t>();
  });
  if (!built) return built.error();
  out.recent_leaves_dropped = *built;
  const std::pair<const char*, Duration> kept[] = {
      {"ping_chunks", options_.raw_retention},
      {"ping_packed", options_.raw_retention},
      {"ping_rollup_minutes", std::max(options_.minutes_retention, options_.raw_retention)},
      {"ping_rollup_recent", std::max(options_.hours_retention, options_.raw_retention)},
      {"ping_rollup_hours", std::max(options_.hours_retention, options_.raw_retention)}};
  for (const auto& [table, retention] : kept) {
    auto dropped = run([&, table = table, retention = retention](Transaction& tx) {
      tx.exec(patience);
      if (std::string_view(table) == "ping_rollup_minutes") {
        tx.exec("DELETE FROM history_broken WHERE from_table = $1 AND start_ms < $2", table,
                floor_to(unix_ms(now - retention), kDayMs));
      }
      return tx.exec("SELECT history_drop_leaves($1, $2)", table, unix_ms(now - retention))[0][0]
          .as<uint64_t>();
    });
    if (!dropped) return dropped.error();
    out.leaves_dropped += *dropped;
  }
  return out;
}

Result<CompactStatus> CompactStore::status(WallTime now) {
  return run([&](Transaction& tx) {
    CompactStatus out;
    const int64_t now_ms = unix_ms(now);
    const int64_t after_ms = count_ms(options_.compact_after);
    const auto row = tx.exec(
        "SELECT count(*), count(*) FILTER (WHERE late),"
        " greatest(0, $1::bigint - coalesce(min(since), $1::bigint))"
        " FROM (SELECT greatest(hour_ms + 3600000, min(dirty_ms)) + $2::bigint AS since,"
        "  bool_or(compacted > 0 OR dirty_ms > hour_ms + 3600000 + $2::bigint) AS late"
        "  FROM ping_hours WHERE written > compacted"
        "  AND hour_ms + 3600000 + $2::bigint <= $1::bigint GROUP BY hour_ms) AS pending",
        now_ms, after_ms)[0];
    out.pending_hours = row[0].as<uint64_t>();
    out.dirty_hours = row[1].as<uint64_t>();
    out.lag_s = static_cast<double>(row[2].as<int64_t>()) / 1000.0;
    out.broken_rows = tx.exec("SELECT count(*) FROM history_broken")[0][0].as<uint64_t>();
    out.refused_records =
        tx.exec("SELECT count(*) FROM stream_quarantine WHERE refused")[0][0].as<uint64_t>();
    for (const auto& size :
         tx.exec("SELECT t.name, coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint"
                 " FROM unnest(ARRAY['ping_hot', 'ping_chunks', 'ping_packed',"
                 " 'ping_rollup_minutes', 'ping_rollup_recent', 'ping_rollup_hours']) AS t (name)"
                 " LEFT JOIN pg_inherits i ON i.inhparent = t.name::regclass GROUP BY 1"
                 " UNION ALL SELECT name, pg_total_relation_size(name::regclass) FROM"
                 " unnest(ARRAY['transitions', 'stream_gaps', 'stream_quarantine',"
                 " 'stream_set_aside', 'stream_epochs', 'history_broken']) AS u (name)")) {
      out.table_bytes[size[0].as<std::string>()] = size[1].as<uint64_t>();
    }
    return out;
  });
}

Result<CleanupReport> CompactStore::cleanup(const CleanupOrder& order, WallTime now) {
  // As history_cleanup() reckons.
  const int64_t before_ms =
      floor_to(unix_ms(now) - int64_t{order.older_than_days} * kDayMs, kDayMs);
  auto report = run([&](Transaction& tx) {
    const auto row = tx.exec(
        "SELECT count(*), coalesce(sum(pg_total_relation_size(l.leaf::regclass)), 0)::bigint"
        " FROM unnest(ARRAY['ping_chunks', 'ping_packed', 'ping_rollup_minutes']) t"
        " CROSS JOIN LATERAL history_leaves(t) l WHERE l.to_ms <= $1",
        before_ms)[0];
    return CleanupReport{
        .leaves = row[0].as<uint32_t>(), .bytes = row[1].as<uint64_t>(), .before_ms = before_ms};
  });
  if (!report || order.dry_run) return report;
  for (bool more = true; more;) {
    auto dropped = run([&](Transaction& tx) {
      // Whoever waits behind us for the table waits for the reader before us, too.
      tx.exec("SET LOCAL lock_timeout = '2s'");
      return tx
          .exec(
              "SELECT count(*) FROM history_cleanup($1, false,"
              " to_timestamp($2::bigint / 1000.0))",
              static_cast<int64_t>(order.older_than_days), unix_ms(now))[0][0]
          .as<uint64_t>();
    });
    if (!dropped) return dropped.error();
    more = *dropped > 0;
  }
  // What an hour or day in hand would be merged with may be gone.
  hour_.reset();
  day_.reset();
  return report;
}

}  // namespace gema::recorder
