#include "services/gateway/core/live_view.h"

#include <gtest/gtest.h>

#include "services/gateway/core/view_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
constexpr auto kUp = DeviceStatus::kUp;
constexpr auto kDown = DeviceStatus::kDown;
constexpr auto kAnswered = Verdict::kAnswered;
constexpr auto kFailed = Verdict::kFailed;
constexpr auto kNotMeasured = Verdict::kNotMeasured;

// What device 1 looks like now.
DeviceLive live(const LiveView& view, Now now = at(0s)) {
  return view.view(now).live.at(0);
}

void feed(LiveView& view, uint64_t seq, const std::vector<Check>& checks, Now now = at(0s)) {
  view.on_results(record(seq), results(checks), now.wall, now);
}

Transition transition(DeviceState after, TransitionReason reason, uint64_t counter) {
  Transition out;
  out.device = after.device;
  out.from = DeviceStatus::kNew;
  out.to = after.status;
  out.reason = reason;
  out.slot_ms = after.last_slot_ms;
  out.state = std::move(after);
  out.state.transition_counter = counter;
  return out;
}

TEST(LiveView, KeepsTheLastMeasuredResultOfADevice) {
  LiveView view = loaded({1, 2});
  feed(view, 1, {{.device = 1, .slot_ms = kEpochMs, .rtt_us = 1200}});
  feed(view, 2, {{.device = 1, .slot_ms = kEpochMs + 1000, .verdict = kFailed}});
  feed(view, 3, {{.device = 1, .slot_ms = kEpochMs + 2000, .verdict = kNotMeasured}});
  EXPECT_EQ(live(view).slot_ms, kEpochMs + 1000);
  EXPECT_EQ(live(view).verdict, kFailed);
  EXPECT_FALSE(live(view).online());
  EXPECT_EQ(live(view).newest_verdict, kNotMeasured);
  EXPECT_FALSE(view.view(at(0s)).live[1].measured());
}

TEST(LiveView, CountsConsecutiveTimeoutsAsTheTrackerDoes) {
  LiveView view = loaded({1});
  const auto failed = [](int64_t s) { return Check{1, kEpochMs + s * 1000, kFailed, 0}; };
  feed(view, 1, {failed(1), failed(2)});
  feed(view, 2, {{1, kEpochMs + 3000, kNotMeasured, 0}, failed(4)});
  EXPECT_EQ(live(view).consecutive_timeouts, 3u);
  EXPECT_EQ(live(view).first_timeout_ms, kEpochMs + 1000);
  EXPECT_EQ(live(view).last_timeout_ms, kEpochMs + 4000);
  feed(view, 3, {failed(2)});  // late
  EXPECT_EQ(live(view).consecutive_timeouts, 3u);
  EXPECT_EQ(view.stats().late_slots, 1u);
  feed(view, 4, {{1, kEpochMs + 5000, kAnswered, 900}});
  EXPECT_EQ(live(view).consecutive_timeouts, 0u);
  EXPECT_EQ(live(view).first_timeout_ms, 0);
  EXPECT_EQ(live(view).last_success_ms, kEpochMs + 5000);
}

TEST(LiveView, ARoundTripIsTheMeanOfEverythingAnswered) {
  LiveView view = loaded({1});
  PingResults batch = results({{.rtt_us = 1000}});
  batch.burst.push_back({.index = 0, .sent = 4, .rtt_us = {2000, 6000}});
  view.on_results(record(1), batch, at(0s).wall, at(0s));
  EXPECT_EQ(live(view).rtt_us, 3000u);
}

TEST(LiveView, ASlotNotMeasuredByOneAndMeasuredByAnotherWasMeasured) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kNotMeasured, 0}});
  feed(view, 2, {{1, kEpochMs, kAnswered, 700}});
  EXPECT_EQ(live(view).newest_verdict, kAnswered);
  EXPECT_TRUE(live(view).online());
}

TEST(LiveView, RefusesRecordsFromAFarFuture) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs + 10'000, kAnswered, 700}});
  EXPECT_TRUE(live(view).measured());
  feed(view, 2, {{1, kEpochMs + 10'001, kFailed, 0}});
  EXPECT_TRUE(live(view).online());
  EXPECT_EQ(view.stats().future_records, 1u);
}

TEST(LiveView, DevicesThatStayKeepTheirStateWhenTheCatalogueChanges) {
  LiveView view = loaded({1, 3});
  feed(view, 1, {{.device = 1}, {.device = 3, .rtt_us = 333}});
  EXPECT_TRUE(view.on_catalogue(catalogue({2, 3, 4}, 2), at(0s)));
  const View now = view.view(at(0s));
  ASSERT_EQ(now.live.size(), 3u);
  EXPECT_FALSE(now.live[0].measured());
  EXPECT_EQ(now.live[1].rtt_us, 333u);
  EXPECT_EQ(now.find(3), 1u);
  EXPECT_EQ(now.find(1), std::nullopt);
}

TEST(LiveView, IgnoresCataloguesThatAreNotNewer) {
  LiveView view = loaded({1});
  EXPECT_FALSE(view.on_catalogue(catalogue({1, 2}, 1), at(0s)));
  EXPECT_TRUE(view.on_catalogue(catalogue({1, 2}, 2), at(0s)));
  EXPECT_EQ(view.view(at(0s)).live.size(), 2u);
}

TEST(LiveView, ResultsOfUnknownDevicesAreCountedOnly) {
  LiveView view = loaded({1});
  feed(view, 1, {{.device = 99}, {.device = 1}});
  EXPECT_EQ(view.stats().unknown_devices, 1u);
  EXPECT_TRUE(live(view).measured());
}

TEST(LiveView, OwnChangesAreShownAtOnceAndKeepTheStates) {
  LiveView view = loaded({1, 3});
  feed(view, 1, {{.device = 3, .rtt_us = 333}});
  view.on_device_changed(device(2, "new"));
  view.on_device_changed(device(1, "renamed"));
  View now = view.view(at(0s));
  ASSERT_EQ(now.live.size(), 3u);
  EXPECT_EQ(now.catalogue->devices[0].hostname, "renamed");
  EXPECT_EQ(now.catalogue->devices[1].hostname, "new");
  EXPECT_EQ(now.live[2].rtt_us, 333u);
  view.on_device_deleted(2);
  view.on_device_deleted(99);
  now = view.view(at(0s));
  ASSERT_EQ(now.live.size(), 2u);
  EXPECT_EQ(now.live[1].rtt_us, 333u);
}

TEST(LiveView, ATransitionSetsTheStatusAndTheWholeStateWhenItIsNotBehindUs) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kFailed, 0}});
  view.on_transition(
      transition(state(1, 3, kEpochMs + 2000, kDown), TransitionReason::kFailuresInARow, 1),
      at(3s));
  EXPECT_EQ(live(view).status, kDown);
  EXPECT_EQ(live(view).consecutive_timeouts, 3u);
  // The records it was decided by come later: they are in it already.
  feed(view, 2, {{1, kEpochMs + 1000, kFailed, 0}, {1, kEpochMs + 2000, kFailed, 0}});
  EXPECT_EQ(live(view).consecutive_timeouts, 3u);
  ASSERT_EQ(view.take_new_transitions().size(), 1u);
  EXPECT_TRUE(view.take_new_transitions().empty());
}

TEST(LiveView, ATransitionBehindOurResultsSetsTheStatusOnly) {
  LiveView view = loaded({1});
  for (uint64_t s = 0; s < 5; ++s) {
    feed(view, s + 1, {{1, kEpochMs + static_cast<int64_t>(s) * 1000, kFailed, 0}});
  }
  view.on_transition(
      transition(state(1, 3, kEpochMs + 2000, kDown), TransitionReason::kFailuresInARow, 1),
      at(5s));
  EXPECT_EQ(live(view).status, kDown);
  EXPECT_EQ(live(view).consecutive_timeouts, 5u);
}

TEST(LiveView, ATransitionCountsOnceAndInOrder) {
  LiveView view = loaded({1});
  view.on_transition(transition(state(1, 0, kEpochMs, kUp), TransitionReason::kAnsweredAgain, 5),
                     at(0s));
  view.on_transition(transition(state(1, 3, kEpochMs, kDown), TransitionReason::kFailuresInARow, 4),
                     at(0s));
  view.on_transition(transition(state(1, 0, kEpochMs, kUp), TransitionReason::kAnsweredAgain, 5),
                     at(0s));
  EXPECT_EQ(live(view).status, kUp);
  EXPECT_EQ(view.view(at(0s)).transitions.size(), 1u);
}

TEST(LiveView, AsksForASnapshotOnceItHasACatalogue) {
  LiveView view;
  EXPECT_FALSE(view.take_snapshot_request(at(0s)));
  view.on_catalogue(catalogue({1}), at(0s));
  EXPECT_TRUE(view.take_snapshot_request(at(0s)));
  EXPECT_FALSE(view.take_snapshot_request(at(1s)));  // under way
  view.on_snapshot_failed(at(1s));
  EXPECT_FALSE(view.take_snapshot_request(at(2s)));
  EXPECT_EQ(view.next_wakeup(), at(1s + kSnapshotRetry).mono);
  EXPECT_TRUE(view.take_snapshot_request(at(1s + kSnapshotRetry)));
  EXPECT_FALSE(view.view(at(3s)).tracker_loaded);
  Snapshot snapshot;
  snapshot.states = {state(1, 4, kEpochMs, kDown)};
  snapshot.critical_threshold = 9;
  view.on_snapshot(snapshot, at(4s));
  EXPECT_TRUE(view.view(at(4s)).tracker_loaded);
  EXPECT_EQ(view.view(at(4s)).critical_threshold, 9u);
  EXPECT_EQ(live(view).status, kDown);
  EXPECT_EQ(live(view).consecutive_timeouts, 4u);
  EXPECT_EQ(live(view).slot_ms, kEpochMs);
  EXPECT_FALSE(view.take_snapshot_request(at(100s)));
}

// The heart of it: records are lost on the way to us, the snapshot has them, and what came while it
// was under way goes on top.
TEST(LiveView, AGapIsFilledByASnapshotAndTheResultsThatCameMeanwhile) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kFailed, 0}});
  // Records 2 and 3 (slots 1 s and 2 s, both failed) are lost.
  view.on_gap(record(3), at(3s));
  EXPECT_TRUE(view.take_snapshot_request(at(3s)));
  feed(view, 4, {{1, kEpochMs + 3000, kFailed, 0}}, at(3s));
  EXPECT_EQ(live(view).consecutive_timeouts, 2u);  // the best we know
  feed(view, 5, {{1, kEpochMs + 4000, kFailed, 0}}, at(4s));
  Snapshot snapshot;
  snapshot.states = {state(1, 4, kEpochMs + 3000)};
  snapshot.positions = {{"prober-1", 7, 0, 4}};
  view.on_snapshot(snapshot, at(4s));
  EXPECT_EQ(live(view).consecutive_timeouts, 5u);
  EXPECT_EQ(live(view).first_timeout_ms, kEpochMs);
  EXPECT_EQ(view.stats().buffered_results, 0u);
  EXPECT_EQ(view.stats().late_slots, 0u);
}

TEST(LiveView, ASnapshotFromBeforeTheGapIsAskedForAgain) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kFailed, 0}});
  view.on_gap(record(3), at(3s));
  EXPECT_TRUE(view.take_snapshot_request(at(3s)));
  feed(view, 4, {{1, kEpochMs + 3000, kFailed, 0}}, at(3s));
  Snapshot old;
  old.states = {state(1, 1, kEpochMs)};
  old.positions = {{"prober-1", 7, 0, 1}};
  view.on_snapshot(old, at(4s));
  EXPECT_EQ(view.stats().snapshots_unaligned, 1u);
  EXPECT_EQ(live(view).consecutive_timeouts, 2u);  // not thrown back
  EXPECT_TRUE(view.take_snapshot_request(at(4s + kSnapshotRetry)));
  Snapshot caught_up;
  caught_up.states = {state(1, 4, kEpochMs + 3000)};
  caught_up.positions = {{"prober-1", 7, 0, 4}};
  view.on_snapshot(caught_up, at(7s));
  EXPECT_EQ(live(view).consecutive_timeouts, 4u);
  EXPECT_EQ(view.stats().buffered_results, 0u);
}

TEST(LiveView, ASnapshotWithoutTheMissedRecordsIsAskedForAgainEvenIfNothingCameSince) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kFailed, 0}});
  view.on_gap(record(3), at(3s));
  EXPECT_TRUE(view.take_snapshot_request(at(3s)));
  Snapshot behind;
  behind.states = {state(1, 2, kEpochMs + 1000)};
  behind.positions = {{"prober-1", 7, 0, 2}};
  view.on_snapshot(behind, at(3s));
  EXPECT_EQ(live(view).consecutive_timeouts, 1u);
  EXPECT_TRUE(view.take_snapshot_request(at(3s + kSnapshotRetry)));
  Snapshot caught_up;
  caught_up.states = {state(1, 3, kEpochMs + 2000)};
  caught_up.positions = {{"prober-1", 7, 0, 3}};
  view.on_snapshot(caught_up, at(6s));
  EXPECT_EQ(live(view).consecutive_timeouts, 3u);
  EXPECT_FALSE(view.take_snapshot_request(at(60s)));
}

TEST(LiveView, AProducerHeardForTheFirstTimeNeedsASnapshotABitLater) {
  LiveView view = loaded({1});
  view.on_stream_began(at(0s));
  EXPECT_FALSE(view.take_snapshot_request(at(0s)));
  EXPECT_EQ(view.next_wakeup(), at(kSnapshotGrace).mono);
  EXPECT_TRUE(view.take_snapshot_request(at(kSnapshotGrace)));
  EXPECT_EQ(view.stats().gaps, 0u);
}

TEST(LiveView, ATrackerThatStaysBehindIsTakenInTheEnd) {
  LiveView view = loaded({1});
  view.on_gap(std::nullopt, at(0s));
  Duration t = 0s;
  feed(view, 9, {{1, kEpochMs, kFailed, 0}});
  int asked = 0;
  for (; asked < 20 && view.take_snapshot_request(at(t)); ++asked) {
    Snapshot behind;
    behind.positions = {{"prober-1", 7, 0, 1}};
    view.on_snapshot(behind, at(t));
    t += kSnapshotRetry;
  }
  EXPECT_EQ(asked, kUnalignedSnapshotsMax);
  EXPECT_EQ(live(view).consecutive_timeouts, 1u);
}

TEST(LiveView, AGapWhileASnapshotIsUnderWayNeedsAnother) {
  LiveView view = loaded({1});
  view.on_gap(std::nullopt, at(0s));
  EXPECT_TRUE(view.take_snapshot_request(at(0s)));
  view.on_gap(std::nullopt, at(1s));
  view.on_snapshot({}, at(1s));
  EXPECT_TRUE(view.take_snapshot_request(at(1s + kSnapshotRetry)));
}

TEST(LiveView, TheBufferOfASnapshotThatNeverComesIsBounded) {
  LiveView view = loaded({1});
  view.on_gap(std::nullopt, at(0s));
  PingResults batch;
  for (size_t i = 0; i < 10'000; ++i) {
    batch.device.push_back(99);
  }
  batch.interval_ms.assign(10'000, 1000);
  batch.due_ms.assign(10'000, kEpochMs);
  batch.verdict.assign(10'000, kAnswered);
  batch.reason.assign(10'000, Reason::kNone);
  batch.echo_begin.assign(10'001, 0);
  for (uint64_t seq = 1; seq <= 50; ++seq) {
    view.on_results(record(seq), batch, at(0s).wall, at(0s));
    EXPECT_LE(view.stats().buffered_results, kBufferedResultsMax);
  }
  EXPECT_GT(view.stats().buffer_overflows, 0u);
}

TEST(LiveView, ANewDeviceLetsASnapshotBeAskedForAgain) {
  LiveView view = loaded({1});
  EXPECT_FALSE(view.take_snapshot_request(at(5s)));
  view.on_catalogue(catalogue({1, 2}, 2), at(5s));
  EXPECT_TRUE(view.take_snapshot_request(at(5s)));
}

TEST(LiveView, RoundTripsAreThoseOfTheDevicesThatAnswerNow) {
  LiveView view = loaded({1, 2, 3, 4, 5});
  EXPECT_EQ(view.view(at(0s)).round_trips(), RoundTrips{});
  feed(view, 1,
       {{1, kEpochMs, kAnswered, 500},
        {2, kEpochMs, kAnswered, 300},
        {3, kEpochMs, kAnswered, 900},
        {4, kEpochMs, kAnswered, 400},
        {5, kEpochMs, kFailed, 0}});
  const RoundTrips expected{.min_us = 300, .median_us = 400, .max_us = 900};
  EXPECT_EQ(view.view(at(1s)).round_trips(), expected);
  EXPECT_EQ(view.view(at(60s)).round_trips(), RoundTrips{}) << "nobody answers any more";
}

TEST(LiveView, CountsEveryDeviceExactlyOnce) {
  LiveView view;
  Catalogue devices = catalogue({1, 2, 3, 4, 5});
  devices.devices[4].kondisi = "hilang";  // not checked: not counted
  view.on_catalogue(devices, at(0s));
  feed(view, 1,
       {{1, kEpochMs, kAnswered, 500}, {2, kEpochMs, kFailed, 0}, {3, kEpochMs, kNotMeasured, 0}});
  view.take_snapshot_request(at(0s));
  Snapshot snapshot;
  snapshot.states = {state(2, 1, kEpochMs, kDown)};
  snapshot.positions = {{"prober-1", 7, 0, 1}};
  view.on_snapshot(snapshot, at(0s));
  const Counts counts = view.view(at(1s)).counts();
  EXPECT_EQ(counts, (Counts{.devices = 4,
                            .answered = 1,
                            .failed = 1,
                            .not_measured = 2,
                            .silent = 1,
                            .timeouts = 1,
                            .online = 1,
                            .offline = 1}));
  // Nothing comes any more: after three intervals, the time-out and the slack all are unmeasured,
  // while the last measured result stays what it was.
  const Duration stale = 3 * 1000ms + 500ms + std::chrono::milliseconds(kStaleSlackMs);
  EXPECT_EQ(view.view(at(stale)).counts().answered, 1u);
  const Counts later = view.view(at(stale + 1ms)).counts();
  EXPECT_EQ(later.answered + later.failed, 0u);
  EXPECT_EQ(later.not_measured, 4u);
  EXPECT_EQ(later.online, 1u);
}

TEST(LiveView, RatesAreAveragedOverWholeSecondsSinceTheFirstResult) {
  LiveView view = loaded({1});
  EXPECT_EQ(view.view(at(0s)).rates.results_per_second, 0);
  for (int s = 0; s < 4; ++s) {
    PingResults batch = results(
        {{1, kEpochMs + s * 1000, kAnswered, 500}, {1, kEpochMs + s * 1000 + 500, kAnswered, 500}});
    batch.health.lag_max_us = s == 1 ? 900 : 100;
    view.on_results(record(static_cast<uint64_t>(s) + 1), batch, at(0s).wall,
                    at(std::chrono::seconds(s)));
  }
  EXPECT_DOUBLE_EQ(view.view(at(3s)).rates.results_per_second, 2.0);
  EXPECT_EQ(view.view(at(3s)).rates.lag_max_us, 900u);
  EXPECT_DOUBLE_EQ(view.view(at(10s)).rates.results_per_second, 0.8);
  EXPECT_DOUBLE_EQ(view.view(at(60s)).rates.results_per_second, 0.0);
  EXPECT_EQ(view.view(at(60s)).rates.lag_max_us, 0u);
}

TEST(LiveView, ProcessesAreAliveForFiveSecondsAfterAHeartbeat) {
  LiveView view;
  view.on_heartbeat({.name = "prober-1", .kind = "prober", .heard_at = at(0s).mono});
  EXPECT_TRUE(view.view(at(5s)).processes.at(0).alive(at(5s)));
  EXPECT_FALSE(view.view(at(5s)).processes.at(0).alive(at(5s + 1ms)));
  view.on_heartbeat({.name = "recorder", .heard_at = at(2h).mono});
  EXPECT_EQ(view.view(at(2h)).processes.size(), 1u);  // the prober is forgotten
}

TEST(LiveView, ATrackerThatWasStartedAgainIsAskedAgain) {
  LiveView view = loaded({1});
  const auto beat = [&](WallTime started_at, Duration heard) {
    view.on_heartbeat({.name = "timeout-tracker",
                       .kind = "timeout-tracker",
                       .started_at = started_at,
                       .heard_at = at(heard).mono});
  };
  beat(at(0s).wall, 1s);
  beat(at(0s).wall, 2s);
  EXPECT_FALSE(view.take_snapshot_request(at(10s)));
  beat(at(60s).wall, 62s);
  EXPECT_FALSE(view.take_snapshot_request(at(62s)));
  EXPECT_TRUE(view.take_snapshot_request(at(63s)));
  Snapshot snapshot;
  snapshot.timeout_tracking_enabled = false;
  view.on_snapshot(snapshot, at(63s));
  EXPECT_FALSE(view.view(at(63s)).tracking_enabled);
  beat(at(60s).wall, 63s);
  EXPECT_FALSE(view.take_snapshot_request(at(70s)));
}

TEST(LiveView, KnowsABoundedNumberOfProcesses) {
  LiveView view;
  for (size_t i = 0; i < kProcessesMax + 5; ++i) {
    view.on_heartbeat({.name = "p" + std::to_string(i), .heard_at = at(0s).mono});
  }
  EXPECT_EQ(view.view(at(0s)).processes.size(), kProcessesMax);
  EXPECT_EQ(view.stats().processes_refused, 5u);
}

TEST(LiveView, RecentResultsNameADeviceOnceAndAreBounded) {
  LiveView view = loaded({1, 2});
  feed(view, 1, {{1, kEpochMs}, {2, kEpochMs}, {1, kEpochMs + 1000}});
  EXPECT_EQ(view.take_recent_results(), (std::vector<DeviceId>{2, 1}));
  EXPECT_TRUE(view.take_recent_results().empty());
  for (uint64_t s = 2; s < 500; ++s) {
    feed(view, s, {{1, kEpochMs + static_cast<int64_t>(s) * 10}});
  }
  EXPECT_EQ(view.take_recent_results(), (std::vector<DeviceId>{1}));
}

// --- what is known of a result ------------------------------------------------------------------

PingResults cut_off(int64_t slot_ms) {
  PingResults r = results({{1, slot_ms, kFailed, 0}});
  r.reason = {Reason::kUnreachable};
  r.echo_outcome = {EchoOutcome::kHostUnreachable};
  r.notes = {{.icmp_type = 3, .icmp_code = 1, .from = {.bytes = {192, 0, 2, 2}, .family = 4}}};
  return r;
}

TEST(LiveView, KnowsWhoSaidWhatOfTheLatestResultOnly) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kAnswered, 333}});
  EXPECT_EQ(live(view).details, nullptr);
  view.on_results(record(2), cut_off(kEpochMs + 1000), at(1s).wall, at(1s));
  ASSERT_NE(live(view).details, nullptr);
  EXPECT_EQ(live(view).details->notes.size(), 1u);
  EXPECT_EQ(live(view).details->echoes[0].outcome, EchoOutcome::kHostUnreachable);
  feed(view, 3, {{1, kEpochMs + 2000, kAnswered, 444}});
  EXPECT_EQ(live(view).details, nullptr);
}

TEST(LiveView, TellsALateAnswerBesideItsResultOnce) {
  LiveView view = loaded({1});
  feed(view, 1, {{1, kEpochMs, kFailed, 0}});
  PingResults later = results({{2, kEpochMs + 500, kAnswered, 1}});
  later.strays = {{.device = 1, .due_ms = kEpochMs, .rtt_us = 600'000},
                  {.device = 1, .due_ms = kEpochMs - 1000, .rtt_us = 7},
                  {.device = 99, .due_ms = kEpochMs, .rtt_us = 7}};
  for (uint64_t seq = 2; seq < 4; ++seq) {
    view.on_results(record(seq), later, at(1s).wall, at(1s));
  }
  ASSERT_NE(live(view).details, nullptr);
  ASSERT_EQ(live(view).details->strays.size(), 1u);
  EXPECT_EQ(live(view).details->strays[0].rtt_us, 600'000u);
  EXPECT_EQ(live(view).details->echoes[0].outcome, EchoOutcome::kTimeout);
  EXPECT_EQ(live(view).consecutive_timeouts, 1u);
  // Another prober's late answer is not this one's.
  RecordId other = record(4);
  other.producer = "prober-2";
  later.strays = {{.device = 1, .due_ms = kEpochMs, .rtt_us = 9}};
  view.on_results(other, later, at(1s).wall, at(1s));
  EXPECT_EQ(live(view).details->strays.size(), 1u);
}

TEST(LiveView, ForgetsDetailsWhenTheTrackerKnowsANewerResult) {
  LiveView view = loaded({1});
  view.on_results(record(1), cut_off(kEpochMs), at(0s).wall, at(0s));
  view.on_transition(
      transition(state(1, 0, kEpochMs + 1000, kUp), TransitionReason::kAnsweredAgain, 1), at(1s));
  EXPECT_EQ(live(view).details, nullptr);
}

TEST(LiveView, KnowsWhoPaused) {
  LiveView view = loaded({1});
  PingResults paused = results({{1, kEpochMs, Verdict::kNotMeasured, 0}});
  paused.reason = {Reason::kPaused};
  paused.note = "Siti";
  view.on_results(record(1), paused, at(0s).wall, at(0s));
  const View now = view.view(at(0s));
  EXPECT_EQ(now.names[now.live[0].newest_text], "Siti");
}

TEST(LiveView, TellsAddressChangesOnceAndBounded) {
  LiveView view = loaded({1});
  PingResults r = results({{1, kEpochMs, kAnswered, 1}});
  r.address_changes = {{.device = 1, .at_ms = kEpochMs}};
  view.on_results(record(1), r, at(0s).wall, at(0s));
  const auto changes = view.take_new_address_changes();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].prober, "prober-1");
  EXPECT_EQ(changes[0].location, "default");
  EXPECT_TRUE(view.take_new_address_changes().empty());
  for (size_t i = 0; i < 2 * kAddressChangesMax; ++i) {
    view.on_results(record(2 + i), r, at(0s).wall, at(0s));
  }
  EXPECT_EQ(view.take_new_address_changes().size(), kAddressChangesMax);
}

TEST(LiveView, TellsWhenAProberBeginsAndCeasesToDistrustItself) {
  LiveView view = loaded({1});
  PingResults r = results({{1, kEpochMs, kAnswered, 1}});
  view.on_results(record(1), r, at(0s).wall, at(0s));
  EXPECT_TRUE(view.take_new_trust(at(0s)).empty());
  ASSERT_EQ(view.view(at(0s)).probers.size(), 1u);
  EXPECT_EQ(view.view(at(0s)).probers[0].suspicion, Suspicion::kNone);
  r.health = {.lag_max_us = 900'000, .suspicion = Suspicion::kLag};
  view.on_results(record(2), r, at(1s).wall, at(1s));
  view.on_results(record(3), r, at(2s).wall, at(2s));
  auto told = view.take_new_trust(at(2s));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, "prober-1");
  EXPECT_EQ(told[0].suspicion, Suspicion::kLag);
  EXPECT_EQ(told[0].since, at(1s).wall);
  EXPECT_EQ(told[0].health.lag_max_us, 900'000u);
  EXPECT_TRUE(view.take_new_trust(at(3s)).empty());
  // Quiet, or trusting itself again: over once it has not said so for a while.
  r.health = {};
  view.on_results(record(4), r, at(3s).wall, at(3s));
  EXPECT_EQ(view.view(at(3s)).probers[0].suspicion, Suspicion::kLag);
  told = view.take_new_trust(at(2s + kSuspicionHeld + 1ms));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].suspicion, Suspicion::kNone);
  EXPECT_EQ(told[0].since, at(2s + kSuspicionHeld).wall);
}

TEST(LiveView, KeepsOnlySoManyProbers) {
  LiveView view = loaded({1});
  for (size_t i = 0; i <= kProbersMax; ++i) {
    RecordId id = record(1);
    id.producer = "p" + std::to_string(i);
    view.on_results(id, results({{1, kEpochMs, kAnswered, 1}}), at(0s).wall, at(0s));
  }
  EXPECT_EQ(view.view(at(0s)).probers.size(), kProbersMax);
  EXPECT_EQ(view.stats().probers_refused, 1u);
}

}  // namespace
}  // namespace gema::gateway
