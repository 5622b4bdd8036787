// What the columnar body of one device's day costs: 17,280 results, a check every 5 s.
#include <benchmark/benchmark.h>

#include "services/gateway/io/history_json.h"

namespace gema::gateway {
namespace {

constexpr int64_t kBegin = 1'758'246'347'075;

history::Results day_of(int64_t count) {
  history::Results out;
  out.names = {"default", "prober-1"};
  for (int64_t i = 0; i < count; ++i) {
    const auto rtt_us = static_cast<uint32_t>(900 + i * 7919 % 500);
    const bool failed = i % 97 == 0;
    out.rows.push_back({.due_ms = kBegin + i * 5000,
                        .interval_ms = 5000,
                        .verdict = failed ? Verdict::kFailed : Verdict::kAnswered,
                        .reason = failed ? Reason::kTimeout : Reason::kNone,
                        .producer = 1,
                        .echo_begin = static_cast<uint32_t>(i),
                        .echo_count = 1,
                        .rtt_us = failed ? 0 : rtt_us});
    out.echoes.push_back({failed ? EchoOutcome::kTimeout : EchoOutcome::kReply, rtt_us});
  }
  return out;
}

void columns(benchmark::State& state) {
  const auto results = day_of(state.range(0));
  size_t bytes = 0;
  for (auto _ : state) {
    const std::string body = results_columns_json(7, {kBegin, kBegin + 86'400'000}, results);
    bytes = body.size();
    benchmark::DoNotOptimize(body.data());
  }
  state.counters["ns_per_sample"] = benchmark::Counter(
      static_cast<double>(state.range(0)) * 1e-9,
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["bytes_per_sample"] =
      static_cast<double>(bytes) / static_cast<double>(state.range(0));
}
BENCHMARK(columns)->Arg(17'280)->Unit(benchmark::kMicrosecond);

void rows(benchmark::State& state) {
  const auto results = day_of(state.range(0));
  for (auto _ : state) {
    const std::string body = results_json(7, nullptr, detailed_results(results), false);
    benchmark::DoNotOptimize(body.data());
  }
}
BENCHMARK(rows)->Arg(1'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace gema::gateway

BENCHMARK_MAIN();
