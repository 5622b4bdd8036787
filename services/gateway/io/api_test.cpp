// The routes through a real Unix socket, as nginx asks: bodies, errors, tokens, events. What lies
// behind the routes (bus, database) is a function here.
#include "services/gateway/io/api.h"

#include <gtest/gtest.h>

#include <fstream>

#include "common/runtime/clock.h"
#include "common/runtime/local_time.h"
#include "services/gateway/io/api_fixture_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
using json = nlohmann::json;

// --- who may call -------------------------------------------------------------------------------

TEST_F(ApiTest, HealthAndThePageAreOpenAndAllElseNeedsAToken) {
  fill();
  start();
  const std::set<std::string> open = {"/",       "/assets/app.js", "/assets/style.css",
                                      "/health", "/api/health",    "/api/monitoring/health"};
  for (const auto& [method, pattern] : api->routes()) {
    std::string target = pattern;
    if (const size_t id = target.find("{id}"); id != std::string::npos) {
      target.replace(id, 4, "1");
    }
    const Answer answer = raw(head(method, target) + "\r\n");
    EXPECT_EQ(answer.status, open.contains(pattern) ? 200 : 401) << method << " " << target;
  }
  EXPECT_TRUE(changes.empty());
}

TEST_F(ApiTest, ATokenComesAsBearerOrInItsOwnHeader) {
  fill();
  start();
  const auto status = [this](const std::string& headers) {
    return raw(head("GET", "/api/ping/status") + headers + "\r\n").status;
  };
  const std::string token = kToken;
  EXPECT_EQ(status("Authorization: Bearer " + token + "\r\n"), 200);
  EXPECT_EQ(status("authorization: bearer  " + token + "\r\n"), 200);
  EXPECT_EQ(status("X-API-Token: " + token + "\r\n"), 200);
  EXPECT_EQ(status("Authorization: Bearer " + token + "x\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer " + token.substr(1) + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: Basic " + token + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: " + token + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer\r\n"), 401);
  EXPECT_EQ(status("X-API-Token: \r\n"), 401);
  EXPECT_EQ(status("X-API-Token: " + token + "\r\nAuthorization: Bearer wrong\r\n"), 401);
  EXPECT_EQ(raw(head("GET", "/api/ping/status?token=" + token) + "\r\n").status, 401);
}

TEST_F(ApiTest, A401SaysWhatIsMissingInTheFamilysEnvelope) {
  start();
  const Answer answer = raw(head("GET", "/api/ping/latest") + "\r\n");
  EXPECT_EQ(answer.parsed().at("success"), false);
  EXPECT_NE(answer.error().find("token is required"), std::string::npos);
  EXPECT_NE(answer.head.find("WWW-Authenticate: Bearer"), std::string::npos);
}

TEST(Auth, RefusesTokensEverybodyKnowsAndShortOnes) {
  for (const char* bad : {"prod-token-123", "123456", "", "short", "has a blank in the middle"}) {
    EXPECT_FALSE(Auth::of_token(bad)) << bad;
  }
  EXPECT_TRUE(Auth::of_token("0123456789abcdef"));
}

TEST(Auth, ATokenFileMustBeThereAndPrivate) {
  const gema::testing::TempDir dir;
  const auto file = dir / "admin.token";
  EXPECT_FALSE(Auth::load(file));
  std::ofstream(file) << "prod-token-123\n";
  ::chmod(file.c_str(), 0600);
  EXPECT_FALSE(Auth::load(file));
  std::ofstream(file) << "0123456789abcdef\n";
  EXPECT_TRUE(Auth::load(file));
  ::chmod(file.c_str(), 0640);
  auto readable = Auth::load(file);
  ASSERT_FALSE(readable);
  EXPECT_NE(readable.error().message.find("chmod 600"), std::string::npos);
}

// --- errors -------------------------------------------------------------------------------------

TEST_F(ApiTest, UnknownRoutesAre404InJson) {
  start();
  for (const char* target : {"/nope", "/api", "/api/ping", "/api/ping/latest/x", "/api/v2/devices",
                             "/assets/../admin.token", "/assets/", "//"}) {
    const Answer answer = get(target);
    const bool traversal = std::string(target).find("..") != std::string::npos;
    EXPECT_EQ(answer.status, std::string(target) == "//" ? 200 : traversal ? 400 : 404) << target;
    if (answer.status != 200) {
      EXPECT_EQ(answer.parsed().at("success"), false);
      EXPECT_NE(answer.head.find("application/json"), std::string::npos);
    }
  }
}

TEST_F(ApiTest, TheMultiPingRoutesAreThereUnderTheBaseOfItsLaterVersions) {
  fill();
  start();
  size_t routes = 0;
  for (const auto& [method, pattern] : api->routes()) {
    if (pattern != "/api/health" && pattern.rfind("/api/ping/", 0) != 0) continue;
    ++routes;
    std::string target = pattern.substr(4);
    if (const size_t id = target.find("{id}"); id != std::string::npos) target.replace(id, 4, "1");
    if (method == "POST") continue;  // those have effects
    const Answer longer = get("/api/monitoring" + target);
    EXPECT_EQ(longer.status, 200) << target;
    EXPECT_EQ(longer.body, get("/api" + target).body) << target;
  }
  EXPECT_EQ(routes, 14U);
  EXPECT_EQ(get("/api/monitoring/ping/device/1?hours=0").error(),
            "hours = \"0\": must be an integer from 1 to 2160");
  EXPECT_EQ(send("POST", "/api/monitoring/ping/csv/rebuild?date=tomorrow", "").status, 200);
  EXPECT_EQ(csv_day, "tomorrow");
  EXPECT_EQ(send("POST", "/api/monitoring/ping/latest", "{}").status, 405);
  // One route, however it was called.
  EXPECT_TRUE(observed.contains("/api/ping/latest 200"));
  for (const std::string& seen : observed) EXPECT_EQ(seen.find("monitoring"), std::string::npos);
  // Not ours: the base alone, and what is no route of the multi-ping system.
  for (const char* target : {"/api/monitoring", "/api/monitoring/v1/status", "/api/monitoring/x"}) {
    EXPECT_EQ(send("POST", target, "{}").status, 404) << target;
    EXPECT_EQ(get(target).status, 404) << target;
  }
}

TEST_F(ApiTest, AWrongMethodIs405AndNamesTheRightOnes) {
  start();
  Answer answer = send("POST", "/api/ping/latest", "{}");
  EXPECT_EQ(answer.status, 405);
  EXPECT_NE(answer.head.find("Allow: GET"), std::string::npos) << answer.head;
  answer = send("PUT", "/api/v1/devices/1", "{}");
  EXPECT_EQ(answer.status, 405);
  EXPECT_NE(answer.head.find("Allow: GET, PATCH, DELETE"), std::string::npos) << answer.head;
}

TEST_F(ApiTest, ParametersOutOfRangeAreNamedWithValueAndRule) {
  fill();
  start();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/api/ping/device/1?hours=0", "hours = \"0\": must be an integer from 1 to 2160"},
      {"/api/ping/device/1?hours=x", "hours = \"x\": must be an integer from 1 to 2160"},
      {"/api/ping/device/1?hours=2161", "hours = \"2161\": must be an integer from 1 to 2160"},
      {"/api/ping/statistics?hours=-1", "hours = \"-1\": must be an integer from 1 to 2160"},
      {"/api/ping/statistics?device_id=x", "device_id = \"x\": must be a whole number from 1"},
      {"/api/ping/timeout/devices?min_consecutive=x",
       "min_consecutive = \"x\": must be an integer from 0 to 1000000000"},
      {"/api/ping/timeout/critical?threshold=",
       "threshold = \"\": must be an integer from 0 to 1000000000"},
      {"/api/v1/devices?limit=0", "limit = \"0\": must be an integer from 1 to 1000"},
      {"/api/v1/devices?limit=1001", "limit = \"1001\": must be an integer from 1 to 1000"},
      {"/api/v1/devices?after=-1",
       "after = \"-1\": must be an integer from 0 to 9223372036854775807"}};
  for (const auto& [target, sentence] : cases) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 422) << target;
    EXPECT_EQ(answer.error(), sentence);
  }
}

TEST_F(ApiTest, WithoutACatalogueTheRoutesSayTheServiceIsNotThere) {
  start();
  for (const char* target :
       {"/api/ping/latest", "/api/ping/status", "/api/ping/statistics", "/api/ping/timeout/summary",
        "/api/ping/timeout/devices", "/api/ping/timeout/critical", "/api/ping/service/status"}) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 503) << target;
    EXPECT_EQ(answer.body, R"({"success":false,"error":"Multi-ping service not available"})");
  }
  EXPECT_EQ(get("/api/v1/devices").status, 503);
  EXPECT_EQ(get("/api/v1/status").status, 200);
}

TEST_F(ApiTest, TimeoutRoutesWaitForTheTrackerAndTheOthersDoNot) {
  view.with([](LiveView& live) { live.on_catalogue(catalogue({1}), at(0s)); });
  start();
  EXPECT_EQ(get("/api/ping/timeout/summary").status, 503);
  EXPECT_EQ(get("/api/ping/latest").status, 200);
}

TEST_F(ApiTest, WithTrackingOffTheTimeoutRoutesSaySo) {
  fill();
  view.with([](LiveView& live) {
    live.on_gap(std::nullopt, at(0s));
    live.take_snapshot_request(at(0s));
    Snapshot off;
    off.timeout_tracking_enabled = false;
    live.on_snapshot(off, at(0s));
  });
  start();
  EXPECT_EQ(get("/api/ping/timeout/summary").body,
            R"({"success":true,"data":{"timeout_tracking_disabled":true}})");
  EXPECT_EQ(get("/api/ping/timeout/devices").parsed().at("data"), json::array());
  const Answer critical = get("/api/ping/timeout/critical");
  EXPECT_EQ(critical.status, 503);
  EXPECT_EQ(critical.error(), "Timeout tracking is disabled");
}

// --- CSV files -----------------------------------------------------------------------------------

TEST_F(ApiTest, ARebuildOfTheCsvFileAnswersAsTheSourceSystemDoes) {
  start();
  const auto outcome = [this](CsvRebuildOutcome which, const std::string& error = "") {
    csv_rebuilt = CsvRebuilt{which, 7, error};
    const Answer answer = send("POST", "/api/ping/csv/rebuild", "");
    return std::to_string(answer.status) + " " +
           (answer.status == 200 ? answer.body : answer.error());
  };
  const std::string done =
      "200 {\"success\":true,"
      "\"message\":\"CSV rebuild initiated successfully from cached database state\","
      "\"device_count\":7,\"note\":\"Duplicate ping prevention active\"}";
  EXPECT_EQ(outcome(CsvRebuildOutcome::kDone), done);
  EXPECT_EQ(outcome(CsvRebuildOutcome::kStarted), done);
  EXPECT_EQ(outcome(CsvRebuildOutcome::kBusy),
            "409 Ping cycle already in progress, please wait and try again");
  EXPECT_EQ(outcome(CsvRebuildOutcome::kNoDevices), "404 No active devices found");
  EXPECT_EQ(outcome(CsvRebuildOutcome::kNotReady, "history cannot be read now"),
            "503 Multi-ping service not available: history cannot be read now");
  EXPECT_EQ(outcome(CsvRebuildOutcome::kFailed, "disk full"), "500 disk full");
  csv_rebuilt = Error{Errc::kTimeout, "no answer"};
  EXPECT_EQ(send("POST", "/api/ping/csv/rebuild", "").status, 503);
  csv_rebuilt = CsvRebuilt{CsvRebuildOutcome::kBadDay, 7, "no"};
  const Answer refused = send("POST", "/api/ping/csv/rebuild?date=tomorrow", "");
  EXPECT_EQ(refused.status, 422);
  EXPECT_EQ(refused.error().rfind("date = \"tomorrow\": must be a date", 0), 0u) << refused.body;
  csv_rebuilt = Error{Errc::kPermanent, "must not be asked"};
  EXPECT_EQ(send("POST", "/api/ping/csv/rebuild?date=%ff", "").status, 422);
  EXPECT_EQ(csv_day, "tomorrow");
}

TEST_F(ApiTest, TheCsvFilesAreListedWithLocalTimes) {
  start();
  csv_files = std::vector<CsvFile>{
      {"ping_results_20250919.csv", "2025-09-19", 1234, 12, wall_from_ms(kEpochMs)},
      {"ping_results_backup.csv", "", 5, 0, wall_from_ms(0)}};
  EXPECT_EQ(get("/api/ping/csv/files").body,
            "{\"success\":true,\"data\":[{\"filename\":\"ping_results_20250919.csv\","
            "\"date\":\"2025-09-19\",\"size_bytes\":1234,\"device_count\":12,"
            "\"last_modified\":\"2025-09-19T08:45:47.075000\"},"
            "{\"filename\":\"ping_results_backup.csv\",\"date\":\"Unknown\",\"size_bytes\":5,"
            "\"device_count\":0,\"last_modified\":\"1970-01-01T07:00:00\"}],\"count\":2}");
  csv_files = Error{Errc::kTimeout, "no answer"};
  const Answer away = get("/api/ping/csv/files");
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(away.error(), "Multi-ping service not available");
}

// --- the multi-ping system's routes -------------------------------------------------------------

TEST_F(ApiTest, TheLatestResultsComeFromTheLiveView) {
  fill();
  start();
  const json body = get("/api/ping/latest?limit=1").parsed();
  EXPECT_EQ(body.at("count"), 1);
  EXPECT_EQ(body.at("data").at(0).at("hostname"), "<script>alert(1)</script>");
  EXPECT_EQ(body.at("data").at(0).at("response_time_ms"), "12.5");
  EXPECT_EQ(get("/api/ping/latest").body.find("<script"), std::string::npos);
  EXPECT_EQ(get("/api/ping/timeout/critical").parsed().at("threshold"), 5);
  EXPECT_EQ(get("/api/ping/timeout/critical").parsed().at("count"), 1);
  EXPECT_EQ(get("/api/ping/timeout/critical?threshold=6").parsed().at("count"), 0);
  EXPECT_EQ(get("/api/ping/statistics").parsed().at("statistics").at("total_devices"), 2);
}

TEST_F(ApiTest, ADevicesHistoryIsTheWholeWindowBoundedByLimit) {
  fill();
  start();
  DeviceHistory rows;
  for (int i = 5; i > 0; --i) {
    rows.rows.push_back({kEpochMs + i * 1000, Verdict::kAnswered, Reason::kNone, 1000});
  }
  history = rows;
  const json body = get("/api/ping/device/1?hours=24").parsed();
  EXPECT_EQ(body.at("count"), 5);
  EXPECT_EQ(body.at("device_id"), 1);
  EXPECT_EQ(body.at("data").at(0).at("timestamp"), "2025-09-19T08:45:52.075000");
  EXPECT_EQ(asked.to_ms - asked.from_ms, 24 * 3'600'000);
  EXPECT_EQ(asked.to_ms, unix_ms(now.wall) + 1000);
  EXPECT_EQ(asked.limit, static_cast<size_t>(kHistoryRowsMax));
  get("/api/ping/device/1?limit=3");
  EXPECT_EQ(asked.limit, 3u);
  EXPECT_EQ(get("/api/ping/device/1?limit=3").parsed().at("count"), 3);
  EXPECT_EQ(get("/api/ping/device/1?limit=-2").parsed().at("count"), 3);
  EXPECT_EQ(get("/api/ping/device/1?limit=0").parsed().at("count"), 5);
  EXPECT_EQ(get("/api/ping/device/1?limit=x").parsed().at("count"), 5);
}

TEST_F(ApiTest, AnUnknownDeviceHasNoRowsAndAnIdThatIsNoneIs404) {
  fill();
  start();
  EXPECT_EQ(get("/api/ping/device/99").body,
            R"({"success":true,"device_id":99,"data":[],"count":0})");
  for (const char* id : {"abc", "0", "-1", "1.5", "99999999999999999999", "1%00"}) {
    const int status = get(std::string("/api/ping/device/") + id).status;
    EXPECT_EQ(status, std::string(id) == "1%00" ? 400 : 404) << id;
  }
}

TEST_F(ApiTest, HistoryWithoutADatabaseIs503WithoutItsSecrets) {
  fill();
  start();
  history = Error{Errc::kUnavailable, "connection to server at 10.9.8.7 failed: password"};
  Answer answer = get("/api/ping/device/1");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.error(), "History is not available: the database cannot be reached");
  statistics = Error{Errc::kTimeout, "history did not answer within 10 s"};
  answer = get("/api/ping/statistics?hours=24");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.error(), "History is not available: history did not answer within 10 s");
}

TEST_F(ApiTest, StatisticsOverHoursComeFromHistory) {
  fill();
  start();
  Rollup rollup;
  rollup.verdicts = {3, 1, 7};
  rollup.outcomes[static_cast<size_t>(EchoOutcome::kReply)] = 3;
  rollup.rtt_min_us = 1000;
  rollup.rtt_max_us = 3000;
  rollup.rtt_sum_us = 6000;
  statistics = history::WindowStatistics{.measured = 1, .total = rollup};
  EXPECT_EQ(get("/api/ping/statistics?hours=2&device_id=1").body,
            R"({"success":true,"device_id":1,"statistics":{"total_devices":1,)"
            R"("successful_pings":3,"failed_pings":1,"success_rate":75.0,)"
            R"("average_response_time_ms":2.0,"min_response_time_ms":1.0,)"
            R"("max_response_time_ms":3.0}})");
  EXPECT_EQ(asked_statistics.devices, std::vector<DeviceId>{1});
  EXPECT_EQ(asked_statistics.to_ms - asked_statistics.from_ms, 2 * 3'600'000);
}

// --- page, metrics ------------------------------------------------------------------------------

TEST_F(ApiTest, ThePageComesWithAPolicyThatForbidsAllButItsOwn) {
  start();
  const Answer page = raw(head("GET", "/") + "\r\n");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.head.find("Content-Security-Policy: default-src 'none'; script-src 'self'"),
            std::string::npos);
  EXPECT_NE(page.head.find("text/html"), std::string::npos);
  EXPECT_NE(page.body.find("<title>Gema</title>"), std::string::npos);
  EXPECT_EQ(page.body.find("<script>"), std::string::npos);  // none inline: the policy forbids it
  EXPECT_NE(raw(head("GET", "/assets/app.js") + "\r\n").head.find("text/javascript"),
            std::string::npos);
  EXPECT_NE(raw(head("GET", "/assets/style.css") + "\r\n").head.find("text/css"),
            std::string::npos);
}

// Names come from outside: nothing in the script may make markup of text.
TEST(Page, TheScriptNeverMakesMarkupOfData) {
  const std::string script(page::app_js());
  for (const char* forbidden : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
                                "eval(", "new Function", "setAttribute(\"on", "localStorage"}) {
    EXPECT_EQ(script.find(forbidden), std::string::npos) << forbidden;
  }
  EXPECT_NE(script.find("textContent"), std::string::npos);
}

TEST_F(ApiTest, MetricsOfAllProcessesAndCountsByRoute) {
  fill();
  start();
  EXPECT_EQ(get("/api/v1/metrics").body, "gema_x 1\n");
  get("/api/ping/device/5");
  get("/api/ping/device/6");
  get("/nope");
  raw(head("GET", "/api/ping/status") + "\r\n");
  server->stop();
  EXPECT_EQ(observed, (std::set<std::string>{"/api/v1/metrics 200", "/api/ping/device/{id} 200",
                                             " 404", "/api/ping/status 401"}));
}

// --- events -------------------------------------------------------------------------------------

TEST_F(ApiTest, AnEventClientGetsTheStateFirstAndThenWhatHappens) {
  fill();
  start();
  Connection client(socket);
  client.send(head("GET", "/api/v1/events") + "X-API-Token: " + kToken + "\r\n\r\n");
  std::string text = client.read("event: results");
  EXPECT_NE(text.find("Content-Type: text/event-stream"), std::string::npos);
  EXPECT_NE(text.find("X-Accel-Buffering: no"), std::string::npos);
  EXPECT_EQ(text.find("Content-Length"), std::string::npos);
  EXPECT_NE(text.find("event: counts\ndata: {"), std::string::npos);
  EXPECT_NE(text.find("event: silent\ndata: {\"total\":1"), std::string::npos);
  text = client.read("\"device_id\":1");
  EXPECT_EQ(text.find("<script>"), std::string::npos);
  events.publish(Frame::Kind::kTransition, "event: transition\ndata: {\"x\":1}\n\n");
  EXPECT_NE(client.read("\"x\":1").find("event: transition\ndata: {\"x\":1}\n\n"),
            std::string::npos);
}

TEST_F(ApiTest, MoreEventClientsThanAllowedAreRefusedUntilOneLeaves) {
  fill();
  start();
  const std::string request = head("GET", "/api/v1/events") + "X-API-Token: " + kToken + "\r\n\r\n";
  auto first = std::make_unique<Connection>(socket);
  Connection second(socket);
  for (Connection* c : {first.get(), &second}) {
    c->send(request);
    c->read("event: results");
  }
  EXPECT_EQ(raw(request).status, 503);
  EXPECT_EQ(events.stats().refused, 1u);
  first.reset();
  // The server notices within half a second.
  Answer answer;
  for (int i = 0; i < 1'000'000 && events.stats().clients == 2; ++i) {
    std::this_thread::yield();
    ::usleep(1000);  // lint: allow(sleep-in-test) polls for the event, with a bound
  }
  EXPECT_EQ(events.stats().clients, 1u);
  Connection third(socket);
  third.send(request);
  EXPECT_NE(third.read("event: results").find(" 200 "), std::string::npos);
}

// Does not read: its socket fills, then its queue, then it is dropped; the others go on.
TEST_F(ApiTest, AnEventClientThatDoesNotReadIsDroppedAndCounted) {
  fill();
  start();
  const std::string request = head("GET", "/api/v1/events") + "X-API-Token: " + kToken + "\r\n\r\n";
  Connection slow(socket);
  slow.send(request);
  slow.read("event: results");
  const std::string big = "event: results\ndata: " + std::string(500'000, 'x') + "\n\n";
  for (int i = 0; i < 100 && events.stats().dropped == 0; ++i) {
    events.publish(Frame::Kind::kResults, big);
  }
  EXPECT_EQ(events.stats().dropped, 1u);
  Connection quick(socket);
  quick.send(request);
  EXPECT_NE(quick.read("event: results").find(" 200 "), std::string::npos);
  // Once it reads again it is told why, or its connection is simply over.
  const std::string rest = slow.read();
  EXPECT_LT(rest.size(), 100 * big.size());
}

TEST_F(ApiTest, AHeadOfEventsOpensNoStream) {
  start();
  const Answer answer = raw(head("HEAD", "/api/v1/events") + "X-API-Token: " + kToken + "\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(events.stats().clients, 0u);
}

// --- the description ----------------------------------------------------------------------------

// openapi.yaml lists exactly the routes there are, those of the multi-ping system by their older
// name. Read by indentation; that it is valid is checked by tools/tests/test_openapi.py.
TEST_F(ApiTest, OpenApiDescribesEveryRouteAndNoOther) {
  start();
  std::ifstream file(std::string(GEMA_SOURCE_DIR) + "/openapi.yaml");
  ASSERT_TRUE(file);
  std::set<std::string> described;
  std::string line;
  std::string path;
  bool in_paths = false;
  while (std::getline(file, line)) {
    if (!line.empty() && line[0] != ' ' && line[0] != '#') {
      in_paths = line == "paths:";
    } else if (in_paths && line.rfind("  /", 0) == 0) {
      path = line.substr(2, line.size() - 3);
    } else if (in_paths) {
      for (const char* method : {"get", "post", "put", "patch", "delete"}) {
        if (line == "    " + std::string(method) + ":") {
          std::string upper = method;
          std::transform(upper.begin(), upper.end(), upper.begin(),
                         [](char c) { return static_cast<char>(c - 32); });
          described.insert(upper + " " + path);
          if (path == "/api/health" || path.rfind("/api/ping/", 0) == 0) {
            described.insert(upper + " /api/monitoring" + path.substr(4));
          }
        }
      }
    }
  }
  std::set<std::string> registered;
  for (const auto& [method, pattern] : api->routes()) {
    registered.insert(method + " " + pattern);
  }
  EXPECT_EQ(described, registered);
}

TEST(LocalTime, AnUnknownZoneIsRefused) {
  EXPECT_FALSE(runtime::use_timezone("Mars/Olympus"));
  EXPECT_FALSE(runtime::use_timezone("../etc/passwd"));
  ASSERT_TRUE(runtime::use_timezone("Asia/Jakarta"));
  EXPECT_EQ(runtime::local_offset()(1'758'246'347), 7 * 3600);
  ASSERT_TRUE(runtime::use_timezone("UTC"));
}

}  // namespace
}  // namespace gema::gateway
