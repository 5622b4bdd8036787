#include <fmt/format.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "common/base/utf8.h"
#include "common/domain/csv_text.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/runs.h"
#include "services/cli/core/when.h"
#include "services/cli/io/import_store.h"
#include "services/cli/io/inventory.h"
#include "services/cli/io/output.h"
#include "services/cli/io/sources.h"
#include "services/cli/io/stage.h"
#include "services/cli/io/transfer_commands.h"

namespace gema::cli {
namespace {

constexpr const char* kNameRule = "must be text of 1 to 64 bytes";

// Of a location or prober: what a database and a page can carry.
bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kNameBytesMax && is_clean_text(text);
}

struct HostLess {
  bool operator()(const Host& a, const Host& b) const {
    return std::tie(a.address, a.name, a.id) < std::tie(b.address, b.name, b.id);
  }
};

// Reads the files into the stage, and remembers what stood in the way.
class Gathering {
 public:
  Gathering(const Session& session, const ImportCommandOptions& options, const Inventory& inventory,
            int64_t from_ms, int64_t to_ms)
      : session_(session),
        options_(options),
        inventory_(inventory),
        from_ms_(from_ms),
        to_ms_(to_ms) {}

  Result<void> read(const std::string& file, ProgressLine& line);

  Stage stage;
  uint64_t read_rows = 0;
  uint64_t outside = 0;  // of --from and --to
  uint64_t unknown_rows = 0;
  uint64_t bad_lines = 0;
  uint64_t unreadable = 0;  // lines that say so
  uint64_t twice = 0;       // local times that the clock showed twice, and that it skipped
  uint64_t skipped = 0;
  bool all_ace = true;
  std::set<DeviceId> devices;
  std::map<Host, uint64_t, HostLess> missing;  // and rows of each
  std::vector<std::string> bad_shown;

 private:
  void take(SourceRow& row, uint64_t line);
  void bad(uint64_t line, const std::string& what);

  const Session& session_;
  const ImportCommandOptions& options_;
  const Inventory& inventory_;
  const int64_t from_ms_;
  const int64_t to_ms_;

  // Of the current file.
  std::string file_;
  SourceKind kind_ = SourceKind::kAce;
  std::map<Host, std::pair<const KnownDevice*, LocalOrder>, HostLess> hosts_;
  std::map<std::pair<std::string, std::string>, uint32_t> sources_;
};

void Gathering::bad(uint64_t line, const std::string& what) {
  ++bad_lines;
  if (bad_shown.size() >= kBadLinesShown) return;
  bad_shown.push_back(fmt::format("{} {} {}: {}", file_, kind_ == SourceKind::kAce ? "row" : "line",
                                  line, printable(what)));
}

void Gathering::take(SourceRow& row, uint64_t line) {
  ++read_rows;
  if (row.unreadable) {
    ++unreadable;
    return;
  }
  auto host = hosts_.find(row.host);
  if (host == hosts_.end()) {
    host = hosts_.emplace(row.host, std::pair(inventory_.find(row.host), LocalOrder())).first;
  }
  auto& [device, order] = host->second;
  const uint64_t twice_before = order.twice();
  const uint64_t skipped_before = order.skipped();
  const int64_t us = row.utc_us ? *row.utc_us : order.take(row.local_us, session_.offset);
  twice += order.twice() - twice_before;
  skipped += order.skipped() - skipped_before;
  row.check.at_ms = us >= 0 ? us / 1'000 : -((999 - us) / 1'000);
  const int64_t at_ms = row.check.at_ms;
  if (at_ms < kOldestMs) return bad(line, "its time is before the year 2000");
  if (at_ms > unix_ms(session_.now.wall) + kFutureMs) {
    return bad(line, fmt::format("{} is in the future: is --time-zone right?",
                                 local_text(at_ms, session_.offset)));
  }
  if (at_ms < from_ms_ || at_ms >= to_ms_) {
    ++outside;
    return;
  }
  if (device == nullptr) {
    ++unknown_rows;
    const auto known = missing.find(row.host);
    if (known != missing.end()) {
      ++known->second;
    } else if (missing.size() < kMissingMax) {
      missing.emplace(row.host, 1);
    }
    return;
  }
  const bool drifts = kind_ == SourceKind::kAce || kind_ == SourceKind::kPingCsv;
  std::string producer = row.prober;
  if (drifts && !options_.producer.empty()) producer = options_.producer;
  if (producer.empty()) producer = kind_ == SourceKind::kAce ? "import:ace" : "import:csv";
  const std::string location = row.location.empty() ? options_.location : row.location;
  auto source = sources_.find({location, producer});
  if (source == sources_.end()) {
    for (const auto& [name, text] : {std::pair("location", &location), {"prober", &producer}}) {
      if (!is_name(*text)) return bad(line, fmt::format("{} = \"{}\": {}", name, *text, kNameRule));
    }
    const uint32_t place = stage.source({location, producer, drifts});
    source = sources_.emplace(std::pair(location, producer), place).first;
  }
  if (kind_ != SourceKind::kAce) all_ace = false;
  devices.insert(device->id);
  stage.add(device->id, source->second, row.check);
}

Result<void> Gathering::read(const std::string& file, ProgressLine& line) {
  file_ = file;
  hosts_.clear();
  sources_.clear();
  const SourceSink sink{.begin = [&](SourceKind kind) { kind_ = kind; },
                        .row = [&](SourceRow& row, uint64_t number) { take(row, number); },
                        .bad = [&](uint64_t number, const std::string& what) { bad(number, what); },
                        .progress =
                            [&](double share) {
                              line.show(fmt::format("reading {} ({}): {} rows", file,
                                                    to_string(kind_), grouped(read_rows)),
                                        share);
                              return broken_off() == 0;
                            }};
  return read_source(file, sink);
}

// A devices file as inventory reads it, of the hosts that it lacks.
Result<void> write_devices(const std::string& file, const Gathering& got) {
  auto out = Output::open(file);
  if (!out) {
    Error error = out.error();
    return Error{error.code, "--write-devices: " + error.message};
  }
  std::string text = "ip_address,hostname,merk,os,kondisi\r\n";
  std::set<std::string> written;
  for (const auto& [host, rows] : got.missing) {
    if (!written.insert(host.address).second) continue;
    const std::string* cells[] = {&host.address, &host.name, &host.merk, &host.os, &host.kondisi};
    for (size_t i = 0; i < 5; ++i) {
      if (i > 0) text += ',';
      append_csv_cell(text, i == 1 && host.name == host.address ? "" : *cells[i]);
    }
    text += "\r\n";
  }
  if (auto done = out->write(text); !done) return done.error();
  return out->finish();
}

void tell_missing(const Gathering& got) {
  size_t shown = 0;
  for (const auto& [host, rows] : got.missing) {
    if (shown++ == kMissingShown) {
      fmt::print(stderr, "  ... and {} more\n", got.missing.size() - kMissingShown);
      break;
    }
    fmt::print(stderr, "  {}{}{}  {} rows\n", printable(host.address),
               host.name.empty() || host.name == host.address ? "" : "  ",
               host.name == host.address ? "" : printable(host.name), rows);
  }
}

// What keeps the import from going on; the exit code then.
std::optional<int> refused(const Gathering& got, const ImportCommandOptions& options) {
  bool stop = false;
  if (got.bad_lines > 0) {
    for (const std::string& line : got.bad_shown) fmt::print(stderr, "{}\n", line);
    if (got.bad_lines > got.bad_shown.size()) {
      fmt::print(stderr, "... and {} more\n", got.bad_lines - got.bad_shown.size());
    }
    if (!options.skip_bad) {
      fmt::print(stderr, "gema: {} bad line{}: nothing was imported. --skip-bad leaves {} out.\n",
                 grouped(got.bad_lines), got.bad_lines == 1 ? "" : "s",
                 got.bad_lines == 1 ? "it" : "them");
      stop = true;
    }
  }
  if (!got.missing.empty()) {
    fmt::print(stderr, "{} hosts are not in the inventory:\n", got.missing.size());
    tell_missing(got);
    if (!options.write_devices.empty()) {
      if (auto written = write_devices(options.write_devices, got); !written) {
        return fail(written.error());
      }
      fmt::print(stderr,
                 "written to {}: add it to the inventory (deploy/local/up --devices {}), and"
                 " import again\n",
                 options.write_devices, options.write_devices);
    }
    if (!options.skip_unknown) {
      fmt::print(stderr, "gema: nothing was imported. {}--skip-unknown leaves these hosts out.\n",
                 options.write_devices.empty()
                     ? "--write-devices FILE writes them as a devices file; "
                     : "");
      stop = true;
    }
  }
  return stop ? std::optional(kFailed) : std::nullopt;
}

std::string span_of(const Gathering& got, const Session& session) {
  int64_t first = INT64_MAX;
  int64_t last = 0;
  for (const StageSpan& span : got.stage.spans()) {
    first = std::min(first, span.first_ms);
    last = std::max(last, span.last_ms);
  }
  return fmt::format("{} checks of {} devices, {} to {}", grouped(got.stage.checks()),
                     got.devices.size(), local_text(first, session.offset),
                     local_text(last, session.offset));
}

void tell_left_out(const Gathering& got, const Session& session) {
  const auto count = [](uint64_t n, const char* what) {
    if (n > 0) fmt::print("  {} {}\n", grouped(n), what);
  };
  count(got.bad_lines, "bad lines left out");
  count(got.unreadable, "lines that stand for results which were unreadable where they come from");
  count(got.unknown_rows, "rows of hosts that are not in the inventory left out");
  count(got.outside, "rows outside of --from and --to left out");
  const std::string zone = session.common.timezone.empty() ? "" : " " + session.common.timezone;
  count(got.twice,
        "local times that the clock showed twice: the first pass, unless the rows before"
        " say it was the second");
  count(got.skipped, "local times that the clock skipped, moved on by what was skipped");
}

void tell_done(const ImportDone& done) {
  const auto count = [](uint64_t n, const char* what) {
    if (n > 0) fmt::print("  {} {}\n", grouped(n), what);
  };
  if (done.hours > 0 && done.unchanged_hours == done.hours) {
    fmt::print("  nothing changed: all of it was there already\n");
  } else {
    count(done.results, "results in history");
    count(done.only_rollups, "results past raw retention: in rollups of hours only");
    count(done.replaced, "results of an earlier import replaced");
    count(done.doubled,
          "results for a slot that the same source had already: the better one stays");
  }
  count(done.outages, "outages");
  count(done.measured_here, "results left out: somebody else has one for the very slot");
  count(done.too_old, "results left out: older than any retention");
  count(done.broken_rows, "stored rows do not decode and were left as they are");
  if (done.refused_days > 0) {
    fmt::print("  {} results of {} days of devices left out:\n", grouped(done.refused_checks),
               grouped(done.refused_days));
    for (const std::string& text : done.refused_shown) fmt::print("    {}\n", text);
    if (done.refused_days > done.refused_shown.size()) fmt::print("    ...\n");
  }
}

}  // namespace

int import_command(const CommonOptions& common, const ImportCommandOptions& options) {
  const auto session = begin_session(common, options.time_zone);
  if (!session) return kUsage;
  const auto range = range_of(*session, options.from, options.to);
  if (!range) return fail(range.error());
  for (const auto& [name, text] :
       {std::pair("--location", &options.location), {"--producer", &options.producer}}) {
    const bool absent = text->empty() && text == &options.producer;
    if (!absent && !is_name(*text)) {
      return fail(
          {Errc::kBadInput, fmt::format("{} = \"{}\": {}", name, printable(*text), kNameRule)});
    }
  }
  if (std::isnan(options.interval_s)) {
    return fail({Errc::kBadInput, "--interval-s = nan: must be 0.01 to 86400"});
  }
  auto connection = connect(*session);
  if (!connection) return fail(connection.error());
  const auto inventory = Inventory::read(**connection);
  if (!inventory) return fail(inventory.error());
  watch_for_breaks();
  const auto broke = [] {
    fail({Errc::kPermanent, "broken off; nothing was imported"});
    return 128 + broken_off();
  };
  std::optional<Gathering> got;
  try {
    got.emplace(*session, options, *inventory, range->from_ms, range->to_ms);
    ProgressLine line(options.progress || stderr_is_terminal());
    for (const std::string& file : options.files) {
      if (auto read = got->read(file, line); !read) return line.clear(), fail(read.error());
      if (broken_off() != 0) return line.clear(), broke();
    }
    got->stage.close();
  } catch (const SqliteError& e) {
    return fail({Errc::kPermanent, fmt::format("cannot sort what was read: {}", e.what())});
  }
  if (const auto code = refused(*got, options)) return *code;
  if (got->stage.checks() == 0) {
    fmt::print("Nothing to import: no checks.\n");
  } else {
    fmt::print("{}: {}\n", options.dry_run ? "Would import" : "Importing", span_of(*got, *session));
  }
  std::fflush(stdout);
  tell_left_out(*got, *session);
  if (options.dry_run || got->stage.checks() == 0) return 0;

  ImportOptions how{.raw_retention_days = session->raw_retention_days,
                    .hour_rollups_days = session->hour_rollups_days,
                    .down_after = options.down_after > 0 ? options.down_after
                                  : got->all_ace         ? 1
                                                         : session->common.down_after,
                    .outages = !options.no_outages,
                    .interval_ms = static_cast<uint32_t>(std::lround(options.interval_s * 1'000))};
  for (const KnownDevice& d : inventory->all()) how.device_interval_ms[d.id] = d.interval_ms;
  ProgressLine line(options.progress || stderr_is_terminal());
  const auto done =
      import_staged(**connection, got->stage, how, session->now.wall, [&](uint64_t n, uint64_t of) {
        line.show(fmt::format("importing: {} of {} checks", grouped(n), grouped(of)),
                  static_cast<double>(n) / static_cast<double>(std::max<uint64_t>(of, 1)));
        return broken_off() == 0;
      });
  line.clear();
  if (!done && broken_off() != 0) return broke();
  if (!done) return fail(done.error());
  fmt::print("Imported:\n");
  tell_done(*done);
  return 0;
}

}  // namespace gema::cli
