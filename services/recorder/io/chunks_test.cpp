// Hot rows become short chunks, and readers see the same before and after: against a real
// PostgreSQL.
#include <map>

#include "common/domain/chunk.h"
#include "common/history/statistics.h"
#include "services/recorder/io/store_fixture_for_test.h"

namespace gema::recorder {
namespace {

constexpr int64_t kStartMs = 1'800'000'123'000;
constexpr uint32_t kInterval = 1000;

class ChunksTest : public StoreFixture {
 protected:
  Chunked chunk_of(DeviceId device, Duration retention = kRetention) {
    return chunk(partition_of(device), kStartMs, retention);
  }
};

TEST_F(ChunksTest, ReadsTheSameBeforeAndAfterTransposing) {
  for (int i = 0; i < 70; ++i) {
    record("prober-1", batch_of({7}, kStartMs + i * 1000, static_cast<Verdict>(i % 3),
                                200 + static_cast<uint32_t>(i)));
  }
  const auto before = read(7);
  const Chunked done = chunk_of(7);
  EXPECT_EQ(done.hot_rows, 70U);
  EXPECT_EQ(done.results, 70U);
  EXPECT_EQ(done.chunks, 1U);
  EXPECT_FALSE(done.more);
  const auto after = read(7);
  ASSERT_EQ(before.rows.size(), 70U);
  ASSERT_EQ(after.rows.size(), 70U);
  for (size_t i = 0; i < 70; ++i) {
    EXPECT_EQ(before.rows[i].due_ms, after.rows[i].due_ms);
    EXPECT_EQ(before.rows[i].verdict, after.rows[i].verdict);
    EXPECT_EQ(before.rows[i].reason, after.rows[i].reason);
    EXPECT_EQ(before.rows[i].rtt_us, after.rows[i].rtt_us);
  }
  EXPECT_EQ(chunk_of(7).hot_rows, 0U);
  const auto audit = history::audit_slots(after, 7, kInterval, after.rows.front().due_ms,
                                          after.rows.back().due_ms + 1);
  EXPECT_EQ(audit.expected, 70U);
  EXPECT_EQ(audit.found, 70U);
  EXPECT_EQ(audit.unexpected, 0U);
  EXPECT_EQ(audit.not_measured, 23U);
}

PingResults unreachable(const std::vector<DeviceId>& devices, int64_t at_ms) {
  PingResults r = batch_of(devices, at_ms, Verdict::kFailed);
  for (uint32_t i = 0; i < r.size(); ++i) {
    r.reason[i] = Reason::kUnreachable;
    r.echo_outcome[i] = EchoOutcome::kHostUnreachable;
    r.notes.push_back({.index = i,
                       .icmp_type = 3,
                       .icmp_code = 1,
                       .from = *ip_from_bytes(std::string_view("\xc0\x00\x02\x02", 4))});
  }
  return r;
}

TEST_F(ChunksTest, ReadsDetailsTheSameBeforeAndAfterTransposing) {
  const int64_t due = batch_of({7}, kStartMs).due_ms[0];
  record("prober-1", unreachable({7}, kStartMs));
  PingResults r = unreachable({7}, kStartMs + 1000);
  r.proofs = {{.kind = ProofKind::kWeb, .outcome = ProofOutcome::kWrongStatus, .status = 503},
              {.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 22}};
  r.strays = {{.device = 7, .due_ms = due, .rtt_us = 3'300'000}};
  record("prober-1", r);
  r = batch_of({7}, kStartMs + 2000, Verdict::kNotMeasured);
  r.reason[0] = Reason::kPaused;
  r.note = "Siti";
  record("prober-1", r);
  r = batch_of({7}, kStartMs + 3000);
  r.notes = {{.kind = NoteKind::kDuplicate, .count = 2}};
  // Of another prober: it answers no echo whose result is shown.
  r.strays = {{.device = 7, .due_ms = due, .rtt_us = 9}};
  record("prober-2", r);
  const std::string before = told(read(7));
  EXPECT_NE(
      before.find("host unreachable0 note 0icmp error3/1e0r0x1192.0.2.2 stray 0late3300000\n"),
      std::string::npos)
      << before;
  EXPECT_NE(before.find(" proof webwrong status0s503t0 proof tcpconnection reset22s0t0"),
            std::string::npos)
      << before;
  EXPECT_NE(before.find("paused0b0 by Siti"), std::string::npos) << before;
  EXPECT_NE(before.find("note 0duplicate0/0e0r0x2"), std::string::npos) << before;
  EXPECT_EQ(chunk_of(7).strays, 2U);
  EXPECT_EQ(told(read(7)), before);
  // One that comes after its slot was transposed.
  r = batch_of({7}, kStartMs + 4000);
  r.strays = {{.device = 7, .due_ms = due + 1000, .rtt_us = 4'000'000}};
  record("prober-1", r);
  const std::string later = told(read(7));
  EXPECT_NE(later.find(" stray 0late4000000"), std::string::npos) << later;
  EXPECT_EQ(chunk_of(7).strays, 1U);
  EXPECT_EQ(told(read(7)), later);
  EXPECT_EQ(sql("SELECT string_agg(verdict || ' ' || reason, ', ' ORDER BY at) FROM ping_checks"
                " WHERE device_id = 7"),
            "failed unreachable, failed unreachable, not measured paused, answered none, "
            "answered none");
  history::Reader reader(*connection_);
  auto latest = reader.latest(kStartMs + 2500);
  ASSERT_TRUE(latest);
  EXPECT_EQ(latest->names_and_echoes.details_of(latest->rows.at(7)), nullptr);
}

TEST_F(ChunksTest, ShowsSqlUsersEveryReasonByItsName) {
  for (int reason = 0; reason <= kReasonMax; ++reason) {
    const char* name = to_string(static_cast<Reason>(reason));
    if (std::string(name) == "?") continue;
    EXPECT_EQ(sql("SELECT ping_reason_text(" + std::to_string(reason) + ")"), name);
  }
  for (const EchoOutcome outcome :
       {EchoOutcome::kUnreachable, EchoOutcome::kNetUnreachable, EchoOutcome::kHostUnreachable,
        EchoOutcome::kPortUnreachable, EchoOutcome::kProhibited}) {
    EXPECT_EQ(sql("SELECT verdict || '/' || reason FROM ping_chunk_results(0, 1000, 2, ARRAY[-" +
                  std::to_string(static_cast<int>(outcome)) + ", -1], NULL)"),
              "1/3");
  }
}

TEST_F(ChunksTest, AddsAPartForWhatComesLate) {
  for (const int i : {0, 1, 3, 4}) record("prober-1", batch_of({7}, kStartMs + i * 1000));
  EXPECT_EQ(chunk_of(7).chunks, 1U);
  record("prober-1", batch_of({7}, kStartMs + 2000, Verdict::kFailed));
  EXPECT_EQ(chunk_of(7).chunks, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM ping_chunks"), "2");
  const auto results = read(7);
  ASSERT_EQ(results.rows.size(), 5U);
  EXPECT_EQ(results.rows[2].verdict, Verdict::kFailed);
  EXPECT_EQ(sql("SELECT string_agg(verdict, ',' ORDER BY at) FROM ping_checks WHERE device_id = 7"),
            "answered,answered,failed,answered,answered");
}

TEST_F(ChunksTest, DecidesBetweenTwoContentsInAnyOrderOfArrival) {
  struct Given {
    const char* producer;
    Verdict verdict;
    uint32_t rtt_us;
  };
  const Given winner{"prober-1", Verdict::kAnswered, 300};
  const std::vector<Given> losers{{"prober-2", Verdict::kAnswered, 100},
                                  {"prober-0", Verdict::kFailed, 0},
                                  {"prober-0", Verdict::kNotMeasured, 0}};
  DeviceId device = 100;
  for (const Given& loser : losers) {
    for (const bool winner_first : {true, false}) {
      for (const bool chunk_between : {true, false}) {
        ++device;
        const Given& a = winner_first ? winner : loser;
        const Given& b = winner_first ? loser : winner;
        record(a.producer, batch_of({device}, kStartMs, a.verdict, a.rtt_us));
        if (chunk_between) chunk_of(device);
        record(b.producer, batch_of({device}, kStartMs, b.verdict, b.rtt_us));
        const auto hot = read(device);
        ASSERT_EQ(hot.rows.size(), 1U);
        EXPECT_EQ(hot.rows[0].rtt_us, 300U);
        chunk_of(device);
        const auto chunked = read(device);
        ASSERT_EQ(chunked.rows.size(), 1U);
        EXPECT_EQ(chunked.rows[0].rtt_us, 300U);
        EXPECT_EQ(sql("SELECT string_agg(rtt_avg_us::int::text, ',') FROM ping_checks"
                      " WHERE device_id = " +
                      std::to_string(device)),
                  "300");
      }
    }
  }
}

TEST_F(ChunksTest, TakesTheLaterEpochForSlotsRepeatedAfterAClockStep) {
  Batch b = empty_batch();
  b.epochs = {{"prober-1", 1, 0, stream::EpochReason::kNewSpool},
              {"prober-1", 2, 1, stream::EpochReason::kClockStep}};
  commit(b);
  record("prober-1", batch_of({7}, kStartMs, Verdict::kFailed), 2);
  record("prober-1", batch_of({7}, kStartMs, Verdict::kAnswered), 1);
  EXPECT_EQ(read(7).rows.at(0).verdict, Verdict::kFailed);
  chunk_of(7);
  EXPECT_EQ(read(7).rows.at(0).verdict, Verdict::kFailed);
  EXPECT_EQ(sql("SELECT string_agg(verdict, ',') FROM ping_checks"), "failed");
}

TEST_F(ChunksTest, KeepsLocationsApart) {
  record("prober-1", batch_of({7}, kStartMs, Verdict::kAnswered, 100, {.location = "jakarta"}));
  record("prober-2", batch_of({7}, kStartMs, Verdict::kFailed, 0, {.location = "bandung"}));
  for (int i = 0; i < 2; ++i) {
    const auto results = read(7);
    ASSERT_EQ(results.rows.size(), 2U);
    EXPECT_EQ(results.location(results.rows[0]), "bandung");
    EXPECT_EQ(results.location(results.rows[1]), "jakarta");
    chunk_of(7);
  }
}

TEST_F(ChunksTest, DiscardsWhatIsPastRetentionAndCountsIt) {
  record("prober-1", batch_of({7}, kStartMs - 7'200'000));
  record("prober-1", batch_of({7}, kStartMs));
  const Chunked done = chunk_of(7, 1h);
  EXPECT_EQ(done.results, 1U);
  EXPECT_EQ(done.discarded, 1U);
}

TEST_F(ChunksTest, MovesNoWatermarkWhenTheChunksCannotBeWritten) {
  record("prober-1", batch_of({7}, kStartMs));
  sql("CREATE FUNCTION damaged() RETURNS trigger LANGUAGE plpgsql AS"
      " $$ BEGIN RAISE data_corrupted; END $$;"
      "CREATE TRIGGER damaged BEFORE INSERT ON ping_chunks EXECUTE FUNCTION damaged()");
  EXPECT_FALSE(store_->chunk(partition_of(7), wall_from_ms(kStartMs), 100'000h));
  EXPECT_EQ(read(7).rows.size(), 1U);
  sql("DROP TRIGGER damaged ON ping_chunks");
  EXPECT_EQ(chunk_of(7).results, 1U);
}

TEST_F(ChunksTest, GoesOnPastAHotRecordThatCannotBeDecoded) {
  Batch b = empty_batch();
  add(b, "prober-1", batch_of({7}, kStartMs));
  add(b, "prober-1", batch_of({7}, kStartMs + 1000));
  b.records[0].payload = "\xff\xff";
  commit(b);
  const Chunked done = chunk_of(7);
  EXPECT_EQ(done.undecodable, 1U);
  EXPECT_EQ(done.results, 1U);
  EXPECT_EQ(sql("SELECT count(*) FROM stream_quarantine"), "1");
}

TEST_F(ChunksTest, GoesOnPastAHotRowThatBreaksOff) {
  record("prober-1", batch_of({7}, kStartMs));
  record("prober-1", batch_of({7}, kStartMs + 1000));
  record("prober-1", batch_of({7}, kStartMs + 2000));
  sql("UPDATE ping_hot SET batches = substr(batches, 1, 20) WHERE number = 2");
  history::Reader reader(*connection_);
  EXPECT_EQ(reader.results(7, kStartMs - 1000, kStartMs + 9000)->rows.size(), 2U);
  EXPECT_EQ(reader.broken(), (std::vector<history::BrokenRow>{{.table = "ping_hot", .part = 2}}));
  const Chunked done = chunk_of(7);
  EXPECT_EQ(done.undecodable, 1U);
  EXPECT_EQ(done.results, 2U);
  EXPECT_EQ(sql("SELECT octet_length(payload) FROM stream_quarantine WHERE seq = 2"), "20");
  EXPECT_EQ(read(7).rows.size(), 2U);
}

TEST_F(ChunksTest, GivesPeopleTheTableOfTheAceLogger) {
  sql("INSERT INTO devices (id, address, hostname, interval_ms, timeout_ms, echo_count, "
      "min_replies,"
      " source, created_at, updated_at)"
      " VALUES (7, '192.0.2.7', 'core', 1000, 1000, 2, 1, 'file', now(), now())");
  PingResults r = batch_of({7}, kStartMs, Verdict::kAnswered, 1500);
  r.reason[0] = Reason::kLossy;
  r.echo_outcome.push_back(EchoOutcome::kTimeout);
  r.echo_rtt_us.push_back(0);
  r.echo_begin[1] = 2;
  r.burst = {{0, 2, {2500, 500}}};
  record("prober-1", r);
  record("prober-1", batch_of({7}, kStartMs + 1000, Verdict::kFailed));
  record("prober-1", batch_of({7}, kStartMs + 2000, Verdict::kNotMeasured));
  chunk_of(7);
  EXPECT_EQ(sql("SELECT string_agg(column_name, ',' ORDER BY ordinal_position)"
                " FROM information_schema.columns WHERE table_name = 'ping_results'"),
            "id,host_name,host_address,timestamp,success_count,failure_count,success_rate,"
            "min_latency,max_latency,avg_latency");
  EXPECT_EQ(sql("SELECT string_agg(concat_ws('/', host_name, host_address, success_count,"
                " failure_count, success_rate, min_latency, max_latency, avg_latency), ' '"
                " ORDER BY id) FROM ping_results"),
            "core/192.0.2.7/3/1/75/0.5/2.5/1.5 core/192.0.2.7/0/1/0");
  EXPECT_EQ(sql("SELECT string_agg(verdict || ':' || reason || ':' || echoes_answered, ' ')"
                " FROM ping_history(7, to_timestamp(1800000000), to_timestamp(1800003600))"),
            "not measured:not running:0 failed:timeout:0 answered:lossy:3");
  EXPECT_EQ(sql("SELECT count(*) FROM ping_history(7, to_timestamp(0), to_timestamp(1))"), "0");
}

TEST_F(ChunksTest, ReadsALimitOfTheNewestLatestAndStatistics) {
  for (int i = 0; i < 10; ++i) {
    record("prober-1",
           batch_of({7}, kStartMs + i * 1000, i == 3 ? Verdict::kFailed : Verdict::kAnswered,
                    100 + static_cast<uint32_t>(i)));
    if (i == 5) chunk_of(7);
  }
  record("prober-1", batch_of({8}, kStartMs, Verdict::kNotMeasured));
  const auto newest = read(7, 0, 4'000'000'000'000, 3);
  ASSERT_EQ(newest.rows.size(), 3U);
  EXPECT_TRUE(newest.truncated);
  EXPECT_EQ(newest.rows.back().rtt_us, 109U);
  EXPECT_EQ(newest.echoes_of(newest.rows.back())[0].rtt_us, 109U);
  history::Reader reader(*connection_);
  auto latest = reader.latest(kStartMs - 60'000);
  ASSERT_TRUE(latest) << latest.error().message;
  EXPECT_EQ(latest->rows.size(), 2U);
  EXPECT_EQ(latest->rows.at(7).rtt_us, 109U);
  EXPECT_EQ(latest->names_and_echoes.echoes_of(latest->rows.at(7))[0].rtt_us, 109U);
  auto statistics = history::read_statistics(
      *connection_, {.from_ms = kStartMs - 60'000, .to_ms = kStartMs + 60'000});
  ASSERT_TRUE(statistics) << statistics.error().message;
  ASSERT_EQ(statistics->devices.size(), 2U);
  const Rollup& seven = statistics->devices[0].rollup;
  EXPECT_EQ(seven.verdicts, (std::array<uint64_t, 3>{9, 1, 0}));
  EXPECT_EQ(seven.rtt_min_us, 100U);
  EXPECT_EQ(seven.rtt_max_us, 109U);
  EXPECT_EQ(statistics->devices[1].rollup.verdicts, (std::array<uint64_t, 3>{0, 0, 1}));
}

// A model of what history must show, against whatever mixture of hot rows and chunks there is.
TEST_F(ChunksTest, ShowsExactlyWhatWasRecordedWhateverTheMixture) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    SetUp();
    Random random(seed);
    std::map<std::pair<DeviceId, int64_t>, std::vector<std::pair<std::string, PingResults>>> model;
    for (int step = 0; step < 120; ++step) {
      Batch b = empty_batch();
      for (uint64_t n = 0; n < 1 + random.below(3); ++n) {
        const DeviceId device = 1 + random.below(3);
        const std::string producer = random.chance(500) ? "prober-1" : "prober-2";
        const auto at = kStartMs + static_cast<int64_t>(random.below(40)) * 1000;
        PingResults r = batch_of({device}, at, static_cast<Verdict>(random.below(3)),
                                 static_cast<uint32_t>(1 + random.below(4)));
        if (random.chance(200)) r.burst = {{0, 4, {9, 9}}};
        if (random.chance(300)) {
          r.notes = {{.kind = static_cast<NoteKind>(random.below(4)),
                      .rtt_us = static_cast<uint32_t>(random.below(3))}};
        }
        if (random.chance(200)) r.proofs = {{.elapsed_us = static_cast<uint32_t>(random.below(3))}};
        if (random.chance(200)) {
          r.strays = {{.device = device,
                       .due_ms = r.due_ms[0] - 1000 * static_cast<int64_t>(random.below(3)),
                       .rtt_us = static_cast<uint32_t>(random.below(99))}};
        }
        model[{device, r.due_ms[0]}].emplace_back(producer, r);
        add(b, producer, r);
      }
      commit(b);
      if (random.chance(150)) chunk_of(1 + random.below(3));
      if (step % 40 != 39) continue;
      for (DeviceId device = 1; device <= 3; ++device) {
        const auto results = read(device);
        size_t slots = 0;
        for (const auto& [slot, given] : model) {
          if (slot.first != device) continue;
          std::vector<Claim> claims;
          for (const auto& [producer, r] : given) {
            claims.push_back({producer, 0, view_of(r, 0)});
          }
          const Claim& expected = claims[choose(claims)];
          ASSERT_LT(slots, results.rows.size());
          const history::Row& row = results.rows[slots++];
          ASSERT_EQ(row.due_ms, slot.second);
          EXPECT_EQ(row.verdict, expected.result.verdict);
          EXPECT_EQ(results.producer(row), expected.producer);
          EXPECT_EQ(row.burst_sent, expected.result.burst_sent);
          const history::Details* d = results.details_of(row);
          const history::Details none;
          EXPECT_EQ(
              (d == nullptr ? none : *d).notes,
              std::vector<EchoNote>(expected.result.notes.begin(), expected.result.notes.end()));
          EXPECT_EQ((d == nullptr ? none : *d).proofs,
                    std::vector<ProofResult>(expected.result.proofs.begin(),
                                             expected.result.proofs.end()));
          EXPECT_EQ(row.burst_answered, expected.result.burst_rtt_us.size());
          if (row.echo_count > 0) {
            EXPECT_EQ(results.echoes_of(row)[0].rtt_us, expected.result.rtt_us[0]);
          }
        }
        EXPECT_EQ(results.rows.size(), slots);
      }
    }
    // Exactly the same, and to SQL users, too, once everything is in chunks.
    for (DeviceId device = 1; device <= 3; ++device) {
      const std::string hot = told(read(device));
      chunk_of(device);
      EXPECT_EQ(told(read(device)), hot);
    }
    for (DeviceId device = 1; device <= 3; ++device) {
      std::string expected;
      const auto results = read(device);
      for (const history::Row& row : results.rows) {
        expected += std::to_string(row.due_ms) + results.producer(row) + to_string(row.verdict) +
                    to_string(row.reason) + std::to_string(row.echo_count + row.burst_sent) + ";";
      }
      EXPECT_EQ(sql("SELECT string_agg(due_ms || prober || verdict || reason || echoes_sent || ';',"
                    " '' ORDER BY due_ms) FROM ping_checks WHERE device_id = " +
                    std::to_string(device)),
                expected);
    }
  }
}

}  // namespace
}  // namespace gema::recorder
