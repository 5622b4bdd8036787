#include "tests/bench/history_reads/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "common/base/rfc3339.h"
#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/postgres/connection.h"
#include "tests/bench/history_reads/report.h"

namespace gema::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// The least that so large a share of the values does not exceed.
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::max<size_t>(rank, 1) - 1];
}

int times(int normally) {
  return is_quick() ? std::max(3, normally / 5) : normally;
}

std::string span_of(int64_t from_ms, int64_t to_ms) {
  return "from=" + format_rfc3339(wall_from_ms(from_ms)) +
         "&to=" + format_rfc3339(wall_from_ms(to_ms));
}

}  // namespace

bool is_quick() {
  const char* quick = std::getenv("GEMA_BENCH_QUICK");
  return quick != nullptr && *quick != 0;
}

void vacuum(Database& database) {
  auto connection = must(postgres::Connection::open(database.options()));
  const auto tables = must(connection->transact([](postgres::Transaction& tx) {
    // The two are left alone: their leaves are dropped whole.
    return tx.exec(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND relname NOT IN ('ping_hot', 'ping_chunks')");
  }));
  RowClient client(database.options().conninfo);
  for (const auto& table : tables) {
    client.exec("VACUUM (ANALYZE) " + table[0].as<std::string>());
  }
  client.exec("CHECKPOINT");
}

Measurement::Measurement(const Places& places, Database& database, const Samples& samples,
                         const Plan& plan)
    : places_(places), database_(database), samples_(samples), plan_(plan) {}

bool Measurement::run() {
  sizes();
  database_.warm_caches();
  same_answers();
  note("starting the gateway with 100,000 devices");
  site_ = std::make_unique<Site>(SiteOptions{.source = places_.source,
                                             .binary = places_.gateway,
                                             .postgres_socket_dir = database_.socket_dir()});
  http_ = std::make_unique<HttpClient>(site_->url(), site_->token());
  part("a day of a device, caches warm", &Measurement::device_day_warm);
  part("90 days of a device", &Measurement::chart);
  part("statistics of all devices", &Measurement::statistics);
  part("status", &Measurement::status);
  part("quantiles", &Measurement::quantiles);
  part("a day of a device, caches dropped", &Measurement::device_day_cold);
  return good_;
}

void Measurement::part(const std::string& name, void (Measurement::*work)()) {
  const char* only = std::getenv("GEMA_BENCH_READS");
  if (only != nullptr && name.find(only) == std::string::npos) return;
  note("-- " + name);
  try {
    (this->*work)();
  } catch (const std::exception& e) {
    note(std::string("failed: ") + e.what());
    good_ = false;
  }
}

double Measurement::timed_get(const std::string& target) {
  const HttpClient::Answer answer = http_->get(target);
  if (answer.status != 200) {
    throw std::runtime_error(
        fmt::format("GET {}: {} {}", target, answer.status, answer.body.substr(0, 300)));
  }
  return answer.ms;
}

std::string Measurement::results_target(DeviceId device) const {
  return fmt::format("/api/v1/devices/{}/results?format=columns&limit=100000&{}", device,
                     span_of(plan_.begin_ms(), plan_.end_ms));
}

// --- what is there -------------------------------------------------------------------------------

void Measurement::sizes() {
  auto connection = must(postgres::Connection::open(database_.options()));
  must(connection->transact([](postgres::Transaction& tx) {
    for (const auto& row :
         tx.exec("SELECT r.relname, pg_total_relation_size(r.oid) + (SELECT"
                 "  coalesce(sum(pg_total_relation_size(relid)), 0)::bigint"
                 "  FROM pg_partition_tree(r.oid) WHERE isleaf AND relid <> r.oid)"
                 " FROM pg_class r WHERE relnamespace = 'public'::regnamespace"
                 " AND relkind IN ('r', 'p') AND NOT relispartition AND relname LIKE 'ping_%'"
                 " ORDER BY 2 DESC LIMIT 7")) {
      note(fmt::format("  {}: {:.1f} MiB", row[0].as<std::string>(),
                       static_cast<double>(row[1].as<int64_t>()) / (1 << 20)));
    }
  }));
}

// Whatever is quick is worth nothing unless it is right.
void Measurement::same_answers() {
  auto connection = must(postgres::Connection::open(database_.options()));
  history::Reader reader(*connection);
  RowClient rows(database_.options().conninfo);
  choose_row_plan(rows);
  Columns columns;
  std::vector<double> library;
  for (int i = 0; i < times(40); ++i) {
    const DeviceId device = any_device();
    rows.read(device, plan_.begin_ms(), plan_.end_ms, columns);
    const auto begin = Clock::now();
    const auto results = must(reader.results(device, plan_.begin_ms(), plan_.end_ms));
    library.push_back(ms_since(begin));
    bool same = results.rows.size() == columns.at_ms.size() && !columns.at_ms.empty();
    for (size_t k = 0; same && k < columns.at_ms.size(); ++k) {
      const history::Row& row = results.rows[k];
      const int32_t rtt = row.verdict == Verdict::kAnswered ? static_cast<int32_t>(row.rtt_us) : -1;
      same = row.due_ms == columns.at_ms[k] && rtt == columns.rtt_us[k] &&
             static_cast<int16_t>(row.verdict) == columns.verdict[k] &&
             static_cast<int16_t>(row.reason) == columns.reason[k];
    }
    if (!same) {
      note(fmt::format("history and rows differ for device {}: {} and {} results", device,
                       results.rows.size(), columns.at_ms.size()));
      good_ = false;
    }
  }
  say("device_24h_library_p50_ms", quantile(library, 0.5));
}

void Measurement::choose_row_plan(RowClient& rows) {
  Columns columns;
  std::map<bool, std::vector<double>> took;
  for (int i = 0; i < times(20); ++i) {
    for (const bool by_index : {false, true}) {
      rows.exec(by_index ? "SET enable_bitmapscan = off" : "SET enable_bitmapscan = on");
      const DeviceId device = any_device();
      const auto begin = Clock::now();
      rows.read(device, plan_.begin_ms(), plan_.end_ms, columns);
      took[by_index].push_back(ms_since(begin));
    }
  }
  const double planned = quantile(took[false], 0.5);
  const double by_index = quantile(took[true], 0.5);
  rows_by_index_ = by_index < planned;
  note(fmt::format("  rows: {:.1f} ms as planned, {:.1f} ms by index scan", planned, by_index));
}

// --- a day of a device ---------------------------------------------------------------------------

void Measurement::device_day_warm() {
  RowClient rows(database_.options().conninfo);
  rows.exec(rows_by_index_ ? "SET enable_bitmapscan = off" : "SET enable_bitmapscan = on");
  Columns columns;
  std::vector<double> ours;
  std::vector<double> theirs;
  // In turns of 40: one query of the row table goes through as many pages as PostgreSQL has
  // buffers, so that request after request each would find what the other left.
  constexpr int kTurn = 40;
  constexpr int kUntimed = 5;
  for (int turn = 0; turn < times(10); ++turn) {
    for (int i = 0; i < kTurn; ++i) {
      const double ms = timed_get(results_target(any_device()));
      if (i >= kUntimed) ours.push_back(ms);
    }
    for (int i = 0; i < kTurn / 2; ++i) {
      const DeviceId device = any_device();
      const auto begin = Clock::now();
      rows.read(device, plan_.begin_ms(), plan_.end_ms, columns);
      if (i >= kUntimed) theirs.push_back(ms_since(begin));
    }
  }
  say("device_24h_p50_ms", quantile(ours, 0.5), quantile(theirs, 0.5));
  say("device_24h_p95_ms", quantile(ours, 0.95), quantile(theirs, 0.95));
  say("device_24h_vs_rows", quantile(theirs, 0.5) / quantile(ours, 0.5));
  say("device_24h_vs_rows_p95", quantile(theirs, 0.95) / quantile(ours, 0.95));
}

void Measurement::device_day_cold() {
  std::vector<double> ours;
  std::vector<double> theirs;
  std::vector<double> charts;
  std::vector<double> all;
  Columns columns;
  const int64_t minute_ms = 60'000;
  for (int i = 0; i < times(20); ++i) {
    database_.drop_caches();
    // Connections, and what their sessions remember of tables, are there; of the data is nothing
    // but what a minute of another device needs.
    RowClient rows(database_.options().conninfo);
    rows.exec(rows_by_index_ ? "SET enable_bitmapscan = off" : "SET enable_bitmapscan = on");
    const DeviceId other = any_device();
    rows.read(other, plan_.begin_ms(), plan_.begin_ms() + minute_ms, columns);
    timed_get(results_target(other));
    const DeviceId device = any_device();
    if (device == other) continue;
    const auto read_rows = [&] {
      const auto begin = Clock::now();
      rows.read(device, plan_.begin_ms(), plan_.end_ms, columns);
      theirs.push_back(ms_since(begin));
    };
    if (i % 2 == 0) read_rows();
    ours.push_back(timed_get(results_target(device)));
    if (i % 2 == 1) read_rows();
    charts.push_back(timed_get(chart_target()));
    all.push_back(timed_get(statistics_target()));
  }
  say("device_24h_cold_p50_ms", quantile(ours, 0.5), quantile(theirs, 0.5));
  say("device_24h_cold_p95_ms", quantile(ours, 0.95), quantile(theirs, 0.95));
  say("device_24h_cold_vs_rows", quantile(theirs, 0.5) / quantile(ours, 0.5));
  say("device_24h_cold_vs_rows_p95", quantile(theirs, 0.95) / quantile(ours, 0.95));
  say("chart_90d_cold_ms", quantile(charts, 0.5));
  say("statistics_all_24h_cold_ms", quantile(all, 0.5));
}

// --- charts, statistics, status ------------------------------------------------------------------

std::string Measurement::chart_target() {
  const std::vector<DeviceId> ids = plan_.long_ids();
  return fmt::format("/api/v1/devices/{}/series?points=1000&{}", ids[random_.below(ids.size())],
                     span_of(plan_.end_ms - plan_.long_days * kDayMs, plan_.end_ms));
}

void Measurement::chart() {
  std::vector<double> took;
  for (int i = -5; i < times(200); ++i) {
    const double ms = timed_get(chart_target());
    if (i >= 0) took.push_back(ms);
  }
  say("chart_90d_p50_ms", quantile(took, 0.5));
  say("chart_90d_p95_ms", quantile(took, 0.95));
}

// Never the same window twice: the gateway remembers answers for some seconds.
std::string Measurement::statistics_target() {
  const int64_t earlier_ms = ++windows_ * kIntervalMs;
  return "/api/v1/statistics?" + span_of(plan_.begin_ms() - earlier_ms, plan_.end_ms - earlier_ms);
}

void Measurement::statistics() {
  std::vector<double> took;
  for (int i = -1; i < times(20); ++i) {
    const double ms = timed_get(statistics_target());
    if (i >= 0) took.push_back(ms);
  }
  say("statistics_all_24h_ms", quantile(took, 0.5));
  say("statistics_all_24h_p95_ms", quantile(took, 0.95));
}

void Measurement::status() {
  const std::string body = http_->get("/api/v1/status").body;
  if (body.find("\"devices\":100000,") == std::string::npos) {
    throw std::runtime_error("the status is not one of 100,000 devices: " + body.substr(0, 300));
  }
  std::vector<double> took;
  for (int i = -3; i < times(100); ++i) {
    const double ms = timed_get("/api/v1/status");
    if (i >= 0) took.push_back(ms);
  }
  say("status_100k_p50_ms", quantile(took, 0.5));
  say("status_100k_ms", quantile(took, 0.95));
}

// --- quantiles -----------------------------------------------------------------------------------

// Against the samples themselves, which nothing of Gema has touched.
void Measurement::quantiles() {
  auto connection = must(postgres::Connection::open(database_.options()));
  double worst = 0;
  for (int i = 0; i < times(40); ++i) {
    history::StatisticsQuery query{.per_device = false};
    const size_t group = i == 0 ? plan_.devices : 1 + random_.below(random_.below(200) + 1);
    while (query.devices.size() < group) {
      query.devices.push_back(i == 0 ? query.devices.size() + 1 : any_device());
    }
    std::sort(query.devices.begin(), query.devices.end());
    query.devices.erase(std::unique(query.devices.begin(), query.devices.end()),
                        query.devices.end());
    // Whole hours, and windows that begin and end anywhere.
    const int64_t unit = i % 2 == 0 ? kHourMs : 1;
    const int64_t from = plan_.day_begin_ms() + static_cast<int64_t>(random_.below(23)) * kHourMs;
    query.from_ms = from + static_cast<int64_t>(random_.below(kHourMs)) / unit * unit;
    const int64_t left = plan_.end_ms - query.from_ms;
    query.to_ms = query.from_ms +
                  std::max<int64_t>(
                      left / 100, static_cast<int64_t>(random_.below(static_cast<uint64_t>(left))) /
                                      unit * unit);
    const auto found = must(history::read_statistics(*connection, query));
    worst = std::max(worst, worst_error(query, found.total));
  }
  say("quantile_error_max", worst, kQuantileError);
}

double Measurement::worst_error(const history::StatisticsQuery& query, const Rollup& found) {
  constexpr size_t kLongestUs = 2'000'000;
  std::vector<uint32_t> counts(kLongestUs);
  uint64_t answered = 0;
  for (const DeviceId device : query.devices) {
    for (int64_t due = slot_after(device, kIntervalMs, query.from_ms - 1); due < query.to_ms;
         due += kIntervalMs) {
      const Sample sample = samples_.at(device, due);
      if (sample.verdict != Verdict::kAnswered) continue;
      ++counts[std::min<size_t>(sample.rtt_us, kLongestUs - 1)];
      ++answered;
    }
  }
  if (found.answered_echoes() != answered) {
    throw std::runtime_error(
        fmt::format("statistics count {} answers of {}", found.answered_echoes(), answered));
  }
  if (answered == 0) return 0;
  double worst = 0;
  uint64_t below = 0;
  size_t us = 0;
  for (const double q : {0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999}) {
    const auto rank = static_cast<uint64_t>(std::ceil(q * static_cast<double>(answered)));
    while (below + counts[us] < rank) below += counts[us++];
    const auto exact = static_cast<double>(us);
    const double estimate = *history::percentile_us(found, q);
    worst = std::max(worst, std::abs(estimate - exact) / exact);
  }
  return worst;
}

}  // namespace gema::bench
