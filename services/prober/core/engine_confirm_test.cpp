// Proofs of life, probes, pauses, and what is told of single echoes.
#include <gtest/gtest.h>

#include <cerrno>

#include "services/prober/core/engine_rig_for_test.h"

namespace gema::prober {
namespace {

Target provable(DeviceId id = 1) {
  Target t = target(id, 5000, 1000);
  t.has_proof = true;
  return t;
}
using Proven = std::pair<Duration, std::vector<ProofResult>>;

ProofResult web(ProofOutcome outcome) {
  return {.kind = ProofKind::kWeb, .outcome = outcome, .port = 443};
}
ProofResult tcp(ProofOutcome outcome) {
  return {.kind = ProofKind::kTcp, .outcome = outcome, .port = 22};
}

// --- proofs of life -----------------------------------------------------------------------------

TEST(Proof, IsAskedTogetherWithTheBurstAndEndsTheCheckWhenAlive) {
  for (const auto& [results, reason] :
       {std::pair(std::vector{web(ProofOutcome::kAlive)}, Reason::kWebAlive),
        std::pair(std::vector{web(ProofOutcome::kTimeout), tcp(ProofOutcome::kAlive)},
                  Reason::kTcpAlive),
        std::pair(std::vector{web(ProofOutcome::kNotTried), tcp(ProofOutcome::kAlive)},
                  Reason::kTcpAlive)}) {
    Rig rig;
    rig.engine.assign({{provable()}}, 3);
    rig.network = [](auto...) { return lost(); };
    rig.prove = [&, r = results](DeviceId) { return Proven{150ms, r}; };
    rig.run(30s);
    ASSERT_GE(rig.results[1].size(), 5U);
    for (const Outcome& o : rig.results[1]) {
      EXPECT_EQ(o.verdict, Verdict::kAnswered);
      EXPECT_EQ(o.reason, reason);
      EXPECT_EQ(o.burst_sent, 2U);  // every time: a proof ends the run of failed checks
      EXPECT_EQ(o.proofs, results);
    }
    expect_gapless(rig.results[1]);
    EXPECT_TRUE(rig.proofs_cancelled.empty());
    EXPECT_FALSE(rig.engine.awaits_answers());
  }
}

TEST(Proof, OfAnAnsweredCheckIsNotAsked) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.run(20s);
  EXPECT_TRUE(rig.proofs_asked.empty());
}

TEST(Proof, ThatFailsIsWaitedForBeforeAndAfterTheBurstsEnd) {
  for (const Duration after : {10ms, 8000ms}) {
    Rig rig;
    rig.engine.assign({{provable()}}, 3);
    rig.network = [](auto...) { return lost(); };
    rig.prove = [&](DeviceId) {
      return Proven{after, {web(ProofOutcome::kWrongStatus), tcp(ProofOutcome::kReset)}};
    };
    rig.run(40s);
    ASSERT_GE(rig.results[1].size(), 4U);
    for (size_t i = 0; i < rig.results[1].size(); ++i) {
      const Outcome& o = rig.results[1][i];
      EXPECT_EQ(o.verdict, Verdict::kFailed);
      EXPECT_EQ(o.reason, Reason::kTimeout);
      EXPECT_EQ(o.burst_sent, i < (after < 1s ? 3 : 4) ? 4U : 0U) << i;
      EXPECT_EQ(o.proofs.size(), 2U);
    }
    // Asked also when the device is down: else it could not come back.
    EXPECT_GE(rig.proofs_asked.size(), rig.results[1].size());
    expect_gapless(rig.results[1]);
  }
}

TEST(Proof, IsCancelledByAnAnswerToTheBurst) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](DeviceId, const Send& s, int64_t) {
    return s.burst && s.ordinal == 2 ? Rig::Fate{} : lost();
  };
  rig.prove = [](DeviceId) { return Proven{3s, {web(ProofOutcome::kAlive)}}; };
  rig.run(7s);
  ASSERT_GE(rig.proofs_cancelled.size(), 1U);
  EXPECT_EQ(rig.results[1][0].reason, Reason::kLossy);
  EXPECT_TRUE(rig.results[1][0].proofs.empty());
}

TEST(Proof, ThatCouldNotBeTriedLeavesTheCheckNotMeasured) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](auto...) { return lost(); };
  rig.prove = [](DeviceId) {
    return Proven{1ms, {web(ProofOutcome::kNotTried), tcp(ProofOutcome::kReset)}};
  };
  rig.run(20s);
  for (const Outcome& o : rig.results[1]) {
    EXPECT_EQ(o.verdict, Verdict::kNotMeasured);
    EXPECT_EQ(o.reason, Reason::kQueueFull);
    EXPECT_EQ(o.burst_sent, 4U);
    EXPECT_EQ(o.echoes, std::vector{EchoOutcome::kTimeout});
  }
  EXPECT_GE(rig.results[1].size(), 3U);
}

TEST(Proof, ThatFailsAcrossAStallHasNotFailed) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](auto...) { return lost(); };
  rig.prove = [](DeviceId) { return Proven{3s, {web(ProofOutcome::kTimeout)}}; };
  while (rig.proofs_asked.empty()) rig.run(1ms);
  rig.stop_for(60s);
  rig.run(10s);
  EXPECT_EQ(rig.results[1][0].verdict, Verdict::kNotMeasured);
  EXPECT_EQ(rig.results[1][0].reason, Reason::kLate);
  expect_gapless(rig.results[1]);
}

TEST(Proof, OfAnEndedOrUnknownCheckIsIgnored) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](auto...) { return lost(); };
  while (rig.proofs_asked.empty()) rig.run(1ms);
  const ProofResult alive = web(ProofOutcome::kAlive);
  rig.engine.on_proofs({{{.check = 0, .generation = 7, .results = {alive}},
                         {.check = 999'999, .generation = 1, .results = {alive}},
                         {.check = 5, .generation = 0, .results = {alive}}}},
                       rig.now());
  rig.run(10s);
  EXPECT_EQ(rig.results[1][0].verdict, Verdict::kFailed);
  rig.engine.on_proofs({{{.check = 0, .generation = 1, .results = {alive}}}}, rig.now());
}

TEST(Proof, WithoutBurstDecidesAlone) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](auto...) { return lost(); };
  bool alive = false;
  rig.prove = [&](DeviceId) {
    alive = !alive;
    return Proven{20ms, {web(alive ? ProofOutcome::kAlive : ProofOutcome::kTimeout)}};
  };
  rig.run(20s);
  ASSERT_GE(rig.results[1].size(), 3U);
  EXPECT_EQ(rig.results[1][0].reason, Reason::kWebAlive);
  EXPECT_EQ(rig.results[1][1].reason, Reason::kTimeout);
}

TEST(Proof, IsCancelledByAClockStep) {
  Rig rig;
  rig.engine.assign({{provable()}}, 3);
  rig.network = [](auto...) { return lost(); };
  rig.prove = [](DeviceId) { return Proven{30s, {}}; };
  while (rig.proofs_asked.empty()) rig.run(1ms);
  rig.step_wall(700ms);
  rig.run(1ms);
  EXPECT_EQ(rig.proofs_cancelled.size(), 1U);
  EXPECT_EQ(rig.results[1][0].reason, Reason::kClockStep);
}

// --- probes -------------------------------------------------------------------------------------

TEST(Probe, TellsOfEachEchoAndLeavesNoResult) {
  Rig rig;
  rig.network = [](DeviceId id, const Send& s, int64_t) -> Rig::Fate {
    EXPECT_EQ(id, 77U);
    if (s.ordinal == 1) return lost();
    if (s.ordinal == 2) {
      return {.outcome = EchoOutcome::kProhibited, .icmp_type = 3, .icmp_code = 13};
    }
    if (s.ordinal == 3) return {.status = SendStatus::kRefused, .error = EACCES};
    return {.answer_after = std::chrono::milliseconds(10 + s.ordinal)};
  };
  EXPECT_TRUE(rig.engine.probe(
      {.id = 5, .address = address(77), .count = 5, .timeout_ms = 300, .spacing_ms = 50},
      rig.now()));
  rig.run(2s);
  ASSERT_EQ(rig.probes.size(), 1U);
  const ProbeOutcome& o = rig.probes[0];
  using enum EchoOutcome;
  EXPECT_EQ(o.id, 5U);
  EXPECT_EQ(o.outcomes, (std::vector{kReply, kTimeout, kProhibited, kSendError, kReply}));
  EXPECT_EQ(o.rtt_us, (std::vector<uint32_t>{10'000, 0, 0, 0, 14'000}));
  ASSERT_EQ(o.notes.size(), 2U);
  EXPECT_EQ(o.notes[0].icmp_code, 13);
  EXPECT_EQ(to_text(o.notes[0].from), "192.0.2.1");
  EXPECT_EQ(o.notes[1].error, EACCES);
  EXPECT_TRUE(rig.results.empty());
  EXPECT_EQ(rig.engine.checks_in_flight(), 0U);
}

TEST(Probe, IsBoundedAndRefusedBeyond) {
  Rig rig;
  rig.network = [](auto...) { return lost(); };
  for (uint64_t id = 0; id < kProbesMax; ++id) {
    ASSERT_TRUE(rig.engine.probe({.id = id, .address = address(1)}, rig.now()));
  }
  EXPECT_FALSE(rig.engine.probe({.id = 1000, .address = address(1)}, rig.now()));
  rig.run(2s);
  EXPECT_EQ(rig.probes.size(), kProbesMax);
  EXPECT_TRUE(rig.engine.probe({.id = 1000, .address = address(1)}, rig.now()));
  EXPECT_FALSE(rig.engine.probe({.id = 1001}, rig.now()));
  EXPECT_FALSE(rig.engine.probe({.id = 1001, .address = address(1), .count = 0}, rig.now()));
  EXPECT_FALSE(rig.engine.probe({.id = 1001, .address = address(1), .count = 101}, rig.now()));
  EXPECT_EQ(rig.engine.stats().probes_refused, 4U);
}

TEST(Probe, EndsAlsoWhenTheClockStepsOrNoSocketIsThere) {
  Rig rig;
  rig.network = [](DeviceId id, const Send&, int64_t) {
    return id == 1 ? lost() : Rig::Fate{.status = SendStatus::kNoFamily, .error = EAFNOSUPPORT};
  };
  ASSERT_TRUE(rig.engine.probe({.id = 1, .address = address(1), .count = 3}, rig.now()));
  ASSERT_TRUE(rig.engine.probe({.id = 2, .address = address(2), .count = 2}, rig.now()));
  rig.run(50ms);
  rig.step_wall(500ms);
  rig.run(1s);
  ASSERT_EQ(rig.probes.size(), 2U);
  for (const ProbeOutcome& o : rig.probes) {
    for (const EchoOutcome e : o.outcomes) EXPECT_NE(e, EchoOutcome::kReply);
    EXPECT_EQ(o.outcomes.size(), o.id == 1 ? 3U : 2U);
  }
  EXPECT_FALSE(rig.engine.awaits_answers());
}

// --- pause --------------------------------------------------------------------------------------

TEST(Pause, MakesSlotsNotMeasuredByWhomAndSendsNothing) {
  Rig rig;
  rig.engine.assign(targets(20), 3);
  rig.run(3s);
  const int64_t paused_at = rig.engine.scheduled_until_ms();
  rig.engine.pause("ani");
  rig.run(5s);
  const int64_t other_at = rig.engine.scheduled_until_ms();
  rig.engine.pause("budi");
  rig.run(2s);
  EXPECT_EQ(rig.engine.stats().sent, 60U);
  const int64_t resumed_at = rig.engine.scheduled_until_ms();
  rig.engine.resume();
  rig.run(3s);
  for (const auto& [id, all] : rig.results) {
    EXPECT_EQ(all.size(), 13U);
    expect_gapless(all);
    for (const Outcome& o : all) {
      const bool paused = o.due_ms > paused_at && o.due_ms <= resumed_at;
      EXPECT_EQ(o.reason, paused ? Reason::kPaused : Reason::kNone);
      const char* by = o.due_ms <= other_at ? "ani" : "budi";
      EXPECT_TRUE(!paused || o.note == by) << o.note;
    }
  }
  EXPECT_EQ(rig.engine.stats().slots_missed, 0U);
}

TEST(Pause, LeavesWhatIsInFlightToEndAsBegun) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000, 3, 3)}}, 3);
  while (rig.sent_ms[1].empty()) rig.run(1ms);
  rig.engine.pause("ani");
  rig.run(1s);
  ASSERT_EQ(rig.results[1].size(), 1U);
  EXPECT_EQ(rig.results[1][0].reason, Reason::kNone);
  EXPECT_EQ(rig.sent_ms[1].size(), 3U);
}

TEST(Pause, AStallWhilePausedIsPausedToo) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  rig.engine.pause("ani");
  rig.run(2s);
  rig.stop_for(10s);
  rig.run(2s);
  expect_gapless(rig.results[1]);
  for (const Outcome& o : rig.results[1]) {
    EXPECT_EQ(o.reason, Reason::kPaused);
    EXPECT_EQ(o.note, "ani");
  }
}

TEST(Pause, ManyPausersOfWaitingSlotsShareTheLastPlace) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  for (int i = 0; i < 200; ++i) rig.engine.pause("p" + std::to_string(i));
  rig.run(3s);
  EXPECT_EQ(rig.results[1].back().note, "p199");
}

// --- notes of echoes ----------------------------------------------------------------------------

TEST(Notes, SayWhoSaidUnreachableAndWithWhichCodeOfTrainAndBurst) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000, 2, 1)}}, 3);
  rig.network = [](DeviceId, const Send& s, int64_t) -> Rig::Fate {
    if (s.ordinal == 0) {
      return {.outcome = EchoOutcome::kNetUnreachable, .icmp_type = 3, .icmp_code = 6};
    }
    if (s.burst) return {.outcome = EchoOutcome::kTimeExceeded, .icmp_type = 11};
    return {.outcome = EchoOutcome::kHostUnreachable, .icmp_type = 3, .icmp_code = 1};
  };
  rig.run(8s);
  const Outcome& o = rig.results[1].front();
  EXPECT_EQ(o.reason, Reason::kUnreachable);
  EXPECT_EQ(o.echoes, (std::vector{EchoOutcome::kNetUnreachable, EchoOutcome::kHostUnreachable}));
  ASSERT_EQ(o.notes.size(), 6U);
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(o.notes[i].echo, i);
    EXPECT_EQ(o.notes[i].kind, NoteKind::kIcmpError);
    EXPECT_EQ(to_text(o.notes[i].from), "192.0.2.1");
    EXPECT_EQ(o.notes[i].icmp_type, i < 2 ? 3 : 11);
  }
  EXPECT_EQ(o.notes[0].icmp_code, 6);
  EXPECT_EQ(o.notes[1].icmp_code, 1);
}

TEST(Notes, KeepTheKernelsReasonNotToSend) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  rig.network = [](auto...) {
    return Rig::Fate{.status = SendStatus::kRefused, .error = ENETUNREACH};
  };
  rig.run(2s);
  const Outcome& o = rig.results[1].front();
  EXPECT_EQ(o.reason, Reason::kSendError);
  ASSERT_EQ(o.notes.size(), 1U);
  EXPECT_EQ(o.notes[0].kind, NoteKind::kSendError);
  EXPECT_EQ(o.notes[0].error, ENETUNREACH);
}

TEST(Notes, TellOfDuplicatesAndLateRepliesWhileTheCheckIsUnfinished) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 200, 5, 3)}}, 3);
  rig.network = [](DeviceId, const Send& s, int64_t) {
    return s.ordinal == 1 ? Rig::Fate{.answer_after = 290ms} : Rig::Fate{};
  };
  while (rig.delivered.empty()) rig.run(1ms);
  rig.run(20ms);
  const Answer again = rig.delivered[0];
  rig.engine.on_answers({{again, again, again}}, rig.now());
  rig.run(5s);
  const Outcome& o = rig.results[1].front();
  EXPECT_EQ(o.reason, Reason::kLossy);
  ASSERT_EQ(o.notes.size(), 2U);
  EXPECT_EQ(o.notes[0].kind, NoteKind::kDuplicate);
  EXPECT_EQ(o.notes[0].echo, 0U);
  EXPECT_EQ(o.notes[0].count, 3U);
  EXPECT_EQ(o.notes[1].kind, NoteKind::kLate);
  EXPECT_EQ(o.notes[1].echo, 1U);
  EXPECT_EQ(o.notes[1].rtt_us, 290'000U);
  EXPECT_EQ(o.echoes[1], EchoOutcome::kTimeout);
}

TEST(Notes, TellOfALateReplyThatIsReadBeforeTheTimer) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{target(1, 1000, 200)}}, 3);
  rig.network = [](auto...) { return Rig::Fate{.answer_after = 205ms}; };
  rig.run(2s);
  ASSERT_EQ(rig.results[1].front().notes.size(), 1U);
  EXPECT_EQ(rig.results[1].front().notes[0].rtt_us, 205'000U);
}

TEST(Notes, OfOneCheckAreBounded) {
  Rig rig;
  Target hundred = target(1, 5000, 1000, 100, 1);
  hundred.echo_spacing_ms = 20;
  rig.engine.assign({{hundred}}, 1000);
  rig.network = [](auto...) {
    return Rig::Fate{.outcome = EchoOutcome::kHostUnreachable, .icmp_type = 3, .icmp_code = 1};
  };
  while (rig.delivered.size() < 60) rig.run(1ms);
  for (int i = 0; i < 300; ++i) {
    const size_t n = static_cast<size_t>(i % 50);
    rig.engine.on_answers({{rig.delivered[n]}}, rig.now());
  }
  rig.run(8s);
  EXPECT_LE(rig.results[1].front().notes.size(), kNotesPerCheckMax);
}

TEST(Notes, SayNothingOfAnEchoThatNobodyKnowsTheTimeOf) {
  for (const uint8_t echoes : {1, 3}) {
    Rig rig({.burst_count = 0});
    rig.engine.assign({{target(1, 5000, 200, echoes, 1)}}, 3);
    std::optional<Send> first;
    rig.network = [&](DeviceId, const Send& s, int64_t) -> Rig::Fate {
      if (!first) first = s;
      return s.ordinal == 0 ? Rig::Fate{.status = SendStatus::kUntimed} : Rig::Fate{};
    };
    while (!first) rig.run(1ms);
    const Answer answer{.check = first->check,
                        .generation = first->generation,
                        .ordinal = 0,
                        .at = rig.now(),
                        .sent = rig.now() - 60s,
                        .timeout = 200ms,
                        .destination = first->destination};
    rig.engine.on_answers({{answer}}, rig.now());
    rig.run(4s);
    if (echoes == 1) rig.engine.on_answers({{answer}}, rig.now());
    rig.run(6s);
    EXPECT_EQ(rig.results[1].front().verdict,
              echoes == 1 ? Verdict::kNotMeasured : Verdict::kAnswered);
    EXPECT_TRUE(rig.results[1].front().notes.empty());
    EXPECT_TRUE(rig.strays.empty());
  }
}

// --- answers after the result -------------------------------------------------------------------

TEST(Stray, TellsDeviceSlotAndEchoOfLateAndRepeatedAnswers) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{target(1, 5000, 200), target(2, 5000, 200)}}, 3);
  rig.network = [](DeviceId id, const Send&, int64_t) {
    return Rig::Fate{.answer_after = id == 1 ? 900ms : 1ms};
  };
  rig.run(10s);
  const Answer* two = nullptr;
  for (const Answer& a : rig.delivered) two = a.destination == address(2) ? &a : two;
  const Answer again = *two;
  rig.engine.on_answers({{again}}, rig.now());
  rig.run(10s);
  size_t late = 0, twice = 0;
  for (const Stray& s : rig.strays) {
    if (s.kind == NoteKind::kLate) {
      EXPECT_EQ(s.device, 1U);
      EXPECT_EQ(s.rtt_us, 900'000U);
      EXPECT_EQ(s.due_ms, rig.results[1][late].due_ms);
      ++late;
    } else {
      EXPECT_EQ(s.device, 2U);
      EXPECT_EQ(s.due_ms, rig.results[2][1].due_ms);
      ++twice;
    }
  }
  EXPECT_GE(late, 3U);
  EXPECT_EQ(twice, 1U);
}

TEST(Stray, IsNotToldOfADeviceThatTookAnothersPlace) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{target(1, 1000, 200)}}, 3);
  rig.run(3s);
  rig.engine.assign({}, 3);
  rig.engine.assign({{target(9, 1000, 200)}}, 3);
  rig.engine.assign({{target(9, 1000, 200), target(10, 1000, 200)}}, 3);
  rig.engine.on_answers({{rig.delivered[0]}}, rig.now());
  rig.run(3s);
  EXPECT_EQ(rig.engine.stats().duplicates, 1U);
  EXPECT_TRUE(rig.strays.empty());
}

TEST(Stray, IsBoundedPerFlush) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  rig.run(2s);
  for (uint32_t i = 0; i < kStraysPerFlush + 50; ++i) {
    rig.engine.on_answers({{rig.delivered[0]}}, rig.now());
  }
  rig.run(2s);
  EXPECT_EQ(rig.strays.size(), kStraysPerFlush);
  EXPECT_EQ(rig.engine.stats().strays_dropped, 50U);
}

// --- addresses ----------------------------------------------------------------------------------

TEST(Addresses, ThatChangeAreToldWithTheNextResults) {
  Rig rig;
  Target named = target(1);
  named.address = {};
  rig.engine.assign({{named}}, 3);
  rig.engine.set_address(1, address(1));
  rig.run(2s);
  rig.engine.set_address(1, address(2));
  rig.engine.set_address(1, address(2));
  rig.run(2s);
  ASSERT_EQ(rig.changes.size(), 2U);
  EXPECT_FALSE(rig.changes[0].from.known());
  EXPECT_EQ(to_text(rig.changes[0].to), "10.0.0.1");
  EXPECT_EQ(to_text(rig.changes[1].from), "10.0.0.1");
  EXPECT_EQ(to_text(rig.changes[1].to), "10.0.0.2");
}

TEST(Addresses, ToWhichNoEchoMayGoAreNone) {
  using Bytes = std::array<uint8_t, 16>;
  for (const Bytes& bytes : {Bytes{0, 0, 0, 0}, Bytes{255, 255, 255, 255}, Bytes{224, 0, 0, 1},
                             Bytes{239, 1, 2, 3}, Bytes{240, 0, 0, 1}}) {
    Rig rig;
    Target t = target(1);
    t.address = {.bytes = bytes, .family = 4};
    rig.engine.assign({{t, target(2)}}, 3);
    rig.engine.set_address(1, t.address);
    rig.run(2s);
    EXPECT_EQ(rig.results[1].front().reason, Reason::kNoAddress);
    EXPECT_EQ(rig.results[2].front().reason, Reason::kNone);
  }
  for (const Bytes& bytes : {Bytes{}, Bytes{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}) {
    EXPECT_FALSE(may_be_pinged({.bytes = bytes, .family = 6}));
  }
  EXPECT_TRUE(may_be_pinged({.bytes = {127, 0, 0, 1}, .family = 4}));
}

}  // namespace
}  // namespace gema::prober
