#include "services/prober/core/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "common/base/random.h"
#include "services/prober/core/engine_rig_for_test.h"

namespace gema::prober {
namespace {

TEST(Engine, AnAnsweredEchoGivesItsRoundTripTime) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  rig.network = [](auto...) { return Rig::Fate{.answer_after = 12'345us}; };
  rig.run(5s);
  ASSERT_EQ(rig.results[1].size(), 5U);
  expect_gapless(rig.results[1]);
  for (const Outcome& o : rig.results[1]) {
    EXPECT_EQ(o.verdict, Verdict::kAnswered);
    EXPECT_EQ(o.reason, Reason::kNone);
    EXPECT_EQ(o.rtt_us, std::vector<uint32_t>{12'345});
  }
  EXPECT_EQ(rig.engine.stats().sent, 5U);
  EXPECT_EQ(rig.engine.checks_in_flight(), 0U);
}

TEST(Engine, EchoesLeaveAtTheirSlots) {
  Rig rig;
  rig.engine.assign(targets(50), 3);
  rig.run(3s);
  for (const auto& [id, all] : rig.results) {
    ASSERT_EQ(all.size(), 3U);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(rig.sent_ms[id][i], all[i].due_ms);
  }
}

// --- one row per reason -------------------------------------------------------------------------

struct ReasonCase {
  const char* name;
  Target target;
  std::function<Rig::Fate(const Send&)> fate;
  Verdict verdict;
  Reason reason;
  std::vector<EchoOutcome> echoes;
  uint32_t burst_sent;
};

TEST(Engine, EveryReasonHasItsCause) {
  using enum EchoOutcome;
  auto always = [](Rig::Fate fate) { return [fate](const Send&) { return fate; }; };
  auto of = [](EchoOutcome outcome) { return Rig::Fate{.outcome = outcome}; };
  Target no_address = target(1);
  no_address.address = {};
  const ReasonCase cases[] = {
      {"answered", target(1), always({}), Verdict::kAnswered, Reason::kNone, {kReply}, 0},
      {"some of the train",
       target(1, 1000, 100, 3, 1),
       [](const Send& s) { return s.ordinal == 1 ? Rig::Fate{} : lost(); },
       Verdict::kAnswered,
       Reason::kLossy,
       {kTimeout, kReply, kTimeout},
       0},
      {"only the burst",
       target(1, 1000, 100),
       [](const Send& s) { return s.burst && s.ordinal == 2 ? Rig::Fate{} : lost(); },
       Verdict::kAnswered,
       Reason::kLossy,
       {kTimeout},
       2},
      {"silent",
       target(1, 1000, 100),
       always(lost()),
       Verdict::kFailed,
       Reason::kTimeout,
       {kTimeout},
       4},
      {"too few of the train",
       target(1, 1000, 100, 4, 2),
       [](const Send& s) { return s.ordinal == 0 ? Rig::Fate{} : lost(); },
       Verdict::kFailed,
       Reason::kTimeout,
       {kReply, kTimeout, kTimeout, kTimeout},
       4},
      {"unreachable",
       target(1),
       always(of(kUnreachable)),
       Verdict::kFailed,
       Reason::kUnreachable,
       {kUnreachable},
       4},
      {"time exceeded",
       target(1),
       always(of(kTimeExceeded)),
       Verdict::kFailed,
       Reason::kTimeExceeded,
       {kTimeExceeded},
       4},
      {"mostly timeouts",
       target(1, 1000, 100, 3, 1),
       [&](const Send& s) { return s.ordinal == 0 ? of(kUnreachable) : lost(); },
       Verdict::kFailed,
       Reason::kTimeout,
       {kUnreachable, kTimeout, kTimeout},
       4},
      {"refused by the kernel",
       target(1),
       always({.status = SendStatus::kRefused}),
       Verdict::kNotMeasured,
       Reason::kSendError,
       {kSendError},
       0},
      {"refused, so nobody knows",
       target(1, 1000, 100, 2, 1),
       [](const Send& s) {
         return s.ordinal == 0 ? Rig::Fate{.status = SendStatus::kRefused} : lost();
       },
       Verdict::kNotMeasured,
       Reason::kSendError,
       {kSendError, kTimeout},
       0},
      {"refused, but failed anyway",
       target(1, 1000, 100, 3, 2),
       [](const Send& s) {
         return s.ordinal == 0 ? Rig::Fate{.status = SendStatus::kRefused} : lost();
       },
       Verdict::kFailed,
       Reason::kTimeout,
       {kSendError, kTimeout, kTimeout},
       4},
      {"no room in the kernel, too often",
       target(1),
       always({.status = SendStatus::kBusy}),
       Verdict::kNotMeasured,
       Reason::kSendError,
       {kSendError},
       0},
      {"no room in the kernel until it is late",
       target(1, 100),
       always({.status = SendStatus::kBusy}),
       Verdict::kNotMeasured,
       Reason::kLate,
       {},
       0},
      {"stopped while sending",
       target(1),
       always({.status = SendStatus::kUntimed}),
       Verdict::kNotMeasured,
       Reason::kLate,
       {kNotSent},
       0},
      {"no address", no_address, always({}), Verdict::kNotMeasured, Reason::kNoAddress, {}, 0},
      {"no socket of the family",
       target(1),
       always({.status = SendStatus::kNoFamily}),
       Verdict::kNotMeasured,
       Reason::kNoAddress,
       {},
       0},
  };
  for (const ReasonCase& c : cases) {
    SCOPED_TRACE(c.name);
    Rig rig;
    rig.engine.assign({{c.target}}, 1000);
    rig.network = [&](DeviceId, const Send& s, int64_t) { return c.fate(s); };
    rig.run(8s);
    ASSERT_FALSE(rig.results[1].empty());
    const Outcome& o = rig.results[1].front();
    EXPECT_EQ(o.verdict, c.verdict);
    EXPECT_EQ(o.reason, c.reason) << to_string(o.reason);
    EXPECT_EQ(o.echoes, c.echoes);
    EXPECT_EQ(o.burst_sent, c.burst_sent);
    EXPECT_EQ(o.burst_answered, c.burst_sent > 0 && c.verdict == Verdict::kAnswered ? 1U : 0U);
    expect_gapless(rig.results[1]);
  }
}

TEST(Engine, AnEchoIsTriedAgainWhileTheKernelHasNoRoomAndNoMoreThanSoOften) {
  for (const int refusals : {kBusyTriesMax - 1, int{kBusyTriesMax}}) {
    Rig rig;
    Target two = target(1, 1000, 100, 2, 2);
    rig.engine.assign({{two}}, 1000);
    std::map<uint32_t, int> tries;  // by ordinal
    rig.network = [&](DeviceId, const Send& s, int64_t) {
      return Rig::Fate{.status =
                           ++tries[s.ordinal] <= refusals ? SendStatus::kBusy : SendStatus::kSent};
    };
    rig.run(1900ms);
    const Outcome& o = rig.results[1].front();
    const bool sent = refusals < kBusyTriesMax;
    EXPECT_EQ(o.verdict, sent ? Verdict::kAnswered : Verdict::kNotMeasured);
    EXPECT_EQ(o.reason, sent ? Reason::kNone : Reason::kSendError) << to_string(o.reason);
    EXPECT_EQ(o.echoes.size(), 2U);
  }
}

// --- burst --------------------------------------------------------------------------------------

TEST(Engine, EveryFailingCheckBurstsUntilTheRunReachesTheThreshold) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000)}}, 3);
  bool up = false;
  rig.network = [&](auto...) { return up ? Rig::Fate{} : lost(); };
  while (rig.results[1].size() < 5) rig.run(1s);
  std::vector<uint32_t> bursts;
  for (const Outcome& o : rig.results[1]) bursts.push_back(o.burst_sent);
  EXPECT_EQ(bursts, (std::vector<uint32_t>{4, 4, 4, 0, 0}));
  // An answer ends the run: the next loss bursts again.
  up = true;
  rig.run(5s);
  up = false;
  rig.run(10s);
  EXPECT_EQ(rig.results[1].back().verdict, Verdict::kFailed);
  EXPECT_EQ(rig.results[1].back().burst_sent, 4U);
}

TEST(Engine, BurstEchoesAreASpacingApartAndBelongToTheirSlot) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000)}}, 3);
  rig.network = [](auto...) { return lost(); };
  rig.run(9s);
  ASSERT_GE(rig.sent_ms[1].size(), 5U);
  const auto& sent = rig.sent_ms[1];
  const int64_t due = sent[0];
  EXPECT_GE(sent[1], due + 1000);
  EXPECT_LE(sent[1], due + 1020);
  for (size_t i = 2; i < 5; ++i) {
    EXPECT_GE(sent[i] - sent[i - 1], 100);
    EXPECT_LE(sent[i] - sent[i - 1], 106);
  }
  EXPECT_EQ(rig.results[1].front().due_ms, due);
}

TEST(Engine, AnAnswerMayEndABurstWhoseNextEchoIsJustBeingSent) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000)}}, 3);
  std::vector<Send> burst;
  rig.network = [&](DeviceId, const Send& s, int64_t) {
    if (s.burst) burst.push_back(s);
    return lost();
  };
  while (burst.empty()) rig.run(1ms);
  const MonoTime later = rig.now() + 104ms;
  rig.engine.expire(later);
  ASSERT_EQ(rig.engine.sends().size(), 1U);
  const Send second = rig.engine.sends()[0];
  rig.engine.sends().clear();
  rig.engine.on_answers({{{.check = burst[0].check,
                           .generation = burst[0].generation,
                           .ordinal = burst[0].ordinal,
                           .burst = true,
                           .at = later}}},
                        later);
  rig.engine.on_sent(
      {{{second.check, second.generation, second.ordinal, SendStatus::kSent, later}}});
  EXPECT_EQ(rig.engine.stats().answered, 1U);
  EXPECT_EQ(rig.engine.checks_in_flight(), 0U);
  EXPECT_FALSE(rig.engine.awaits_answers());
}

TEST(Engine, WithoutBurstsAFailedCheckIsFailedAtOnce) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{target(1, 5000, 1000)}}, 3);
  rig.network = [](auto...) { return lost(); };
  rig.run(9s);
  EXPECT_EQ(rig.engine.stats().sent, rig.results[1].size());
}

// --- time ---------------------------------------------------------------------------------------

TEST(Engine, ChecksMayOverlapAndResultsLeaveInSlotOrder) {
  Rig rig;
  rig.engine.assign({{target(1, 100, 3000)}}, 1);
  int n = 0;
  rig.network = [&](auto...) {  // every third is lost, the others answer late, early, late ...
    ++n;
    return n % 3 == 0 ? lost() : Rig::Fate{.answer_after = n % 2 == 0 ? 2900ms : 5ms};
  };
  rig.run(20s);
  expect_gapless(rig.results[1]);
  EXPECT_GE(rig.results[1].size(), 130U);
}

TEST(Engine, AReplyAfterItsTimeoutIsATimeoutEvenWhenReadBeforeTheTimer) {
  Rig rig({.burst_count = 0});
  rig.engine.assign({{target(1, 1000, 200)}}, 3);
  rig.network = [](auto...) { return Rig::Fate{.answer_after = 205ms}; };  // within the grace
  rig.run(3s);
  for (const Outcome& o : rig.results[1]) EXPECT_EQ(o.reason, Reason::kTimeout);
  EXPECT_GT(rig.engine.stats().late_replies, 0U);
  EXPECT_EQ(rig.engine.stats().replies, 0U);
}

TEST(Engine, AStopOfFiveSecondsMakesNoFalseTimeout) {
  Rig rig;
  rig.engine.assign(targets(1000), 3);
  rig.network = [](auto...) { return Rig::Fate{.answer_after = 20ms}; };
  rig.run(3s);
  rig.stop_for(5s);
  rig.run(5s);
  size_t late = 0;
  for (const auto& [id, all] : rig.results) {
    expect_gapless(all);
    for (const Outcome& o : all) {
      EXPECT_NE(o.verdict, Verdict::kFailed);
      if (o.verdict != Verdict::kNotMeasured) continue;
      EXPECT_EQ(o.reason, Reason::kLate);
      ++late;
    }
  }
  EXPECT_NEAR(static_cast<double>(late), 4500, 20);  // half an interval is still sent
  EXPECT_EQ(rig.engine.stats().slots_missed, late);
  EXPECT_EQ(rig.engine.stats().slots_dropped, 0U);
}

TEST(Engine, ATrainCutShortByAStopIsNotMeasuredUnlessItsAnswersDecide) {
  for (const bool answered : {true, false}) {
    Rig rig;
    rig.engine.assign({{target(1, 1000, 100, 5, 1)}}, 3);
    rig.network = [&](auto...) { return answered ? Rig::Fate{} : lost(); };
    while (rig.sent_ms[1].size() < 2) rig.run(1ms);
    rig.stop_for(3s);
    rig.run(3s);
    const Outcome& o = rig.results[1].front();
    using enum EchoOutcome;
    const EchoOutcome got = answered ? kReply : kTimeout;
    EXPECT_EQ(o.echoes, (std::vector<EchoOutcome>{got, got, kNotSent, kNotSent, kNotSent}));
    EXPECT_EQ(o.verdict, answered ? Verdict::kAnswered : Verdict::kNotMeasured);
    EXPECT_EQ(o.reason, answered ? Reason::kLossy : Reason::kLate);
    expect_gapless(rig.results[1]);
  }
}

TEST(Engine, EchoesOfATrainAreItsDevicesSpacingApart) {
  for (const uint32_t spacing : {1U, 20U, 250U}) {
    Rig rig;
    Target five = target(1, 5000, 1000, 5, 3);
    five.echo_spacing_ms = spacing;
    rig.engine.assign({{five}}, 3);
    rig.run(12s);
    ASSERT_GE(rig.results[1].size(), 2U);
    for (const Outcome& o : rig.results[1]) EXPECT_EQ(o.rtt_us, std::vector<uint32_t>(5, 1000));
    for (size_t i = 0; i < 10; ++i) {
      const int64_t planned = rig.results[1][i / 5].due_ms + static_cast<int64_t>(i % 5 * spacing);
      EXPECT_GE(rig.sent_ms[1][i], planned) << i;
      EXPECT_LE(rig.sent_ms[1][i], planned + 5 * static_cast<int64_t>(i % 5)) << i;
    }
  }
}

TEST(Engine, ATrainMayHaveAHundredEchoes) {
  Rig rig;
  Target hundred = target(1, 1000, 500, 100, 51);
  hundred.echo_spacing_ms = 5;
  rig.engine.assign({{hundred}}, 3);
  rig.network = [](DeviceId, const Send& s, int64_t) {
    return s.ordinal < 51 ? Rig::Fate{} : lost();
  };
  rig.run(4s);
  ASSERT_GE(rig.results[1].size(), 2U);
  for (const Outcome& o : rig.results[1]) {
    EXPECT_EQ(o.echoes.size(), 100U);
    EXPECT_EQ(o.reason, Reason::kLossy);
    EXPECT_EQ(o.burst_sent, 0U);
  }
}

TEST(Engine, AWallClockStepSpoilsOnlyWhatIsInFlight) {
  Rig rig;
  rig.engine.assign({{target(1, 1000, 900)}}, 3);
  rig.network = [](auto...) { return Rig::Fate{.answer_after = 100ms}; };
  while (rig.sent_ms[1].size() < 2) rig.run(1ms);
  rig.step_wall(700ms);
  rig.run(5s);
  expect_gapless(rig.results[1]);
  EXPECT_EQ(rig.results[1][1].reason, Reason::kClockStep);
  EXPECT_EQ(rig.results[1][1].verdict, Verdict::kNotMeasured);
  EXPECT_EQ(rig.engine.stats().not_measured, 1U);
}

TEST(Engine, AStepForwardReportsTheSlotsItPassedOver) {
  Rig rig;
  rig.engine.assign(targets(10), 3);
  rig.run(3s);
  rig.step_wall(60s);
  rig.run(3s);
  for (const auto& [id, all] : rig.results) {
    expect_gapless(all);
    EXPECT_NEAR(static_cast<double>(all.size()), 66, 1);
    size_t stepped = 0;
    for (const Outcome& o : all) stepped += o.reason == Reason::kClockStep ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(stepped), 60, 1);
  }
}

TEST(Engine, AStepBackMeasuresTheSlotsAgain) {
  Rig rig;
  rig.ignore_order = true;
  rig.engine.assign(targets(10), 3);
  rig.run(10s);
  rig.step_wall(-5s);
  rig.run(5s);
  for (const auto& [id, all] : rig.results) {
    std::map<int64_t, int> times;
    for (const Outcome& o : all) ++times[o.due_ms];
    EXPECT_NEAR(static_cast<double>(times.size()), 10, 1);
    EXPECT_NEAR(static_cast<double>(all.size()), 15, 1);
  }
}

// --- answers that are not ours ------------------------------------------------------------------

TEST(Engine, StrayAnswersAreCountedAndChangeNothing) {
  Rig rig;
  rig.engine.assign({{target(1, 1000, 500)}}, 3);
  rig.run(3s);
  const size_t before = rig.results[1].size();
  Answer twice = rig.delivered.front();
  Answer late = twice;
  late.at = late.sent + 2s;
  Answer surplus = twice;
  surplus.burst = true;
  Answer nowhere = twice;
  nowhere.check = 0x7fffffff;
  Answer vague = twice;
  vague.exact = false;
  rig.engine.on_answers({{twice, late, surplus, nowhere, vague}}, rig.now());
  EXPECT_EQ(rig.engine.stats().duplicates, 1U);
  EXPECT_EQ(rig.engine.stats().late_replies, 1U);
  EXPECT_EQ(rig.engine.stats().surplus, 1U);
  EXPECT_EQ(rig.engine.stats().foreign, 2U);
  EXPECT_EQ(rig.results[1].size(), before);
}

TEST(Engine, ASecondAnswerToAnEchoOfALivingTrainIsADuplicate) {
  Rig rig;
  rig.engine.assign({{target(1, 1000, 500, 3, 1)}}, 3);
  while (rig.delivered.size() < 1) rig.run(1ms);
  rig.run(20ms);
  rig.engine.on_answers({{rig.delivered.front()}}, rig.now());
  EXPECT_EQ(rig.engine.stats().duplicates, 1U);
  rig.run(2s);
  EXPECT_EQ(rig.results[1].front().reason, Reason::kNone);
}

TEST(Engine, AnErrorThatQuotesTooLittleCountsOnlyForTheRightDestination) {
  for (const bool right : {true, false}) {
    Rig rig({.burst_count = 0});
    rig.engine.assign({{target(1, 1000, 400)}}, 3);
    std::optional<Send> sent;
    rig.network = [&](DeviceId, const Send& s, int64_t) {
      sent = s;
      return lost();
    };
    while (!sent) rig.run(1ms);
    const Answer vague{.check = sent->check,
                       .exact = false,
                       .outcome = EchoOutcome::kUnreachable,
                       .at = rig.now(),
                       .destination = address(right ? 1 : 2)};
    rig.engine.on_answers({{vague}}, rig.now());
    rig.run(1s);
    EXPECT_EQ(rig.results[1].front().reason, right ? Reason::kUnreachable : Reason::kTimeout);
  }
}

// --- assignment ---------------------------------------------------------------------------------

TEST(Engine, ANewAssignmentTakesEffectBetweenSlots) {
  Rig rig;
  rig.engine.assign(targets(3), 3);
  rig.run(3s);
  const int64_t change = rig.engine.scheduled_until_ms();
  const AssignChange c = rig.engine.assign({{target(2), target(3, 500), target(4), target(5)}}, 3);
  EXPECT_EQ(c.added, 2U);
  EXPECT_EQ(c.removed, 1U);
  EXPECT_EQ(c.changed, 1U);
  rig.run(4s);
  EXPECT_LE(rig.results[1].back().due_ms, change);
  expect_gapless(rig.results[2]);
  EXPECT_EQ(rig.results[4].front().due_ms, slot_after(4, 1000, change));
  EXPECT_EQ(rig.engine.since_ms(4), change + 1);
  EXPECT_EQ(rig.engine.since_ms(3), change + 1);
  EXPECT_LE(rig.engine.since_ms(2), change);
  const auto& three = rig.results[3];
  for (const Outcome& o : three) EXPECT_EQ(o.interval_ms, o.due_ms <= change ? 1000U : 500U);
  std::set<DeviceId> left;
  for (const Leaving& l : rig.engine.leaving(0)) left.insert(l.device);
  EXPECT_EQ(left, (std::set<DeviceId>{1, 3}));
  EXPECT_TRUE(rig.engine.leaving(change).empty());
}

TEST(Engine, WhatIsInFlightWhenADeviceLeavesStillLeavesAResult) {
  Rig rig;
  rig.engine.assign({{target(1)}}, 3);
  rig.network = [](auto...) { return lost(); };
  while (rig.sent_ms[1].empty()) rig.run(1ms);
  rig.engine.assign({}, 3);
  EXPECT_EQ(rig.engine.devices(), 0U);
  EXPECT_LT(rig.engine.done_until_ms(), rig.sent_ms[1][0]);
  rig.engine.assign({{target(1)}}, 3);  // and back, while it still is
  rig.run(10s);
  expect_gapless(rig.results[1]);
  rig.engine.assign({}, 3);
  rig.run(10s);
  EXPECT_EQ(rig.engine.done_until_ms(), rig.engine.scheduled_until_ms());
}

TEST(Engine, ANewAddressIsUsedFromTheNextSlotOn) {
  Rig rig;
  rig.engine.assign({{target(1, 5000, 1000, 3, 1)}}, 3);
  rig.network = [](auto...) { return lost(); };
  while (rig.sent_ms[1].empty()) rig.run(1ms);
  rig.engine.set_address(1, address(9));
  rig.run(12s);
  EXPECT_EQ(rig.sent_ms[1].size(), 1U);  // no more of the train, no burst
  EXPECT_EQ(rig.results[1].front().verdict, Verdict::kNotMeasured);
  EXPECT_GE(rig.sent_ms[9].size(), 3U);
  expect_gapless(rig.results[1]);
}

TEST(Engine, ANameThatResolvesLaterIsMeasuredFromThenOn) {
  Rig rig;
  Target named = target(1);
  named.address = {};
  rig.engine.assign({{named}}, 3);
  rig.run(2s);
  rig.engine.set_address(1, address(1));
  rig.run(2s);
  ASSERT_EQ(rig.results[1].size(), 4U);
  EXPECT_EQ(rig.results[1][1].reason, Reason::kNoAddress);
  EXPECT_EQ(rig.results[1][2].verdict, Verdict::kAnswered);
}

// --- catching up and bounds ---------------------------------------------------------------------

TEST(Engine, MissedSlotsOfAStartComeBeforeTheFirstMeasuredOne) {
  Rig rig;
  rig.engine.assign({{target(1), target(2)}}, 3);
  const int64_t now = rig.engine.scheduled_until_ms();
  const int64_t last1 = slot_at_or_before(1, 1000, now);
  const int64_t last7 = slot_at_or_before(7, 500, now - 9000);
  rig.engine.add_missed(
      {{{.device = 1, .interval_ms = 1000, .first_due_ms = last1 - 9000, .count = 10},
        {.device = 7, .interval_ms = 500, .first_due_ms = last7, .count = 3}}});
  EXPECT_EQ(rig.engine.done_until_ms(), std::min(last1 - 9001, last7 - 1));
  rig.run(3s);
  ASSERT_EQ(rig.results[1].size(), 13U);
  expect_gapless(rig.results[1]);
  EXPECT_EQ(rig.results[1][9].reason, Reason::kNotRunning);
  EXPECT_EQ(rig.results[1][10].verdict, Verdict::kAnswered);
  EXPECT_EQ(rig.results[7].size(), 3U);  // not assigned any more
  EXPECT_EQ(rig.engine.done_until_ms(), rig.engine.scheduled_until_ms());
}

TEST(Engine, MissedSlotsAreReleasedWithinABudget) {
  Rig rig;
  rig.engine.assign(targets(3), 3);
  std::vector<MissedRun> runs;
  for (DeviceId id = 1; id <= 3; ++id) {
    runs.push_back(
        {.device = id,
         .interval_ms = 1000,
         .first_due_ms = slot_at_or_before(id, 1000, rig.engine.scheduled_until_ms()) - 99'000,
         .count = 100});
  }
  rig.engine.add_missed(runs);
  EXPECT_EQ(rig.engine.release_missed(70), 70U);
  EXPECT_EQ(rig.engine.release_missed(70), 70U);
  EXPECT_TRUE(rig.engine.has_missed());
  EXPECT_EQ(rig.engine.release_missed(1000), 160U);
  EXPECT_FALSE(rig.engine.has_missed());
  rig.run(1s);
  for (DeviceId id = 1; id <= 3; ++id) expect_gapless(rig.results[id]);
}

TEST(Engine, AtTheBoundOfChecksSlotsAreNotMeasuredOrCountedAsDropped) {
  Rig rig({.burst_count = 0, .checks_max = kChecksMin});
  rig.engine.assign(targets(2000), 3);
  rig.network = [](auto...) { return lost(); };
  rig.run(20s);
  uint64_t reported = 0;
  for (const auto& [id, all] : rig.results) reported += all.size();
  uint64_t started = 0;
  for (DeviceId id = 1; id <= 2000; ++id) started += 20;
  const Stats& stats = rig.engine.stats();
  EXPECT_GT(stats.slots_dropped, 0U);
  EXPECT_EQ(reported + stats.slots_dropped + rig.engine.checks_in_flight(), started);
  EXPECT_LE(rig.engine.checks_capacity(), kChecksMin);
}

TEST(Engine, RecordsStayBelowWhatTheStreamTakes) {
  Rig rig;
  rig.engine.assign({{target(1, 60'000)}}, 3);
  const int64_t last = slot_at_or_before(1, 60'000, rig.engine.scheduled_until_ms());
  rig.engine.add_missed({{{.device = 1,
                           .interval_ms = 60'000,
                           .first_due_ms = last - 49'999LL * 60'000,
                           .count = 50'000}}});
  rig.engine.release_missed(50'000);
  size_t records = 0, results = 0;
  rig.engine.take_results([&](uint32_t, PingResults& r) {
    ++records;
    results += r.size();
    EXPECT_LE(r.size(), 8000U);
  });
  EXPECT_EQ(results, 50'000U);
  EXPECT_GE(records, 7U);
}

// The law of the prober: whatever happens, each slot ends exactly once.
TEST(Engine, EverySlotEndsExactlyOnceUnderRandomTroubles) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    Rig rig({.burst_count = static_cast<uint32_t>(random.below(5))});
    std::map<DeviceId, Target> assigned;
    auto assign = [&] {
      std::vector<Target> all;
      for (const auto& [id, t] : assigned) all.push_back(t);
      rig.engine.assign(all, 3);
    };
    for (DeviceId id = 1; id <= 20; ++id) {
      const auto echoes = static_cast<uint8_t>(1 + random.below(4));
      assigned[id] = target(id, 200 + static_cast<uint32_t>(random.below(2000)),
                            1 + static_cast<uint32_t>(random.below(3000)), echoes,
                            static_cast<uint8_t>(1 + random.below(echoes)));
      assigned[id].echo_spacing_ms = 1 + static_cast<uint32_t>(random.below(50));
      assigned[id].has_proof = random.chance(300);
    }
    assign();
    const Address canaries[] = {address(0xff0001), address(0xff0002), address(0xff0003)};
    rig.engine.set_canaries(canaries);
    bool silence = false;  // of everything
    uint64_t probes = 0, drops = 0;
    rig.prove = [&](DeviceId) -> std::pair<Duration, std::vector<ProofResult>> {
      const auto outcome = static_cast<ProofOutcome>(random.below(kProofOutcomeMax + 1));
      return {std::chrono::milliseconds(random.below(4000)),
              {{.kind = random.chance(500) ? ProofKind::kWeb : ProofKind::kTcp,
                .outcome = random.chance(300) ? ProofOutcome::kAlive : outcome}}};
    };
    const int64_t start = rig.engine.scheduled_until_ms();
    rig.network = [&](DeviceId, const Send&, int64_t) -> Rig::Fate {
      if (random.chance(20)) return {.status = SendStatus::kBusy};
      if (random.chance(20)) return {.status = SendStatus::kRefused, .error = 1};
      if (silence || random.chance(200)) return lost();
      return {.answer_after = std::chrono::microseconds(random.below(2'500'000)),
              .outcome = static_cast<EchoOutcome>(random.chance(50) ? 2 + random.below(2) : 0)};
    };
    for (int step = 0; step < 60; ++step) {
      rig.run(std::chrono::milliseconds(random.below(1000)));
      if (random.chance(150)) rig.stop_for(std::chrono::milliseconds(random.below(8000)));
      if (random.chance(50)) rig.step_wall(std::chrono::milliseconds(random.below(1500)));
      if (random.chance(100)) {
        const DeviceId id = 1 + random.below(20);
        assigned[id].address = address(static_cast<uint32_t>(100 + random.below(100)));
        if (random.chance(500)) assign();
        if (random.chance(500)) rig.engine.set_address(id, assigned[id].address);
      }
      if (random.chance(100)) silence = !silence;
      if (random.chance(100)) rig.engine.pause(random.chance(500) ? "ani" : "budi");
      if (random.chance(200)) rig.engine.resume();
      if (random.chance(100)) rig.engine.on_socket_drops(drops += random.below(100));
      if (random.chance(300)) {
        probes += rig.engine.probe({.id = static_cast<uint64_t>(step),
                                    .address = address(200),
                                    .count = static_cast<uint8_t>(1 + random.below(100)),
                                    .timeout_ms = static_cast<uint32_t>(random.below(3000)),
                                    .spacing_ms = static_cast<uint32_t>(random.below(30))},
                                   rig.now())
                      ? 1
                      : 0;
      }
      if (!rig.delivered.empty() && random.chance(300)) {  // once more, or long after its check
        Answer again = rig.delivered[random.below(rig.delivered.size())];
        again.at = rig.now();
        rig.engine.on_answers({{again}}, rig.now());
        rig.turn();  // what it set off is sent
      }
    }
    rig.network = [](auto...) { return Rig::Fate{}; };
    rig.engine.resume();
    rig.run(15s);
    EXPECT_EQ(rig.probes.size(), probes);
    EXPECT_EQ(rig.engine.suspicion(), Suspicion::kNone);
    for (const auto& [id, t] : assigned) {
      const auto& all = rig.results[id];
      ASSERT_FALSE(all.empty());
      EXPECT_EQ(all.front().due_ms, slot_after(id, t.interval_ms, start));
      expect_gapless(all);
      EXPECT_GT(all.back().due_ms, rig.engine.scheduled_until_ms() - 5000);
    }
    EXPECT_EQ(rig.engine.stats().slots_dropped, 0U);
    // Every echo sent came to exactly one end.
    const Stats& s = rig.engine.stats();
    EXPECT_GT(s.replies + s.timeouts + s.unreachable + s.time_exceeded, 0U);
    EXPECT_LE(s.replies + s.timeouts + s.unreachable + s.time_exceeded, s.sent);
  }
}

}  // namespace
}  // namespace gema::prober
