#include "common/history/export.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>

#include "common/base/assert.h"
#include "common/domain/chunk.h"
#include "common/domain/csv_text.h"

namespace gema::history {
namespace {

constexpr int64_t kDayMs = 86'400'000;
constexpr int64_t kWindowMinMs = kChunkSpanMs / 12;
constexpr int64_t kWindowFirstMs = 6 * kChunkSpanMs;  // of a device
// A window is made smaller above so many rows, larger below a tenth: some MB in memory.
constexpr size_t kWindowRows = 20'000;
// Rows that did not decode and are named; further ones are not.
constexpr size_t kBrokenMax = 1'000;

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

// The bytes of the UTF-8 character at the front of `text`; 0: there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Too long a form, a surrogate, beyond the last one.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
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
  uint32_t min_us = 0;
  uint32_t max_us = 0;

  void answer(uint32_t rtt_us) {
    min_us = answered == 0 ? rtt_us : std::min(min_us, rtt_us);
    max_us = std::max(max_us, rtt_us);
    ++answered;
  }
};

Summary summary_of(const Results& results, const Row& row) {
  Summary s{.sent = uint64_t{row.echo_count} + row.burst_sent};
  for (const Echo& echo : results.echoes_of(row)) {
    if (echo.outcome == EchoOutcome::kReply) s.answer(echo.rtt_us);
  }
  for (const Echo& echo : results.burst_answers_of(row)) s.answer(echo.rtt_us);
  return s;
}

template <class Number>
void append_number(std::string& out, Number value) {
  out += std::to_string(value);
}

void append_csv(std::string& out, const ExportDevice& device, const Results& results,
                const Row& row) {
  const Summary s = summary_of(results, row);
  append_instant(out, row.due_ms);
  out += ',';
  append_number(out, device.id);
  out += ',';
  append_csv_cell(out, device.address);
  out += ',';
  append_csv_cell(out, device.name.empty() ? device.address : device.name);
  out += ',';
  append_csv_cell(out, results.location(row));
  out += ',';
  append_csv_cell(out, results.producer(row));
  out += ',';
  append_number(out, row.interval_ms);
  out += ',';
  out += to_string(row.verdict);
  out += ',';
  out += to_string(row.reason);
  out += ',';
  append_number(out, s.sent);
  out += ',';
  append_number(out, s.answered);
  for (const uint32_t rtt_us : {s.min_us, row.rtt_us, s.max_us}) {
    out += ',';
    if (s.answered > 0) append_number(out, rtt_us);
  }
  out += ',';
  bool first = true;
  for (const Echo& echo : results.echoes_of(row)) {
    if (!first) out += ';';
    first = false;
    if (echo.outcome == EchoOutcome::kReply) {
      append_number(out, echo.rtt_us);
    } else {
      out += to_string(echo.outcome);
    }
  }
  out += ',';
  append_number(out, row.burst_sent);
  out += ',';
  first = true;
  for (const Echo& echo : results.burst_answers_of(row)) {
    if (!first) out += ';';
    first = false;
    append_number(out, echo.rtt_us);
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

void append_details(std::string& out, const Details& details) {
  if (!details.notes.empty()) {
    list(out, "notes", details.notes, [&](const EchoNote& n) { append_note(out, n); });
  }
  if (!details.proofs.empty()) {
    list(out, "proofs", details.proofs, [&](const ProofResult& p) { append_proof(out, p); });
  }
  if (!details.strays.empty()) {
    list(out, "late_answers", details.strays, [&](const Stray& s) { append_stray(out, s); });
  }
  if (!details.text.empty()) text(out, "text", details.text);
}

void append_ndjson(std::string& out, const ExportDevice& device, const Results& results,
                   const Row& row) {
  const Summary s = summary_of(results, row);
  out += "{\"at\":\"";
  append_instant(out, row.due_ms);
  out += '"';
  number(out, "device_id", device.id);
  text(out, "address", device.address);
  text(out, "name", device.name.empty() ? device.address : device.name);
  text(out, "location", results.location(row));
  text(out, "prober", results.producer(row));
  number(out, "interval_ms", row.interval_ms);
  text(out, "verdict", to_string(row.verdict));
  text(out, "reason", to_string(row.reason));
  number(out, "echoes_sent", s.sent);
  number(out, "echoes_answered", s.answered);
  if (s.answered > 0) {
    number(out, "rtt_min_us", s.min_us);
    number(out, "rtt_mean_us", row.rtt_us);
    number(out, "rtt_max_us", s.max_us);
  }
  list(out, "echoes", results.echoes_of(row), [&](const Echo& echo) {
    if (echo.outcome == EchoOutcome::kReply) {
      append_number(out, echo.rtt_us);
    } else {
      append_json_text(out, to_string(echo.outcome));
    }
  });
  if (row.burst_sent > 0) {
    number(out, "burst_sent", row.burst_sent);
    list(out, "burst", results.burst_answers_of(row),
         [&](const Echo& echo) { append_number(out, echo.rtt_us); });
  }
  if (const Details* details = results.details_of(row)) append_details(out, *details);
  out += "}\n";
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
                       const Results& results, const Row& row) {
  if (format == ExportFormat::kCsv) {
    append_csv(out, device, results, row);
  } else {
    append_ndjson(out, device, results, row);
  }
}

Export::Export(postgres::Connection& connection, ExportQuery query)
    : connection_(connection), query_(std::move(query)), reader_(connection) {}

// Asks once from when to when there can be anything, so that "since 1970" costs nothing. What is
// not in chunks yet is recent, or came late and will be in chunks within a minute: a day is plenty.
Result<void> Export::begin() {
  auto bounds = connection_.snapshot([&](postgres::Transaction& tx) {
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
  at_ms_ = from_ms_;
  window_ms_ = kWindowFirstMs;
  begun_ = true;
  return {};
}

Result<bool> Export::next(std::string& out) {
  const size_t before = out.size();
  if (!begun_) {
    if (auto done = begin(); !done) return done.error();
    if (query_.format == ExportFormat::kCsv) out += export_csv_header();
  }
  if (device_ < query_.devices.size() && at_ms_ < to_ms_) {
    // Windows end at whole multiples, so that an hour is not read twice.
    const int64_t end_ms = std::min(to_ms_, floor_to(at_ms_, window_ms_) + window_ms_);
    const ExportDevice& device = query_.devices[device_];
    auto results = reader_.results(device.id, at_ms_, end_ms, std::numeric_limits<size_t>::max());
    if (!results) return results.error();
    GEMA_ASSERT(!results->truncated);
    for (const Row& row : results->rows) {
      if (query_.location && results->location(row) != *query_.location) continue;
      append_export_row(out, query_.format, device, *results, row);
      ++rows_;
    }
    for (const BrokenRow& row : reader_.broken()) {
      const bool known = std::find(broken_.begin(), broken_.end(), row) != broken_.end();
      if (!known && broken_.size() < kBrokenMax) broken_.push_back(row);
    }
    if (results->rows.size() > kWindowRows) {
      window_ms_ = std::max(kWindowMinMs, window_ms_ / 4);
    } else if (results->rows.size() < kWindowRows / 10) {
      window_ms_ = std::min(kDayMs, window_ms_ * 4);
    }
    at_ms_ = end_ms;
  }
  if (device_ < query_.devices.size() && at_ms_ >= to_ms_) {
    ++device_;
    at_ms_ = from_ms_;
    window_ms_ = std::min(window_ms_, kWindowFirstMs);
  }
  bytes_ += out.size() - before;
  return device_ < query_.devices.size();
}

ExportProgress Export::progress() const {
  ExportProgress p{
      .devices_done = device_, .devices = query_.devices.size(), .rows = rows_, .bytes = bytes_};
  const double part = to_ms_ > from_ms_ ? static_cast<double>(at_ms_ - from_ms_) /
                                              static_cast<double>(to_ms_ - from_ms_)
                                        : 0;
  p.share = query_.devices.empty() ? 1
                                   : (static_cast<double>(device_) + part) /
                                         static_cast<double>(query_.devices.size());
  return p;
}

}  // namespace gema::history
