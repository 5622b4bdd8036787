// The producer, clause by clause, on a simulated disk.
#include "common/stream/spooled_producer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/random.h"
#include "common/stream/core/limits.h"
#include "tests/sim/sim_disk.h"

namespace gema::stream {
namespace {

using sim::SimDisk;
using sim::SimStore;

class ProducerTest : public ::testing::Test {
 protected:
  ProducerTest() {
    core.groups = {"recorder", "tracker"};
    core.bytes_max = 1U << 20;
    core.segment_bytes = 16U << 10;
  }

  Result<void> try_open() {
    SpooledProducer::Options options;
    options.core = core;
    options.name = "p";
    options.boot_id = boot;
    options.new_epoch = [this] { return ++epochs; };
    auto opened =
        SpooledProducer::open(std::move(options), std::make_unique<SimStore>(disk, random), now);
    if (!opened) return opened.error();
    producer = std::move(*opened);
    return {};
  }
  void open() {
    Result<void> done = try_open();
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  void kill_and_open() {
    producer.reset();
    open();
  }
  uint64_t append(uint32_t partition = 0, size_t bytes = 100) {
    Result<uint64_t> seq = producer->append(partition, std::string(bytes, 'x'), now);
    EXPECT_TRUE(seq.has_value()) << (seq ? "" : seq.error().message);
    return seq ? *seq : 0;
  }
  void append_many(int n, uint32_t partition = 0, size_t bytes = 100) {
    for (int i = 0; i < n; ++i) append(partition, bytes);
  }
  void pass(Duration time) {
    now.mono += time;
    now.wall += time;
  }
  // A turn: what goes out.
  std::vector<StreamMessage> turn(Duration later = 10ms) {
    pass(later);
    producer->tick(now);
    std::vector<StreamMessage> out;
    producer->take_messages(now, out);
    for (const StreamMessage& m : out) {
      if (m.kind == StreamMessage::Kind::kTip) last_tip = std::get<TipMessage>(m.body);
    }
    return out;
  }
  std::vector<StreamMessage> turns(Duration all, Duration each = 10ms) {
    std::vector<StreamMessage> out;
    for (Duration t{}; t < all; t += each) {
      for (StreamMessage& m : turn(each)) out.push_back(std::move(m));
    }
    return out;
  }
  static size_t count(const std::vector<StreamMessage>& messages, StreamMessage::Kind kind,
                      const std::string& group = "") {
    return static_cast<size_t>(
        std::count_if(messages.begin(), messages.end(), [&](const StreamMessage& m) {
          return m.kind == kind && (group.empty() || m.group == group);
        }));
  }
  static std::vector<SeqRange> lost_in(const std::vector<StreamMessage>& messages) {
    std::vector<SeqRange> ranges;
    for (const StreamMessage& m : messages) {
      if (m.kind != StreamMessage::Kind::kLost) continue;
      const LostMessage& lost = std::get<LostMessage>(m.body);
      ranges.insert(ranges.end(), lost.ranges.begin(), lost.ranges.end());
    }
    return ranges;
  }
  void ack(const std::string& group, uint64_t cumulative, uint64_t epoch = 0,
           uint32_t partition = 0) {
    if (epoch == 0) epoch = producer->core().current_epoch();
    producer->on_ack({group, {{epoch, partition, cumulative, cumulative, {}}}});
  }
  void ack_all(uint64_t cumulative, uint64_t epoch = 0) {
    ack("recorder", cumulative, epoch);
    ack("tracker", cumulative, epoch);
  }
  void want(const std::string& group, SeqRange range, uint64_t epoch = 0) {
    if (epoch == 0) epoch = producer->core().current_epoch();
    producer->on_want({group, {{epoch, 0, {range}}}});
  }
  uint64_t epoch() const { return producer->core().current_epoch(); }
  EpochReason reason() const { return producer->core().epochs().back().reason; }
  uint64_t predecessor() const { return producer->core().epochs().back().predecessor; }

  SimDisk disk;
  Random random{1};
  ProducerCoreOptions core;
  std::string boot = "boot-1";
  uint64_t epochs = 100;
  Now now{MonoTime{} + 1000s, WallTime{} + 1'700'000'000s};
  std::optional<TipMessage> last_tip;
  std::unique_ptr<SpooledProducer> producer;
};

using Kind = StreamMessage::Kind;

// --- epochs --------------------------------------------------------------------------------------

TEST_F(ProducerTest, ANewSpoolBeginsAnEpochWithoutPredecessor) {
  open();
  EXPECT_EQ(reason(), EpochReason::kNewSpool);
  EXPECT_EQ(predecessor(), 0U);
}

TEST_F(ProducerTest, KillNineLosesNothingAndGoesOnWithTheEpoch) {
  open();
  uint64_t first = epoch();
  append_many(10);
  kill_and_open();
  EXPECT_EQ(epoch(), first);
  EXPECT_EQ(append(), 11U);
  EXPECT_EQ(producer->stats().records_held, 11U);
}

TEST_F(ProducerTest, ABootAfterACleanStopGoesOnWithTheEpoch) {
  open();
  uint64_t first = epoch();
  append_many(10);
  ASSERT_TRUE(producer->close_cleanly(now).has_value());
  producer.reset();
  disk.power_cut(random);  // nothing was left to lose
  boot = "boot-2";
  open();
  EXPECT_EQ(epoch(), first);
  EXPECT_EQ(append(), 11U);
}

TEST_F(ProducerTest, ABootWithoutACleanStopBeginsAnEpochThatNamesItsPredecessor) {
  open();
  uint64_t first = epoch();
  append_many(10);
  producer.reset();
  boot = "boot-2";
  open();
  EXPECT_NE(epoch(), first);
  EXPECT_EQ(reason(), EpochReason::kUncleanBoot);
  EXPECT_EQ(predecessor(), first);
  EXPECT_EQ(append(), 1U);
}

TEST_F(ProducerTest, ABootAfterAnUncleanRestartOfACleanSpoolStillCounts) {
  open();
  ASSERT_TRUE(producer->close_cleanly(now).has_value());
  kill_and_open();  // runs again: no longer cleanly stopped
  append();
  producer.reset();
  boot = "boot-2";
  open();
  EXPECT_EQ(reason(), EpochReason::kUncleanBoot);
}

TEST_F(ProducerTest, AFailedFdatasyncBeginsAnEpochAndIsNotTriedAtOnceAgain) {
  open();
  uint64_t first = epoch();
  append();
  disk.sync_fails_per_mille = 1000;
  for (int i = 0; i < 100; ++i) {
    append();
    turn();
  }
  EXPECT_NE(epoch(), first);
  EXPECT_EQ(reason(), EpochReason::kSyncFailed);
  EXPECT_EQ(producer->stats().sync_failures, 1U);  // within the second
  turns(10min, 1s);
  EXPECT_LE(producer->stats().sync_failures, 20U);
}

TEST_F(ProducerTest, AnAcknowledgementBeyondTheLastSeqBeginsAnEpoch) {
  open();
  uint64_t first = epoch();
  append_many(5);
  ack("recorder", 5);
  turn();
  EXPECT_EQ(epoch(), first);
  ack("recorder", 6);
  turn();
  EXPECT_NE(epoch(), first);
  EXPECT_EQ(reason(), EpochReason::kAckBeyondLast);
  EXPECT_EQ(append(), 1U);
  ack("recorder", 600, first);  // of an epoch that is over: nothing is appended to it
  uint64_t second = epoch();
  turn();
  EXPECT_EQ(epoch(), second);
}

TEST_F(ProducerTest, AWantBeyondTheLastSeqToo) {
  open();
  uint64_t first = epoch();
  append_many(5);
  turn();
  want("tracker", {4, 9});
  turn();
  EXPECT_EQ(reason(), EpochReason::kAckBeyondLast);
  want("tracker", {6, 9}, first);
  EXPECT_EQ(lost_in(turn()), (std::vector<SeqRange>{{6, 9}}));
}

TEST_F(ProducerTest, AClockStepBeginsAnEpochAndTellsBeforeItsFirstRecord) {
  open();
  turn();
  uint64_t first = epoch();
  append();
  ASSERT_TRUE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
  append();
  std::vector<StreamMessage> out = turn();
  ASSERT_GE(out.size(), 3U);
  EXPECT_EQ(out[0].kind, Kind::kLive);
  ASSERT_EQ(out[1].kind, Kind::kTip);
  const TipMessage& tip = std::get<TipMessage>(out[1].body);
  ASSERT_EQ(tip.epochs.size(), 2U);
  EXPECT_EQ(tip.epochs[0].epoch, first);
  EXPECT_EQ(tip.epochs[1].reason, EpochReason::kClockStep);
  EXPECT_EQ(tip.epochs[1].predecessor, first);
  EXPECT_EQ(out[2].kind, Kind::kLive);
}

TEST_F(ProducerTest, AWriteCutShortIsCutOffAndBeginsAnEpoch) {
  open();
  uint64_t first = epoch();
  append_many(5);
  disk.die_in_write = 500;
  EXPECT_FALSE(producer->append(0, std::string(100, 'x'), now).has_value());
  kill_and_open();
  EXPECT_EQ(reason(), EpochReason::kSpoolDamaged);
  want("recorder", {1, 6}, first);
  std::vector<StreamMessage> out = turns(100ms);
  EXPECT_EQ(count(out, Kind::kReplay), 5U);
  EXPECT_EQ(lost_in(out), (std::vector<SeqRange>{{6, 6}}));
}

TEST_F(ProducerTest, ASpoolWhoseNewestSegmentIsGoneBeginsAnEpoch) {
  open();
  append_many(500);
  ASSERT_TRUE(producer->close_cleanly(now).has_value());
  producer.reset();
  disk.files.erase(std::prev(disk.files.end()));
  open();
  EXPECT_EQ(reason(), EpochReason::kSpoolDamaged);
}

TEST_F(ProducerTest, ALostMetaFileCostsAnEpochAndNothingElse) {
  open();
  uint64_t first = epoch();
  append_many(5);
  producer.reset();
  disk.meta = "garbage";
  open();
  EXPECT_EQ(reason(), EpochReason::kUncleanBoot);
  want("recorder", {1, 5}, first);
  EXPECT_EQ(count(turns(100ms), Kind::kReplay), 5U);
}

TEST_F(ProducerTest, OldEpochsStaySpooledAndDrain) {
  open();
  uint64_t first = epoch();
  append_many(5);
  ASSERT_TRUE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
  append_many(3);
  kill_and_open();
  turn(1s);
  ASSERT_EQ(last_tip->epochs.size(), 2U);
  EXPECT_EQ(last_tip->epochs[0].last_seq[0], 5U);
  EXPECT_EQ(last_tip->epochs[0].base_seq[0], 1U);
  want("tracker", {1, 5}, first);
  EXPECT_EQ(count(turns(100ms), Kind::kReplay, "tracker"), 5U);
  ack_all(5, first);
  ack_all(3);
  EXPECT_EQ(producer->stats().unacknowledged, 0U);
  turns(16min, 1s);
  EXPECT_EQ(last_tip->epochs[0].base_seq[0], 6U);  // nothing held any more
}

TEST_F(ProducerTest, EndedEpochsStayListedAsLongAsRecordsAreHeld) {
  core.bytes_max = 64U << 10;
  core.segment_bytes = 4U << 10;
  open();
  std::vector<uint64_t> begun{epoch()};
  for (int i = 0; i < 10; ++i) {
    append_many(5);
    ack_all(5);
    ASSERT_TRUE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
    begun.push_back(epoch());
  }
  for (uint64_t i = 1; i <= 1000; ++i) {  // presses everything older out
    append();
    ack_all(i);
  }
  turns(14min, 1s);
  ASSERT_EQ(last_tip->epochs.size(), begun.size());
  EXPECT_EQ(last_tip->epochs[0].last_seq[0], 5U);
  EXPECT_EQ(last_tip->epochs[0].base_seq[0], 6U);
  turns(2min, 1s);
  EXPECT_EQ(last_tip->epochs.size(), kEndedEpochsListed + 1);
}

TEST_F(ProducerTest, EpochsAreBoundedAndTheOldestAreAnnouncedAsDropped) {
  open();
  append_many(2);
  for (size_t i = 0; i < kEpochsMax + 20; ++i) {
    ASSERT_TRUE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
    append();
  }
  EXPECT_LE(producer->core().epochs().size(), kEpochsMax);
  EXPECT_GE(producer->stats().dropped, 20U);
  EXPECT_EQ(append(), 2U);
}

// --- what append refuses -------------------------------------------------------------------------

TEST_F(ProducerTest, AppendRefusesWhatTheBusCouldNotCarry) {
  core.bytes_max = 16U << 20;
  open();
  EXPECT_TRUE(producer->append(0, std::string(kRecordBytesMax, 'x'), now).has_value());
  Result<uint64_t> refused = producer->append(0, std::string(kRecordBytesMax + 1, 'x'), now);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::kBadInput);
  EXPECT_EQ(refused.error().message, "a record of 262145 bytes: at most 262144 are carried");
  EXPECT_FALSE(producer->append(kPartitions, "x", now).has_value());
  EXPECT_FALSE(producer->append_large(0, std::string(kThingBytesMax + 1, 'x'), now).has_value());
  EXPECT_EQ(producer->stats().append_refused, 3U);
  EXPECT_EQ(append(), 2U);
}

TEST_F(ProducerTest, AFullDiskIsAnErrorAndNothingIsHalfDone) {
  open();
  append_many(3);
  disk.full = true;
  Result<uint64_t> failed = producer->append(0, "late", now);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, Errc::kRetryable);
  EXPECT_NE(failed.error().message.find("no space"), std::string::npos);
  // Also when a new segment would be needed.
  EXPECT_FALSE(producer->append(0, std::string(core.segment_bytes, 'x'), now).has_value());
  EXPECT_FALSE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
  std::vector<StreamMessage> out = turn();
  EXPECT_EQ(count(out, Kind::kLive), 3U);
  disk.full = false;
  turn(2s);
  EXPECT_EQ(reason(), EpochReason::kClockStep);  // it could not begin before
  EXPECT_EQ(append(), 1U);
  uint64_t held = producer->stats().records_held;
  kill_and_open();
  EXPECT_EQ(producer->stats().records_held, held);
  EXPECT_EQ(producer->stats().corrupt, 0U);
}

TEST_F(ProducerTest, AFullDiskAtTheStartIsOneClearError) {
  disk.full = true;
  Result<void> opened = try_open();
  ASSERT_FALSE(opened.has_value());
  EXPECT_NE(opened.error().message.find("no space"), std::string::npos);
  disk.full = false;
  open();
  EXPECT_EQ(append(), 1U);
}

// --- the byte bound ------------------------------------------------------------------------------

TEST_F(ProducerTest, AFullSpoolDropsTheOldestAndSaysSo) {
  core.bytes_max = 128U << 10;
  open();
  ack("recorder", 0);
  uint64_t appended = 0;
  for (int i = 0; i < 3000; ++i) {
    append();
    ++appended;
    ASSERT_LE(producer->stats().spool_bytes, core.bytes_max);
  }
  turn(1s);
  uint64_t base = last_tip->epochs[0].base_seq[0];
  ProducerStats stats = producer->stats();
  EXPECT_GT(base, 1U);
  EXPECT_EQ(stats.dropped, base - 1);
  EXPECT_EQ(stats.records_held, appended - stats.dropped);
  EXPECT_EQ(last_tip->epochs[0].dropped_through[0], base - 1);
  std::vector<ProducerEvent> events = producer->take_events();
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const ProducerEvent& e) {
    return e.kind == ProducerEvent::Kind::kDropped && e.range.last == base - 1;
  }));
  // And still after a restart.
  kill_and_open();
  turn(1s);
  EXPECT_GE(last_tip->epochs[0].dropped_through[0], base - 1);
  want("recorder", {1, 2});
  EXPECT_EQ(lost_in(turn()), (std::vector<SeqRange>{{1, 2}}));
}

TEST_F(ProducerTest, WhatAllAcknowledgedIsNotCountedAsDropped) {
  core.bytes_max = 128U << 10;
  open();
  for (uint64_t i = 1; i <= 3000; ++i) {
    append();
    ack_all(i);
  }
  EXPECT_EQ(producer->stats().dropped, 0U);
  EXPECT_LE(producer->stats().spool_bytes, core.bytes_max);
}

TEST_F(ProducerTest, FilesOfDroppedSegmentsGoOnceTheMetaFileThatSaysSoIsDurable) {
  core.bytes_max = 128U << 10;
  open();
  append_many(1500);
  uint64_t on_disk = disk.files.size();
  EXPECT_GT(on_disk, producer->stats().segments);
  turns(300ms);
  EXPECT_EQ(disk.files.size(), producer->stats().segments);
  EXPECT_EQ(disk.meta, disk.meta_synced);
}

// --- holding -------------------------------------------------------------------------------------

TEST_F(ProducerTest, HoldsAcknowledgedRecordsFifteenMinutesMore) {
  open();
  append_many(1000);  // several segments
  uint64_t segments = producer->stats().segments;
  ASSERT_GT(segments, 3U);
  ack_all(1000);
  turn(1s);
  turns(14min + 55s, 1s);
  EXPECT_EQ(producer->stats().segments, segments);
  want("recorder", {1, 10});
  EXPECT_EQ(count(turns(100ms), Kind::kReplay), 10U);
  turns(10s, 1s);
  EXPECT_EQ(producer->stats().segments, 1U);  // the newest never goes
}

TEST_F(ProducerTest, HoldsThemNoLongerWhenOverHalfItsBound) {
  core.bytes_max = 256U << 10;
  open();
  append_many(1500);  // about 200 KiB
  ASSERT_GT(producer->stats().spool_bytes, core.bytes_max / 2);
  ack_all(1500);
  turns(2s, 1s);
  EXPECT_LE(producer->stats().spool_bytes, core.bytes_max / 2);
  EXPECT_GT(producer->stats().spool_bytes, core.bytes_max / 4);
  EXPECT_EQ(producer->stats().dropped, 0U);
}

TEST_F(ProducerTest, LetsNothingGoThatOneGroupHasNotAcknowledged) {
  open();
  append_many(1000);
  ack("recorder", 1000);
  turns(20min, 1s);
  EXPECT_EQ(producer->stats().records_held, 1000U);
  EXPECT_EQ(producer->stats().unacknowledged, 1000U);
}

TEST_F(ProducerTest, AGroupThatWentBackTakesItsAcknowledgementBack) {
  open();
  append_many(1000);
  ack_all(1000);
  turns(10min, 1s);
  ack("recorder", 10);  // restored to an older position
  turns(10min, 1s);
  EXPECT_EQ(producer->stats().records_held, 1000U);
  ack("recorder", 1000);
  turns(16min, 1s);
  EXPECT_LT(producer->stats().records_held, 1000U);
}

TEST_F(ProducerTest, LetsNothingGoBeforeItsOwnerReleasesIt) {
  core.release_by_owner = true;
  open();
  append_many(1000);
  ack_all(1000);
  turns(20min, 1s);
  EXPECT_EQ(producer->stats().records_held, 1000U);
  producer->release(producer->own_positions());
  turns(16min, 1s);
  EXPECT_EQ(producer->stats().segments, 1U);
}

TEST_F(ProducerTest, WithoutGroupsNothingIsOwed) {
  core.groups.clear();
  open();
  append_many(1000);
  turns(16min, 1s);
  EXPECT_EQ(producer->stats().segments, 1U);
  EXPECT_EQ(producer->stats().unacknowledged, 0U);
}

TEST_F(ProducerTest, AGroupAddedLaterIsOwedNothingOlderThanWhatIsHeld) {
  open();
  append_many(1000);
  ack_all(1000);
  turns(16min, 1s);
  core.groups.push_back("alerter");
  kill_and_open();
  append();
  turn(1s);
  uint64_t base = last_tip->epochs.back().base_seq[0];
  ASSERT_GT(base, 1U);
  ASSERT_EQ(last_tip->epochs.back().starts.size(), 1U);
  EXPECT_EQ(last_tip->epochs.back().starts[0].group, "alerter");
  EXPECT_EQ(last_tip->epochs.back().starts[0].first[0], base);
  kill_and_open();  // and it stays said
  turn(1s);
  EXPECT_EQ(last_tip->epochs.back().starts.size(), 1U);
}

// --- telling -------------------------------------------------------------------------------------

TEST_F(ProducerTest, TellsEachSecondWhatItHolds) {
  open();
  EXPECT_EQ(count(turns(10s), Kind::kTip), 11U);  // one at once
}

TEST_F(ProducerTest, SendsEachRecordLiveOnceAndBeforeTheTipThatNamesIt) {
  open();
  append_many(3);
  append(5);
  std::vector<StreamMessage> out = turn(1s);
  EXPECT_EQ(count(out, Kind::kLive), 4U);
  EXPECT_EQ(out.back().kind, Kind::kTip);
  EXPECT_EQ(count(turn(), Kind::kLive), 0U);
}

TEST_F(ProducerTest, BoundsWhatWaitsToBeSentLive) {
  open();
  turn();
  append_many(static_cast<int>(kLiveQueueMax) + 100);
  std::vector<StreamMessage> out = turn(1s);
  EXPECT_EQ(count(out, Kind::kLive), kLiveQueueMax);
  EXPECT_EQ(producer->stats().live_skipped, 100U);
  EXPECT_EQ(last_tip->epochs[0].last_seq[0], kLiveQueueMax + 100);  // so they are asked for
}

// --- replaying -----------------------------------------------------------------------------------

TEST_F(ProducerTest, ReplaysToTheGroupThatAskedAndNobodyElse) {
  open();
  append_many(100);
  turn();
  want("tracker", {10, 19});
  std::vector<StreamMessage> out = turns(100ms);
  EXPECT_EQ(count(out, Kind::kReplay, "tracker"), 10U);
  EXPECT_EQ(count(out, Kind::kReplay), 10U);
  uint64_t seq = 10;
  for (const StreamMessage& m : out) {
    if (m.kind != Kind::kReplay) continue;
    EXPECT_EQ(std::get<RecordMessage>(m.body).seq, seq++);
  }
}

TEST_F(ProducerTest, ReplaysAtABoundedRateWhileLiveGoesOn) {
  core.bytes_max = 64U << 20;
  core.segment_bytes = 1U << 20;
  open();
  append_many(60'000);
  turns(2s);
  want("recorder", {1, 60'000});
  size_t replayed = 0;
  size_t most_at_once = 0;
  for (int i = 0; i < 100; ++i) {  // one second
    append_many(5);                // 500 a second live
    std::vector<StreamMessage> out = turn();
    EXPECT_EQ(count(out, Kind::kLive), 5U);
    size_t now_replayed = count(out, Kind::kReplay);
    most_at_once = std::max(most_at_once, now_replayed);
    replayed += now_replayed;
  }
  EXPECT_GE(replayed, 4'800U);  // ten times live, and the least rate
  EXPECT_LE(replayed, 5'500U);
  EXPECT_LE(most_at_once, 300U);
}

TEST_F(ProducerTest, ReplaysTenTimesAsFastAsLiveHoweverFastThatIs) {
  core.bytes_max = 64U << 20;
  core.segment_bytes = 1U << 20;
  open();
  append_many(100'000);
  turns(2s);
  size_t replayed = 0;
  size_t live = 0;
  want("recorder", {1, 100'000});
  for (int i = 0; i < 200; ++i) {
    append_many(20);  // 2,000 a second
    std::vector<StreamMessage> out = turn();
    if (i < 100) continue;  // it takes a second to know
    live += count(out, Kind::kLive);
    replayed += count(out, Kind::kReplay);
  }
  EXPECT_GE(replayed, 95 * live / 10);
  EXPECT_LE(replayed, 11 * live);
}

TEST_F(ProducerTest, BoundsReplayInBytesToo) {
  core.bytes_max = 256U << 20;
  core.segment_bytes = 4U << 20;
  core.replay_bytes_per_second = 4U << 20;
  open();
  append_many(200, 0, 200'000);
  turns(2s);
  want("recorder", {1, 200});
  uint64_t bytes = 0;
  for (const StreamMessage& m : turns(1s)) {
    if (m.kind == Kind::kReplay) bytes += std::get<RecordMessage>(m.body).payload.size();
  }
  EXPECT_GE(bytes, 3U << 20);
  EXPECT_LE(bytes, 5U << 20);
}

TEST_F(ProducerTest, ServesGroupsApart) {
  open();
  append_many(3000);
  turn(1s);
  want("recorder", {1, 3000});
  want("tracker", {2990, 2999});
  std::vector<StreamMessage> out = turns(60ms);
  EXPECT_EQ(count(out, Kind::kReplay, "tracker"), 10U);  // not behind the recorder's
}

TEST_F(ProducerTest, BoundsWhatAGroupMayAskFor) {
  open();
  core.bytes_max = 8U << 20;
  kill_and_open();
  append_many(9000);
  std::vector<SeqRange> ranges;
  for (uint64_t seq = 1; seq < 9000; seq += 2) ranges.push_back({seq, seq});
  producer->on_want({"recorder", {{epoch(), 0, ranges}}});
  EXPECT_EQ(producer->stats().wants_refused, 4500 - kWantRangesMax);
}

TEST_F(ProducerTest, TakesNothingFromStrangers) {
  open();
  append_many(3);
  turn();
  want("stranger", {1, 3});
  ack("stranger", 99);
  producer->on_want({"recorder", {{0xdead, 0, {{1, 3}}}}});
  producer->on_ack({"recorder", {{0xdead, 0, 3, 3, {}}, {epoch(), 9, 3, 3, {}}}});
  EXPECT_EQ(count(turns(100ms), Kind::kReplay), 0U);
  EXPECT_EQ(producer->stats().messages_refused, 5U);
  EXPECT_EQ(reason(), EpochReason::kNewSpool);
}

// --- damage --------------------------------------------------------------------------------------

TEST_F(ProducerTest, ARecordThatRotsWhileRunningIsAnsweredAsLost) {
  open();
  append_many(10);
  turn();
  std::string& bytes = disk.files.begin()->second.bytes;
  bytes[120 + 4 * 132 + 60] = '!';  // within the payload of seq 5
  want("recorder", {1, 10});
  std::vector<StreamMessage> out = turns(100ms);
  EXPECT_EQ(count(out, Kind::kReplay), 9U);
  EXPECT_EQ(lost_in(out), (std::vector<SeqRange>{{5, 5}}));
  EXPECT_EQ(producer->stats().corrupt, 1U);
  want("tracker", {5, 5});
  EXPECT_EQ(lost_in(turns(100ms)), (std::vector<SeqRange>{{5, 5}}));
  EXPECT_EQ(producer->stats().corrupt, 1U);  // counted once
}

TEST_F(ProducerTest, ABitFlippedInAnOldSegmentLosesThatRecordOnly) {
  open();
  append_many(1000);
  uint64_t first = epoch();
  producer.reset();
  std::string& bytes = std::next(disk.files.begin())->second.bytes;
  bytes[200] = static_cast<char>(bytes[200] ^ 1);
  open();
  EXPECT_EQ(epoch(), first);  // the newest segment is sound
  EXPECT_EQ(producer->stats().corrupt, 1U);
  EXPECT_EQ(producer->stats().records_held, 999U);
  want("recorder", {1, 1000});
  std::vector<StreamMessage> out = turns(2s);
  EXPECT_EQ(count(out, Kind::kReplay), 999U);
  EXPECT_EQ(lost_in(out).size(), 1U);
}

TEST_F(ProducerTest, AnOldSegmentWithADamagedHeaderIsSetAsideAndItsRecordsAnsweredAsLost) {
  open();
  append_many(1000);
  uint64_t first = epoch();
  uint64_t segments = producer->stats().segments;
  producer.reset();
  std::next(disk.files.begin())->second.bytes[20] ^= 4;
  open();
  EXPECT_EQ(epoch(), first);
  EXPECT_EQ(producer->stats().segments, segments - 1);
  EXPECT_EQ(producer->stats().corrupt_segments, 1U);
  want("recorder", {1, 1000});
  std::vector<StreamMessage> out = turns(2s);
  uint64_t lost = 0;
  for (const SeqRange& range : lost_in(out)) lost += range.size();
  EXPECT_GT(lost, 50U);
  EXPECT_EQ(count(out, Kind::kReplay) + lost, 1000U);
}

TEST_F(ProducerTest, AnyDamageToAnyByteNeverCrashesNorInventsARecord) {
  core.segment_bytes = 4'096;
  core.bytes_max = 64U << 10;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Random chance(seed * 7919);
    disk = SimDisk{};
    open();
    append_many(60);
    uint64_t first = epoch();
    producer.reset();
    for (uint64_t n = 1 + chance.below(4); n > 0; --n) disk.flip_bit(chance);
    if (chance.chance(300) && !disk.files.empty()) {
      std::string& bytes = disk.files.rbegin()->second.bytes;
      bytes.resize(chance.below(bytes.size() + 1));
    }
    open();
    append_many(5);
    want("recorder", {1, 60}, first);
    for (const StreamMessage& m : turns(300ms)) {
      if (m.kind != Kind::kReplay) continue;
      EXPECT_EQ(std::get<RecordMessage>(m.body).payload, std::string(100, 'x'));
    }
  }
}

// --- syncing and reading back --------------------------------------------------------------------

TEST_F(ProducerTest, SyncsWithinTwoHundredMilliseconds) {
  open();
  turns(1s);
  append();
  turns(200ms);
  producer.reset();
  disk.power_cut(random);
  boot = "boot-2";
  open();
  EXPECT_EQ(producer->stats().records_held, 1U);
}

TEST_F(ProducerTest, SyncsWhatTheProcessBeforeItWrote) {
  open();
  append_many(10);
  kill_and_open();
  turns(200ms);
  producer.reset();
  disk.power_cut(random);
  boot = "boot-2";
  open();
  EXPECT_EQ(producer->stats().records_held, 10U);
}

TEST_F(ProducerTest, ReadsBackWhatItsOwnerHasNotCovered) {
  open();
  append_many(5, 0);
  append_many(2, 1);
  PositionSet covered = producer->own_positions();
  append_many(3, 1);
  ASSERT_TRUE(producer->begin_epoch(EpochReason::kClockStep, now).has_value());
  append(0);
  kill_and_open();
  std::string seen;
  ASSERT_TRUE(producer
                  ->read_after(covered,
                               [&](const Spooled& s) {
                                 seen += std::to_string(s.key.partition) + ":" +
                                         std::to_string(s.key.seq) + " ";
                                 EXPECT_EQ(s.payload, std::string(100, 'x'));
                                 EXPECT_EQ(s.produced_at, now.wall);
                                 return true;
                               })
                  .has_value());
  EXPECT_EQ(seen, "1:3 1:4 1:5 0:1 ");
  seen.clear();
  ASSERT_TRUE(producer
                  ->read_back(0,
                              [&](const Spooled& s) {
                                seen += std::to_string(s.key.seq) + " ";
                                return seen.size() < 6;
                              })
                  .has_value());
  EXPECT_EQ(seen, "1 5 4 ");
}

}  // namespace
}  // namespace gema::stream
