#include "tests/integration/history_site.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

#include "common/codec/ping_codec.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/rollup.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "common/runtime/clock.h"
#include "tests/support/shifted_clock.h"
#include "tests/support/wait_until.h"

#if !defined(GEMA_RECORDER_BINARY) || !defined(GEMA_RECORDER_AHEAD_BINARY)
#error "set by CMake"
#endif

namespace gema::testing {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr size_t kExamplesMax = 10;
constexpr int64_t kChangeHandsMs = 600'000;
// Appended between two looks at the bus.
constexpr int kAppendsAtOnce = 64;

uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

int64_t floor_to(int64_t ms, int64_t unit) {
  return ms - ((ms % unit) + unit) % unit;
}

template <class T>
T must(Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().message);
  return std::move(*result);
}

// Finds public.now(), which set_clock_ahead makes, before PostgreSQL's own.
PostgresServer::Options with_clock(const SiteOptions& options) {
  PostgresServer::Options out = options.postgres;
  if (options.clock_ahead_ms) out.settings.push_back("search_path=public,pg_catalog");
  return out;
}

// One result of a plan against one that history has.
bool same(const PingResults& one, const history::Row& row, std::span<const history::Echo> echoes) {
  if (one.verdict[0] != row.verdict || one.reason[0] != row.reason ||
      one.interval_ms[0] != row.interval_ms || one.echo_outcome.size() != echoes.size()) {
    return false;
  }
  for (size_t e = 0; e < echoes.size(); ++e) {
    if (one.echo_outcome[e] != echoes[e].outcome || one.echo_rtt_us[e] != echoes[e].rtt_us) {
      return false;
    }
  }
  return true;
}

}  // namespace

// --- what is measured --------------------------------------------------------------------------

uint64_t Plan::samples() const {
  uint64_t n = 0;
  for (DeviceId d = 1; d <= devices; ++d) {
    const int64_t first = slot_after(d, kIntervalMs, from_ms - 1);
    if (first < to_ms) n += static_cast<uint64_t>((to_ms - 1 - first) / kIntervalMs + 1);
  }
  return n;
}

void Plan::measure(DeviceId device, int64_t due_ms, PingResults& r) const {
  const uint64_t h = mixed(seed ^ mixed(device ^ mixed(static_cast<uint64_t>(due_ms))));
  Verdict verdict = Verdict::kAnswered;
  Reason reason = Reason::kNone;
  if (h % 500 == 7) {
    verdict = Verdict::kNotMeasured;
    reason = Reason::kProberSuspect;
  } else {
    const uint32_t echoes = device % 40 == 0 ? 3 : 1;
    uint32_t answered = 0;
    for (uint32_t e = 0; e < echoes; ++e) {
      const uint64_t g = mixed(h + e);
      const bool lost = g % 100 < 2;
      answered += lost ? 0 : 1;
      r.echo_outcome.push_back(lost ? EchoOutcome::kTimeout : EchoOutcome::kReply);
      r.echo_rtt_us.push_back(lost ? 0 : static_cast<uint32_t>(1'000 + (g >> 20) % 700));
    }
    if (answered == 0) {
      verdict = Verdict::kFailed;
      reason = Reason::kTimeout;
    } else if (answered < echoes) {
      reason = Reason::kLossy;
    }
  }
  r.device.push_back(device);
  r.interval_ms.push_back(kIntervalMs);
  r.due_ms.push_back(due_ms);
  r.verdict.push_back(verdict);
  r.reason.push_back(reason);
  r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
}

// --- Feeder ------------------------------------------------------------------------------------

Feeder::Feeder(const Plan& plan, FeederOptions options, bus::BusOptions bus)
    : plan_(plan), options_(std::move(options)), devices_(kPartitions) {
  for (DeviceId d = 1; d <= plan_.devices; ++d) devices_[partition_of(d)].push_back(d);
  bus_ = must(bus::BusClient::open(std::move(bus)), "bus");
  producer_ = must(stream::Producer::open({.dir = options_.spool,
                                           .stream = "ping",
                                           .name = options_.name,
                                           .groups = {"recorder"},
                                           .bytes_max = options_.spool_bytes_max},
                                          runtime::read_clock()),
                   "producer");
  for (const std::string& prefix : producer_->subscriptions()) bus_->subscribe(prefix);
  if (options_.resume) {
    for (const auto& [key, position] : producer_->own_positions()) {
      in_spool_.at(key.partition) += position.cumulative;
    }
  }
  thread_ = std::thread([this] { run(); });
}

Feeder::~Feeder() {
  stop_ = true;
  thread_.join();
}

void Feeder::feed(int64_t from_ms, int64_t to_ms) {
  const std::lock_guard lock(mutex_);
  spans_.emplace_back(from_ms, to_ms);
  appended_all_ = false;
}

std::string Feeder::failure() const {
  const std::lock_guard lock(failure_mutex_);
  return failure_;
}

// The same blocks in the same order each time.
void Feeder::cut(int64_t from_ms, int64_t to_ms) {
  const int64_t step = int64_t{plan_.block_ms};
  for (int64_t at = from_ms; at < to_ms; at += step) {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      const Block block{p, at, std::min(at + step, to_ms)};
      if (our_devices(block) > 0) blocks_.push_back(block);
    }
  }
  if (options_.late_per_mille == 0) return;
  std::vector<std::pair<size_t, Block>> order;
  for (const Block& block : blocks_) {
    const uint64_t h = mixed(
        plan_.seed ^ mixed(static_cast<uint64_t>(block.from_ms) * kPartitions + block.partition));
    const bool late = h % 1000 < options_.late_per_mille;
    order.emplace_back(order.size() + (late ? (h >> 20) % (blocks_.size() / 3 + 1) : 0), block);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(order.begin(), order.end(), blocks_.begin(),
                 [](const auto& entry) { return entry.second; });
}

bool Feeder::is_ours(DeviceId device, const Block& block) const {
  const auto turn = static_cast<uint64_t>(block.from_ms / kChangeHandsMs);
  return (mixed(device) + turn) % options_.producers == options_.number;
}

uint64_t Feeder::our_devices(const Block& block) const {
  const auto& all = devices_[block.partition];
  return std::count_if(all.begin(), all.end(), [&](DeviceId d) { return is_ours(d, block); });
}

bool Feeder::append(const Block& block, Now now) {
  if (in_spool_[block.partition] > 0) {
    --in_spool_[block.partition];
    const uint64_t samples =
        our_devices(block) *
        static_cast<uint64_t>((block.to_ms - block.from_ms) / Plan::kIntervalMs);
    samples_ += samples;
    began_samples_ += samples;
    return true;
  }
  results_ = {};
  results_.location = "default";
  for (const DeviceId d : devices_[block.partition]) {
    if (!is_ours(d, block)) continue;
    for (int64_t due = slot_after(d, Plan::kIntervalMs, block.from_ms - 1); due < block.to_ms;
         due += Plan::kIntervalMs) {
      plan_.measure(d, due, results_);
    }
  }
  encode_ping(results_, payload_);
  const auto seq = producer_->append(block.partition, payload_, now);
  if (!seq) {
    const std::lock_guard lock(failure_mutex_);
    failure_ = seq.error().message;
    return seq.error().code != Errc::kRetryable;
  }
  samples_ += results_.size();
  return true;
}

void Feeder::append_due(Now now) {
  if (held_) {
    began_ = {};
    return;
  }
  if (began_ == MonoTime{}) {
    began_ = now.mono;
    began_samples_ = samples_;
  }
  for (int i = 0; i < kAppendsAtOnce; ++i) {
    if (options_.unacknowledged_max > 0 &&
        producer_->stats().unacknowledged >= options_.unacknowledged_max) {
      return;
    }
    if (options_.samples_per_second > 0 &&
        static_cast<double>(samples_ - began_samples_) >
            options_.samples_per_second *
                std::chrono::duration<double>(now.mono - began_).count()) {
      return;
    }
    if (next_ == blocks_.size()) {
      blocks_.clear();
      next_ = 0;
      const std::lock_guard lock(mutex_);
      if (spans_.empty()) {
        appended_all_ = true;
        return;
      }
      cut(spans_.front().first, spans_.front().second);
      spans_.erase(spans_.begin());
      continue;
    }
    if (!append(blocks_[next_], now)) return;
    ++next_;
  }
}

void Feeder::run() {
  std::string topic;
  std::string payload;
  while (!stop_) {
    const Now now = runtime::read_clock();
    while (bus_->receive(topic, payload)) producer_->on_message(topic, payload, now);
    bus_->tick(now);
    append_due(now);
    producer_->tick(now);
    for (const stream::Outgoing& m : producer_->take_outgoing(now)) {
      bus_->publish(m.topic, m.payload);
    }
    const stream::ProducerStats stats = producer_->stats();
    unacknowledged_ = stats.unacknowledged;
    replayed_ = stats.replayed;
    dropped_ = stats.dropped;
    spool_bytes_ = stats.spool_bytes;
    pollfd waiting{.fd = bus_->fd(), .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, 2);
  }
}

// --- Audit -------------------------------------------------------------------------------------

void Audit::note(const std::string& what) {
  if (examples.size() < kExamplesMax) examples.push_back(what);
}

void Audit::add(const Audit& other) {
  expected += other.expected;
  found += other.found;
  lost += other.lost;
  doubled += other.doubled;
  wrong += other.wrong;
  broken += other.broken;
  for (const std::string& example : other.examples) note(example);
}

std::string Audit::text() const {
  std::string out = fmt::format("expected {}, found {}, lost {}, doubled {}, wrong {}, broken {}",
                                expected, found, lost, doubled, wrong, broken);
  for (const std::string& example : examples) out += "\n  " + example;
  return out;
}

// --- HistorySite -------------------------------------------------------------------------------

HistorySite::HistorySite(SiteOptions options)
    : options_(std::move(options)), broker_(options_.broker), postgres_(with_clock(options_)) {
  if (options_.clock_ahead_ms) set_clock_ahead(*options_.clock_ahead_ms);
  auto connection = connect();
  const auto migrated = postgres::migrate(*connection);
  if (!migrated) throw std::runtime_error(migrated.error().message);
}

std::unique_ptr<postgres::Connection> HistorySite::connect() {
  postgres::Options options{.conninfo = postgres_.conninfo()};
  options.statement_timeout = std::chrono::minutes(5);
  return must(postgres::Connection::open(options), "connect");
}

std::string HistorySite::sql(const std::string& statement) {
  return must(connect()->transact([&](Transaction& tx) {
    const auto rows = tx.exec(statement);
    return rows.empty() || rows[0][0].is_null() ? std::string() : rows[0][0].as<std::string>();
  }),
              statement.c_str());
}

void HistorySite::start_recorder() {
  const char* program = options_.clock_ahead_ms ? GEMA_RECORDER_AHEAD_BINARY : GEMA_RECORDER_BINARY;
  ChildOptions child{.command = {program, "--data-dir", broker_.dir().string()},
                     .log = broker_.dir() / "recorder.log",
                     .environment = options_.recorder_settings};
  child.environment.push_back("GEMA_BUS__INGRESS=" + broker_.ingress());
  child.environment.push_back("GEMA_BUS__INNER=" + broker_.inner());
  child.environment.push_back("GEMA_BUS__EDGE=" + broker_.edge());
  child.environment.push_back("GEMA_POSTGRES__HOST=" + postgres_.socket_dir());
  if (options_.clock_ahead_ms) {
    child.environment.push_back(
        fmt::format("{}={}", kClockAheadVariable, *options_.clock_ahead_ms));
  }
  recorder_ = ChildProcess(child);
}

void HistorySite::set_clock_ahead(int64_t ms) {
  options_.clock_ahead_ms = ms;
  sql(
      fmt::format("CREATE OR REPLACE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE"
                  " AS $$ SELECT pg_catalog.now() + {} * interval '1 millisecond' $$",
                  ms));
}

void HistorySite::kill_recorder() {
  recorder_.signal(SIGKILL);
  recorder_.wait();
}

std::string HistorySite::readyz() const {
  return bus::testing::http_get(broker_.dir() / "run" / "recorder.http.sock", "/readyz");
}

double HistorySite::recorder_metric(const std::string& series) const {
  std::istringstream lines(
      bus::testing::http_get(broker_.dir() / "run" / "recorder.http.sock", "/metrics"));
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.substr(0, series.size()) == series) sum += bus::testing::number_at_end(line);
  }
  return sum;
}

std::string HistorySite::recorder_log() const {
  std::ifstream file(broker_.dir() / "recorder.log");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

FeederOptions HistorySite::feeder_options() const {
  return {.spool = broker_.dir() / "spool" / "prober-1"};
}

std::unique_ptr<Feeder> HistorySite::feeder(const Plan& plan, FeederOptions options) const {
  if (options.spool.empty()) options.spool = broker_.dir() / "spool" / options.name;
  const std::string name = options.name;
  return std::make_unique<Feeder>(plan, std::move(options), broker_.client_options(name));
}

bool HistorySite::settled() {
  return sql("SELECT (SELECT count(*) FROM stream_heads h JOIN ping_watermarks w USING (partition)"
             " WHERE h.stream = 'ping' AND h.number > w.number)"
             " + (SELECT count(*) FROM ping_hours WHERE written > compacted AND hour_ms + 3600000"
             "    < extract(epoch FROM now()) * 1000)"
             " + (SELECT count(DISTINCT hour_ms - hour_ms % 86400000) FROM ping_rollup_minutes"
             "    WHERE hour_ms - hour_ms % 86400000 + 86400000 < extract(epoch FROM now()) * 1000"
             "    AND hour_ms - hour_ms % 86400000 NOT IN (SELECT day_ms FROM ping_days))") == "0";
}

bool HistorySite::wait_settled(std::chrono::milliseconds deadline) {
  return wait_until([&] { return settled(); }, deadline);
}

uint64_t HistorySite::drop_leaves() {
  return std::stoull(
      sql("SELECT ping_hot_drop_leaves(now())"
          " + ping_chunks_drop_compacted((extract(epoch FROM now()) * 1000)::bigint + 60000)"));
}

Audit HistorySite::audit_reader(const Plan& plan) {
  Audit audit;
  auto connection = connect();
  history::Reader reader(*connection);
  PingResults one;
  for (DeviceId d = 1; d <= plan.devices; ++d) {
    const auto results = must(reader.results(d, 0, 9'000'000'000'000, ~size_t{0}), "results");
    audit.broken += reader.broken().size();
    int64_t due = slot_after(d, Plan::kIntervalMs, plan.from_ms - 1);
    auto lost_until = [&](int64_t until) {
      for (; due < until; due += Plan::kIntervalMs) {
        ++audit.expected;
        ++audit.lost;
        audit.note(fmt::format("device {}: slot {} is lost", d, due));
      }
    };
    int64_t last = INT64_MIN;
    for (const history::Row& row : results.rows) {
      lost_until(std::min(row.due_ms, plan.to_ms));
      if (row.due_ms == last) {
        ++audit.doubled;
        audit.note(fmt::format("device {}: slot {} is read twice", d, row.due_ms));
        continue;
      }
      last = row.due_ms;
      if (row.due_ms != due || due >= plan.to_ms) {
        ++audit.wrong;
        audit.note(fmt::format("device {}: slot {} was never measured", d, row.due_ms));
        continue;
      }
      ++audit.expected;
      ++audit.found;
      due += Plan::kIntervalMs;
      one = {};
      plan.measure(d, row.due_ms, one);
      if (!same(one, row, results.echoes_of(row))) {
        ++audit.wrong;
        audit.note(fmt::format("device {}: slot {} is not as it was measured", d, row.due_ms));
      }
    }
    lost_until(plan.to_ms);
  }
  return audit;
}

Audit HistorySite::audit_tables(const Plan& plan, bool packed_only) {
  Audit audit;
  auto connection = connect();
  for (DeviceId d = 1; d <= plan.devices; ++d) {
    std::map<int64_t, int> packed_slots;
    std::set<int64_t> all;
    auto take = [&](const ChunkView& view, bool packed, int64_t claimed) {
      PingResults results;
      if (!append_chunk(view, results, nullptr)) {
        ++audit.broken;
        return;
      }
      if (claimed >= 0 && claimed != static_cast<int64_t>(results.size())) {
        ++audit.doubled;
        audit.note(fmt::format("device {}: a packed row at {} counts {} results and holds {}", d,
                               view.start_ms, claimed, results.size()));
      }
      for (const int64_t due : results.due_ms) {
        all.insert(due);
        if (packed && ++packed_slots[due] == 2) {
          ++audit.doubled;
          audit.note(fmt::format("device {}: slot {} is in two packed rows", d, due));
        }
      }
    };
    auto done = connection->transact([&](Transaction& tx) {
      Params params;
      params.int64(static_cast<int64_t>(d));
      const BinaryResult packed(tx,
                                "SELECT start_ms, step_ms, results, packed, details FROM"
                                " ping_packed WHERE device_id = $1",
                                params);
      ChunkArrays arrays;
      for (int i = 0; i < packed.rows(); ++i) {
        if (!unpack_chunk(packed.bytes(i, 3), arrays)) {
          ++audit.broken;
          continue;
        }
        take({.device = d,
              .start_ms = packed.int64(i, 0),
              .step_ms = static_cast<uint32_t>(packed.int32(i, 1)),
              .echoes = arrays.echoes,
              .samples = arrays.samples,
              .extra = arrays.extra,
              .details = packed.bytes(i, 4)},
             true, packed.int32(i, 2));
      }
      const BinaryResult chunks(tx,
                                "SELECT start_ms, step_ms, coalesce(echoes, 0::smallint), samples,"
                                " extra, details, packed FROM ping_chunks WHERE device_id = $1",
                                params);
      std::vector<int32_t> samples, extra;
      for (int i = 0; i < chunks.rows(); ++i) {
        if (!chunks.is_null(i, 6)) {
          if (!unpack_chunk(chunks.bytes(i, 6), arrays)) {
            ++audit.broken;
            continue;
          }
          take({.device = d,
                .start_ms = chunks.int64(i, 0),
                .step_ms = static_cast<uint32_t>(chunks.int32(i, 1)),
                .echoes = arrays.echoes,
                .samples = arrays.samples,
                .extra = arrays.extra,
                .details = chunks.bytes(i, 5)},
               false, -1);
          continue;
        }
        if (!chunks.int32_array(i, 3, samples) || !chunks.int32_array(i, 4, extra)) {
          ++audit.broken;
          continue;
        }
        take({.device = d,
              .start_ms = chunks.int64(i, 0),
              .step_ms = static_cast<uint32_t>(chunks.int32(i, 1)),
              .echoes = static_cast<uint32_t>(chunks.int16(i, 2)),
              .samples = samples,
              .extra = extra,
              .details = chunks.bytes(i, 5)},
             false, -1);
      }
      if (packed_only && chunks.rows() > 0) {
        ++audit.wrong;
        audit.note(fmt::format("device {}: {} short chunks are left", d, chunks.rows()));
      }
    });
    if (!done) throw std::runtime_error(done.error().message);
    const int64_t first = slot_after(d, Plan::kIntervalMs, plan.from_ms - 1);
    for (int64_t due = first; due < plan.to_ms; due += Plan::kIntervalMs) {
      ++audit.expected;
      if (all.count(due) > 0) {
        ++audit.found;
      } else {
        ++audit.lost;
        audit.note(fmt::format("device {}: slot {} is in no table", d, due));
      }
    }
    audit.wrong += all.size() - std::min<uint64_t>(all.size(), audit.found);
  }
  return audit;
}

Audit HistorySite::audit_rollups(const Plan& plan) {
  Audit audit;
  auto connection = connect();
  struct Kind {
    const char* table;
    const char* period;
    const char* column;
    int64_t span_ms;
  };
  // Recent hours are of use until their day is built.
  std::set<int64_t> built;
  auto days_built = connection->transact([&](Transaction& tx) {
    for (const auto& row : tx.exec("SELECT day_ms FROM ping_days"))
      built.insert(row[0].as<int64_t>());
  });
  if (!days_built) throw std::runtime_error(days_built.error().message);
  for (const Kind& kind : {Kind{"ping_rollup_minutes", "hour_ms", "rollups", kHourMs},
                           Kind{"ping_rollup_recent", "hour_ms", "rollup", kHourMs},
                           Kind{"ping_rollup_hours", "day_ms", "rollups", kDayMs}}) {
    const bool days = kind.span_ms == kDayMs;
    const bool recent = kind.column == std::string_view("rollup");
    std::map<std::pair<DeviceId, int64_t>, Rollup> stored;
    auto done = connection->transact([&](Transaction& tx) {
      const BinaryResult rows(
          tx, fmt::format("SELECT device_id, {}, {} FROM {}", kind.period, kind.column, kind.table),
          {});
      for (int i = 0; i < rows.rows(); ++i) {
        const auto all = unpack_rollups(rows.bytes(i, 2));
        if (!all) {
          ++audit.broken;
          continue;
        }
        Rollup& sum = stored[{static_cast<DeviceId>(rows.int64(i, 0)), rows.int64(i, 1)}];
        for (const Rollup& one : *all) sum.merge(one);
      }
    });
    if (!done) throw std::runtime_error(done.error().message);
    PingResults one;
    for (DeviceId d = 1; d <= plan.devices; ++d) {
      for (int64_t at = floor_to(plan.from_ms, kind.span_ms); at < plan.to_ms; at += kind.span_ms) {
        const auto it = stored.find({d, at});
        // The day of now is not built yet.
        if (days && it == stored.end() && at + kDayMs > unix_ms(runtime::read_clock().wall))
          continue;
        if (recent && built.count(floor_to(at, kDayMs)) > 0) continue;
        Rollup expected;
        const int64_t begin = std::max(at, plan.from_ms);
        const int64_t end = std::min(at + kind.span_ms, plan.to_ms);
        for (int64_t due = slot_after(d, Plan::kIntervalMs, begin - 1); due < end;
             due += Plan::kIntervalMs) {
          one = {};
          plan.measure(d, due, one);
          ++expected.verdicts[static_cast<size_t>(one.verdict[0])];
          ++expected.reasons[static_cast<size_t>(one.reason[0])];
          for (size_t e = 0; e < one.echo_outcome.size(); ++e) {
            ++expected.outcomes[static_cast<size_t>(one.echo_outcome[e])];
            expected.rtt_sum_us += one.echo_rtt_us[e];
          }
        }
        const Rollup got = it == stored.end() ? Rollup{} : it->second;
        audit.expected += expected.checks();
        audit.found += std::min(expected.checks(), got.checks());
        if (got.checks() < expected.checks()) {
          audit.lost += expected.checks() - got.checks();
        } else if (got.checks() > expected.checks()) {
          audit.doubled += got.checks() - expected.checks();
        } else if (got.verdicts != expected.verdicts || got.reasons != expected.reasons ||
                   got.outcomes != expected.outcomes || got.rtt_sum_us != expected.rtt_sum_us) {
          ++audit.wrong;
        } else {
          continue;
        }
        audit.note(fmt::format("device {}: {} of {} counts {} checks, not {}", d, kind.table, at,
                               got.checks(), expected.checks()));
      }
    }
  }
  return audit;
}

}  // namespace gema::testing
