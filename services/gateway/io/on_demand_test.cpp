#include "services/gateway/io/on_demand.h"

#include <gtest/gtest.h>

#include <future>
#include <map>

#include "services/gateway/core/view_for_test.h"
#include "services/gateway/io/on_demand_json.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this

View two_probers() {
  LiveView live = loaded({1});
  for (const char* name : {"prober-1", "prober-2"}) {
    Process p;
    p.name = name;
    p.kind = "prober";
    p.location = "default";
    p.heard_at = at(0s).mono;
    live.on_heartbeat(p);
  }
  return live.view(at(0s));
}

PingReport report_of(const std::string& prober, const PingOrder& order) {
  PingReport report{.prober = prober, .address = order.address};
  report.outcome.assign(order.count, EchoOutcome::kReply);
  report.rtt_us.assign(order.count, 1000);
  return report;
}

PingAsk ask() {
  PingAsk out;
  out.target = "10.0.0.1";
  return out;
}

// What each prober answers; one that is not named here answers.
struct Probers {
  std::map<std::string, Error> errors;
  std::vector<std::string> asked;
  Duration deadline{};

  OnDemand::Ask function() {
    return [this](const std::string& prober, const PingOrder& order,
                  Duration patience) -> Result<PingReport> {
      asked.push_back(prober);
      deadline = patience;
      const auto error = errors.find(prober);
      if (error != errors.end()) return error->second;
      return report_of(prober, order);
    };
  }
};

std::string outcome(const std::variant<OnDemand::Done, PingRefusal>& result) {
  if (const auto* done = std::get_if<OnDemand::Done>(&result)) return done->report.prober;
  const auto& refusal = std::get<PingRefusal>(result);
  return std::to_string(refusal.status) + " " + refusal.error;
}

using Names = std::vector<std::string>;

TEST(OnDemand, AsksTheNextProberOnlyWhenTheFirstCannotAndWouldNotTakeLong) {
  struct Row {
    Errc code;
    const char* expected;
    size_t asked;
  };
  const Row rows[] = {
      {Errc::kRetryable, "prober-2", 2},    // does not check the device
      {Errc::kUnavailable, "prober-2", 2},  // too busy
      {Errc::kTimeout, "503 prober-1 did not answer in time", 1},
      {Errc::kPermanent, "403 no", 1},
      {Errc::kBadInput, "422 no", 1},
  };
  for (const Row& row : rows) {
    Probers probers{.errors = {{"prober-1", Error{row.code, "no"}}}};
    OnDemand on_demand({}, probers.function());
    EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "a", at(0s))), row.expected);
    EXPECT_EQ(probers.asked.size(), row.asked) << row.expected;
  }
  Probers busy{.errors = {{"prober-1", {Errc::kUnavailable, "busy"}},
                          {"prober-2", {Errc::kUnavailable, "busy"}}}};
  OnDemand on_demand({}, busy.function());
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "a", at(0s))),
            "503 no prober can do this now: prober-2: busy");
  EXPECT_EQ(on_demand.stats().without_answer, 1u);
}

TEST(OnDemand, WaitsAsLongAsTheEchoesMayTakeAndALittleMore) {
  Probers probers;
  OnDemand on_demand({}, probers.function());
  PingAsk long_one = ask();
  long_one.count = 100;
  long_one.spacing_ms = 500;
  long_one.timeout_ms = 5500;
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), long_one, "a", at(0s))), "prober-1");
  EXPECT_EQ(probers.deadline, 57s);
}

TEST(OnDemand, TheRateIsPerClientAndSaysWhenToComeBackAndRefusalsAreFree) {
  Probers probers;
  OnDemand on_demand({.rate = {.per_minute = 2, .per_minute_total = 100}}, probers.function());
  PingAsk forbidden = ask();
  forbidden.target = "224.0.0.1";
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(outcome(on_demand.ping(two_probers(), forbidden, "a", at(0s))).substr(0, 4), "403 ");
  }
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "a", at(0s))), "prober-2");
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "a", at(0s))), "prober-1");
  const auto result = on_demand.ping(two_probers(), ask(), "a", at(1ms));
  EXPECT_EQ(outcome(result), "429 more than 2 pings a minute by this client: try again in 30 s");
  EXPECT_EQ(std::get<PingRefusal>(result).retry_after_s, 30);
  EXPECT_EQ(probers.asked.size(), 2u);
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "b", at(1ms))).substr(0, 6), "prober");
  EXPECT_EQ(on_demand.stats().over_rate, 1u);
  EXPECT_EQ(on_demand.stats().refused, 5u);
  EXPECT_EQ(on_demand.stats().done, 3u);
}

TEST(OnDemand, OneTooManyUnderWayIsRefusedAtOnce) {
  std::promise<void> begun, go;
  auto going = go.get_future().share();
  OnDemand on_demand(
      {.at_once = 1},
      [&](const std::string& prober, const PingOrder& order, Duration) -> Result<PingReport> {
        begun.set_value();
        going.wait();
        return report_of(prober, order);
      });
  auto first = std::async(std::launch::async, [&] {
    return outcome(on_demand.ping(two_probers(), ask(), "a", at(0s)));
  });
  begun.get_future().wait();
  EXPECT_EQ(outcome(on_demand.ping(two_probers(), ask(), "b", at(0s))),
            "503 too many pings are under way: try again in a moment");
  go.set_value();
  EXPECT_EQ(first.get(), "prober-1");
  EXPECT_EQ(on_demand.stats().too_many, 1u);
}

TEST(OnDemandJson, TakesEveryFieldOnceAndNamesWhatItDoesNotTake) {
  const auto good = parse_ping(
      R"({"address":"10.0.0.1","count":5,"timeout_ms":900,"spacing_ms":50,"location":"west","prober":"p"})");
  ASSERT_FALSE(good.error);
  EXPECT_EQ(good.value.target, "10.0.0.1");
  EXPECT_EQ(good.value.count, 5u);
  EXPECT_EQ(good.value.timeout_ms, 900u);
  EXPECT_EQ(good.value.spacing_ms, 50u);
  EXPECT_EQ(good.value.location, "west");
  EXPECT_EQ(good.value.prober, "p");
  EXPECT_EQ(parse_ping(R"({"device":7})").value.device, 7u);
  const auto error = [](const char* body) {
    const auto parsed = parse_ping(body);
    return !parsed.error ? std::string("taken")
                         : (parsed.error->malformed ? "400 " : "422 ") + parsed.error->message;
  };
  EXPECT_EQ(error(""), "400 the body is no valid JSON");
  EXPECT_EQ(error("[]"), "400 the body must be a JSON object");
  EXPECT_EQ(error("{}"), "422 one of address and device is required");
  EXPECT_EQ(error(R"({"address":"10.0.0.1","device":1})"),
            "422 one of address and device is required");
  EXPECT_EQ(error(R"({"address":"a","address":"b"})"), "422 \"address\": given twice");
  EXPECT_EQ(error(R"({"address":"a","echo":1})"), "422 \"echo\": no such field");
  EXPECT_EQ(error(R"({"address":"a","count":-1})"), "422 count = -1: must be a whole number");
  EXPECT_EQ(error(R"({"device":0})"),
            "422 device = 0: must be a device id (a whole number from 1)");
  EXPECT_FALSE(parse_probing_change("").error);
  EXPECT_EQ(parse_probing_change(R"({"by":"Siti","reason":"ring"})").value.by, "Siti");
  EXPECT_TRUE(parse_probing_change(R"({"by":1})").error);
  EXPECT_TRUE(parse_probing_change(R"({"who":"x"})").error);
}

}  // namespace
}  // namespace gema::gateway
