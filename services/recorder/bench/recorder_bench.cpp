// What recording costs: bytes of storage per sample and CPU seconds per million results, hot and
// chunked, at 10,000 devices. Against a PostgreSQL of its own with fsync on. Prints one JSON object
// a line.
//   recorder_bench [devices] [interval_ms] [seconds] [chunk_every_s] [unreachable]
// unreachable: of a thousand checks so many fail because one router says "host unreachable".
#include <chrono>
#include <cstdlib>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/history/reader.h"
#include "common/postgres/migrate.h"
#include "services/recorder/bench/measure.h"
#include "services/recorder/io/sorter.h"
#include "services/recorder/io/store.h"
#include "tests/support/postgres_server.h"

namespace {

using namespace gema;

using namespace recorder::bench;

void print(const std::string& metric, double value) {
  recorder::bench::print("recorder", metric, value, 0);
}

// Log-normal-like round trips around a base per device: jitter compresses as badly as real jitter.
uint32_t rtt_of(Random& random, DeviceId device) {
  const auto base = static_cast<uint32_t>(300 + device % 40'000);
  uint32_t jitter = 0;
  for (int i = 0; i < 4; ++i) jitter += static_cast<uint32_t>(random.below(base / 20 + 2));
  return base + jitter;
}

}  // namespace

int main(int argc, char** argv) {
  auto argument = [&](int i, int64_t otherwise) {
    return argc > i ? std::strtoll(argv[i], nullptr, 10) : otherwise;
  };
  const int64_t devices = argument(1, 10'000);
  const auto interval_ms = static_cast<uint32_t>(argument(2, 1'000));
  const int64_t seconds = argument(3, 300);
  const int64_t chunk_every = argument(4, 60);
  const auto unreachable = static_cast<uint64_t>(argument(5, 0));
  const IpAddress router = *ip_from_bytes("\x0a\x01\x02\x03");
  testing::PostgresServer server({.fsync = true});
  postgres::Options options{.conninfo = server.conninfo()};
  auto connection = must(postgres::Connection::open(options));
  must(postgres::migrate(*connection));
  recorder::Store store(options);
  recorder::Store chunk_store(options);
  auto known = must(store.load("ping"));
  auto sorter = recorder::make_ping_sorter(std::chrono::hours(24 * 3650));
  Random random(1);

  const int64_t start_ms = 1'800'000'000'000;
  std::array<uint64_t, kPartitions> seq{};
  uint64_t results = 0;
  uint64_t payload_bytes = 0;
  double make_cpu = 0, sort_cpu = 0, commit_cpu = 0, chunk_cpu = 0;
  const double server_before = living_cpu_s(*connection);
  double chunk_server = 0;
  recorder::Batch batch;
  batch.after = known.positions;
  // By due instant modulo the interval, in steps of 200 ms, as a prober flushes.
  std::vector<std::vector<DeviceId>> due(interval_ms / 200);
  for (int64_t d = 1; d <= devices; ++d) {
    const auto id = static_cast<DeviceId>(d);
    due[static_cast<size_t>(slot_phase_ms(id, interval_ms) / 200)].push_back(id);
  }
  for (int64_t step = 0; step < seconds * 5; ++step) {
    double t0 = own_cpu_s();
    std::array<PingResults, kPartitions> flush;
    const int64_t at_ms = start_ms + step * 200;
    for (const DeviceId id : due[static_cast<size_t>(step) % due.size()]) {
      PingResults& r = flush[partition_of(id)];
      r.location = "default";
      r.device.push_back(id);
      r.interval_ms.push_back(interval_ms);
      r.due_ms.push_back(slot_at_or_before(id, interval_ms, at_ms + 199));
      const bool cut_off = unreachable > 0 && random.chance(unreachable);
      const bool lost = cut_off || random.chance(5);
      r.verdict.push_back(lost ? Verdict::kFailed : Verdict::kAnswered);
      r.reason.push_back(cut_off ? Reason::kUnreachable : lost ? Reason::kTimeout : Reason::kNone);
      r.echo_outcome.push_back(cut_off ? EchoOutcome::kHostUnreachable
                               : lost  ? EchoOutcome::kTimeout
                                       : EchoOutcome::kReply);
      if (cut_off) {
        r.notes.push_back({.index = static_cast<uint32_t>(r.size() - 1),
                           .icmp_type = 3,
                           .icmp_code = 1,
                           .from = router});
      }
      r.echo_rtt_us.push_back(lost ? 0 : rtt_of(random, id));
      r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    }
    std::vector<stream::Delivery> deliveries;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (flush[p].empty()) continue;
      stream::Delivery d{.key = {"prober-1", 1, p, ++seq[p]}};
      encode_ping(flush[p], d.payload);
      payload_bytes += d.payload.size();
      results += flush[p].size();
      batch.after.set({"prober-1", 1, p}, {.cumulative = seq[p], .highest = seq[p], .order = 1});
      deliveries.push_back(std::move(d));
    }
    double t1 = own_cpu_s();
    make_cpu += t1 - t0;
    const Now now{.wall = wall_from_ms(at_ms + 200)};
    for (auto& d : deliveries) sorter->take(std::move(d), now, batch);
    t0 = own_cpu_s();
    sort_cpu += t0 - t1;
    if (step % 5 % 3 == 2) {  // about each 500 ms
      batch.stream = "ping";
      batch.token = step + 1;
      batch.before = known.positions;
      batch.tokens = known.tokens;
      const auto done = must(store.commit(batch));
      if (done.conflict) return 1;
      known.positions = batch.after;
      known.tokens = done.tokens;
      recorder::Batch next;
      next.after = batch.after;
      batch = std::move(next);
      commit_cpu += own_cpu_s() - t0;
    }
    if ((step + 1) % (chunk_every * 5) == 0) {
      const double server_t0 = living_cpu_s(*connection);
      t0 = own_cpu_s();
      for (uint32_t p = 0; p < kPartitions; ++p) {
        while (must(chunk_store.chunk(p, now.wall, std::chrono::hours(24 * 3650))).more) {
        }
      }
      chunk_cpu += own_cpu_s() - t0;
      chunk_server += living_cpu_s(*connection) - server_t0;
    }
  }
  const double server_cpu = living_cpu_s(*connection) - server_before;
  const double million = static_cast<double>(results) / 1e6;
  const double hot = static_cast<double>(bytes_of(*connection, "ping_hot"));
  const double chunks = static_cast<double>(bytes_of(*connection, "ping_chunks"));
  print("results", static_cast<double>(results));
  print("payload_bytes_per_result", static_cast<double>(payload_bytes) / (million * 1e6));
  print("hot_bytes_per_result", hot / (million * 1e6));
  print("chunk_bytes_per_result", chunks / (million * 1e6));
  print("sort_cpu_s_per_million", sort_cpu / million);
  print("commit_cpu_s_per_million", commit_cpu / million);
  print("commit_server_cpu_s_per_million", (server_cpu - chunk_server) / million);
  print("chunk_cpu_s_per_million", chunk_cpu / million);
  print("chunk_server_cpu_s_per_million", chunk_server / million);
  history::Reader reader(*connection);
  const auto begin = std::chrono::steady_clock::now();
  const auto read = must(reader.results(7, start_ms, start_ms + seconds * 1000));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  print("read_rows", static_cast<double>(read.rows.size()));
  print("read_ms", took.count());
  return 0;
}
