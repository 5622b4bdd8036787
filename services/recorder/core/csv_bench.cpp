// What the CSV files cost at 100,000 devices: per result taken, and per file made.
#include <benchmark/benchmark.h>

#include "services/recorder/core/csv_book.h"
#include "services/recorder/core/csv_file.h"
#include "tests/support/ping_results.h"

namespace gema::recorder {
namespace {

constexpr DeviceId kDevices = 100'000;
constexpr int64_t kNoonMs = 1'763'614'800'000;
const UtcOffset kZone = [](int64_t) { return 7 * 3'600; };

// As records come: those of one partition, a few hundred at a time.
void BM_TakeResults(benchmark::State& state) {
  const Now now{MonoTime{} + 1'000s, wall_from_ms(kNoonMs)};
  CsvBook book({}, kZone, now);
  std::vector<PingResults> records;
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    for (DeviceId id = 1; id <= kDevices; ++id) {
      if (partition_of(id) != partition) continue;
      if (records.empty() || records.back().size() == 500) records.emplace_back();
      PingResults& r = records.back();
      testing::append(r, {.device = id, .due_ms = kNoonMs, .rtt_us = 1'234});
    }
  }
  for (auto _ : state) {
    for (PingResults& r : records) {
      for (int64_t& due : r.due_ms) due += 1'000;
      book.on_results(r, now);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kDevices));
}
BENCHMARK(BM_TakeResults)->Unit(benchmark::kMillisecond);

void BM_MakeFile(benchmark::State& state) {
  Catalogue catalogue;
  std::vector<CsvResult> all;
  for (DeviceId id = 1; id <= kDevices; ++id) {
    Device device{.id = id, .address = "198.18.100.200", .hostname = "camera-north-gate-7"};
    device.merk = "Vivotek FD8377-HV";
    device.os = "linux";
    device.kondisi = "baik";
    device.id_lokasi = "12";
    catalogue.devices.push_back(std::move(device));
    all.push_back(
        {id, {kNoonMs + static_cast<int64_t>(id), Verdict::kAnswered, Reason::kNone, 1'234}});
  }
  size_t bytes = 0;
  for (auto _ : state) {
    const auto rows = choose_rows(all, catalogue, 0, CsvRows::kDevices);
    std::string text;
    bytes = 0;
    for (const CsvResult& row : rows) {
      append_row(text, *find_checked(catalogue, row.device), row.sample, kZone, CsvColumns::kAll);
      if (text.size() < 256 * 1024) continue;
      bytes += text.size();
      text.clear();
    }
    bytes += text.size();
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_MakeFile)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gema::recorder

BENCHMARK_MAIN();
