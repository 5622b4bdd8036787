// What reads cost in the library (common/history), without gateway and JSON: milliseconds, over a
// day of N devices checked each 5 s and 90 days of one, that ends at minute 40 of an hour: the last
// minute in hot rows, 39 in short chunks, the rest packed. One hour of each device is recorded as
// the recorder does it; the hours before are copies of it. Prints one JSON object a line.
//   reads_bench [devices] [only metrics that begin so]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/history/availability.h"
#include "common/history/core/cuts.h"
#include "common/history/reader.h"
#include "common/history/series.h"
#include "common/history/statistics.h"
#include "common/postgres/migrate.h"
#include "services/recorder/bench/measure.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/store.h"
#include "tests/support/ping_results.h"
#include "tests/support/postgres_server.h"

namespace {

using namespace gema;
using history::kDayMs;
using history::kHourMs;
using recorder::bench::must;

constexpr uint32_t kIntervalMs = 5'000;
constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kNow = 1'800'057'600'000 + 15 * kHourMs + 40 * kMinuteMs;
constexpr Duration kForever = std::chrono::hours(24 * 36'500);

class Bench {
 public:
  Bench(DeviceId devices, std::string only) : devices_(devices), only_(std::move(only)) {
    options_.statement_timeout = std::chrono::hours(1);
    connection_ = must(postgres::Connection::open(options_));
    must(postgres::migrate(*connection_));
    recorder::Store store(options_);
    known_ = must(store.load("ping"));
    const int64_t hour_ms = history::floor_to(kNow, kHourMs) - kHourMs;
    commit(store, hour_ms, hour_ms + kHourMs, kMinuteMs);
    chunk(store, hour_ms + kHourMs);
    compact();
    copies(hour_ms);
    compact();
    for (int64_t at = hour_ms + kHourMs; at < kNow - kMinuteMs; at += kMinuteMs) {
      commit(store, at, at + kMinuteMs, kMinuteMs);
      chunk(store, at + kMinuteMs);
    }
    for (int64_t at = kNow - kMinuteMs; at < kNow; at += 500) commit(store, at, at + 500, 500);
    sql("ANALYZE");
  }

  void run() {
    if (std::getenv("READS_BENCH_WAIT") != nullptr) {
      std::cerr << options_.conninfo << "\n";
      std::cin.get();
    }
    const DeviceId one = devices_ / 2;
    time("results_24h", 500, [&] {
      history::Reader reader(*connection_);
      return must(reader.results(one, kNow - kDayMs, kNow)).rows.size();
    });
    for (const int64_t days : {1, 7, 30, 90}) {
      time(fmt::format("series_{}d", days), 20, [&] {
        return must(history::read_series(
                        *connection_,
                        {.devices = {1}, .from_ms = kNow - days * kDayMs, .to_ms = kNow}))
            .locations.at(0)
            .points.size();
      });
    }
    time("availability_90d", 20, [&] {
      std::vector<int64_t> bounds;
      for (int day = 0; day <= 90; ++day) {
        bounds.push_back(history::floor_to(kNow, kDayMs) + (day - 89) * kDayMs);
      }
      return must(history::read_availability(*connection_,
                                             {.devices = {1}, .bounds = bounds, .now_ms = kNow}))
          .devices.size();
    });
    auto statistics = [&](bool whole_hours, int64_t to_ms) {
      return must(history::read_statistics(
                      *connection_,
                      {.from_ms = kNow - kDayMs, .to_ms = to_ms, .whole_hours = whole_hours}))
          .devices.size();
    };
    const int64_t hour_ms = history::floor_to(kNow, kHourMs);
    time("statistics_all_closed_hours", 5, [&] { return statistics(true, hour_ms); });
    time("statistics_all_24h_whole_hours", 5, [&] { return statistics(true, kNow); });
    time("statistics_all_24h", 5, [&] { return statistics(false, kNow); });
  }

 private:
  void sql(const std::string& statement) {
    must(connection_->transact([&](postgres::Transaction& tx) { tx.exec(statement); }));
  }

  void commit(recorder::Store& store, int64_t from_ms, int64_t to_ms, int64_t record_ms) {
    recorder::Batch batch{.stream = "ping",
                          .token = ++token_,
                          .before = known_.positions,
                          .after = known_.positions,
                          .tokens = known_.tokens};
    for (int64_t at = from_ms; at < to_ms; at += record_ms) {
      std::array<PingResults, kPartitions> records;
      for (DeviceId d = 1; d <= devices_; ++d) {
        PingResults& r = records[partition_of(d)];
        r.location = "default";
        for (int64_t due = slot_after(d, kIntervalMs, at - 1); due < at + record_ms;
             due += kIntervalMs) {
          const bool lost = random_.chance(5);
          testing::append(
              r, {.device = d,
                  .interval_ms = kIntervalMs,
                  .due_ms = due,
                  .verdict = lost ? Verdict::kFailed : Verdict::kAnswered,
                  .rtt_us = lost ? 0
                                 : static_cast<uint32_t>(1'000 + d % 100 * 300 +
                                                         random_.below(300) + random_.below(300))});
        }
      }
      for (uint32_t p = 0; p < kPartitions; ++p) {
        if (records[p].empty()) continue;
        recorder::RecordRow row{.key = {"prober-1", 1, p, ++seq_[p]},
                                .produced_at_us = at * 1000,
                                .results = static_cast<uint32_t>(records[p].size())};
        encode_ping(records[p], row.payload);
        batch.after.set({"prober-1", 1, p},
                        {.cumulative = seq_[p], .highest = seq_[p], .order = 1});
        batch.records.push_back(std::move(row));
      }
    }
    if (batch.records.empty()) return;
    const auto done = must(store.commit(batch));
    known_.positions = batch.after;
    known_.tokens = done.tokens;
  }

  void chunk(recorder::Store& store, int64_t now_ms) {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      while (must(store.chunk(p, wall_from_ms(now_ms), kForever)).more) {
      }
    }
  }

  void compact() {
    recorder::CompactOptions options{.postgres = options_};
    options.raw_retention = options.minutes_retention = options.hours_retention = kForever;
    recorder::CompactStore store(options);
    while (must(store.step(wall_from_ms(kNow))).more) {
    }
    must(store.housekeep(wall_from_ms(kNow + kHourMs)));
  }

  // Of the packed hour: 25 hours back of all devices, 90 days of device 1.
  void copies(int64_t hour_ms) {
    sql(fmt::format(
        "SET LOCAL statement_timeout = 0;"
        " SELECT history_make_leaf_at(t, {0}::bigint - d * 86400000::bigint)"
        " FROM generate_series(0, 91) d, unnest(ARRAY['ping_packed', 'ping_rollup_minutes',"
        " 'ping_rollup_recent', 'ping_rollup_hours']) t",
        hour_ms));
    const std::string back = fmt::format(
        "generate_series(1, 24 * 91) AS b (h) WHERE start_ms >= {0} AND (h <= 25 OR device_id = 1)",
        hour_ms);
    auto hours_back = [&](std::string text) {
      for (size_t at; (at = text.find("start_ms")) != std::string::npos;) {
        text.replace(at, 8, "hour_ms");
      }
      return text;
    };
    // In the order of time, as they were written.
    sql("INSERT INTO ping_packed SELECT device_id, start_ms - h * 3600000::bigint, part, step_ms,"
        " location_id, producer_id, results, clock_steps, packed, details FROM ping_packed, " +
        back + " ORDER BY h DESC, device_id");
    sql("INSERT INTO ping_rollup_minutes SELECT device_id, hour_ms - h * 3600000::bigint,"
        " location_id, rollups FROM ping_rollup_minutes, " +
        hours_back(back) + " ORDER BY h DESC, device_id");
    sql("INSERT INTO ping_rollup_recent SELECT hour_ms - h * 3600000::bigint, device_id,"
        " location_id, rollup FROM ping_rollup_recent, " +
        hours_back(back) + " ORDER BY h DESC, device_id");
  }

  void time(const std::string& what, int runs, const std::function<size_t()>& work) {
    if (!what.starts_with(only_)) return;
    std::vector<double> ms;
    size_t things = 0;
    for (int i = 0; i < runs; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      things = work();
      ms.push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
              .count());
    }
    std::sort(ms.begin(), ms.end());
    std::cout
        << fmt::format(
               R"({{"bench":"reads","metric":"{}_ms","value":{:.3f},"p95":{:.3f},"things":{}}})",
               what, ms[ms.size() / 2], ms[ms.size() * 95 / 100], things)
        << "\n"
        << std::flush;
  }

  testing::PostgresServer server_;
  postgres::Options options_{.conninfo = server_.conninfo()};
  std::unique_ptr<postgres::Connection> connection_;
  DeviceId devices_;
  std::string only_;
  recorder::Loaded known_;
  std::array<uint64_t, kPartitions> seq_{};
  int64_t token_ = 0;
  Random random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  Bench bench(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2'000, argc > 2 ? argv[2] : "");
  bench.run();
}
