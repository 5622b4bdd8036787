#include "services/cli/io/query_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>

#include "common/history/availability.h"
#include "common/history/outages.h"
#include "common/history/reader.h"
#include "common/history/series.h"
#include "common/history/statistics.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/when.h"
#include "services/cli/io/inventory.h"
#include "services/cli/io/output.h"

namespace gema::cli {
namespace {

// What a question needs: who, from when, to when.
struct Asked {
  Session session;
  std::unique_ptr<postgres::Connection> connection;
  Inventory inventory;
  std::vector<const KnownDevice*> devices;
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  std::optional<std::string> location;

  std::vector<DeviceId> ids() const {
    std::vector<DeviceId> out;
    for (const KnownDevice* d : devices) out.push_back(d->id);
    return out;
  }
};

Result<Asked> ask(Session session, const QueryOptions& query) {
  Asked asked{.session = std::move(session)};
  const auto range = range_of(asked.session, query.from, query.to);
  if (!range) return range.error();
  asked.from_ms = range->from_ms;
  asked.to_ms = range->to_ms;
  if (!query.location.empty()) asked.location = query.location;
  auto connection = connect(asked.session);
  if (!connection) return connection.error();
  asked.connection = *std::move(connection);
  auto inventory = Inventory::read(*asked.connection);
  if (!inventory) return inventory.error();
  asked.inventory = *std::move(inventory);
  auto devices = asked.inventory.choose(query.devices);
  if (!devices) return devices.error();
  asked.devices = *std::move(devices);
  return asked;
}

std::string name_of(const Inventory& inventory, DeviceId id) {
  const KnownDevice* d = inventory.find(id);
  return d == nullptr ? fmt::format("device {}", id) : d->shown();
}

std::string address_of(const Inventory& inventory, DeviceId id) {
  const KnownDevice* d = inventory.find(id);
  return d == nullptr ? std::string() : d->address;
}

Look look_of(Verdict verdict) {
  return verdict == Verdict::kFailed        ? Look::kBad
         : verdict == Verdict::kNotMeasured ? Look::kDim
                                            : Look::kPlain;
}

template <class Number>
Cell or_none(bool there, Number value) {
  return there ? Cell(value) : Cell();
}

Cell micros(bool there, double us) {
  return or_none(there, Micros{static_cast<uint64_t>(us + 0.5)});
}

Cell share(uint64_t part, uint64_t of) {
  if (of == 0) return {};
  return Real{100.0 * static_cast<double>(part) / static_cast<double>(of), 2};
}

// --- results ---------------------------------------------------------------------------------

// For people in ms; for programs as in an export, in us with ";" between.
std::string echoes_text(const history::Results& results, const history::Row& row, bool people) {
  std::string out;
  for (const history::Echo& echo : results.echoes_of(row)) {
    if (!out.empty()) out += people ? ' ' : ';';
    if (echo.outcome != EchoOutcome::kReply) {
      out += to_string(echo.outcome);
    } else if (people) {
      out += fmt::format("{:.2f}", static_cast<double>(echo.rtt_us) / 1'000);
    } else {
      out += std::to_string(echo.rtt_us);
    }
  }
  if (people && row.burst_sent > 0) {
    out += fmt::format(" +{}/{}", row.burst_answered, row.burst_sent);
  }
  return out;
}

Row result_row(const KnownDevice& device, const history::Results& results, const history::Row& row,
               bool people) {
  uint64_t answered = row.burst_answered;
  uint32_t least = UINT32_MAX;
  uint32_t most = 0;
  const auto take = [&](const history::Echo& e) {
    least = std::min(least, e.rtt_us);
    most = std::max(most, e.rtt_us);
  };
  for (const history::Echo& e : results.echoes_of(row)) {
    if (e.outcome != EchoOutcome::kReply) continue;
    ++answered;
    take(e);
  }
  for (const history::Echo& e : results.burst_answers_of(row)) take(e);
  const uint64_t sent = uint64_t{row.echo_count} + row.burst_sent;
  const history::Details* details = results.details_of(row);
  return {.cells = {At{row.due_ms}, device.id, device.shown(), device.address,
                    results.location(row), results.producer(row), uint64_t{row.interval_ms},
                    std::string(to_string(row.verdict)), std::string(to_string(row.reason)), sent,
                    answered, or_none(answered > 0, Micros{least}),
                    or_none(answered > 0, Micros{row.rtt_us}), or_none(answered > 0, Micros{most}),
                    echoes_text(results, row, people), uint64_t{row.burst_sent},
                    details == nullptr || details->text.empty() ? Cell() : Cell(details->text)},
          .look = look_of(row.verdict)};
}

// The newest `limit` results, by rising time. Of one location nobody knows how many of a span are:
// further and further back, until there are enough.
Result<history::Results> newest_results(history::Reader& reader, DeviceId device,
                                        const Asked& asked, size_t limit) {
  if (!asked.location) return reader.results(device, asked.from_ms, asked.to_ms, limit);
  constexpr int64_t kFirstSpanMs = 24 * 3'600'000;
  for (int64_t span = kFirstSpanMs;; span *= 4) {
    const bool all = span >= asked.to_ms - asked.from_ms;
    auto results = reader.results(device, all ? asked.from_ms : asked.to_ms - span, asked.to_ms,
                                  std::numeric_limits<size_t>::max());
    if (!results) return results;
    auto& rows = results->rows;
    std::erase_if(
        rows, [&](const history::Row& row) { return results->location(row) != *asked.location; });
    if (rows.size() <= limit && !all) continue;
    results->truncated = rows.size() > limit;
    if (results->truncated) rows.erase(rows.begin(), rows.end() - static_cast<ptrdiff_t>(limit));
    return results;
  }
}

}  // namespace

int results_command(const CommonOptions& common, const QueryOptions& query) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto asked = ask(*std::move(session), query);
  if (!asked) return fail(asked.error());
  const size_t limit = query.limit == 0 ? kRowsDefault : query.limit;
  const bool many = asked->devices.size() > 1;
  Sheet sheet{.columns = {{"at", "time"},
                          {"device_id", many ? "id" : ""},
                          {"name", many ? "device" : ""},
                          {"address", ""},
                          {"location", ""},
                          {"prober", "prober"},
                          {"interval_ms", ""},
                          {"verdict", "verdict"},
                          {"reason", "reason"},
                          {"echoes_sent", "sent"},
                          {"echoes_answered", "answered"},
                          {"rtt_min_us", ""},
                          {"rtt_mean_us", "ms"},
                          {"rtt_max_us", ""},
                          {"echoes", "echoes"},
                          {"burst_sent", ""},
                          {"text", ""}}};
  const bool people = asked->session.paper.format == Format::kTable;
  history::Reader reader(*asked->connection);
  std::vector<history::BrokenRow> broken;
  bool truncated = false;
  for (const KnownDevice* device : asked->devices) {
    const auto results = newest_results(reader, device->id, *asked, limit);
    if (!results) return fail(results.error());
    for (const history::Row& row : results->rows) {
      sheet.rows.push_back(result_row(*device, *results, row, people));
    }
    truncated = truncated || results->truncated;
    for (const history::BrokenRow& row : reader.broken()) {
      // A hot row is many devices'.
      if (std::find(broken.begin(), broken.end(), row) == broken.end()) broken.push_back(row);
    }
  }
  const int code = show(asked->session, sheet, broken);
  if (people && sheet.rows.empty()) {
    fmt::print(stderr, "gema: no results in this range{}\n",
               asked->location ? " from location " + printable(*asked->location) : "");
  }
  if (truncated) {
    fmt::print(stderr,
               "gema: there are more: the newest {} of each device are shown (--limit; all"
               " of them: gema export)\n",
               limit);
  }
  return code;
}

namespace {

// --- series, statistics ----------------------------------------------------------------------

std::vector<Column> rollup_columns() {
  return {{"checks", "checks"},       {"answered", ""},
          {"failed", "failed"},       {"not_measured", "unmeasured"},
          {"echoes_sent", ""},        {"echoes_answered", ""},
          {"loss_percent", "loss %"}, {"rtt_min_us", "min"},
          {"rtt_mean_us", "mean"},    {"rtt_p50_us", "p50"},
          {"rtt_p95_us", "p95"},      {"rtt_p99_us", "p99"},
          {"rtt_max_us", "max ms"},   {"rtt_deviation_us", "dev"},
          {"jitter_us", "jitter"}};
}

void append_rollup(std::vector<Cell>& cells, const Rollup& r) {
  const auto quantile = [&](double q) -> Cell {
    const auto us = history::percentile_us(r, q);
    return us ? Cell(Micros{*us}) : Cell();
  };
  const uint64_t answered = r.answered_echoes();
  const bool any = answered > 0;
  const uint64_t sent = r.sent_echoes();
  const std::vector<Cell> added = {r.checks(),
                                   r.verdicts[0],
                                   r.verdicts[1],
                                   r.verdicts[2],
                                   sent,
                                   answered,
                                   share(sent > answered ? sent - answered : 0, sent),
                                   or_none(any, Micros{r.rtt_min_us}),
                                   micros(any, r.mean_us()),
                                   quantile(0.5),
                                   quantile(0.95),
                                   quantile(0.99),
                                   or_none(any, Micros{r.rtt_max_us}),
                                   micros(any, r.deviation_us()),
                                   micros(r.jitter_count > 0, r.jitter_us())};
  cells.insert(cells.end(), added.begin(), added.end());
}

Look look_of(const Rollup& r) {
  return r.verdicts[1] > 0 ? Look::kBad : r.verdicts[0] == 0 ? Look::kDim : Look::kPlain;
}

}  // namespace

int series_command(const CommonOptions& common, const QueryOptions& query) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto asked = ask(*std::move(session), query);
  if (!asked) return fail(asked.error());
  const bool table = asked->session.paper.format == Format::kTable;
  const size_t points = query.points > 0 ? query.points : table ? 48 : history::kPointsDefault;
  const auto series = history::read_series(*asked->connection, {.devices = asked->ids(),
                                                                .from_ms = asked->from_ms,
                                                                .to_ms = asked->to_ms,
                                                                .points_max = points,
                                                                .location = asked->location});
  if (!series) return fail(series.error());
  Sheet sheet{.columns = {{"from", "from"},
                          {"to", ""},
                          {"location", series->locations.size() > 1 ? "location" : ""}}};
  const auto more = rollup_columns();
  sheet.columns.insert(sheet.columns.end(), more.begin(), more.end());
  for (const auto& location : series->locations) {
    for (const auto& point : location.points) {
      Row row{.cells = {At{point.from_ms}, At{point.to_ms}, location.location},
              .look = look_of(point.rollup)};
      append_rollup(row.cells, point.rollup);
      sheet.rows.push_back(std::move(row));
    }
  }
  return show(asked->session, sheet, series->broken);
}

int statistics_command(const CommonOptions& common, const QueryOptions& query) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto asked = ask(*std::move(session), query);
  if (!asked) return fail(asked.error());
  const auto statistics =
      history::read_statistics(*asked->connection, {.devices = asked->ids(),
                                                    .from_ms = asked->from_ms,
                                                    .to_ms = asked->to_ms,
                                                    .location = asked->location});
  if (!statistics) return fail(statistics.error());
  Sheet sheet{.columns = {{"device_id", "id"}, {"name", "device"}, {"address", ""}}};
  const auto more = rollup_columns();
  sheet.columns.insert(sheet.columns.end(), more.begin(), more.end());
  const auto add = [&](Cell id, const std::string& name, const std::string& address,
                       const Rollup& rollup) {
    Row row{.cells = {std::move(id), name, address}, .look = look_of(rollup)};
    append_rollup(row.cells, rollup);
    sheet.rows.push_back(std::move(row));
  };
  for (const auto& one : statistics->devices) {
    add(one.device, name_of(asked->inventory, one.device), address_of(asked->inventory, one.device),
        one.rollup);
  }
  if (statistics->devices.size() > 1 && asked->session.paper.format == Format::kTable) {
    add(Cell(), "all", "", statistics->total);
  }
  return show(asked->session, sheet, statistics->broken);
}

// --- outages, availability -------------------------------------------------------------------

int outages_command(const CommonOptions& common, const QueryOptions& query) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto asked = ask(*std::move(session), query);
  if (!asked) return fail(asked.error());
  const auto outages =
      history::read_outages(*asked->connection, {.devices = asked->ids(),
                                                 .from_ms = asked->from_ms,
                                                 .to_ms = asked->to_ms,
                                                 .active_only = query.active,
                                                 .limit = query.limit == 0 ? 50 : query.limit,
                                                 .now_ms = unix_ms(asked->session.now.wall)});
  if (!outages) return fail(outages.error());
  Sheet sheet{.columns = {{"start", "start"},
                          {"end", "end"},
                          {"duration_ms", "for"},
                          {"device_id", "id"},
                          {"name", "device"},
                          {"address", ""},
                          {"ended_by", "ended by"},
                          {"reason", "reason"},
                          {"failures_to_confirm", ""},
                          {"checks", "checks"},
                          {"failed_checks", "failed"},
                          {"recovery_percent", ""},
                          {"location", ""},
                          {"prober", "prober"}}};
  for (const history::Outage& o : outages->rows) {
    sheet.rows.push_back(
        {.cells = {At{o.start_ms}, o.end_ms ? Cell(At{*o.end_ms}) : Cell(),
                   Span{static_cast<uint64_t>(o.duration_ms)}, o.device,
                   name_of(asked->inventory, o.device), address_of(asked->inventory, o.device),
                   std::string(to_string(o.end)), std::string(to_string(o.reason)),
                   uint64_t{o.failures_to_confirm}, o.checks ? Cell(*o.checks) : Cell(),
                   o.failed_checks ? Cell(*o.failed_checks) : Cell(),
                   o.recovery_percent ? Cell(Real{*o.recovery_percent, 1}) : Cell(), o.location,
                   o.prober},
         .look = o.end == history::OutageEnd::kStill ? Look::kBad : Look::kPlain});
  }
  const int code = show(asked->session, sheet, outages->broken);
  if (outages->truncated) {
    fmt::print(stderr, "gema: there are more: the newest {} are shown (--limit)\n",
               outages->rows.size());
  }
  return code;
}

namespace {

// Where the local hour, day, week or month that holds `ms` begins, and the next one.
Result<std::vector<int64_t>> bounds_of(const Asked& asked, const std::string& per) {
  using namespace std::chrono;  // NOLINT: calendar types
  std::vector<int64_t> out = {asked.from_ms};
  if (per.empty()) {
    out.push_back(asked.to_ms);
    return out;
  }
  constexpr int64_t kHourUs = 3'600'000'000;
  constexpr int64_t kDayUs = 24 * kHourUs;
  const UtcOffset& offset = asked.session.offset;
  int64_t local_us = asked.from_ms * 1'000 + offset(asked.from_ms / 1'000) * 1'000'000;
  while (out.back() < asked.to_ms) {
    int64_t next_us = 0;
    if (per == "hour") {
      next_us = local_us - local_us % kHourUs + kHourUs;
    } else {
      const sys_days day{days{local_us / kDayUs}};
      sys_days next = day + days{1};
      if (per == "week") next = day + days{7 - (weekday{day}.iso_encoding() - 1)};
      if (per == "month") {
        const year_month_day date{day};
        next = sys_days{(date.year() / date.month() + months{1}) / std::chrono::day{1}};
      }
      next_us = next.time_since_epoch().count() * kDayUs;
    }
    local_us = next_us;
    const int64_t next_ms = utc_of_local(next_us, offset).utc_us / 1'000;
    if (next_ms <= out.back()) continue;
    out.push_back(std::min(next_ms, asked.to_ms));
    if (out.size() > history::kBoundsMax) {
      return Error{Errc::kBadInput, fmt::format("--per {}: more than {} periods; take longer ones"
                                                " or a shorter range",
                                                per, history::kBoundsMax - 1)};
    }
  }
  return out;
}

}  // namespace

int availability_command(const CommonOptions& common, const QueryOptions& query) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto asked = ask(*std::move(session), query);
  if (!asked) return fail(asked.error());
  auto bounds = bounds_of(*asked, query.per);
  if (!bounds) return fail(bounds.error());
  const auto availability =
      history::read_availability(*asked->connection, {.devices = asked->ids(),
                                                      .bounds = *std::move(bounds),
                                                      .location = asked->location,
                                                      .now_ms = unix_ms(asked->session.now.wall)});
  if (!availability) return fail(availability.error());
  Sheet sheet{.columns = {{"device_id", "id"},
                          {"name", "device"},
                          {"address", ""},
                          {"from", "from"},
                          {"to", "to"},
                          {"up_percent", "up %"},
                          {"up_ms", "up"},
                          {"down_ms", "down"},
                          {"not_measured_ms", "not measured"},
                          {"answered", ""},
                          {"failed", ""},
                          {"not_measured", ""},
                          {"outages", "outages"},
                          {"outage_ms", "outage time"}}};
  for (const auto& device : availability->devices) {
    for (const auto& p : device.periods) {
      const auto percent = p.up_percent();
      sheet.rows.push_back(
          {.cells = {device.device, name_of(asked->inventory, device.device),
                     address_of(asked->inventory, device.device), At{p.from_ms}, At{p.to_ms},
                     percent ? Cell(Real{*percent, 3}) : Cell(), Span{p.up_ms}, Span{p.down_ms},
                     Span{p.not_measured_ms}, p.answered, p.failed, p.not_measured, p.outages,
                     Span{p.outage_ms}},
           .look = p.down_ms > 0 ? Look::kBad
                   : percent     ? Look::kPlain
                                 : Look::kDim});
    }
  }
  return show(asked->session, sheet, availability->broken);
}

// --- cleanup ---------------------------------------------------------------------------------

int cleanup_command(const CommonOptions& common, const CleanupOptions& options) {
  auto session = begin_session(common, "");
  if (!session) return kUsage;
  auto connection = connect(*session);
  if (!connection) return fail(connection.error());
  struct Went {
    uint64_t leaves = 0;
    uint64_t bytes = 0;
  };
  std::map<std::string, Went> tables;
  ProgressLine line(stderr_is_terminal());
  for (bool more = true; more;) {
    // Whoever waits behind us for a table waits for the reader before us, too.
    auto dropped = (*connection)->transact([&](postgres::Transaction& tx) {
      tx.exec("SET LOCAL lock_timeout = '5s'");
      uint64_t leaves = 0;
      // The function names at most 50 leaves of a table a call; what would go is all of them.
      const std::string statement =
          options.dry_run ? "SELECT t, pg_total_relation_size(l.leaf::regclass)::bigint FROM"
                            " unnest(ARRAY['ping_chunks', 'ping_packed', 'ping_rollup_minutes']) t"
                            " CROSS JOIN LATERAL history_leaves(t) l WHERE l.to_ms <="
                            " floor(extract(epoch FROM now()) / 86400 - $1)::bigint * 86400000"
                          : "SELECT from_table, bytes FROM history_cleanup($1)";
      for (const auto& row : tx.exec(statement, static_cast<int>(options.older_than_days))) {
        Went& went = tables[row[0].as<std::string>()];
        ++went.leaves;
        went.bytes += row[1].as<uint64_t>();
        ++leaves;
      }
      return leaves;
    });
    if (!dropped) return fail(dropped.error());
    line.show(fmt::format("{} leaves dropped", *dropped), 0);
    more = *dropped > 0 && !options.dry_run;
  }
  line.clear();
  Sheet sheet{.columns = {{"table", "table"}, {"leaves", "leaves"}, {"bytes", "bytes"}}};
  for (const auto& [table, went] : tables)
    sheet.rows.push_back({{table, went.leaves, went.bytes}, {}});
  const int code = show(*session, sheet);
  if (session->paper.format == Format::kTable) {
    fmt::print(
        "{} results and minute rollups of days that ended more than {} days ago; rollups of"
        " hours stay.\n",
        tables.empty()    ? "There are no"
        : options.dry_run ? "Would drop"
                          : "Dropped",
        options.older_than_days);
  }
  return code;
}

}  // namespace gema::cli
