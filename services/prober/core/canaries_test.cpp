#include "services/prober/core/canaries.h"

#include <gtest/gtest.h>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

std::vector<Address> addresses(uint8_t n) {
  std::vector<Address> all;
  for (uint8_t i = 0; i < n; ++i) all.push_back({.bytes = {10, 0, 0, i}, .family = 4});
  return all;
}

// Asks what is due and answers it: canary i as answers[i] says.
struct Flock {
  explicit Flock(uint8_t n) { canaries.assign(addresses(n)); }
  size_t ask(std::vector<bool> answers) {
    std::vector<CanaryProbe> probes;
    canaries.tick(now, probes);
    now += 1ms;
    for (const CanaryProbe& p : probes) {
      echoes += p.count;
      canaries.on_outcome(p.id, answers.at(p.address.bytes[3]), now);
    }
    return probes.size();
  }
  Canaries canaries;
  MonoTime now{1000s};
  size_t echoes = 0;
};

TEST(Canaries, AreAskedOnceASecondWithOneEcho) {
  Flock f(2);
  const MonoTime first = f.now;
  EXPECT_EQ(f.ask({true, true}), 2U);
  EXPECT_EQ(f.ask({true, true}), 0U);
  EXPECT_EQ(f.canaries.next_wakeup(), first + kCanaryEvery);
  f.now += kCanaryEvery;
  EXPECT_EQ(f.ask({true, true}), 2U);
  EXPECT_EQ(f.echoes, 4U);
  EXPECT_EQ(f.canaries.known(), 2U);
}

TEST(Canaries, ThatNeverAnsweredCountForNothing) {
  Flock f(3);
  for (int i = 0; i < 5; ++i, f.now += kCanaryEvery) f.ask({true, false, false});
  EXPECT_EQ(f.canaries.known(), 1U);
  EXPECT_EQ(f.canaries.failing(), 0U);
  EXPECT_FALSE(f.canaries.most_fail());
}

TEST(Canaries, FailAfterAnEchoAndItsConfirmation) {
  Flock f(1);
  f.ask({true});
  f.now += kCanaryEvery;
  f.ask({false});
  EXPECT_FALSE(f.canaries.most_fail());
  f.echoes = 0;
  EXPECT_EQ(f.ask({false}), 1U);  // at once
  EXPECT_EQ(f.echoes, kCanaryEchoes);
  EXPECT_TRUE(f.canaries.most_fail());
  f.now += kCanaryEvery;
  f.ask({true});
  EXPECT_FALSE(f.canaries.most_fail());
  EXPECT_EQ(f.canaries.answering(), 1U);
}

TEST(Canaries, MostMeansMoreThanHalfOfThoseThatEverAnswered) {
  struct Row {
    std::vector<bool> ever, now;
    bool most_fail;
  };
  const Row rows[] = {
      {{true, true}, {true, false}, false},
      {{true, true}, {false, false}, true},
      {{true, true, true}, {false, false, true}, true},
      {{true, true, true, false}, {false, true, true, false}, false},
      {{true, false, false}, {false, false, false}, true},
      {{false, false, false}, {false, false, false}, false},
  };
  for (const Row& row : rows) {
    Flock f(static_cast<uint8_t>(row.ever.size()));
    f.ask(row.ever);
    f.now += kCanaryEvery;
    f.ask(row.now);
    f.ask(row.now);
    EXPECT_EQ(f.canaries.most_fail(), row.most_fail);
  }
}

TEST(Canaries, ARecheckIsDecidedAsSoonAsItIsClear) {
  Flock f(3);
  f.ask({true, true, true});
  for (const bool answers : {true, false}) {
    f.canaries.recheck();
    EXPECT_FALSE(f.canaries.rechecked());
    EXPECT_LT(*f.canaries.next_wakeup(), f.now);
    std::vector<CanaryProbe> probes;
    f.canaries.tick(f.now, probes);
    ASSERT_EQ(probes.size(), 3U);
    f.canaries.on_outcome(probes[0].id, answers, f.now);
    EXPECT_FALSE(f.canaries.rechecked());
    f.canaries.on_outcome(probes[1].id, answers, f.now);
    EXPECT_EQ(f.canaries.rechecked(), answers);
    EXPECT_EQ(f.canaries.most_fail(), !answers);
    f.canaries.on_outcome(probes[2].id, answers, f.now);
  }
}

TEST(Canaries, WhatCouldNotBeSentLeavesARecheckUnclear) {
  Flock f(1);
  f.ask({true});
  f.canaries.recheck();
  std::vector<CanaryProbe> probes;
  f.canaries.tick(f.now, probes);
  ASSERT_EQ(probes.size(), 1U);
  f.canaries.not_asked(probes[0].id);
  EXPECT_FALSE(f.canaries.rechecked());
  f.now += kCanaryEvery;
  probes.clear();
  f.canaries.tick(f.now, probes);
  ASSERT_EQ(probes.size(), 1U);
  f.canaries.not_asked(probes[0].id);
  f.now += kCanaryEvery;
  EXPECT_EQ(f.ask({true}), 1U);
  EXPECT_EQ(f.canaries.answering(), 1U);
}

TEST(Canaries, AnAnswerProvesTheTimeWhenItWasAskedFor) {
  Flock f(2);
  EXPECT_FALSE(f.canaries.answered_since(MonoTime{}));
  const MonoTime asked = f.now;
  f.ask({true, true});
  EXPECT_TRUE(f.canaries.answered_since(asked));
  EXPECT_FALSE(f.canaries.answered_since(f.now));
  f.now += kCanaryEvery;
  f.ask({false, true});
  EXPECT_TRUE(f.canaries.answered_since(asked + kCanaryEvery));  // one of two
}

TEST(Canaries, ANewListKeepsWhatIsKnownOfThoseThatStay) {
  Flock f(2);
  f.ask({true, true});
  std::vector<Address> next = addresses(3);
  next.erase(next.begin());
  next.push_back({});
  next.push_back(next.front());
  f.canaries.assign(next);
  EXPECT_EQ(f.canaries.known(), 1U);
  EXPECT_EQ(f.ask({true, true, true}), 1U);  // the new one
  f.canaries.assign(addresses(100));
  f.now += kCanaryEvery;
  EXPECT_EQ(f.ask(std::vector<bool>(100, true)), kCanariesMax);
  f.canaries.on_outcome(12345, false, f.now);  // of one that is gone
}

TEST(Canaries, ThatAreForgottenCountAgainWhenTheyAnswer) {
  Flock f(2);
  f.ask({true, true});
  f.now += kCanaryEvery;
  f.ask({false, true});
  f.ask({false, true});
  EXPECT_EQ(f.canaries.forget_failing(), 1U);
  EXPECT_EQ(f.canaries.known(), 1U);
  f.now += kCanaryEvery;
  f.ask({true, true});
  EXPECT_EQ(f.canaries.known(), 2U);
}

}  // namespace
}  // namespace gema::prober
