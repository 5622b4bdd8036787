// What reading history costs, beside a row table that holds the same 100 million samples. See the
// head of tests/bench/history.
//   history_reads SOURCE_DIR GATEWAY DIR     DIR: where the database is made, or found as an
//                                            earlier run left it
// Environment: GEMA_BENCH_QUICK.
#include <chrono>
#include <iostream>
#include <optional>
#include <thread>

#include "common/postgres/migrate.h"
#include "common/runtime/clock.h"
#include "tests/bench/history_reads/database.h"
#include "tests/bench/history_reads/dataset.h"
#include "tests/bench/history_reads/measure.h"
#include "tests/bench/history_reads/report.h"

namespace gema::bench {
namespace {

// What the database was filled with, when it was kept from an earlier run.
std::optional<Plan> kept_plan(Database& database) {
  auto connection = must(postgres::Connection::open(database.options()));
  return must(connection->transact([](postgres::Transaction& tx) -> std::optional<Plan> {
    if (tx.exec("SELECT to_regclass('bench_plan') IS NULL")[0][0].as<bool>()) return {};
    const auto row =
        tx.exec("SELECT devices, long_devices, long_days, end_ms, rows_ms FROM bench_plan")[0];
    return Plan{.devices = row[0].as<uint32_t>(),
                .long_devices = row[1].as<uint32_t>(),
                .long_days = row[2].as<int>(),
                .end_ms = row[3].as<int64_t>(),
                .rows_ms = row[4].as<int64_t>()};
  }));
}

Plan new_plan() {
  Plan plan;
  if (is_quick()) {
    plan.devices = 116;
    plan.long_devices = 4;
    plan.long_days = 20;
  }
  // Up to 70 minutes are in short chunks; so that every run has as many, and no fewer than usual,
  // the newest minute is the last one that was the 40th of an hour.
  constexpr int64_t kHourMs = 3'600'000;
  constexpr int64_t kMinuteOfHourMs = 40 * 60'000;
  const int64_t now_ms = unix_ms(runtime::read_clock().wall);
  plan.end_ms = (now_ms - kMinuteOfHourMs) / kHourMs * kHourMs + kMinuteOfHourMs;
  return plan;
}

void migrate(Database& database) {
  auto connection = must(postgres::Connection::open(database.options()));
  must(postgres::migrate(*connection));
}

void fill(Database& database, const Samples& samples, const Plan& plan) {
  database.restart_for_filling();
  migrate(database);
  const auto begin = std::chrono::steady_clock::now();
  uint64_t rows = 0;
  std::thread filler([&] { rows = fill_rows(database.options(), samples, plan); });
  History history(database.options(), samples, plan);
  const uint64_t recorded = history.fill();
  filler.join();
  note("vacuum, as autovacuum will have done");
  vacuum(database);
  auto connection = must(postgres::Connection::open(database.options()));
  must(connection->transact([&](postgres::Transaction& tx) {
    tx.exec(
        "CREATE TABLE bench_plan AS SELECT $1::integer AS devices, $2::integer AS long_devices,"
        " $3::integer AS long_days, $4::bigint AS end_ms, $5::bigint AS rows_ms",
        plan.devices, plan.long_devices, plan.long_days, plan.end_ms, plan.rows_ms);
  }));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  note(fmt::format("{} samples in history, {} rows, in {:.0f} s", recorded, rows, took.count()));
}

int run(int argc, char** argv) {
  if (argc < 4) fail("usage: history_reads SOURCE_DIR GATEWAY DIR");
  Database database(argv[3]);
  const auto have = kept_plan(database);
  const Plan plan = have ? *have : new_plan();
  const Samples samples(plan.devices);
  if (!have) fill(database, samples, plan);
  database.restart_as_deployed(argv[1]);
  if (have) migrate(database);  // it may be from before the newest migration
  Measurement measurement({.source = argv[1], .gateway = argv[2]}, database, samples, plan);
  return measurement.run() ? 0 : 1;
}

}  // namespace
}  // namespace gema::bench

int main(int argc, char** argv) {
  return gema::bench::run(argc, argv);
}
