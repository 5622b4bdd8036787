// When the prober doubts itself, and what that costs.
#include <gtest/gtest.h>

#include <cerrno>

#include "services/prober/core/engine_rig_for_test.h"

namespace gema::prober {
namespace {

constexpr DeviceId kCanary = 0xff'0001;

// Devices and one canary; a test cuts the wire.
struct Site : Rig {
  explicit Site(EngineConfig config = {}) : Rig(config) {
    const Address canary = address(static_cast<uint32_t>(kCanary));
    engine.set_canaries({{canary}});
    network = [this](DeviceId id, const Send&, int64_t) {
      if (id == kCanary) return canary_answers ? Fate{} : lost();
      return devices_answer && !down.contains(id) ? Fate{} : lost();
    };
  }
  size_t count(Verdict verdict, Reason reason) const {
    size_t n = 0;
    for (const auto& [id, all] : results) {
      for (const Outcome& o : all) n += o.verdict == verdict && o.reason == reason ? 1 : 0;
    }
    return n;
  }
  size_t failed() const { return count(Verdict::kFailed, Reason::kTimeout); }
  size_t suspect() const { return count(Verdict::kNotMeasured, Reason::kProberSuspect); }

  bool canary_answers = true, devices_answer = true;
  std::map<DeviceId, bool> down;
};

std::vector<Target> short_targets(uint32_t n, uint32_t interval = 1000, uint32_t timeout = 300) {
  std::vector<Target> all;
  for (uint32_t id = 1; id <= n; ++id) all.push_back(target(id, interval, timeout));
  return all;
}

TEST(Guard, AWireThatIsCutAtAnyTimeBlamesNoDevice) {
  for (int round = 0; round < 60; ++round) {
    const uint32_t devices = round % 3 == 0 ? 100 : static_cast<uint32_t>(round % 3);
    const uint32_t timeout = round % 2 == 0 ? 50 : 700;
    for (const uint32_t interval : {1000U, 5000U}) {
      SCOPED_TRACE(testing::Message() << "round " << round << ", each " << interval << " ms");
      Site site({.burst_count = static_cast<uint32_t>(round % 5)});
      site.engine.assign(short_targets(devices, interval, timeout), 3);
      site.run(12s + std::chrono::milliseconds(17 * round));
      const size_t answered = site.count(Verdict::kAnswered, Reason::kNone);
      EXPECT_GE(answered, devices * 2);
      site.canary_answers = site.devices_answer = false;
      site.run(20s);
      EXPECT_EQ(site.failed(), 0U);
      EXPECT_GE(site.suspect(), devices * 3);
      EXPECT_EQ(site.engine.suspicion(), Suspicion::kCanaries);
      site.canary_answers = site.devices_answer = true;
      site.run(15s);
      EXPECT_EQ(site.engine.suspicion(), Suspicion::kNone);
      EXPECT_EQ(site.failed(), 0U);
      for (const auto& [id, all] : site.results) {
        expect_gapless(all);
        EXPECT_EQ(all.back().verdict, Verdict::kAnswered);
      }
    }
  }
}

TEST(Guard, DevicesThatFallSilentTogetherAreDownWhenTheCanaryAnswers) {
  Site site;
  site.engine.assign(short_targets(100), 3);
  site.run(5s);
  site.devices_answer = false;
  std::vector<int64_t> left;  // when each first failure left, after its slot
  site.run(5s);
  EXPECT_EQ(site.suspect(), 0U);
  EXPECT_GE(site.failed(), 300U);
  EXPECT_GE(site.engine.stats().holds, 1U);
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kNone);
}

TEST(Guard, AVerdictIsHeldForARoundTripOfTheCanaryOnly) {
  Site site({.burst_count = 0});
  site.engine.assign(short_targets(1, 1000, 300), 3);
  site.run(5s);
  site.devices_answer = false;
  const size_t before = site.results[1].size();
  while (site.engine.stats().holds == 0 && site.failed() == 0) site.run(1ms);
  const MonoTime held = site.now();
  while (site.results[1].size() == before) site.run(1ms);
  EXPECT_EQ(site.results[1].back().verdict, Verdict::kFailed);
  EXPECT_LE(site.now() - held, 10ms);
}

TEST(Guard, WithoutACanaryThatEverAnsweredTheShareDecidesNothing) {
  for (const bool any : {true, false}) {
    Site site;
    if (!any) site.engine.set_canaries({});
    site.canary_answers = false;
    site.engine.assign(short_targets(50), 3);
    site.run(5s);
    site.devices_answer = false;
    site.run(5s);
    EXPECT_GE(site.failed(), 100U);
    EXPECT_EQ(site.suspect(), 0U);
    EXPECT_EQ(site.engine.stats().holds, 0U);
  }
}

TEST(Guard, AnAnswerIsCertainWhoeverDoubts) {
  Site site;
  site.engine.assign(short_targets(10), 3);
  site.run(5s);
  site.canary_answers = false;
  site.down[1] = true;
  site.run(8s);
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kCanaries);
  EXPECT_EQ(site.results[2].back().verdict, Verdict::kAnswered);
  EXPECT_EQ(site.results[1].back().reason, Reason::kProberSuspect);
  EXPECT_TRUE(site.results[1].back().echoes.empty());
}

TEST(Guard, ADeadCanaryIsForgottenWhileDevicesAnswer) {
  Site site;
  site.engine.assign(short_targets(10), 3);
  site.run(5s);
  site.canary_answers = false;
  site.down[1] = true;
  site.run(50s);
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kNone);
  EXPECT_EQ(site.engine.stats().canaries_forgotten, 1U);
  EXPECT_EQ(site.results[1].back().verdict, Verdict::kFailed);
  site.canary_answers = true;
  site.run(3s);
  EXPECT_EQ(site.engine.canaries().answering(), 1U);  // and counts again
}

TEST(Guard, ACutWireStaysOursThoughTheLoopbackAnswers) {
  Site site;
  site.engine.assign(short_targets(3), 3);
  site.run(5s);
  site.canary_answers = false;
  site.down[1] = site.down[2] = true;  // 3 is the loopback
  site.run(120s);
  EXPECT_EQ(site.failed(), 0U);
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kCanaries);
}

TEST(Guard, OneLostEchoOfTheCanaryProvesNothing) {
  Site site;
  site.engine.assign(short_targets(10), 3);
  int n = 0;
  site.network = [&](DeviceId id, const Send&, int64_t) {
    return id == kCanary && ++n % 5 == 0 ? lost() : Rig::Fate{};
  };
  site.run(60s);
  EXPECT_EQ(site.suspect(), 0U);
  EXPECT_EQ(site.engine.canaries().failing(), 0U);
}

TEST(Guard, LagMakesItSuspectForWhatIsUncertainThen) {
  Site site({.burst_count = 0, .suspect = {.lag = 100ms}});
  site.engine.assign(short_targets(100, 5000, 300), 3);
  site.run(10s);
  site.down[7] = true;
  while (site.results[7].back().verdict == Verdict::kAnswered) site.run(10ms);
  EXPECT_EQ(site.results[7].back().verdict, Verdict::kFailed);
  const size_t before = site.suspect();
  // Stops again and again, each time with the slots of 400 ms in arrears.
  for (int i = 0; i < 20; ++i) {
    site.stop_for(400ms);
    site.run(100ms);
  }
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kLag);
  EXPECT_GE(site.suspect(), before + 1);
  site.run(20s);
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kNone);
  EXPECT_EQ(site.results[7].back().verdict, Verdict::kFailed);
}

TEST(Guard, SendErrorsOfTheKernelCountButNotThoseOfOneDestination) {
  for (const int error : {EPERM, ENETUNREACH}) {
    Site site({.burst_count = 0});
    site.engine.assign(short_targets(1000), 3);
    site.run(3s);
    site.network = [&](DeviceId id, const Send&, int64_t) {
      if (id == 7) return lost();
      return id % 3 == 0 ? Rig::Fate{.status = SendStatus::kRefused, .error = error} : Rig::Fate{};
    };
    site.run(5s);
    EXPECT_EQ(site.engine.suspicion(), error == EPERM ? Suspicion::kSendErrors : Suspicion::kNone);
    EXPECT_EQ(site.results[7].back().verdict,
              error == EPERM ? Verdict::kNotMeasured : Verdict::kFailed);
    EXPECT_EQ(site.results[3].back().reason, Reason::kSendError);  // which is certain
    EXPECT_EQ(site.results[1].back().verdict, Verdict::kAnswered);
  }
}

TEST(Guard, DroppedRepliesMakeItSuspect) {
  Site site({.burst_count = 0});
  site.engine.assign(short_targets(1000), 3);
  site.run(3s);
  site.down[7] = true;
  uint64_t drops = 0;
  for (int i = 0; i < 50; ++i) {
    site.engine.on_socket_drops(drops += 20);
    site.run(100ms);
  }
  EXPECT_EQ(site.engine.suspicion(), Suspicion::kSocketDrops);
  EXPECT_EQ(site.failed(), 0U);
  EXPECT_GT(site.suspect(), 0U);
}

TEST(Guard, PausedItAsksNoCanaryEither) {
  Site site;
  site.engine.assign(short_targets(3), 3);
  site.run(3s);
  site.engine.pause("ani");
  site.run(1s);
  const size_t before = site.sent_ms[kCanary].size();
  site.run(20s);
  EXPECT_EQ(site.sent_ms[kCanary].size(), before);
  site.engine.resume();
  site.run(3s);
  EXPECT_GT(site.sent_ms[kCanary].size(), before);
  EXPECT_EQ(site.failed() + site.suspect(), 0U);
}

TEST(Guard, AStopOfAMinuteMakesNoFalseTimeoutWithCanariesBurstsAndProofs) {
  Site site;
  std::vector<Target> all = short_targets(100, 2000, 300);
  for (Target& t : all) t.has_proof = t.id % 2 == 0;
  site.engine.assign(all, 3);
  for (const DeviceId id : {10, 20, 30}) site.down[id] = true;  // live by their web pages
  site.prove = [](DeviceId) {
    return std::pair(40ms, std::vector{ProofResult{.outcome = ProofOutcome::kAlive}});
  };
  site.run(5s);
  for (int i = 0; i < 10; ++i) {
    site.stop_for(60s);
    site.run(std::chrono::milliseconds(1500 + 37 * i));
  }
  site.run(5s);
  EXPECT_EQ(site.failed(), 0U);
  for (const auto& [id, rows] : site.results) expect_gapless(rows);
  EXPECT_EQ(site.results[10].back().reason, Reason::kWebAlive);
}

}  // namespace
}  // namespace gema::prober
