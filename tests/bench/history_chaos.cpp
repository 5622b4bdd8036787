// Is anything lost or doubled when recorder and PostgreSQL are killed at random moments? Ten
// million results of past hours (so that hours close meanwhile, and a day), 3% of them late, on
// their way through a real producer, broker, recorder and PostgreSQL; kill -9 of recorder,
// PostgreSQL, both or the broker every few seconds, half of them while an hour is being compacted;
// leaves are dropped meanwhile as they would be ten minutes later. Then every slot is compared with
// what was measured: in what the reader gives, in the tables, and in what the rollups count.
//   history_chaos [SAMPLES [SEED]]    GEMA_BENCH_QUICK=1: a million
// Prints one JSON object a line. Fails when anything is lost, doubled or wrong.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>

#include "common/base/random.h"
#include "common/runtime/clock.h"
#include "tests/integration/history_site.h"
#include "tests/support/wait_until.h"

namespace {

using namespace gema;
using namespace gema::testing;

constexpr int64_t kSpanMs = 3 * 3'600'000;
// Guess: a hang, not a slow machine.
constexpr auto kPatience = std::chrono::minutes(20);

void print(const std::string& metric, double value) {
  std::cout
      << fmt::format(
             R"({{"bench":"history","metric":"{}","value":{:.6g},"reference":null,"ratio":null}})",
             metric, value)
      << "\n"
      << std::flush;
}

double seconds_since(MonoTime begin) {
  return std::chrono::duration<double>(runtime::read_clock().mono - begin).count();
}

class Chaos {
 public:
  Chaos(uint64_t samples, uint64_t seed, double seconds)
      : random_(seed), began_(runtime::read_clock().mono) {
    // From 22:30 of the day before yesterday on: two hours in part, a day that closes.
    const int64_t now_ms = unix_ms(runtime::read_clock().wall);
    plan_.from_ms = now_ms - now_ms % 86'400'000 - 86'400'000 - 5'400'000;
    plan_.to_ms = plan_.from_ms + kSpanMs;
    plan_.devices = std::max<uint64_t>(16, (samples + 10'799) / 10'800);
    plan_.seed = seed;
    plan_.block_ms = static_cast<uint32_t>(std::max<uint64_t>(2, 1'800 / plan_.devices)) * 1000;
    FeederOptions options;
    options.late_per_mille = 30;
    options.late_max =
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds / 3));
    options.samples_per_second = static_cast<double>(samples) / seconds;
    options.unacknowledged_max = 20'000;
    feeder_ = site_.feeder(plan_, options);
  }

  int run() {
    site_.start_recorder();
    feeder_->feed(plan_.from_ms, plan_.to_ms);
    while (!feeder_->acknowledged_all() && within_patience()) fault();
    std::cerr << fmt::format("  all {} acknowledged after {:.0f} s\n", feeder_->samples(),
                             seconds_since(began_));
    // What was last is compacted under faults, too.
    for (int i = 0; i < 3; ++i) fault();
    if (!site_.wait_settled(kPatience)) {
      std::cerr << "history_chaos: compacting does not come to its end\n" << site_.recorder_log();
      return 1;
    }
    Audit all;
    Audit& before = audits_["reader, before leaves are dropped"];
    before = site_.audit_reader(plan_);
    wait_until([&] {
      site_.drop_leaves();
      return site_.sql("SELECT count(*) FROM ping_chunks") == "0";
    });
    audits_["reader"] = site_.audit_reader(plan_);
    audits_["tables"] = site_.audit_tables(plan_, true);
    audits_["rollups"] = site_.audit_rollups(plan_);
    audits_["while it ran"] = running_;
    for (const auto& [name, audit] : audits_) {
      std::cerr << "  " << name << ": " << audit.text() << "\n";
      all.add(audit);
    }
    const uint64_t gaps = std::stoull(site_.sql("SELECT count(*) FROM stream_gaps"));
    const uint64_t quarantined = std::stoull(site_.sql("SELECT count(*) FROM stream_quarantine"));
    std::cerr << fmt::format(
        "  kills: recorder {}, PostgreSQL {}, broker {}; {} while an hour was compacted; {} records"
        " replayed, {} announced as lost, {} quarantined; {:.0f} s\n",
        recorder_kills_, postgres_kills_, broker_kills_, kills_in_compaction_, feeder_->replayed(),
        gaps, quarantined, seconds_since(began_));
    print("chaos_samples", static_cast<double>(feeder_->samples()));
    print("chaos_lost", static_cast<double>(all.lost + gaps + quarantined + feeder_->dropped()));
    print("chaos_doubled", static_cast<double>(all.doubled));
    print("chaos_wrong", static_cast<double>(all.wrong + all.broken));
    print("chaos_kills", recorder_kills_ + postgres_kills_ + broker_kills_);
    print("chaos_kills_in_compaction", kills_in_compaction_);
    const bool sent = feeder_->samples() == plan_.samples();
    if (!sent) std::cerr << "history_chaos: not all was sent: " << feeder_->failure() << "\n";
    return sent && all.clean() && gaps + quarantined + feeder_->dropped() == 0 ? 0 : 1;
  }

 private:
  bool within_patience() const { return seconds_since(began_) < 1200; }

  bool compacting() {
    try {
      return site_.sql(
                 "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                 " 'gema-recorder' AND xact_start IS NOT NULL AND"
                 " query ~ 'ping_packed|ping_rollup|history_names'") != "0";
    } catch (const std::exception&) {
      return false;
    }
  }

  // Some time passes, then something is killed and started again.
  void fault() {
    look();
    if (random_.chance(400)) {
      // The compactor looks for work ten seconds after its start.
      if (wait_until([&] { return compacting(); }, std::chrono::seconds(14))) {
        ++kills_in_compaction_;
        wait_until([] { return false; }, std::chrono::milliseconds(random_.below(400)));
      }
    } else {
      wait_until([] { return false; }, std::chrono::milliseconds(300 + random_.below(2'500)));
    }
    const uint64_t what = random_.below(100);
    if (what < 65 || what >= 90) {
      site_.kill_recorder();
      ++recorder_kills_;
    }
    if (what >= 65 && what < 97) {
      site_.postgres().kill9();
      ++postgres_kills_;
      site_.postgres().start();
    }
    if (what >= 97) {
      site_.broker().kill9();
      ++broker_kills_;
      site_.broker().start();
    }
    if (!site_.recorder_running()) site_.start_recorder();
  }

  // While it goes on: what was read once stays, as it was measured; leaves that are not needed go.
  void look() {
    try {
      if (random_.chance(300)) site_.drop_leaves();
      auto connection = site_.connect();
      history::Reader reader(*connection);
      const DeviceId device = 1 + random_.below(plan_.devices);
      const auto results = reader.results(device, 0, 9'000'000'000'000, ~size_t{0});
      if (!results) return;
      size_t& seen = seen_[device];
      if (results->rows.size() < seen) {
        running_.lost += seen - results->rows.size();
        running_.note(fmt::format("device {}: {} results were there, then {}", device, seen,
                                  results->rows.size()));
      }
      seen = std::max(seen, results->rows.size());
      running_.found += results->rows.size();
      running_.broken += reader.broken().size();
    } catch (const std::exception&) {
      // PostgreSQL is on its way up: nothing to see.
    }
  }

  Random random_;
  const MonoTime began_;
  Plan plan_;
  HistorySite site_{
      {.recorder_settings = {// Whatever comes late, its hour is merged again at once.
                             "GEMA_RECORDER__COMPACT_AFTER_S=0", "GEMA_RECORDER__CHUNK_EVERY_S=1",
                             "GEMA_RECORDER__COMMIT_EVERY_MS=200", "GEMA_RECORDER__CSV_ROWS=off"}}};
  std::unique_ptr<Feeder> feeder_;
  std::map<DeviceId, size_t> seen_;
  std::map<std::string, Audit> audits_;
  Audit running_;
  int recorder_kills_ = 0;
  int postgres_kills_ = 0;
  int broker_kills_ = 0;
  int kills_in_compaction_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const bool quick = std::getenv("GEMA_BENCH_QUICK") != nullptr;
  const uint64_t samples =
      argc > 1 ? std::strtoull(argv[1], nullptr, 10) : (quick ? 1'000'000 : 10'000'000);
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device{}();
  std::cerr << fmt::format("history_chaos {} {}   (samples, seed)\n", samples, seed);
  try {
    return Chaos(samples, seed, quick ? 25 : 200).run();
  } catch (const std::exception& e) {
    std::cerr << "history_chaos: " << e.what() << "\n";
    return 1;
  }
}
