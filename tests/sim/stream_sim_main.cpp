// stream_sim: runs the simulated world of streams for many seeds, or one again.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/sim/stream_world.h"

namespace {

gema::sim::Plant plant_named(const std::string& name) {
  if (name == "ack-before-durable") return gema::sim::Plant::kAckBeforeDurable;
  if (name == "reuse-seqs") return gema::sim::Plant::kReuseSeqs;
  if (name == "silent-drop") return gema::sim::Plant::kSilentDrop;
  return gema::sim::Plant::kNone;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulates streams over a lossy bus with crashes; see tests/sim/README.md"};
  uint64_t seed = 0;
  uint64_t seeds = 300;
  uint64_t first = 1;
  std::string plant = "none";
  gema::sim::RunOptions options;
  bool quiet = false;
  app.add_option("--seed", seed, "Replay this one seed");
  app.add_option("--seeds", seeds, "How many seeds to run");
  app.add_option("--first", first, "The first of them");
  app.add_option("--records", options.records, "Records per seed");
  app.add_option("--plant", plant, "A fault of our own making")
      ->check(CLI::IsMember({"none", "ack-before-durable", "reuse-seqs", "silent-drop"}));
  app.add_flag("--verbose", options.verbose, "Narrate");
  app.add_flag("--quiet", quiet, "Only failures and the sum");
  CLI11_PARSE(app, argc, argv);
  options.plant = plant_named(plant);
  if (seed != 0) {
    first = seed;
    seeds = 1;
  }
  uint64_t failed = 0;
  uint64_t records = 0;
  uint64_t lost = 0;
  for (uint64_t s = first; s < first + seeds; ++s) {
    options.seed = s;
    if (!quiet) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(s),
                  gema::sim::draw_rates(s).text().c_str());
      std::fflush(stdout);
    }
    gema::sim::RunResult result = gema::sim::run_world(options);
    records += result.records;
    lost += result.announced_lost;
    if (!quiet) {
      std::printf(
          "  hash %016llx  %llu records, %llu effects, %llu announced lost, %llu cut, "
          "%llu replayed, %llu epochs, %llu kills, %llu power cuts, %llu failovers, %.0f s\n",
          static_cast<unsigned long long>(result.trace_hash),
          static_cast<unsigned long long>(result.records),
          static_cast<unsigned long long>(result.effects),
          static_cast<unsigned long long>(result.announced_lost),
          static_cast<unsigned long long>(result.power_cut_lost),
          static_cast<unsigned long long>(result.replayed),
          static_cast<unsigned long long>(result.epochs),
          static_cast<unsigned long long>(result.kills),
          static_cast<unsigned long long>(result.power_cuts),
          static_cast<unsigned long long>(result.failovers),
          std::chrono::duration<double>(result.virtual_time).count());
    }
    if (result.violations.empty()) continue;
    ++failed;
    std::printf("seed %llu FAILED (replay: stream_sim --seed %llu --records %u --plant %s)\n",
                static_cast<unsigned long long>(s), static_cast<unsigned long long>(s),
                options.records, plant.c_str());
    for (const std::string& text : result.violations) std::printf("  %s\n", text.c_str());
  }
  std::printf("%llu seeds, %llu records, %llu announced lost, %llu seeds failed\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(records),
              static_cast<unsigned long long>(lost), static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}
