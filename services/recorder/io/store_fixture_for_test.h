// The recorder's tables in a real PostgreSQL, for the tests: results made by hand go in, what a
// reader sees comes out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/codec/ping_codec.h"
#include "common/domain/rollup.h"
#include "common/history/core/cuts.h"
#include "common/history/reader.h"
#include "services/recorder/io/compact_store.h"
#include "services/recorder/io/store.h"
#include "tests/support/database.h"
#include "tests/support/ping_results.h"
#include "tests/support/seed.h"
#include "tests/support/told.h"

namespace gema::recorder {

using gema::testing::seed_of_run;
using gema::testing::told;
using history::kDayMs;
using history::kHourMs;
using postgres::Connection;
using postgres::Transaction;

inline constexpr int64_t kHour = 1'800'000'000'000;  // an hour begins

// What the checks of a record have in common.
struct Given {
  std::string location = "default";
  uint32_t interval_ms = 1000;
};

// A record: the check of each device whose slot is at `at_ms` or last before it.
inline PingResults batch_of(const std::vector<DeviceId>& devices, int64_t at_ms,
                            Verdict verdict = Verdict::kAnswered, uint32_t rtt_us = 100,
                            const Given& given = {}) {
  PingResults r;
  r.location = given.location;
  for (const DeviceId device : devices) {
    gema::testing::append(r, {.device = device,
                              .interval_ms = given.interval_ms,
                              .due_ms = slot_at_or_before(device, given.interval_ms, at_ms),
                              .verdict = verdict,
                              .rtt_us = rtt_us});
  }
  return r;
}

// Rolls up one result as a reader sees it.
inline void roll_up(RollupBuilder& builder, const history::Results& results,
                    const history::Row& row) {
  std::vector<EchoOutcome> outcomes;
  std::vector<uint32_t> rtts;
  std::vector<uint32_t> burst;
  for (const history::Echo& e : results.echoes_of(row)) {
    outcomes.push_back(e.outcome);
    rtts.push_back(e.rtt_us);
  }
  for (const history::Echo& e : results.burst_answers_of(row)) burst.push_back(e.rtt_us);
  builder.add(row.due_ms, row.interval_ms,
              {.verdict = row.verdict,
               .reason = row.reason,
               .outcomes = outcomes,
               .rtt_us = rtts,
               .burst_sent = row.burst_sent,
               .burst_rtt_us = burst});
}

class StoreFixture : public gema::testing::DatabaseTest {
 protected:
  StoreFixture() {
    compact_.postgres = database();
    compact_.raw_retention = kRetention;
    compact_.minutes_retention = kRetention;
  }

  void SetUp() override {
    DatabaseTest::SetUp();
    if (!HasFatalFailure()) renew();
  }

  // The recorder's objects, as after its start.
  void renew() {
    compactor_ = std::make_unique<CompactStore>(compact_);
    store_ = std::make_unique<Store>(database());
    auto loaded = store_->load("ping");
    ASSERT_TRUE(loaded) << loaded.error().message;
    known_ = *loaded;
  }

  // --- what is written --------------------------------------------------------------------------

  Batch empty_batch() {
    return {.stream = "ping",
            .token = static_cast<int64_t>(random_.next() | 1),
            .before = known_.positions,
            .after = known_.positions,
            .tokens = known_.tokens};
  }

  uint64_t take_seq(Batch& b, const std::string& producer, uint64_t epoch, uint32_t partition) {
    const stream::PositionKey key{producer, epoch, partition};
    const stream::Position* before = b.after.find(key);
    stream::Position position = before == nullptr ? stream::Position{.order = 1} : *before;
    position.highest = ++position.cumulative;
    b.after.set(key, position);
    return position.cumulative;
  }

  // Adds a record with the next seq of its producer and partition.
  void add(Batch& b, const std::string& producer, const PingResults& results, uint64_t epoch = 1) {
    const uint32_t p = partition_of(results.device.front());
    RecordRow row{.key = {producer, epoch, p, take_seq(b, producer, epoch, p)},
                  .produced_at_us = results.due_ms.front() * 1000,
                  .results = static_cast<uint32_t>(results.size())};
    encode_ping(results, row.payload);
    b.records.push_back(row);
  }

  // Moves what we know on, unless it was refused as another's.
  Committed try_commit(const Batch& b) {
    auto done = store_->commit(b);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    if (!done) return {};
    if (!done->conflict) {
      known_.positions = b.after;
      known_.tokens = done->tokens;
    }
    return *done;
  }

  void commit(const Batch& b) { ASSERT_FALSE(try_commit(b).conflict); }

  void record(const std::string& producer, const PingResults& results, uint64_t epoch = 1) {
    if (results.empty()) return;
    Batch b = empty_batch();
    add(b, producer, results, epoch);
    commit(b);
  }

  // --- what becomes of it -----------------------------------------------------------------------

  Chunked chunk(uint32_t partition, int64_t now_ms, Duration retention = kRetention) {
    auto done = store_->chunk(partition, wall_from_ms(now_ms), retention);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return done ? *done : Chunked{};
  }

  // Returns: how many results were discarded.
  uint64_t chunk_all(int64_t now_ms = kHour) {
    uint64_t discarded = 0;
    for (uint32_t p = 0; p < kPartitions; ++p) discarded += chunk(p, now_ms).discarded;
    return discarded;
  }

  // Until there is no more to be done, or so many steps.
  Compacted compact_all(int64_t now_ms, int steps = 1 << 20) {
    Compacted all;
    for (; steps > 0; --steps) {
      auto done = compactor_->step(wall_from_ms(now_ms));
      EXPECT_TRUE(done) << (done ? "" : done.error().message);
      if (!done) break;
      all.add(*done);
      if (!done->more) break;
    }
    return all;
  }

  CompactHousekept housekeep(int64_t now_ms) {
    auto done = compactor_->housekeep(wall_from_ms(now_ms));
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return done ? *done : CompactHousekept{};
  }

  // --- what is read -----------------------------------------------------------------------------

  history::Results read(DeviceId device, int64_t from_ms = kHour - kDayMs,
                        int64_t to_ms = kHour + kDayMs, size_t limit = 1'000'000) {
    history::Reader reader(*connection_);
    auto results = reader.results(device, from_ms, to_ms, limit);
    EXPECT_TRUE(results) << (results ? "" : results.error().message);
    broken_ = reader.broken();
    return results ? *results : history::Results{};
  }

  static constexpr Duration kRetention = 24h * 365;
  CompactOptions compact_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<CompactStore> compactor_;
  Loaded known_;
  Random random_{42};
  std::vector<history::BrokenRow> broken_;  // as of the last read()
};

}  // namespace gema::recorder
