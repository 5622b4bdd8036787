// Pings on demand and pauses: what is asked of whom, how often, and what callers read.
#include <gtest/gtest.h>

#include "services/gateway/core/limits.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/ping_bodies.h"
#include "services/gateway/core/ping_plan.h"
#include "services/gateway/core/rate_limit.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/core/view_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
using Why = RateLimit::Decision::Why;

const UtcOffset kJakarta = [](int64_t) { return 7 * 3600; };

// --- rate ---------------------------------------------------------------------------------------

TEST(RateLimit, AMinutesWorthAtOnceAndThenEvenly) {
  RateLimit rate({.per_minute = 6, .per_minute_total = 100});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(rate.take("a", at(0s)).why, Why::kAllowed) << i;
  const auto refused = rate.take("a", at(0s));
  EXPECT_EQ(refused.why, Why::kClient);
  EXPECT_NEAR(std::chrono::duration<double>(refused.retry_after).count(), 10, 0.001);
  EXPECT_EQ(rate.take("a", at(9s)).why, Why::kClient) << "a refused one costs nothing";
  EXPECT_EQ(rate.take("a", at(10s + 1ms)).why, Why::kAllowed);
  EXPECT_EQ(rate.take("a", at(10s + 1ms)).why, Why::kClient);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(rate.take("a", at(1h)).why, Why::kAllowed) << i;
  EXPECT_EQ(rate.take("a", at(1h)).why, Why::kClient) << "an hour of rest is a minute's worth";
}

TEST(RateLimit, OneClientDoesNotSpendAnothersAndAllTogetherAreBoundToo) {
  RateLimit rate({.per_minute = 2, .per_minute_total = 3});
  EXPECT_EQ(rate.take("a", at(0s)).why, Why::kAllowed);
  EXPECT_EQ(rate.take("a", at(0s)).why, Why::kAllowed);
  EXPECT_EQ(rate.take("a", at(0s)).why, Why::kClient);
  EXPECT_EQ(rate.take("b", at(0s)).why, Why::kAllowed);
  const auto refused = rate.take("b", at(0s));
  EXPECT_EQ(refused.why, Why::kTotal);
  EXPECT_NEAR(std::chrono::duration<double>(refused.retry_after).count(), 20, 0.001);
}

TEST(RateLimit, ClientsAreBoundedAndTheRestShareOneBucket) {
  RateLimit rate({.per_minute = 1, .per_minute_total = 100'000});
  for (size_t i = 0; i < kRateClientsMax; ++i) {
    ASSERT_EQ(rate.take(std::to_string(i), at(0s)).why, Why::kAllowed);
  }
  EXPECT_EQ(rate.take("x", at(1s)).why, Why::kAllowed);
  EXPECT_EQ(rate.take("y", at(1s)).why, Why::kClient) << "shares a bucket with x";
  EXPECT_LE(rate.clients(), kRateClientsMax + 1);
  EXPECT_EQ(rate.take("z", at(5min)).why, Why::kAllowed) << "the quiet ones are forgotten";
  EXPECT_LE(rate.clients(), 2u);
}

// --- plan ---------------------------------------------------------------------------------------

Process prober(const std::string& name, const std::string& location, MonoTime heard_at) {
  Process p;
  p.name = name;
  p.kind = "prober";
  p.location = location;
  p.ready = true;
  p.heard_at = heard_at;
  return p;
}

// Devices 1..4: 2 is a name, 3 is loopback, 4 is public and shares 1's host name; prober-2 in
// "west" measured 1.
View view() {
  LiveView live;
  Catalogue devices = catalogue({1, 2, 3, 4});
  devices.devices[0].hostname = devices.devices[3].hostname = "Core";
  devices.devices[1].address = "camera.example";
  devices.devices[1].hostname = "gate";
  devices.devices[2].address = "127.0.0.1";
  devices.devices[3].address = "8.8.8.8";
  live.on_catalogue(devices, at(0s));
  PingResults measured = results({{1, kEpochMs}});
  measured.location = "west";
  RecordId id = record(1);
  id.producer = "prober-2";
  live.on_results(id, measured, at(0s).wall, at(0s));
  live.on_heartbeat(prober("prober-1", "east", at(0s).mono));
  live.on_heartbeat(prober("prober-2", "west", at(0s).mono));
  live.on_heartbeat(prober("prober-3", "west", at(0s).mono));
  live.on_heartbeat(prober("prober-4", "north", at(-1min).mono));
  return live.view(at(1s));
}

AddressPolicy policy() {
  return {.allow = {*parse_cidr("10.0.0.0/8")}, .deny = {*parse_cidr("10.66.0.0/16")}};
}

PingPlan planned(const PingAsk& ask, uint64_t turn = 0) {
  auto plan = plan_ping(view(), ask, policy(), turn);
  const auto* refusal = std::get_if<PingRefusal>(&plan);
  EXPECT_EQ(refusal, nullptr) << refusal->error;
  return refusal == nullptr ? std::get<PingPlan>(plan) : PingPlan{};
}

std::string refused(const PingAsk& ask) {
  auto plan = plan_ping(view(), ask, policy(), 0);
  const auto* refusal = std::get_if<PingRefusal>(&plan);
  return refusal == nullptr ? "taken" : std::to_string(refusal->status) + " " + refusal->error;
}

PingAsk of(std::string target) {
  PingAsk ask;
  ask.target = std::move(target);
  return ask;
}

TEST(PingPlan, AnAddressANameAndAnIdFindTheirDevice) {
  EXPECT_EQ(to_text(planned(of("10.0.0.1")).order.address), "10.0.0.1");
  EXPECT_EQ(planned(of("10.0.0.1")).order.device, 1u);
  EXPECT_EQ(planned(of("::ffff:10.0.0.1")).order.device, 1u) << "another spelling";
  EXPECT_EQ(planned(of("10.1.2.3")).order.device, 0u) << "nobody's address";
  EXPECT_EQ(planned(of("GATE")).order.device, 2u) << "a host name, in any case";
  EXPECT_FALSE(planned(of("gate")).order.address.known()) << "its prober knows the address";
  EXPECT_EQ(planned(of("Camera.Example")).order.device, 2u);
  PingAsk by_id;
  by_id.device = 4;
  EXPECT_EQ(to_text(planned(by_id).order.address), "8.8.8.8");
  EXPECT_EQ(to_text(planned(of("127.0.0.1")).order.address), "127.0.0.1") << "a device's";
}

TEST(PingPlan, OneRowPerRefusal) {
  EXPECT_EQ(refused(of("10.0.0.300")),
            "400 \"10.0.0.300\" is no IP address, and no device is called or addressed so (other "
            "names are not resolved)");
  EXPECT_EQ(refused(of("")).substr(0, 6), "400 \"\"");
  EXPECT_EQ(refused(of("core")),
            "400 several devices are called \"core\": ask by address or by id");
  PingAsk unknown;
  unknown.device = 99;
  EXPECT_EQ(refused(unknown), "404 no device 99");
  EXPECT_EQ(refused(of("9.9.9.9")),
            "403 9.9.9.9 is not pinged: it is no device's address and gateway.ping_allow does not "
            "have it");
  EXPECT_EQ(refused(of("10.66.0.1")),
            "403 10.66.0.1 is not pinged: gateway.ping_deny has this address");
  EXPECT_EQ(refused(of("255.255.255.255")),
            "403 255.255.255.255 is not pinged: a broadcast address is never pinged");
  PingAsk many = of("10.0.0.1");
  many.count = 101;
  EXPECT_EQ(refused(many), "422 count = 101: must be from 1 to 100");
  PingAsk nowhere = of("10.0.0.1");
  nowhere.location = "south";
  EXPECT_EQ(refused(nowhere),
            "422 location = \"south\": no prober is there; there are: east, west, north");
  nowhere.location = "north";
  EXPECT_EQ(refused(nowhere), "503 no prober can be reached now") << "the one there is silent";
  PingAsk nobody = of("10.0.0.1");
  nobody.prober = "prober-9";
  EXPECT_EQ(refused(nobody),
            "422 prober = \"prober-9\": no such prober; there are: prober-1, prober-2, prober-3, "
            "prober-4");
}

TEST(PingPlan, WhoMeasuredTheDeviceIsAskedFirstThenItsNeighboursThenTheRest) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(planned(of("10.0.0.1")).probers, (Names{"prober-2", "prober-3", "prober-1"}));
  EXPECT_EQ(planned(of("10.1.2.3"), 0).probers, (Names{"prober-1", "prober-2", "prober-3"}));
  EXPECT_EQ(planned(of("10.1.2.3"), 1).probers.front(), "prober-2") << "in turn";
  PingAsk there = of("10.0.0.1");
  there.location = "east";
  EXPECT_EQ(planned(there).probers, Names{"prober-1"});
  PingAsk that = of("10.0.0.1");
  that.prober = "prober-3";
  EXPECT_EQ(planned(that).probers, Names{"prober-3"});
}

// --- bodies -------------------------------------------------------------------------------------

PingReport report(std::vector<EchoOutcome> outcome, std::vector<uint32_t> rtt_us = {}) {
  PingReport r{.prober = "prober-1",
               .location = "default",
               .address = *parse_ip("10.0.0.1"),
               .started_at = wall_from_ms(kEpochMs)};
  rtt_us.resize(outcome.size());
  r.outcome = std::move(outcome);
  r.rtt_us = std::move(rtt_us);
  return r;
}

TEST(TestPingBody, IsTheSourceSystemsWithWhoMeasured) {
  EXPECT_EQ(test_ping_body("10.0.0.1", report({EchoOutcome::kReply}, {12'500})),
            R"({"success":true,"ip_address":"10.0.0.1","ping_result":{"success":true,)"
            R"("response_time_ms":12.5,"error_message":null},"service_type":"Multi-Ping",)"
            R"("prober":"prober-1","location":"default"})");
  EXPECT_EQ(test_ping_body("core", report({EchoOutcome::kTimeout})),
            R"({"success":true,"ip_address":"10.0.0.1","ping_result":{"success":false,)"
            R"j("response_time_ms":null,"error_message":"No response (timeout)"},)j"
            R"("service_type":"Multi-Ping","prober":"prober-1","location":"default"})");
}

TEST(TestPingBody, SaysWhoRefused) {
  PingReport r = report({EchoOutcome::kHostUnreachable});
  r.notes = {{.icmp_type = 3, .icmp_code = 1, .from = *parse_ip("192.0.2.254")}};
  EXPECT_NE(test_ping_body("10.0.0.1", r)
                .find(R"j("error_message":"Ping error: host unreachable, said by 192.0.2.254")j"),
            std::string::npos)
      << test_ping_body("10.0.0.1", r);
}

TEST(PingJson, HasTheSummaryAndEveryEcho) {
  PingReport r = report(
      {EchoOutcome::kReply, EchoOutcome::kTimeout, EchoOutcome::kReply, EchoOutcome::kSendError},
      {2000, 0, 1000, 0});
  r.notes = {{.echo = 1, .kind = NoteKind::kLate, .rtt_us = 3'000'000},
             {.echo = 3, .kind = NoteKind::kSendError, .error = 101}};
  EXPECT_EQ(
      ping_json(r, 7),
      R"({"success":true,"data":{"address":"10.0.0.1","device_id":7,"prober":"prober-1",)"
      R"("location":"default","started_at":"2025-09-19T01:45:47.075000Z","answered":true,"count":4,)"
      R"("sent":3,"received":2,"loss_percent":50.0,"rtt_ms":{"min":1.0,"median":1.0,"max":2.0},)"
      R"("error":null,"echoes":[{"echo":0,"outcome":"reply","rtt_ms":2.0,"notes":[]},)"
      R"({"echo":1,"outcome":"timeout","rtt_ms":null,"notes":[{"kind":"late","rtt_ms":3000.0}]},)"
      R"({"echo":2,"outcome":"reply","rtt_ms":1.0,"notes":[]},)"
      R"({"echo":3,"outcome":"send error","rtt_ms":null,"notes":[{"kind":"send error","errno":101}]}]}})");
  const std::string none = ping_json(report({EchoOutcome::kTimeout, EchoOutcome::kTimeout}), 0);
  EXPECT_NE(none.find(R"("device_id":null)"), std::string::npos);
  EXPECT_NE(none.find(R"j("rtt_ms":null,"error":"No response (timeout)")j"), std::string::npos)
      << none;
}

TEST(Pause, IsToldWhereverTheServiceIsShown) {
  LiveView live = loaded({1});
  live.on_heartbeat(prober("prober-1", "default", at(0s).mono));
  const MultiPingSettings settings;
  const auto status = [&] { return service_status_body(live.view(at(0s)), settings, kJakarta); };
  EXPECT_NE(status().find(R"("service_running":true)"), std::string::npos);
  EXPECT_NE(status().find(R"("paused_by":null,"paused_since":null,"pause_reason":null)"),
            std::string::npos);
  EXPECT_NE(status_json(live.view(at(0s))).find(R"("probing":null)"), std::string::npos)
      << "inventory has not said";

  live.on_probing({.paused = true, .by = "Siti", .reason = "ring", .since = at(0s).wall});
  EXPECT_NE(status().find(R"("service_running":false)"), std::string::npos) << "at once";
  EXPECT_NE(status().find(R"("paused_by":"Siti","paused_since":"2025-09-19T08:45:47.075000",)"
                          R"("pause_reason":"ring")"),
            std::string::npos)
      << status();
  const std::string probing = R"("probing":{"paused":true,"by":"Siti","reason":"ring",)"
                              R"("since":"2025-09-19T01:45:47.075000Z"})";
  EXPECT_NE(status_json(live.view(at(0s))).find(probing), std::string::npos);
  EXPECT_NE(counts_frame(live.view(at(0s))).find(probing), std::string::npos);
  Process heard = prober("prober-1", "default", at(0s).mono);
  heard.paused = true;
  heard.paused_by = "Siti";
  live.on_heartbeat(heard);
  EXPECT_EQ(probing_json(live.view(at(0s))),
            R"({"success":true,)" + probing +
                R"(,"probers":[{"name":"prober-1","location":"default","alive":true,)"
                R"("paused":true,"paused_by":"Siti"}]})");

  live.on_probing({.since = at(1s).wall});
  EXPECT_NE(status().find(R"("service_running":true)"), std::string::npos) << "at once, too";
  EXPECT_NE(status().find(R"("paused_by":null)"), std::string::npos);
}

TEST(ServiceBodies, AreTheSourceSystems) {
  EXPECT_EQ(
      service_changed_body(true),
      R"({"success":true,"message":"Multi-Ping Service started","service_type":"Multi-Ping Service"})");
  EXPECT_EQ(
      service_changed_body(false),
      R"({"success":true,"message":"Multi-Ping Service stopped","service_type":"Multi-Ping Service"})");
}

}  // namespace
}  // namespace gema::gateway
