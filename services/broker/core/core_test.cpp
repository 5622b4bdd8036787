#include <gtest/gtest.h>

#include "services/broker/core/connections.h"
#include "services/broker/core/rights.h"

namespace gema::broker {
namespace {

Refusal may(const Client& client, std::string_view topic) {
  const auto parsed = bus::parse_topic(topic);
  return parsed ? may_publish(client, *parsed) : Refusal::kNotATopic;
}

Client client(std::string_view name) {
  return *preset(kind_of(name), name);
}

TEST(Rights, EachKindPublishesWhatItsPartNeedsAndNothingElse) {
  struct Row {
    const char* name;
    const char* topic;
    Refusal expected;
  };
  const Row rows[] = {
      {"prober-1", "live/ping/prober-1/", Refusal::kNone},
      {"prober-1", "tip/ping/prober-1/", Refusal::kNone},
      {"prober-1", "replay/ping/recorder/prober-1/", Refusal::kNone},
      {"prober-1", "heartbeat/prober-1/", Refusal::kNone},
      {"prober-1", "reply/gateway/", Refusal::kNone},
      {"prober-1", "call/prober-1/", Refusal::kNone},
      {"prober-1", "live/ping/prober-2/", Refusal::kNotItsName},
      {"prober-1", "tip/ping/prober-2/", Refusal::kNotItsName},
      {"prober-1", "replay/ping/recorder/prober-2/", Refusal::kNotItsName},
      {"prober-1", "live/transitions/prober-1/", Refusal::kNotItsStream},
      {"prober-1", "heartbeat/inventory/", Refusal::kNotItsName},
      {"prober-1", "ack/ping/recorder/prober-1/", Refusal::kNotItsGroup},
      {"prober-1", "want/ping/recorder/prober-1/", Refusal::kNotItsGroup},
      {"prober-1", "call/inventory/", Refusal::kMayNotCall},
      {"prober-1", "call/prober-2/", Refusal::kMayNotCall},
      {"prober-1", "catalogue/", Refusal::kMayNotPublish},
      {"prober-1", "assign/prober-1/", Refusal::kMayNotPublish},
      {"recorder", "ack/ping/recorder/prober-1/", Refusal::kNone},
      {"recorder", "want/transitions/recorder/timeout-tracker/", Refusal::kNone},
      {"recorder", "ack/ping/timeout-tracker/prober-1/", Refusal::kNotItsGroup},
      {"recorder", "live/ping/recorder/", Refusal::kNotItsStream},
      {"recorder", "call/prober-1/", Refusal::kMayNotCall},
      {"timeout-tracker", "live/transitions/timeout-tracker/", Refusal::kNone},
      {"timeout-tracker", "ack/ping/timeout-tracker/prober-1/", Refusal::kNone},
      {"timeout-tracker", "live/ping/timeout-tracker/", Refusal::kNotItsStream},
      {"inventory", "catalogue/", Refusal::kNone},
      {"inventory", "assign/prober-1/", Refusal::kNone},
      {"inventory", "call/prober-1/", Refusal::kNone},
      {"inventory", "call/recorder/", Refusal::kMayNotCall},
      {"gateway", "call/inventory/", Refusal::kNone},
      {"gateway", "catalogue/", Refusal::kMayNotPublish},
      {"gateway", "ack/ping/recorder/prober-1/", Refusal::kNotItsGroup},
      {"cli", "call/timeout-tracker/", Refusal::kNone},
      {"cli", "reply/gateway/", Refusal::kMayNotAnswer},
      {"cli", "live/ping/prober-1", Refusal::kNotATopic},
      {"cli", "", Refusal::kNotATopic},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(may(client(row.name), row.topic), row.expected)
        << row.name << " on " << row.topic << ": " << to_string(may(client(row.name), row.topic));
  }
}

TEST(Rights, TheEdgeSeesOnlyWhatProbersNeed) {
  for (const std::string_view topic :
       {"ack/ping/recorder/prober-1/", "want/ping/recorder/prober-1/", "assign/prober-1/",
        "call/prober-1/"}) {
    EXPECT_TRUE(edge_sees(*bus::parse_topic(topic))) << topic;
  }
  for (const std::string_view topic :
       {"live/ping/prober-1/", "tip/ping/prober-1/", "replay/ping/recorder/prober-1/",
        "ack/transitions/recorder/timeout-tracker/", "catalogue/", "heartbeat/inventory/",
        "call/inventory/", "call/prober/", "reply/gateway/", "reply/prober-1/"}) {
    EXPECT_FALSE(edge_sees(*bus::parse_topic(topic))) << topic;
  }
}

TEST(Rights, AProberMustBeNamedAsTheEdgeKnowsIt) {
  EXPECT_TRUE(preset("prober", "prober-bandung"));
  EXPECT_FALSE(preset("prober", "bandung"));
  EXPECT_FALSE(preset("prober", "prober/1"));
  EXPECT_FALSE(preset("emperor", "emperor"));
  for (const std::string& kind : kinds()) EXPECT_TRUE(preset(kind, kind + "-1")) << kind;
}

TEST(Rights, AKindIsTheNameWithoutItsNumber) {
  EXPECT_EQ(kind_of("prober-12"), "prober");
  EXPECT_EQ(kind_of("timeout-tracker"), "timeout-tracker");
  EXPECT_EQ(kind_of("timeout-tracker-2"), "timeout-tracker");
  EXPECT_EQ(kind_of("recorder"), "recorder");
  EXPECT_EQ(kind_of("recorder-"), "recorder-");
}

constexpr ConnectionLimits kSmall{
    .connections_max = 2, .subscriptions_max = 3, .subscription_bytes_max = 100};

TEST(Connections, TheOneTooManyIsCut) {
  Connections connections(kSmall);
  EXPECT_EQ(connections.on_accepted(5), Verdict::kKeep);
  EXPECT_EQ(connections.on_accepted(6), Verdict::kKeep);
  EXPECT_EQ(connections.on_accepted(7), Verdict::kTooManyConnections);
  connections.on_closed(7);
  connections.on_closed(5);
  EXPECT_EQ(connections.on_accepted(5), Verdict::kKeep);
}

TEST(Connections, SubscriptionsAreBoundByNumberAndByBytes) {
  Connections connections(kSmall);
  connections.on_accepted(5);
  connections.on_accepted(6);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(connections.on_subscription(5, "k", 10), Verdict::kKeep);
  EXPECT_EQ(connections.on_subscription(5, "k", 10), Verdict::kTooManySubscriptions);
  EXPECT_EQ(connections.on_subscription(6, "k", 100), Verdict::kKeep);
  EXPECT_EQ(connections.on_subscription(6, "k", 1), Verdict::kTooManySubscriptions);
}

TEST(Connections, AReusedDescriptorBeginsANewAccount) {
  Connections connections(kSmall);
  connections.on_accepted(5);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(connections.on_subscription(5, "k", 1), Verdict::kKeep);
  connections.on_closed(5);
  EXPECT_EQ(connections.on_subscription(5, "k", 1), Verdict::kKeep) << "closed: nothing to cut";
  connections.on_accepted(5);
  EXPECT_EQ(connections.on_subscription(5, "k", 1), Verdict::kKeep);
}

TEST(Connections, FindsThoseOfARevokedKey) {
  Connections connections(
      {.connections_max = 9, .subscriptions_max = 9, .subscription_bytes_max = 9});
  for (const int fd : {5, 6, 7, 8}) connections.on_accepted(fd);
  connections.on_subscription(5, "old", 1);
  connections.on_subscription(6, "new", 1);
  connections.on_subscription(7, "old", 1);
  const auto found = connections.of_keys([](const std::string& key) { return key == "old"; });
  EXPECT_EQ(found, (std::vector<int>{5, 7}));
  EXPECT_EQ(connections.all().size(), 4u);
}

}  // namespace
}  // namespace gema::broker
