// The compactor at random: whatever arrives, in whatever order, and whoever is killed meanwhile.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>

#include "common/domain/packed_chunk.h"
#include "services/recorder/io/compact_fixture_for_test.h"

namespace gema::recorder {
namespace {

class CompactRandomTest : public CompactTest {};

// The SQL decoder against the C++ one.
TEST_F(CompactRandomTest, DecodesForPeopleWhatItPackedForItself) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for (int round = 0; round < 60; ++round) {
    const auto echoes = static_cast<uint32_t>(1 + random.below(4));
    const size_t slots = random.below(round % 10 == 0 ? 1500 : 200);
    const uint64_t spread = uint64_t{1} << random.below(30);
    std::vector<int32_t> samples;
    const bool plain = random.chance(500);
    for (size_t i = 0; i < slots * echoes; ++i) {
      const bool first = i % echoes == 0;
      if (plain && first && random.chance(100)) {
        samples.push_back(random.chance(500) ? kNoResult : kNotMeasuredBase - 17);
        samples.resize(samples.size() + echoes - 1, kNoEcho);
        i += echoes - 1;
      } else if (random.chance(100)) {
        const size_t run = random.below(5);
        for (size_t n = 0; n <= run && i < slots * echoes; ++n, ++i) {
          samples.push_back(-static_cast<int32_t>(1 + random.below(2)));
        }
        --i;
      } else {
        samples.push_back(static_cast<int32_t>(1000 + random.below(spread)));
        if (random.chance(5)) samples.back() = INT32_MAX - static_cast<int32_t>(random.below(9));
      }
    }
    samples.resize(slots * echoes, 7);
    std::vector<int32_t> extra;
    for (uint64_t i = random.below(6); i > 0; --i) {
      extra.push_back(static_cast<int32_t>(random.next()));
    }
    std::string packed = pack_chunk(echoes, samples, extra);
    const bool damaged = random.chance(200);
    if (damaged) {
      if (random.chance(300)) packed.resize(random.below(packed.size()));
      if (!packed.empty() && random.chance(800)) {
        packed[random.below(packed.size())] ^= static_cast<char>(1U << random.below(8));
      }
    }
    ChunkArrays expected;
    const bool right = unpack_chunk(packed, expected).has_value();
    EXPECT_TRUE(right || damaged);
    auto checked = connection_->transact([&](Transaction& tx) {
      tx.exec("SET LOCAL client_min_messages = error");
      postgres::Params params;
      params.bytes(packed);
      const BinaryResult rows(tx, "SELECT echoes, samples, extra FROM ping_unpack($1::bytea)",
                              params);
      ASSERT_EQ(rows.rows(), 1);
      ASSERT_EQ(rows.is_null(0, 0), !right) << "round " << round;
      if (!right) return;
      ChunkArrays got;
      got.echoes = static_cast<uint32_t>(rows.int32(0, 0));
      ASSERT_TRUE(rows.int32_array(0, 1, got.samples) && rows.int32_array(0, 2, got.extra));
      EXPECT_EQ(got, expected) << "round " << round;
    });
    ASSERT_TRUE(checked) << checked.error().message;
  }
}

// Whatever arrives, in whatever order and mixture of hot rows, short chunks and packed rows: no
// step of transposing, compacting or dropping changes what anybody reads.
TEST_F(CompactRandomTest, ChangesNothingThatAnybodyReads) {
  const uint64_t first = seed_of_run();
  for (uint64_t seed = first; seed < first + 3; ++seed) {
    SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
    SetUp();
    Random random(seed);
    constexpr DeviceId kDevices = 3;
    Batch epochs = empty_batch();
    epochs.epochs = {{"prober-1", 1, 0, stream::EpochReason::kNewSpool},
                     {"prober-1", 2, 1, stream::EpochReason::kClockStep}};
    commit(epochs);
    auto tell = [&] {
      std::string all;
      for (DeviceId d = 1; d <= kDevices; ++d) all += told(read(d)) + "--\n";
      return all;
    };
    int64_t now = kHour;
    for (int step = 0; step < 60; ++step) {
      Batch b = empty_batch();
      for (uint64_t n = 0; n < 1 + random.below(12); ++n) {
        const DeviceId device = 1 + random.below(kDevices);
        const std::string producer = random.chance(600) ? "prober-1" : "prober-2";
        const auto hour = static_cast<int64_t>(random.below(3));
        const auto at = kHour + hour * kHourMs + static_cast<int64_t>(random.below(60)) * 1000;
        PingResults r =
            one(device, at, static_cast<Verdict>(random.below(3)),
                static_cast<uint32_t>(1 + random.below(4)), random.chance(200) ? 2000 : 1000);
        if (random.chance(300)) r.location = "jakarta";
        if (random.chance(200)) {
          r.echo_outcome.push_back(EchoOutcome::kReply);
          r.echo_rtt_us.push_back(9);
          r.echo_begin.back() += 1;
          if (r.verdict[0] == Verdict::kNotMeasured) r.verdict[0] = Verdict::kAnswered;
          r.reason[0] = Reason::kLossy;
        }
        if (random.chance(200)) r.burst = {{0, 4, {9, 9}}};
        if (random.chance(300)) {
          r.notes = {{.kind = static_cast<NoteKind>(random.below(4)),
                      .rtt_us = static_cast<uint32_t>(random.below(3))}};
        }
        if (random.chance(200)) r.proofs = {{.elapsed_us = static_cast<uint32_t>(random.below(3))}};
        if (random.chance(300)) {
          r.strays = {{.device = device,
                       .due_ms = r.due_ms[0] - 1000 * static_cast<int64_t>(random.below(4)),
                       .rtt_us = static_cast<uint32_t>(random.below(99))}};
        }
        add(b, producer, r, producer == "prober-1" ? 1 + random.below(2) : 1);
      }
      commit(b);
      const std::string before = tell();
      const uint64_t what = random.below(5);
      if (what <= 1) chunk_all(now);
      if (what == 2) {
        now += 2 * kHourMs;
        for (uint64_t n = random.below(6); n > 0; --n) {
          ASSERT_TRUE(compactor_->step(wall_from_ms(now)));
        }
        if (random.chance(300)) compactor_ = std::make_unique<CompactStore>(compact_);
      }
      if (what == 3) {
        now += 2 * kHourMs;
        compact_all(now);
        housekeep(now + kHourMs);
      }
      ASSERT_EQ(tell(), before) << "step " << step;
    }
    chunk_all(now);
    const std::string before = tell();
    auto people = [&] {
      return sql(
          "SELECT string_agg(concat_ws('/', device_id, location, prober, due_ms, interval_ms,"
          " verdict, reason, echoes_sent, echoes_answered, rtt_min_us, rtt_avg_us,"
          " rtt_max_us), E'\\n' ORDER BY device_id, location, due_ms) FROM ping_checks");
    };
    now += 3 * kHourMs;
    compact_all(now);
    const std::string seen = people();
    EXPECT_GT(housekeep(now + kHourMs).chunk_leaves_dropped, 0U);
    EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "0");
    EXPECT_EQ(people(), seen);
    EXPECT_EQ(tell(), before);
    // People see what readers see.
    size_t rows = 0;
    for (DeviceId d = 1; d <= kDevices; ++d) {
      const auto results = read(d);
      std::string expected;
      for (const history::Row& row : results.rows) {
        expected += std::to_string(row.due_ms) + results.location(row) + results.producer(row) +
                    to_string(row.verdict) + to_string(row.reason) + std::to_string(row.rtt_us) +
                    ";";
      }
      rows += results.rows.size();
      const std::string id = std::to_string(d);
      EXPECT_EQ(sql("SELECT string_agg(due_ms || location || prober || verdict || reason ||"
                    " coalesce(round(rtt_avg_us::numeric), 0) || ';', '' ORDER BY due_ms, location)"
                    " FROM ping_checks WHERE device_id = " +
                    id),
                expected);
      EXPECT_EQ(sql("SELECT count(*) FROM ping_history(" + id +
                    ", to_timestamp(0), to_timestamp(9000000000))"),
                std::to_string(results.rows.size()));
      for (int hour = 0; hour < 3; ++hour) {
        for (const char* location : {"default", "jakarta"}) {
          const int64_t start = kHour + hour * kHourMs;
          EXPECT_EQ(stored("ping_rollup_minutes", "hour_ms", d, location, start, 60),
                    rolled_up(results, location, start, 60'000, 60));
        }
      }
    }
    EXPECT_GT(rows, 100U);
    // Merging all of it once more gives the very same bytes.
    const std::string digest =
        "SELECT md5(string_agg(p::text, ',' ORDER BY device_id, start_ms, part)) FROM ping_packed "
        "p";
    const std::string once = sql(digest);
    for (DeviceId d = 1; d <= kDevices; ++d) {
      for (int hour = 0; hour < 3; ++hour) {
        const auto results = read(d, kHour + hour * kHourMs, kHour + (hour + 1) * kHourMs);
        ASSERT_FALSE(results.rows.empty());
        // What is already there, once more.
        const history::Row& row = results.rows.front();
        if (row.burst_sent > 0 || row.details != history::Row::kNoDetails || row.echo_count != 1 ||
            row.verdict == Verdict::kNotMeasured || results.producer(row) != "prober-2") {
          continue;
        }
        PingResults r = one(d, row.due_ms, row.verdict, row.rtt_us, row.interval_ms);
        r.location = results.location(row);
        record("prober-2", r);
      }
    }
    chunk_all(now);
    now += 3 * kHourMs;
    compact_all(now);
    EXPECT_EQ(sql(digest), once);
  }
}

// kill -9 of recorder and PostgreSQL while an hour is compacted: afterwards everything is there
// once.
TEST_F(CompactRandomTest, LosesAndDoublesNothingWhenKilledAtAnyMoment) {
  const uint64_t seed = seed_of_run();
  SCOPED_TRACE("GEMA_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  constexpr DeviceId kDevices = 1200;
  Batch b = empty_batch();
  uint64_t results = 0;
  for (int hour = 0; hour < 2; ++hour) {
    for (DeviceId d = 1; d <= kDevices; ++d) {
      const int64_t start = kHour + hour * kHourMs;
      const PingResults r = each_second(d, start, start + 20'000);
      results += r.size();
      add(b, "prober-1", r);
    }
  }
  commit(b);
  chunk_all();
  std::map<DeviceId, std::string> before;
  for (DeviceId d = 1; d <= kDevices; d += 100) before[d] = told(read(d));
  const int64_t now = kHour + 3 * kHourMs;
  compactor_.reset();
  for (int round = 0; round < 12; ++round) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const pid_t child = fork();
    if (child == 0) {
      // A byte for each step that began.
      CompactStore compactor(compact_);
      const char byte = 'x';
      for (bool more = true; more;) {
        if (write(fds[1], &byte, 1) != 1) _exit(1);
        auto done = compactor.step(wall_from_ms(now));
        if (!done) _exit(2);
        more = done->more || done->idle;
      }
      _exit(0);
    }
    close(fds[1]);
    ASSERT_GT(child, 0);
    const uint64_t steps = 1 + random.below(9);
    for (uint64_t n = 0; n < steps; ++n) {
      char byte = 0;
      if (::read(fds[0], &byte, 1) != 1) break;
    }
    if (round % 3 == 2) {
      server().kill9();
    } else {
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    close(fds[0]);
    if (round % 3 == 2) {
      restart_server();
    }
    for (const auto& [device, expected] : before) ASSERT_EQ(told(read(device)), expected);
    // Late data in between: of the first hour, and once more what is there.
    renew();
    if (round == 5) {
      record("prober-1", each_second(1, kHour + 20'000, kHour + 25'000));
      results += 5;
      chunk_all(kHour + kHourMs);
      before[1] = told(read(1));
    }
    compactor_.reset();
  }
  compactor_ = std::make_unique<CompactStore>(compact_);
  compact_all(now + kHourMs);
  EXPECT_EQ(housekeep(now + 2 * kHourMs).chunk_leaves_dropped, 2U);
  for (const auto& [device, expected] : before) EXPECT_EQ(told(read(device)), expected);
  EXPECT_EQ(sql("SELECT sum(results) FROM ping_packed"), std::to_string(results));
  EXPECT_EQ(sql("SELECT count(*) FROM ping_packed"), std::to_string(2 * kDevices));
  EXPECT_EQ(sql("SELECT count(*) FROM ping_rollup_minutes"), std::to_string(2 * kDevices));
}

}  // namespace
}  // namespace gema::recorder
