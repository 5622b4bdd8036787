// What a message costs the broker: CPU of a real gema-broker at a steady rate, with one publisher
// and three subscribers (recorder, tracker and gateway all read the ping stream), over ipc.
//   broker_bench [SECONDS]        one JSON object a line, as tests/run bench prints them
#include <fmt/format.h>
#include <poll.h>

#include <fstream>
#include <memory>
#include <vector>

#include "common/bus/testing/broker_process.h"
#include "common/bus/topics.h"
#include "common/runtime/clock.h"
#include "tests/support/wait_until.h"

namespace {

using namespace gema;
using namespace gema::bus::testing;
using gema::testing::ChildProcess;

struct Load {
  const char* name;
  uint64_t per_second;
  size_t bytes;
};

uint64_t received(const std::filesystem::path& log) {
  std::ifstream file(log);
  uint64_t count = 0;
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t latest = 0;
  while (file >> count >> first >> last) latest = count;
  return latest;
}

void print(const Load& load, const char* metric, double value) {
  fmt::print(
      "{{\"bench\":\"broker\",\"metric\":\"{}_{}\",\"value\":{:.4g},\"reference\":null,"
      "\"ratio\":null}}\n",
      metric, load.name, value);
}

void measure(const Load& load, std::chrono::seconds length) {
  BrokerProcess broker({.clients = {"prober-1", "recorder", "timeout-tracker", "gateway"}});
  std::vector<std::unique_ptr<ChildProcess>> subscribers;
  std::vector<std::filesystem::path> logs;
  for (const char* name : {"recorder", "timeout-tracker", "gateway"}) {
    logs.push_back(broker.dir() / (std::string(name) + ".count"));
    subscribers.push_back(std::make_unique<ChildProcess>(gema::testing::ChildOptions{
        .command = {GEMA_BUS_PEER_BINARY, broker.keys_dir().string(), name, broker.ingress(),
                    broker.inner(), bus::live_prefix("ping")},
        .log = logs.back()}));
  }
  Peer prober(broker, "prober-1");
  const std::string topic = bus::live_topic("ping", "prober-1");
  uint64_t warm = 0;
  gema::testing::wait_until([&] {
    prober.turn();
    prober.client().publish(topic, numbered(warm++, load.bytes));
    return received(logs[0]) > 0 && received(logs[1]) > 0 && received(logs[2]) > 0;
  });
  std::vector<uint64_t> before;
  gema::testing::wait_until([&] {
    std::vector<uint64_t> counts;
    for (const auto& log : logs) counts.push_back(received(log));
    const bool settled = counts == before;
    before = counts;
    ::poll(nullptr, 0, 200);
    return settled;
  });

  const double cpu = broker.cpu_seconds();
  const MonoTime start = runtime::read_clock().mono;
  uint64_t sent = 0;
  uint64_t full = 0;
  MonoTime now = start;
  while (now - start < length) {
    const auto due = static_cast<uint64_t>(static_cast<double>(load.per_second) *
                                           std::chrono::duration<double>(now - start).count());
    for (; sent < due; ++sent) full += !prober.client().publish(topic, numbered(sent, load.bytes));
    prober.turn();
    ::poll(nullptr, 0, 1);
    now = runtime::read_clock().mono;
  }
  const double seconds = std::chrono::duration<double>(now - start).count();
  gema::testing::wait_until([&] { return received(logs[0]) - before[0] >= sent - full; },
                            std::chrono::seconds(2));
  const double used = broker.cpu_seconds() - cpu;
  uint64_t lost = full;
  for (size_t i = 0; i < logs.size(); ++i) lost += sent - (received(logs[i]) - before[i]);
  print(load, "cpu_us_per_message", used * 1e6 / static_cast<double>(sent));
  print(load, "cpu_cores", used / seconds);
  print(load, "messages_per_second", static_cast<double>(sent) / seconds);
  print(load, "lost", static_cast<double>(lost));
  print(load, "rss_mib", static_cast<double>(broker.resident_bytes()) / 1048576.0);
}

}  // namespace

int main(int argc, char** argv) {
  const auto seconds =
      std::chrono::seconds(argc > 1 ? static_cast<int>(number_at_end(argv[1])) : 10);
  for (const Load& load :
       {Load{"400_per_s_4096_b", 400, 4096}, Load{"20000_per_s_430_b", 20'000, 430}}) {
    measure(load, seconds);
  }
}
