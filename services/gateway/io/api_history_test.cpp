// The history routes through a real Unix socket: windows, refusals, columns, exports that end and
// exports that break off.
#include <gtest/gtest.h>

#include <condition_variable>

#include "services/gateway/io/api_fixture_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
using json = nlohmann::json;

constexpr int64_t kHourMs = 3'600'000;

struct HistoryApiTest : ApiTest {
  HistoryApiTest() { fill(); }
  int64_t now_ms() const { return unix_ms(now.wall); }
};

history::Results two_results() {
  return {.rows = {{.due_ms = kEpochMs,
                    .interval_ms = 1000,
                    .verdict = Verdict::kAnswered,
                    .location = 0,
                    .producer = 1,
                    .echo_begin = 0,
                    .echo_count = 2,
                    .rtt_us = 1500},
                   {.due_ms = kEpochMs + 1000,
                    .interval_ms = 1000,
                    .verdict = Verdict::kFailed,
                    .reason = Reason::kTimeout,
                    .location = 0,
                    .producer = 1,
                    .echo_begin = 2,
                    .echo_count = 2}},
          .echoes = {{EchoOutcome::kReply, 1500},
                     {EchoOutcome::kTimeout, 0},
                     {EchoOutcome::kTimeout, 0},
                     {EchoOutcome::kTimeout, 0}},
          .names = {"default", "prober-1\"<"}};
}

Rollup rollup_of(uint64_t answered, uint64_t failed, uint32_t rtt_us) {
  Rollup out;
  out.verdicts = {answered, failed, 0};
  out.reasons[static_cast<size_t>(Reason::kTimeout)] = failed;
  out.outcomes[static_cast<size_t>(EchoOutcome::kReply)] = answered;
  out.outcomes[static_cast<size_t>(EchoOutcome::kTimeout)] = failed;
  for (uint64_t i = 0; i < answered; ++i) out.sketch.add(rtt_us);
  out.rtt_min_us = out.rtt_max_us = answered > 0 ? rtt_us : 0;
  out.rtt_sum_us = answered * rtt_us;
  out.rtt_squares_us = Uint128{answered} * rtt_us * rtt_us;
  return out;
}

// --- results ----------------------------------------------------------------------------------

TEST_F(HistoryApiTest, ResultsInColumnsTellOnceWhatIsTheSameInRowsThatFollowEachOther) {
  start();
  results_ = two_results();
  const Answer answer =
      get("/api/v1/devices/1/results?format=columns&from=" + std::to_string(kEpochMs) +
          "&to=" + std::to_string(kEpochMs + 5000));
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_NE(answer.head.find("application/json"), std::string::npos);
  const json body = answer.parsed();
  EXPECT_EQ(body.at("device_id"), 1);
  EXPECT_EQ(body.at("from"), kEpochMs);
  EXPECT_EQ(body.at("to"), kEpochMs + 5000);
  EXPECT_EQ(body.at("count"), 2);
  EXPECT_EQ(body.at("truncated"), false);
  EXPECT_TRUE(body.at("next_before").is_null());
  EXPECT_EQ(body.at("names"), (json{"default", "prober-1\"<"}));
  EXPECT_EQ(answer.body.find('<'), std::string::npos);
  EXPECT_EQ(body.at("verdicts").at("2"), "not measured");
  EXPECT_EQ(body.at("reasons").at("2"), "timeout");
  EXPECT_EQ(body.at("columns"), json::parse(R"({"rtt_us":[1500,null]})"));
  EXPECT_EQ(body.at("runs"), json::parse(R"({"at":[[1758246347075,1000,2]],"verdict":[[0,1],[1,1]],
                            "reason":[[0,1],[2,1]],"echoes_sent":[[2,2]],
                            "echoes_answered":[[1,1],[0,1]],"interval_ms":[[1000,2]],
                            "location":[[0,2]],"prober":[[1,2]]})"));
  EXPECT_EQ(asked_results.from_ms, kEpochMs);
  EXPECT_EQ(asked_results.to_ms, kEpochMs + 5000);
  EXPECT_EQ(asked_results.limit, static_cast<size_t>(kColumnRowsDefault));
  EXPECT_EQ(asked_results.interval_ms, 1000u);
}

// Another step, a slot that is missing, one that stands alone, two locations with the same slot.
TEST_F(HistoryApiTest, InstantsInColumnsAreRunsOfEqualSteps) {
  start();
  results_ = two_results();
  const history::Row row = results_->rows.front();
  results_->rows.clear();
  for (const int64_t at : {0, 1000, 2000, 7000, 9000, 9000, 40'000}) {
    results_->rows.push_back(row);
    results_->rows.back().due_ms = kEpochMs + at;
  }
  const json body = get("/api/v1/devices/1/results?format=columns").parsed();
  EXPECT_EQ(body.at("runs").at("at"),
            (json{{kEpochMs, 1000, 3}, {kEpochMs + 7000, 2000, 2}, {kEpochMs + 9000, 31'000, 2}}));
  std::vector<int64_t> expanded;
  for (const json& run : body.at("runs").at("at")) {
    for (int64_t i = 0; i < run[2]; ++i) {
      expanded.push_back(run[0].get<int64_t>() + i * run[1].get<int64_t>() - kEpochMs);
    }
  }
  EXPECT_EQ(expanded, (std::vector<int64_t>{0, 1000, 2000, 7000, 9000, 9000, 40'000}));
  EXPECT_EQ(body.at("runs").at("prober"), (json{{row.producer, 7}}));
}

TEST_F(HistoryApiTest, ADeviceWithoutResultsHasEmptyColumns) {
  start();
  const json body = get("/api/v1/devices/3/results?format=columns").parsed();
  EXPECT_EQ(body.at("count"), 0);
  EXPECT_EQ(body.at("columns").at("rtt_us"), json::array());
  EXPECT_EQ(body.at("runs").at("at"), json::array());
  EXPECT_EQ(body.at("runs").at("verdict"), json::array());
}

TEST_F(HistoryApiTest, OlderPagesBeginWhereTheLastOneEnded) {
  start();
  results_ = two_results();
  results_->truncated = true;
  const std::string path = "/api/v1/devices/1/results?limit=2&hours=5&";
  EXPECT_EQ(get(path + "format=columns").parsed().at("next_before"), kEpochMs);
  EXPECT_EQ(get(path + "format=rows").parsed().at("next_before"), "2025-09-19T01:45:47.075000Z");
  for (const char* before : {"1758246347075", "2025-09-19T01:45:47.075000Z"}) {
    get(path + "before=" + before);
    EXPECT_EQ(asked_results.to_ms, kEpochMs);
    EXPECT_EQ(asked_results.from_ms, now_ms() + 1000 - 5 * kHourMs);
  }
  const Answer early = get(path + "before=1600000000000");
  EXPECT_EQ(early.status, 422);
  EXPECT_NE(early.error().find("before = \"1600000000000\": must be after"), std::string::npos);
}

TEST_F(HistoryApiTest, ALocationIsPassedOn) {
  start();
  get("/api/v1/devices/1/results?location=berlin");
  EXPECT_EQ(asked_results.location, "berlin");
  get("/api/v1/devices/1/series?location=berlin");
  EXPECT_EQ(asked_series.location, "berlin");
}

// --- a removed device, an unknown one ----------------------------------------------------------

TEST_F(HistoryApiTest, AnUnknownDeviceIs404AndARemovedOneStillHasItsHistory) {
  start();
  availability->devices = {{.device = 77, .periods = {{}}}};
  for (const char* route :
       {"results", "results?format=columns", "series", "outages", "availability"}) {
    const Answer answer = get(std::string("/api/v1/devices/77/") + route);
    EXPECT_EQ(answer.status, 404) << route << answer.body;
    EXPECT_EQ(answer.error(),
              "no device 77: the inventory does not have it, and history has nothing of it in this "
              "window");
    EXPECT_EQ(get(std::string("/api/v1/devices/3/") + route).status, 200) << route;
    EXPECT_EQ(get(std::string("/api/v1/devices/x/") + route).status, 404) << route;
  }
  EXPECT_EQ(get("/api/v1/statistics?device=1,77").status, 404);
  EXPECT_EQ(get("/api/v1/series?device=1,77").status, 404);
  results_ = two_results();
  EXPECT_EQ(get("/api/v1/devices/77/results").status, 200);
  EXPECT_EQ(get("/api/v1/devices/77/results?format=columns").status, 200);
  series->locations = {{"default", {{.from_ms = 1, .to_ms = 2}}}};
  EXPECT_EQ(get("/api/v1/devices/77/series").status, 200);
  outages->rows = {{.device = 77}};
  const json outage = get("/api/v1/devices/77/outages").parsed().at("data").at(0);
  EXPECT_TRUE(outage.at("hostname").is_null());
  availability->devices[0].total.failed = 1;
  EXPECT_EQ(get("/api/v1/devices/77/availability").status, 200);
  statistics->devices = {{77, rollup_of(1, 0, 5)}};
  EXPECT_EQ(get("/api/v1/statistics?device=77").status, 200);
}

TEST_F(HistoryApiTest, BadParametersAre422WithNameValueAndRule) {
  start();
  availability->devices = {{}};
  const std::pair<const char*, const char*> cases[] = {
      {"/api/v1/devices/1/results?format=xml", "format = \"xml\": must be one of rows, columns"},
      {"/api/v1/devices/1/results?from=x", "from = \"x\": must be an RFC 3339 time"},
      {"/api/v1/devices/1/results?format=columns&limit=200001",
       "limit = \"200001\": must be an integer from 1 to 200000"},
      {"/api/v1/devices/1/results?location=", "location = \"\": must be the name of a location"},
      {"/api/v1/devices/1/series?points=0", "points = \"0\": must be an integer from 1 to 10000"},
      {"/api/v1/devices/1/series?points=10001", "points = \"10001\": must be"},
      {"/api/v1/devices/1/series?points=many", "points = \"many\": must be an integer"},
      {"/api/v1/devices/1/series?quantiles=101", "quantiles = \"101\": must be \"smoke\" or"},
      {"/api/v1/devices/1/series?from=2025-09-19T00:00:00Z&to=2025-09-18T00:00:00Z",
       "from = \"2025-09-19T00:00:00Z\": must be before to = \"2025-09-18T00:00:00Z\""},
      {"/api/v1/series", "device is required"},
      {"/api/v1/series?device=1,x", "device = \"1,x\": must be at most 1000 device ids"},
      {"/api/v1/devices/1/outages?active=maybe", "active = \"maybe\": must be 1, true, 0 or false"},
      {"/api/v1/outages?limit=10001", "limit = \"10001\": must be an integer from 1 to 10000"},
      {"/api/v1/devices/1/availability?period=year",
       "period = \"year\": must be one of all, hour, day, week, month"},
      {"/api/v1/devices/1/availability?period=hour&hours=2402",
       "period = \"hour\": the window has more than 2400 of them"},
      {"/api/v1/statistics?percentiles=x", "percentiles = \"x\": must be"},
      {"/api/v1/statistics?hours=0", "hours = \"0\": must be an integer from 1 to 87840"},
      {"/api/v1/statistics?per_device=2", "per_device = \"2\": must be 1, true, 0 or false"}};
  for (const auto& [target, rule] : cases) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 422) << target << answer.body;
    EXPECT_EQ(answer.error().rfind(rule, 0), 0u) << answer.error();
  }
}

// "devices" for "device" would otherwise answer for all of them.
TEST_F(HistoryApiTest, ParametersThatARouteLacksOrThatComeTwiceAre422) {
  start();
  availability->devices = {{}};
  const std::pair<const char*, const char*> cases[] = {
      {"/api/v1/outages?devices=1", "devices: is no parameter of this route; it has device, from,"},
      {"/api/v1/statistics?form=2026-11-20T00:00:00Z", "form: is no parameter of this route"},
      {"/api/v1/statistics?=1", ": is no parameter of this route"},
      {"/api/v1/devices/1/series?device=2",
       "device: is no parameter of this route; it has from, to, hours, points, location, "
       "quantiles"},
      {"/api/v1/devices/1/outages?device=2", "device: is no parameter of this route"},
      {"/api/v1/devices/1/results?point=5", "point: is no parameter of this route"},
      {"/api/v1/devices/1/availability?per=day", "per: is no parameter of this route"},
      {"/api/v1/devices/1/results?limit=5&limit=6", "limit = \"6\": is given twice"},
      {"/api/v1/series?device=1&device=2", "device = \"2\": is given twice"},
      {"/api/v1/devices/1/availability?hours=1&hours=1", "hours = \"1\": is given twice"}};
  for (const auto& [target, rule] : cases) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 422) << target << answer.body;
    EXPECT_EQ(answer.error().rfind(rule, 0), 0u) << answer.error();
  }
  // Each that openapi.yaml names is one.
  for (const char* target :
       {"/api/v1/devices/1/results?hours=1&format=columns&limit=1&before=4000000000000&location=a",
        "/api/v1/devices/1/series?from=1000000000000&to=2000000000000&points=1&location=a"
        "&quantiles=1",
        "/api/v1/series?device=1&hours=1&points=1&location=a&quantiles=1",
        "/api/v1/devices/1/outages?hours=1&to=2000000000000&active=1&checks=1&limit=1",
        "/api/v1/outages?device=1&from=1000000000000&to=2000000000000&active=1&checks=1&limit=1",
        "/api/v1/devices/1/availability?hours=1&period=all&location=a",
        "/api/v1/"
        "statistics?device=1&hours=1&location=a&per_device=1&whole_hours=1&percentiles=1"}) {
    EXPECT_EQ(get(target).status, 200) << target;
  }
}

TEST_F(HistoryApiTest, WithoutADatabaseEachIs503WithoutItsSecrets) {
  start();
  const Error away{Errc::kUnavailable, "connection to server at 10.9.8.7 failed: password"};
  results_ = away;
  series = away;
  outages = away;
  availability = away;
  statistics = away;
  overview = away;
  for (const char* target :
       {"/api/v1/devices/1/results", "/api/v1/devices/1/results?format=columns",
        "/api/v1/devices/1/series", "/api/v1/series?device=1", "/api/v1/devices/1/outages",
        "/api/v1/outages", "/api/v1/devices/1/availability", "/api/v1/statistics",
        "/api/v1/history"}) {
    const Answer answer = get(target);
    EXPECT_EQ(answer.status, 503) << target;
    EXPECT_EQ(answer.error(), "History is not available: the database cannot be reached");
  }
}

TEST_F(HistoryApiTest, WhatTheReaderRefusesIsTheCallersMistakeAndAnSqlErrorIsNot) {
  start();
  series = Error{Errc::kBadInput, "points = 0: must be from 1 to 10000"};
  EXPECT_EQ(get("/api/v1/devices/1/series").status, 422);
  series = Error{Errc::kBadInput, "integer out of range (SQLSTATE 22003)"};
  EXPECT_EQ(get("/api/v1/devices/1/series").status, 503);
}

// --- series, statistics -------------------------------------------------------------------------

TEST_F(HistoryApiTest, ASeriesIsColumnsForEachLocation) {
  start();
  series = history::Series{
      .from_ms = 1000,
      .to_ms = 9000,
      .step_ms = 5000,
      .locations = {{"default",
                     {{.from_ms = 1000, .to_ms = 5000, .rollup = rollup_of(4, 1, 2000)},
                      {.from_ms = 5000, .to_ms = 9000, .rollup = rollup_of(0, 2, 0)}}}},
      .broken = {{.table = "ping_packed"}}};
  const Answer answer = get("/api/v1/devices/1/series?points=7&quantiles=50,99.9&hours=48");
  ASSERT_EQ(answer.status, 200);
  const json body = answer.parsed();
  EXPECT_EQ(body.at("device_ids"), json{1});
  EXPECT_EQ(body.at("step_ms"), 5000);
  EXPECT_EQ(body.at("points_are"), "steps");
  EXPECT_EQ(body.at("broken_rows"), 1);
  const json& one = body.at("series").at(0);
  EXPECT_EQ(one.at("location"), "default");
  EXPECT_EQ(one.at("count"), 2);
  // All echoes took as long, so every percentile did.
  const uint32_t median = 2000;
  EXPECT_EQ(one.at("columns"), (json{{"at", {1000, 5000}},
                                     {"answered", {4, 0}},
                                     {"failed", {1, 2}},
                                     {"not_measured", {0, 0}},
                                     {"echoes_sent", {5, 2}},
                                     {"echoes_answered", {4, 0}},
                                     {"loss_percent", {20, 100}},
                                     {"rtt_min_us", {2000, nullptr}},
                                     {"rtt_mean_us", {2000, nullptr}},
                                     {"rtt_max_us", {2000, nullptr}},
                                     {"rtt_deviation_us", {0, nullptr}},
                                     {"jitter_us", {0, nullptr}},
                                     {"p50", {median, nullptr}},
                                     {"p99.9", {median, nullptr}}}));
  EXPECT_EQ(asked_series.points_max, 7u);
  EXPECT_EQ(asked_series.devices, std::vector<DeviceId>{1});
  EXPECT_EQ(asked_series.to_ms - asked_series.from_ms, 48 * kHourMs);
  get("/api/v1/series?device=3,1");
  EXPECT_EQ(asked_series.devices, (std::vector<DeviceId>{1, 3}));
}

TEST_F(HistoryApiTest, StatisticsAreATotalAndColumnsPerDevice) {
  start();
  statistics =
      history::WindowStatistics{.from_ms = 1,
                                .to_ms = 2,
                                .devices = {{1, rollup_of(3, 1, 1000)}, {2, rollup_of(1, 0, 3000)}},
                                .total = rollup_of(4, 1, 1500)};
  statistics->measured = 2;
  json body = get("/api/v1/statistics?percentiles=50").parsed();
  EXPECT_EQ(body.at("devices_measured"), 2);
  EXPECT_EQ(body.at("total").at("answered"), 4);
  EXPECT_EQ(body.at("total").at("reasons"), (json{{"timeout", 1}}));
  EXPECT_EQ(body.at("total").at("loss_percent"), 20.0);
  EXPECT_TRUE(body.at("total").contains("p50"));
  EXPECT_FALSE(body.contains("columns"));
  EXPECT_FALSE(asked_statistics.per_device);
  EXPECT_TRUE(asked_statistics.whole_hours);
  body = get("/api/v1/statistics?per_device=1&whole_hours=0").parsed();
  EXPECT_EQ(body.at("columns").at("device_id"), (json{1, 2}));
  EXPECT_EQ(body.at("columns").at("answered"), (json{3, 1}));
  EXPECT_TRUE(asked_statistics.per_device);
  EXPECT_FALSE(asked_statistics.whole_hours);
}

TEST_F(HistoryApiTest, WhoAsksWithinSecondsAsksForTheSameWindow) {
  start();
  get("/api/v1/statistics?hours=24");
  const auto first = asked_statistics;
  now = at(2s);
  get("/api/ping/statistics?hours=24");
  EXPECT_EQ(asked_statistics.to_ms, first.to_ms);
  EXPECT_EQ(asked_statistics.from_ms, first.from_ms);
  EXPECT_GT(first.to_ms, now_ms());
  EXPECT_FALSE(asked_statistics.per_device);
}

// --- outages, availability ---------------------------------------------------------------------

TEST_F(HistoryApiTest, OutagesNameTheDeviceAndWhatIsKnown) {
  start();
  outages = history::Outages{.rows = {{.id = {0xab, 1},
                                       .device = 1,
                                       .start_ms = kEpochMs,
                                       .confirmed_ms = kEpochMs + 2000,
                                       .decided_at_ms = kEpochMs + 2500,
                                       .duration_ms = 60'000,
                                       .reason = Reason::kTimeout,
                                       .failures_to_confirm = 3,
                                       .location = "default",
                                       .prober = "prober-1",
                                       .checks = 60,
                                       .failed_checks = 59,
                                       .recovery_percent = std::nullopt}},
                             .truncated = true};
  const json body = get("/api/v1/outages?active=1&limit=1&hours=48").parsed();
  EXPECT_EQ(body.at("count"), 1);
  EXPECT_EQ(body.at("active"), 1);
  EXPECT_EQ(body.at("truncated"), true);
  const json& row = body.at("data").at(0);
  EXPECT_EQ(row.at("id"), "ab010000-0000-0000-0000-000000000000");
  EXPECT_EQ(row.at("hostname"), "<script>alert(1)</script>");
  EXPECT_EQ(row.at("address"), "10.0.0.1");
  EXPECT_EQ(row.at("active"), true);
  EXPECT_EQ(row.at("start"), "2025-09-19T01:45:47.075000Z");
  EXPECT_TRUE(row.at("end").is_null());
  EXPECT_EQ(row.at("duration_ms"), 60'000);
  EXPECT_EQ(row.at("reason"), "timeout");
  EXPECT_EQ(row.at("failed_checks"), 59);
  EXPECT_TRUE(row.at("recovery_percent").is_null());
  EXPECT_TRUE(asked_outages.active_only);
  EXPECT_TRUE(asked_outages.devices.empty());
  EXPECT_EQ(asked_outages.limit, 1u);
  get("/api/v1/devices/2/outages?checks=0");
  EXPECT_EQ(asked_outages.devices, std::vector<DeviceId>{2});
  EXPECT_FALSE(asked_outages.with_checks);
}

TEST_F(HistoryApiTest, AvailabilityIsByLocalDays) {
  start();
  availability->devices = {{.device = 1,
                            .periods = {{.from_ms = kEpochMs,
                                         .to_ms = kEpochMs + 100,
                                         .up_ms = 60,
                                         .down_ms = 30,
                                         .not_measured_ms = 10,
                                         .answered = 6,
                                         .failed = 3,
                                         .not_measured = 1,
                                         .outages = 1,
                                         .outage_ms = 30},
                                        {.from_ms = kEpochMs + 100, .to_ms = kEpochMs + 200}},
                            .total = {.from_ms = kEpochMs, .to_ms = kEpochMs + 200, .up_ms = 60}}};
  const json body = get("/api/v1/devices/1/availability?period=day&from=2025-09-16T00:00:00Z"
                        "&to=2025-09-18T00:00:00Z")
                        .parsed();
  // Local midnight is at 17:00 UTC.
  const int64_t from = 1'757'980'800'000;
  EXPECT_EQ(
      asked_availability.bounds,
      (std::vector<int64_t>{from, from + 17 * kHourMs, from + 41 * kHourMs, from + 48 * kHourMs}));
  EXPECT_EQ(asked_availability.now_ms, now_ms());
  EXPECT_EQ(body.at("period"), "day");
  EXPECT_EQ(body.at("timezone"), "Asia/Jakarta");
  EXPECT_EQ(body.at("columns").at("up_ms"), (json{60, 0}));
  EXPECT_EQ(body.at("columns").at("up_percent"), (json{66.6667, nullptr}));
  EXPECT_EQ(body.at("columns").at("label").at(0), "2025-09-19T08:45:47");
  EXPECT_EQ(body.at("total").at("up_percent"), 100.0);
}

// --- cleanup, overview ---------------------------------------------------------------------------

TEST_F(HistoryApiTest, CleanupAsksTheRecorderAndTellsWhatWent) {
  start();
  cleaned = CleanupReport{.leaves = 3, .bytes = 12'345, .before_ms = 1'757'980'800'000};
  const Answer answer =
      send("POST", "/api/v1/history/cleanup", R"({"older_than_days":30,"dry_run":true})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"success":true,"dry_run":true,"before":"2025-09-16T00:00:00.000000Z",)"
                         R"("partitions":3,"bytes":12345})");
  ASSERT_EQ(cleanups.size(), 1u);
  EXPECT_EQ(cleanups[0],
            (CleanupOrder{.older_than_days = 30, .dry_run = true, .actor = Auth::kAdminName}));
  const std::pair<const char*, const char*> cases[] = {
      {"{}", "older_than_days is required: days, from 1"},
      {R"({"older_than_days":0})", "older_than_days = 0: must be a whole number from 1 to 36500"},
      {R"({"older_than_days":36501})", "older_than_days = 36501: must be a whole number"},
      {R"({"older_than_days":"30"})", "older_than_days = \"30\": must be a whole number"},
      {R"({"older_than_days":30,"dry_run":1})", "dry_run = 1: must be true or false"},
      {R"({"older_than_days":30,"force":true})", "\"force\": no such field"}};
  for (const auto& [body, rule] : cases) {
    const Answer refused = send("POST", "/api/v1/history/cleanup", body);
    EXPECT_EQ(refused.status, 422) << body;
    EXPECT_EQ(refused.error().rfind(rule, 0), 0u) << refused.error();
  }
  EXPECT_EQ(send("POST", "/api/v1/history/cleanup", "[").status, 400);
  EXPECT_EQ(send("POST", "/api/v1/history/cleanup", "{}", "text/plain").status, 415);
  EXPECT_EQ(cleanups.size(), 1u);
  cleaned = Error{Errc::kTimeout, "no answer"};
  EXPECT_EQ(send("POST", "/api/v1/history/cleanup", R"({"older_than_days":30})").status, 503);
}

TEST_F(HistoryApiTest, TheOverviewIsForOperators) {
  start();
  overview->tables = {{.name = "ping_hot", .bytes = 10, .leaves = 2},
                      {.name = "ping_packed", .bytes = 5, .leaves = 1, .from_ms = kEpochMs}};
  overview->hours_dirty = 4;
  const json body = get("/api/v1/history").parsed();
  EXPECT_EQ(body.at("bytes"), 15);
  EXPECT_EQ(body.at("tables").at(1).at("from"), "2025-09-19T01:45:47.075000Z");
  EXPECT_EQ(body.at("hours_dirty"), 4);
  EXPECT_TRUE(body.at("cleaned_up_to").is_null());
}

// --- export --------------------------------------------------------------------------------------

// Gives the pieces, then ends; "!" is an error, "..." gives text for ever.
struct Pieces : ExportSource {
  explicit Pieces(std::vector<std::string> p, std::function<void()> on_end = {})
      : pieces(std::move(p)), ended(std::move(on_end)) {}
  ~Pieces() override {
    if (ended) ended();
  }
  Result<bool> next(std::string& out) override {
    if (pieces[at] == "!") return Error{Errc::kUnavailable, "the connection was lost"};
    if (pieces[at] == "...") {
      out.append(1 << 16, 'x');
      return true;
    }
    out += pieces[at++];
    return at < pieces.size();
  }

  std::vector<std::string> pieces;
  size_t at = 0;
  std::function<void()> ended;
};

struct ExportApiTest : HistoryApiTest {
  // Requests may end after their answer; what they tell of it must still be there.
  ~ExportApiTest() override {
    if (server) server->stop();
  }

  void pieces(std::vector<std::string> p) {
    open_export = [this, p]() -> Result<std::unique_ptr<ExportSource>> {
      return std::unique_ptr<ExportSource>(std::make_unique<Pieces>(p, [this] {
        const std::lock_guard lock(ends_mutex);
        ++ends;
        changed.notify_all();
      }));
    };
  }
  Answer ask(const std::string& query = "", const std::string& version = "1.1") {
    return raw("GET /api/v1/export" + query + " HTTP/" + version + "\r\nAuthorization: Bearer " +
               kToken + "\r\n\r\n");
  }
  // Without the chunks' borders; nullopt: it has no last chunk.
  static std::optional<std::string> whole(std::string_view body) {
    std::string out;
    while (true) {
      const size_t line = body.find("\r\n");
      if (line == std::string_view::npos) return std::nullopt;
      const size_t size = std::stoul(std::string(body.substr(0, line)), nullptr, 16);
      if (size == 0) return out;
      out += body.substr(line + 2, size);
      body.remove_prefix(line + 2 + size + 2);
    }
  }

  std::mutex ends_mutex;
  std::condition_variable changed;
  int ends = 0;
};

TEST_F(ExportApiTest, IsStreamedWholeInChunks) {
  const std::string large(100'000, 'x');
  pieces({"header\r\n", "", large, "end\r\n"});
  start();
  const Answer answer = ask("?device=1,2&format=csv&hours=3");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.head.find("text/csv"), std::string::npos);
  EXPECT_NE(answer.head.find("gema_results.csv"), std::string::npos);
  EXPECT_EQ(whole(answer.body), "header\r\n" + large + "end\r\n");
  EXPECT_EQ(asked_export.devices.size(), 2u);
  EXPECT_EQ(asked_export.devices[0].name, "<script>alert(1)</script>");
  EXPECT_EQ(asked_export.to_ms - asked_export.from_ms, 3 * kHourMs);
  EXPECT_EQ(ask("?format=ndjson").status, 200);
  EXPECT_EQ(asked_export.format, history::ExportFormat::kNdjson);
  EXPECT_EQ(asked_export.devices.size(), 3u);
}

TEST_F(ExportApiTest, ThatFailsHalfWayHasNoEnd) {
  pieces({"header\r\n", "row\r\n", "!"});
  start();
  const Answer answer = ask();
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find("row"), std::string::npos);
  EXPECT_EQ(whole(answer.body), std::nullopt);
}

TEST_F(ExportApiTest, ThatFailsAtOnceIsAnErrorOfItsOwn) {
  pieces({"!"});
  start();
  EXPECT_EQ(ask().status, 503);
  open_export = []() -> Result<std::unique_ptr<ExportSource>> {
    return Error{Errc::kUnavailable, "history is busy: 2 exports are under way"};
  };
  const Answer busy = ask();
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(busy.error(), "History is not available: history is busy: 2 exports are under way");
  open_export = []() -> Result<std::unique_ptr<ExportSource>> {
    return Error{Errc::kBadInput, "no device 77"};
  };
  EXPECT_EQ(ask("?device=77").status, 404);
  EXPECT_EQ(ask("?format=xml").status, 422);
  EXPECT_EQ(ask("?devices=1").status, 422);
  EXPECT_EQ(ask("?format=csv&format=csv").status, 422);
  EXPECT_EQ(ask("", "1.0").status, 426);
}

TEST_F(ExportApiTest, EndsWhenTheClientLeaves) {
  pieces({"..."});
  start();
  {
    Connection client(socket);
    client.send("GET /api/v1/export HTTP/1.1\r\nAuthorization: Bearer " + std::string(kToken) +
                "\r\n\r\n");
    client.read("xxx");
  }
  std::unique_lock lock(ends_mutex);
  EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [this] { return ends == 1; }));
}

TEST_F(ExportApiTest, WaitsForASlowClientButNotForEver) {
  pieces({"..."});
  start();
  Connection client(socket);
  client.send("GET /api/v1/export HTTP/1.1\r\nAuthorization: Bearer " + std::string(kToken) +
              "\r\n\r\n");
  client.read("xxx");
  std::unique_lock lock(ends_mutex);
  // Its socket stays full for longer than a write may take.
  EXPECT_FALSE(changed.wait_for(lock, std::chrono::seconds(3), [this] { return ends > 0; }));
  later_s = 61;
  EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [this] { return ends == 1; }));
}

}  // namespace
}  // namespace gema::gateway
