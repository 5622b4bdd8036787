#include "services/timeout-tracker/core/tracker.h"

#include <gtest/gtest.h>

#include "common/codec/transition_codec.h"
#include "services/timeout-tracker/core/results_for_test.h"
#include "services/timeout-tracker/core/transition_id.h"

namespace gema::timeout_tracker {
namespace {

using test::add;
using test::kStartMs;
using test::slot_of;

// One device, one prober, one letter a record.
class TrackerOf {
 public:
  explicit TrackerOf(DeviceId device = 7) : device_(device) {
    tracker.set_catalogue(std::vector<DeviceId>{device});
  }

  BatchCounts record(const PingResults& results, const std::string& producer = "prober-1",
                     uint64_t epoch = 1) {
    BatchCounts counts = tracker.on_record({.producer = producer,
                                            .epoch = epoch,
                                            .partition = partition_of(results.device.front()),
                                            .seq = ++seq},
                                           results, now, transitions);
    return counts;
  }
  BatchCounts at(int64_t k, char letter, const std::string& producer = "prober-1",
                 uint64_t epoch = 1) {
    PingResults results;
    add(results, device_, slot_of(device_, k), test::verdict_of(letter));
    return record(results, producer, epoch);
  }
  void play(int64_t first, const std::string& script) {
    for (size_t i = 0; i < script.size(); ++i) at(first + static_cast<int64_t>(i), script[i]);
  }
  void step(uint64_t epoch) {
    tracker.on_epoch_started(
        {.producer = "prober-1", .epoch = epoch, .partition = partition_of(device_)}, true);
    seq = 0;
  }
  DeviceState state() const { return *tracker.state_of(device_); }

  Tracker tracker{Policy{}};
  std::vector<Transition> transitions;
  Now now{.mono = MonoTime(1h), .wall = wall_from_ms(kStartMs) + 24h};
  uint64_t seq = 0;

 private:
  DeviceId device_;
};

TEST(Tracker, EmitsATransitionWithItsCauseAndTheFullState) {
  TrackerOf t;
  t.play(1, "afff");
  ASSERT_EQ(t.transitions.size(), 2U);
  const Transition& down = t.transitions[1];
  EXPECT_EQ(down.device, 7U);
  EXPECT_EQ(down.from, DeviceStatus::kUp);
  EXPECT_EQ(down.to, DeviceStatus::kDown);
  EXPECT_EQ(down.reason, TransitionReason::kFailuresInARow);
  EXPECT_EQ(down.slot_ms, slot_of(7, 4));
  EXPECT_EQ(down.decided_at, t.now.wall);
  EXPECT_EQ(down.cause, (Cause{"prober-1", 1, partition_of(7), 4}));
  EXPECT_EQ(down.state, t.state());
  EXPECT_EQ(down.state.consecutive_timeouts, 3U);
  EXPECT_EQ(down.state.location, "default");
  EXPECT_EQ(down.state.last_prober, "prober-1");
  EXPECT_EQ(down.state.last_rtt_us, 300U);
  EXPECT_EQ(down.id, transition_id(7, 2));
  EXPECT_NE(t.transitions[0].id, down.id);
}

TEST(TransitionIds, AreVersion5AndNeverChange) {
  // In history since the first release: a change here doubles transitions at the next start.
  EXPECT_EQ(to_string(transition_id(1, 1)), "0598e4f6-12f5-57c2-a3c9-8d84a1aaf015");
  EXPECT_EQ(to_string(transition_id(7, 2)), "802b98bd-16cc-5e7b-9678-0614ffd9249e");
  EXPECT_EQ(transition_id(1, 1)[6] >> 4, 5);
  EXPECT_NE(transition_id(1, 2), transition_id(2, 1));
}

TEST(Tracker, AveragesTheRoundTripsOfAllAnsweredEchoesBurstsIncluded) {
  TrackerOf t;
  PingResults results;
  add(results, 7, slot_of(7, 1), Verdict::kAnswered);
  results.echo_outcome = {EchoOutcome::kReply, EchoOutcome::kTimeout, EchoOutcome::kReply};
  results.echo_rtt_us = {100, 0, 300};
  results.echo_begin = {0, 3};
  add(results, 7, slot_of(7, 2), Verdict::kAnswered);
  results.echo_outcome.back() = EchoOutcome::kTimeout;
  results.burst = {{.index = 1, .sent = 4, .rtt_us = {1000, 2000}}};
  t.record(results);
  EXPECT_EQ(t.state().last_rtt_us, 1500U);
  results.due_ms[1] = results.due_ms[0];  // the second is late: the first one's mean stays
  TrackerOf other;
  other.record(results);
  EXPECT_EQ(other.state().last_rtt_us, 200U);
}

TEST(Tracker, CountsDevicesMissingFromTheCatalogueAndDecidesNothingAboutThem) {
  TrackerOf t;
  PingResults results;
  add(results, 8, slot_of(8, 1), Verdict::kAnswered);
  EXPECT_EQ(t.record(results).unnamed, 1U);
  EXPECT_TRUE(t.transitions.empty());
  t.tracker.set_catalogue(std::vector<DeviceId>{7, 8});
  results.due_ms[0] = slot_of(8, 2);
  EXPECT_EQ(t.record(results).counted, 1U);
  ASSERT_EQ(t.transitions.size(), 1U);
  EXPECT_EQ(t.transitions[0].device, 8U);
}

TEST(Tracker, ADeviceThatWasRemovedAndNamedAgainNeverRepeatsAnId) {
  TrackerOf t;
  t.play(1, "a");
  t.tracker.set_catalogue({});
  t.play(2, "fff");
  EXPECT_EQ(t.tracker.named_states().size(), 0U);
  t.tracker.set_catalogue(std::vector<DeviceId>{7});
  t.play(5, "fff");
  ASSERT_EQ(t.transitions.size(), 2U);
  EXPECT_EQ(t.transitions[1].id, transition_id(7, 2));
}

TEST(Tracker, RefusesARecordThatHoldsAnImpossibleSlotAsAWhole) {
  TrackerOf t;
  PingResults results;
  add(results, 7, slot_of(7, 1), Verdict::kAnswered);
  add(results, 7, slot_of(7, 2) + 1, Verdict::kAnswered);
  EXPECT_EQ(t.record(results).impossible, 2U);
  EXPECT_EQ(t.state().last_slot_ms, 0);
  DeviceId elsewhere = 8;
  while (partition_of(elsewhere) == partition_of(7)) ++elsewhere;
  results = {};
  add(results, 7, slot_of(7, 1), Verdict::kAnswered);
  add(results, elsewhere, slot_of(elsewhere, 1), Verdict::kAnswered);
  EXPECT_EQ(t.record(results).impossible, 2U);
}

TEST(Tracker, SetsARecordOfTheFutureAsideAndTakesItInWhenItsTimeHasCome) {
  TrackerOf t;
  t.now.wall = wall_from_ms(slot_of(7, 5));
  t.play(1, "a");
  const BatchCounts counts = t.at(20, 'f');
  EXPECT_EQ(counts.set_aside, 1U);
  EXPECT_EQ(t.tracker.set_aside_results(), 1U);
  EXPECT_EQ(t.state().consecutive_timeouts, 0U);
  ASSERT_TRUE(t.tracker.next_wakeup(t.now));
  EXPECT_EQ(t.tracker.tick(t.now, t.transitions).counted, 0U);
  t.now.wall = wall_from_ms(slot_of(7, 20)) - kFutureMax;
  EXPECT_EQ(t.tracker.tick(t.now, t.transitions).counted, 1U);
  EXPECT_EQ(t.state().consecutive_timeouts, 1U);
  EXPECT_EQ(t.tracker.set_aside_results(), 0U);
  EXPECT_FALSE(t.tracker.next_wakeup(t.now));
}

TEST(Tracker, DropsTheOldestRecordSetAsideAtTheBoundAndCountsIt) {
  TrackerOf t;
  t.now.wall = wall_from_ms(kStartMs);
  PingResults results;
  const size_t half = kSetAsideResultsMax / 2;
  for (size_t k = 0; k < half; ++k) {
    add(results, 7, slot_of(7, 20 + static_cast<int64_t>(k)), Verdict::kFailed);
  }
  EXPECT_EQ(t.record(results).set_aside_dropped, 0U);
  EXPECT_EQ(t.record(results).set_aside_dropped, 0U);
  EXPECT_EQ(t.record(results).set_aside_dropped, half);
  EXPECT_EQ(t.tracker.set_aside_results(), 2 * half);
}

TEST(Tracker, AClockStepLetsEarlierSlotsOfThatProducerCountAgain) {
  TrackerOf t;
  t.play(3600, "aff");
  t.play(1, "f");
  EXPECT_EQ(t.state().consecutive_timeouts, 2U);  // late: the clock was an hour ahead
  t.step(2);
  EXPECT_EQ(t.at(2, 'f', "prober-1", 2).counted, 1U);
  ASSERT_EQ(t.transitions.size(), 2U);
  EXPECT_EQ(t.transitions[1].to, DeviceStatus::kDown);
  t.step(2);  // told again: not a second step
  EXPECT_EQ(t.at(2, 'f', "prober-1", 2).late, 1U);
}

TEST(Tracker, AClockStepOfAnotherProducerChangesNothing) {
  TrackerOf t;
  t.play(3600, "a");
  t.tracker.on_epoch_started({.producer = "prober-2", .epoch = 9, .partition = partition_of(7)},
                             true);
  EXPECT_EQ(t.at(1, 'f', "prober-2", 9).late, 1U);
}

TEST(Tracker, AClockStepForgetsWhatThatProducerHadSetAside) {
  TrackerOf t;
  t.now.wall = wall_from_ms(kStartMs);
  t.at(3600, 'f');
  EXPECT_EQ(t.tracker.set_aside_results(), 1U);
  t.step(2);
  EXPECT_EQ(t.tracker.set_aside_results(), 0U);
}

TEST(Tracker, AResetOfAllTellsHowManyDevicesHadTimeouts) {
  TrackerOf t;
  t.tracker.set_catalogue(std::vector<DeviceId>{7, 8});
  t.play(1, "afff");
  EXPECT_EQ(t.tracker.devices_at_or_over(3), 1U);
  EXPECT_EQ(t.tracker.reset_timeouts({}, t.now, t.transitions), 1U);
  EXPECT_EQ(t.tracker.devices_at_or_over(1), 0U);
  EXPECT_EQ(t.transitions.back().reason, TransitionReason::kReset);
  EXPECT_EQ(t.transitions.back().to, DeviceStatus::kDown);
  EXPECT_TRUE(t.transitions.back().cause.producer.empty());
  EXPECT_EQ(t.tracker.reset_timeouts(std::vector<DeviceId>{7, 99}, t.now, t.transitions), 0U);
}

TEST(Tracker, TellsWhatChangedSinceAGeneration) {
  TrackerOf t;
  t.tracker.set_catalogue(std::vector<DeviceId>{7, 8});
  t.play(1, "a");
  const uint32_t first = t.tracker.end_generation();
  EXPECT_EQ(t.tracker.changed_after(0).states.size(), 2U);
  EXPECT_EQ(t.tracker.changed_after(first).states.size(), 0U);
  t.play(2, "-");
  EXPECT_EQ(t.tracker.changed_after(first).states.size(), 0U);
  t.play(3, "f");
  const StatesCopy changed = t.tracker.changed_after(first);
  ASSERT_EQ(changed.states.size(), 1U);
  EXPECT_EQ(to_device_state(7, changed.states[0].second, changed.names), t.state());
  const uint32_t second = t.tracker.end_generation();
  EXPECT_EQ(t.tracker.changed_after(second).states.size(), 0U);
}

TEST(TrackerRestart, RecordsBeforeALaterTransitionOfOursAreNotCountedTwice) {
  TrackerOf before;
  before.play(1, "a");
  const DeviceState checkpoint = before.state();
  before.play(2, "ffff");
  TrackerOf after;
  after.tracker.restore(checkpoint, false);
  after.tracker.overlay(before.transitions.back(), true);
  after.seq = 1;
  after.play(2, "ffff");
  EXPECT_TRUE(after.transitions.empty());
  EXPECT_EQ(after.state(), before.state());
}

TEST(TrackerRestart, NeitherAcrossAClockStep) {
  const auto script = [](TrackerOf& t, bool from_checkpoint) {
    if (!from_checkpoint) t.play(3600, "a");
    t.seq = 1;
    t.play(3601, "fff");  // down, on the wrong clock
    t.step(2);
    for (int64_t k = 1; k <= 3; ++k) t.at(k, "aff"[k - 1], "prober-1", 2);
  };
  TrackerOf before;
  before.play(3600, "a");
  const DeviceState checkpoint = before.state();
  TrackerOf whole;
  script(whole, false);
  ASSERT_EQ(whole.transitions.size(), 3U);
  for (size_t read_back = 0; read_back <= 2; ++read_back) {
    SCOPED_TRACE(read_back);
    TrackerOf after;
    after.tracker.restore(checkpoint, false);
    after.tracker.know_epoch("prober-1", partition_of(7), 1);
    for (size_t i = 1; i <= read_back; ++i) after.tracker.overlay(whole.transitions[i], true);
    script(after, true);
    ASSERT_EQ(after.transitions.size(), 2 - read_back);
    EXPECT_EQ(after.state(), whole.state());
  }
}

TEST(TrackerRestart, ACauseThatNeverComesHoldsNothingUpOnceAllIsRead) {
  TrackerOf before;
  before.play(1, "afff");
  TrackerOf after;
  after.tracker.overlay(before.transitions.back(), true);
  after.tracker.on_epoch_started({.producer = "prober-1", .epoch = 5, .partition = partition_of(7)},
                                 false);  // a new spool
  EXPECT_EQ(after.at(5, 'a', "prober-1", 5).replayed, 1U);
  EXPECT_TRUE(after.tracker.expects_causes());
  after.tracker.on_caught_up("prober-2");
  EXPECT_TRUE(after.tracker.expects_causes());
  after.tracker.on_caught_up("prober-1");
  EXPECT_FALSE(after.tracker.expects_causes());
  EXPECT_EQ(after.at(6, 'a', "prober-1", 5).counted, 1U);
}

TEST(TrackerRestart, OfTwoStatesTheOneWithMoreTransitionsStays) {
  DeviceState newer{.device = 7, .status = DeviceStatus::kDown, .transition_counter = 2};
  DeviceState older{
      .device = 7, .status = DeviceStatus::kUp, .last_slot_ms = 9, .transition_counter = 1};
  for (const auto& states : {std::pair{newer, older}, std::pair{older, newer}}) {
    Tracker tracker{Policy{}};
    tracker.restore(states.first, true);
    tracker.restore(states.second, true);
    EXPECT_EQ(tracker.state_of(7), newer);
  }
}

TEST(DeviceTable, FindsWhatWasAddedAndNothingElse) {
  DeviceTable table;
  for (DeviceId device = 1; device <= 10'000; ++device) {
    ASSERT_EQ(table.find_or_add(device * 1'000'003), device - 1);
  }
  for (DeviceId device = 1; device <= 10'000; ++device) {
    ASSERT_EQ(table.find(device * 1'000'003), device - 1);
    ASSERT_EQ(table.find(device * 1'000'003 + 1), DeviceTable::kNone);
  }
}

}  // namespace
}  // namespace gema::timeout_tracker
