// What history costs for good: bytes on disk per sample, indexes and rollups included, and CPU
// seconds per million samples compacted, for several kinds of round trip times at one echo each
// second and each 5 s. Against a PostgreSQL of its own. Prints one JSON object a line; `reference`
// of a size is the entropy bound of its noise (a Gaussian's; losses and spikes have their own
// share).
//   compact_bench [million samples of each kind] [hours] [only this kind]
#include <cmath>
#include <cstdlib>
#include <iostream>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/history/reader.h"
#include "common/postgres/migrate.h"
#include "services/recorder/bench/measure.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/store.h"
#include "tests/support/ping_results.h"
#include "tests/support/postgres_server.h"
#include "tests/support/wait_until.h"

namespace {

using namespace gema;

using namespace recorder::bench;

void print(const std::string& metric, double value, double reference = 0) {
  recorder::bench::print("history", metric, value, reference);
}

struct Kind {
  const char* name;
  double sigma_us;
  double spikes;  // share
  double lost;    // share
};

double gaussian(Random& random) {
  const double u = (static_cast<double>(random.below(1U << 30)) + 1) / (1U << 30);
  const double v = static_cast<double>(random.below(1U << 30)) / (1U << 30);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
}

// In bytes; what happens seldom with probability p costs its binary entropy, and a spike's height
// what is uniform costs.
double entropy(const Kind& kind) {
  auto binary = [](double p) {
    return p <= 0 ? 0 : -p * std::log2(p) - (1 - p) * std::log2(1 - p);
  };
  const double noise = std::log2(4.13 * kind.sigma_us);
  return ((1 - kind.lost - kind.spikes) * noise + kind.spikes * std::log2(100'000.0) +
          binary(kind.spikes) + binary(kind.lost)) /
         8;
}

class Bench {
 public:
  Bench(double million, int hours) : million_(million), hours_(hours) {}

  void run(const Kind& kind, uint32_t interval_ms) {
    postgres::Options options{.conninfo = server_.conninfo()};
    auto connection = must(postgres::Connection::open(options));
    must(connection->transact([](postgres::Transaction& tx) {
      tx.exec("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    }));
    must(postgres::migrate(*connection));
    const double per_device = 3600.0 * 1000 / interval_ms * hours_;
    const auto devices = static_cast<DeviceId>(std::ceil(million_ * 1e6 / per_device));
    const uint64_t samples = fill(options, kind, interval_ms, devices);
    recorder::CompactOptions compact{.postgres = options};
    compact.raw_retention = compact.minutes_retention = std::chrono::hours(24 * 36500);
    recorder::CompactStore store(compact);
    // The backend that filled it has ended: what it took does not vanish in between.
    const bool alone = testing::wait_until([&] {
      auto others = connection->transact([](postgres::Transaction& tx) {
        return tx.exec("SELECT FROM pg_stat_activity WHERE backend_type = 'client backend'").size();
      });
      return others && *others == 1;
    });
    if (!alone) std::exit(4);
    const double own = own_cpu_s();
    const double server = living_cpu_s(*connection);
    recorder::Compacted done;
    do {
      done.add(must(store.step(wall_from_ms(kStart + 3 * 86'400'000))));
    } while (done.more);
    const double n = static_cast<double>(samples);
    const double own_cpu = own_cpu_s() - own;
    const double server_cpu = living_cpu_s(*connection) - server;
    if (done.results != samples) std::exit(3);
    const auto status = must(store.status(wall_from_ms(kStart)));
    auto bytes = [&](const char* table) {
      return static_cast<double>(status.table_bytes.at(table)) / n;
    };
    const std::string suffix = (interval_ms == 5000 ? "5s_" : "") + std::string(kind.name);
    const double all =
        bytes("ping_packed") + bytes("ping_rollup_minutes") + bytes("ping_rollup_hours");
    print("bytes_per_sample_cold_" + suffix, all, entropy(kind));
    print("packed_bytes_per_sample_" + suffix, bytes("ping_packed"));
    print("packed_payload_per_sample_" + suffix, static_cast<double>(done.packed_bytes) / n);
    print("minutes_bytes_per_sample_" + suffix, bytes("ping_rollup_minutes"));
    print("minutes_payload_per_sample_" + suffix, static_cast<double>(done.rollup_bytes) / n);
    print("hours_bytes_per_sample_" + suffix, bytes("ping_rollup_hours"));
    if (std::getenv("VERBOSE_RELATIONS") != nullptr) {
      auto shown = connection->transact([&](postgres::Transaction& tx) {
        for (const auto& row : tx.exec(
                 "SELECT c.relname, pg_relation_size(c.oid), pg_table_size(c.oid),"
                 " pg_total_relation_size(c.oid) FROM pg_class c WHERE relname ~"
                 " 'ping_(packed|rollup).*_' OR oid IN (SELECT reltoastrelid FROM pg_class WHERE"
                 " relname ~ 'ping_packed_')")) {
          std::cerr << row[0].as<std::string>() << " " << row[1].as<int64_t>() / n << " "
                    << row[2].as<int64_t>() / n << " " << row[3].as<int64_t>() / n << "\n";
        }
      });
      (void)shown;
    }
    print("short_chunk_bytes_per_sample_" + suffix, bytes("ping_chunks"));
    print("compact_cpu_s_per_million_" + suffix, own_cpu / n * 1e6);
    print("compact_server_cpu_s_per_million_" + suffix, server_cpu / n * 1e6);
  }

 private:
  static constexpr int64_t kStart = 1'799'971'200'000;  // a day begins

  // A chunk each minute, as the recorder writes them. Returns how many samples.
  uint64_t fill(const postgres::Options& options, const Kind& kind, uint32_t interval_ms,
                DeviceId devices) {
    recorder::Store store(options);
    auto known = must(store.load("ping"));
    std::array<uint64_t, kPartitions> seq{};
    uint64_t samples = 0;
    for (int minute = 0; minute < hours_ * 60; ++minute) {
      recorder::Batch batch{.stream = "ping",
                            .token = minute + 1,
                            .before = known.positions,
                            .after = known.positions,
                            .tokens = known.tokens};
      const int64_t from = kStart + minute * 60'000;
      std::array<PingResults, kPartitions> batches;
      for (DeviceId d = 1; d <= devices; ++d) {
        PingResults& r = batches[partition_of(d)];
        r.location = "default";
        for (int64_t due = slot_after(d, interval_ms, from - 1); due < from + 60'000;
             due += interval_ms) {
          const bool lost = random_.chance(static_cast<uint32_t>(kind.lost * 1000));
          const bool spike = random_.chance(static_cast<uint32_t>(kind.spikes * 1000));
          double rtt =
              5'000 + static_cast<double>(d % 100) * 300 + kind.sigma_us * gaussian(random_);
          if (spike) rtt += static_cast<double>(random_.below(100'000));
          testing::append(r, {.device = d,
                              .interval_ms = interval_ms,
                              .due_ms = due,
                              .verdict = lost ? Verdict::kFailed : Verdict::kAnswered,
                              .rtt_us = static_cast<uint32_t>(std::max(1.0, rtt))});
          ++samples;
        }
      }
      for (uint32_t p = 0; p < kPartitions; ++p) {
        if (batches[p].empty()) continue;
        recorder::RecordRow row{.key = {"prober-1", 1, p, ++seq[p]},
                                .produced_at_us = from * 1000,
                                .results = static_cast<uint32_t>(batches[p].size())};
        encode_ping(batches[p], row.payload);
        batch.after.set({"prober-1", 1, p}, {.cumulative = seq[p], .highest = seq[p], .order = 1});
        batch.records.push_back(std::move(row));
      }
      const auto done = must(store.commit(batch));
      if (done.conflict) std::exit(2);
      known.positions = batch.after;
      known.tokens = done.tokens;
      for (uint32_t p = 0; p < kPartitions; ++p) {
        must(store.chunk(p, wall_from_ms(from + 60'000), std::chrono::hours(24 * 36500)));
      }
    }
    return samples;
  }

  const double million_;
  const int hours_;
  testing::PostgresServer server_;
  Random random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  auto argument = [&](int i, double otherwise) {
    return argc > i ? std::strtod(argv[i], nullptr) : otherwise;
  };
  Bench bench(argument(1, 0.7), static_cast<int>(argument(2, 4)));
  const Kind kinds[] = {{"5us", 5, 0, 0},
                        {"100us", 100, 0, 0},
                        {"1ms", 1000, 0, 0},
                        {"spikes", 100, 0.01, 0},
                        {"loss1", 100, 0, 0.01}};
  for (const uint32_t interval_ms : {1000U, 5000U}) {
    for (const Kind& kind : kinds) {
      if (argc <= 3 || std::string(argv[3]) == kind.name) bench.run(kind, interval_ms);
    }
  }
  return 0;
}
