// The routes of devices: shown, created, changed, deleted, through a real Unix socket.
#include "services/gateway/io/api.h"
#include "services/gateway/io/api_fixture_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
using json = nlohmann::json;

TEST_F(ApiTest, DevicesAreListedInPagesAndShownOneByOne) {
  fill();
  start();
  const json page = get("/api/v1/devices?limit=2").parsed();
  EXPECT_EQ(page.at("data").size(), 2u);
  EXPECT_EQ(page.at("next_after"), 2);
  const json rest = get("/api/v1/devices?limit=2&after=2").parsed();
  EXPECT_EQ(rest.at("data").at(0).at("id"), 3);
  EXPECT_TRUE(rest.at("next_after").is_null());
  EXPECT_EQ(get("/api/v1/devices/3").parsed().at("data").at("address"), "10.0.0.3");
  EXPECT_EQ(get("/api/v1/devices/4").status, 404);
  EXPECT_EQ(get("/api/v1/devices/x").status, 404);
}

TEST_F(ApiTest, ADevicesResultsComeWithAllThatIsKnown) {
  fill();
  start();
  results_ = history::Results{.rows = {{.due_ms = kEpochMs,
                                        .interval_ms = 1000,
                                        .verdict = Verdict::kFailed,
                                        .reason = Reason::kTimeout,
                                        .location = 0,
                                        .producer = 1,
                                        .echo_count = 1,
                                        .details = 0}},
                              .echoes = {{EchoOutcome::kTimeout, 0}},
                              .names = {"default", "prober-1"},
                              .details = {{.notes = {},
                                           .proofs = {{.kind = ProofKind::kWeb,
                                                       .outcome = ProofOutcome::kWrongStatus,
                                                       .status = 503}},
                                           .strays = {},
                                           .text = {}}},
                              .truncated = true};
  const json body = get("/api/v1/devices/2/results?limit=7&hours=2").parsed();
  EXPECT_EQ(asked.device, 2U);
  EXPECT_EQ(asked.limit, 7U);
  EXPECT_EQ(asked.to_ms - asked.from_ms, 2 * 3'600'000);
  EXPECT_EQ(body.at("count"), 1);
  EXPECT_EQ(body.at("truncated"), true);
  EXPECT_EQ(body.at("data")[0].at("why"), "timeout; web: status 503 instead of 200");
  EXPECT_EQ(body.at("data")[0].at("rtt_ms"), nullptr);
  EXPECT_EQ(body.at("next_before"), "2025-09-19T01:45:47.075000Z");
  get("/api/v1/devices/2/results");
  EXPECT_EQ(asked.limit, static_cast<size_t>(kResultsRowsDefault));
  EXPECT_EQ(get("/api/v1/devices/2/results?limit=1001").status, 422);
  EXPECT_EQ(get("/api/v1/devices/2/results?hours=0").status, 422);
  EXPECT_EQ(get("/api/v1/devices/x/results").status, 404);
  results_ = Error{Errc::kUnavailable, "host=secret"};
  const Answer away = get("/api/v1/devices/2/results");
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(away.body.find("secret"), std::string::npos);
}

TEST_F(ApiTest, ADevicesAddressesAreListedNewestFirst) {
  fill();
  start();
  addresses->push_back({kEpochMs, "default", "prober-1", "192.0.2.1", ""});
  const json body = get("/api/v1/devices/1/addresses?limit=3").parsed();
  EXPECT_EQ(asked.limit, 3U);
  EXPECT_EQ(body.at("data")[0].at("was"), "192.0.2.1");
  EXPECT_EQ(body.at("data")[0].at("becomes"), nullptr);
  EXPECT_EQ(get("/api/v1/devices/1/addresses?limit=0").status, 422);
  EXPECT_EQ(get("/api/v1/devices/0/addresses").status, 404);
  addresses = Error{Errc::kTimeout, "late"};
  EXPECT_EQ(get("/api/v1/devices/1/addresses").status, 503);
}

TEST_F(ApiTest, ADeviceIsCreatedByCall) {
  fill();
  start();
  const Answer answer =
      send("POST", "/api/v1/devices",
           R"({"address":"192.0.2.9","hostname":"new","tags":{"a":"b"},"probe_from":["roof"],)"
           R"("interval_ms":1000})",
           "application/json; charset=utf-8");
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.parsed().at("data").at("id"), 7);
  EXPECT_NE(answer.head.find("Location: /api/v1/devices/7"), std::string::npos);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].first, "device.create");
  const Device& asked_for = changes[0].second.device;
  EXPECT_EQ(asked_for.address, "192.0.2.9");
  EXPECT_EQ(asked_for.interval_ms, 1000u);
  EXPECT_EQ(asked_for.timeout_ms, 0u);  // inventory's default
  EXPECT_EQ(asked_for.tags.at("a"), "b");
  EXPECT_EQ(changes[0].second.actor, "api");
}

TEST_F(ApiTest, BadDevicesAreRefusedByFieldValueAndRule) {
  fill();
  start();
  const auto post = [this](const std::string& body) {
    const Answer answer = send("POST", "/api/v1/devices", body);
    return std::to_string(answer.status) + " " + answer.error();
  };
  EXPECT_EQ(post("{"), "400 the body is no valid JSON");
  EXPECT_EQ(post("[]"), "400 the body must be a JSON object");
  EXPECT_EQ(post("{\"a\":\"\xff\"}"), "400 the body is no valid JSON");
  EXPECT_EQ(post(std::string(17, '[') + std::string(17, ']')),
            "400 the body is nested more than 16 deep");
  EXPECT_EQ(post("{}"), "422 address: required");
  EXPECT_EQ(post(R"({"address":5})"), "422 address = 5: must be a string");
  EXPECT_EQ(post(R"({"address":"192.0.2.9","colour":"red"})"), "422 \"colour\": no such field");
  EXPECT_EQ(post(R"({"address":"192.0.2.9","address":"192.0.2.8"})"),
            "422 \"address\": given twice");
  EXPECT_EQ(post(R"({"address":"192.0.2.9","ip_address":"192.0.2.8"})"),
            "422 \"ip_address\": given twice under different names");
  EXPECT_EQ(post(R"({"address":"192.0.2.9","id":5})"),
            "422 id: is given by Gema, not by the caller");
  EXPECT_EQ(post(R"({"address":"192.0.2.9","interval_ms":0})"),
            "422 interval_ms = 0: must be at least 1");
  for (const char* number : {"-1", "1.5", "\"5\"", "4294967296", "true", "null"}) {
    EXPECT_EQ(post(std::string(R"({"address":"192.0.2.9","interval_ms":)") + number + "}"),
              std::string("422 interval_ms = ") + number +
                  ": must be a whole number from 0 to 4294967295");
  }
  EXPECT_EQ(post(R"({"address":"192.0.2.9","tags":["x"]})"),
            "422 tags = [\"x\"]: must be an object of at most 64 strings");
  EXPECT_EQ(post(R"({"address":"10.0.0.2"})"), "409 address: 10.0.0.2 is already device 2");
  EXPECT_TRUE(changes.empty());
}

TEST_F(ApiTest, OnlyJsonIsTakenForADevice) {
  fill();
  start();
  EXPECT_EQ(send("POST", "/api/v1/devices", R"({"address":"192.0.2.9"})", "text/plain").status,
            415);
  EXPECT_EQ(
      send("PATCH", "/api/v1/devices/1", "hostname=x", "application/x-www-form-urlencoded").status,
      415);
  EXPECT_EQ(send("POST", "/api/v1/devices", "", "application/json").status, 400);
  EXPECT_TRUE(changes.empty());
}

TEST_F(ApiTest, ABodyBeyondTheBoundIs413) {
  start();
  EXPECT_EQ(send("POST", "/api/v1/devices", std::string(70'000, ' ')).status, 413);
}

TEST_F(ApiTest, WhatInventorySaysBecomesTheStatus) {
  fill();
  start();
  const auto patch = [this](Error error) {
    changed = std::move(error);
    const Answer answer = send("PATCH", "/api/v1/devices/1", R"({"hostname":"x"})");
    return std::to_string(answer.status) + " " + answer.error();
  };
  EXPECT_EQ(patch({Errc::kBadInput, "interval_ms: too short"}), "422 interval_ms: too short");
  EXPECT_EQ(patch({Errc::kPermanent, "no such device: 1"}), "404 no device 1");
  EXPECT_EQ(patch({Errc::kPermanent, "address: 10.0.0.2 is already device 2"}),
            "409 address: 10.0.0.2 is already device 2");
  EXPECT_EQ(patch({Errc::kUnavailable, "the database is away"}),
            "503 the device cannot be changed now: the database is away");
  EXPECT_EQ(patch({Errc::kTimeout, "x"}),
            "503 inventory did not answer in time; the change may have taken effect");
}

TEST_F(ApiTest, APatchNamesTheFieldsItChanges) {
  fill();
  start();
  EXPECT_EQ(
      send("PATCH", "/api/v1/devices/2", R"({"manufacturer":"Mikrotik","parent":null})").status,
      200);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].first, "device.update");
  EXPECT_EQ(changes[0].second.device.id, 2u);
  EXPECT_EQ(std::set<std::string>(changes[0].second.fields.begin(), changes[0].second.fields.end()),
            (std::set<std::string>{"merk", "parent"}));
  EXPECT_EQ(send("PATCH", "/api/v1/devices/2", "{}").status, 422);
  EXPECT_EQ(send("PATCH", "/api/v1/devices/2", R"({"id":3})").status, 422);
}

TEST_F(ApiTest, ProofOfLifeIsReadFromABody) {
  fill();
  start();
  const auto patch = [this](const char* body) {
    const Answer answer = send("PATCH", "/api/v1/devices/2", body);
    return std::to_string(answer.status) + " " + (answer.status == 200 ? "" : answer.error());
  };
  EXPECT_EQ(patch(R"({"web_url":"https://10.0.0.2/","web_status":401,"web_insecure":true,
                      "web_auth":"router","web_json":"/a=b","tcp_ports":[22,443],
                      "echo_spacing_ms":50})"),
            "200 ");
  ASSERT_EQ(changes.size(), 1u);
  const Device& device = changes[0].second.device;
  EXPECT_EQ(device.web_status, 401u);
  EXPECT_TRUE(device.web_insecure);
  EXPECT_EQ(device.web_auth, "router");
  EXPECT_EQ(device.web_json, "/a=b");
  EXPECT_EQ(device.tcp_ports, (std::vector<uint32_t>{22, 443}));
  EXPECT_EQ(device.echo_spacing_ms, 50u);
  EXPECT_EQ(patch(R"({"web_status":0})"),
            "422 web_status = 0: must be a whole number from 1 to 4294967295");
  EXPECT_EQ(patch(R"({"echo_spacing_ms":0})"),
            "422 echo_spacing_ms = 0: must be a whole number from 1 to 4294967295");
  EXPECT_EQ(patch(R"({"web_insecure":1})"), "422 web_insecure = 1: must be true or false");
  EXPECT_EQ(patch(R"({"tcp_ports":[0]})"),
            "422 tcp_ports = [0]: must hold whole numbers from 1 to 65535");
  EXPECT_EQ(patch(R"({"tcp_ports":22})"),
            "422 tcp_ports = 22: must be an array of at most 64 ports");
  EXPECT_EQ(changes.size(), 1u);
}

TEST_F(ApiTest, ADeletionIs204AndOfAnUnknownDevice404) {
  fill();
  start();
  const auto del = [this](const std::string& id) {
    return raw(head("DELETE", "/api/v1/devices/" + id) + "X-API-Token: " + kToken + "\r\n\r\n");
  };
  const Answer answer = del("2");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(changes.at(0).first, "device.delete");
  EXPECT_EQ(del("99").status, 404);
  EXPECT_EQ(changes.size(), 1u);
}

}  // namespace
}  // namespace gema::gateway
