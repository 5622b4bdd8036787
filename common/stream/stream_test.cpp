// Producer and Consumer together, with their codec, over a spool of real files.
#include <gtest/gtest.h>

#include <filesystem>

#include "common/bus/limits.h"
#include "common/stream/consumer.h"
#include "common/stream/core/limits.h"
#include "common/stream/producer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::stream {
namespace {

using ::gema::testing::TempDir;

Now at(Duration since) {
  return Now{MonoTime{} + 100s + since, WallTime{} + 1'700'000'000s + since};
}

struct Pair {
  TempDir dir;
  std::unique_ptr<Producer> producer;
  Consumer consumer{ConsumerOptions{.stream = "ping", .group = "recorder"}, {}};
  std::vector<Delivery> got;

  explicit Pair(ProducerOptions options = {}) {
    options.dir = dir.path() / "spool";
    options.stream = "ping";
    options.name = "prober-1";
    options.groups = {"recorder"};
    auto opened = Producer::open(options, at(0s));
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    producer = std::move(*opened);
  }
  // One turn of both loops; `lose` swallows what the producer sends.
  void turn(Now now, bool lose = false) {
    producer->tick(now);
    for (const Outgoing& m : producer->take_outgoing(now)) {
      if (!lose) consumer.on_message(m.topic, m.payload, now, got);
    }
    consumer.mark_durable(consumer.positions());
    for (const Outgoing& m : consumer.take_outgoing(now)) {
      producer->on_message(m.topic, m.payload, now);
    }
  }
  std::vector<std::string> payloads() const {
    std::vector<std::string> out;
    for (const Delivery& d : got) {
      if (d.kind == Delivery::kRecord) out.push_back(d.payload);
    }
    return out;
  }
};

TEST(Stream, WhatIsAppendedArrivesOnceAndIsAcknowledged) {
  Pair pair;
  pair.turn(at(0s));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(pair.producer->append(static_cast<uint32_t>(i) % 8, std::to_string(i), at(1s)));
  }
  pair.turn(at(1s));
  pair.turn(at(2s));
  EXPECT_EQ(pair.payloads().size(), 100U);
  EXPECT_EQ(pair.producer->stats().unacknowledged, 0U);
  EXPECT_EQ(pair.consumer.stats().duplicates, 0U);
  EXPECT_EQ(pair.consumer.stats().wanted, 0U);
}

TEST(Stream, TellsWhenTheDiskHasWhatWasAppended) {
  Pair pair;
  const auto synced_soon = [&](const PositionSet& covered, Duration since) {
    return ::gema::testing::wait_until([&] {
      pair.turn(at(since));
      return pair.producer->synced(covered);
    });
  };
  ASSERT_TRUE(pair.producer->append(3, "a", at(1s)));
  const PositionSet first = pair.producer->own_positions();
  pair.producer->tick(at(1s + 50ms));
  EXPECT_FALSE(pair.producer->synced(first));  // a sync begins 100 ms after the first write
  EXPECT_TRUE(synced_soon(first, 1s + 100ms));
  ASSERT_TRUE(pair.producer->append(3, "b", at(2s)));
  EXPECT_TRUE(pair.producer->synced(first));
  EXPECT_FALSE(pair.producer->synced(pair.producer->own_positions()));
  // As after kill -9: what was written is not known to be synced.
  pair.producer.reset();
  auto opened = Producer::open({.dir = pair.dir.path() / "spool",
                                .stream = "ping",
                                .name = "prober-1",
                                .groups = {"recorder"}},
                               at(3s));
  ASSERT_TRUE(opened.has_value());
  pair.producer = std::move(*opened);
  const PositionSet second = pair.producer->own_positions();
  EXPECT_FALSE(pair.producer->synced(second));
  EXPECT_TRUE(synced_soon(second, 3s));
}

TEST(Stream, WhatTheBusLostIsReplayed) {
  Pair pair;
  pair.turn(at(0s));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(pair.producer->append(static_cast<uint32_t>(i) % 8, std::to_string(i), at(1s)));
  }
  pair.turn(at(1s), true);
  for (int k = 0; k < 50; ++k) pair.turn(at(2s + k * 20ms));
  EXPECT_EQ(pair.payloads().size(), 100U);
  EXPECT_EQ(pair.producer->stats().replayed, 100U);
  EXPECT_EQ(pair.consumer.stats().gap_seqs, 0U);
}

TEST(Stream, ALargerThingArrivesWhole) {
  Pair pair;
  pair.turn(at(0s));
  std::string whole(1'000'000, 'x');
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<char>(i * 7 + i / 256);
  ASSERT_TRUE(pair.producer->append_large(3, whole, at(1s)));
  ASSERT_TRUE(pair.producer->append(3, "after", at(1s)));
  pair.turn(at(1s));
  ASSERT_EQ(pair.payloads().size(), 2U);
  auto texts = pair.payloads();
  EXPECT_TRUE(texts[0] == whole || texts[1] == whole);
}

TEST(Stream, AMessageMustBeOfTheProducerAndStreamItsTopicSays) {
  Pair pair;
  ASSERT_TRUE(pair.producer->append(0, "x", at(0s)));
  std::vector<Outgoing> messages = pair.producer->take_outgoing(at(0s));
  ASSERT_EQ(messages.size(), 2U);  // the tip of the epoch, the record
  for (const Outgoing& m : messages) {
    std::string topic = m.topic;
    topic.replace(topic.find("prober-1"), 8, "prober-2");
    pair.consumer.on_message(topic, m.payload, at(0s), pair.got);
    topic.replace(topic.find("ping"), 4, "pong");
    pair.consumer.on_message(topic, m.payload, at(0s), pair.got);  // not our stream: not ours
    pair.consumer.on_message(m.topic, "garbage", at(0s), pair.got);
    pair.consumer.on_message("neither/a/topic", m.payload, at(0s), pair.got);
  }
  EXPECT_TRUE(pair.got.empty());
  EXPECT_EQ(pair.consumer.stats().foreign, 2U);
  EXPECT_EQ(pair.consumer.stats().malformed, 2U);
  EXPECT_TRUE(pair.consumer.positions().empty());
}

TEST(Stream, AProducerTakesOnlyWhatIsMeantForIt) {
  Pair pair;
  pair.turn(at(0s));
  ASSERT_TRUE(pair.producer->append(0, "x", at(0s)));
  pair.producer->take_outgoing(at(0s));
  Producer& p = *pair.producer;
  p.on_message("ack/ping/recorder/prober-1/", "garbage", at(0s));
  p.on_message("want/ping/recorder/prober-1/", "garbage", at(0s));
  EXPECT_EQ(p.stats().messages_refused, 2U);
  p.on_message("want/ping/recorder/prober-2/", "garbage", at(0s));  // another's
  p.on_message("live/ping/prober-1/", "garbage", at(0s));
  EXPECT_EQ(p.stats().messages_refused, 2U);
  EXPECT_EQ(p.subscriptions(), (std::vector<std::string>{"ack/ping/recorder/prober-1/",
                                                         "want/ping/recorder/prober-1/"}));
  EXPECT_EQ(pair.consumer.subscriptions(),
            (std::vector<std::string>{"live/ping/", "tip/ping/", "replay/ping/recorder/"}));
}

TEST(Stream, AQuarantinedRecordMovesThePositionIsAcknowledgedAndCounted) {
  Pair pair;
  pair.turn(at(0s));
  ASSERT_TRUE(pair.producer->append(0, "no ping batch at all", at(1s)));
  pair.turn(at(1s));
  ASSERT_EQ(pair.payloads().size(), 1U);
  pair.consumer.note_quarantined();  // its owner could not read it
  pair.turn(at(2s));
  EXPECT_EQ(pair.consumer.stats().quarantined, 1U);
  EXPECT_EQ(pair.producer->stats().unacknowledged, 0U);
  EXPECT_TRUE(pair.consumer.positions().covers(pair.got.back().key));
}

TEST(Stream, TheLargestRecordFitsTheBus) {
  Pair pair;
  pair.turn(at(0s));
  ASSERT_TRUE(pair.producer->append(7, std::string(kRecordBytesMax, 'x'), at(1s)));
  for (const Outgoing& m : pair.producer->take_outgoing(at(1s))) {
    EXPECT_LE(m.topic.size() + 1 + m.payload.size(), bus::kFrameBytesMax);
  }
}

TEST(Stream, SurvivesARestartOfEitherSide) {
  Pair pair;
  pair.turn(at(0s));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(pair.producer->append(1, std::to_string(i), at(1s)));
  pair.turn(at(1s));
  Result<PositionSet> stored = PositionSet::parse(pair.consumer.positions().serialise());
  ASSERT_TRUE(stored.has_value());
  pair.consumer = Consumer({.stream = "ping", .group = "recorder"}, *stored);
  for (int i = 10; i < 20; ++i) ASSERT_TRUE(pair.producer->append(1, std::to_string(i), at(2s)));
  pair.turn(at(2s), true);  // nobody hears it
  pair.producer.reset();    // kill -9
  ProducerOptions options;
  options.dir = pair.dir.path() / "spool";
  options.stream = "ping";
  options.name = "prober-1";
  options.groups = {"recorder"};
  pair.producer = std::move(*Producer::open(options, at(3s)));
  for (int k = 0; k < 50; ++k) pair.turn(at(3s + k * 20ms));
  std::vector<std::string> texts = pair.payloads();
  ASSERT_EQ(texts.size(), 20U);
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(texts[i], std::to_string(i));
}

}  // namespace
}  // namespace gema::stream
