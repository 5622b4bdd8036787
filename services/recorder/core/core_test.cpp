#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/base/random.h"
#include "services/recorder/core/gap_spans.h"
#include "services/recorder/core/halve.h"
#include "services/recorder/core/judge.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/core/transpose.h"
#include "tests/support/ping_results.h"

namespace gema::recorder {
namespace {

constexpr int64_t kNowMs = 1'800'001'000'000;
const WallTime kNow = wall_from_ms(kNowMs);

PingResults one(DeviceId device, uint32_t interval_ms, int64_t near_ms) {
  PingResults r;
  r.location = "default";
  testing::append(r, {.device = device,
                      .interval_ms = interval_ms,
                      .due_ms = slot_at_or_before(device, interval_ms, near_ms),
                      .rtt_us = 321});
  return r;
}

Judgement judged(const PingResults& r) {
  return judge(r, partition_of(r.device.front()), kNow, 24h);
}

// --- judge -----------------------------------------------------------------------------------

TEST(Judge, RecordsWhatIsRight) {
  const PingResults r = one(7, 5000, kNowMs);
  const Judgement j = judged(r);
  EXPECT_EQ(j.fate, Fate::kRecord);
  EXPECT_EQ(j.oldest_ms, r.due_ms[0]);
  EXPECT_EQ(j.newest_ms, r.due_ms[0]);
}

TEST(Judge, QuarantinesADueTimeThatIsNoSlot) {
  PingResults r = one(7, 5000, kNowMs);
  ++r.due_ms[0];
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
  EXPECT_STREQ(judged(r).reason, "a due time is no slot");
}

TEST(Judge, QuarantinesADeviceOfAnotherPartition) {
  const PingResults r = one(7, 5000, kNowMs);
  EXPECT_EQ(judge(r, partition_of(7) + 1, kNow, 24h).fate, Fate::kQuarantine);
}

TEST(Judge, QuarantinesWhatARowCannotHold) {
  PingResults r = one(7, 5000, kNowMs);
  r.location = std::string("a\0b", 3);
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
  r.location.clear();
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
  EXPECT_EQ(judged(one(0, 5000, kNowMs)).fate, Fate::kQuarantine);
  EXPECT_EQ(judged(one(uint64_t{1} << 63, 5000, kNowMs)).fate, Fate::kQuarantine);
  EXPECT_EQ(judged(one(7, 0xffffffff, kNowMs)).fate, Fate::kQuarantine);
  r = one(7, 5000, kNowMs);
  r.burst = {{0, kEchoesMax + 1, {}}};
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
}

TEST(Judge, LooksAtWhatStandsBesideTheResults) {
  PingResults r = one(7, 5000, kNowMs);
  r.strays = {{.device = 7, .due_ms = kNowMs - 9000}};
  r.address_changes = {{.device = 7, .at_ms = kNowMs}};
  EXPECT_EQ(judged(r).fate, Fate::kRecord);
  r.strays[0].due_ms = kNowMs + 60'000;
  EXPECT_EQ(judged(r).fate, Fate::kSetAside);
  DeviceId other = 8;
  while (partition_of(other) == partition_of(7)) ++other;
  r.strays[0].device = other;
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
  r.strays.clear();
  r.address_changes[0].device = other;
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
  r.address_changes[0].device = 0;
  EXPECT_EQ(judged(r).fate, Fate::kQuarantine);
}

TEST(Judge, SetsAsideWhatIsMoreThanTenSecondsAhead) {
  EXPECT_EQ(judged(one(7, 1000, kNowMs + 10'000)).fate, Fate::kRecord);
  EXPECT_EQ(judged(one(7, 1000, kNowMs + 11'001)).fate, Fate::kSetAside);
}

TEST(Judge, DiscardsWhatIsWhollyPastRetention) {
  EXPECT_EQ(judged(one(7, 1000, kNowMs - 86'400'000 + 1000)).fate, Fate::kRecord);
  EXPECT_EQ(judged(one(7, 1000, kNowMs - 86'400'000 - 1)).fate, Fate::kDiscard);
}

TEST(Judge, SaysAgainOfStoredResultsWhatNoChunkCanHold) {
  const PingResults right = one(7, 1000, kNowMs);
  EXPECT_EQ(unfit_for_chunks(right, kNow), nullptr);
  auto damaged = [&](auto&& damage) {
    PingResults r = right;
    damage(r);
    return unfit_for_chunks(r, kNow) != nullptr;
  };
  EXPECT_TRUE(damaged([](PingResults& r) { r.device[0] = 0; }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.device[0] = uint64_t{1} << 63; }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.interval_ms[0] = uint32_t{1} << 31; }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.due_ms[0] += int64_t{1} << 40; }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.location = std::string("de\0fault", 8); }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.burst = {{0, 5'000, {}}}; }));
  EXPECT_TRUE(
      damaged([](PingResults& r) { r.strays = {{.device = 7, .due_ms = int64_t{1} << 42}}; }));
  EXPECT_TRUE(damaged([](PingResults& r) { r.strays = {{.device = 0, .due_ms = kNowMs}}; }));
}

// --- transpose -------------------------------------------------------------------------------

PingResults decoded(const Chunks& chunks, const ChunkHead& h) {
  PingResults out;
  EXPECT_TRUE(append_chunk({.device = h.device,
                            .start_ms = h.start_ms,
                            .step_ms = h.step_ms,
                            .echoes = h.echoes,
                            .samples = chunks.samples_of(h),
                            .extra = chunks.extra_of(h),
                            .details = chunks.details_of(h)},
                           out));
  return out;
}

TEST(Transpose, MakesOneChunkOfADevicesConsecutiveSlots) {
  Transposer t;
  for (int i = 59; i >= 0; --i) t.add(0, one(7, 1000, kNowMs + i * 1000));
  const Chunks chunks = t.take(0);
  ASSERT_EQ(chunks.heads.size(), 1U);
  EXPECT_EQ(chunks.samples_of(chunks.heads[0]).size(), 60U);
  EXPECT_TRUE(chunks.extra.empty());
  EXPECT_EQ(chunks.results, 60U);
}

TEST(Transpose, NeverCrossesAnHour) {
  Transposer t;
  const int64_t hour = kNowMs / kChunkSpanMs * kChunkSpanMs;
  for (int i = -5; i < 5; ++i) t.add(0, one(7, 1000, hour + i * 1000));
  const Chunks chunks = t.take(0);
  ASSERT_EQ(chunks.heads.size(), 2U);
  for (const ChunkHead& h : chunks.heads) {
    const PingResults r = decoded(chunks, h);
    EXPECT_EQ(r.due_ms.front() / kChunkSpanMs, r.due_ms.back() / kChunkSpanMs);
  }
}

TEST(Transpose, BeginsAnotherChunkAfterALongHoleOnly) {
  Transposer t;
  for (const int i : {0, 1, 17, 34}) t.add(0, one(7, 1000, kNowMs + i * 1000));
  const Chunks chunks = t.take(0);
  ASSERT_EQ(chunks.heads.size(), 2U);
  EXPECT_EQ(chunks.samples_of(chunks.heads[0]).size(), 18U);
  EXPECT_EQ(chunks.samples_of(chunks.heads[1]).size(), 1U);
  EXPECT_EQ(chunks.heads[0].ordinal, 0U);
  EXPECT_EQ(chunks.heads[1].ordinal, 1U);
}

TEST(Transpose, KeepsTheBetterOfTwoResultsOfOneSourceAndBothOfTwoSources) {
  PingResults away = one(7, 1000, kNowMs);
  away.verdict = {Verdict::kNotMeasured};
  away.reason = {Reason::kNotRunning};
  away.echo_begin = {0, 0};
  away.echo_outcome.clear();
  away.echo_rtt_us.clear();
  for (const bool away_first : {true, false}) {
    Transposer t;
    t.add(0, away_first ? away : one(7, 1000, kNowMs));
    t.add(0, away_first ? one(7, 1000, kNowMs) : away);
    t.add(1, away);
    const Chunks chunks = t.take(0);
    ASSERT_EQ(chunks.heads.size(), 2U);
    EXPECT_EQ(decoded(chunks, chunks.heads[0]).verdict[0], Verdict::kAnswered);
    EXPECT_EQ(decoded(chunks, chunks.heads[1]).verdict[0], Verdict::kNotMeasured);
    EXPECT_EQ(chunks.doubled, 1U);
  }
}

TEST(Transpose, DropsAndCountsWhatIsPastRetention) {
  Transposer t;
  t.add(0, one(7, 1000, kNowMs - 5000));
  t.add(0, one(7, 1000, kNowMs));
  const Chunks chunks = t.take(kNowMs - 3000);
  EXPECT_EQ(chunks.results, 1U);
  EXPECT_EQ(chunks.discarded, 1U);
}

TEST(Transpose, KeepsTheDetailsOfTheResultThatStays) {
  PingResults away = one(7, 1000, kNowMs);
  away.verdict = {Verdict::kFailed};
  away.reason = {Reason::kUnreachable};
  away.echo_outcome = {EchoOutcome::kHostUnreachable};
  away.echo_rtt_us = {0};
  away.notes = {{.icmp_type = 3, .icmp_code = 1}};
  for (const bool away_first : {true, false}) {
    Transposer t;
    t.add(0, away_first ? away : one(7, 1000, kNowMs));
    t.add(0, away_first ? one(7, 1000, kNowMs) : away);
    t.add(1, away);
    const Chunks chunks = t.take(0);
    ASSERT_EQ(chunks.heads.size(), 2U);
    EXPECT_TRUE(decoded(chunks, chunks.heads[0]).notes.empty());
    EXPECT_EQ(decoded(chunks, chunks.heads[1]).notes, away.notes);
  }
}

// Every stray comes out once, in a chunk that begins in its hour and not after it, of its source.
TEST(Transpose, PutsLateAnswersWhereAReaderLooksForTheirSlot) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Transposer t;
    using Key = std::tuple<uint32_t, DeviceId, int64_t, uint32_t>;
    std::multiset<Key> expected;
    const int64_t oldest = kNowMs - 7'000'000;
    for (int b = 0; b < 6; ++b) {
      const auto source = static_cast<uint32_t>(random.below(2));
      PingResults r = one(1 + random.below(3), random.chance(700) ? 1000 : 300,
                          kNowMs + static_cast<int64_t>(random.below(8'000'000)) - 4'000'000);
      for (uint64_t n = random.below(4); n > 0; --n) {
        const Stray stray{
            .device = 1 + random.below(3),
            .due_ms = kNowMs + static_cast<int64_t>(random.below(16'000'000)) - 8'000'000,
            .echo = static_cast<uint32_t>(random.below(2)),
            .rtt_us = 5};
        if (stray.due_ms >= oldest) {
          expected.insert({source, stray.device, stray.due_ms, stray.echo});
        }
        r.strays.push_back(stray);
      }
      t.add(source, std::move(r));
    }
    const Chunks chunks = t.take(oldest);
    std::multiset<Key> got;
    std::set<std::tuple<DeviceId, uint32_t>> parts;
    for (const ChunkHead& h : chunks.heads) {
      EXPECT_TRUE(parts.insert({h.device, h.ordinal}).second);
      const PingResults r = decoded(chunks, h);
      for (const Stray& stray : r.strays) {
        EXPECT_LE(h.start_ms, stray.due_ms);
        EXPECT_EQ(h.start_ms / kChunkSpanMs, stray.due_ms / kChunkSpanMs);
        got.insert({h.source, stray.device, stray.due_ms, stray.echo});
      }
    }
    EXPECT_EQ(got, expected);
    EXPECT_EQ(chunks.strays, expected.size());
    EXPECT_EQ(chunks.results + chunks.doubled + chunks.discarded, 6U);
  }
}

using Slot = std::tuple<DeviceId, uint32_t, uint32_t, int64_t>;  // device, source, interval, due
struct Content {
  Verdict verdict;
  Reason reason;
  std::vector<EchoOutcome> outcomes;
  std::vector<uint32_t> rtts;
  uint32_t burst_sent;
  std::vector<uint32_t> burst;
  friend bool operator==(const Content&, const Content&) = default;
};

Content content_of(const ResultView& v) {
  return {v.verdict,
          v.reason,
          {v.outcomes.begin(), v.outcomes.end()},
          {v.rtt_us.begin(), v.rtt_us.end()},
          v.burst_sent,
          {v.burst_rtt_us.begin(), v.burst_rtt_us.end()}};
}

PingResults random_batch(Random& random) {
  PingResults r;
  r.location = "default";
  for (size_t i = 0; i < 1 + random.below(30); ++i) {
    const DeviceId device = 1 + random.below(5);
    const uint32_t interval = random.chance(700) ? 1000 : 300;
    r.device.push_back(device);
    r.interval_ms.push_back(interval);
    r.due_ms.push_back(slot_at_or_before(
        device, interval, kNowMs + static_cast<int64_t>(random.below(120'000)) - 60'000));
    r.verdict.push_back(static_cast<Verdict>(random.below(3)));
    r.reason.push_back(static_cast<Reason>(random.below(5)));
    for (uint64_t e = 0; e < random.below(4); ++e) {
      r.echo_outcome.push_back(static_cast<EchoOutcome>(random.below(6)));
      r.echo_rtt_us.push_back(r.echo_outcome.back() == EchoOutcome::kReply
                                  ? static_cast<uint32_t>(random.below(3))
                                  : 0);
    }
    r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    if (random.chance(100)) {
      r.burst.push_back({static_cast<uint32_t>(i), 4, std::vector<uint32_t>(random.below(3), 9)});
    }
  }
  return r;
}

std::map<Slot, Content> contents(const Chunks& chunks) {
  std::map<Slot, Content> out;
  for (const ChunkHead& h : chunks.heads) {
    const PingResults r = decoded(chunks, h);
    for (size_t i = 0; i < r.size(); ++i) {
      const Slot slot{h.device, h.source, h.step_ms, r.due_ms[i]};
      EXPECT_EQ(out.count(slot), 0U);
      out[slot] = content_of(view_of(r, i));
    }
  }
  return out;
}

TEST(Transpose, HoldsEverySlotOnceWhateverTheOrderOfArrival) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    std::vector<std::pair<uint32_t, PingResults>> batches;
    std::map<Slot, Content> expected;
    for (int b = 0; b < 20; ++b) {
      batches.emplace_back(static_cast<uint32_t>(random.below(2)), random_batch(random));
      const auto& [source, r] = batches.back();
      for (size_t i = 0; i < r.size(); ++i) {
        const ResultView v = view_of(r, i);
        const Slot slot{r.device[i], source, r.interval_ms[i], r.due_ms[i]};
        const auto it = expected.find(slot);
        if (it == expected.end()) {
          expected[slot] = content_of(v);
          continue;
        }
        const Content& c = it->second;
        const ResultView old{c.verdict, c.reason, c.outcomes, c.rtts, c.burst_sent, c.burst};
        if (beats(v, old)) it->second = content_of(v);
      }
    }
    for (int order = 0; order < 2; ++order) {
      Transposer t;
      for (const auto& [source, r] : batches) t.add(source, r);
      const Chunks chunks = t.take(0);
      ASSERT_EQ(contents(chunks), expected);
      EXPECT_EQ(chunks.results, expected.size());
      for (size_t i = batches.size(); i > 1; --i)
        std::swap(batches[i - 1], batches[random.below(i)]);
    }
  }
}

// --- gap spans -------------------------------------------------------------------------------

TEST(GapSpans, LieBetweenTheRecordsOnEitherSide) {
  GapSpans spans;
  spans.note("p", 1, 0, 10, 1000, 1100);
  spans.note("p", 1, 0, 14, 1400, 1500);
  EXPECT_EQ(spans.around("p", 1, 0, 11, 13), (Span{1100, 1400}));
}

TEST(GapSpans, AreUnknownWhereNothingIsKnown) {
  GapSpans spans;
  EXPECT_EQ(spans.around("p", 1, 0, 1, 9), Span{});
  spans.note("p", 1, 0, 10, 1000, 1100);
  EXPECT_EQ(spans.around("p", 1, 0, 1, 9), (Span{std::nullopt, 1000}));
  EXPECT_EQ(spans.around("p", 1, 0, 11, 11), (Span{1100, std::nullopt}));
  EXPECT_EQ(spans.around("p", 2, 0, 11, 11), Span{});
  spans.forget("p", 1, 0);
  EXPECT_EQ(spans.around("p", 1, 0, 11, 11), Span{});
}

TEST(GapSpans, StayBounded) {
  GapSpans spans;
  for (uint64_t seq = 1; seq <= 2 * kSpansMax; ++seq) {
    const auto at = static_cast<int64_t>(seq);
    spans.note("p", 1, 0, seq, at, at);
  }
  EXPECT_EQ(spans.around("p", 1, 0, 1, 1).from_ms, std::nullopt);
  EXPECT_EQ(spans.around("p", 1, 0, 1, 1).to_ms, static_cast<int64_t>(kSpansMax) + 1);
}

TEST(Halve, DoesAllThatCanBeDoneAndRefusesTheRestInBoundedWork) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    const size_t n = random.below(300);
    std::vector<bool> bad(n);
    size_t culprits = 0;
    const auto share = static_cast<uint32_t>(random.below(1001));
    for (size_t i = 0; i < n; ++i) {
      bad[i] = random.chance(share * share / 1000);
      culprits += bad[i] ? 1 : 0;
    }
    std::vector<size_t> order;
    size_t tries = 0;
    size_t refused = 0;
    const auto done = halve(
        0, n,
        [&](size_t from, size_t to) -> Result<void> {
          ++tries;
          for (size_t i = from; i < to; ++i) {
            if (bad[i]) return Error{Errc::kBadInput, "bad"};
          }
          for (size_t i = from; i < to; ++i) order.push_back(i);
          return {};
        },
        [&](size_t i, const Error& error) -> Result<void> {
          EXPECT_TRUE(bad[i]);
          EXPECT_EQ(error.message, "bad");
          ++refused;
          order.push_back(i);
          return {};
        });
    ASSERT_TRUE(done);
    EXPECT_EQ(refused, culprits);
    ASSERT_EQ(order.size(), n);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    size_t depth = 1;
    while ((size_t{1} << depth) < n) ++depth;
    EXPECT_LE(tries, std::min(2 * n, 1 + 2 * culprits * depth) + (n > 0 ? 1 : 0));
  }
}

TEST(Halve, EndsAtOnceForAnotherTrouble) {
  int tries = 0;
  const auto done = halve(
      0, 100,
      [&](size_t, size_t) -> Result<void> {
        return Error{++tries < 3 ? Errc::kBadInput : Errc::kUnavailable, "no"};
      },
      [](size_t, const Error&) -> Result<void> { return {}; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kUnavailable);
  EXPECT_EQ(tries, 3);
}

}  // namespace
}  // namespace gema::recorder
