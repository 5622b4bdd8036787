// Client, calls and heartbeat against a real broker.
#include <gtest/gtest.h>

#include "common/bus/calls.h"
#include "common/bus/heartbeat.h"
#include "common/bus/limits.h"
#include "common/bus/testing/broker_process.h"
#include "common/bus/topics.h"
#include "common/runtime/clock.h"

namespace gema::bus::testing {
namespace {

TEST(BusClient, CarriesAnyPayloadOverIpcAndTcp) {
  for (const bool tcp : {false, true}) {
    BrokerProcess broker({.tcp = tcp});
    Peer prober(broker, "prober-1");
    Peer recorder(broker, "recorder");
    ASSERT_TRUE(prober.connect() && recorder.connect());
    EXPECT_EQ(prober.client().why_not_connected(), "");
    ASSERT_TRUE(wait_for_flow(prober, recorder));
    recorder.client().subscribe(live_prefix("ping"));
    ASSERT_TRUE(wait_for_flow(prober, recorder));

    const std::string topic = live_topic("ping", "prober-1");
    const std::string largest(kFrameBytesMax - topic.size() - 1, '\0');
    const std::string payloads[] = {"", std::string("\0a\0", 3), std::string(4096, 'x'), largest};
    for (const std::string& payload : payloads) {
      ASSERT_TRUE(prober.client().publish(topic, payload));
    }
    ASSERT_TRUE(turn_until({&prober, &recorder}, [&] { return recorder.got.size() >= 4; }));
    ASSERT_EQ(recorder.got.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(recorder.got[i].topic, topic);
      EXPECT_TRUE(recorder.got[i].payload == payloads[i]) << i;
    }
  }
}

TEST(BusClient, RefusesToPublishWhatTheBusCannotCarry) {
  BrokerProcess broker;
  Peer prober(broker, "prober-1");
  BusClient& client = prober.client();
  const std::string topic = live_topic("ping", "prober-1");
  EXPECT_FALSE(client.publish(topic, std::string(kFrameBytesMax - topic.size(), 'x')));
  EXPECT_FALSE(client.publish("nonsense", "x"));
  EXPECT_FALSE(client.publish("", ""));
  EXPECT_EQ(client.stats().dropped_invalid, 3u);
  EXPECT_EQ(client.stats().published, 0u);
}

TEST(BusClient, NeverBlocksAndCountsWhatItDropsWhileTheBrokerIsAway) {
  BrokerProcess broker;
  Peer prober(broker, "prober-1");
  ASSERT_TRUE(prober.connect());
  broker.kill9();
  ASSERT_TRUE(turn_until({&prober}, [&] { return !prober.client().connected(); }));
  EXPECT_NE(prober.client().why_not_connected(), "");
  int taken = 0;
  for (int i = 0; i < 10 * kClientSendQueueMax; ++i) {
    taken += prober.client().publish(live_topic("ping", "prober-1"), "x");
  }
  // libzmq's high-water mark is not exact (it adds what its own lanes hold).
  EXPECT_LE(taken, 2 * kClientSendQueueMax);
  EXPECT_EQ(prober.client().stats().dropped_full,
            static_cast<uint64_t>(10 * kClientSendQueueMax - taken));
}

TEST(BusClient, ComesBackByItselfWhenTheBrokerWasKilled) {
  BrokerProcess broker({.tcp = true});
  Peer prober(broker, "prober-1");
  Peer recorder(broker, "recorder");
  recorder.client().subscribe(live_prefix("ping"));
  ASSERT_TRUE(prober.connect() && recorder.connect());
  ASSERT_TRUE(wait_for_flow(prober, recorder));
  for (int round = 0; round < 3; ++round) {
    broker.kill9();
    ASSERT_TRUE(turn_until({&prober, &recorder}, [&] {
      return !prober.client().connected() && !recorder.client().connected();
    }));
    broker.start();
    ASSERT_TRUE(wait_for_flow(prober, recorder)) << "round " << round;
    prober.client().publish(live_topic("ping", "prober-1"), "again");
    ASSERT_TRUE(turn_until({&prober, &recorder}, [&] { return !recorder.got.empty(); }));
  }
  EXPECT_EQ(prober.client().stats().renewals, 0u) << "libzmq does this alone";
}

TEST(BusClient, ReadsTheKeysAgainWhenTheBrokerHasNewOnes) {
  BrokerProcess broker({.tcp = true});
  Peer prober(broker, "prober-1");
  Peer recorder(broker, "recorder");
  ASSERT_TRUE(prober.connect() && recorder.connect());
  broker.kill9();
  for (const char* name : {"broker.key", "broker.pub", "prober-1.key", "prober-1.pub"}) {
    std::filesystem::remove(broker.keys_dir() / name);
  }
  ASSERT_EQ(broker.make_keys({"--client", "prober-1"}), 0);
  broker.start();
  EXPECT_TRUE(wait_for_flow(prober, recorder)) << prober.client().why_not_connected();
  EXPECT_GE(prober.client().stats().renewals, 1u);
}

TEST(BusClient, StartsBeforeTheBrokerAndWithoutKeysSaysSo) {
  BrokerProcess broker;
  broker.kill9();
  Peer prober(broker, "prober-1");
  Peer recorder(broker, "recorder");
  prober.turn();
  EXPECT_FALSE(prober.client().connected());
  broker.start();
  EXPECT_TRUE(wait_for_flow(prober, recorder));

  auto none = BusClient::open(broker.client_options("nobody"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::kBadInput);
  EXPECT_NE(none.error().message.find("nobody.key"), std::string::npos);
  auto options = broker.client_options("recorder");
  options.ingress = "carrier-pigeon://loft";
  auto bad = BusClient::open(options);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("carrier-pigeon"), std::string::npos);
}

TEST(BusClient, HearsItsOwnEchoWhenNobodyElseSpeaksSoThatSilenceMeansSomething) {
  // With the clock turned forward by hand: six seconds of silence bring an echo, not a renewal.
  BrokerProcess broker;
  Peer prober(broker, "prober-1");
  ASSERT_TRUE(prober.connect());
  BusClient& client = prober.client();
  const double before = broker.metric("gema_broker_messages_total{kind=\"call\"}");
  Now now = runtime::read_clock();
  std::string topic;
  std::string payload;
  for (int i = 1; i <= 4; ++i) {
    client.tick(now);
    now.mono += kEchoAfter + 1s;
    client.tick(now);
    const uint64_t heard = client.stats().echoes;
    ASSERT_TRUE(turn_until({}, [&] {
      EXPECT_FALSE(client.receive(topic, payload)) << "the echo is not for the user";
      return client.stats().echoes > heard;
    }));
    EXPECT_EQ(broker.metric("gema_broker_messages_total{kind=\"call\"}"), before + i);
  }
  EXPECT_EQ(client.stats().renewals, 0u);
  // A broker that is stopped looks connected. After 20 s the client opens new sockets.
  broker.pause();
  for (int i = 0; i < 5; ++i) {
    now.mono += kEchoAfter;
    client.tick(now);
  }
  EXPECT_GT(client.stats().renewals, 0u);
  broker.resume();
  Peer recorder(broker, "recorder");
  EXPECT_TRUE(wait_for_flow(prober, recorder));
}

TEST(Heartbeat, IsPublishedEachSecondWithWhatTheProcessAdds) {
  BrokerProcess broker;
  Peer prober(broker, "prober-1");
  Peer inventory(broker, "inventory");
  ASSERT_TRUE(wait_for_flow(prober, inventory));
  inventory.client().subscribe(heartbeat_topic("prober-1"));
  ASSERT_TRUE(wait_for_flow(inventory, inventory));
  inventory.client().subscribe(heartbeat_topic("prober-1"));

  Now now = runtime::read_clock();
  Heartbeat heartbeat(prober.client(), "prober", now,
                      [](v1::Heartbeat& message) { message.set_location("default"); });
  heartbeat.tick(now);
  EXPECT_EQ(heartbeat.tick(now), now.mono + 1s) << "not twice at once";
  now.mono += 10s;
  heartbeat.tick(now);
  EXPECT_EQ(heartbeat.tick(now), now.mono + 1s) << "no burst after a pause";
  EXPECT_EQ(prober.client().stats().dropped_full, 0u);
  ASSERT_TRUE(turn_until({&prober, &inventory}, [&] { return inventory.got.size() >= 2; }));
  v1::Heartbeat got;
  ASSERT_TRUE(got.ParseFromString(inventory.got.back().payload));
  EXPECT_EQ(got.process(), "prober-1");
  EXPECT_EQ(got.kind(), "prober");
  EXPECT_EQ(got.location(), "default");
  EXPECT_EQ(got.at_us(), unix_us(now.wall));
}

// Caller and server over a real broker.
TEST(Calls, TravelOverTheBrokerInPartsAndAcrossItsRestart) {
  BrokerProcess broker;
  Peer gateway(broker, "gateway");
  Peer tracker(broker, "timeout-tracker");
  Caller caller(gateway.client(), "gateway");
  CallServer server(tracker.client(), "timeout-tracker");
  ASSERT_TRUE(wait_for_flow(gateway, tracker) && wait_for_flow(tracker, gateway));
  int done = 0;
  const std::string large(10 * 1024 * 1024, 's');
  server.handle("state.snapshot", [&](std::string, Responder r) {
    ++done;
    r.reply(large);
  });
  const auto turn = [&](Result<std::string>& result) {
    return turn_until({&gateway, &tracker}, [&] {
      const Now now = runtime::read_clock();
      for (const Message& m : gateway.got) caller.on_message(m.topic, m.payload, now);
      for (const Message& m : tracker.got) server.on_message(m.topic, m.payload, now);
      gateway.got.clear();
      tracker.got.clear();
      caller.tick(now);
      server.tick(now);
      return caller.open_calls() == 0 && (result || result.error().message != "open");
    });
  };
  Result<std::string> result(Error{Errc::kPermanent, "open"});
  const auto keep = [&](Result<std::string> r) { result = std::move(r); };
  caller.call("timeout-tracker", "state.snapshot", "", 10s, keep, runtime::read_clock());
  ASSERT_TRUE(turn(result));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(*result == large);
  EXPECT_EQ(done, 1);

  broker.kill9();
  result = Error{Errc::kPermanent, "open"};
  caller.call("timeout-tracker", "state.snapshot", "", 20s, keep, runtime::read_clock());
  broker.start();
  ASSERT_TRUE(turn(result));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(done, 2);

  tracker.client().unsubscribe(reply_topic("gateway"));
  broker.kill9();
  ASSERT_TRUE(turn_until({&gateway}, [&] { return !gateway.client().connected(); }));
  result = Error{Errc::kPermanent, "open"};
  caller.call("timeout-tracker", "state.snapshot", "", 300ms, keep, runtime::read_clock());
  ASSERT_TRUE(turn(result));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kUnavailable);
}

}  // namespace
}  // namespace gema::bus::testing
