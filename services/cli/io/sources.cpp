#include "services/cli/io/sources.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/domain/ip_address.h"
#include "services/cli/core/csv_reader.h"
#include "services/cli/core/limits.h"
#include "services/cli/io/sqlite.h"

namespace gema::cli {
namespace {

using nlohmann::json;

constexpr size_t kPiece = 256 * 1024;
constexpr uint64_t kProgressEvery = 4'096;

struct Close {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, Close>;

Error broken(const std::filesystem::path& file, const std::string& what) {
  return {Errc::kBadInput, fmt::format("{}: {}", file.string(), what)};
}

// --- ace-connection-logger -------------------------------------------------------------------

std::optional<double> real_or_none(const Statement& s, int column) {
  if (s.is_null(column)) return std::nullopt;
  return s.real(column);
}

bool is_number(const Statement& s, int column) {
  return s.type(column) == SQLITE_INTEGER || s.type(column) == SQLITE_FLOAT;
}

// "min_latency = abc: must be a number"
std::optional<std::string> wrong_type(const Statement& s) {
  for (const auto& [column, name] :
       {std::pair(4, "success_count"), std::pair(5, "failure_count")}) {
    if (s.type(column) != SQLITE_INTEGER) {
      return fmt::format("{} = \"{:.80}\": must be a whole number", name, s.text(column));
    }
  }
  for (const auto& [column, name] :
       {std::pair(6, "min_latency"), std::pair(7, "max_latency"), std::pair(8, "avg_latency")}) {
    if (!s.is_null(column) && !is_number(s, column)) {
      return fmt::format("{} = \"{:.80}\": must be a number or nothing", name, s.text(column));
    }
  }
  return std::nullopt;
}

void take_ace_row(const Statement& s, const SourceSink& sink) {
  const auto line = static_cast<uint64_t>(s.int64(0));
  SourceRow row;
  row.host = {.address = s.text(2), .name = s.text(1)};
  if (row.host.address.empty() || row.host.address.find('\0') != std::string::npos) {
    return sink.bad(line, "host_address = \"\": must be an address");
  }
  if (const auto wrong = wrong_type(s)) return sink.bad(line, *wrong);
  if (auto time = take_time("timestamp", s.text(3), row); !time) {
    return sink.bad(line, time.error().message);
  }
  const auto made = make_train({.answered = s.int64(4),
                                .failed = s.int64(5),
                                .min_ms = real_or_none(s, 6),
                                .max_ms = real_or_none(s, 7),
                                .mean_ms = real_or_none(s, 8)},
                               row.check);
  if (!made) return sink.bad(line, made.error().message);
  sink.row(row, line);
}

Result<void> read_ace(const std::filesystem::path& file, const SourceSink& sink) {
  try {
    const Sqlite db = Sqlite::open_file(file);
    Statement table(db,
                    "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
                    " AND name = 'ping_results'");
    table.step();
    if (table.int64(0) == 0) {
      return broken(file,
                    "is a SQLite database without a table ping_results; import takes that of"
                    " ace-connection-logger");
    }
    Statement count(db, "SELECT max(rowid) FROM ping_results");
    count.step();
    const double total = static_cast<double>(std::max<int64_t>(1, count.int64(0)));
    Statement rows(db,
                   "SELECT rowid, host_name, host_address, timestamp, success_count, failure_count,"
                   " min_latency, max_latency, avg_latency FROM ping_results ORDER BY rowid");
    sink.begin(SourceKind::kAce);
    for (uint64_t n = 0; rows.step(); ++n) {
      take_ace_row(rows, sink);
      if (n % kProgressEvery == 0 && !sink.progress(static_cast<double>(rows.int64(0)) / total)) {
        break;
      }
    }
    return {};
  } catch (const SqliteError& e) {
    return broken(file, fmt::format("SQLite cannot read it: {}", e.what()));
  }
}

// --- CSV -------------------------------------------------------------------------------------

class CsvFile {
 public:
  CsvFile(const std::filesystem::path& file, const SourceSink& sink) : file_(file), sink_(sink) {}

  void take(const CsvLine& line) {
    if (!layout_) {
      if (failed_) return;
      auto layout = line.broken == nullptr
                        ? CsvLayout::of(line.cells)
                        : Result<CsvLayout>(
                              Error{Errc::kBadInput, std::string("the first line ") + line.broken});
      if (!layout) {
        failed_ = broken(file_, layout.error().message);
        return;
      }
      layout_ = *std::move(layout);
      sink_.begin(layout_->kind() == CsvKind::kPing ? SourceKind::kPingCsv
                                                    : SourceKind::kExportCsv);
      return;
    }
    if (line.broken != nullptr) return sink_.bad(line.number, line.broken);
    auto row = layout_->parse(line.cells);
    if (!row) return sink_.bad(line.number, row.error().message);
    sink_.row(*row, line.number);
  }
  Result<void> end() const {
    if (failed_) return *failed_;
    if (!layout_) return broken(file_, "is empty");
    return {};
  }
  bool failed() const { return failed_.has_value(); }

 private:
  const std::filesystem::path& file_;
  const SourceSink& sink_;
  std::optional<CsvLayout> layout_;
  std::optional<Error> failed_;
};

// --- NDJSON ----------------------------------------------------------------------------------

// Thrown within parse_line only.
struct BadValue {
  std::string what;
};

[[noreturn]] void refuse(const char* key, const json& value, const char* rule) {
  std::string shown = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (shown.size() > 80) shown = shown.substr(0, 80) + "...";
  throw BadValue{fmt::format("{} = {}: {}", key, shown, rule)};
}

std::string text_of(const json& object, const char* key, bool needed = true) {
  const auto value = object.find(key);
  if (value == object.end() && !needed) return "";
  if (value == object.end()) throw BadValue{fmt::format("{} is missing", key)};
  if (!value->is_string()) refuse(key, *value, "must be a text");
  return value->get<std::string>();
}

template <class Number>
Number number_of(const json& object, const char* key, std::optional<Number> otherwise,
                 uint64_t max = std::numeric_limits<Number>::max()) {
  const auto value = object.find(key);
  if (value == object.end()) {
    if (otherwise) return *otherwise;
    throw BadValue{fmt::format("{} is missing", key)};
  }
  if (!value->is_number_unsigned() || value->get<uint64_t>() > max) {
    refuse(key, *value, "must be a whole number within its range");
  }
  return static_cast<Number>(value->get<uint64_t>());
}

const json& list_of(const json& object, const char* key) {
  static const json none = json::array();
  const auto value = object.find(key);
  if (value == object.end()) return none;
  if (!value->is_array()) refuse(key, *value, "must be a list");
  if (value->size() > 2 * kEchoesMax) refuse(key, value->size(), "entries are too many");
  return *value;
}

uint32_t rtt_of(const char* key, const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{kRttUsMax}) {
    refuse(key, value, "must be microseconds, up to half an hour");
  }
  return value.get<uint32_t>();
}

template <class Enum>
Enum enum_of(const json& object, const char* key,
             std::optional<Enum> (*parse)(std::string_view text)) {
  const auto value = parse(text_of(object, key));
  if (!value) refuse(key, object[key], "is nothing that Gema knows");
  return *value;
}

void take_details(const json& line, Check& check) {
  for (const json& item : list_of(line, "notes")) {
    EchoNote note{.echo = number_of<uint32_t>(item, "echo", std::nullopt, 2 * kEchoesMax),
                  .kind = enum_of<NoteKind>(item, "kind", note_kind_of),
                  .icmp_type = number_of<uint8_t>(item, "icmp_type", 0),
                  .icmp_code = number_of<uint8_t>(item, "icmp_code", 0),
                  .error = number_of<uint16_t>(item, "errno", 0),
                  .rtt_us = number_of<uint32_t>(item, "rtt_us", 0),
                  .count = number_of<uint32_t>(item, "count", 1)};
    const std::string from = text_of(item, "from", false);
    if (!from.empty()) {
      const auto ip = parse_ip(from);
      if (!ip) refuse("from", item["from"], "must be an address");
      note.from = *ip;
    }
    if (!check.notes.empty() && check.notes.back().echo > note.echo) {
      refuse("echo", note.echo, "notes must be by rising echo");
    }
    if (note.count == 0) refuse("count", 0, "must be at least 1");
    check.notes.push_back(note);
  }
  for (const json& item : list_of(line, "proofs")) {
    check.proofs.push_back({.kind = enum_of<ProofKind>(item, "kind", proof_kind_of),
                            .outcome = enum_of<ProofOutcome>(item, "outcome", proof_outcome_of),
                            .port = number_of<uint16_t>(item, "port", 0),
                            .status = number_of<uint16_t>(item, "status", 0),
                            .elapsed_us = number_of<uint32_t>(item, "elapsed_us", 0)});
  }
  for (const json& item : list_of(line, "late_answers")) {
    const auto kind = enum_of<NoteKind>(item, "kind", note_kind_of);
    if (kind != NoteKind::kLate && kind != NoteKind::kDuplicate) {
      refuse("kind", item["kind"], "of a late answer must be late or duplicate");
    }
    check.strays.push_back({.echo = number_of<uint32_t>(item, "echo", std::nullopt, 2 * kEchoesMax),
                            .kind = kind,
                            .rtt_us = number_of<uint32_t>(item, "rtt_us", std::nullopt)});
  }
  check.text = text_of(line, "text", false).substr(0, kTextBytesMax);
}

SourceRow parse_line(std::string_view text) {
  const json line = json::parse(text, nullptr, false);
  if (line.is_discarded() || !line.is_object()) throw BadValue{"is no JSON object"};
  SourceRow row;
  if (line.value("verdict", json()) == kUnreadableVerdict) {
    row.unreadable = true;
    return row;
  }
  row.host = {.address = text_of(line, "address"), .name = text_of(line, "name", false)};
  if (row.host.address.empty()) throw BadValue{"address = \"\": must not be empty"};
  if (const auto id = number_of<uint64_t>(line, "device_id", 0); id > 0) row.host.id = id;
  row.location = text_of(line, "location");
  row.prober = text_of(line, "prober");
  if (auto time = take_time("at", text_of(line, "at"), row); !time) {
    throw BadValue{time.error().message};
  }
  Check& check = row.check;
  check.interval_ms =
      number_of<uint32_t>(line, "interval_ms", std::nullopt, uint64_t{kIntervalMsMax});
  if (check.interval_ms < kIntervalMsMin) {
    refuse("interval_ms", check.interval_ms, "must be 10 to 86400000");
  }
  check.verdict = enum_of<Verdict>(line, "verdict", verdict_of);
  check.reason = enum_of<Reason>(line, "reason", reason_of);
  for (const json& echo : list_of(line, "echoes")) {
    if (echo.is_string()) {
      const auto outcome = outcome_of(echo.get<std::string>());
      if (!outcome || *outcome == EchoOutcome::kReply) {
        refuse("echoes", echo, "must be microseconds or outcomes");
      }
      check.outcomes.push_back(*outcome);
      check.rtt_us.push_back(0);
    } else {
      check.rtt_us.push_back(rtt_of("echoes", echo));
      check.outcomes.push_back(EchoOutcome::kReply);
    }
  }
  check.burst_sent = number_of<uint32_t>(line, "burst_sent", 0, kEchoesMax);
  for (const json& rtt : list_of(line, "burst")) check.burst_rtt_us.push_back(rtt_of("burst", rtt));
  take_details(line, check);
  if (auto right = check_rules(check); !right) throw BadValue{right.error().message};
  return row;
}

class NdjsonFile {
 public:
  explicit NdjsonFile(const SourceSink& sink) : sink_(sink) {}

  void take(std::string_view text) {
    while (!text.empty()) {
      const size_t end = text.find('\n');
      const std::string_view part = text.substr(0, end);
      if (line_.size() + part.size() > kLineBytesMax) {
        too_long_ = true;
        line_.clear();
      }
      if (!too_long_) line_ += part;
      if (end == std::string_view::npos) return;
      end_line();
      text.remove_prefix(end + 1);
    }
  }
  void end_line() {
    ++number_;
    while (line_.ends_with('\r')) line_.pop_back();
    if (too_long_) {
      sink_.bad(number_, "is longer than 1 MiB");
    } else if (!line_.empty()) {
      try {
        SourceRow row = parse_line(line_);
        sink_.row(row, number_);
      } catch (const BadValue& bad) {
        sink_.bad(number_, bad.what);
      } catch (const json::exception& e) {
        sink_.bad(number_, e.what());
      }
    }
    line_.clear();
    too_long_ = false;
  }

 private:
  const SourceSink& sink_;
  std::string line_;
  uint64_t number_ = 0;
  bool too_long_ = false;
};

}  // namespace

const char* to_string(SourceKind kind) {
  switch (kind) {
    case SourceKind::kAce:
      return "ace-connection-logger database";
    case SourceKind::kPingCsv:
      return "CSV of ping results";
    case SourceKind::kExportCsv:
      return "gema export, CSV";
    case SourceKind::kExportNdjson:
      return "gema export, NDJSON";
  }
  return "?";
}

namespace {

// What a file plainly is that import does not take; nullptr: it may be one that it does.
const char* why_foreign(std::string_view head) {
  using namespace std::string_view_literals;
  constexpr std::string_view kPackers[] = {"\x1f\x8b"sv, "PK\x03\x04"sv, "BZh"sv, "\xfd\x37zXZ"sv,
                                           "\x28\xb5\x2f\xfd"sv};
  for (const std::string_view packer : kPackers) {
    if (head.starts_with(packer)) return "is compressed: unpack it first";
  }
  if (head.starts_with("\xff\xfe"sv) || head.starts_with("\xfe\xff"sv)) {
    return "is UTF-16 text: import reads UTF-8";
  }
  const size_t first = head.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "is empty";
  if (head[first] == '[') return "is a JSON array: import reads one JSON object a line";
  if (head.substr(0, head.find('\n')).find('\0') != std::string_view::npos) {
    return "is neither text nor a SQLite database";
  }
  return nullptr;
}

// Of a file that others may write to meanwhile. Appending is what old systems do.
std::optional<std::string> changed(const struct stat& before, std::FILE* in, uint64_t bytes_read) {
  struct stat now {};
  if (!S_ISREG(before.st_mode) || ::fstat(::fileno(in), &now) != 0) return std::nullopt;
  if (static_cast<uint64_t>(now.st_size) < bytes_read) return "was cut short while it was read";
  const bool written =
      now.st_mtim.tv_sec != before.st_mtim.tv_sec || now.st_mtim.tv_nsec != before.st_mtim.tv_nsec;
  if (written && now.st_size <= before.st_size) return "was changed while it was read";
  return std::nullopt;
}

}  // namespace

Result<void> read_source(const std::filesystem::path& name, const SourceSink& sink) {
  const std::filesystem::path file = name == "-" ? "/dev/stdin" : name;
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return broken(file, "is a directory");
  const File in(std::fopen(file.c_str(), "rbe"));
  struct stat before {};
  if (!in || ::fstat(::fileno(in.get()), &before) != 0) return broken(file, std::strerror(errno));
  std::string piece(kPiece, '\0');
  size_t n = std::fread(piece.data(), 1, piece.size(), in.get());
  if (std::ferror(in.get()) != 0) return broken(file, std::strerror(errno));
  const std::string_view head(piece.data(), n);
  if (head.starts_with(std::string_view("SQLite format 3\0", 16))) {
    if (S_ISREG(before.st_mode)) return read_ace(file, sink);
    return broken(file, "a SQLite database cannot be read from a pipe: give its file");
  }
  if (const char* why = why_foreign(head)) return broken(file, why);
  const auto size = std::filesystem::file_size(file, error);
  const double total = error || size == 0 ? 1 : static_cast<double>(size);
  const bool ndjson = head[head.find_first_not_of(" \t\r\n")] == '{';
  if (ndjson) sink.begin(SourceKind::kExportNdjson);
  CsvFile csv(file, sink);
  CsvReader reader;
  NdjsonFile lines(sink);
  const auto each = [&](const CsvLine& line) { csv.take(line); };
  uint64_t done = 0;
  for (; n > 0; n = std::fread(piece.data(), 1, piece.size(), in.get())) {
    if (ndjson) {
      lines.take({piece.data(), n});
    } else {
      reader.take({piece.data(), n}, each);
      if (csv.failed()) break;
    }
    done += n;
    if (!sink.progress(std::min(1.0, static_cast<double>(done) / total))) return {};
  }
  if (std::ferror(in.get()) != 0) return broken(file, "cannot be read to its end");
  if (const auto why = changed(before, in.get(), done)) return broken(file, *why);
  if (ndjson) {
    lines.end_line();
    return {};
  }
  reader.finish(each);
  return csv.end();
}

}  // namespace gema::cli
