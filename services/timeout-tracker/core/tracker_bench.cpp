// What a result costs: 100,000 devices, batches as a prober sends them.
#include <benchmark/benchmark.h>

#include "services/timeout-tracker/core/results_for_test.h"
#include "services/timeout-tracker/core/tracker.h"

namespace gema::timeout_tracker {
namespace {

constexpr DeviceId kDevices = 100'000;
constexpr size_t kBatch = 2'500;

struct Load {
  std::vector<DeviceId> devices;
  std::vector<PingResults> batches;  // one slot of every device
};

Load make_load() {
  Load load;
  std::array<PingResults, kPartitions> open;
  for (DeviceId device = 1; device <= kDevices; ++device) {
    load.devices.push_back(device);
    PingResults& batch = open[partition_of(device)];
    test::add(batch, device, test::slot_of(device, 0),
              device % 20 == 0 ? Verdict::kFailed : Verdict::kAnswered);
    if (batch.size() < kBatch) continue;
    load.batches.push_back(batch);
    batch = {};
  }
  for (PingResults& batch : open) {
    if (!batch.empty()) load.batches.push_back(std::move(batch));
  }
  return load;
}

void on_record(benchmark::State& state) {
  Load load = make_load();
  Tracker tracker{Policy{}};
  tracker.set_catalogue(load.devices);
  const Now now{.mono = MonoTime(1h), .wall = wall_from_ms(test::kStartMs) + 24h * 365};
  std::vector<Transition> out;
  uint64_t seq = 0;
  size_t counted = 0;
  for (auto _ : state) {
    for (PingResults& batch : load.batches) {
      counted += tracker
                     .on_record({.producer = "prober-1",
                                 .epoch = 1,
                                 .partition = partition_of(batch.device.front()),
                                 .seq = ++seq},
                                batch, now, out)
                     .counted;
      for (int64_t& due : batch.due_ms) due += test::kIntervalMs;
    }
    out.clear();
  }
  state.SetItemsProcessed(static_cast<int64_t>(counted));
}
BENCHMARK(on_record)->Unit(benchmark::kMillisecond);

void copy_for_checkpoint(benchmark::State& state) {
  Tracker tracker{Policy{}};
  tracker.set_catalogue(make_load().devices);
  for (auto _ : state) benchmark::DoNotOptimize(tracker.changed_after(0));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kDevices));
}
BENCHMARK(copy_for_checkpoint)->Unit(benchmark::kMillisecond);

// What timeout_tracking.csv takes of the loop when nothing answers.
void all_that_time_out(benchmark::State& state) {
  Load load = make_load();
  Tracker tracker{Policy{}};
  tracker.set_catalogue(load.devices);
  const Now now{.mono = MonoTime(1h), .wall = wall_from_ms(test::kStartMs) + 24h};
  std::vector<Transition> out;
  uint64_t seq = 0;
  for (PingResults& batch : load.batches) {
    batch.verdict.assign(batch.size(), Verdict::kFailed);
    tracker.on_record({.producer = "prober-1",
                       .epoch = 1,
                       .partition = partition_of(batch.device.front()),
                       .seq = ++seq},
                      batch, now, out);
  }
  for (auto _ : state) benchmark::DoNotOptimize(tracker.timeouts());
  state.counters["rows"] = static_cast<double>(tracker.timeouts().size());
}
BENCHMARK(all_that_time_out)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gema::timeout_tracker

BENCHMARK_MAIN();
