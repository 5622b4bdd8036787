// Against a real PostgreSQL.
#include "services/inventory/io/store.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "services/inventory/io/state_files.h"
#include "tests/support/database.h"
#include "tests/support/temp_dir.h"

namespace gema::inventory {
namespace {

const WallTime kNow = wall_from_ms(1'795'000'000'123);

class StoreTest : public gema::testing::DatabaseTest {
 protected:
  StoreTest() : DatabaseTest(Schema::kNone) {}

  // Loads a file into the database as the app does.
  Plan load_file(Store& store, Inventory& inventory, const std::string& csv) {
    auto file = read_devices_csv(csv, {});
    EXPECT_TRUE(file);
    auto plan = plan_file(inventory, *file);
    EXPECT_TRUE(plan) << plan.error().message;
    const Version after{inventory.version.generation, inventory.version.number + 1};
    auto written = store.write(*plan, inventory.version, after, "file", kNow);
    EXPECT_TRUE(written) << written.error().message;
    apply(inventory, *plan, after);
    return *plan;
  }

  Inventory load(Store& store, Store::Known known = {}) {
    auto inventory = store.load(known);
    EXPECT_TRUE(inventory) << inventory.error().message;
    return inventory ? *inventory : Inventory{};
  }
};

TEST_F(StoreTest, AFileComesBackFromTheDatabaseAsItWas) {
  Store store(database());
  Inventory inventory = load(store);
  EXPECT_EQ(inventory.version, (Version{1, 1}));
  load_file(store, inventory,
            "ip_address,hostname,merk,probe_from,parent,interval_s,echo_count,Rak,web_url,"
            "echo_spacing_ms,web_status,web_insecure,web_auth,web_json,tcp_ports\n"
            "10.0.0.1,\"gudang \"\"A\"\", lt. 2\",Mikrotik,a;b,,1,3,\"B'2\\ "
            "{x}\",http://x/?a=1&b=2,20,401,true,"
            "secret,\"/a=\"\"q\"\"\",22;443\n"
            "2001:db8::1,,,,10.0.0.1,,,,,,,,,,\n");
  Store fresh(database());
  Inventory read = load(fresh, {.ours = inventory.version});
  EXPECT_EQ(read, inventory);
  EXPECT_EQ(
      rows("SELECT id, address, hostname, probe_from, parent, tags->>'rak' FROM devices ORDER "
           "BY id"),
      "1|10.0.0.1|gudang \"A\", lt. 2|{a,b}|0|B'2\\ {x}\n2|2001:db8::1||{}|1|\n");
  EXPECT_EQ(rows("SELECT echo_spacing_ms, web_status, web_insecure, web_auth, web_json, tcp_ports "
                 "FROM devices ORDER BY id"),
            "20|401|t|secret|/a=\"q\"|{22,443}\n100|200|f|||{}\n");
  EXPECT_EQ(
      rows("SELECT device_id, interval_ms, echo_count, extract(epoch from from_at)::text FROM "
           "schedules "
           "ORDER BY device_id"),
      "1|1000|3|1795000000.123000\n2|5000|1|1795000000.123000\n");
}

TEST_F(StoreTest, ReReadingAFileWritesOnlyWhatChangedAndKeepsIds) {
  Store store(database());
  Inventory inventory = load(store);
  load_file(store, inventory, "ip_address\n10.0.0.1\n10.0.0.2\n10.0.0.3\n");
  EXPECT_TRUE(
      load_file(store, inventory, "ip_address\n10.0.0.3\n10.0.0.2\n10.0.0.1\n").changes.empty());
  load_file(store, inventory, "ip_address,interval_s\n10.0.0.4,\n10.0.0.3,9\n10.0.0.1,\n");
  EXPECT_EQ(rows("SELECT id, address, removed_at IS NOT NULL FROM devices ORDER BY id"),
            "1|10.0.0.1|f\n2|10.0.0.2|t\n3|10.0.0.3|f\n4|10.0.0.4|f\n");
  EXPECT_EQ(
      rows("SELECT action, device_id, changes->'interval_ms' FROM audit WHERE id > 3 ORDER BY id"),
      "device.removed|2|\ndevice.updated|3|[\"5000\", \"9000\"]\ndevice.created|4|[\"\", "
      "\"5000\"]\n");
  EXPECT_EQ(
      rows("SELECT device_id, interval_ms FROM schedules WHERE device_id IN (2, 3) ORDER BY 1, 2"),
      "2|0\n3|9000\n")
      << "same instant: the later row replaces the earlier";
}

TEST_F(StoreTest, EveryRunBeginsANewGenerationAboveAllThatIsKnown) {
  Store store(database());
  EXPECT_EQ(load(store).version, (Version{1, 1}));
  EXPECT_EQ(load(store).version, (Version{2, 1}));
  EXPECT_EQ(load(store, {.generation_above = 7}).version, (Version{8, 1})) << "disk or heartbeats";
  EXPECT_EQ(load(store, {.ours = Version{8, 1}}).version, (Version{8, 1}))
      << "a reconnection goes on";
  EXPECT_EQ(load(store, {.ours = Version{8, 5}}).version, (Version{9, 1}))
      << "the database is older";
  EXPECT_EQ(load(store, {.ours = Version{12, 1}}).version, (Version{13, 1}));
  EXPECT_EQ(load(store, {.ours = Version{13, 1}, .generation_above = 13}).version,
            (Version{14, 1}));
  EXPECT_EQ(load(store, {.next_id = 500}).next_id, 500u);
  EXPECT_EQ(load(store).next_id, 500u) << "and it is kept";
}

TEST_F(StoreTest, SomebodyElsesChangeMeanwhileIsNotOverwritten) {
  Store one(database()), two(database());
  Inventory a = load(one);
  Inventory b = load(two, {.ours = a.version});
  load_file(one, a, "ip_address\n10.0.0.1\n");
  auto file = read_devices_csv("ip_address\n10.0.0.2\n", {});
  auto plan = plan_file(b, *file);
  auto written =
      two.write(*plan, b.version, {b.version.generation, b.version.number + 1}, "x", kNow);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::kRetryable);
  EXPECT_EQ(rows("SELECT address FROM devices"), "10.0.0.1\n");
  EXPECT_EQ(rows("SELECT count(*) FROM audit"), "1\n");
}

TEST_F(StoreTest, NothingIsHalfWritten) {
  Store store(database());
  Inventory inventory = load(store);
  auto file = read_devices_csv("ip_address\n10.0.0.1\n", {});
  auto plan = plan_file(inventory, *file);
  sql("ALTER TABLE audit ADD CHECK (actor <> 'bad')");
  auto written = store.write(*plan, inventory.version, {1, 2}, "bad", kNow);
  ASSERT_FALSE(written);
  EXPECT_EQ(rows("SELECT count(*) FROM devices"), "0\n");
  EXPECT_EQ(rows("SELECT count(*) FROM schedules"), "0\n");
  EXPECT_EQ(rows("SELECT generation, number FROM inventory_state"), "1|1\n");
}

TEST_F(StoreTest, ANewerSchemaIsRefusedInOneLine) {
  Store store(database());
  load(store);
  sql("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'future', 'x')");
  Store fresh(database());
  auto inventory = fresh.load({});
  ASSERT_FALSE(inventory);
  EXPECT_EQ(inventory.error().code, Errc::kPermanent);
  EXPECT_NE(inventory.error().message.find("9999"), std::string::npos);
  EXPECT_EQ(inventory.error().message.find('\n'), std::string::npos);
}

TEST_F(StoreTest, ADatabaseThatComesBackIsFoundAgain) {
  Store store(database());
  Inventory inventory = load(store);
  load_file(store, inventory, "ip_address\n10.0.0.1\n");
  server().kill9();
  auto away = store.ping();
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, Errc::kUnavailable);
  restart_server();
  EXPECT_EQ(load(store, {.ours = inventory.version}), inventory);
}

TEST_F(StoreTest, TwentyThousandDevicesLoadInOneGo) {
  Store store(database());
  Inventory inventory = load(store);
  std::string csv = "ip_address,hostname\n";
  for (int i = 0; i < 20'000; ++i) {
    csv += "10." + std::to_string(i / 65536) + "." + std::to_string(i / 256 % 256) + "." +
           std::to_string(i % 256) + ",host-" + std::to_string(i) + "\n";
  }
  load_file(store, inventory, csv);
  EXPECT_EQ(load(store, {.ours = inventory.version}), inventory);
}

TEST_F(StoreTest, ProbersAreNotedWithWhenTheyWereSeen) {
  Store store(database());
  load(store);
  ASSERT_TRUE(store.write_probers({{"prober-1", "default"}, {"prober-2", "jakarta"}}, kNow));
  ASSERT_TRUE(store.write_probers({{"prober-1", "surabaya"}}, kNow + 60s));
  EXPECT_EQ(
      rows("SELECT name, location, extract(epoch from last_seen_at - first_seen_at)::int FROM "
           "probers "
           "ORDER BY 1"),
      "prober-1|surabaya|60\nprober-2|jakarta|0\n");
}

TEST(StateFiles, ComeBackWholeOrAreRefused) {
  gema::testing::TempDir dir;
  const StateFiles files(dir.path());
  auto none = files.read_owners();
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->has_value());
  Owners owners;
  owners.locations["default"] = {.probers = {"prober-1", "prober-2"},
                                 .owner = {{1, "prober-1"}, {2, "prober-2"}, {9, "prober-1"}}};
  owners.locations["jakarta"] = {.probers = {}, .owner = {{1, "prober-9"}}};
  ASSERT_TRUE(files.write_owners(owners));
  auto read = files.read_owners();
  ASSERT_TRUE(read && read->has_value());
  EXPECT_EQ(**read, owners);
  ASSERT_TRUE(files.write_catalogue("garbage"));
  EXPECT_FALSE(files.read_catalogue());
}

TEST_F(StoreTest, AnAuditRowInDoubtIsWrittenOnce) {
  Store store(database());
  load(store);
  const ProbingEvent paused{.at = kNow, .paused = true, .actor = "admin", .by = "Siti"};
  const ProbingEvent resumed{.at = kNow + 1s, .actor = "admin", .by = "Budi", .reason = "done"};
  ASSERT_TRUE(store.write_probing({paused}));
  ASSERT_TRUE(store.write_probing({paused, resumed}));
  EXPECT_EQ(rows("SELECT actor, action, device_id, changes->>'by', changes->>'reason' FROM audit"
                 " ORDER BY id"),
            "admin|probing.paused|0|Siti|\nadmin|probing.resumed|0|Budi|done\n");
}

TEST(StateFiles, AProbingFileComesBackAndADamagedOneIsSaid) {
  gema::testing::TempDir dir;
  const StateFiles files(dir.path());
  EXPECT_EQ(*files.read_probing(), std::nullopt);
  const KeptProbing kept{
      .state = {.paused = true, .by = "Siti", .reason = "ring", .since = kNow},
      .unwritten = {{.at = kNow, .paused = true, .actor = "admin", .by = "Siti"}}};
  ASSERT_TRUE(files.write_probing(kept));
  EXPECT_EQ(**files.read_probing(), kept);
  EXPECT_FALSE(decode_kept_probing("\xff\xff"));
}

}  // namespace
}  // namespace gema::inventory
