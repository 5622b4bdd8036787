// What a record costs from append to delivery: spool write, encoding, decoding, consumer.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "common/stream/consumer.h"
#include "common/stream/producer.h"

namespace gema::stream {
namespace {

Now at(int64_t step) {
  Duration since = 10ms * step;
  return Now{MonoTime{} + 100s + since, WallTime{} + 1'700'000'000s + since};
}

// 16 records of `range(0)` bytes a turn, all delivered, committed and acknowledged.
void append_to_delivery(benchmark::State& state, Order order) {
  std::filesystem::path dir = std::filesystem::temp_directory_path() / "gema-stream-bench";
  std::filesystem::remove_all(dir);
  ProducerOptions options;
  options.dir = dir;
  options.stream = "ping";
  options.name = "prober-1";
  options.groups = {"recorder"};
  auto producer = Producer::open(options, at(0));
  if (!producer) {
    state.SkipWithError(producer.error().message.c_str());
    return;
  }
  Consumer consumer({.stream = "ping", .group = "recorder", .order = order}, {});
  std::string payload(static_cast<size_t>(state.range(0)), 'x');
  std::vector<Delivery> out;
  int64_t step = 0;
  int64_t records = 0;
  for (auto _ : state) {
    Now now = at(++step);
    for (uint32_t i = 0; i < 16; ++i) {
      records += (*producer)->append(i % 8, payload, now).has_value() ? 1 : 0;
    }
    (*producer)->tick(now);
    for (const Outgoing& m : (*producer)->take_outgoing(now)) {
      consumer.on_message(m.topic, m.payload, now, out);
    }
    out.clear();
    if (step % 16 == 0) consumer.mark_durable(consumer.positions());
    for (const Outgoing& m : consumer.take_outgoing(now)) {
      (*producer)->on_message(m.topic, m.payload, now);
    }
  }
  state.SetItemsProcessed(records);
  state.counters["outstanding"] = static_cast<double>(consumer.stats().outstanding);
  producer->reset();
  std::filesystem::remove_all(dir);
}
BENCHMARK_CAPTURE(append_to_delivery, any_order, Order::kAny)->Arg(200)->Arg(4096);
BENCHMARK_CAPTURE(append_to_delivery, in_order, Order::kInOrder)->Arg(4096);

}  // namespace
}  // namespace gema::stream

BENCHMARK_MAIN();
