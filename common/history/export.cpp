#include "common/history/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <tuple>

#include "common/base/utf8.h"
#include "common/domain/csv_text.h"
#include "common/history/scan.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kWindowMinMs = kChunkSpanMs / 12;
constexpr int64_t kWindowFirstMs = 6 * kChunkSpanMs;  // of a device
// A window is made smaller above so many rows, larger below a tenth: some MB in memory.
constexpr size_t kWindowRows = 20'000;
// Devices whose whole range has few results are read together: so many results, some MB of text.
constexpr uint64_t kTogetherRows = 50'000;
constexpr size_t kTogetherDevices = 1'024;
// So many devices are looked for at once, and so many times hours: a fraction of a second.
constexpr size_t kLookDevices = 4'096;
constexpr int64_t kLookDeviceHours = 400'000;
// Fewer devices are read without looking first.
constexpr size_t kLookFromDevices = 4;
// Stored rows counted of a device; with more it is read by itself, window by window.
constexpr int64_t kLookRows = 200;
constexpr uint64_t kMany = UINT64_MAX;

void append_digits(std::string& out, uint64_t value, int width) {
  std::array<char, 20> digits{};
  for (int i = width; i-- > 0; value /= 10) {
    digits[static_cast<size_t>(i)] = static_cast<char>('0' + value % 10);
  }
  out.append(digits.data(), static_cast<size_t>(width));
}

// "2026-11-20T09:56:01.250Z"
void append_instant(std::string& out, int64_t unix_ms) {
  using namespace std::chrono;  // NOLINT: calendar types
  const auto day = floor<days>(sys_time<milliseconds>(milliseconds(unix_ms)));
  const year_month_day date{day};
  const auto ms =
      static_cast<uint64_t>(unix_ms - duration_cast<milliseconds>(day.time_since_epoch()).count());
  append_digits(out, static_cast<uint64_t>(static_cast<int>(date.year())), 4);
  out += '-';
  append_digits(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_digits(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_digits(out, ms / 3'600'000, 2);
  out += ':';
  append_digits(out, ms / 60'000 % 60, 2);
  out += ':';
  append_digits(out, ms / 1'000 % 60, 2);
  out += '.';
  append_digits(out, ms % 1'000, 3);
  out += 'Z';
}

void append_json_text(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (length == 1 && (static_cast<uint8_t>(c) < 0x20 || c == 0x7F)) {
      out += "\\u00";
      out += kHex[static_cast<uint8_t>(c) >> 4];
      out += kHex[static_cast<uint8_t>(c) & 15];
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  out += '"';
}

// What a row says in numbers: of everything sent and answered, bursts included.
struct Summary {
  uint64_t sent = 0;
  uint64_t answered = 0;
  uint64_t sum_us = 0;
  uint32_t min_us = 0;
  uint32_t max_us = 0;

  uint64_t mean_us() const { return (sum_us + answered / 2) / answered; }
  void answer(uint32_t rtt_us) {
    sum_us += rtt_us;
    min_us = answered == 0 ? rtt_us : std::min(min_us, rtt_us);
    max_us = std::max(max_us, rtt_us);
    ++answered;
  }
};

Summary summary_of(const ResultView& result) {
  Summary s{.sent = result.outcomes.size() + result.burst_sent};
  for (size_t e = 0; e < result.outcomes.size(); ++e) {
    if (result.outcomes[e] == EchoOutcome::kReply) s.answer(result.rtt_us[e]);
  }
  for (const uint32_t rtt_us : result.burst_rtt_us) s.answer(rtt_us);
  return s;
}

template <class Number>
void append_number(std::string& out, Number value) {
  out += std::to_string(value);
}

const std::string& name_of(const ExportDevice& device) {
  return device.name.empty() ? device.address : device.name;
}

// "at,device_id,address,name"
void append_csv_begin(std::string& out, const ExportDevice& device, int64_t at_ms) {
  append_instant(out, at_ms);
  out += ',';
  append_number(out, device.id);
  out += ',';
  append_csv_cell(out, device.address);
  out += ',';
  append_csv_cell(out, name_of(device));
}

void append_csv(std::string& out, const ExportDevice& device, const ExportRow& row) {
  const ResultView& r = row.result;
  const Summary s = summary_of(r);
  append_csv_begin(out, device, row.due_ms);
  out += ',';
  append_csv_cell(out, row.location);
  out += ',';
  append_csv_cell(out, row.prober);
  out += ',';
  append_number(out, row.interval_ms);
  out += ',';
  out += to_string(r.verdict);
  out += ',';
  out += to_string(r.reason);
  out += ',';
  append_number(out, s.sent);
  out += ',';
  append_number(out, s.answered);
  if (s.answered > 0) {
    for (const uint64_t rtt_us : {uint64_t{s.min_us}, s.mean_us(), uint64_t{s.max_us}}) {
      out += ',';
      append_number(out, rtt_us);
    }
  } else {
    out += ",,,";
  }
  out += ',';
  for (size_t e = 0; e < r.outcomes.size(); ++e) {
    if (e > 0) out += ';';
    if (r.outcomes[e] == EchoOutcome::kReply) {
      append_number(out, r.rtt_us[e]);
    } else {
      out += to_string(r.outcomes[e]);
    }
  }
  out += ',';
  append_number(out, r.burst_sent);
  out += ',';
  for (size_t e = 0; e < r.burst_rtt_us.size(); ++e) {
    if (e > 0) out += ';';
    append_number(out, r.burst_rtt_us[e]);
  }
  out += "\r\n";
}

// --- NDJSON ----------------------------------------------------------------------------------

void key(std::string& out, const char* name) {
  out += ",\"";
  out += name;
  out += "\":";
}

template <class Number>
void number(std::string& out, const char* name, Number value) {
  key(out, name);
  append_number(out, value);
}

void text(std::string& out, const char* name, std::string_view value) {
  key(out, name);
  append_json_text(out, value);
}

// Appends `[` what each(item) appends, with "," between, `]`.
template <class Range, class Each>
void list(std::string& out, const char* name, const Range& range, Each&& each) {
  key(out, name);
  out += '[';
  bool first = true;
  for (const auto& item : range) {
    if (!first) out += ',';
    first = false;
    each(item);
  }
  out += ']';
}

void append_note(std::string& out, const EchoNote& note) {
  out += "{\"echo\":";
  append_number(out, note.echo);
  text(out, "kind", to_string(note.kind));
  if (note.kind == NoteKind::kIcmpError) {
    number(out, "icmp_type", unsigned{note.icmp_type});
    number(out, "icmp_code", unsigned{note.icmp_code});
  }
  if (note.error != 0) number(out, "errno", note.error);
  if (note.rtt_us != 0) number(out, "rtt_us", note.rtt_us);
  if (note.count != 1) number(out, "count", note.count);
  if (note.from.known()) text(out, "from", to_text(note.from));
  out += '}';
}

void append_proof(std::string& out, const ProofResult& proof) {
  out += "{\"port\":";
  append_number(out, proof.port);
  text(out, "kind", to_string(proof.kind));
  text(out, "outcome", to_string(proof.outcome));
  if (proof.status != 0) number(out, "status", proof.status);
  number(out, "elapsed_us", proof.elapsed_us);
  out += '}';
}

void append_stray(std::string& out, const Stray& stray) {
  out += "{\"echo\":";
  append_number(out, stray.echo);
  text(out, "kind", to_string(stray.kind));
  number(out, "rtt_us", stray.rtt_us);
  out += '}';
}

void append_ndjson_begin(std::string& out, const ExportDevice& device, int64_t at_ms) {
  out += "{\"at\":\"";
  append_instant(out, at_ms);
  out += '"';
  number(out, "device_id", device.id);
  text(out, "address", device.address);
  text(out, "name", name_of(device));
}

void append_ndjson(std::string& out, const ExportDevice& device, const ExportRow& row) {
  const ResultView& r = row.result;
  const Summary s = summary_of(r);
  append_ndjson_begin(out, device, row.due_ms);
  text(out, "location", row.location);
  text(out, "prober", row.prober);
  number(out, "interval_ms", row.interval_ms);
  text(out, "verdict", to_string(r.verdict));
  text(out, "reason", to_string(r.reason));
  number(out, "echoes_sent", s.sent);
  number(out, "echoes_answered", s.answered);
  if (s.answered > 0) {
    number(out, "rtt_min_us", s.min_us);
    number(out, "rtt_mean_us", s.mean_us());
    number(out, "rtt_max_us", s.max_us);
  }
  size_t echo = 0;
  list(out, "echoes", r.outcomes, [&](EchoOutcome outcome) {
    if (outcome == EchoOutcome::kReply) {
      append_number(out, r.rtt_us[echo]);
    } else {
      append_json_text(out, to_string(outcome));
    }
    ++echo;
  });
  if (r.burst_sent > 0) {
    number(out, "burst_sent", r.burst_sent);
    list(out, "burst", r.burst_rtt_us, [&](uint32_t rtt_us) { append_number(out, rtt_us); });
  }
  if (!r.notes.empty()) {
    list(out, "notes", r.notes, [&](const EchoNote& n) { append_note(out, n); });
  }
  if (!r.proofs.empty()) {
    list(out, "proofs", r.proofs, [&](const ProofResult& p) { append_proof(out, p); });
  }
  if (!row.late_answers.empty()) {
    list(out, "late_answers", row.late_answers, [&](const Stray& l) { append_stray(out, l); });
  }
  if (!r.text.empty()) text(out, "text", r.text);
  out += "}\n";
}

bool same(const BrokenRow& a, const BrokenRow& b) {
  return std::tie(a.table, a.device, a.start_ms, a.part) ==
         std::tie(b.table, b.device, b.start_ms, b.part);
}

int64_t floor_to(int64_t ms, int64_t unit) {
  return ms - ((ms % unit) + unit) % unit;
}

}  // namespace

std::string_view export_csv_header() {
  return "at,device_id,address,name,location,prober,interval_ms,verdict,reason,echoes_sent,"
         "echoes_answered,rtt_min_us,rtt_mean_us,rtt_max_us,echoes,burst_sent,burst\r\n";
}

void append_export_row(std::string& out, ExportFormat format, const ExportDevice& device,
                       const ExportRow& row) {
  if (format == ExportFormat::kCsv) {
    append_csv(out, device, row);
  } else {
    append_ndjson(out, device, row);
  }
}

void append_unreadable_row(std::string& out, ExportFormat format, const ExportDevice* device,
                           const BrokenRow& row) {
  const std::string which = fmt::format("{} part {}", row.table, row.part);
  if (format == ExportFormat::kCsv) {
    if (device != nullptr) {
      append_csv_begin(out, *device, row.start_ms);
    } else {
      out += ",,,";
    }
    out += fmt::format(",,,,{},{},,,,,,,,\r\n", kUnreadable, which);
    return;
  }
  if (device != nullptr) {
    append_ndjson_begin(out, *device, row.start_ms);
    text(out, "verdict", kUnreadable);
  } else {
    out += fmt::format("{{\"verdict\":\"{}\"", kUnreadable);
  }
  text(out, "reason", which);
  out += "}\n";
}

Export::Export(postgres::Connection& connection, ExportQuery query)
    : connection_(connection), query_(std::move(query)) {}

// Asks once from when to when there can be anything, so that "since 1970" costs nothing. What is
// not in chunks yet is recent, or came late and will be in chunks within a minute: a day is plenty.
Result<void> Export::begin() {
  auto bounds = connection_.snapshot([&](Transaction& tx) {
    const auto row = tx.exec(
        "SELECT least(min(l.from_ms), n.ms) - 86400000, greatest(max(l.to_ms), n.ms) + 86400000"
        " FROM (SELECT floor(extract(epoch FROM now()) * 1000)::bigint AS ms) n"
        " LEFT JOIN (SELECT * FROM history_leaves('ping_packed')"
        "  UNION ALL SELECT * FROM history_leaves('ping_chunks')) l ON true GROUP BY n.ms")[0];
    return std::pair(row[0].as<int64_t>(), row[1].as<int64_t>());
  });
  if (!bounds) return bounds.error();
  from_ms_ = std::max(query_.from_ms, bounds->first);
  to_ms_ = std::max(std::min(query_.to_ms, bounds->second), from_ms_);
  begun_ = true;
  if (query_.devices.size() < kLookFromDevices || from_ms_ == to_ms_) return {};
  return find_hot();
}

// Which devices have anything in hot rows; later it is in chunks, where look() finds it. Once, for
// all of them: hot rows are not by device. What comes after this need not be in the export.
Result<void> Export::find_hot() {
  std::array<std::vector<DeviceId>, kPartitions> ids;
  for (const ExportDevice& device : query_.devices) {
    ids[partition_of(device.id)].push_back(device.id);
  }
  std::vector<BrokenRow> broken;
  auto done = connection_.snapshot([&](Transaction& tx) {
    for (std::vector<DeviceId>& of_partition : ids) {
      if (of_partition.empty()) continue;
      const Scan scan(tx, broken, Devices(std::move(of_partition)), from_ms_, to_ms_);
      for (const auto& [device, results] : scan.hot()) hot_.insert(device);
    }
  });
  if (!done) return done;
  for (const BrokenRow& row : broken) take_hot_broken(row);
  return {};
}

// Finds those of the next devices that have anything, and how much.
Result<void> Export::look() {
  found_.clear();
  at_ = 0;
  const auto hours = (to_ms_ - from_ms_) / kChunkSpanMs + 1;
  const size_t most =
      std::clamp<size_t>(static_cast<size_t>(kLookDeviceHours / hours), 64, kLookDevices);
  const size_t begin = next_;
  next_ = std::min(query_.devices.size(), begin + most);
  if (query_.devices.size() < kLookFromDevices) {
    for (size_t i = begin; i < next_; ++i) found_.push_back({i, kMany});
    return {};
  }
  std::vector<DeviceId> ids;
  for (size_t i = begin; i < next_; ++i) ids.push_back(query_.devices[i].id);
  std::map<DeviceId, uint64_t> stored;
  Params params;
  params.int64(floor_to(from_ms_, kChunkSpanMs)).int64(to_ms_);
  auto done = connection_.snapshot([&](Transaction& tx) {
    begin_reading(tx);
    tx.exec("SET LOCAL enable_seqscan = off");
    const std::string range = "c.device_id = d.id AND c.start_ms >= $1 AND c.start_ms < $2";
    const BinaryResult rows(
        tx,
        fmt::format("SELECT d.id, s.rows, s.results FROM unnest('{{{0}}}'::bigint[]) d (id)"
                    " CROSS JOIN LATERAL (SELECT count(*) AS rows,"
                    " coalesce(sum(n), 0)::bigint AS results FROM"
                    " (SELECT c.results AS n FROM ping_packed c WHERE {1} UNION ALL"
                    " SELECT coalesce(c.results, cardinality(c.samples)) FROM ping_chunks c"
                    " WHERE {1} LIMIT {2}) r) s WHERE s.rows > 0",
                    fmt::join(ids, ","), range, kLookRows + 1),
        params);
    for (int i = 0; i < rows.rows(); ++i) {
      const bool few = rows.int64(i, 1) <= kLookRows;
      stored[static_cast<DeviceId>(rows.int64(i, 0))] =
          few ? static_cast<uint64_t>(rows.int64(i, 2)) : kMany;
    }
  });
  if (!done) return done;
  for (size_t i = begin; i < next_; ++i) {
    const DeviceId id = query_.devices[i].id;
    const auto it = stored.find(id);
    if (it != stored.end()) {
      found_.push_back({i, it->second});
    } else if (hot_.contains(id)) {
      found_.push_back({i, 1});
    }
  }
  return {};
}

void Export::take_hot_broken(const BrokenRow& row) {
  if (hot_broken_.size() < kBrokenNamedMax && hot_broken_.insert(row.part).second) {
    take_broken(row);
  }
}

void Export::take_broken(const BrokenRow& row) {
  ++broken_rows_;
  if (broken_.size() < kBrokenNamedMax) broken_.push_back(row);
}

// Appends what the devices of found_[begin, end) have in a window, device by device, in one
// snapshot. Returns: how many results that are.
Result<size_t> Export::read(size_t begin, size_t end, int64_t from_ms, int64_t to_ms,
                            std::string& out) {
  struct Text {
    const ExportDevice* device = nullptr;
    std::string text;
  };
  std::map<DeviceId, Text> texts;
  std::vector<DeviceId> ids;
  for (size_t i = begin; i < end; ++i) {
    const ExportDevice& device = query_.devices[found_[i].place];
    ids.push_back(device.id);
    texts[device.id].device = &device;
  }
  std::vector<BrokenRow> broken;
  size_t rows = 0;
  // Those of the device that begin before `before_ms` and were not told yet.
  const auto tell_broken = [&](DeviceId id, int64_t before_ms, Text& to) {
    for (const BrokenRow& row : broken) {
      if (row.device != id || row.start_ms >= before_ms) continue;
      const auto is_same = [&](const BrokenRow& other) { return same(other, row); };
      if (std::any_of(told_.begin(), told_.end(), is_same)) continue;
      told_.push_back(row);
      append_unreadable_row(to.text, query_.format, to.device, row);
      take_broken(row);
    }
  };
  auto done = connection_.snapshot([&](Transaction& tx) {
    const Devices devices(ids);
    Scan scan(tx, broken, devices, from_ms, to_ms, {.results_first = true});
    const Names& names = scan.names();
    scan.results(devices, {from_ms, to_ms}, [&](DeviceId id, const Merged& merged) {
      Text& to = texts.at(id);
      const bool any_broken = !broken.empty();
      for (const Merged::Entry& entry : merged.entries()) {
        const Source& source = *entry.source;
        if (query_.location && names[source.location] != *query_.location) continue;
        if (any_broken) tell_broken(id, entry.due_ms + 1, to);
        const std::vector<Stray> late = merged.strays_of(entry);
        append_export_row(to.text, query_.format, *to.device,
                          {.due_ms = entry.due_ms,
                           .interval_ms = source.results.interval_ms[entry.index],
                           .location = names[source.location],
                           .prober = names[source.producer],
                           .result = view_of(source, entry.index),
                           .late_answers = late});
        ++rows;
      }
    });
  });
  if (!done) return done.error();
  rows_ += rows;
  for (const BrokenRow& row : broken) {
    if (row.device == 0) take_hot_broken(row);
  }
  for (const DeviceId id : ids) {
    Text& to = texts.at(id);
    tell_broken(id, INT64_MAX, to);
    out += to.text;
  }
  return rows;
}

// Several devices' whole range, or a window of one that has much.
Result<void> Export::read_piece(std::string& out) {
  if (found_[at_].results <= kTogetherRows) {
    told_.clear();
    size_t end = at_;
    uint64_t results = 0;
    while (end < found_.size() && end - at_ < kTogetherDevices &&
           found_[end].results <= kTogetherRows - results) {
      results += found_[end++].results;
    }
    auto rows = read(at_, end, from_ms_, to_ms_, out);
    if (!rows) return rows.error();
    at_ = end;
    return {};
  }
  if (!at_ms_) {
    told_.clear();
    at_ms_ = from_ms_;
    window_ms_ = std::min(window_ms_, kWindowFirstMs);
  }
  // Windows end at whole multiples, so that an hour is not read twice.
  const int64_t end_ms = std::min(to_ms_, floor_to(*at_ms_, window_ms_) + window_ms_);
  auto rows = read(at_, at_ + 1, *at_ms_, end_ms, out);
  if (!rows) return rows.error();
  if (*rows > kWindowRows) {
    window_ms_ = std::max(kWindowMinMs, window_ms_ / 4);
  } else if (*rows < kWindowRows / 10) {
    window_ms_ = std::min(kDayMs, window_ms_ * 4);
  }
  at_ms_ = end_ms;
  if (end_ms == to_ms_) {
    at_ms_.reset();
    ++at_;
  }
  return {};
}

Result<bool> Export::next(std::string& out) {
  const size_t before = out.size();
  if (!begun_) {
    if (auto done = begin(); !done) return done.error();
    if (query_.format == ExportFormat::kCsv) out += export_csv_header();
    if (from_ms_ == to_ms_) next_ = query_.devices.size();
  }
  if (at_ == found_.size() && next_ < query_.devices.size()) {
    if (auto done = look(); !done) return done.error();
  }
  if (at_ < found_.size()) {
    if (auto done = read_piece(out); !done) return done.error();
  }
  const bool more = at_ < found_.size() || next_ < query_.devices.size();
  if (!more) {
    for (const int64_t part : hot_broken_) {
      append_unreadable_row(out, query_.format, nullptr, {.table = "ping_hot", .part = part});
    }
  }
  bytes_ += out.size() - before;
  return more;
}

ExportProgress Export::progress() const {
  ExportProgress p{.devices_done = at_ < found_.size() ? found_[at_].place : next_,
                   .devices = query_.devices.size(),
                   .rows = rows_,
                   .bytes = bytes_};
  const double part =
      at_ms_ ? static_cast<double>(*at_ms_ - from_ms_) / static_cast<double>(to_ms_ - from_ms_) : 0;
  p.share = query_.devices.empty() ? 1
                                   : (static_cast<double>(p.devices_done) + part) /
                                         static_cast<double>(query_.devices.size());
  return p;
}

}  // namespace gema::history
