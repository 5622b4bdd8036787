// The bodies of the multi-ping routes, byte for byte, and those of our own.
#include <gtest/gtest.h>

#include <algorithm>

#include "services/gateway/core/client_queue.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/params.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/core/view_for_test.h"

namespace gema::gateway {
namespace {

using namespace testing;  // NOLINT: the fixtures' names are for this
constexpr auto kAnswered = Verdict::kAnswered;
constexpr auto kFailed = Verdict::kFailed;
constexpr auto kNotMeasured = Verdict::kNotMeasured;

const UtcOffset kJakarta = [](int64_t) { return 7 * 3600; };

// Three devices: 1 answers in 12.5 ms, 2 has failed 12 times, 3 was never measured.
View three() {
  LiveView view;
  Catalogue devices = catalogue({1, 2, 3});
  devices.devices[0].hostname = "POCC";
  devices.devices[0].merk = "Vivotek FD8377-HV";
  devices.devices[0].kondisi = "baik";
  devices.devices[0].id_lokasi = "4";
  view.on_catalogue(devices, at(0s));
  view.take_snapshot_request(at(0s));
  Snapshot snapshot;
  snapshot.states = {state(2, 12, kEpochMs, DeviceStatus::kDown)};
  snapshot.timeouts_file = "ping_results/timeout_tracking.csv";
  view.on_snapshot(snapshot, at(0s));
  view.on_results(record(1), results({{1, kEpochMs, kAnswered, 12'500}}), at(0s).wall, at(0s));
  view.on_heartbeat({.name = "prober-1", .kind = "prober", .heard_at = at(0s).mono});
  return view.view(at(1s));
}

constexpr const char* kRow1 =
    R"({"timestamp":"2025-09-19T08:45:47.075000","device_id":"1","ip_address":"10.0.0.1",)"
    R"("hostname":"POCC","ping_success":"True","response_time_ms":"12.5","error_message":"",)"
    R"("merk":"Vivotek FD8377-HV","os":"","kondisi":"baik","id_lokasi":"4"})";
constexpr const char* kRow2 =
    R"({"timestamp":"2025-09-19T08:45:47.075000","device_id":"2","ip_address":"10.0.0.2",)"
    R"("hostname":"10.0.0.2","ping_success":"False","response_time_ms":"",)"
    R"x("error_message":"No response (timeout)","merk":"","os":"","kondisi":"","id_lokasi":""})x";
constexpr const char* kTracking2 =
    R"({"ip_address":"10.0.0.2","hostname":"10.0.0.2","device_id":"2","merk":"","os":"",)"
    R"("kondisi":"","consecutive_timeouts":"12","first_timeout":"2025-09-19T08:45:36.075000",)"
    R"("last_timeout":"2025-09-19T08:45:47.075000","last_updated":"2025-09-19T08:45:47.075000"})";

TEST(MultiPing, Health) {
  EXPECT_EQ(health_body(),
            R"({"success":true,"status":"healthy","service":"ping-monitoring-api"})");
}

TEST(MultiPing, LatestHasOneRowOfTextsPerMeasuredDevice) {
  EXPECT_EQ(latest_body(three(), nullptr, kJakarta),
            std::string(R"({"success":true,"data":[)") + kRow1 + "," + kRow2 + R"(],"count":2})");
}

TEST(MultiPing, LatestHonoursTheSourcesLimit) {
  const View view = three();
  const auto count = [&view](std::string limit) {
    const std::string body = latest_body(view, &limit, kJakarta);
    return body.substr(body.rfind("\"count\":") + 8, 1);
  };
  EXPECT_EQ(count("1"), "1");
  EXPECT_EQ(count("0"), "2");
  EXPECT_EQ(count("abc"), "2");
  EXPECT_EQ(count("-1"), "1");
  EXPECT_EQ(count("-2"), "0");
  EXPECT_EQ(count("99999"), "2");
}

TEST(MultiPing, Status) {
  EXPECT_EQ(status_body(three(), kJakarta),
            std::string(R"({"success":true,"data":{"status_breakdown":{"online":1,"offline":1,)") +
                R"("total":2},"last_updated":"2025-09-19T08:45:47.075000","devices":[)" + kRow1 +
                "," + kRow2 + "]}}");
}

TEST(MultiPing, StatusOfNothingMeasured) {
  EXPECT_EQ(status_body(loaded({1}).view(at(0s)), kJakarta),
            R"({"success":true,"data":{"status_breakdown":{"online":0,"offline":0,"total":0},)"
            R"("last_updated":null,"devices":[]}})");
}

TEST(MultiPing, StatisticsOverTheLatestResults) {
  const View view = three();
  EXPECT_EQ(statistics_body(statistics_of(view, std::nullopt), std::nullopt),
            R"({"success":true,"device_id":null,"statistics":{"total_devices":2,)"
            R"("successful_pings":1,"failed_pings":1,"success_rate":50.0,)"
            R"("average_response_time_ms":12.5,"min_response_time_ms":12.5,)"
            R"("max_response_time_ms":12.5}})");
  EXPECT_EQ(statistics_body(statistics_of(view, 2), 2),
            R"({"success":true,"device_id":2,"statistics":{"total_devices":1,)"
            R"("successful_pings":0,"failed_pings":1,"success_rate":0.0,)"
            R"("average_response_time_ms":null,"min_response_time_ms":null,)"
            R"("max_response_time_ms":null}})");
}

TEST(MultiPing, StatisticsAreRoundedToTwoDecimals) {
  const HistoryStatistics third{.devices = 3,
                                .answered = 1,
                                .failed = 2,
                                .rtt_mean_us = 1234.567,
                                .rtt_min_us = 999,
                                .rtt_max_us = 2000};
  EXPECT_EQ(statistics_body(third, std::nullopt),
            R"({"success":true,"device_id":null,"statistics":{"total_devices":3,)"
            R"("successful_pings":1,"failed_pings":2,"success_rate":33.33,)"
            R"("average_response_time_ms":1.23,"min_response_time_ms":0.999,)"
            R"("max_response_time_ms":2.0}})");
}

TEST(MultiPing, DeviceHistoryIsAListOfRowsAndSaysWhatWasNotMeasured) {
  const Device known = device(1, "POCC");
  EXPECT_EQ(device_body(1, &known,
                        {{kEpochMs + 925, kFailed, Reason::kUnreachable, 0},
                         {kEpochMs, kNotMeasured, Reason::kProberSuspect, 0}},
                        kJakarta),
            R"({"success":true,"device_id":1,"data":[)"
            R"({"timestamp":"2025-09-19T08:45:48","device_id":"1","ip_address":"10.0.0.1",)"
            R"("hostname":"POCC","ping_success":"False","response_time_ms":"",)"
            R"("error_message":"Ping error: unreachable","merk":"","os":"","kondisi":"",)"
            R"("id_lokasi":""},)"
            R"({"timestamp":"2025-09-19T08:45:47.075000","device_id":"1",)"
            R"("ip_address":"10.0.0.1","hostname":"POCC","ping_success":"",)"
            R"("response_time_ms":"","error_message":"Not measured: prober suspect","merk":"",)"
            R"("os":"","kondisi":"","id_lokasi":""}],"count":2})");
  EXPECT_EQ(device_body(9, nullptr, {}, kJakarta),
            R"({"success":true,"device_id":9,"data":[],"count":0})");
}

TEST(MultiPing, TimeoutSummary) {
  EXPECT_EQ(timeout_summary_body(three()),
            R"({"success":true,"data":{"total_timeout_devices":1,"max_consecutive_timeouts":12,)"
            R"("average_consecutive_timeouts":12.0,"devices_with_high_timeouts":1,)"
            R"("timeout_csv_path":"ping_results/timeout_tracking.csv"}})");
  EXPECT_EQ(timeout_summary_body(loaded({1}).view(at(0s))),
            R"({"success":true,"data":{"total_timeout_devices":0,"max_consecutive_timeouts":0,)"
            R"("average_consecutive_timeouts":0.0,"devices_with_high_timeouts":0}})");
}

TEST(MultiPing, AFileThatIsNotWrittenIsNotNamed) {
  View view = three();
  view.timeouts_file = "/srv/csv/timeout_tracking.csv";
  EXPECT_NE(
      timeout_summary_body(view).find(R"("timeout_csv_path":"/srv/csv/timeout_tracking.csv")"),
      std::string::npos);
  view.timeouts_file.clear();
  EXPECT_EQ(timeout_summary_body(view).find("csv"), std::string::npos);
  EXPECT_NE(service_status_body(view, {}, kJakarta)
                .find(R"("timeout_tracking":{"enabled":true,"csv_file":null,"summary":{)"),
            std::string::npos);
}

TEST(MultiPing, HighMeansStrictlyMoreThanTen) {
  LiveView view;
  view.on_catalogue(catalogue({1, 2}), at(0s));
  view.take_snapshot_request(at(0s));
  Snapshot snapshot;
  snapshot.states = {state(1, 10, kEpochMs), state(2, 11, kEpochMs)};
  view.on_snapshot(snapshot, at(0s));
  const std::string body = timeout_summary_body(view.view(at(0s)));
  EXPECT_NE(body.find(R"("devices_with_high_timeouts":1)"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("average_consecutive_timeouts":10.5)"), std::string::npos) << body;
}

TEST(MultiPing, TimeoutDevicesAndCritical) {
  const View view = three();
  EXPECT_EQ(timeout_devices_body(view, 1, kJakarta),
            std::string(R"({"success":true,"data":[)") + kTracking2 +
                R"(],"count":1,"min_consecutive_filter":1})");
  EXPECT_EQ(timeout_devices_body(view, 13, kJakarta),
            R"({"success":true,"data":[],"count":0,"min_consecutive_filter":13})");
  EXPECT_EQ(
      timeout_critical_body(view, 12, kJakarta),
      std::string(R"({"success":true,"data":[)") + kTracking2 + R"(],"count":1,"threshold":12})");
}

TEST(MultiPing, TimeoutRoutesWhenTrackingIsOff) {
  View view = three();
  view.tracking_enabled = false;
  EXPECT_EQ(timeout_summary_body(view),
            R"({"success":true,"data":{"timeout_tracking_disabled":true}})");
  EXPECT_EQ(timeout_devices_body(view, 1, kJakarta),
            R"({"success":true,"data":[],"count":0,"min_consecutive_filter":1})");
}

TEST(MultiPing, ServiceStatusHasTheKeysOfReadmeAndSource) {
  View view = three();
  view.catalogue_heard_at = wall_from_ms(kEpochMs);
  std::string body = service_status_body(view, {}, kJakarta);
  const std::string key = R"("current_signature":")";
  const size_t at_signature = body.find(key) + key.size();
  EXPECT_EQ(body.substr(at_signature + 16, 4), "...\"");
  EXPECT_EQ(body.substr(at_signature, 16).find_first_not_of("0123456789abcdef"), std::string::npos);
  body.replace(at_signature, 19, "SIGNATURE");
  EXPECT_EQ(body,
            R"({"success":true,"service_type":"Multi-Ping Service","service_running":true,)"
            R"("ping_interval_seconds":1,"csv_output_directory":"ping_results",)"
            R"("active_devices_count":3,"max_workers":20,"ping_timeout_seconds":3,)"
            R"("paused_by":null,"paused_since":null,"pause_reason":null,)"
            R"("database_monitoring":{"monitoring_enabled":true,"check_interval_seconds":30,)"
            R"("last_check_timestamp":"2025-09-19T08:45:47.075000","change_detection_count":0,)"
            R"("cached_device_count":3,"current_signature":"SIGNATURE"},)"
            R"("timeout_tracking":{"enabled":true,"csv_file":"ping_results/timeout_tracking.csv",)"
            R"("summary":{"total_timeout_devices":1,"max_consecutive_timeouts":12,)"
            R"("devices_with_high_timeouts":1}}})");
}

TEST(MultiPing, TheServiceRunsWhileAProberIsAlive) {
  View view = three();
  view.at = at(10s);
  EXPECT_NE(service_status_body(view, {}, kJakarta).find(R"("service_running":false)"),
            std::string::npos);
}

TEST(Json, EscapesWhateverAHostIsCalled) {
  Json json;
  json.object()
      .text("a", "<script>alert(\"x\")&</script>\\\n\x01\x7f")
      .text("b", "caf\xC3\xA9 \xF0\x9F\x98\x80")
      .text("c", "\xff\xC3(\xE0\x80\x80\xED\xA0\x80\xF5\x80\x80\x80\xC3")
      .end_object();
  EXPECT_EQ(json.take(),
            "{\"a\":\"\\u003cscript\\u003ealert(\\\"x\\\")\\u0026\\u003c/script\\u003e\\\\\\n"
            "\\u0001\\u007f\",\"b\":\"caf\xC3\xA9 \xF0\x9F\x98\x80\",\"c\":\"\\ufffd\\ufffd("
            "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"}");
}

TEST(Json, PutsCommasWhereTheyBelong) {
  Json json;
  json.array().object().end_object().array().end_array().number(-5).null().boolean(false);
  json.real(1.0).real(0.1).real(1.0 / 0.0).object().number("a", 1u).null("b").end_object();
  json.end_array();
  EXPECT_EQ(json.take(), R"([{},[],-5,null,false,1.0,0.1,null,{"a":1,"b":null}])");
}

TEST(Params, LimitsAreReadAsPythonReadsThem) {
  const auto rows = [](std::string text) { return rows_for_limit(&text, 100, 1000, 5000); };
  EXPECT_EQ(rows("7"), 7u);
  EXPECT_EQ(rows(" +7 "), 7u);
  EXPECT_EQ(rows("1001"), 1000u);
  EXPECT_EQ(rows("0"), 5000u);
  EXPECT_EQ(rows("-10"), 4990u);
  EXPECT_EQ(rows("-5000"), 0u);
  EXPECT_EQ(rows("-9223372036854775808"), 0u);
  for (const char* no_integer : {"", "x", "1.5", "7x", "99999999999999999999", "+-7", "--7"}) {
    EXPECT_EQ(rows(no_integer), 100u) << no_integer;
  }
  EXPECT_EQ(rows_for_limit(nullptr, 100, 1000, 5000), 100u);
  EXPECT_EQ(rows_for_limit(nullptr, 100, 1000, 5), 5u);
}

TEST(Params, AStrictParameterIsRefusedByNameValueAndRule) {
  const std::string text = "0";
  auto value = integer_param("hours", &text, 24, 1, 2160);
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().message, "hours = \"0\": must be an integer from 1 to 2160");
  EXPECT_EQ(integer_param("hours", nullptr, 24, 1, 2160).value(), 24);
}

TEST(Params, DeviceIdsArePositiveDigits) {
  EXPECT_EQ(parse_device_id("17"), 17u);
  for (const char* bad :
       {"", "0", "-1", "+1", " 1", "1x", "abc", "9223372036854775808", "99999999999999999999"}) {
    EXPECT_EQ(parse_device_id(bad), std::nullopt) << bad;
  }
}

TEST(LocalIso, IsNaiveLocalAndDropsAFractionOfZero) {
  EXPECT_EQ(local_iso(1'758'246'347'075'895, kJakarta), "2025-09-19T08:45:47.075895");
  EXPECT_EQ(local_iso(1'758'246'347'000'000, kJakarta), "2025-09-19T08:45:47");
  const UtcOffset new_york = [](int64_t) { return -5 * 3600; };
  EXPECT_EQ(local_iso(0, new_york), "1969-12-31T19:00:00");
}

TEST(V1, AStatusSaysWhoIsThereAndWhatIsMissing) {
  const std::string body = status_json(three());
  for (const char* part :
       {R"("devices":3)", R"("answered":1)", R"("not_measured":1)", R"("silent":1)",
        R"("worst_lag_ms":0.0)", R"("rtt_min_ms":12.5)", R"("rtt_median_ms":12.5)",
        R"("rtt_max_ms":12.5)", R"("tracker_loaded":true)", R"("newest_result_age_ms":1000)",
        R"("catalogue":{"generation":1,"number":1})", R"("name":"prober-1")", R"("alive":true)"}) {
    EXPECT_NE(body.find(part), std::string::npos) << part << " in " << body;
  }
  const std::string empty = status_json(LiveView().view(at(0s)));
  EXPECT_NE(empty.find(R"("catalogue":null)"), std::string::npos);
  EXPECT_NE(empty.find(R"("newest_result_age_ms":null)"), std::string::npos);
}

TEST(V1, APageOfDevicesNamesWhereTheNextBegins) {
  const View view = loaded({1, 2, 5}).view(at(0s));
  const std::string first = devices_page(view, 0, 2);
  EXPECT_NE(first.find(R"("count":2,"total":3,"limit":2,"next_after":2})"), std::string::npos)
      << first;
  const std::string rest = devices_page(view, 2, 2);
  EXPECT_NE(rest.find(R"("count":1,"total":3,"limit":2,"next_after":null})"), std::string::npos);
  EXPECT_NE(rest.find(R"({"id":5,"address":"10.0.0.5")"), std::string::npos);
}

TEST(V1, ADeviceIsWrittenWholeWithHostileTags) {
  Device hostile = device(1);
  hostile.tags = {{"a\"b", "<x>"}, {"site", "jkt"}};
  hostile.probe_from = {"default", "roof"};
  hostile.tcp_ports = {22, 443};
  const std::string body = device_json(hostile);
  EXPECT_NE(
      body.find(R"("echo_spacing_ms":100,"web_status":200,"web_insecure":false,"web_auth":"",)"
                R"("web_json":"","tcp_ports":[22,443],"tags")"),
      std::string::npos)
      << body;
  EXPECT_NE(body.find(R"("tags":{"a\"b":"\u003cx\u003e","site":"jkt"})"), std::string::npos)
      << body;
  EXPECT_NE(body.find(R"("probe_from":["default","roof"],"parent":null)"), std::string::npos);
}

TEST(V1, FramesAreOneLineOfJsonEach) {
  const View view = three();
  for (const std::string& text :
       {counts_frame(view), silent_frame(view), results_frame(view, {1, 2, 3, 99})}) {
    EXPECT_EQ(text.rfind("event: ", 0), 0u);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
    EXPECT_EQ(text.substr(text.size() - 2), "\n\n");
  }
  EXPECT_NE(results_frame(view, {1}).find(R"("rtt_ms":12.5)"), std::string::npos);
  EXPECT_NE(silent_frame(view).find(R"("total":1)"), std::string::npos);
}

TEST(V1, CountsNameWhatAProcessWaitsForAndWhichIsGone) {
  LiveView live = loaded({1});
  const std::string none = counts_frame(live.view(at(0s)));
  EXPECT_NE(none.find(R"("troubles":[])"), std::string::npos) << none;
  live.on_heartbeat({.name = "inventory", .kind = "inventory", .heard_at = at(0s).mono});
  live.on_heartbeat({.name = "prober-2", .kind = "prober", .heard_at = at(0s).mono});
  live.on_heartbeat({.name = "recorder",
                     .kind = "recorder",
                     .waiting_for = {"postgres: its disk is full"},
                     .heard_at = at(9s).mono});
  const std::string frame = counts_frame(live.view(at(9s)));
  EXPECT_NE(frame.find(R"("troubles":[{"process":"inventory","what":"does not answer"},)"
                       R"({"process":"recorder","what":"postgres: its disk is full"}])"),
            std::string::npos)
      << frame;
}

TEST(V1, ADeviceIsShownWithItsLastResultAndWhy) {
  LiveView live = loaded({1, 2});
  PingResults r = results({{1, kEpochMs, kFailed, 0}});
  r.reason = {Reason::kUnreachable};
  r.echo_outcome = {EchoOutcome::kHostUnreachable};
  r.notes = {{.icmp_type = 3, .icmp_code = 1, .from = {.bytes = {192, 0, 2, 2}, .family = 4}}};
  live.on_results(record(1), r, at(0s).wall, at(0s));
  r = results({{1, kEpochMs + 1000, kNotMeasured, 0}});
  r.reason = {Reason::kPaused};
  r.note = "Siti";
  live.on_results(record(2), r, at(1s).wall, at(1s));
  const View view = live.view(at(1s));
  const std::string body = device_live_json(view, 0);
  const std::string why = R"("why":"host unreachable, said by 192.0.2.2")";
  EXPECT_NE(body.find(why), std::string::npos) << body;
  EXPECT_NE(body.find(R"("icmp_type":3,"icmp_code":1,"said_by":"192.0.2.2")"), std::string::npos);
  EXPECT_NE(body.find(R"("reason":"paused","paused_by":"Siti"})"), std::string::npos) << body;
  EXPECT_NE(silent_frame(view).find(why), std::string::npos) << silent_frame(view);
  EXPECT_NE(results_frame(view, {1}).find(why), std::string::npos);
  const std::string never = device_live_json(view, 1);
  EXPECT_NE(never.find(R"("last_success":null,"result":null,"newest":null})"), std::string::npos)
      << never;
}

TEST(V1, NewsAreFramesOfTheirOwn) {
  LiveView live = loaded({1});
  PingResults r = results({{1, kEpochMs, kAnswered, 1}});
  r.address_changes = {
      {.device = 1, .at_ms = kEpochMs, .from = {}, .to = {.bytes = {192, 0, 2, 7}, .family = 4}}};
  r.health = {.lag_max_us = 700'000, .suspicion = Suspicion::kLag};
  live.on_results(record(1), r, at(0s).wall, at(0s));
  const View view = live.view(at(0s));
  EXPECT_EQ(address_frame(view, live.take_new_address_changes().at(0)),
            "event: address\ndata: "
            R"({"device_id":1,"hostname":"10.0.0.1","address":"10.0.0.1",)"
            R"("at":"2025-09-19T01:45:47.075000Z","location":"default","prober":"prober-1",)"
            R"("was":null,"becomes":"192.0.2.7"})"
            "\n\n");
  EXPECT_EQ(prober_frame(live.take_new_trust(at(0s)).at(0)),
            "event: prober\ndata: "
            R"({"name":"prober-1","location":"default","suspicion":"lag",)"
            R"("suspicion_since":"2025-09-19T01:45:47.075000Z","lag_ms":700.0,"send_errors":0,)"
            R"("socket_drops":0,"missed_slots":0,"canaries_answered":0,"canaries_failed":0})"
            "\n\n");
  EXPECT_NE(status_json(view).find(R"("probers":[{"name":"prober-1","location":"default",)"
                                   R"("suspicion":"lag")"),
            std::string::npos);
}

TEST(V1, ADeviceThatLivesByProofHasNoRoundTripTime) {
  LiveView view = loaded({1, 2});
  view.on_results(
      record(1),
      results({{1, kEpochMs, Verdict::kAnswered, 0}, {2, kEpochMs, Verdict::kAnswered, 4000}}),
      at(0s).wall, at(0s));
  const View shown = view.view(at(0s));
  EXPECT_NE(results_frame(shown, {1}).find(R"("rtt_ms":null)"), std::string::npos);
  EXPECT_EQ(shown.round_trips().min_us, 4000u);
  EXPECT_EQ(statistics_of(shown, std::nullopt).rtt_min_us, 4000u);
  EXPECT_EQ(statistics_of(shown, std::nullopt).rtt_mean_us, 4000.0);
  EXPECT_EQ(statistics_of(shown, std::nullopt).answered, 2u);
}

TEST(V1, SilentRowsAreCappedAndTheTotalIsTrue) {
  std::vector<DeviceId> ids;
  std::vector<Check> checks;
  for (DeviceId id = 1; id <= kSilentRowsMax + 50; ++id) {
    ids.push_back(id);
    checks.push_back({id, kEpochMs, kFailed, 0});
  }
  LiveView view = loaded(ids);
  view.on_results(record(1), results(checks), at(0s).wall, at(0s));
  const std::string frame = silent_frame(view.view(at(0s)));
  EXPECT_NE(frame.find("\"total\":" + std::to_string(kSilentRowsMax + 50)), std::string::npos);
  size_t rows = 0;
  for (size_t p = frame.find("device_id"); p != std::string::npos;
       p = frame.find("device_id", p + 1)) {
    ++rows;
  }
  EXPECT_EQ(rows, kSilentRowsMax);
}

TEST(Metrics, OfSeveralProcessesAreMergedByFamily) {
  const std::string a =
      "# HELP gema_prober_sent_total Sent.\n# TYPE gema_prober_sent_total counter\n"
      "gema_prober_sent_total 5\ngema_prober_sent_total{family=\"6\"} 7\n"
      "# TYPE rtt histogram\nrtt_bucket{le=\"1\"} 2\nrtt_sum 3\n";
  const std::string b =
      "# HELP gema_prober_sent_total Sent.\n# TYPE gema_prober_sent_total counter\n"
      "gema_prober_sent_total 6\ngarbage\n";
  EXPECT_EQ(merge_metrics({{"prober-1", a}, {"prober-2", b}}),
            "# HELP gema_prober_sent_total Sent.\n# TYPE gema_prober_sent_total counter\n"
            "gema_prober_sent_total{process=\"prober-1\"} 5\n"
            "gema_prober_sent_total{process=\"prober-1\",family=\"6\"} 7\n"
            "gema_prober_sent_total{process=\"prober-2\"} 6\n"
            "# TYPE rtt histogram\nrtt_bucket{process=\"prober-1\",le=\"1\"} 2\n"
            "rtt_sum{process=\"prober-1\"} 3\n");
}

Frame frame(Frame::Kind kind, std::string text) {
  return {kind, std::make_shared<const std::string>(std::move(text))};
}

TEST(ClientQueue, GivesFramesInOrderAndReplacesWholeStates) {
  using enum ClientQueue::Pushed;
  ClientQueue queue;
  EXPECT_EQ(queue.push(frame(Frame::Kind::kCounts, "counts 1")), kQueued);
  EXPECT_EQ(queue.push(frame(Frame::Kind::kTransition, "t1")), kQueued);
  EXPECT_EQ(queue.push(frame(Frame::Kind::kTransition, "t2")), kQueued);
  EXPECT_EQ(queue.push(frame(Frame::Kind::kCounts, "counts 2")), kReplaced);
  EXPECT_EQ(*queue.pop(), "counts 2");
  EXPECT_EQ(*queue.pop(), "t1");
  EXPECT_EQ(*queue.pop(), "t2");
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(ClientQueue, AClientBeyondTheBoundIsTooSlowForGood) {
  using enum ClientQueue::Pushed;
  ClientQueue by_frames(2, 1000);
  by_frames.push(frame(Frame::Kind::kResults, "a"));
  by_frames.push(frame(Frame::Kind::kResults, "b"));
  EXPECT_EQ(by_frames.push(frame(Frame::Kind::kResults, "c")), kTooSlow);
  EXPECT_TRUE(by_frames.too_slow());
  EXPECT_EQ(by_frames.frames(), 0u);
  EXPECT_EQ(by_frames.push(frame(Frame::Kind::kCounts, "d")), kTooSlow);

  ClientQueue by_bytes(100, 10);
  EXPECT_EQ(by_bytes.push(frame(Frame::Kind::kResults, "1234567890")), kQueued);
  EXPECT_EQ(by_bytes.push(frame(Frame::Kind::kResults, "1")), kTooSlow);
}

}  // namespace
}  // namespace gema::gateway
