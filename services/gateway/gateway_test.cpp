// The process as it is: gema-gateway with a real broker and a real PostgreSQL; a prober's producer,
// and inventory and tracker as calls and messages, played by this test.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "common/bus/calls.h"
#include "common/bus/heartbeat.h"
#include "common/bus/testing/broker_process.h"
#include "common/bus/topics.h"
#include "common/codec/device_codec.h"
#include "common/codec/on_demand_codec.h"
#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/postgres/migrate.h"
#include "common/runtime/clock.h"
#include "common/stream/producer.h"
#include "tests/support/postgres_server.h"
#include "tests/support/wait_until.h"

namespace gema::gateway {
namespace {

using gema::bus::testing::BrokerProcess;
using gema::bus::testing::http_get;
using gema::testing::ChildProcess;
using gema::testing::PostgresServer;
using gema::testing::TempDir;
using gema::testing::wait_until;
using json = nlohmann::json;

constexpr const char* kToken = "gema-test-token-0123456789";
constexpr uint32_t kIntervalMs = 1000;

Device device(DeviceId id) {
  Device out;
  out.id = id;
  out.address = fmt::format("192.0.2.{}", id);
  out.hostname = fmt::format("host-{}", id);
  out.interval_ms = kIntervalMs;
  out.timeout_ms = 500;
  return out;
}

// One of those we play.
struct Played {
  std::unique_ptr<bus::BusClient> client;
  std::unique_ptr<bus::CallServer> calls;
};

struct GatewayTest : ::testing::Test {
  GatewayTest() {
    std::ofstream(data / "admin.token") << kToken << "\n";
    ::chmod((data / "admin.token").c_str(), 0600);
    catalogue.version = {.generation = 1, .number = 1};
    for (DeviceId id = 1; id <= 3; ++id) {
      catalogue.devices.push_back(device(id));
      states.push_back({.device = id});
    }
    inventory = play("inventory");
    inventory.calls->handle("catalogue.snapshot", [this](std::string, bus::Responder responder) {
      ++catalogue_calls;
      responder.reply(encode_catalogue(catalogue));
    });
    for (const char* method : {"device.create", "device.update", "device.delete"}) {
      inventory.calls->handle(method, [this](std::string body, bus::Responder responder) {
        const auto change = decode_device_change(body);
        ASSERT_TRUE(change);
        if (refuse) {
          responder.fail(*refuse);
          return;
        }
        Device answer = change->device;
        answer.id = answer.id == 0 ? 4 : answer.id;
        responder.reply(encode_device_change_reply(answer));
      });
    }
    tracker = play("timeout-tracker");
    tracker.calls->handle("state.snapshot", [this](std::string, bus::Responder responder) {
      ++snapshot_calls;
      StateSnapshot snapshot;
      snapshot.states = states;
      snapshot.positions = positions;
      std::string bytes;
      encode_snapshot(snapshot, bytes);
      responder.reply(std::move(bytes));
    });
    prober = play("prober-1");
    prober.calls->handle("ping", [this](std::string body, bus::Responder responder) {
      const auto order = decode_ping_order(body);
      ASSERT_TRUE(order) << order.error().message;
      orders.push_back(*order);
      if (prober_silent) return;
      PingReport report{.prober = "prober-1", .location = "default", .address = order->address};
      report.outcome.assign(order->count, EchoOutcome::kReply);
      report.rtt_us.assign(order->count, 1500);
      responder.reply(encode_ping_report(report));
    });
    beat = std::make_unique<bus::Heartbeat>(
        *prober.client, "prober", runtime::read_clock(),
        [](v1::Heartbeat& message) { message.set_location("default"); });
    for (const bool pause : {true, false}) {
      inventory.calls->handle(
          pause ? "probing.pause" : "probing.resume",
          [this, pause](std::string body, bus::Responder responder) {
            const auto change = decode_probing_change(body);
            ASSERT_TRUE(change);
            if (refuse) {
              responder.fail(*refuse);
              return;
            }
            probing = {.paused = pause, .by = pause ? change->actor : "", .since = wall_from_ms(1)};
            responder.reply(encode_probing(probing));
          });
    }
    inventory_beat = std::make_unique<bus::Heartbeat>(
        *inventory.client, "inventory", runtime::read_clock(),
        [this](v1::Heartbeat& message) { to_proto(probing, *message.mutable_probing()); });
    auto opened = stream::Producer::open({.dir = data / "prober-spool",
                                          .stream = "ping",
                                          .name = "prober-1",
                                          .groups = {"recorder", "timeout-tracker"}},
                                         runtime::read_clock());
    EXPECT_TRUE(opened) << opened.error().message;
    producer = std::move(*opened);
  }

  Played play(const std::string& name) {
    auto client = bus::BusClient::open(broker.client_options(name));
    EXPECT_TRUE(client) << client.error().message;
    auto calls = std::make_unique<bus::CallServer>(**client, name);
    return {std::move(*client), std::move(calls)};
  }

  void start_gateway() {
    gema::testing::ChildOptions options;
    options.command = {GEMA_GATEWAY_BINARY, "--data-dir", data.path().string()};
    options.log = data / "gateway.log";
    options.environment = {"GEMA_BUS__INGRESS=" + broker.ingress(),
                           "GEMA_BUS__INNER=" + broker.inner(),
                           "GEMA_BUS__KEYS_DIR=" + broker.keys_dir().string(),
                           "GEMA_POSTGRES__HOST=" + postgres_host,
                           "GEMA_GENERAL__TIMEZONE=UTC",
                           "GEMA_GATEWAY__HISTORY_TIMEOUT_S=3"};
    gateway = ChildProcess(options);
  }
  void start_ready() {
    start_gateway();
    ASSERT_TRUE(until([this] {
      return http_get(data / "run" / "gateway.http.sock", "/readyz") == "ready\n";
    })) << log();
    // An observer hears a producer from its first tip on, and then asks for a snapshot once more.
    // On a busy machine that may have happened before we saw that it is ready.
    ASSERT_TRUE(until([this] { return snapshot_calls >= 2; }));
  }
  std::string log() const {
    std::ifstream file(data / "gateway.log");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  // One turn of everybody we play.
  void turn() {
    const Now now = runtime::read_clock();
    std::string topic;
    std::string payload;
    for (Played* p : {&inventory, &tracker, &prober}) {
      p->client->tick(now);
      p->calls->tick(now);
      while (p->client->receive(topic, payload)) {
        p->calls->on_message(topic, payload, now);
      }
    }
    beat->tick(now);
    inventory_beat->tick(now);
    producer->tick(now);
    for (const auto& out : producer->take_outgoing(now)) {
      if (lose_live && bus::parse_topic(out.topic)->kind == bus::TopicKind::kLive) {
        ++lost;
        continue;
      }
      prober.client->publish(out.topic, out.payload);
    }
  }
  bool until(const std::function<bool()>& condition,
             std::chrono::milliseconds deadline = std::chrono::seconds(20)) {
    return wait_until(
        [&] {
          turn();
          return condition();
        },
        deadline);
  }

  // The n-th slot of a device since the test began, and its result appended to the stream.
  int64_t slot(DeviceId id, int n) const {
    return slot_after(id, kIntervalMs, begin_ms) + n * 1000;
  }
  void measure(DeviceId id, int n, Verdict verdict) {
    PingResults results;
    results.location = "default";
    results.device = {id};
    results.interval_ms = {kIntervalMs};
    results.due_ms = {slot(id, n)};
    results.verdict = {verdict};
    const bool answered = verdict == Verdict::kAnswered;
    results.reason = {answered ? Reason::kNone : Reason::kTimeout};
    results.echo_outcome = {answered ? EchoOutcome::kReply : EchoOutcome::kTimeout};
    results.echo_rtt_us = {answered ? 1500u : 0u};
    results.echo_begin = {0, 1};
    std::string bytes;
    encode_ping(results, bytes);
    const Now now = runtime::read_clock();
    const auto seq = producer->append(partition_of(id), bytes, now);
    ASSERT_TRUE(seq);
    turn();
  }

  std::string request(const std::string& method, const std::string& target,
                      const std::string& body = {}) {
    std::string text = method + " " + target + " HTTP/1.0\r\nX-API-Token: " + kToken + "\r\n";
    if (!body.empty()) {
      text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
    }
    return text + "\r\n" + body;
  }

  // Status and body, while everybody we play goes on.
  std::pair<int, std::string> ask(const std::string& method, const std::string& target,
                                  const std::string& body = {}) {
    std::string answer;
    std::atomic<bool> done{false};
    std::thread thread([&] {
      answer = exchange(request(method, target, body));
      done = true;
    });
    until([&] { return done.load(); }, std::chrono::seconds(30));
    thread.join();
    const size_t end = answer.find("\r\n\r\n");
    int status = 0;
    std::istringstream(answer.substr(0, end).substr(std::min<size_t>(answer.size(), 9))) >> status;
    return {status, end == std::string::npos ? "" : answer.substr(end + 4)};
  }
  json get(const std::string& target) {
    const auto [status, body] = ask("GET", target);
    EXPECT_EQ(status, 200) << target << ": " << body;
    return status == 200 ? json::parse(body) : json();
  }
  std::string exchange(const std::string& bytes) const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = data / "run" / "gateway.sock";
    std::memcpy(address.sun_path, path.data(), path.size());
    std::string out;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
        ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
      char buffer[65536];
      for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
        out.append(buffer, static_cast<size_t>(n));
      }
    }
    ::close(fd);
    return out;
  }
  double metric(const std::string& name) const {
    std::istringstream lines(http_get(data / "run" / "gateway.http.sock", "/metrics"));
    for (std::string line; std::getline(lines, line);) {
      if (line.substr(0, line.find_first_of("{ ")) == "gema_gateway_" + name) {
        return std::strtod(&line[line.rfind(' ')], nullptr);
      }
    }
    return -1;
  }
  int consecutive(DeviceId id) {
    const json body = get("/api/ping/timeout/devices");
    for (const auto& row : body.at("data")) {
      if (row.at("device_id") == std::to_string(id)) {
        return std::stoi(row.at("consecutive_timeouts")
                             .get<std::string>());  // lint: allow(throwing-parse) a test
      }
    }
    return 0;
  }

  TempDir data;
  BrokerProcess broker;
  std::string postgres_host = "/nonexistent";
  Played inventory;
  Played tracker;
  Played prober;
  std::unique_ptr<stream::Producer> producer;
  std::unique_ptr<bus::Heartbeat> beat, inventory_beat;
  ChildProcess gateway;

  Catalogue catalogue;
  Probing probing;
  std::vector<PingOrder> orders;
  bool prober_silent = false;
  std::vector<DeviceState> states;
  std::vector<StateSnapshot::Position> positions;
  std::optional<Error> refuse;
  int catalogue_calls = 0;
  int snapshot_calls = 0;
  bool lose_live = false;
  int lost = 0;
  const int64_t begin_ms = unix_ms(runtime::read_clock().wall) - 60'000;
};

TEST_F(GatewayTest, WaitsForWhatItNeedsSaysSoAndIsThenReady) {
  start_gateway();
  const auto readyz = [this] { return http_get(data / "run" / "gateway.http.sock", "/readyz"); };
  // Nobody we play takes a turn, so there is no catalogue and no snapshot.
  ASSERT_TRUE(wait_until([&] { return readyz().find("inventory") != std::string::npos; })) << log();
  EXPECT_NE(readyz().find("timeout-tracker"), std::string::npos);
  EXPECT_TRUE(until([&] { return readyz() == "ready\n"; })) << readyz();
  EXPECT_EQ(get("/api/v1/devices").at("total"), 3);
}

TEST_F(GatewayTest, ResultsOnTheBusAreSeenOverRestAtOnceWithoutADatabase) {
  start_ready();
  measure(1, 0, Verdict::kAnswered);
  measure(2, 0, Verdict::kFailed);
  measure(2, 1, Verdict::kFailed);
  ASSERT_TRUE(until([this] { return get("/api/ping/latest").at("count") == 2; }));
  ASSERT_TRUE(until([this] { return consecutive(2) == 2; }));
  const json latest = get("/api/ping/latest").at("data");
  EXPECT_EQ(latest.at(0).at("hostname"), "host-1");
  EXPECT_EQ(latest.at(0).at("response_time_ms"), "1.5");
  EXPECT_EQ(latest.at(1).at("ping_success"), "False");
  EXPECT_EQ(get("/api/ping/status").at("data").at("status_breakdown"),
            json::parse(R"({"online":1,"offline":1,"total":2})"));
  const auto [status, body] = ask("GET", "/api/ping/device/1?hours=1");
  EXPECT_EQ(status, 503);
  EXPECT_EQ(
      body,
      R"({"success":false,"error":"History is not available: the database cannot be reached"})");
}

TEST_F(GatewayTest, APingGoesToAProberAndBackAndASilentProberIsA503) {
  start_ready();
  const auto has_prober = [this] {
    const json probers = get("/api/v1/probing").at("probers");
    return probers.size() == 1 && probers[0].at("alive") == true;
  };
  ASSERT_TRUE(until([this] { return ask("GET", "/api/v1/probing").first == 200; }));
  ASSERT_TRUE(until(has_prober));
  auto [status, body] = ask("POST", "/api/ping/test/192.0.2.1");
  ASSERT_EQ(status, 200) << body;
  EXPECT_EQ(json::parse(body).at("ping_result").at("response_time_ms"), 1.5);
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].device, 1u);
  EXPECT_EQ(orders[0].timeout_ms, 3000u);
  EXPECT_EQ(ask("POST", "/api/ping/test/198.51.100.9").first, 403);
  EXPECT_EQ(orders.size(), 1u) << "refused before anybody was asked";
  prober_silent = true;
  std::tie(status, body) =
      ask("POST", "/api/v1/ping", R"({"device":2,"count":2,"timeout_ms":100,"spacing_ms":10})");
  EXPECT_EQ(status, 503) << body;
  EXPECT_NE(body.find("prober-1 did not answer in time"), std::string::npos) << body;
  EXPECT_EQ(orders.size(), 2u) << "repeated on the bus, carried out once";
  EXPECT_EQ(metric("pings"), 1);
}

TEST_F(GatewayTest, APauseIsInventorysWordAtOnceAndByHeartbeat) {
  start_ready();
  ASSERT_TRUE(until([this] { return ask("GET", "/api/v1/probing").first == 200; }));
  EXPECT_EQ(get("/api/v1/probing").at("probing").at("paused"), false);
  EXPECT_EQ(ask("POST", "/api/ping/service/stop").first, 200);
  EXPECT_EQ(get("/api/ping/service/status").at("paused_by"), "admin");
  EXPECT_EQ(get("/api/ping/service/status").at("service_running"), false);
  // Somebody else resumes: inventory's heartbeat says so.
  probing = {.since = wall_from_ms(2)};
  EXPECT_TRUE(until([this] { return get("/api/v1/probing").at("probing").at("paused") == false; }));
  refuse = Error{Errc::kUnavailable, "it cannot be kept on disk"};
  EXPECT_EQ(ask("POST", "/api/ping/service/stop").first, 503);
  const auto [status, body] = ask("POST", "/api/v1/probing/pause", R"({"by":"Siti"})");
  EXPECT_EQ(status, 503);
  EXPECT_NE(body.find("cannot be kept on disk"), std::string::npos);
}

TEST_F(GatewayTest, AGapInTheStreamIsFilledByTheTrackersSnapshot) {
  start_ready();
  measure(2, 0, Verdict::kFailed);
  ASSERT_TRUE(until([this] { return consecutive(2) == 1; }));
  const int before = snapshot_calls;
  lose_live = true;
  measure(2, 1, Verdict::kFailed);
  measure(2, 2, Verdict::kFailed);
  ASSERT_EQ(lost, 2);
  lose_live = false;
  // What the tracker knows: it got those two.
  const stream::PositionSet own = producer->own_positions();
  for (const auto& [key, position] : own) {
    positions.push_back({"prober-1", key.epoch, key.partition, position.cumulative});
  }
  states[1] = {.device = 2,
               .consecutive_timeouts = 3,
               .first_timeout_ms = slot(2, 0),
               .last_timeout_ms = slot(2, 2),
               .last_slot_ms = slot(2, 2),
               .last_verdict = Verdict::kFailed,
               .last_reason = Reason::kTimeout};
  measure(2, 3, Verdict::kFailed);
  EXPECT_TRUE(until([this] { return consecutive(2) == 4; })) << consecutive(2);
  EXPECT_GT(snapshot_calls, before);
  EXPECT_TRUE(until([this] { return metric("view_gaps") > 0; }));
}

TEST_F(GatewayTest, ALostTailIsSeenByTheTip) {
  start_ready();
  measure(2, 0, Verdict::kFailed);
  ASSERT_TRUE(until([this] { return consecutive(2) == 1; }));
  lose_live = true;
  measure(2, 1, Verdict::kFailed);
  lose_live = false;
  states[1] = {.device = 2,
               .consecutive_timeouts = 2,
               .first_timeout_ms = slot(2, 0),
               .last_timeout_ms = slot(2, 1),
               .last_slot_ms = slot(2, 1),
               .last_verdict = Verdict::kFailed,
               .last_reason = Reason::kTimeout};
  for (const auto& [key, position] : producer->own_positions()) {
    positions.push_back({"prober-1", key.epoch, key.partition, position.cumulative});
  }
  EXPECT_TRUE(until([this] { return consecutive(2) == 2; }));
}

TEST_F(GatewayTest, DevicesAreChangedByCallAndShownAtOnce) {
  start_ready();
  auto [status, body] =
      ask("POST", "/api/v1/devices", R"({"address":"192.0.2.99","hostname":"new"})");
  EXPECT_EQ(status, 201) << body;
  EXPECT_EQ(json::parse(body).at("data").at("id"), 4);
  EXPECT_EQ(get("/api/v1/devices/4").at("data").at("hostname"), "new");
  std::tie(status, body) = ask("DELETE", "/api/v1/devices/4");
  EXPECT_EQ(status, 204);
  EXPECT_EQ(ask("GET", "/api/v1/devices/4").first, 404);
  refuse = Error{Errc::kPermanent, "no such device: 3"};
  EXPECT_EQ(ask("PATCH", "/api/v1/devices/3", R"({"hostname":"x"})").first, 404);
  refuse = Error{Errc::kUnavailable, "PostgreSQL is away"};
  EXPECT_EQ(ask("PATCH", "/api/v1/devices/3", R"({"hostname":"x"})").first, 503);
}

TEST_F(GatewayTest, ANewCatalogueOnTheBusIsTaken) {
  start_ready();
  catalogue.version.number = 2;
  catalogue.devices.push_back(device(9));
  for (const auto& part : split_snapshot(encode_catalogue(catalogue), catalogue.version)) {
    inventory.client->publish(bus::catalogue_topic(), part);
  }
  EXPECT_TRUE(until([this] { return get("/api/v1/devices").at("total") == 4; }));
}

TEST_F(GatewayTest, TheCatalogueOnDiskServesWhileInventoryIsAway) {
  start_ready();
  gateway.signal(SIGTERM);
  EXPECT_EQ(gateway.wait(), 0) << log();
  const int before = catalogue_calls;
  start_ready();
  EXPECT_EQ(catalogue_calls, before);
  EXPECT_EQ(get("/api/v1/devices").at("total"), 3);
}

TEST_F(GatewayTest, EventsFlowAndEndWhenTheProcessStops) {
  start_ready();
  std::string events;
  std::thread client([&] { events = exchange(request("GET", "/api/v1/events")); });
  EXPECT_TRUE(until([this] { return metric("event_clients") == 1; }));
  for (int n = 0; n < 3; ++n) {
    measure(1, n, Verdict::kAnswered);
  }
  EXPECT_TRUE(until([this] { return get("/api/ping/latest").at("count") == 1; }));
  Transition transition;
  transition.device = 1;
  transition.to = DeviceStatus::kUp;
  transition.reason = TransitionReason::kFirstAnswer;
  transition.state = {.device = 1, .status = DeviceStatus::kUp, .transition_counter = 1};
  auto transitions = stream::Producer::open({.dir = data / "tracker-spool",
                                             .stream = "transitions",
                                             .name = "timeout-tracker",
                                             .groups = {"recorder"}},
                                            runtime::read_clock());
  ASSERT_TRUE(transitions);
  std::string bytes;
  encode_transition(transition, bytes);
  ASSERT_TRUE((*transitions)->append(0, bytes, runtime::read_clock()));
  ASSERT_TRUE(until([&] {
    for (const auto& out : (*transitions)->take_outgoing(runtime::read_clock())) {
      tracker.client->publish(out.topic, out.payload);
    }
    return get("/api/v1/status").at("tracker_loaded") == true && metric("view_results") >= 3;
  }));
  // Two whole seconds of frames, told by the gateway's own clock.
  const json first = get("/api/v1/status");
  EXPECT_TRUE(until([&] {
    return get("/api/v1/status").at("at").get<std::string>().substr(17, 2) !=
           first.at("at").get<std::string>().substr(17, 2);
  }));
  EXPECT_TRUE(until([&] {
    return get("/api/v1/status").at("at").get<std::string>().substr(17, 2) ==
           fmt::format("{:02}", (std::stoi(first.at("at").get<std::string>().substr(17, 2)) + 3) %
                                    60);  // lint: allow(throwing-parse) a test
  }));
  gateway.signal(SIGTERM);
  EXPECT_EQ(gateway.wait(), 0) << log();
  client.join();
  EXPECT_NE(events.find("event: counts"), std::string::npos);
  EXPECT_NE(events.find("\"hostname\":\"host-1\""), std::string::npos);
  EXPECT_NE(events.find("event: transition\ndata: {\"device_id\":1"), std::string::npos) << events;
}

TEST_F(GatewayTest, HistoryComesAndGoesWithTheDatabase) {
  PostgresServer postgres;
  postgres_host = postgres.socket_dir();
  {
    auto connection = postgres::Connection::open({.conninfo = postgres.conninfo()});
    ASSERT_TRUE(connection);
    ASSERT_TRUE(postgres::migrate(**connection));
  }
  start_ready();
  EXPECT_EQ(get("/api/ping/device/1?hours=1").at("count"), 0);
  EXPECT_EQ(get("/api/ping/statistics?hours=1").at("statistics").at("successful_pings"), 0);
  EXPECT_EQ(get("/api/v1/statistics").at("total").at("answered"), 0);
  EXPECT_EQ(get("/api/v1/outages").at("count"), 0);
  EXPECT_GT(get("/api/v1/history").at("tables").size(), 4u);
  postgres.kill9();
  EXPECT_EQ(ask("GET", "/api/ping/device/1").first, 503);
  // An answer about all devices serves 5 s longer; another window was not asked for yet.
  EXPECT_EQ(ask("GET", "/api/ping/statistics?hours=2").first, 503);
  EXPECT_EQ(ask("GET", "/api/v1/devices/1/series").first, 503);
  EXPECT_EQ(ask("GET", "/api/v1/outages").first, 503);
  EXPECT_EQ(ask("GET", "/api/v1/history").first, 503);
  EXPECT_EQ(ask("GET", "/api/ping/latest").first, 200);
  postgres.restart();
  EXPECT_EQ(ask("GET", "/api/ping/device/1").first, 200);
}

TEST_F(GatewayTest, MetricsOfProcessesOnThisHostAreCollected) {
  start_ready();
  const auto [status, body] = ask("GET", "/api/v1/metrics");
  EXPECT_EQ(status, 200);
  EXPECT_NE(body.find("gema_gateway_process_scraped{process=\"gateway\"} 1"), std::string::npos)
      << body;
  EXPECT_NE(body.find("gema_gateway_event_clients{process=\"gateway\"} 0"), std::string::npos);
}

TEST_F(GatewayTest, RefusesToStartWithATokenEverybodyKnowsOrNone) {
  for (const char* token : {"prod-token-123", "123456", ""}) {
    std::ofstream(data / "admin.token", std::ios::trunc) << token;
    start_gateway();
    EXPECT_EQ(gateway.wait(), 2) << token;
  }
  std::filesystem::remove(data / "admin.token");
  start_gateway();
  EXPECT_EQ(gateway.wait(), 2);
  EXPECT_NE(log().find("no admin token"), std::string::npos) << log();
}

}  // namespace
}  // namespace gema::gateway
