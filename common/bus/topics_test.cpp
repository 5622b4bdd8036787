#include "common/bus/topics.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/random.h"

namespace gema::bus {
namespace {

struct Row {
  std::string topic;
  ParsedTopic parsed;
};

TEST(Topics, EveryBuilderIsReadBackByTheParser) {
  const Row rows[] = {
      {live_topic("ping", "prober-1"), {TopicKind::kLive, "ping", "", "prober-1", ""}},
      {tip_topic("ping", "prober-1"), {TopicKind::kTip, "ping", "", "prober-1", ""}},
      {replay_topic("ping", "recorder", "prober-1"),
       {TopicKind::kReplay, "ping", "recorder", "prober-1", ""}},
      {ack_topic("ping", "recorder", "prober-1"),
       {TopicKind::kAck, "ping", "recorder", "prober-1", ""}},
      {want_topic("ping", "timeout-tracker", "prober-1"),
       {TopicKind::kWant, "ping", "timeout-tracker", "prober-1", ""}},
      {assign_topic("prober-2"), {TopicKind::kAssign, "", "", "", "prober-2"}},
      {catalogue_topic(), {TopicKind::kCatalogue, "", "", "", ""}},
      {heartbeat_topic("gateway"), {TopicKind::kHeartbeat, "", "", "", "gateway"}},
      {call_topic("inventory"), {TopicKind::kCall, "", "", "", "inventory"}},
      {reply_topic("gateway"), {TopicKind::kReply, "", "", "", "gateway"}},
  };
  for (const Row& row : rows) {
    const auto parsed = parse_topic(std::string_view(row.topic));
    ASSERT_TRUE(parsed) << row.topic;
    EXPECT_EQ(*parsed, row.parsed) << row.topic;
    EXPECT_EQ(row.topic.back(), '/');
  }
}

TEST(Topics, TheWireFormsAreFixed) {
  EXPECT_EQ(live_topic("ping", "prober-1"), "live/ping/prober-1/");
  EXPECT_EQ(ack_topic("ping", "recorder", "prober-1"), "ack/ping/recorder/prober-1/");
  EXPECT_EQ(replay_prefix("ping", "recorder"), "replay/ping/recorder/");
  EXPECT_EQ(live_prefix("ping"), "live/ping/");
  EXPECT_EQ(tip_prefix("ping"), "tip/ping/");
  EXPECT_EQ(heartbeat_prefix(), "heartbeat/");
  EXPECT_EQ(catalogue_topic(), "catalogue/");
}

TEST(Topics, WhatIsNotATopicToTheLetterIsNone) {
  for (const std::string_view bad : {"",
                                     "/",
                                     "live",
                                     "live/",
                                     "live/ping/",
                                     "live/ping/prober-1",
                                     "live/ping/prober-1//",
                                     "live//prober-1/",
                                     "live/ping/prober-1/x/",
                                     "Live/ping/prober-1/",
                                     "live/ping/Prober/",
                                     "live/ping/-x/",
                                     "ack/ping/recorder/",
                                     "ack/ping/recorder/p/x/",
                                     "catalogue/x/",
                                     "catalogue",
                                     "assign/",
                                     "shout/x/",
                                     "call/a b/",
                                     "call/a.b/",
                                     " call/a/",
                                     "call/a/ "}) {
    EXPECT_FALSE(parse_topic(bad)) << bad;
  }
  const std::string long_name(64, 'a');
  EXPECT_FALSE(is_valid_name(long_name));
  EXPECT_TRUE(is_valid_name(std::string_view(long_name).substr(1)));
  EXPECT_FALSE(parse_topic(std::string_view("call/a\0b/", 9)));
}

TEST(Topics, MutilatedTopicsNeverParseIntoInvalidNames) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(seed);
  Random random(seed);
  const std::string whole = want_topic("ping", "timeout-tracker", "prober-1");
  for (int i = 0; i < 20000; ++i) {
    std::string text = whole;
    for (uint64_t n = random.below(3) + 1; n > 0; --n) {
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    }
    text.resize(random.below(text.size() + 1));
    const auto parsed = parse_topic(std::string_view(text));
    if (!parsed) continue;
    EXPECT_TRUE(is_valid_name(parsed->stream) || is_valid_name(parsed->process) ||
                parsed->kind == TopicKind::kCatalogue);
    EXPECT_EQ(text.back(), '/');
  }
}

}  // namespace
}  // namespace gema::bus
