#include "common/bus/calls.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "common/base/random.h"
#include "common/bus/limits.h"
#include "common/bus/topics.h"
#include "gema/v1/call.pb.h"

namespace gema::bus {
namespace {

// A bus in memory: drops what `loses` says, delivers the rest in order when pumped.
struct Wire {
  struct Sent {
    std::string topic;
    std::string payload;
  };
  std::deque<Sent> sent;
  std::function<bool(const Sent&)> loses = [](const Sent&) { return false; };
  bool connected = true;

  CallTransport transport() {
    return {[this](std::string_view topic, std::string_view payload) {
              Sent message{std::string(topic), std::string(payload)};
              if (!loses(message)) sent.push_back(std::move(message));
              return true;
            },
            [this] { return connected; }};
  }
};

struct Fixture : ::testing::Test {
  Wire wire;
  Caller caller{wire.transport(), "gateway"};
  std::unique_ptr<CallServer> server = std::make_unique<CallServer>(wire.transport(), "inventory");
  Now now{MonoTime{1h}, WallTime{1'700'000'000s}};

  void deliver() {
    while (!wire.sent.empty()) {
      const Wire::Sent message = std::move(wire.sent.front());
      wire.sent.pop_front();
      const bool to_server = server && server->on_message(message.topic, message.payload, now);
      if (!to_server) caller.on_message(message.topic, message.payload, now);
    }
  }

  // Lets time pass in steps, delivering all that the wire does not lose.
  void pass(Duration time) {
    for (Duration step{}; step < time; step += 50ms) {
      now.mono += 50ms;
      now.wall += 50ms;
      caller.tick(now);
      if (server) server->tick(now);
      deliver();
    }
  }

  std::optional<Result<std::string>> result;
  int answers = 0;
  void call(std::string method, std::string body, Duration deadline = 2s) {
    caller.call(
        "inventory", method, std::move(body), deadline,
        [this](Result<std::string> r) {
          result = std::move(r);
          ++answers;
        },
        now);
  }
};

TEST_F(Fixture, ACallIsAnsweredOnce) {
  server->handle("echo", [](std::string body, Responder r) { r.reply(body + "!"); });
  call("echo", "hello");
  deliver();
  ASSERT_TRUE(result && *result);
  EXPECT_EQ(**result, "hello!");
  pass(5s);
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(caller.open_calls(), 0u);
  EXPECT_EQ(caller.stats().repeated, 0u);
}

TEST_F(Fixture, AnErrorArrivesAsTheCalleeMeantIt) {
  server->handle("refuse", [](std::string, Responder r) {
    r.fail({Errc::kBadInput, "device 7: no such device"});
  });
  call("refuse", "");
  deliver();
  ASSERT_TRUE(result && !*result);
  EXPECT_EQ(result->error(), (Error{Errc::kBadInput, "device 7: no such device"}));
}

TEST_F(Fixture, ARequestWhoseReplyWasLostIsRepeatedAndDoneOnce) {
  int done = 0;
  int lost = 0;
  server->handle("add", [&](std::string, Responder r) { r.reply(std::to_string(++done)); });
  wire.loses = [&](const Wire::Sent& m) { return m.topic == "reply/gateway/" && ++lost <= 2; };
  call("add", "");
  pass(2s);
  ASSERT_TRUE(result && *result);
  EXPECT_EQ(**result, "1");
  EXPECT_EQ(done, 1);
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(server->stats().repeats, 2u);
}

TEST_F(Fixture, ALostRequestIsRepeated) {
  int lost = 0;
  server->handle("echo", [](std::string body, Responder r) { r.reply(std::move(body)); });
  wire.loses = [&](const Wire::Sent& m) { return m.topic == "call/inventory/" && ++lost <= 1; };
  call("echo", "x");
  pass(1s);
  EXPECT_TRUE(result && *result);
}

TEST_F(Fixture, NoAnswerIsATimeoutWhileTheBusIsThereAndUnavailableWhileItIsNot) {
  server.reset();
  call("echo", "x", 2s);
  pass(1900ms);
  EXPECT_FALSE(result);
  pass(200ms);
  ASSERT_TRUE(result && !*result);
  EXPECT_EQ(result->error().code, Errc::kTimeout);
  result.reset();
  wire.connected = false;
  call("echo", "x", 2s);
  pass(2100ms);
  ASSERT_TRUE(result && !*result);
  EXPECT_EQ(result->error().code, Errc::kUnavailable);
  EXPECT_EQ(answers, 2);
}

TEST_F(Fixture, AnAnswerMayComeLaterAndFromACopyOfTheResponder) {
  std::optional<Responder> kept;
  server->handle("slow", [&](std::string, Responder r) { kept = r; });
  call("slow", "", 5s);
  pass(2s);  // repeats meanwhile
  EXPECT_FALSE(result);
  EXPECT_EQ(server->stats().repeats, 4u);
  kept->reply("at last");
  kept->reply("twice");
  deliver();
  ASSERT_TRUE(result && *result);
  EXPECT_EQ(**result, "at last");
  server.reset();
  kept->reply("after the server has gone");
  EXPECT_EQ(answers, 1);
}

TEST_F(Fixture, LargeRepliesTravelInPartsWhateverTheirOrderAndHoweverOftenSomeAreLost) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  Random random(seed);
  std::string large(3 * 1024 * 1024 + 17, '\0');
  for (char& c : large) c = static_cast<char>(random.below(256));
  server->handle("snapshot", [&](std::string, Responder r) { r.reply(large); });
  wire.loses = [&](const Wire::Sent& m) {
    return m.topic == "reply/gateway/" && random.chance(300);
  };
  call("snapshot", "", 30s);
  for (int i = 0; i < 100 && !result; ++i) {
    std::reverse(wire.sent.begin(), wire.sent.end());
    pass(300ms);
  }
  ASSERT_TRUE(result && *result);
  EXPECT_TRUE(**result == large);
  EXPECT_EQ(answers, 1);
}

TEST_F(Fixture, PartsOfTwoDifferentAnswersNeverMix) {
  int time = 0;
  const auto answer = [&](std::string, Responder r) {
    r.reply(std::string(2 * kCallBodyBytesMax, static_cast<char>('a' + time++)));
  };
  server->handle("snapshot", answer);
  int parts = 0;
  wire.loses = [&](const Wire::Sent& m) { return m.topic == "reply/gateway/" && ++parts == 2; };
  call("snapshot", "", 10s);
  deliver();
  EXPECT_FALSE(result);
  server = std::make_unique<CallServer>(wire.transport(), "inventory");  // restarted: forgot
  server->handle("snapshot", answer);
  pass(2s);
  ASSERT_TRUE(result && *result);
  EXPECT_EQ(**result, std::string(2 * kCallBodyBytesMax, 'b'));
}

TEST_F(Fixture, UnknownMethodsAndOversizedRequestsAreRefused) {
  call("nonsense", "");
  deliver();
  ASSERT_TRUE(result && !*result);
  EXPECT_EQ(result->error().code, Errc::kBadInput);
  EXPECT_NE(result->error().message.find("nonsense"), std::string::npos);
  result.reset();
  call("echo", std::string(kCallBodyBytesMax + 1, 'x'));
  EXPECT_FALSE(result) << "never from within call()";
  caller.tick(now);
  ASSERT_TRUE(result && !*result);
  EXPECT_EQ(result->error().code, Errc::kBadInput);
}

TEST_F(Fixture, OpenCallsAreBounded) {
  server.reset();
  std::map<Errc, int> errors;
  for (size_t i = 0; i < kCallsOpenMax + 10; ++i) {
    caller.call(
        "inventory", "echo", "", 1s, [&](Result<std::string> r) { ++errors[r.error().code]; }, now);
  }
  EXPECT_EQ(caller.open_calls(), kCallsOpenMax);
  pass(2s);
  EXPECT_EQ(errors[Errc::kUnavailable], 10);
  EXPECT_EQ(errors[Errc::kTimeout], static_cast<int>(kCallsOpenMax));
}

TEST_F(Fixture, PendingRequestsAreBoundedAndForgottenAfterTheirDeadline) {
  std::vector<Responder> kept;
  server->handle("never", [&](std::string, Responder r) { kept.push_back(std::move(r)); });
  Caller other(wire.transport(), "cli");
  int busy = 0;
  for (size_t i = 0; i < kCallsPendingMax; ++i) call("never", "", 1s);
  for (int i = 0; i < 5; ++i) {
    other.call(
        "inventory", "never", "", 1s,
        [&](Result<std::string> r) { busy += r.error().code == Errc::kUnavailable; }, now);
  }
  while (!wire.sent.empty()) {
    const Wire::Sent message = wire.sent.front();
    wire.sent.pop_front();
    server->on_message(message.topic, message.payload, now);
    other.on_message(message.topic, message.payload, now);
  }
  EXPECT_EQ(busy, 5);
  EXPECT_EQ(kept.size(), kCallsPendingMax);
  pass(5s);
  result.reset();
  call("never", "", 1s);
  deliver();
  EXPECT_EQ(kept.size(), kCallsPendingMax + 1);
}

TEST_F(Fixture, RememberedRepliesAreBounded) {
  int done = 0;
  server->handle("add", [&](std::string, Responder r) {
    ++done;
    r.reply(std::string(1024 * 1024, 'x'));
  });
  wire.loses = [](const Wire::Sent& m) { return m.topic == "reply/gateway/"; };
  v1::CallRequest request;
  request.set_caller("gateway");
  request.set_method("add");
  request.set_deadline_us(unix_us(now.wall + 30s));
  for (uint64_t id = 1; id <= 40; ++id) {
    request.set_id(id);
    server->on_message("call/inventory/", request.SerializeAsString(), now);
  }
  EXPECT_EQ(done, 40);
  request.set_id(40);
  server->on_message("call/inventory/", request.SerializeAsString(), now);
  EXPECT_EQ(done, 40) << "recent: from memory";
  request.set_id(1);
  server->on_message("call/inventory/", request.SerializeAsString(), now);
  EXPECT_EQ(done, 41) << "beyond the bound: forgotten";
}

TEST_F(Fixture, ExpiredRequestsAreNotDone) {
  int done = 0;
  server->handle("add", [&](std::string, Responder r) {
    ++done;
    r.reply("");
  });
  v1::CallRequest request;
  request.set_id(1);
  request.set_caller("gateway");
  request.set_method("add");
  request.set_deadline_us(unix_us(now.wall - 3s));
  EXPECT_TRUE(server->on_message("call/inventory/", request.SerializeAsString(), now));
  request.set_deadline_us(unix_us(now.wall + 1h));
  EXPECT_TRUE(server->on_message("call/inventory/", request.SerializeAsString(), now));
  EXPECT_EQ(done, 0);
  EXPECT_EQ(server->stats().expired, 2u);
}

TEST_F(Fixture, GarbageIsCountedAndNothingElse) {
  const uint64_t seed = 11;
  SCOPED_TRACE(seed);
  Random random(seed);
  server->handle("echo", [](std::string body, Responder r) { r.reply(std::move(body)); });
  call("echo", "x", 10s);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes(random.below(64), '\0');
    for (char& c : bytes) c = static_cast<char>(random.below(256));
    EXPECT_TRUE(server->on_message("call/inventory/", bytes, now));
    EXPECT_TRUE(caller.on_message("reply/gateway/", bytes, now));
  }
  EXPECT_FALSE(server->on_message("call/other/", "", now));
  EXPECT_FALSE(caller.on_message("reply/other/", "", now));
  wire.sent.clear();
  pass(1s);
  EXPECT_TRUE(result && *result);
}

TEST_F(Fixture, ACallbackMayCallAgain) {
  server->handle("echo", [](std::string body, Responder r) { r.reply(std::move(body)); });
  std::string second;
  caller.call(
      "inventory", "echo", "1", 1s,
      [&](Result<std::string> first) {
        caller.call(
            "inventory", "echo", *first + "2", 1s, [&](Result<std::string> r) { second = *r; },
            now);
      },
      now);
  pass(1s);
  EXPECT_EQ(second, "12");
}

}  // namespace
}  // namespace gema::bus
