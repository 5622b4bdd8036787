#include "common/domain/chunk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "common/base/random.h"
#include "common/domain/chunk_details.h"

namespace gema {
namespace {

// Appends one result at slot `due_ms` to `r`.
void add(PingResults& r, int64_t due_ms, Verdict verdict, Reason reason,
         const std::vector<EchoOutcome>& outcomes, const std::vector<uint32_t>& rtt_us,
         const std::vector<BurstResult>& burst = {}) {
  r.device.push_back(42);
  r.interval_ms.push_back(1000);
  r.due_ms.push_back(due_ms);
  r.verdict.push_back(verdict);
  r.reason.push_back(reason);
  r.echo_outcome.insert(r.echo_outcome.end(), outcomes.begin(), outcomes.end());
  r.echo_rtt_us.insert(r.echo_rtt_us.end(), rtt_us.begin(), rtt_us.end());
  r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
  for (BurstResult b : burst) {
    b.index = static_cast<uint32_t>(r.size() - 1);
    r.burst.push_back(b);
  }
}

struct Arrays {
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
  std::string details;
};

Arrays pack(const PingResults& r, uint32_t echoes) {
  Arrays a;
  DetailsWriter details;
  for (size_t i = 0; i < r.size(); ++i) {
    append_sample(view_of(r, i), static_cast<uint32_t>(i), echoes, a.samples, a.extra);
    details.add(view_of(r, i), static_cast<uint32_t>(i));
  }
  for (const Stray& stray : r.strays) details.add_stray(stray, r.due_ms.front());
  details.take(a.details);
  return a;
}

std::vector<ResultText> g_texts;  // of the last unpack()

PingResults unpack(const Arrays& a, uint32_t echoes, int64_t start_ms = 1000) {
  PingResults out;
  g_texts.clear();
  EXPECT_TRUE(append_chunk({.device = 42,
                            .start_ms = start_ms,
                            .step_ms = 1000,
                            .echoes = echoes,
                            .samples = a.samples,
                            .extra = a.extra,
                            .details = a.details},
                           out, &g_texts));
  return out;
}

using enum EchoOutcome;

TEST(Chunk, CostsOneNumberForEachPlainResult) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kNone, {kReply}, {350});
  add(r, 2000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0});
  add(r, 3000, Verdict::kFailed, Reason::kUnreachable, {EchoOutcome::kUnreachable}, {0});
  add(r, 4000, Verdict::kNotMeasured, Reason::kNotRunning, {}, {});
  const Arrays a = pack(r, 1);
  EXPECT_EQ(a.samples, (std::vector<int32_t>{350, -1, -2, -216}));
  EXPECT_TRUE(a.extra.empty());
  EXPECT_EQ(unpack(a, 1), r);
}

TEST(Chunk, KeepsBurstsAndVerdictsThatTheEchoesDoNotTell) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kLossy, {EchoOutcome::kTimeout}, {0},
      {{0, 4, {900, 800}}});
  add(r, 2000, Verdict::kNotMeasured, Reason::kProberSuspect, {EchoOutcome::kTimeout}, {0});
  add(r, 3000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0}, {{0, 4, {}}});
  add(r, 4000, Verdict::kAnswered, Reason::kNone, {kReply}, {5});
  const Arrays a = pack(r, 1);
  EXPECT_EQ(a.extra.size(), 6U + 4U + 4U);
  EXPECT_EQ(unpack(a, 1), r);
}

TEST(Chunk, KeepsSeveralEchoesAndChecksWithFewerOfThem) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kNone, {kReply, kReply, kReply}, {1, 2, 3});
  add(r, 2000, Verdict::kAnswered, Reason::kLossy, {kReply, EchoOutcome::kTimeout}, {7, 0});
  add(r, 3000, Verdict::kFailed, Reason::kTimeout, {kReply, EchoOutcome::kTimeout, kReply},
      {7, 0, 9});  // min_replies was 3
  add(r, 4000, Verdict::kNotMeasured, Reason::kPaused, {}, {});
  add(r, 5000, Verdict::kNotMeasured, Reason::kSendError, {EchoOutcome::kSendError}, {0});
  EXPECT_EQ(unpack(pack(r, 3), 3), r);
}

// --- details -----------------------------------------------------------------------------------

IpAddress router() {
  return *ip_from_bytes(std::string_view("\xc0\x00\x02\x02", 4));
}

EchoNote said_by_router(uint32_t index, uint32_t echo = 0) {
  return {.index = index,
          .echo = echo,
          .kind = NoteKind::kIcmpError,
          .icmp_type = 3,
          .icmp_code = 1,
          .from = router()};
}

TEST(Chunk, KeepsWhoSaidWhatProofsAndLateAnswers) {
  PingResults r;
  add(r, 1000, Verdict::kFailed, Reason::kUnreachable, {kHostUnreachable}, {0}, {{0, 1, {}}});
  r.notes = {said_by_router(0), said_by_router(0, 1)};
  r.proofs = {{.kind = ProofKind::kWeb,
               .outcome = ProofOutcome::kWrongStatus,
               .status = 503,
               .elapsed_us = 1234},
              {.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 22}};
  add(r, 2000, Verdict::kAnswered, Reason::kNone, {kReply}, {350});
  add(r, 3000, Verdict::kAnswered, Reason::kNone, {kReply}, {350});
  r.notes.push_back({.index = 2, .kind = NoteKind::kDuplicate, .count = 3, .from = router()});
  add(r, 4000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0});
  r.notes.push_back({.index = 3, .kind = NoteKind::kLate, .rtt_us = 3'100'000});
  add(r, 5000, Verdict::kNotMeasured, Reason::kSendError, {EchoOutcome::kSendError}, {0});
  r.notes.push_back({.index = 4, .kind = NoteKind::kSendError, .error = 101});
  r.strays = {{.device = 42, .due_ms = 1000, .echo = 0, .rtt_us = 3'300'000},
              {.device = 42, .due_ms = 4000, .kind = NoteKind::kDuplicate, .rtt_us = 3}};
  EXPECT_EQ(unpack(pack(r, 1), 1), r);
}

TEST(Chunk, CostsNothingMoreForResultsWithoutDetails) {
  PingResults r;
  add(r, 1000, Verdict::kAnswered, Reason::kLossy, {EchoOutcome::kTimeout}, {0}, {{0, 4, {9}}});
  EXPECT_TRUE(pack(r, 1).details.empty());
}

TEST(Chunk, WritesOnceWhatOneRouterSaysOfAWholeRun) {
  PingResults r;
  for (uint32_t i = 0; i < 60; ++i) {
    add(r, 1000 + i * 1000, Verdict::kFailed, Reason::kUnreachable, {kHostUnreachable}, {0});
    r.notes.push_back(said_by_router(i));
  }
  const Arrays a = pack(r, 1);
  EXPECT_EQ(unpack(a, 1), r);
  EXPECT_LE(a.details.size(), 30U);
  EXPECT_TRUE(a.extra.empty());
}

TEST(Chunk, KeepsWhoPaused) {
  PingResults r;
  r.note = "Siti";
  add(r, 1000, Verdict::kNotMeasured, Reason::kPaused, {}, {});
  add(r, 2000, Verdict::kNotMeasured, Reason::kNotRunning, {}, {});
  add(r, 3000, Verdict::kNotMeasured, Reason::kPaused, {}, {});
  PingResults got = unpack(pack(r, 1), 1);
  EXPECT_EQ(g_texts, (std::vector<ResultText>{{0, "Siti"}, {2, "Siti"}}));
  got.note = r.note;
  EXPECT_EQ(got, r);
}

TEST(Chunk, ReadsChunksFromBeforeThereWereDetails) {
  const std::vector<int32_t> samples{350, -1, -2, -216};
  const std::vector<int32_t> extra{1, 0 << 8 | 1, 4, 1, 900};
  PingResults out;
  ASSERT_TRUE(
      append_chunk({.device = 42, .step_ms = 1000, .samples = samples, .extra = extra}, out));
  EXPECT_EQ(out.size(), 4U);
  EXPECT_TRUE(out.notes.empty());
}

TEST(Chunk, GivesBackRandomDetailsExactly) {
  const uint64_t seed = 20261121;
  SCOPED_TRACE(seed);
  Random random(seed);
  for (int round = 0; round < 2000; ++round) {
    PingResults r;
    const uint64_t slots = 1 + random.below(20);
    for (uint32_t i = 0; i < slots; ++i) {
      add(r, 1000 + i * 1000, Verdict::kFailed, Reason::kTimeout, {EchoOutcome::kTimeout}, {0});
      if (random.chance(400)) continue;
      const bool repeats = i > 0 && random.chance(500);
      for (uint32_t echo = 0; echo < random.below(3); ++echo) {
        EchoNote note = said_by_router(i, echo);
        if (!repeats) {
          note.kind = static_cast<NoteKind>(random.below(kNoteKindMax + 1));
          note.icmp_type = static_cast<uint8_t>(random.next());
          note.icmp_code = static_cast<uint8_t>(random.next());
          note.error = static_cast<uint16_t>(random.next());
          note.rtt_us = random.chance(500) ? static_cast<uint32_t>(random.next()) : 0;
          note.count = 1 + static_cast<uint32_t>(random.below(UINT32_MAX));
          note.from.bytes[3] = static_cast<uint8_t>(random.below(30));
          if (random.chance(200)) note.from = {};
          if (random.chance(200)) note.from.family = 6;
        }
        r.notes.push_back(note);
      }
      if (random.chance(300)) {
        r.proofs.push_back(
            {.index = i,
             .kind = static_cast<ProofKind>(random.below(kProofKindMax + 1)),
             .outcome = static_cast<ProofOutcome>(random.below(kProofOutcomeMax + 1)),
             .port = static_cast<uint16_t>(random.next()),
             .status = static_cast<uint16_t>(random.next()),
             .elapsed_us = static_cast<uint32_t>(random.next())});
      }
    }
    for (int64_t due = 1000; random.chance(500); due += static_cast<int64_t>(random.below(9000))) {
      r.strays.push_back({.device = 42,
                          .due_ms = due,
                          .echo = static_cast<uint32_t>(random.next()),
                          .kind = random.chance(500) ? NoteKind::kLate : NoteKind::kDuplicate,
                          .rtt_us = static_cast<uint32_t>(random.next())});
    }
    ASSERT_EQ(unpack(pack(r, 1), 1), r) << "round " << round;
  }
}

TEST(Chunk, NoticesDetailsThatWereMutilated) {
  const uint64_t seed = 20261122;
  SCOPED_TRACE(seed);
  Random random(seed);
  PingResults r;
  for (uint32_t i = 0; i < 10; ++i) {
    add(r, 1000 + i * 1000, Verdict::kFailed, Reason::kUnreachable, {kHostUnreachable}, {0});
    if (i % 3 != 0) r.notes.push_back(said_by_router(i));
  }
  r.proofs = {{.index = 4, .elapsed_us = 77}};
  r.strays = {{.device = 42, .due_ms = 1000, .rtt_us = 3'300'000}};
  const Arrays good = pack(r, 1);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    Arrays a = good;
    if (random.chance(300)) {
      a.details.resize(random.below(a.details.size()));
    } else {
      a.details[random.below(a.details.size())] = static_cast<char>(random.next());
    }
    PingResults out;
    const bool right = append_chunk({.device = 42,
                                     .start_ms = 1000,
                                     .step_ms = 1000,
                                     .samples = a.samples,
                                     .extra = a.extra,
                                     .details = a.details},
                                    out);
    if (!right) ++refused;
    ASSERT_EQ(out.device.size() + 1, out.echo_begin.size());
    ASSERT_EQ(out.echo_outcome.size(), out.echo_begin.back());
    for (const EchoNote& note : out.notes) ASSERT_LT(note.index, out.size());
    for (const ProofResult& proof : out.proofs) ASSERT_LT(proof.index, out.size());
  }
  EXPECT_GT(refused, 5'000);
  // Cut anywhere, it is noticed: nothing of it is optional.
  for (size_t length = 1; length < good.details.size(); ++length) {
    PingResults out;
    EXPECT_FALSE(append_chunk({.device = 42,
                               .start_ms = 1000,
                               .step_ms = 1000,
                               .samples = good.samples,
                               .details = std::string_view(good.details).substr(0, length)},
                              out))
        << length;
  }
}

TEST(Chunk, LeavesOutSlotsWithoutAResult) {
  Arrays a{{10, kNoResult, 30}, {}, {}};
  const PingResults out = unpack(a, 1);
  EXPECT_EQ(out.due_ms, (std::vector<int64_t>{1000, 3000}));
}

TEST(Chunk, GivesBackRandomResultsExactly) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(seed);
  Random random(seed);
  for (int round = 0; round < 2000; ++round) {
    PingResults r;
    const uint32_t echoes = 1 + static_cast<uint32_t>(random.below(4));
    for (size_t i = 0; i < 1 + random.below(20); ++i) {
      std::vector<EchoOutcome> outcomes;
      std::vector<uint32_t> rtts;
      for (uint64_t e = 0; e < random.below(echoes + 1); ++e) {
        const auto outcome = static_cast<uint32_t>(random.below(kEchoOutcomeMax + 1));
        outcomes.push_back(is_echo_outcome(outcome) ? static_cast<EchoOutcome>(outcome) : kReply);
        rtts.push_back(outcomes.back() == kReply ? static_cast<uint32_t>(random.below(1 << 30))
                                                 : 0);
      }
      std::vector<BurstResult> burst;
      if (random.chance(200)) burst = {{0, 4, std::vector<uint32_t>(random.below(5), 77)}};
      const auto reason =
          static_cast<Reason>(random.chance(500) ? random.below(5) : 16 + random.below(9));
      add(r, 1000 + static_cast<int64_t>(i) * 1000, static_cast<Verdict>(random.below(3)), reason,
          outcomes, rtts, burst);
    }
    ASSERT_EQ(unpack(pack(r, echoes), echoes), r) << "round " << round;
  }
}

TEST(Chunk, RefusesArraysThatBreakTheRules) {
  PingResults out;
  const std::vector<int32_t> good{1, 2, 3};
  const std::vector<std::vector<int32_t>> bad_samples{{-50}, {1, 2, -300}, {-11}};
  const std::vector<int32_t> lowest{1, std::numeric_limits<int32_t>::min()};
  EXPECT_FALSE(append_chunk({.step_ms = 1000, .echoes = 2, .samples = lowest}, out));
  for (const auto& samples : bad_samples) {
    EXPECT_FALSE(append_chunk({.step_ms = 1000, .samples = samples}, out));
  }
  const std::vector<std::vector<int32_t>> bad_extra{{0},
                                                    {0, 0, 4, 9},
                                                    {9, 0, 0, 0},
                                                    {0, 3 << 8, 0, 0},
                                                    {0, 0, -1, 0},
                                                    {1, 0, 0, 0, 0, 0, 0, 0},
                                                    {0, 0, 4, 1, -5}};
  for (const auto& extra : bad_extra) {
    EXPECT_FALSE(append_chunk({.step_ms = 1000, .samples = good, .extra = extra}, out));
  }
  EXPECT_FALSE(append_chunk({.step_ms = 1000, .echoes = 2, .samples = good}, out));
  EXPECT_FALSE(append_chunk({.step_ms = 0, .samples = good}, out));
  EXPECT_EQ(out.echo_outcome.size(), out.echo_begin.back());
  EXPECT_EQ(out.device.size() + 1, out.echo_begin.size());
}

// --- which of several results counts --------------------------------------------------------

const std::vector<EchoOutcome> kOneReply{kReply};
const std::vector<uint32_t> kRtt5{5};
const std::vector<uint32_t> kRtt6{6};
const ResultView kAnswered5{.verdict = Verdict::kAnswered, .outcomes = kOneReply, .rtt_us = kRtt5};
const ResultView kAnswered6{.verdict = Verdict::kAnswered, .outcomes = kOneReply, .rtt_us = kRtt6};
const ResultView kFailed{.verdict = Verdict::kFailed, .reason = Reason::kTimeout};
const ResultView kAway{.verdict = Verdict::kNotMeasured, .reason = Reason::kNotRunning};

size_t chosen(std::vector<Claim> claims) {
  return choose(claims);
}

TEST(Conflict, MeasuredBeatsNotMeasured) {
  EXPECT_EQ(chosen({{"a", 0, kAway}, {"b", 0, kFailed}}), 1U);
}
TEST(Conflict, AnsweredBeatsFailed) {
  EXPECT_EQ(chosen({{"a", 0, kFailed}, {"b", 0, kAnswered6}}), 1U);
}
TEST(Conflict, ThenTheLowerProducerIdCounts) {
  EXPECT_EQ(chosen({{"b", 0, kAnswered5}, {"a", 0, kAnswered6}}), 1U);
}
TEST(Conflict, DetailsDecideLastAndAlwaysTheSame) {
  const std::vector<EchoNote> said{said_by_router(0)};
  ResultView with = kFailed;
  with.notes = said;
  EXPECT_NE(beats(with, kFailed), beats(kFailed, with));
  const std::vector<EchoNote> elsewhere{said_by_router(7)};
  ResultView same = kFailed;
  same.notes = elsewhere;
  EXPECT_FALSE(beats(with, same) || beats(same, with));
}

TEST(Conflict, AfterAClockStepTheLaterEpochOfThatProducerCountsFirst) {
  EXPECT_EQ(chosen({{"a", 0, kAnswered5}, {"a", 1, kFailed}}), 1U);
  // Its superseded answer does not beat another producer's failure either.
  EXPECT_EQ(chosen({{"a", 0, kAnswered5}, {"a", 1, kAway}, {"b", 0, kFailed}}), 2U);
  // Another producer's clock steps mean nothing here.
  EXPECT_EQ(chosen({{"b", 3, kFailed}, {"a", 0, kAnswered5}}), 1U);
}

TEST(Conflict, DoesNotDependOnTheOrderOfArrival) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  Random random(seed);
  const std::vector<ResultView> results{kAnswered5, kAnswered6, kFailed, kAway};
  const char* names[] = {"a", "b", "c"};
  for (int round = 0; round < 3000; ++round) {
    std::vector<Claim> claims;
    for (uint64_t i = 0; i < 1 + random.below(6); ++i) {
      claims.push_back({names[random.below(3)], static_cast<uint32_t>(random.below(3)),
                        results[random.below(results.size())]});
    }
    auto what = [&](const std::vector<Claim>& in) {
      const Claim& c = in[choose(in)];
      return std::tuple(std::string(c.producer), c.clock_steps, c.result.verdict,
                        c.result.rtt_us.data());
    };
    const auto first = what(claims);
    for (size_t i = claims.size(); i > 1; --i) std::swap(claims[i - 1], claims[random.below(i)]);
    ASSERT_EQ(what(claims), first) << "round " << round;
  }
}

}  // namespace
}  // namespace gema
