#include "tests/bench/history_reads/dataset.h"

#include <algorithm>
#include <thread>

#include "common/codec/ping_codec.h"
#include "common/postgres/binary.h"
#include "tests/bench/history_reads/report.h"

namespace gema::bench {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayMs = 86'400'000;
constexpr Duration kForever = std::chrono::hours(24 * 36'500);
// As recorder.chunk_every_s is by default.
constexpr int64_t kChunkMs = 120'000;
// Short chunks are of two minutes from here on: the open hour, and those that wait for it.
constexpr int64_t kShortMs = 80 * kMinuteMs;

std::vector<DeviceId> all_ids(uint32_t devices) {
  std::vector<DeviceId> ids;
  for (DeviceId d = 1; d <= devices; ++d) ids.push_back(d);
  return ids;
}

void append(const Sample& s, DeviceId device, int64_t due_ms, PingResults& to) {
  if (s.burst_sent > 0) to.burst.push_back({static_cast<uint32_t>(to.size()), s.burst_sent, {}});
  to.device.push_back(device);
  to.interval_ms.push_back(kIntervalMs);
  to.due_ms.push_back(due_ms);
  to.verdict.push_back(s.verdict);
  to.reason.push_back(s.reason);
  if (s.verdict != Verdict::kNotMeasured) {
    to.echo_outcome.push_back(s.outcome);
    to.echo_rtt_us.push_back(s.rtt_us);
  }
  to.echo_begin.push_back(static_cast<uint32_t>(to.echo_outcome.size()));
}

}  // namespace

int64_t Plan::long_begin_ms() const {
  return day_begin_ms() / kDayMs * kDayMs - (long_days - 1) * kDayMs;
}

std::vector<DeviceId> Plan::long_ids() const {
  std::vector<DeviceId> ids;
  for (uint32_t i = 0; i < long_devices; ++i) ids.push_back(1 + i * (devices / long_devices));
  return ids;
}

History::History(const postgres::Options& options, const Samples& samples, const Plan& plan)
    : options_(options), samples_(samples), plan_(plan) {}

History::Members History::members(const std::vector<DeviceId>& ids) {
  Members out;
  for (const DeviceId id : ids) {
    out[partition_of(id)].push_back({id, slot_phase_ms(id, kIntervalMs)});
  }
  for (auto& partition : out) {
    std::sort(partition.begin(), partition.end(),
              [](const Member& a, const Member& b) { return a.phase_ms < b.phase_ms; });
  }
  return out;
}

void History::commit(recorder::Store& store, const Members& who, int64_t from_ms, int64_t to_ms,
                     int64_t record_ms) {
  recorder::Batch batch{.stream = "ping",
                        .token = ++token_,
                        .before = known_.positions,
                        .after = known_.positions,
                        .tokens = known_.tokens};
  PingResults results;
  for (int64_t record = from_ms; record < to_ms; record += record_ms) {
    const int64_t end = std::min(record + record_ms, to_ms);
    for (uint32_t p = 0; p < kPartitions; ++p) {
      results = {};
      results.location = "default";
      for (int64_t tick = record / kIntervalMs * kIntervalMs; tick < end; tick += kIntervalMs) {
        for (const Member& m : who[p]) {
          const int64_t due = tick + m.phase_ms;
          if (due >= record && due < end) append(samples_.at(m.id, due), m.id, due, results);
        }
      }
      if (results.empty()) continue;
      recorder::RecordRow row{.key = {"prober-1", 1, p, ++seq_[p]},
                              .produced_at_us = end * 1000,
                              .results = static_cast<uint32_t>(results.size())};
      encode_ping(results, row.payload);
      recorded_ += results.size();
      batch.after.set({"prober-1", 1, p}, {.cumulative = seq_[p], .highest = seq_[p], .order = 1});
      batch.records.push_back(std::move(row));
    }
  }
  if (batch.records.empty()) return;
  const auto done = must(store.commit(batch));
  if (done.conflict) fail("another recorder is at work in this database");
  known_.positions = batch.after;
  known_.tokens = done.tokens;
}

void History::chunk(recorder::Store& store, int64_t now_ms) {
  for (uint32_t p = 0; p < kPartitions; ++p) {
    while (must(store.chunk(p, wall_from_ms(now_ms), kForever)).more) {
    }
  }
}

// A day at a time.
void History::fill_long(recorder::Store& store) {
  const Members who = members(plan_.long_ids());
  for (int64_t from = plan_.long_begin_ms(); from < plan_.day_begin_ms();) {
    const int64_t to = std::min(from + kDayMs, plan_.day_begin_ms());
    commit(store, who, from, to, kHourMs);
    chunk(store, to);
    compact_until(to);
    from = to;
    progress("history of " + std::to_string(plan_.long_days) + " days",
             from - plan_.long_begin_ms(), plan_.day_begin_ms() - plan_.long_begin_ms());
  }
}

uint64_t History::fill() {
  recorder::Store store(options_);
  known_ = must(store.load("ping"));
  std::thread compactor([this] { run_compactor(); });
  fill_long(store);
  const Members who = members(all_ids(plan_.devices));
  const int64_t from = plan_.day_begin_ms();
  const int64_t hot_from = plan_.end_ms - kChunkMs;
  for (int64_t at = from; at < hot_from;) {
    const bool live = at >= plan_.end_ms - kShortMs;
    // Short ones each two minutes, long ones never across an hour.
    const int64_t span = live ? kChunkMs : 10 * kMinuteMs;
    const int64_t to = std::min((at / span + 1) * span, hot_from);
    commit(store, who, at, to, live ? 1'000 : kMinuteMs);
    chunk(store, to);
    compact_until(to);
    at = to;
    progress("history of all devices", at - from, plan_.end_ms - from);
  }
  {
    const std::lock_guard lock(mutex_);
    compact_end_ = true;
    moved_.notify_all();
  }
  compactor.join();
  // What chunks cover is dropped, as it will have been some minutes later in life; then the tail.
  auto connection = must(postgres::Connection::open(options_));
  must(connection->transact([](postgres::Transaction& tx) {
    tx.exec("SELECT ping_hot_drop_leaves(now() + interval '10 minutes')");
  }));
  recorder::Store live(options_);
  for (int64_t at = hot_from; at < plan_.end_ms; at += 500) {
    commit(live, who, at, at + 500, 500);
  }
  return recorded_;
}

void History::compact_until(int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  compact_now_ms_ = now_ms;
  moved_.notify_all();
}

void History::run_compactor() {
  recorder::CompactOptions options{.postgres = options_};
  options.raw_retention = options.minutes_retention = options.hours_retention = kForever;
  recorder::CompactStore store(options);
  int64_t done_ms = 0;
  while (true) {
    int64_t now_ms = 0;
    {
      std::unique_lock lock(mutex_);
      moved_.wait(lock, [&] { return compact_now_ms_ > done_ms || compact_end_; });
      if (compact_now_ms_ == done_ms) break;
      now_ms = compact_now_ms_;
    }
    while (must(store.step(wall_from_ms(now_ms))).more) {
    }
    const auto kept = store.housekeep(wall_from_ms(now_ms));
    // Retryable: chunks were written for longer than it waits; it comes again.
    if (!kept && kept.error().code != Errc::kRetryable) must(kept);
    done_ms = now_ms;
  }
  // As the hourly leaves will have gone ten minutes after they were packed, some at a time.
  while (must(store.housekeep(wall_from_ms(done_ms + kHourMs))).chunk_leaves_dropped > 0) {
  }
}

uint64_t fill_rows(const postgres::Options& options, const Samples& samples, const Plan& plan) {
  struct Member {
    DeviceId id;
    int64_t phase_ms;
  };
  std::vector<Member> who;
  for (const DeviceId id : all_ids(plan.devices))
    who.push_back({id, slot_phase_ms(id, kIntervalMs)});
  std::sort(who.begin(), who.end(),
            [](const Member& a, const Member& b) { return a.phase_ms < b.phase_ms; });
  auto connection = must(postgres::Connection::open(options));
  return must(connection->transact([&](postgres::Transaction& tx) {
    tx.exec(
        "CREATE TABLE ping_rows (device_id integer NOT NULL, at timestamptz NOT NULL,"
        " verdict smallint NOT NULL, reason smallint NOT NULL, rtt_us integer)");
    postgres::CopyIn copy(tx,
                          "COPY ping_rows (device_id, at, verdict, reason, rtt_us) FROM STDIN"
                          " (FORMAT binary, FREEZE)");
    uint64_t rows = 0;
    for (int64_t tick = plan.begin_ms() / kIntervalMs * kIntervalMs; tick < plan.end_ms;
         tick += kIntervalMs) {
      for (const Member& m : who) {
        const int64_t due = tick + m.phase_ms;
        if (due < plan.begin_ms() || due >= plan.end_ms) continue;
        const Sample s = samples.at(m.id, due);
        copy.row(5);
        copy.int32(static_cast<int32_t>(m.id));
        copy.timestamptz_us(due * 1000);
        copy.int16(static_cast<int16_t>(s.verdict));
        copy.int16(static_cast<int16_t>(s.reason));
        if (s.verdict == Verdict::kAnswered) {
          copy.int32(static_cast<int32_t>(s.rtt_us));
        } else {
          copy.null();
        }
        ++rows;
      }
      progress("rows", tick - plan.begin_ms(), plan.rows_ms);
    }
    copy.finish();
    progress("rows", 1, 1);
    note("building the row table's key");
    tx.exec("ALTER TABLE ping_rows ADD PRIMARY KEY (device_id, at)");
    return rows;
  }));
}

}  // namespace gema::bench
