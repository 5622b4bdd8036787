#include "common/stream/core/consumer_core.h"

#include <gtest/gtest.h>

#include "common/stream/core/limits.h"
#include "common/stream/core/parts.h"

namespace gema::stream {
namespace {

constexpr uint64_t kA = 0xa;
constexpr uint64_t kB = 0xb;
constexpr uint64_t kC = 0xc;

struct Listed {
  uint64_t epoch = kA;
  uint64_t last = 0;  // of partition 0; the others are empty
  uint64_t base = 1;
  uint64_t predecessor = 0;
  uint64_t dropped_through = 0;
  uint64_t start = 0;  // of group "g"
};

TipMessage tip(const std::vector<Listed>& listed) {
  TipMessage message;
  for (const Listed& item : listed) {
    EpochTip epoch;
    epoch.epoch = item.epoch;
    epoch.predecessor = item.predecessor;
    epoch.reason = EpochReason::kClockStep;
    epoch.last_seq.assign(kPartitions, 0);
    epoch.base_seq.assign(kPartitions, 1);
    epoch.last_seq[0] = item.last;
    epoch.base_seq[0] = item.base;
    if (item.dropped_through > 0) {
      epoch.dropped_through.assign(kPartitions, 0);
      epoch.dropped_through[0] = item.dropped_through;
    }
    if (item.start > 0) {
      epoch.starts.push_back({"g", std::vector<uint64_t>(kPartitions, 1)});
      epoch.starts[0].first[0] = item.start;
    }
    message.epochs.push_back(std::move(epoch));
  }
  return message;
}

// One consumer and one producer, "p", told by hand.
struct Bench {
  explicit Bench(ConsumerOptions options = {}, PositionSet restored = {})
      : core((options.stream = "s", options.group = "g", options), std::move(restored)) {}

  void record(uint64_t seq, uint64_t epoch = kA, uint32_t partition = 0) {
    RecordMessage message;
    message.epoch = epoch;
    message.partition = partition;
    message.seq = seq;
    message.payload = std::to_string(seq);
    core.on_record("p", std::move(message), now, out);
  }
  void part(uint64_t seq, const PartView& view, uint64_t epoch = kA) {
    RecordMessage message;
    message.epoch = epoch;
    message.seq = seq;
    message.part = view.info;
    message.payload = view.bytes;
    core.on_record("p", std::move(message), now, out);
  }
  void tips(const std::vector<Listed>& listed) { core.on_tip("p", tip(listed), now, out); }
  void lost(std::vector<SeqRange> ranges, uint64_t epoch = kA) {
    core.on_lost("p", {epoch, 0, std::move(ranges)}, now, out);
  }
  void pass(Duration time) {
    now.mono += time;
    now.wall += time;
  }
  // "1 2 gap 3-4 (lost) start b close a", as delivered since the last call.
  std::string delivered() {
    std::string text;
    for (const Delivery& d : out) {
      if (d.key.partition != 0) continue;
      if (!text.empty()) text += ' ';
      switch (d.kind) {
        case Delivery::kRecord:
          text += d.payload.size() < 20 ? d.payload : "thing@" + std::to_string(d.key.seq);
          break;
        case Delivery::kGap:
          text += "gap " + std::to_string(d.gap.first) + "-" + std::to_string(d.gap.last) + " (" +
                  to_string(d.gap_reason) + ")";
          break;
        case Delivery::kEpochStarted:
          text += "start " + name(d.key.epoch);
          break;
        case Delivery::kEpochClosed:
          text += "close " + name(d.key.epoch);
          break;
      }
    }
    out.clear();
    return text;
  }
  static std::string name(uint64_t epoch) {
    return std::string(1, static_cast<char>('a' + epoch - kA));
  }
  // Ranges asked for in partition 0, as text.
  std::string wants() {
    std::string text;
    for (const ConsumerCore::Out& item : core.take_outgoing(now)) {
      if (const auto* ack = std::get_if<AckMessage>(&item.message)) last_ack = *ack;
      const auto* want = std::get_if<WantMessage>(&item.message);
      if (want == nullptr) continue;
      EXPECT_EQ(item.producer, "p");
      EXPECT_EQ(want->group, "g");
      for (const PartitionWant& part : want->partitions) text += format_ranges(part.ranges);
    }
    return text;
  }
  std::vector<SeqRange> wanted() { return parse_ranges(wants()).value(); }
  void make_durable() { core.mark_durable(core.positions()); }
  const Position& position(uint64_t epoch = kA) {
    held = core.positions();
    return *held.find({"p", epoch, 0});
  }

  ConsumerCore core;
  Now now{MonoTime{} + 1000s, WallTime{} + 1'700'000'000s};
  std::vector<Delivery> out;
  std::optional<AckMessage> last_ack;
  PositionSet held;
};

ConsumerOptions in_order() {
  return {.order = Order::kInOrder};
}
ConsumerOptions observer() {
  return {.observer = true};
}

// --- any order -----------------------------------------------------------------------------------

TEST(ConsumerAnyOrder, DeliversAtOnceAndOnlyOnce) {
  Bench b;
  b.tips({{}});
  EXPECT_EQ(b.delivered(), "start a");
  b.record(1);
  b.record(3);
  b.record(1);
  b.record(3);
  b.record(2);
  EXPECT_EQ(b.delivered(), "1 3 2");
  EXPECT_EQ(b.core.stats().duplicates, 2U);
  EXPECT_EQ(b.position().cumulative, 3U);
}

TEST(ConsumerAnyOrder, AsksForAGapAtOnce) {
  Bench b;
  b.tips({{}});
  b.record(1);
  b.record(5);
  EXPECT_EQ(b.wants(), "2-4");
  b.record(7);
  EXPECT_EQ(b.wants(), "6-6");
  EXPECT_EQ(b.position().missing, (std::vector<SeqRange>{{2, 4}, {6, 6}}));
}

TEST(ConsumerAnyOrder, LearnsALostTailFromTheTip) {
  Bench b;
  b.tips({{}});
  b.record(1);
  b.tips({{.last = 3}});
  EXPECT_EQ(b.wants(), "2-3");
}

TEST(ConsumerAnyOrder, AsksAgainWhenNothingCameButOnlyAProducerThatIsHeard) {
  Bench b;
  b.tips({{.last = 3}});
  EXPECT_EQ(b.wants(), "1-3");
  b.pass(10s);
  EXPECT_EQ(b.wants(), "");  // nobody is there
  b.tips({{.last = 3}});
  EXPECT_EQ(b.wants(), "1-3");
  b.pass(500ms);
  b.tips({{.last = 3}});
  EXPECT_EQ(b.wants(), "");  // too soon
}

TEST(ConsumerAnyOrder, HoldsBoundedHolesAndAsksAgainForTheRest) {
  Bench b({.holes_max = 3});
  b.tips({{}});
  for (uint64_t seq = 2; seq <= 20; seq += 2) b.record(seq);
  EXPECT_EQ(b.delivered(), "start a 2 4 6");
  EXPECT_EQ(b.core.stats().stash_refused, 7U);
  EXPECT_LE(b.position().missing.size(), 3U);
  // All that was refused is asked for, and arrives.
  for (int round = 0; round < 10; ++round) {
    b.tips({{.last = 20}});
    b.pass(2s);
    for (const SeqRange& range : b.wanted()) {
      for (uint64_t seq = range.first; seq <= range.last; ++seq) b.record(seq);
    }
  }
  EXPECT_EQ(b.position().cumulative, 20U);
  EXPECT_EQ(b.core.stats().delivered, 20U);
}

TEST(ConsumerAnyOrder, AsksForAWindowAtATimeAndForMoreAsItArrives) {
  Bench b({.window_records = 100});
  b.tips({{.last = 1000}});
  EXPECT_EQ(b.wants(), "1-100");
  for (uint64_t seq = 1; seq <= 50; ++seq) b.record(seq);
  EXPECT_EQ(b.wants(), "");
  b.record(51);
  EXPECT_EQ(b.wants(), "101-151");
}

TEST(ConsumerAnyOrder, ClosesWhatIsLostOnlyWhereItIsMissing) {
  Bench b;
  b.tips({{.last = 5}});
  b.record(2);
  b.delivered();
  b.lost({{1, 3}, {4, 99}});  // 99 does not exist: nobody can lose it
  EXPECT_EQ(b.delivered(), "gap 1-1 (lost) gap 3-3 (lost) gap 4-5 (lost)");
  EXPECT_EQ(b.position().cumulative, 5U);
  b.record(3);
  EXPECT_EQ(b.delivered(), "");  // too late: it was announced
}

TEST(ConsumerAnyOrder, AnnouncesWhatTheSpoolDropped) {
  Bench b;
  b.tips({{.last = 3}});
  b.record(2);
  b.delivered();
  b.tips({{.last = 10, .base = 6}});
  EXPECT_EQ(b.delivered(), "gap 1-1 (dropped) gap 3-5 (dropped)");
  EXPECT_EQ(b.wants(), "6-10");
}

// --- where a group begins ------------------------------------------------------------------------

TEST(ConsumerBegins, AtTheBaseWithoutAGapWhenItIsNew) {
  for (ConsumerOptions options : {ConsumerOptions{}, in_order()}) {
    Bench b(options);
    b.tips({{.last = 100, .base = 91}});
    EXPECT_EQ(b.delivered(), "start a");
    EXPECT_EQ(b.wants(), "91-100");
  }
}

TEST(ConsumerBegins, WithAGapForWhatWasDroppedBeforeAnyoneReadIt) {
  Bench b;
  b.tips({{.last = 100, .base = 91, .dropped_through = 90}});
  EXPECT_EQ(b.delivered(), "start a gap 1-90 (dropped)");
}

TEST(ConsumerBegins, WhereItWasAddedToTheProducer) {
  Bench b;
  b.tips({{.last = 100, .base = 91, .dropped_through = 90, .start = 85}});
  EXPECT_EQ(b.delivered(), "start a gap 85-90 (dropped)");
}

TEST(ConsumerBegins, ALaterEpochOfAKnownProducerAtItsFirstRecord) {
  Bench b;
  b.tips({{.epoch = kA, .last = 1}});
  b.record(1);
  b.delivered();
  b.tips({{.epoch = kA, .last = 1}, {.epoch = kB, .last = 9, .base = 4}});
  EXPECT_EQ(b.delivered(), "start b gap 1-3 (dropped)");
}

TEST(ConsumerBegins, IgnoresRecordsOfEpochsThatNoTipHasListed) {
  Bench b;
  b.record(1);
  EXPECT_EQ(b.delivered(), "");
  b.tips({{.last = 1}});
  EXPECT_EQ(b.wants(), "1-1");
  EXPECT_EQ(b.core.stats().unlisted, 1U);
}

TEST(ConsumerBegins, WhereItsPositionsSayAndAcknowledgesThemAgain) {
  PositionSet restored;
  restored.set({"p", kA, 0}, {10, 12, {{11, 11}}, 1, false});
  Bench b({}, restored);
  b.record(13);
  EXPECT_EQ(b.delivered(), "13");
  b.tips({{.last = 13}});
  EXPECT_EQ(b.wants(), "11-11");
  ASSERT_TRUE(b.last_ack.has_value());
  ASSERT_EQ(b.last_ack->partitions.size(), 1U);
  EXPECT_EQ(b.last_ack->partitions[0].cumulative, 10U);
  EXPECT_EQ(b.last_ack->partitions[0].highest, 12U);
}

TEST(ConsumerBegins, AtOnlyItsPartitions) {
  Bench b({.partitions = {1, 3}});
  b.tips({{.last = 5}});
  b.record(1, kA, 0);
  b.record(1, kA, 3);
  ASSERT_EQ(b.core.stats().delivered, 1U);
  EXPECT_EQ(b.core.positions().size(), 2U);
  EXPECT_EQ(b.wants(), "");
}

TEST(ConsumerBegins, ListensToABoundedNumberOfProducers) {
  Bench b({.producers_max = 2});
  for (const char* name : {"p", "q", "r", "r"}) {
    b.core.on_tip(name, tip({{}}), b.now, b.out);
  }
  EXPECT_EQ(b.core.stats().producers_refused, 2U);
  EXPECT_FALSE(b.core.outstanding("r", b.now).has_value());
  EXPECT_TRUE(b.core.outstanding("q", b.now).has_value());
}

// --- in order ------------------------------------------------------------------------------------

TEST(ConsumerInOrder, WaitsForWhatIsMissing) {
  Bench b(in_order());
  b.tips({{}});
  b.record(2);
  b.record(3);
  EXPECT_EQ(b.delivered(), "start a");
  EXPECT_EQ(b.wants(), "1-1");
  b.record(1);
  EXPECT_EQ(b.delivered(), "1 2 3");
  EXPECT_EQ(b.position().highest, 3U);
}

TEST(ConsumerInOrder, GoesOnAfterWhatIsLost) {
  Bench b(in_order());
  b.tips({{.last = 4}});
  b.record(2);
  b.record(4);
  b.lost({{1, 1}});
  EXPECT_EQ(b.delivered(), "start a gap 1-1 (lost) 2");
  b.lost({{3, 3}});
  EXPECT_EQ(b.delivered(), "gap 3-3 (lost) 4");
}

TEST(ConsumerInOrder, StartsAnEpochWhenItsPredecessorIsRead) {
  Bench b(in_order());
  b.tips({{.epoch = kA, .last = 3}});
  b.record(1);
  b.tips({{.epoch = kA, .last = 3}, {.epoch = kB, .last = 1, .predecessor = kA}});
  b.record(1, kB);
  EXPECT_EQ(b.delivered(), "start a 1");
  EXPECT_EQ(b.wants(), "2-3");
  b.record(3);
  b.record(2);
  EXPECT_EQ(b.delivered(), "2 3 start b 1");
}

TEST(ConsumerInOrder, StartsAnEpochWhenItsPredecessorIsClosed) {
  Bench b(in_order());
  b.tips({{.epoch = kA, .last = 5}});
  b.record(1);
  b.record(4);
  b.tips({{.epoch = kB, .last = 0, .predecessor = kA}});
  // Only for what is missing: 4 was here.
  EXPECT_EQ(b.delivered(),
            "start a 1 gap 2-3 (epoch closed) 4 gap 5-5 (epoch closed) start b close a");
}

TEST(ConsumerInOrder, TakesNoLateRecordOfAnEpochItHasLeft) {
  // The producer lost seqs 3 and up of epoch A in a power cut; copies are still under way.
  Bench b(in_order());
  b.tips({{.epoch = kA, .last = 2}});
  b.record(1);
  b.record(2);
  b.tips({{.epoch = kA, .last = 2}, {.epoch = kB, .last = 0, .predecessor = kA}});
  b.record(3);
  EXPECT_EQ(b.delivered(), "start a 1 2 start b");
}

TEST(ConsumerInOrder, TakesNoneAfterARestartEitherThoughNoTipCameYet) {
  PositionSet restored;
  restored.set({"p", kA, 0}, {2, 2, {}, 1, false});
  restored.set({"p", kB, 0}, {5, 5, {}, 2, false});
  Bench b(in_order(), restored);
  b.record(3, kA);
  b.record(6, kB);
  EXPECT_EQ(b.delivered(), "6");
}

TEST(ConsumerInOrder, AsksAgainForTheLowestThoughOthersKeepComing) {
  // The replay of 1 was lost; with a full stash the others are refused and replayed for ever.
  Bench b({.order = Order::kInOrder, .window_records = 50, .stash_bytes = 10});
  b.tips({{.last = 40}});
  EXPECT_EQ(b.wants(), "1-16");
  for (int i = 0; i < 12; ++i) {
    b.pass(100ms);
    for (uint64_t seq = 2; seq <= 40; ++seq) b.record(seq);
    b.wants();
  }
  b.tips({{.last = 40}});
  std::vector<SeqRange> ranges = b.wanted();
  ASSERT_FALSE(ranges.empty());
  EXPECT_EQ(ranges[0].first, 1U);
}

TEST(ConsumerInOrder, KeepsABoundedStashAndAsksForTheRestAgain) {
  Bench b({.order = Order::kInOrder, .window_records = 50, .stash_bytes = 40});
  b.tips({{.last = 60}});
  for (uint64_t seq = 2; seq <= 60; ++seq) b.record(seq);
  ConsumerStats stats = b.core.stats();
  EXPECT_LE(stats.stash_bytes, 40U);
  EXPECT_GT(stats.stash_refused, 20U);
  for (int round = 0; round < 20; ++round) {
    b.pass(2s);
    b.tips({{.last = 60}});
    for (const SeqRange& range : b.wanted()) {
      for (uint64_t seq = range.first; seq <= range.last; ++seq) b.record(seq);
    }
  }
  EXPECT_EQ(b.position().cumulative, 60U);
  EXPECT_EQ(b.core.stats().stashed, 0U);
}

// --- epochs and tips -----------------------------------------------------------------------------

TEST(ConsumerEpochs, ClosesAnEpochThatIsNoLongerListedOnlyForWhatIsMissing) {
  Bench b;
  b.tips({{.epoch = kA, .last = 5}});
  b.record(2);
  b.record(4);
  b.delivered();
  b.tips({{.epoch = kB, .predecessor = kA}});
  EXPECT_EQ(b.delivered(),
            "gap 1-1 (epoch closed) gap 3-3 (epoch closed) gap 5-5 (epoch closed) start b close a");
  EXPECT_TRUE(b.position().closed);
}

TEST(ConsumerEpochs, IgnoresATipThatWasOvertaken) {
  Bench b;
  b.tips({{.epoch = kA, .last = 1}});
  b.tips({{.epoch = kA, .last = 1}, {.epoch = kB, .last = 4}});
  b.delivered();
  b.tips({{.epoch = kA, .last = 1}});  // would close b
  EXPECT_EQ(b.delivered(), "");
  EXPECT_EQ(b.core.stats().stale_tips, 1U);
  b.tips({{.epoch = kB, .last = 4}});  // closes a
  b.delivered();
  b.tips({{.epoch = kA, .last = 1}, {.epoch = kB, .last = 4}});  // late; a stays closed
  EXPECT_EQ(b.delivered(), "");
  b.record(1, kA);
  EXPECT_EQ(b.delivered(), "");
}

TEST(ConsumerEpochs, IgnoresATipOfAnEpochThatItOnlyKnowsAsAPredecessor) {
  Bench b;
  b.tips({{.epoch = kB, .predecessor = kA}});
  b.tips({{.epoch = kA, .last = 1}});
  EXPECT_EQ(b.core.stats().stale_tips, 1U);
  EXPECT_EQ(b.delivered(), "start b");
}

TEST(ConsumerEpochs, TellsWhichOfTwoSpoolsIsTheNewerByTheirClockWhileBothAreHeard) {
  Bench b;
  TipMessage old = tip({{.epoch = kA, .last = 1}});
  TipMessage fresh = tip({{.epoch = kB}});
  old.at = b.now.wall;
  fresh.at = b.now.wall + 1s;
  b.core.on_tip("p", fresh, b.now, b.out);
  b.core.on_tip("p", old, b.now, b.out);  // overtaken
  EXPECT_EQ(b.delivered(), "start b");
  b.pass(31s);
  b.core.on_tip("p", old, b.now, b.out);  // or a spool that was lost, and a clock set back
  EXPECT_EQ(b.delivered(), "start a close b");
}

TEST(ConsumerEpochs, AcknowledgesAClosedEpochThatItsProducerListsAgain) {
  Bench b;
  b.tips({{.epoch = kA, .last = 1}});
  b.tips({{.epoch = kB}});
  b.delivered();
  b.wants();
  b.pass(3s);
  b.last_ack.reset();
  b.tips({{.epoch = kA, .last = 9}, {.epoch = kB}});
  b.wants();
  ASSERT_TRUE(b.last_ack.has_value());
  EXPECT_EQ(b.last_ack->partitions.at(0).epoch, kA);
  EXPECT_EQ(b.last_ack->partitions.at(0).cumulative, 9U);
  EXPECT_EQ(b.delivered(), "");
}

TEST(ConsumerEpochs, RemembersABoundedNumberOfClosedOnes) {
  Bench b;
  for (uint64_t epoch = 1; epoch <= 50; ++epoch) b.tips({{.epoch = epoch, .last = 1}});
  PositionSet positions = b.core.positions();
  EXPECT_EQ(positions.size(), (kTombstonesMax + 1) * kPartitions);
}

TEST(ConsumerEpochs, RefusesATipThatListsTooManyOrOneTwice) {
  Bench b;
  std::vector<Listed> many;
  for (uint64_t i = 1; i <= kEpochsMax + 1; ++i) many.push_back({.epoch = i});
  b.tips(many);
  b.tips({{.epoch = kA}, {.epoch = kA}});
  b.tips({});
  EXPECT_EQ(b.core.stats().malformed, 3U);
  EXPECT_EQ(b.delivered(), "");
}

// --- acknowledging -------------------------------------------------------------------------------

TEST(ConsumerAcks, OnlyWhatIsDurableAndNotTooOften) {
  Bench b;
  b.tips({{}});
  b.wants();
  b.record(1);
  b.last_ack.reset();
  b.pass(1s);
  EXPECT_EQ(b.wants(), "");
  EXPECT_FALSE(b.last_ack.has_value());  // delivered, not durable
  b.make_durable();
  b.wants();
  ASSERT_TRUE(b.last_ack.has_value());
  EXPECT_EQ(b.last_ack->partitions.at(0).cumulative, 1U);
  b.last_ack.reset();
  b.record(2);
  b.make_durable();
  b.wants();
  EXPECT_FALSE(b.last_ack.has_value());  // within 100 ms of the last
  ASSERT_TRUE(b.core.next_wakeup().has_value());
  EXPECT_EQ(*b.core.next_wakeup(), b.now.mono + 100ms);
  b.pass(100ms);
  b.wants();
  EXPECT_EQ(b.last_ack->partitions.at(0).cumulative, 2U);
}

TEST(ConsumerAcks, RepeatsThemForAcknowledgementsGetLostToo) {
  Bench b;
  b.tips({{}});
  b.record(1);
  b.make_durable();
  b.wants();
  b.pass(1s);
  b.last_ack.reset();
  b.tips({{.last = 1}});
  b.wants();
  EXPECT_FALSE(b.last_ack.has_value());
  b.pass(1s);
  b.tips({{.last = 1}});
  b.wants();
  EXPECT_TRUE(b.last_ack.has_value());
}

TEST(ConsumerAcks, NeverNameMoreMissingRangesThanFit) {
  Bench b({.holes_max = 1000});
  b.tips({{}});
  for (uint64_t seq = 2; seq <= 400; seq += 2) b.record(seq);
  b.make_durable();
  b.wants();
  const PartitionAck& ack = b.last_ack->partitions.at(0);
  EXPECT_EQ(ack.missing.size(), kAckRangesPerMessage);
  EXPECT_EQ(ack.highest, ack.missing.back().last + 1);
}

TEST(ConsumerRestored, ToAnOlderPositionAsksAgainAndDeliversAgain) {
  Bench b;
  b.tips({{}});
  b.record(1);
  PositionSet older = b.core.positions();
  b.record(2);
  b.record(3);
  b.delivered();
  b.core.restore(older);
  b.tips({{.last = 3}});
  EXPECT_EQ(b.wants(), "2-3");
  b.record(2);
  EXPECT_EQ(b.delivered(), "2");
}

TEST(ConsumerPaused, TakesNothingAsksForNothingAndCatchesUpAfterwards) {
  Bench b;
  b.tips({{}});
  b.delivered();
  b.core.set_paused(true);
  b.record(1);
  b.tips({{.last = 2}});
  EXPECT_EQ(b.delivered(), "");
  EXPECT_EQ(b.wants(), "");
  EXPECT_EQ(b.core.outstanding("p", b.now)->records, 2U);
  b.core.set_paused(false);
  EXPECT_EQ(b.wants(), "1-2");
}

TEST(ConsumerOutstanding, TellsWhatIsMissingAndHowLongTheProducerIsSilent) {
  Bench b;
  EXPECT_FALSE(b.core.outstanding("p", b.now).has_value());
  b.tips({{.last = 5}});
  b.record(2);
  b.pass(7s);
  EXPECT_EQ(b.core.outstanding("p", b.now)->records, 4U);
  EXPECT_EQ(b.core.outstanding("p", b.now)->tip_age, 7s);
}

// --- larger things -------------------------------------------------------------------------------

class ConsumerThings : public ::testing::TestWithParam<Order> {
 protected:
  Bench b{{.order = GetParam()}};
  std::string whole = std::string(3 * kPartBytes, 'w');
  std::vector<PartView> parts = split(whole, 5);
};

TEST_P(ConsumerThings, TakeEffectWholeInWhateverOrderTheirPartsCome) {
  b.tips({{}});
  b.record(1);
  b.part(4, parts[2]);
  b.part(2, parts[0]);
  EXPECT_EQ(b.position().cumulative, 1U);  // a part is no effect
  b.part(3, parts[1]);
  EXPECT_EQ(b.delivered(), "start a 1 thing@4");
  EXPECT_EQ(b.position().cumulative, 4U);
  EXPECT_EQ(b.core.stats().stash_bytes, 0U);
}

TEST_P(ConsumerThings, AreAGapAsAWholeWhenAPartIsLost) {
  b.tips({{.last = 4}});
  b.part(1, parts[0]);
  b.part(3, parts[2]);
  b.lost({{2, 2}});
  b.record(4);
  std::string text = b.delivered();
  EXPECT_EQ(text.find("thing"), std::string::npos) << text;
  EXPECT_NE(text.find("broken parts"), std::string::npos) << text;
  EXPECT_EQ(b.position().cumulative, 4U);
  EXPECT_EQ(b.core.stats().gap_seqs, 3U);
}

TEST_P(ConsumerThings, AreAGapWhenAnotherRecordStandsInTheirPlace) {
  b.tips({{}});
  b.part(1, parts[0]);
  b.record(2);
  b.record(3);
  std::string text = b.delivered();
  EXPECT_NE(text.find("gap 1-1 (broken parts)"), std::string::npos) << text;
  EXPECT_EQ(b.position().cumulative, 3U);
}

TEST_P(ConsumerThings, AreAGapWhenTheirEpochEndedBeforeTheirLastPart) {
  b.tips({{.epoch = kA, .last = 2}});
  b.part(1, parts[0]);
  b.part(2, parts[1]);
  b.tips({{.epoch = kA, .last = 2}, {.epoch = kB, .predecessor = kA}});
  EXPECT_EQ(b.position().cumulative, 2U);
  EXPECT_EQ(b.core.stats().gap_seqs, 2U);
  EXPECT_EQ(b.core.stats().stashed, 0U);
}

TEST_P(ConsumerThings, AreAGapWhenTheirDigestIsWrong) {
  b.tips({{}});
  parts[1].bytes = parts[1].bytes.substr(1);
  for (uint64_t i = 0; i < 3; ++i) b.part(1 + i, parts[i]);
  EXPECT_EQ(b.delivered(), "start a gap 1-3 (broken parts)");
  EXPECT_EQ(b.core.stats().broken_parts, 1U);
}

TEST_P(ConsumerThings, WithImpossiblePartsAreAGap) {
  b.tips({{}});
  PartView bad = parts[0];
  bad.info.count = kPartsMax + 1;
  b.part(1, bad);
  bad.info = {1, 2, 2, 0};  // index beyond count
  b.part(2, bad);
  bad.info = {1, 9, 12, 0};  // would begin before seq 1
  b.part(3, bad);
  EXPECT_EQ(b.position().cumulative, 3U);
  EXPECT_EQ(b.core.stats().gap_seqs, 3U);
}

TEST_P(ConsumerThings, AreNotLostWhenTheStashIsFull) {
  Bench small({.order = GetParam(), .stash_bytes = kPartBytes});
  small.tips({{.last = 6}});
  std::vector<PartView> second = split(whole, 6);
  for (int round = 0; round < 20; ++round) {
    small.pass(2s);
    small.tips({{.last = 6}});
    for (const SeqRange& range : small.wanted()) {
      for (uint64_t seq = range.last; seq >= range.first; --seq) {  // the awkward way round
        small.part(seq, seq <= 3 ? parts[seq - 1] : second[seq - 4]);
      }
    }
  }
  std::string text = small.delivered();
  EXPECT_TRUE(text == "start a thing@3 thing@6" ||
              (GetParam() == Order::kAny && text == "start a thing@6 thing@3"))
      << text;
}

INSTANTIATE_TEST_SUITE_P(BothOrders, ConsumerThings,
                         ::testing::Values(Order::kAny, Order::kInOrder));

// --- observers -----------------------------------------------------------------------------------

TEST(Observer, BeginsWithWhatComesNext) {
  Bench b(observer());
  b.tips({{.last = 50, .base = 10}});
  b.record(51);
  EXPECT_EQ(b.delivered(), "start a 51");
}

TEST(Observer, IsToldOfAGapAndNeverAsks) {
  Bench b(observer());
  b.tips({{.last = 1}});
  b.record(2);
  b.record(5);
  EXPECT_EQ(b.delivered(), "start a 2 gap 3-4 (observed) 5");
  b.tips({{.last = 7}});
  EXPECT_EQ(b.delivered(), "gap 6-7 (observed)");
  b.record(6);
  EXPECT_EQ(b.delivered(), "");
  b.make_durable();
  b.pass(10s);
  EXPECT_EQ(b.wants(), "");
  EXPECT_FALSE(b.last_ack.has_value());
}

TEST(Observer, SeesALaterEpochFromItsFirstRecord) {
  Bench b(observer());
  b.tips({{.epoch = kA, .last = 3}});
  b.tips({{.epoch = kA, .last = 3}, {.epoch = kB, .predecessor = kA}});
  b.record(1, kB);
  EXPECT_EQ(b.delivered(), "start a start b 1");
  b.tips({{.epoch = kC, .predecessor = kB}});
  EXPECT_EQ(b.delivered(), "start c close a close b");
}

}  // namespace
}  // namespace gema::stream
