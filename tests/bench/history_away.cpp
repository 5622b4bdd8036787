// PostgreSQL away for an hour: what 10,000 devices give at 1 s meanwhile goes into the spool
// (faster than real time, in the prober's sizes of records); then PostgreSQL is back and live
// results go on at their pace. How many times faster than real time is the hour caught up with, and
// is every slot there once?
//   history_away [DEVICES [MINUTES [SEED]]]    GEMA_BENCH_QUICK=1: six minutes
// Prints one JSON object a line. Fails when anything is lost, doubled or wrong.
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "common/runtime/clock.h"
#include "tests/integration/history_site.h"
#include "tests/support/wait_until.h"

namespace {

using namespace gema;
using namespace gema::testing;

// Guess: a hang, not a slow machine.
constexpr auto kPatience = std::chrono::minutes(15);

void print(const std::string& metric, double value, double reference = 0) {
  const std::string more = reference > 0 ? fmt::format(R"("reference":{:.4g},"ratio":{:.4g})",
                                                       reference, value / reference)
                                         : std::string(R"("reference":null,"ratio":null)");
  std::cout << fmt::format(R"({{"bench":"history","metric":"{}","value":{:.6g},{}}})", metric,
                           value, more)
            << "\n"
            << std::flush;
}

double seconds() {
  return std::chrono::duration<double>(runtime::read_clock().mono.time_since_epoch()).count();
}

int run(DeviceId devices, int minutes, uint64_t seed) {
  // As installed, but for what would only make the end of the run wait.
  HistorySite site(
      {.recorder_settings = {"GEMA_RECORDER__COMPACT_AFTER_S=5", "GEMA_RECORDER__CSV_ROWS=off"}});
  Plan plan{.devices = devices, .seed = seed, .block_ms = 200};
  const int64_t now_ms = unix_ms(runtime::read_clock().wall);
  plan.from_ms = now_ms - now_ms % 1000 - minutes * 60'000;
  const int64_t away_until = now_ms - now_ms % 1000;
  plan.to_ms = away_until;
  FeederOptions options = site.feeder_options();
  auto feeder = site.feeder(plan, options);
  site.start_recorder();
  wait_until([&] { return site.readyz() == "ready\n"; });
  site.postgres().kill9();
  const double spooling = seconds();
  feeder->feed(plan.from_ms, away_until);
  wait_until([&] { return feeder->appended_all(); }, kPatience);
  const double spool_mib = static_cast<double>(feeder->spool_bytes()) / 1048576.0;
  const uint64_t behind = feeder->samples();
  std::cerr << fmt::format("  {} results in the spool, {:.0f} MiB, after {:.0f} s; {} records\n",
                           behind, spool_mib, seconds() - spooling, feeder->unacknowledged());
  site.postgres().start();
  const double begin = seconds();
  const int64_t begin_ms = unix_ms(runtime::read_clock().wall);
  // Live results of all devices, each second; caught up when two seconds of them wait.
  plan.to_ms = begin_ms - begin_ms % 1000;
  feeder->feed(away_until, plan.to_ms);
  uint64_t live = 0;
  wait_until(
      [&] {
        const int64_t at_ms = unix_ms(runtime::read_clock().wall);
        for (; plan.to_ms + 1000 <= at_ms; plan.to_ms += 1000, live += devices) {
          feeder->feed(plan.to_ms, plan.to_ms + 1000);
        }
        return feeder->unacknowledged() <= 10 * kPartitions;
      },
      kPatience);
  const double took = seconds() - begin;
  std::cerr << fmt::format("  caught up after {:.1f} s, {} live results meanwhile\n", took, live);
  wait_until([&] { return feeder->acknowledged_all(); }, kPatience);
  const Audit audit = site.audit_reader(plan);
  const uint64_t gaps = std::stoull(site.sql("SELECT count(*) FROM stream_gaps"));
  std::cerr << "  " << audit.text() << "\n";
  const double span = minutes * 60.0;
  print("away_minutes", minutes);
  print("away_samples", static_cast<double>(feeder->samples()));
  print("away_spool_mib", spool_mib);
  print("away_catchup_s", took);
  print("away_catchup_times_real_time", span / took, 10);
  print("away_catchup_samples_per_s", static_cast<double>(behind + live) / took);
  print("away_lost", static_cast<double>(audit.lost + gaps + feeder->dropped()));
  print("away_doubled", static_cast<double>(audit.doubled));
  print("away_wrong", static_cast<double>(audit.wrong + audit.broken));
  return audit.clean() && gaps == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool quick = std::getenv("GEMA_BENCH_QUICK") != nullptr;
  auto argument = [&](int i, uint64_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  const uint64_t devices = argument(1, 10'000);
  const auto minutes = static_cast<int>(argument(2, quick ? 6 : 60));
  const uint64_t seed = argument(3, std::random_device{}());
  std::cerr << fmt::format("history_away {} {} {}   (devices, minutes, seed)\n", devices, minutes,
                           seed);
  try {
    return run(devices, minutes, seed);
  } catch (const std::exception& e) {
    std::cerr << "history_away: " << e.what() << "\n";
    return 1;
  }
}
