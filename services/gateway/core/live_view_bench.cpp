// What a result, a copy of the view and the large bodies cost.
#include <benchmark/benchmark.h>

#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/core/view_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this

LiveView view_of(uint64_t devices) {
  std::vector<DeviceId> ids(devices);
  for (uint64_t i = 0; i < devices; ++i) {
    ids[i] = i + 1;
  }
  return loaded(std::move(ids));
}

PingResults round_of(uint64_t devices, uint64_t step, int64_t slot_ms) {
  std::vector<Check> checks;
  for (DeviceId id = 1; id <= devices; id += step) {
    checks.push_back({id, slot_ms, id % 20 == 0 ? Verdict::kFailed : Verdict::kAnswered, 12'345});
  }
  return results(checks);
}

// One partition's share: every eighth device.
void results_taken(benchmark::State& state) {
  const auto devices = static_cast<uint64_t>(state.range(0));
  LiveView view = view_of(devices);
  PingResults batch = round_of(devices, 8, kEpochMs);
  uint64_t seq = 0;
  for (auto _ : state) {
    for (int64_t& slot : batch.due_ms) {
      ++slot;
    }
    view.on_results(record(++seq), batch, at(0s).wall, at(0s));
    benchmark::DoNotOptimize(view.take_recent_results());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(batch.size()));
}
BENCHMARK(results_taken)->Arg(10'000)->Arg(100'000);

View measured(uint64_t devices) {
  LiveView view = view_of(devices);
  view.on_results(record(1), round_of(devices, 1, kEpochMs), at(0s).wall, at(0s));
  return view.view(at(0s));
}

void view_copied(benchmark::State& state) {
  LiveView view = view_of(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(view.view(at(0s)));
  }
}
BENCHMARK(view_copied)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

void status_written(benchmark::State& state) {
  const View view = measured(static_cast<uint64_t>(state.range(0)));
  const UtcOffset utc = [](int64_t) { return 0; };
  for (auto _ : state) {
    benchmark::DoNotOptimize(status_body(view, utc));
  }
}
BENCHMARK(status_written)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

void frames_written(benchmark::State& state) {
  const View view = measured(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(counts_frame(view));
    benchmark::DoNotOptimize(silent_frame(view));
  }
}
BENCHMARK(frames_written)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gema::gateway

BENCHMARK_MAIN();
