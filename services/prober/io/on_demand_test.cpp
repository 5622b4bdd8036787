// The call "ping" as a caller meets it, over a bus that is a function; the network is the test.
#include "services/prober/io/on_demand.h"

#include <gtest/gtest.h>

#include <deque>

#include "common/bus/topics.h"
#include "common/codec/on_demand_codec.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {
namespace {

constexpr const char* kOwn = "198.18.0.1";

struct OnDemandTest : ::testing::Test {
  OnDemandTest() : clock(now()), engine({}, clock, now().mono) {
    const Target own{.id = 1, .address = *parse_address(kOwn), .interval_ms = 60'000};
    const Target loopback{.id = 2, .address = *parse_address("127.0.0.1"), .interval_ms = 60'000};
    const Target unresolved{.id = 3, .interval_ms = 60'000};
    engine.assign(std::vector{own, loopback, unresolved}, 3);
  }

  Now now() const { return {MonoTime(1000s + at), WallTime(1'800'000'000s + at)}; }
  bus::CallTransport transport(std::deque<std::pair<std::string, std::string>>& to) {
    return {[&to](std::string_view topic, std::string_view payload) {
              to.emplace_back(topic, payload);
              return true;
            },
            [] { return true; }};
  }

  // The answer, once it has come; messages go to and fro until nobody says any more.
  void turn() {
    while (!requests.empty() || !replies.empty()) {
      for (const auto& [topic, payload] : std::exchange(requests, {})) {
        EXPECT_TRUE(on_demand.on_message(topic, payload, now()));
      }
      on_demand.answer();
      for (const auto& [topic, payload] : std::exchange(replies, {})) {
        caller.on_message(topic, payload, now());
      }
    }
  }
  void call(std::string body) {
    answer.reset();
    caller.call(
        "prober-1", "ping", std::move(body), 50s,
        [this](Result<std::string> result) { answer = std::move(result); }, now());
    turn();
  }
  void call(const PingOrder& order) { call(encode_ping_order(order)); }

  // Everything that wants to leave leaves.
  std::vector<Send> send() {
    std::vector<Send> sends = std::exchange(engine.sends(), {});
    std::vector<Sent> sent;
    for (const Send& s : sends) {
      sent.push_back(
          {.check = s.check, .generation = s.generation, .ordinal = s.ordinal, .at = now().mono});
    }
    engine.on_sent(sent);
    return sends;
  }
  void wait(Duration time) {
    at += time;
    engine.expire(now().mono);
    on_demand.answer();
    turn();
  }
  void reply(const Send& s, Duration rtt) {
    const MonoTime sent = now().mono;
    at += rtt;
    const Answer one{.check = s.check,
                     .generation = s.generation,
                     .ordinal = s.ordinal,
                     .at = now().mono,
                     .sent = sent,
                     .timeout = std::chrono::milliseconds(s.timeout_ms)};
    engine.on_answers(std::span(&one, 1), now().mono);
    on_demand.answer();
    turn();
  }
  std::string error() const {
    return !answer ? "no answer" : *answer ? "done" : to_string(answer->error().code);
  }

  Duration at{};
  SlotClock clock;
  Engine engine;
  std::deque<std::pair<std::string, std::string>> requests, replies;
  OnDemand on_demand{transport(replies), "prober-1", "jakarta", engine};
  bus::Caller caller{transport(requests), "gateway"};
  std::optional<Result<std::string>> answer;
};

TEST_F(OnDemandTest, AnswersWhenTheLastEchoIsKnown) {
  call({.address = *parse_ip("198.18.7.7"), .count = 2, .timeout_ms = 500, .spacing_ms = 100});
  auto sends = send();
  ASSERT_EQ(sends.size(), 1u);
  EXPECT_EQ(to_text(sends[0].destination), "198.18.7.7");
  reply(sends[0], 3ms);
  EXPECT_FALSE(answer) << "one echo is to come";
  wait(100ms);
  sends = send();
  ASSERT_EQ(sends.size(), 1u);
  wait(600ms);
  ASSERT_TRUE(answer && *answer) << error();
  const auto report = decode_ping_report(**answer);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->prober, "prober-1");
  EXPECT_EQ(report->location, "jakarta");
  EXPECT_EQ(to_text(report->address), "198.18.7.7");
  EXPECT_EQ(report->outcome, (std::vector{EchoOutcome::kReply, EchoOutcome::kTimeout}));
  EXPECT_NEAR(report->rtt_us[0], 3000, 1);
  EXPECT_EQ(report->started_at, WallTime(1'800'000'000s));
  EXPECT_FALSE(engine.has_results()) << "never in history";
  EXPECT_EQ(on_demand.stats().answered, 1u);
}

TEST_F(OnDemandTest, ADeviceIsAskedAtTheAddressThisProberKnows) {
  call({.device = 1});
  auto sends = send();
  ASSERT_EQ(sends.size(), 1u);
  EXPECT_EQ(to_text(sends[0].destination), kOwn);
  call({.device = 3});
  EXPECT_EQ(error(), "retryable") << "its name is not resolved";
  call({.device = 99});
  EXPECT_EQ(error(), "retryable") << "another prober's";
}

TEST_F(OnDemandTest, TrustsNobodyAboutWhatIsNeverPinged) {
  for (const char* text : {"255.255.255.255", "224.0.0.1", "ff02::1", "0.0.0.0",
                           "::", "169.254.169.254", "240.0.0.1", "127.0.0.1", "127.0.0.2", "::1"}) {
    call({.address = *parse_ip(text)});
    EXPECT_EQ(error(), "permanent") << text;
  }
  call({.address = *parse_ip("127.0.0.1"), .device = 1});
  EXPECT_EQ(error(), "retryable") << "not that device's";
  EXPECT_TRUE(send().empty());
  call({.address = *parse_ip("127.0.0.1"), .device = 2});
  EXPECT_EQ(send().size(), 1u) << "this prober's own device";
}

TEST_F(OnDemandTest, BrokenRequestsAreRefusedAndCostNothing) {
  for (const std::string& body : {std::string("\xff\xff"), std::string(),
                                  encode_ping_order({.address = *parse_ip(kOwn), .count = 0}),
                                  encode_ping_order({.address = *parse_ip(kOwn), .count = 1000}),
                                  encode_ping_order({.address = *parse_ip(kOwn),
                                  .count = 100,
                                  .timeout_ms = 50'000,
                                  .spacing_ms = 1000})}) {
    call(body);
    EXPECT_EQ(error(), "bad input");
  }
  EXPECT_TRUE(send().empty());
  EXPECT_EQ(on_demand.stats().refused, 5u);
}

TEST_F(OnDemandTest, TooManyAtOnceAreUnavailableAndLaterOnesAreNot) {
  for (size_t i = 0; i < kOnDemandMax + 1; ++i) {
    call({.address = *parse_ip(kOwn), .timeout_ms = 500});
    send();
    // A caller keeps only so many calls open; this one forgets them.
    if (i < kOnDemandMax) caller.tick({now().mono + 1min, now().wall});
  }
  EXPECT_EQ(error(), "unavailable");
  EXPECT_EQ(on_demand.stats().too_many, 1u);
  wait(600ms);
  call({.address = *parse_ip(kOwn), .timeout_ms = 500});
  send();
  wait(600ms);
  EXPECT_EQ(error(), "done");
}

}  // namespace
}  // namespace gema::prober
