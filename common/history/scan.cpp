#include "common/history/scan.h"

#include <fmt/format.h>

#include <tuple>

#include "common/base/assert.h"
#include "common/codec/hot_codec.h"
#include "common/codec/ping_codec.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Pipeline;
using postgres::Transaction;

// Of one device so much is fetched at once: some megabytes at most.
constexpr int64_t kFewMs = 32LL * 86'400'000;
constexpr int kFetchRows = 4'000;

constexpr const char* kLock =
    "LOCK TABLE ONLY ping_hot, ONLY ping_chunks, ONLY ping_packed, ONLY ping_rollup_minutes,"
    " ONLY ping_rollup_recent, ONLY ping_rollup_hours IN ACCESS SHARE MODE";
// Much is read through few indexes of many leaves: no plan is worth compiling, and what comes by a
// cursor is wanted to the end.
constexpr const char* kSettings =
    "SELECT set_config('jit', 'off', true), set_config('cursor_tuple_fraction', '1', true),"
    " set_config('max_parallel_workers_per_gather', '0', true)";

// Of the span that holds `ms`.
int64_t span_begin(int64_t ms) {
  return ms - (ms % kChunkSpanMs + kChunkSpanMs) % kChunkSpanMs;
}

auto key_of(const LateAnswer& a) {
  return std::tie(a.stray.due_ms, a.location, a.producer, a.stray.echo, a.stray.kind,
                  a.stray.rtt_us);
}

}  // namespace

// --- names, devices, sources ------------------------------------------------------------------

void Names::add(int32_t id, std::string_view name) {
  names_.emplace(id, name);
  ids_.emplace(std::string(name), id);
}

int32_t Names::id(std::string_view name) {
  const auto it = ids_.find(name);
  if (it != ids_.end()) return it->second;
  const int32_t next = names_.empty() ? -1 : std::min(names_.begin()->first, 0) - 1;
  add(next, name);
  return next;
}

const std::string& Names::operator[](int32_t id) const {
  static const std::string none;
  const auto it = names_.find(id);
  return it == names_.end() ? none : it->second;
}

std::optional<int32_t> Names::find(std::string_view name) const {
  const auto it = ids_.find(name);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

Devices::Devices(std::vector<DeviceId> ids) : all_(false), ids_(std::move(ids)), partitions_(0) {
  std::sort(ids_.begin(), ids_.end());
  ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
  for (const DeviceId id : ids_) partitions_ |= 1U << partition_of(id);
}

bool Devices::has(DeviceId device) const {
  return all_ || std::binary_search(ids_.begin(), ids_.end(), device);
}

bool Devices::has_partition(uint32_t partition) const {
  return (partitions_ >> partition & 1U) != 0;
}

std::string Devices::where(std::string_view column) const {
  if (all_) return {};
  if (ids_.size() == 1) return fmt::format(" AND {} = {}", column, ids_.front());
  return fmt::format(" AND {} = ANY ('{{{}}}'::bigint[])", column, fmt::join(ids_, ","));
}

Source& DeviceResults::of(int32_t location, int32_t producer, uint32_t clock_steps) {
  for (size_t i = 0; i < used; ++i) {
    Source& s = sources[i];
    if (s.location == location && s.producer == producer && s.clock_steps == clock_steps) return s;
  }
  if (used == sources.size()) sources.emplace_back();
  Source& s = sources[used++];
  s.location = location;
  s.producer = producer;
  s.clock_steps = clock_steps;
  s.results.clear();
  s.texts.clear();
  return s;
}

void DeviceResults::clear() {
  used = 0;
}

ResultView view_of(const Source& source, size_t i) {
  if (source.plain()) {
    const PingResults& r = source.results;
    const size_t begin = r.echo_begin[i];
    const size_t count = r.echo_begin[i + 1] - begin;
    return {.verdict = r.verdict[i],
            .reason = r.reason[i],
            .outcomes = {r.echo_outcome.data() + begin, count},
            .rtt_us = {r.echo_rtt_us.data() + begin, count}};
  }
  return gema::view_of(source.results, source.texts, i);
}

// --- which result counts ----------------------------------------------------------------------

void Merged::take(const DeviceResults& results, int64_t from_ms, int64_t to_ms) {
  for (size_t s = 0; s < results.used; ++s) {
    const Source& source = results.sources[s];
    const PingResults& r = source.results;
    for (uint32_t i = 0; i < r.size(); ++i) {
      if (r.due_ms[i] >= from_ms && r.due_ms[i] < to_ms) {
        entries_.push_back({r.due_ms[i], &source, i});
      }
    }
    for (const Stray& stray : r.strays) {
      late_.push_back({source.location, source.producer, stray});
    }
  }
}

void Merged::set(const DeviceResults* stored, const DeviceResults* hot, int64_t from_ms,
                 int64_t to_ms) {
  entries_.clear();
  late_.clear();
  if (stored != nullptr) take(*stored, from_ms, to_ms);
  if (hot != nullptr) take(*hot, from_ms, to_ms);
  auto before = [](const LateAnswer& a, const LateAnswer& b) { return key_of(a) < key_of(b); };
  std::sort(late_.begin(), late_.end(), before);
  // For a while the same may be in a packed row and in a short chunk.
  late_.erase(
      std::unique(late_.begin(), late_.end(),
                  [](const LateAnswer& a, const LateAnswer& b) { return key_of(a) == key_of(b); }),
      late_.end());
  // Nearly always one source, in order, each slot once.
  bool right = true;
  for (size_t i = 1; right && i < entries_.size(); ++i) {
    right = entries_[i - 1].due_ms < entries_[i].due_ms;
  }
  if (right) return;
  std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
    if (a.due_ms != b.due_ms) return a.due_ms < b.due_ms;
    return a.source->location != b.source->location &&
           names_[a.source->location] < names_[b.source->location];
  });
  size_t kept = 0;
  for (size_t i = 0; i < entries_.size();) {
    size_t end = i + 1;
    while (end < entries_.size() && entries_[end].due_ms == entries_[i].due_ms &&
           entries_[end].source->location == entries_[i].source->location) {
      ++end;
    }
    size_t best = i;
    if (end - i > 1) {
      claims_.clear();
      for (size_t c = i; c < end; ++c) {
        const Source& source = *entries_[c].source;
        claims_.push_back(
            {names_[source.producer], source.clock_steps, view_of(source, entries_[c].index)});
      }
      best = i + choose(claims_);
    }
    entries_[kept++] = entries_[best];
    i = end;
  }
  entries_.resize(kept);
}

std::vector<Stray> Merged::strays_of(const Entry& entry) const {
  std::vector<Stray> out;
  if (late_.empty()) return out;
  const Source& source = *entry.source;
  const auto key = std::tie(entry.due_ms, source.location, source.producer);
  auto at =
      std::lower_bound(late_.begin(), late_.end(), key, [](const LateAnswer& a, const auto& k) {
        return std::tie(a.stray.due_ms, a.location, a.producer) < k;
      });
  for (; at != late_.end() && at->stray.due_ms == entry.due_ms && at->location == source.location &&
         at->producer == source.producer;
       ++at) {
    out.push_back(at->stray);
  }
  return out;
}

// --- reading ----------------------------------------------------------------------------------

void begin_reading(Transaction& tx) {
  tx.exec(std::string(kLock) + "; " + kSettings);
}

void each_row(Transaction& tx, const std::string& statement, const Params& params,
              const std::function<void(const BinaryResult&, int row)>& each, bool few) {
  if (few) {
    const BinaryResult rows(tx, statement, params);
    for (int i = 0; i < rows.rows(); ++i) each(rows, i);
    return;
  }
  // The server finds the next rows while these are being read.
  const std::string fetch = fmt::format("FETCH {} FROM each_row", kFetchRows);
  {
    Pipeline pipeline(tx);
    pipeline.add("DECLARE each_row NO SCROLL CURSOR FOR " + statement, params);
    pipeline.add(fetch, {});
    pipeline.send_and_go_on();
    pipeline.next();
    for (bool more = true; more;) {
      const BinaryResult rows = pipeline.next();
      more = rows.rows() == kFetchRows;
      if (more) {
        pipeline.add(fetch, {});
        pipeline.send_and_go_on();
      }
      for (int i = 0; i < rows.rows(); ++i) each(rows, i);
    }
  }
  tx.exec("CLOSE each_row");
}

namespace {

bool is_few(const Devices& devices, const Scan::Range& range) {
  return devices.ids().size() == 1 && range.to_ms - range.from_ms <= kFewMs;
}

struct Statement {
  std::string text;
  Params params;
};

// What is stored for good of devices in a range: short chunks and packed rows.
Statement stored_statement(const Devices& devices, const Scan::Range& range) {
  Statement out;
  // A chunk lies within one span, so it begins with the window's first span or later.
  out.params.int64(span_begin(range.from_ms)).int64(range.to_ms);
  const std::string where = "start_ms >= $1 AND start_ms < $2" + devices.where("device_id");
  out.text = fmt::format(
      "SELECT device_id, start_ms, step_ms, clock_steps, echoes, location_id, producer_id, samples,"
      " extra, details, packed, part, true AS short FROM ping_chunks WHERE {}",
      where);
  if (range.packed) {
    out.text += fmt::format(
        " UNION ALL SELECT device_id, start_ms, step_ms, clock_steps, 0::smallint, location_id,"
        " producer_id, NULL, NULL, details, packed, part, false FROM ping_packed WHERE {}",
        where);
  }
  // In order of time a device's results need no sorting.
  out.text += devices.ids().size() == 1 ? " ORDER BY start_ms, part"
                                        : " ORDER BY device_id, start_ms, part";
  return out;
}

}  // namespace

Scan::Scan(Transaction& tx, std::vector<BrokenRow>& broken, Devices devices, int64_t from_ms,
           int64_t to_ms, Options options)
    : tx_(tx),
      broken_(broken),
      hot_devices_(std::move(devices)),
      hot_from_ms_(from_ms),
      hot_to_ms_(to_ms) {
  Pipeline& pipeline = ahead_.emplace(tx);
  pipeline.add(kLock, {});
  pipeline.add(kSettings, {});
  pipeline.add("SELECT id, name FROM history_names", {});
  pipeline.add("SELECT producer, epoch, clock_steps FROM stream_epochs WHERE stream = 'ping'", {});
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (!hot_devices_.has_partition(p)) continue;
    pipeline.add(
        "SELECT batches, number FROM ping_hot WHERE partition = $1 AND number >"
        " (SELECT number FROM ping_watermarks WHERE partition = $1) ORDER BY number",
        Params().int16(static_cast<int16_t>(p)));
  }
  const Range range{from_ms, to_ms};
  const bool results_too = options.results_first && is_few(hot_devices_, range);
  if (results_too) {
    const Statement stored = stored_statement(hot_devices_, range);
    pipeline.add(stored.text, stored.params);
  }
  pipeline.send();
  pipeline.next();
  pipeline.next();
  take_names(pipeline.next());
  take_epochs(pipeline.next());
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (hot_devices_.has_partition(p)) take_hot_rows(pipeline.next());
  }
  if (!results_too) ahead_.reset();
}

void Scan::take_names(const BinaryResult& rows) {
  for (int i = 0; i < rows.rows(); ++i) names_.add(rows.int32(i, 0), rows.bytes(i, 1));
}

void Scan::take_epochs(const BinaryResult& rows) {
  for (int i = 0; i < rows.rows(); ++i) {
    clock_steps_[{std::string(rows.bytes(i, 0)), static_cast<uint64_t>(rows.int64(i, 1))}] =
        static_cast<uint32_t>(rows.int16(i, 2));
  }
}

void Scan::take_hot_rows(const BinaryResult& rows) {
  for (int i = 0; i < rows.rows(); ++i) {
    auto done = gema::read_hot(rows.bytes(i, 0), [&](const HotRecord& record) {
      take_hot(record.producer, record.epoch, record.payload);
    });
    if (!done) broken_.push_back({.table = "ping_hot", .part = rows.int64(i, 1)});
  }
}

void Scan::take_hot(std::string_view producer, uint64_t epoch, std::string_view payload) {
  if (hot_devices_.ids().size() == 1 && !may_hold(payload, hot_devices_.ids().front())) return;
  // What cannot be decoded here was quarantined or will be, when its row becomes chunks.
  if (!decode_ping(payload, scratch_)) return;
  sort_bursts(scratch_);
  const auto it = clock_steps_.find({std::string(producer), epoch});
  const uint32_t steps = it == clock_steps_.end() ? 0 : it->second;
  const int32_t location = names_.id(scratch_.location);
  const int32_t by = names_.id(producer);
  for (size_t i = 0; i < scratch_.size(); ++i) {
    if (!hot_devices_.has(scratch_.device[i])) continue;
    if (scratch_.due_ms[i] < hot_from_ms_ || scratch_.due_ms[i] >= hot_to_ms_) continue;
    Source& source = hot_[scratch_.device[i]].of(location, by, steps);
    append_result(scratch_, i, source.results, source.texts);
  }
  for (const Stray& stray : scratch_.strays) {
    if (!hot_devices_.has(stray.device)) continue;
    if (stray.due_ms < hot_from_ms_ || stray.due_ms >= hot_to_ms_) continue;
    hot_[stray.device].of(location, by, steps).results.strays.push_back(stray);
  }
}

void Scan::results(const Devices& devices, const Range& range,
                   const std::function<void(DeviceId, const Merged&)>& each) {
  DeviceId current = 0;
  bool any = false;
  auto finish = [&] {
    if (!any) return;
    const auto hot = hot_.find(current);
    merged_.set(&stored_, hot == hot_.end() ? nullptr : &hot->second, range.from_ms, range.to_ms);
    if (!merged_.entries().empty()) each(current, merged_);
    stored_.clear();
  };
  std::vector<DeviceId> stored;  // of those that are hot, too
  auto take = [&](const BinaryResult& rows, int i) {
    const auto device = static_cast<DeviceId>(rows.int64(i, 0));
    if (!any || device != current) {
      finish();
      current = device;
      any = true;
      if (hot_.contains(device)) stored.push_back(device);
    }
    take_chunk(rows, i);
  };
  if (ahead_) {
    GEMA_ASSERT(range.from_ms == hot_from_ms_ && range.to_ms == hot_to_ms_ && range.packed);
    {
      const BinaryResult rows = ahead_->next();
      for (int i = 0; i < rows.rows(); ++i) take(rows, i);
    }
    ahead_.reset();
  } else {
    const Statement statement = stored_statement(devices, range);
    each_row(tx_, statement.text, statement.params, take, is_few(devices, range));
  }
  finish();
  for (const auto& [device, results] : hot_) {
    if (!devices.has(device) || std::binary_search(stored.begin(), stored.end(), device)) continue;
    merged_.set(nullptr, &results, range.from_ms, range.to_ms);
    if (!merged_.entries().empty()) each(device, merged_);
  }
}

// A short chunk, or a packed row.
void Scan::take_chunk(const BinaryResult& rows, int i) {
  const bool is_packed = !rows.is_null(i, 10);
  bool right = true;
  if (is_packed) {
    right = unpack_chunk(rows.bytes(i, 10), arrays_).has_value();
  } else {
    arrays_.echoes = static_cast<uint32_t>(rows.int16(i, 4));
    right = rows.int32_array(i, 7, arrays_.samples) && rows.int32_array(i, 8, arrays_.extra);
  }
  Source& to =
      stored_.of(rows.int32(i, 5), rows.int32(i, 6), static_cast<uint32_t>(rows.int16(i, 3)));
  const ChunkMark mark = mark_of(to.results, to.texts);
  right = right && append_chunk({.device = static_cast<DeviceId>(rows.int64(i, 0)),
                                 .start_ms = rows.int64(i, 1),
                                 .step_ms = static_cast<uint32_t>(rows.int32(i, 2)),
                                 .echoes = arrays_.echoes,
                                 .samples = arrays_.samples,
                                 .extra = arrays_.extra,
                                 .details = rows.bytes(i, 9)},
                                to.results, &to.texts);
  if (right) return;
  cut_back(mark, to.results, to.texts);
  broken_.push_back({rows.bytes(i, 12) == std::string_view("\1") ? "ping_chunks" : "ping_packed",
                     static_cast<DeviceId>(rows.int64(i, 0)), rows.int64(i, 1), rows.int64(i, 11)});
}

}  // namespace gema::history
