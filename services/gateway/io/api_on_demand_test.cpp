// Pings on demand, and pause and resume, through a real Unix socket.
#include "services/gateway/io/api.h"
#include "services/gateway/io/api_fixture_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
using json = nlohmann::json;

TEST_F(ApiTest, ATestPingAnswersInTheSourceSystemsBodyAlsoWhenNobodyDoes) {
  fill();
  add_prober();
  start();
  Answer answer = send("POST", "/api/ping/test/10.0.0.1", "");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.parsed()["ping_result"],
            json::parse(R"({"success":true,"response_time_ms":1.5,"error_message":null})"));
  EXPECT_EQ(answer.parsed()["ip_address"], "10.0.0.1");
  EXPECT_EQ(answer.parsed()["service_type"], "Multi-Ping");
  ping_outcome = EchoOutcome::kTimeout;
  answer = send("POST", "/api/ping/test/10.0.0.2", "");
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.parsed()["success"], true) << "outer success, as the source system meant it";
  EXPECT_EQ(answer.parsed()["ping_result"],
            json::parse(R"({"success":false,"response_time_ms":null,)"
                        R"j("error_message":"No response (timeout)"})j"));
}

TEST_F(ApiTest, ATestPingThatMayNotOrCannotBeSaysWhy) {
  fill();
  start();
  EXPECT_EQ(send("POST", "/api/ping/test/10.0.0.1", "").status, 503) << "no prober";
  add_prober();
  EXPECT_EQ(send("POST", "/api/ping/test/not-an-ip", "").status, 400);
  EXPECT_EQ(send("POST", "/api/ping/test/10.0.0.1%3Brm", "").status, 400);
  EXPECT_EQ(send("POST", "/api/ping/test/ff02::1", "").status, 403);
  EXPECT_EQ(send("POST", "/api/ping/test/8.8.8.8", "").error(),
            "8.8.8.8 is not pinged: it is no device's address and gateway.ping_allow does not have "
            "it");
  EXPECT_EQ(get("/api/ping/test/10.0.0.1").status, 405);
  EXPECT_EQ(raw(head("POST", "/api/ping/test/10.0.0.1") + "Content-Length: 0\r\n\r\n").status, 401);
  ping_error = Error{Errc::kTimeout, "no answer in time"};
  const Answer silent = send("POST", "/api/ping/test/10.0.0.1", "");
  EXPECT_EQ(silent.status, 503);
  EXPECT_EQ(silent.error(), "prober-1 did not answer in time");
}

TEST_F(ApiTest, PingsBeyondTheRateAreToldWhenToComeBack) {
  fill();
  add_prober();
  start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(send("POST", "/api/ping/test/10.0.0.1", "").status, 200);
  const Answer answer = send("POST", "/api/v1/ping", R"({"address":"10.0.0.1"})");
  EXPECT_EQ(answer.status, 429) << "one budget for both routes";
  EXPECT_NE(answer.head.find("Retry-After: 20"), std::string::npos) << answer.head;
  EXPECT_EQ(answer.error(), "more than 3 pings a minute by this client: try again in 20 s");
}

TEST_F(ApiTest, OurOwnPingHasEveryEchoAndNamesWhatIsWrong) {
  fill();
  add_prober();
  start();
  const Answer answer = send("POST", "/api/v1/ping", R"({"device":2,"count":3,"spacing_ms":50})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json data = answer.parsed()["data"];
  EXPECT_EQ(data["address"], "10.0.0.2");
  EXPECT_EQ(data["device_id"], 2);
  EXPECT_EQ(data["received"], 3);
  EXPECT_EQ(data["echoes"].size(), 3u);
  EXPECT_EQ(send("POST", "/api/v1/ping", "{}", "text/plain").status, 415);
  EXPECT_EQ(send("POST", "/api/v1/ping", "{").status, 400);
  EXPECT_EQ(send("POST", "/api/v1/ping", R"({"device":2,"count":0})").error(),
            "count = 0: must be from 1 to 100");
  EXPECT_EQ(send("POST", "/api/v1/ping", R"({"device":99})").status, 404);
  EXPECT_EQ(send("POST", "/api/v1/ping", R"({"device":1,"prober":"prober-7"})").status, 422);
}

TEST_F(ApiTest, StopAndStartPauseAndResumeInTheNameOfTheToken) {
  fill();
  add_prober();
  start();
  EXPECT_EQ(get("/api/v1/probing").status, 503) << "inventory has not said";
  Answer answer = send("POST", "/api/ping/service/stop", "");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.parsed(),
            json::parse(R"({"success":true,"message":"Multi-Ping Service stopped",)"
                        R"("service_type":"Multi-Ping Service"})"));
  EXPECT_EQ(get("/api/ping/service/status").parsed()["service_running"], false);
  EXPECT_EQ(get("/api/ping/service/status").parsed()["paused_by"], "admin");
  EXPECT_EQ(get("/api/v1/status").parsed()["probing"]["paused"], true);
  probing = Probing{.since = at(2s).wall};
  answer = send("POST", "/api/ping/service/start", "");
  EXPECT_EQ(answer.parsed()["message"], "Multi-Ping Service started");
  EXPECT_EQ(get("/api/ping/service/status").parsed()["service_running"], true);
  ASSERT_EQ(pauses.size(), 2u);
  EXPECT_TRUE(pauses[0].first);
  EXPECT_FALSE(pauses[1].first);
  EXPECT_EQ(pauses[0].second.actor, "admin");
  EXPECT_EQ(raw(head("POST", "/api/ping/service/stop") + "Content-Length: 0\r\n\r\n").status, 401);
  EXPECT_EQ(get("/api/ping/service/stop").status, 405);
}

TEST_F(ApiTest, APauseOfOursNamesItsAuthorAndAnswersWithTheState) {
  fill();
  add_prober();
  start();
  probing = Probing{.paused = true, .by = "Siti", .reason = "ring", .since = at(1s).wall};
  const Answer answer = send("POST", "/api/v1/probing/pause", R"({"by":"Siti","reason":"ring"})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.parsed()["probing"]["by"], "Siti");
  EXPECT_EQ(answer.parsed()["probers"][0]["name"], "prober-1");
  EXPECT_EQ(pauses[0].second.by, "Siti");
  EXPECT_EQ(pauses[0].second.actor, "admin");
  EXPECT_EQ(get("/api/v1/probing").parsed()["probing"]["reason"], "ring");
  EXPECT_EQ(raw(head("POST", "/api/v1/probing/resume") + "X-API-Token: " + kToken +
                "\r\nContent-Length: 0\r\n\r\n")
                .status,
            200)
      << "no body is needed";
  EXPECT_EQ(send("POST", "/api/v1/probing/pause", R"({"who":"x"})").status, 422);
  EXPECT_EQ(send("POST", "/api/v1/probing/pause", "{").status, 400);
  EXPECT_EQ(send("POST", "/api/v1/probing/pause", "x", "text/plain").status, 415);
  probing = Error{Errc::kTimeout, "no answer"};
  EXPECT_EQ(send("POST", "/api/v1/probing/pause", "").status, 503);
  EXPECT_EQ(send("POST", "/api/ping/service/stop", "").status, 503);
}

}  // namespace
}  // namespace gema::gateway
