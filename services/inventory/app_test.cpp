// The process as it is: gema-inventory with a real broker and a real PostgreSQL, a caller in the
// gateway's place and a prober's ears.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/bus/topics.h"
#include "common/codec/device_codec.h"
#include "common/codec/on_demand_codec.h"
#include "common/postgres/connection.h"
#include "common/runtime/clock.h"
#include "gema/v1/call.pb.h"
#include "tests/support/child_process.h"
#include "tests/support/database.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::inventory {
namespace {

using gema::testing::ChildProcess;
using gema::testing::wait_until;

std::string binary(const char* name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class AppTest : public gema::testing::DatabaseTest {
 protected:
  AppTest() : DatabaseTest(Schema::kNone) {}

  void SetUp() override {
    DatabaseTest::SetUp();
    gema::testing::run_or_throw(
        {.command = {binary("gema-broker"), "--make-keys", data(), "--client", "inventory",
                     "--client", "gateway", "--client", "prober-1", "--client", "prober-2"},
         .log = dir_ / "keys.log"});
    start_broker();
  }

  void TearDown() override {
    if (HasFailure()) std::cerr << read_text(dir_ / "inventory.log");
  }

  std::string data() const { return dir_.path().string(); }

  void start_broker() {
    broker_ = ChildProcess(
        {.command = {binary("gema-broker"), "--data-dir", data()}, .log = dir_ / "broker.log"});
  }

  void start_inventory() {
    inventory_ =
        ChildProcess({.command = {binary("gema-inventory"), "--data-dir", data()},
                      .log = dir_ / "inventory.log",
                      .environment = {"GEMA_POSTGRES__HOST=" + server().socket_dir(),
                                      "GEMA_INVENTORY__DEVICES_FILE=" + devices_file().string()}});
  }

  std::filesystem::path devices_file() const { return dir_ / "devices.csv"; }
  void write_devices(const std::string& csv) { std::ofstream(devices_file()) << csv; }

  // A process on the bus: calls, or beats and listens as a prober does.
  struct Peer {
    Peer(const AppTest& test, const std::string& name) {
      const bool prober = name.starts_with("prober-");
      const std::string run = "ipc://" + test.data() + "/run/";
      auto opened =
          bus::BusClient::open({.ingress = run + "bus-ingress.sock",
                                .egress = run + (prober ? "bus-edge.sock" : "bus-inner.sock"),
                                .keys_dir = std::filesystem::path(test.data()) / "keys",
                                .name = name});
      if (!opened) throw std::runtime_error(opened.error().message);
      client = std::move(*opened);
      if (!prober) {
        caller = std::make_unique<bus::Caller>(*client, name);
        client->subscribe(bus::catalogue_topic());
        return;
      }
      client->subscribe(bus::assign_topic(name));
      heartbeat = std::make_unique<bus::Heartbeat>(
          *client, "prober", runtime::read_clock(),
          [this](v1::Heartbeat& out) { to_proto(assembler.held(), *out.mutable_assignment()); });
    }

    void turn() {
      const Now now = runtime::read_clock();
      std::string topic, payload;
      while (client->receive(topic, payload)) {
        if (caller && caller->on_message(topic, payload, now)) continue;
        const auto parsed = bus::parse_topic(topic);
        if (!parsed) continue;
        if (parsed->kind != bus::TopicKind::kAssign && parsed->kind != bus::TopicKind::kCatalogue)
          continue;
        auto whole = assembler.add(payload);
        if (whole && *whole) snapshot = (*whole)->bytes;
      }
      client->tick(now);
      if (caller) caller->tick(now);
      if (heartbeat) heartbeat->tick(now);
    }

    std::unique_ptr<bus::BusClient> client;
    std::unique_ptr<bus::Caller> caller;
    std::unique_ptr<bus::Heartbeat> heartbeat;
    SnapshotAssembler assembler;
    std::string snapshot;  // the last whole one
  };

  bool wait(const std::vector<Peer*>& peers, const std::function<bool()>& condition) {
    return wait_until(
        [&] {
          for (Peer* peer : peers) peer->turn();
          return condition();
        },
        std::chrono::seconds(30));
  }

  Result<std::string> call(Peer& peer, const std::string& method, const std::string& body,
                           std::vector<Peer*> others = {}) {
    std::optional<Result<std::string>> answer;
    peer.caller->call(
        "inventory", method, body, 5s,
        [&](Result<std::string> result) { answer = std::move(result); }, runtime::read_clock());
    others.push_back(&peer);
    wait(others, [&] { return answer.has_value(); });
    return answer ? *answer : Error{Errc::kTimeout, "the caller never said a word"};
  }

  Result<Device> change(Peer& peer, const std::string& method, DeviceChange what) {
    if (what.actor.empty()) what.actor = "Siti";
    auto body = call(peer, method, encode_device_change(what));
    if (!body) return body.error();
    return decode_device_change_reply(*body);
  }

  // "1=10.0.0.1 2=10.0.0.2", asked for until inventory answers.
  std::string list(Peer& peer) {
    Result<std::string> body = Error{};
    wait({&peer}, [&] {
      body = call(peer, "device.list", "");
      return body.has_value();
    });
    if (!body) return body.error().message;
    auto catalogue = decode_catalogue(*body);
    if (!catalogue) return catalogue.error().message;
    std::string text;
    for (const Device& device : catalogue->devices) {
      text += (text.empty() ? "" : " ") + std::to_string(device.id) + "=" + device.address;
    }
    return text;
  }
  std::string list_when(Peer& peer, const std::string& expected) {
    std::string got;
    wait({&peer}, [&] { return (got = list(peer)) == expected; });
    return got;
  }

  static Assignment assignment(const Peer& prober) {
    auto decoded = decode_assignment(prober.snapshot);
    return decoded ? *decoded : Assignment{};
  }

  gema::testing::TempDir dir_;
  ChildProcess broker_;
  ChildProcess inventory_;
};

TEST_F(AppTest, AFileBecomesACatalogueAndAnAssignmentAndABadLineIsNamed) {
  write_devices("ip_address,hostname\n10.0.0.1,a\n224.0.0.1,bad\n10.0.0.2,b\n");
  start_inventory();
  Peer gateway(*this, "gateway"), prober(*this, "prober-1");
  EXPECT_EQ(list_when(gateway, "1=10.0.0.1 2=10.0.0.2"), "1=10.0.0.1 2=10.0.0.2");
  ASSERT_TRUE(wait({&gateway, &prober}, [&] { return assignment(prober).devices.size() == 2; }));
  EXPECT_EQ(assignment(prober).prober, "prober-1");
  EXPECT_EQ(assignment(prober).location, "default");
  EXPECT_EQ(assignment(prober).devices[1].address, "10.0.0.2");
  ASSERT_TRUE(wait({&gateway, &prober}, [&] {
    auto catalogue = decode_catalogue(gateway.snapshot);
    return catalogue && catalogue->devices.size() == 2;
  })) << "published, too";
  EXPECT_NE(
      read_text(dir_ / "inventory.log").find("line 3: address: \\\"224.0.0.1\\\" is a multicast"),
      std::string::npos);
  auto again =
      call(gateway, "assignment.snapshot", encode_assignment_request("prober-1"), {&prober});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*decode_assignment(*again), assignment(prober));
  EXPECT_TRUE(wait({&prober, &gateway}, [&] {
    return rows("SELECT name, location FROM probers") == "prober-1|default\n";
  }));
}

TEST_F(AppTest, IdsStayWhenTheFileIsReadAgain) {
  write_devices("ip_address\n10.0.0.1\n10.0.0.2\n10.0.0.3\n");
  start_inventory();
  Peer gateway(*this, "gateway");
  EXPECT_EQ(list_when(gateway, "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3"),
            "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3");
  write_devices("ip_address\n10.0.0.4\n10.0.0.3\n10.0.0.1\n");
  inventory_.signal(SIGHUP);
  EXPECT_EQ(list_when(gateway, "1=10.0.0.1 3=10.0.0.3 4=10.0.0.4"),
            "1=10.0.0.1 3=10.0.0.3 4=10.0.0.4");
  write_devices("ip_address\n0.0.0.0\n");
  auto refused = call(gateway, "devices.reload", "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kBadInput);
  EXPECT_EQ(list(gateway), "1=10.0.0.1 3=10.0.0.3 4=10.0.0.4")
      << "a file without a good line changes nothing";
  write_devices("ip_address,interval_s\n10.0.0.1,1\n10.0.0.3,x\n");
  auto reloaded = call(gateway, "devices.reload", "");
  ASSERT_TRUE(reloaded) << reloaded.error().message;
  v1::DevicesReload reply;
  ASSERT_TRUE(reply.ParseFromString(*reloaded));
  EXPECT_EQ(reply.devices(), 1u);
  EXPECT_EQ(reply.updated(), 1u);
  EXPECT_EQ(reply.removed(), 1u);
  ASSERT_EQ(reply.problems_size(), 1);
  EXPECT_EQ(reply.problems(0), "line 3: interval_s: \"x\" is not a number of seconds");
  inventory_.signal(SIGTERM);
  EXPECT_EQ(inventory_.wait(), 0);
  start_inventory();
  EXPECT_EQ(list(gateway), "1=10.0.0.1 3=10.0.0.3") << "the next start goes on where it stopped";
}

TEST_F(AppTest, CallsChangeDevicesAndLeaveAnAudit) {
  write_devices("ip_address\n10.0.0.1\n");
  start_inventory();
  Peer gateway(*this, "gateway");
  ASSERT_EQ(list_when(gateway, "1=10.0.0.1"), "1=10.0.0.1");
  const Device wanted{.address = "Core.Example",
                      .hostname = "core",
                      .interval_ms = 0,
                      .timeout_ms = 0,
                      .echo_count = 0,
                      .min_replies = 0};
  auto created = change(gateway, "device.create", {.device = wanted});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->id, 2u);
  EXPECT_EQ(created->address, "core.example");
  EXPECT_EQ(created->interval_ms, 5000u);
  auto repeated = change(gateway, "device.create", {.device = wanted});
  ASSERT_TRUE(repeated);
  EXPECT_EQ(repeated->id, 2u) << "safe to repeat";
  auto updated = change(gateway, "device.update",
                        {.device = {.id = 2, .merk = "Mikrotik", .interval_ms = 1000},
                         .fields = {"merk", "interval_ms"}});
  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ(updated->merk, "Mikrotik");
  EXPECT_EQ(updated->hostname, "core");
  EXPECT_EQ(list(gateway), "1=10.0.0.1 2=core.example");

  const auto code = [](const auto& result) {
    return result ? "ok" : to_string(result.error().code);
  };
  auto bad = change(gateway, "device.create", {.device = {.address = "224.0.0.1"}});
  EXPECT_STREQ(code(bad), "bad input");
  EXPECT_EQ(bad.error().message, "address: \"224.0.0.1\" is a multicast address");
  EXPECT_STREQ(code(change(gateway, "device.create", {.device = {.address = "10.0.0.1"}})),
               "permanent");
  auto unknown = change(gateway, "device.delete", {.device = {.id = 77}});
  EXPECT_STREQ(code(unknown), "permanent");
  EXPECT_EQ(unknown.error().message, "no such device: 77");
  EXPECT_STREQ(code(call(gateway, "device.create", "\xff\xff")), "bad input");
  EXPECT_STREQ(code(call(gateway, "assignment.snapshot", "\xff\xff")), "bad input");

  ASSERT_TRUE(change(gateway, "device.delete", {.device = {.id = 2}}));
  ASSERT_TRUE(change(gateway, "device.delete", {.device = {.id = 2}})) << "safe to repeat";
  EXPECT_EQ(list(gateway), "1=10.0.0.1");
  EXPECT_EQ(rows("SELECT actor, action, device_id FROM audit ORDER BY id"),
            "file|device.created|1\nSiti|device.created|2\nSiti|device.updated|2\nSiti|device."
            "removed|2\n");
  EXPECT_EQ(rows("SELECT interval_ms FROM schedules WHERE device_id = 2 ORDER BY from_at"),
            "5000\n1000\n0\n");
}

TEST_F(AppTest, WithoutPostgresqlAssignmentGoesOnAndChangesAreUnavailable) {
  write_devices("ip_address\n10.0.0.1\n10.0.0.2\n");
  start_inventory();
  Peer gateway(*this, "gateway"), prober(*this, "prober-1");
  ASSERT_EQ(list_when(gateway, "1=10.0.0.1 2=10.0.0.2"), "1=10.0.0.1 2=10.0.0.2");
  ASSERT_TRUE(wait({&prober}, [&] { return assignment(prober).devices.size() == 2; }));
  server().kill9();
  auto refused = change(gateway, "device.create", {.device = {.address = "10.0.0.3"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUnavailable) << refused.error().message;
  EXPECT_EQ(list(gateway), "1=10.0.0.1 2=10.0.0.2");

  // Killed and started again while the database is away: from disk, under a new generation.
  const Version before = assignment(prober).version;
  inventory_.signal(SIGKILL);
  inventory_.wait();
  start_inventory();
  EXPECT_EQ(list(gateway), "1=10.0.0.1 2=10.0.0.2");
  ASSERT_TRUE(
      wait({&prober}, [&] { return assignment(prober).version.generation > before.generation; }));
  EXPECT_EQ(assignment(prober).devices.size(), 2u);

  const Version from_disk = assignment(prober).version;
  restart_server();
  Result<Device> created = Error{};
  ASSERT_TRUE(wait({&gateway, &prober}, [&] {
    created = change(gateway, "device.create", {.device = {.address = "10.0.0.3"}});
    return created.has_value();
  })) << created.error().message;
  EXPECT_EQ(created->id, 3u);
  ASSERT_TRUE(wait({&prober}, [&] { return assignment(prober).devices.size() == 3; }));
  EXPECT_GT(assignment(prober).version.generation, from_disk.generation);
}

TEST_F(AppTest, APauseWorksWithoutPostgresqlAndOutlivesARestartAndTheAuditFollows) {
  write_devices("ip_address\n10.0.0.1\n");
  start_inventory();
  Peer gateway(*this, "gateway"), prober(*this, "prober-1");
  ASSERT_TRUE(wait({&gateway, &prober}, [&] { return assignment(prober).devices.size() == 1; }));
  const auto probing = [&](const char* method, const ProbingChange& what = {}) {
    auto body = call(gateway, method, encode_probing_change(what), {&prober});
    if (!body) return Result<Probing>(body.error());
    return decode_probing(*body);
  };
  EXPECT_EQ(*probing("probing.get"), Probing{});
  const Version before = assignment(prober).version;
  server().kill9();
  const auto paused = probing("probing.pause", {.by = "Siti", .reason = "ring", .actor = "admin"});
  ASSERT_TRUE(paused) << paused.error().message;
  EXPECT_TRUE(paused->paused);
  EXPECT_EQ(paused->by, "Siti");
  EXPECT_EQ(*probing("probing.pause", {.by = "Budi"}), *paused) << "safe to repeat";
  ASSERT_TRUE(wait({&prober}, [&] { return assignment(prober).paused_by == "Siti"; }));
  EXPECT_GT(assignment(prober).version, before);
  EXPECT_EQ(assignment(prober).devices.size(), 1u);

  inventory_.signal(SIGKILL);
  inventory_.wait();
  start_inventory();
  Peer joined(*this, "prober-2");
  ASSERT_TRUE(wait({&gateway, &prober, &joined}, [&] {
    return assignment(joined).version != Version{};
  })) << "one that joins later";
  EXPECT_EQ(assignment(joined).paused_by, "Siti");
  ASSERT_TRUE(wait({&prober}, [&] { return assignment(prober).version.generation > 1; }));
  EXPECT_EQ(assignment(prober).paused_by, "Siti") << "and the old one still";
  EXPECT_EQ(*probing("probing.get"), *paused);

  const auto resumed = probing("probing.resume", {.actor = "admin"});
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_FALSE(resumed->paused);
  EXPECT_TRUE(wait({&prober, &joined}, [&] {
    return assignment(prober).paused_by.empty() && assignment(joined).paused_by.empty();
  }));
  EXPECT_FALSE(probing("probing.pause", {.by = "a\nb"})) << "no text";

  restart_server();
  const std::string expected = "admin|probing.paused|0|Siti|ring\nadmin|probing.resumed|0|admin|\n";
  const std::string query =
      "SELECT actor, action, device_id, changes->>'by', changes->>'reason' FROM audit"
      " WHERE device_id = 0 ORDER BY id";
  EXPECT_TRUE(wait({&gateway, &prober}, [&] { return rows(query) == expected; })) << rows(query);
  // What was written is not written again by the next start.
  inventory_.signal(SIGTERM);
  inventory_.wait();
  start_inventory();
  ASSERT_TRUE(
      change(gateway, "device.create", {.device = {.address = "10.0.0.2"}}).has_value() ||
      wait({&gateway}, [&] {
        return change(gateway, "device.create", {.device = {.address = "10.0.0.2"}}).has_value();
      }));
  EXPECT_EQ(rows(query), expected);
}

TEST_F(AppTest, AnOlderDatabaseBeginsANewGenerationAndReusesNoId) {
  write_devices("ip_address\n10.0.0.1\n");
  start_inventory();
  Peer gateway(*this, "gateway");
  ASSERT_EQ(list_when(gateway, "1=10.0.0.1"), "1=10.0.0.1");
  ASSERT_TRUE(change(gateway, "device.create", {.device = {.address = "10.0.0.2"}}));
  inventory_.signal(SIGTERM);
  inventory_.wait();
  const auto generation = [&] {
    auto body = call(gateway, "catalogue.snapshot", "");
    return body ? decode_catalogue(*body)->version.generation : 0;
  };
  // As a backup from before the second device would be.
  sql("DELETE FROM devices WHERE id = 2; UPDATE inventory_state SET generation = 0, number = 0,"
      " next_device_id = 2");
  start_inventory();
  ASSERT_EQ(list_when(gateway, "1=10.0.0.1"), "1=10.0.0.1");
  EXPECT_GE(generation(), 2u);
  auto created = change(gateway, "device.create", {.device = {.address = "10.0.0.9"}});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->id, 3u) << "2 was given once";
}

TEST_F(AppTest, TheBrokerMayGoAndComeBack) {
  write_devices("ip_address\n10.0.0.1\n10.0.0.2\n");
  start_inventory();
  Peer gateway(*this, "gateway"), one(*this, "prober-1"), two(*this, "prober-2");
  ASSERT_TRUE(wait({&one, &two}, [&] {
    return assignment(one).devices.size() + assignment(two).devices.size() == 2;
  }));
  broker_.signal(SIGKILL);
  broker_.wait();
  ASSERT_FALSE(call(gateway, "device.list", ""));
  start_broker();
  EXPECT_EQ(list(gateway), "1=10.0.0.1 2=10.0.0.2");
  ASSERT_TRUE(change(gateway, "device.create", {.device = {.address = "10.0.0.3"}}));
  EXPECT_TRUE(wait({&one, &two}, [&] {
    return assignment(one).devices.size() + assignment(two).devices.size() == 3;
  }));
}

TEST_F(AppTest, ANewerSchemaEndsTheStartWithOneClearLine) {
  write_devices("ip_address\n10.0.0.1\n");
  start_inventory();
  Peer gateway(*this, "gateway");
  ASSERT_EQ(list_when(gateway, "1=10.0.0.1"), "1=10.0.0.1");
  inventory_.signal(SIGTERM);
  inventory_.wait();
  std::filesystem::remove(dir_ / "inventory.log");
  sql("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'future', 'x')");
  start_inventory();
  EXPECT_EQ(inventory_.wait(), 2);
  EXPECT_NE(read_text(dir_ / "inventory.log")
                .find("gema-inventory: the database's schema has version 9999"),
            std::string::npos);
}

TEST_F(AppTest, CheckDevicesPrintsEveryProblemAndNeedsAGoodLine) {
  const auto check = [&](const std::string& csv) {
    write_devices(csv);
    std::filesystem::remove(dir_ / "check.log");
    ChildProcess process(
        {.command = {binary("gema-inventory"), "--check-devices", devices_file().string()},
         .log = dir_ / "check.log"});
    const int status = process.wait().value_or(-1);
    return std::pair(status, read_text(dir_ / "check.log"));
  };
  const auto [good, said] =
      check("ip_address,parent\n10.0.0.1,\nx y,\n10.0.0.2,10.0.0.9\n10.0.0.1,\n");
  EXPECT_EQ(good, 0);
  for (const char* piece : {"line 3: address:", "line 4: parent:",
                            "line 5: address: 10.0.0.1 stands already", "1 devices, 3 bad lines"}) {
    EXPECT_NE(said.find(piece), std::string::npos) << piece << " in\n" << said;
  }
  EXPECT_EQ(check("ip_address\n").first, 2);
  EXPECT_EQ(check("hostname\nx\n").first, 2);
  EXPECT_EQ(check("ip_address\n0.0.0.0\n").first, 2);
}

}  // namespace
}  // namespace gema::inventory
