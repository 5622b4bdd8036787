// Is anything lost or doubled when recorder and PostgreSQL are killed at random moments? Ten
// million results of past hours (so that hours close meanwhile, and a day), 3% of them late, on
// their way through two real producers (processes of their own, which hand devices to each other
// every ten minutes), broker, recorder and PostgreSQL; kill -9 of recorder, PostgreSQL, both, a
// producer or the broker every few seconds, half of them while an hour is being compacted; leaves
// are dropped meanwhile as they would be ten minutes later. Then every slot is compared with what
// was measured: in what the reader gives, in the tables, and in what the rollups count.
//   history_chaos [SAMPLES [SEED [PRODUCERS]]]    GEMA_BENCH_QUICK=1: a million
// Prints one JSON object a line. Fails when anything is lost, doubled or wrong.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

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

// --- one producer, in a process of its own -------------------------------------------------------

// What a producer's process is told on its command line.
struct Task {
  Plan plan;
  FeederOptions feeder;
  bus::BusOptions bus;

  std::vector<std::string> words() const {
    return {"--producer",
            std::to_string(plan.devices),
            std::to_string(plan.from_ms),
            std::to_string(plan.to_ms),
            std::to_string(plan.seed),
            std::to_string(plan.block_ms),
            feeder.spool,
            std::to_string(feeder.number),
            std::to_string(feeder.producers),
            std::to_string(feeder.unacknowledged_max),
            std::to_string(feeder.samples_per_second),
            bus.ingress,
            bus.egress,
            bus.keys_dir,
            bus.name};
  }
  // Requires: as words() gave them.
  explicit Task(const std::vector<std::string>& w)
      : plan{.devices = std::stoull(w.at(1)),
             .from_ms = std::stoll(w.at(2)),
             .to_ms = std::stoll(w.at(3)),
             .seed = std::stoull(w.at(4)),
             .block_ms = static_cast<uint32_t>(std::stoul(w.at(5)))},
        feeder{.spool = w.at(6),
               .name = w.at(14),
               .number = static_cast<uint32_t>(std::stoul(w.at(7))),
               .producers = static_cast<uint32_t>(std::stoul(w.at(8))),
               .resume = true,
               .late_per_mille = 30,
               .unacknowledged_max = std::stoull(w.at(9)),
               .samples_per_second = std::stod(w.at(10))},
        bus{.ingress = w.at(11), .egress = w.at(12), .keys_dir = w.at(13), .name = w.at(14)} {}
  Task() = default;
};

// What it says of itself, a line each.
struct Told {
  bool acknowledged_all = false;
  uint64_t samples = 0;
  uint64_t replayed = 0;
  uint64_t dropped = 0;
};

int produce(const Task& task) {
  Feeder feeder(task.plan, task.feeder, task.bus);
  feeder.feed(task.plan.from_ms, task.plan.to_ms);
  while (feeder.failure().empty()) {
    // The order matters: what is acknowledged in the end was appended before.
    const bool all = feeder.acknowledged_all();
    std::cout << fmt::format("{} {} {} {}\n", all ? 1 : 0, feeder.samples(), feeder.replayed(),
                             feeder.dropped())
              << std::flush;
    wait_until([] { return false; }, std::chrono::milliseconds(50));
  }
  std::cerr << feeder.failure() << "\n";
  return 1;
}

class ProducerProcess {
 public:
  ProducerProcess(Task task, std::filesystem::path log)
      : task_(std::move(task)), log_(std::move(log)) {
    start();
  }
  void kill9() {
    told();
    earlier_replayed_ += last_.replayed;
    earlier_dropped_ += last_.dropped;
    process_.signal(SIGKILL);
    process_.wait();
  }
  void start() {
    last_ = {};
    std::ofstream(log_, std::ios::app) << "\n";  // it may have died within a line
    told_from_ = std::filesystem::file_size(log_);
    std::vector<std::string> command = task_.words();
    command.insert(command.begin(), std::filesystem::read_symlink("/proc/self/exe"));
    process_ = ChildProcess({.command = command, .log = log_});
  }
  // The newest of this life. Throws when it has ended by itself.
  const Told& told() {
    if (!process_.running()) throw std::runtime_error("a producer ended: " + last_line_);
    std::ifstream file(log_);
    file.seekg(static_cast<std::streamoff>(told_from_));
    std::string line;
    while (std::getline(file, line) && !file.eof()) {
      told_from_ += line.size() + 1;
      last_line_ = line;
      Told now;
      std::istringstream words(line);
      if (words >> now.acknowledged_all >> now.samples >> now.replayed >> now.dropped) last_ = now;
    }
    return last_;
  }
  uint64_t replayed() { return earlier_replayed_ + told().replayed; }
  uint64_t dropped() { return earlier_dropped_ + told().dropped; }

 private:
  const Task task_;
  const std::filesystem::path log_;
  ChildProcess process_;
  uintmax_t told_from_ = 0;
  Told last_;
  std::string last_line_;
  uint64_t earlier_replayed_ = 0;
  uint64_t earlier_dropped_ = 0;
};

// --- the whole -----------------------------------------------------------------------------------

class Chaos {
 public:
  Chaos(uint64_t samples, uint64_t seed, double seconds, uint32_t producers)
      : random_(seed), began_(runtime::read_clock().mono), site_(options_for(producers)) {
    // From 22:30 of the day before yesterday on: two hours in part, a day that closes.
    const int64_t now_ms = unix_ms(runtime::read_clock().wall);
    plan_.from_ms = now_ms - now_ms % 86'400'000 - 86'400'000 - 5'400'000;
    plan_.to_ms = plan_.from_ms + kSpanMs;
    plan_.devices = std::max<uint64_t>(16, (samples + 10'799) / 10'800);
    plan_.seed = seed;
    plan_.block_ms = static_cast<uint32_t>(std::max<uint64_t>(2, 1'800 / plan_.devices)) * 1000;
    for (uint32_t n = 0; n < producers; ++n) {
      Task task;
      task.plan = plan_;
      task.bus = site_.broker().client_options(prober(n));
      task.feeder.spool = site_.broker().dir() / "spool" / prober(n);
      task.feeder.number = n;
      task.feeder.producers = producers;
      task.feeder.samples_per_second = static_cast<double>(samples) / seconds / producers;
      task.feeder.unacknowledged_max = 20'000 / producers;
      tasks_.push_back(std::move(task));
    }
  }

  int run() {
    site_.start_recorder();
    for (const Task& task : tasks_) {
      producers_.push_back(
          std::make_unique<ProducerProcess>(task, site_.broker().dir() / (task.bus.name + ".log")));
    }
    while (!acknowledged_all() && within_patience()) fault();
    std::cerr << fmt::format("  all {} acknowledged after {:.0f} s\n", told_samples(),
                             seconds_since(began_));
    // What was last is compacted under faults, too.
    for (int i = 0; i < 3; ++i) fault();
    const bool sent = wait_until([&] { return acknowledged_all(); }, kPatience) &&
                      told_samples() == plan_.samples();
    if (!sent) {
      std::cerr << fmt::format("history_chaos: {} of {} were sent\n", told_samples(),
                               plan_.samples());
    }
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
    uint64_t replayed = 0;
    uint64_t dropped = 0;
    for (const auto& producer : producers_) {
      replayed += producer->replayed();
      dropped += producer->dropped();
    }
    std::cerr << fmt::format(
        "  kills: recorder {}, PostgreSQL {}, producers {}, broker {}; {} while an hour was"
        " compacted; {} records replayed, {} announced as lost, {} quarantined; {:.0f} s\n",
        recorder_kills_, postgres_kills_, producer_kills_, broker_kills_, kills_in_compaction_,
        replayed, gaps, quarantined, seconds_since(began_));
    std::cerr << fmt::format("  results in tables by producer: {}\n", by_producer());
    if (quarantined > 0) {
      std::cerr << "  quarantined, the last: "
                << site_.sql("SELECT reason FROM stream_quarantine ORDER BY id DESC LIMIT 1")
                << "\n";
    }
    print("chaos_samples", static_cast<double>(told_samples()));
    print("chaos_producers", static_cast<double>(producers_.size()));
    print("chaos_lost", static_cast<double>(all.lost + gaps + quarantined + dropped));
    print("chaos_doubled", static_cast<double>(all.doubled));
    print("chaos_wrong", static_cast<double>(all.wrong + all.broken));
    print("chaos_kills", recorder_kills_ + postgres_kills_ + producer_kills_ + broker_kills_);
    print("chaos_kills_in_compaction", kills_in_compaction_);
    return sent && all.clean() && gaps + quarantined + dropped == 0 ? 0 : 1;
  }

 private:
  static std::string prober(uint32_t n) { return fmt::format("prober-{}", n + 1); }
  static SiteOptions options_for(uint32_t producers) {
    SiteOptions options;
    for (uint32_t n = 1; n < producers; ++n) options.broker.clients.push_back(prober(n));
    // Whatever comes late, its hour is merged again at once.
    options.recorder_settings = {
        "GEMA_RECORDER__COMPACT_AFTER_S=0", "GEMA_RECORDER__CHUNK_EVERY_S=1",
        "GEMA_RECORDER__COMMIT_EVERY_MS=200", "GEMA_RECORDER__CSV_ROWS=off"};
    return options;
  }
  bool acknowledged_all() {
    return std::all_of(producers_.begin(), producers_.end(),
                       [](const auto& p) { return p->told().acknowledged_all; });
  }
  uint64_t told_samples() {
    uint64_t sum = 0;
    for (const auto& producer : producers_) sum += producer->told().samples;
    return sum;
  }
  std::string by_producer() {
    return site_.sql(
        "SELECT string_agg(name || ' ' || results, ', ' ORDER BY name) FROM (SELECT"
        " name, sum(results) AS results FROM ping_packed JOIN history_names ON id ="
        " producer_id GROUP BY name) AS sums");
  }
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
    if (what < 45 || (what >= 70 && what < 78)) {
      site_.kill_recorder();
      ++recorder_kills_;
    }
    if (what >= 78 && what < 97) {
      ProducerProcess& producer = *producers_[random_.below(producers_.size())];
      producer.kill9();
      ++producer_kills_;
      producer.start();
    }
    if (what >= 45 && what < 78) {
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
  HistorySite site_;
  std::vector<Task> tasks_;
  std::vector<std::unique_ptr<ProducerProcess>> producers_;
  std::map<DeviceId, size_t> seen_;
  std::map<std::string, Audit> audits_;
  Audit running_;
  int recorder_kills_ = 0;
  int postgres_kills_ = 0;
  int producer_kills_ = 0;
  int broker_kills_ = 0;
  int kills_in_compaction_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const bool quick = std::getenv("GEMA_BENCH_QUICK") != nullptr;
  try {
    if (!words.empty() && words[0] == "--producer") return produce(Task(words));
    const uint64_t samples =
        words.size() > 0 ? std::stoull(words[0]) : (quick ? 1'000'000 : 10'000'000);
    const uint64_t seed = words.size() > 1 ? std::stoull(words[1]) : std::random_device{}();
    const uint32_t producers = words.size() > 2 ? static_cast<uint32_t>(std::stoul(words[2])) : 2;
    std::cerr << fmt::format("history_chaos {} {} {}   (samples, seed, producers)\n", samples, seed,
                             producers);
    return Chaos(samples, seed, quick ? 25 : 200, producers).run();
  } catch (const std::exception& e) {
    std::cerr << "history_chaos: " << e.what() << "\n";
    return 1;
  }
}
