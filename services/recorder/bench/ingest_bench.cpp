// What writing history costs, all in all, against a table with a row for each result: both in one
// run, in turns, each in a PostgreSQL of its own with the settings that are given (tests/bench/
// history_ingest gives those of deploy/local/templates/postgresql.conf).
//   ingest_bench [--quick] [--rounds N] [--hours-per-round N] [--prefill ROWS] [NAME=VALUE...]
//
// Ours, counted: the recorder's decoding, judging, committing of hot rows (every second, as 900 ms
// and flushes of 200 ms make it), transposing into short chunks (every 120 s of slots), packing the
// closed hours, rolling them up, dropping what was packed; and everything that PostgreSQL does,
// with a checkpoint at the end of each round. Not counted: making the results, and the bus (the
// catch-up measures that).
// Theirs, counted: everything that PostgreSQL does for binary COPYs of one second of all devices
// each into an empty-of-frills table keyed (device_id, at), again with checkpoint and autovacuum.
// Not counted: their client.
// CPU of a server is that of all its processes from one of its rounds to its next one.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "common/codec/ping_codec.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "services/recorder/bench/ingest_load.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/sorter.h"
#include "services/recorder/io/store.h"
#include "tests/support/postgres_server.h"

namespace {

using namespace gema;
using namespace gema::recorder::bench;
using postgres::Transaction;

constexpr DeviceId kDevices = 10'000;
constexpr int64_t kStart = 1'799'971'200'000;  // a day begins
constexpr int64_t kChunkEveryMs = 120'000;     // as recorder.chunk_every_s is by default
constexpr auto kForEver = std::chrono::hours(24 * 36500);

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void say(const std::string& text) {
  std::cerr << text << "\n" << std::flush;
}

class Server {
 public:
  explicit Server(const std::vector<std::string>& settings)
      : server_({.fsync = true, .settings = settings}),
        postmaster_(postmaster_of(server_.socket_dir())) {}

  postgres::Options options(const std::string& application) const {
    return {.application = application, .conninfo = server_.conninfo()};
  }
  double cpu_s() const { return server_cpu_s(postmaster_); }
  // CPU of the backends of that application.
  double backend_cpu_s(postgres::Connection& connection, const std::string& application) {
    double total = 0;
    auto pids = must(connection.transact([&](Transaction& tx) {
      return tx.exec("SELECT pid FROM pg_stat_activity WHERE application_name = $1", application);
    }));
    for (const auto& row : pids) total += process_cpu_s(row[0].as<int>());
    return total;
  }
  static void checkpoint(postgres::Connection& connection) {
    must(connection.transact([](Transaction& tx) { tx.exec("CHECKPOINT"); }));
  }

 private:
  testing::PostgresServer server_;
  int postmaster_;
};

struct Round {
  uint64_t samples = 0;
  double own_s = 0;
  double server_s = 0;
  double per_cpu_s() const { return static_cast<double>(samples) / (own_s + server_s); }
};

// --- a row for each result ----------------------------------------------------------------------

class Keyed {
 public:
  explicit Keyed(const std::vector<std::string>& settings)
      : server_(settings),
        connection_(must(postgres::Connection::open(server_.options("keyed")))),
        load_(1, kDevices, 7) {
    must(connection_->transact([](Transaction& tx) {
      tx.exec(
          "CREATE TABLE pings (device_id bigint NOT NULL, at timestamptz NOT NULL,"
          " rtt_us integer, location smallint NOT NULL, outcome smallint NOT NULL,"
          " PRIMARY KEY (device_id, at))");
    }));
  }

  // Adds so many seconds of all devices.
  Round run(int64_t seconds) {
    Round round;
    const double before = server_.cpu_s();
    for (int64_t s = 0; s < seconds; ++s, ++second_) {
      for (int64_t flush = 0; flush < static_cast<int64_t>(Load::kFlushes); ++flush) {
        load_.flush(kStart + second_ * 1000 + flush * Load::kFlushMs,
                    batches_[static_cast<size_t>(flush)]);
      }
      must(connection_->transact([&](Transaction& tx) { round.samples += copy(tx); }));
    }
    Server::checkpoint(*connection_);
    round.server_s = server_.cpu_s() - before;
    rows_ += round.samples;
    return round;
  }

  double cpu_s() const { return server_.cpu_s(); }
  uint64_t rows() const { return rows_; }
  double bytes_per_sample() {
    return static_cast<double>(must(connection_->transact([](Transaction& tx) {
             return tx.exec("SELECT pg_total_relation_size('pings')")[0][0].as<int64_t>();
           }))) /
           static_cast<double>(rows_);
  }

 private:
  uint64_t copy(Transaction& tx) {
    uint64_t rows = 0;
    postgres::CopyIn copy(tx, "COPY pings FROM STDIN (FORMAT binary)");
    for (const auto& flush : batches_) {
      for (const PingResults& r : flush) {
        for (size_t i = 0; i < r.size(); ++i, ++rows) {
          copy.row(5);
          copy.int64(static_cast<int64_t>(r.device[i]));
          copy.timestamptz_us(r.due_ms[i] * 1000);
          if (r.echo_outcome[i] == EchoOutcome::kReply) {
            copy.int32(static_cast<int32_t>(r.echo_rtt_us[i]));
          } else {
            copy.null();
          }
          copy.int16(1);
          copy.int16(static_cast<int16_t>(r.echo_outcome[i]));
        }
      }
    }
    copy.finish();
    return rows;
  }

  Server server_;
  std::unique_ptr<postgres::Connection> connection_;
  Load load_;
  std::array<std::array<PingResults, kPartitions>, Load::kFlushes> batches_;
  int64_t second_ = 0;
  uint64_t rows_ = 0;
};

// --- ours ---------------------------------------------------------------------------------------

class Ours {
 public:
  explicit Ours(const std::vector<std::string>& settings)
      : server_(settings),
        connection_(must(postgres::Connection::open(server_.options("bench")))),
        load_(1, kDevices, 7),
        sorter_(recorder::make_ping_sorter(kForEver)) {
    must(postgres::migrate(*connection_));
    store_ = std::make_unique<recorder::Store>(server_.options("commit"));
    chunk_store_ = std::make_unique<recorder::Store>(server_.options("chunk"));
    recorder::CompactOptions options{.postgres = server_.options("compact")};
    options.raw_retention = options.minutes_retention = kForEver;
    compact_store_ = std::make_unique<recorder::CompactStore>(options);
    known_ = must(store_->load("ping"));
    must(chunk_store_->ensure_ready());
    must(compact_store_->status(wall_from_ms(kStart)));
    batch_.after = known_.positions;
  }

  // Records and compacts so many hours.
  Round run(int64_t hours) {
    Round round;
    const std::array<const char*, 3> names{"commit", "chunk", "compact"};
    std::array<double, 3> backends{};
    for (size_t i = 0; i < 3; ++i) backends[i] = -server_.backend_cpu_s(*connection_, names[i]);
    const double server_before = server_.cpu_s();
    double sort_s = 0, commit_s = 0, chunk_s = 0, compact_s = 0;
    for (int64_t end = (hour_ + hours) * 3'600'000; hour_ * 3'600'000 < end; ++hour_) {
      for (int64_t step = 0; step < 3'600'000 / Load::kFlushMs; ++step) {
        const int64_t from_ms = kStart + hour_ * 3'600'000 + step * Load::kFlushMs;
        now_ = Now{.wall = wall_from_ms(from_ms + Load::kFlushMs)};
        round.samples += make(from_ms);
        double t0 = thread_cpu_s();
        for (auto& d : deliveries_) sorter_->take(std::move(d), now_, batch_);
        double t1 = thread_cpu_s();
        sort_s += t1 - t0;
        if (step % 5 == 4) {
          commit();
          t0 = thread_cpu_s();
          commit_s += t0 - t1;
        }
        if ((step + 1) % (kChunkEveryMs / Load::kFlushMs) == 0) {
          t0 = thread_cpu_s();
          chunk();
          chunk_s += thread_cpu_s() - t0;
        }
      }
      if (hour_ == 0) measure_hot();
      const double t0 = thread_cpu_s();
      compact();
      compact_s += thread_cpu_s() - t0;
    }
    Server::checkpoint(*connection_);
    round.own_s = sort_s + commit_s + chunk_s + compact_s;
    round.server_s = server_.cpu_s() - server_before;
    const double million = static_cast<double>(round.samples) / 1e6;
    for (size_t i = 0; i < 3; ++i) backends[i] += server_.backend_cpu_s(*connection_, names[i]);
    say(
        fmt::format("  CPU us a sample: sort {:.3f}, commit {:.3f} + {:.3f}, chunk {:.3f} + {:.3f},"
                    " compact {:.3f} + {:.3f}, other processes of PostgreSQL {:.3f}",
                    sort_s / million, commit_s / million, backends[0] / million, chunk_s / million,
                    backends[1] / million, compact_s / million, backends[2] / million,
                    (round.server_s - backends[0] - backends[1] - backends[2]) / million));
    return round;
  }

  double hot_bytes() const { return hot_bytes_; }
  double chunk_bytes() const { return chunk_bytes_; }
  double cold_bytes() {
    double bytes = 0;
    for (const char* table : {"ping_packed", "ping_rollup_minutes"}) {
      bytes += static_cast<double>(bytes_of(*connection_, table));
    }
    return bytes / static_cast<double>(samples_);
  }
  uint64_t recorded() const { return samples_; }
  uint64_t packed() const { return packed_; }
  uint64_t doubled() const { return doubled_; }
  double cpu_s() const { return server_.cpu_s(); }

 private:
  uint64_t make(int64_t from_ms) {
    deliveries_.clear();
    const uint64_t results = load_.flush(from_ms, flush_);
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (flush_[p].empty()) continue;
      stream::Delivery d{.key = {"prober-1", 1, p, ++seq_[p]}};
      encode_ping(flush_[p], d.payload);
      batch_.after.set({"prober-1", 1, p}, {.cumulative = seq_[p], .highest = seq_[p], .order = 1});
      deliveries_.push_back(std::move(d));
    }
    samples_ += results;
    return results;
  }

  void commit() {
    batch_.stream = "ping";
    batch_.token = ++token_;
    batch_.before = known_.positions;
    batch_.tokens = known_.tokens;
    const auto done = must(store_->commit(batch_));
    if (done.conflict) std::exit(2);
    known_.positions = batch_.after;
    known_.tokens = done.tokens;
    recorder::Batch next;
    next.after = batch_.after;
    batch_ = std::move(next);
  }

  void chunk() {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      while (must(chunk_store_->chunk(p, now_.wall, kForEver)).more) {
      }
    }
    must(chunk_store_->housekeep(now_.wall, {.results = kForEver, .transitions = kForEver}));
  }

  void compact() {
    const WallTime closed = wall_from_ms(kStart + (hour_ + 1) * 3'600'000 + 700'000);
    recorder::Compacted done;
    do {
      done.add(must(compact_store_->step(closed)));
    } while (done.more);
    packed_ += done.results;
    doubled_ += done.doubled;
    must(compact_store_->housekeep(closed + 11min));
  }

  void measure_hot() {
    hot_bytes_ =
        static_cast<double>(bytes_of(*connection_, "ping_hot")) / static_cast<double>(samples_);
    chunk_bytes_ =
        static_cast<double>(bytes_of(*connection_, "ping_chunks")) / static_cast<double>(samples_);
  }

  Server server_;
  std::unique_ptr<postgres::Connection> connection_;
  Load load_;
  std::unique_ptr<recorder::Sorter> sorter_;
  std::unique_ptr<recorder::Store> store_;
  std::unique_ptr<recorder::Store> chunk_store_;
  std::unique_ptr<recorder::CompactStore> compact_store_;
  recorder::Loaded known_;
  recorder::Batch batch_;
  std::array<PingResults, kPartitions> flush_;
  std::vector<stream::Delivery> deliveries_;
  std::array<uint64_t, kPartitions> seq_{};
  Now now_{};
  int64_t token_ = 0;
  int64_t hour_ = 0;
  uint64_t samples_ = 0;
  uint64_t packed_ = 0;
  uint64_t doubled_ = 0;
  double hot_bytes_ = 0;
  double chunk_bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  int rounds = 3;
  int64_t hours = 1;
  uint64_t prefill = 20'000'000;
  int64_t seconds = 300;
  bool keyed_too = true;
  std::vector<std::string> settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    auto number = [&] { return i + 1 < argc ? std::strtoll(argv[++i], nullptr, 10) : 0; };
    if (argument == "--quick") {
      rounds = 1;
      prefill = 3'000'000;
      seconds = 100;
    } else if (argument == "--rounds") {
      rounds = static_cast<int>(number());
    } else if (argument == "--hours-per-round") {
      hours = number();
    } else if (argument == "--prefill") {
      prefill = static_cast<uint64_t>(number());
    } else if (argument == "--no-keyed") {
      keyed_too = false;
    } else {
      settings.push_back(argument);
    }
  }
  std::unique_ptr<Keyed> keyed;
  if (keyed_too) {
    keyed = std::make_unique<Keyed>(settings);
    const Round first = keyed->run(static_cast<int64_t>(prefill / kDevices));
    say(fmt::format("keyed table filled with {} rows: {:.0f} a CPU second", keyed->rows(),
                    first.per_cpu_s()));
  }
  Ours ours(settings);
  std::vector<double> stored, copied;
  for (int round = 0; round < rounds; ++round) {
    const Round mine = ours.run(hours);
    stored.push_back(mine.per_cpu_s());
    say(fmt::format("recorder: {} samples, {:.2f} + {:.2f} CPU s, {:.0f} a CPU second",
                    mine.samples, mine.own_s, mine.server_s, mine.per_cpu_s()));
    if (!keyed) continue;
    const Round theirs = keyed->run(seconds);
    copied.push_back(theirs.per_cpu_s());
    say(fmt::format("keyed COPY: {} samples, {:.2f} CPU s, {:.0f} a CPU second, {} rows",
                    theirs.samples, theirs.server_s, theirs.per_cpu_s(), keyed->rows()));
  }
  if (ours.packed() != ours.recorded() || ours.doubled() != 0) {
    say(fmt::format("{} samples were recorded, {} packed, {} doubled", ours.recorded(),
                    ours.packed(), ours.doubled()));
    return 1;
  }
  print("stored_per_cpu_s", median(stored));
  if (keyed) {
    print("keyed_copy_per_cpu_s", median(copied));
    std::cout
        << fmt::format(
               R"({{"bench":"history_ingest","metric":"stored_vs_keyed_copy","value":{:.4g},"reference":10,"ratio":{:.4g}}})",
               median(stored) / median(copied), median(stored) / median(copied) / 10)
        << "\n";
    print("keyed_bytes_per_sample", keyed->bytes_per_sample());
  }
  print("bytes_per_sample_hot", ours.hot_bytes());
  print("bytes_per_sample_short_chunks", ours.chunk_bytes());
  print("bytes_per_sample_packed_and_minutes", ours.cold_bytes());
  return 0;
}
