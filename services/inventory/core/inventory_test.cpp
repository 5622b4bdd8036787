#include "services/inventory/core/inventory.h"

#include <gtest/gtest.h>

#include <set>

#include "common/base/random.h"

namespace gema::inventory {
namespace {

// An inventory to which files and calls happen one after the other.
struct World {
  Inventory inventory;
  Plan last;

  std::string load(std::string_view csv) {
    auto file = read_devices_csv(csv, {});
    if (!file) return file.error().message;
    auto plan = plan_file(inventory, *file);
    if (!plan) return plan.error().message;
    take(*plan);
    std::string text;
    for (const FileProblem& problem : plan->problems) text += to_text(problem) + "\n";
    return text;
  }

  void take(const Plan& plan) {
    last = plan;
    apply(inventory, plan, {1, inventory.version.number + 1});
  }

  Result<Device> create(Device device) {
    auto planned = plan_create(inventory, device, {});
    if (!planned) return planned.error();
    take(planned->plan);
    return planned->device;
  }
  Result<Device> update(Device device, std::vector<std::string> fields) {
    auto planned = plan_update(inventory, device, fields, {});
    if (!planned) return planned.error();
    take(planned->plan);
    return planned->device;
  }
  std::string remove(DeviceId id) {
    auto planned = plan_delete(inventory, id);
    if (!planned) return planned.error().message;
    take(planned->plan);
    return "";
  }

  // "1=10.0.0.1 2=10.0.0.2": what exists.
  std::string list() const {
    std::string text;
    for (const Device& device : catalogue_of(inventory).devices) {
      text += (text.empty() ? "" : " ") + std::to_string(device.id) + "=" + device.address;
    }
    return text;
  }
  const Device& device(DeviceId id) const { return inventory.devices.at(id).device; }
};

Device api_device(std::string address) {
  return {.address = std::move(address),
          .interval_ms = 0,
          .timeout_ms = 0,
          .echo_count = 0,
          .min_replies = 0};
}

TEST(Ids, ComeInFileOrderFromOne) {
  World world;
  EXPECT_EQ(world.load("ip_address\n10.0.0.9\n10.0.0.3\n10.0.0.5\n"), "");
  EXPECT_EQ(world.list(), "1=10.0.0.9 2=10.0.0.3 3=10.0.0.5");
}

TEST(Ids, AKnownAddressKeepsItsIdWhateverTheOrder) {
  World world;
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n");
  world.load("ip_address\n10.0.0.3\n10.0.0.2\n10.0.0.1\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3");
  EXPECT_EQ(world.last.count(Action::kCreated), 1u);
  EXPECT_EQ(world.last.changes.size(), 1u) << "what did not change is not written";
}

TEST(Ids, ADeviceIdIsTheInventorysIdAndNewOnesSkipIt) {
  World world;
  world.load("ip_address,device_id\n10.0.0.1,\n10.0.0.2,1\n10.0.0.3,700\n10.0.0.4,\n");
  EXPECT_EQ(world.list(), "1=10.0.0.2 2=10.0.0.1 3=10.0.0.4 700=10.0.0.3");
  world.load("ip_address,device_id\n10.9.9.9,1\n10.0.0.3,700\n");
  EXPECT_EQ(world.list(), "1=10.9.9.9 700=10.0.0.3")
      << "the id is the device, its address may change";
}

TEST(Ids, ANewOneSkipsWhatADeviceIdOnceTook) {
  World world;
  world.load("ip_address,device_id\n10.0.0.1,2\n");
  world.load("ip_address,device_id\n10.0.0.8,\n10.0.0.9,\n");
  EXPECT_EQ(world.list(), "1=10.0.0.8 3=10.0.0.9");
}

TEST(Ids, AClashBetweenSourcesGetsANewIdAndKeepsSourceAndSourceId) {
  World world;
  world.load("ip_address\n10.0.0.1\n");
  ASSERT_TRUE(world.create(api_device("10.0.0.2")));  // gets 2
  world.load("ip_address,device_id\n10.0.0.1,\n10.0.0.3,2\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3");
  EXPECT_EQ(world.device(3).source, "file");
  EXPECT_EQ(world.device(3).source_id, "2");
  EXPECT_EQ(world.device(2).source, "api");
  world.load("ip_address,device_id\n10.0.0.1,\n10.7.7.7,2\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 3=10.7.7.7") << "and is found again by it";
}

TEST(Ids, AreNeverGivenTwice) {
  World world;
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n");
  world.load("ip_address\n10.0.0.1\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1");
  EXPECT_EQ(world.last.count(Action::kRemoved), 1u);
  world.load("ip_address\n10.0.0.1\n10.0.0.3\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 3=10.0.0.3");
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n10.0.0.3\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3") << "who comes back is who it was";
  EXPECT_EQ(world.last.count(Action::kRestored), 1u);
  EXPECT_EQ(world.remove(3), "");
  auto created = world.create(api_device("10.0.0.4"));
  ASSERT_TRUE(created);
  EXPECT_EQ(created->id, 4u);
}

TEST(Ids, AnIdWhoseRowAnOlderDatabaseLostIsNotGivenAgain) {
  World world;
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n10.0.0.3\n");
  world.inventory.devices.erase(3);  // a backup from before it; next_id is kept on disk
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n10.0.0.4\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 4=10.0.0.4");
  world.load("ip_address,device_id\n10.0.0.1,\n10.0.0.2,\n10.0.0.4,\n10.0.0.5,3\n");
  EXPECT_EQ(world.device(5).source_id, "3");
}

TEST(Ids, SurviveAnySequenceOfFilesAndCalls) {
  const uint64_t seed = 42;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  World world;
  std::map<DeviceId, std::string> source_of;
  for (int step = 0; step < 400; ++step) {
    if (random.chance(600)) {
      std::string csv = "ip_address,device_id\n";
      for (uint64_t n = 1 + random.below(8); n > 0; --n) {
        csv += "10.0.0." + std::to_string(1 + random.below(12)) + ",";
        if (random.chance(400)) csv += std::to_string(1 + random.below(20));
        csv += "\n";
      }
      world.load(csv);
    } else if (random.chance(600)) {
      (void)world.create(api_device("10.1.0." + std::to_string(1 + random.below(12))));
    } else {
      world.remove(1 + random.below(20));
    }
    std::set<std::string> addresses_of_file;
    for (const auto& [id, stored] : world.inventory.devices) {
      ASSERT_EQ(id, stored.device.id);
      const auto [at, fresh] = source_of.emplace(id, stored.device.source);
      ASSERT_EQ(at->second, stored.device.source)
          << "id " << id << " changed hands at step " << step;
      if (!stored.removed && stored.device.source == "file") {
        ASSERT_TRUE(addresses_of_file.insert(stored.device.address).second)
            << stored.device.address;
      }
    }
  }
}

TEST(File, WhatVanishesIsRemovedUnlessItCameByCall) {
  World world;
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n");
  ASSERT_TRUE(world.create(api_device("10.0.0.3")));
  world.load("ip_address\n10.0.0.2\n");
  EXPECT_EQ(world.list(), "2=10.0.0.2 3=10.0.0.3");
}

TEST(File, ABadLineLeavesItsDeviceAsItIs) {
  World world;
  world.load("ip_address,interval_s\n10.0.0.1,5\n10.0.0.2,5\n");
  EXPECT_EQ(world.load("ip_address,interval_s\n10.0.0.1,never\n10.0.0.2,6\n"),
            "line 2: interval_s: \"never\" is not a number of seconds\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2");
  EXPECT_EQ(world.device(2).interval_ms, 6000u);
}

TEST(File, AnUnreadableLineWithholdsRemovals) {
  World world;
  world.load("ip_address,rak\n10.0.0.1,a\n10.0.0.2,b\n10.0.0.3,c\n");
  world.load("ip_address,rak\n10.0.0.1,a\n10.0.0.2,b,oops\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2 3=10.0.0.3");
  EXPECT_EQ(world.last.withheld, 2u);
  world.load("ip_address,rak\n10.0.0.1,a\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1");
}

TEST(File, WithoutAGoodLineNothingHappens) {
  World world;
  world.load("ip_address\n10.0.0.1\n");
  EXPECT_EQ(world.load("ip_address\n"), "the file has no good line");
  EXPECT_EQ(world.load("ip_address\n0.0.0.0\n"), "the file has no good line");
  EXPECT_EQ(world.list(), "1=10.0.0.1");
}

TEST(File, ParentsAreFoundByIdAddressOrName) {
  World world;
  EXPECT_EQ(world.load("ip_address,hostname,device_id,parent\n"
                       "10.0.0.1,core,50,\n"
                       "10.0.0.2,b,,50\n"
                       "10.0.0.3,c,,10.0.0.2\n"
                       "10.0.0.4,d,,core\n"
                       "10.0.0.5,e,,1\n"),
            "");
  EXPECT_EQ(world.device(1).parent, 50u);
  EXPECT_EQ(world.device(2).parent, 1u);
  EXPECT_EQ(world.device(3).parent, 50u);
  EXPECT_EQ(world.device(4).parent, 1u) << "an id that this very file gives";
}

TEST(File, AParentMustExistAndNotCloseACircle) {
  World world;
  EXPECT_EQ(
      world.load("ip_address,device_id,parent,interval_s\n"
                 "10.0.0.1,1,,5\n"
                 "10.0.0.2,2,99,5\n"
                 "10.0.0.3,3,2,5\n"  // its parent's line falls, so it falls too
                 "10.0.0.4,4,5,5\n"
                 "10.0.0.5,5,4,5\n"
                 "10.0.0.6,6,nobody,5\n"
                 "10.0.0.7,7,7,5\n"
                 "10.0.0.8,8,1,1\n"
                 "10.0.0.9,9,1,60\n"),
      "line 3: parent: there is no device 99\n"
      "line 4: parent: there is no device 2\n"
      "line 5: parent: closes a circle through device 4\n"
      "line 6: parent: closes a circle through device 5\n"
      "line 7: parent: there is no device \"nobody\"\n"
      "line 8: parent: closes a circle through device 7\n"
      "line 9: parent: device 1 is checked every 5000 ms, less often than this one (1000 ms)\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 9=10.0.0.9");
}

TEST(Calls, LoopbackInAWebAddressIsForFilesOnly) {
  World world;
  world.load("ip_address,web_url\n127.0.0.1,http://localhost:8080/\n");
  Device there = api_device("10.0.0.9");
  there.web_url = "http://127.0.0.1:6379/";
  auto refused = world.create(there);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("web_url: its host \"127.0.0.1\" is a loopback"),
            std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(world.update({.id = 1, .merk = "x"}, {"merk"})) << "what the file said stays";
  Device elsewhere{.id = 1, .web_url = "http://[::1]:5432/"};
  EXPECT_FALSE(world.update(elsewhere, {"web_url"}));
  elsewhere.web_url = "10.0.0.1/x";
  ASSERT_TRUE(world.update(elsewhere, {"web_url"}));
  EXPECT_EQ(world.device(1).web_url, "http://10.0.0.1/x");
}

TEST(Calls, EchoSpacingAndTheTrainAreChecked) {
  World world;
  Device device = api_device("10.0.0.9");
  device.echo_spacing_ms = 0;
  ASSERT_TRUE(world.create(device));
  EXPECT_EQ(world.device(1).echo_spacing_ms, 100u) << "0 asks for the default";
  EXPECT_FALSE(world.update({.id = 1, .echo_count = 100}, {"echo_count"})) << "9.9 s of 5 s";
  EXPECT_TRUE(world.update({.id = 1, .echo_count = 100, .echo_spacing_ms = 50},
                           {"echo_count", "echo_spacing_ms"}));
  EXPECT_FALSE(world.update({.id = 1, .interval_ms = 4000}, {"interval_ms"})) << "4.95 s of 4 s";
}

TEST(File, AndCallsMergeFieldByField) {
  World world;
  world.load("ip_address,merk,interval_s\n10.0.0.1,Mikrotik,5\n");
  ASSERT_TRUE(world.update({.id = 1, .merk = "Cisco"}, {"merk"}));
  world.load("ip_address,merk,interval_s\n10.0.0.1,Mikrotik,5\n");
  EXPECT_EQ(world.device(1).merk, "Cisco") << "the file said nothing new";
  world.load("ip_address,merk,interval_s\n10.0.0.1,Mikrotik,7\n");
  EXPECT_EQ(world.device(1).merk, "Cisco");
  EXPECT_EQ(world.device(1).interval_ms, 7000u);
  world.load("ip_address,merk,interval_s\n10.0.0.1,Draytek,7\n");
  EXPECT_EQ(world.device(1).merk, "Draytek") << "now it did";
}

TEST(File, ADeviceRemovedByCallStaysAwayUntilItsLineChangesOrComesAgain) {
  World world;
  world.load("ip_address,merk\n10.0.0.1,a\n10.0.0.2,b\n");
  EXPECT_EQ(world.remove(2), "");
  EXPECT_EQ(world.remove(2), "") << "safe to repeat";
  EXPECT_TRUE(world.last.changes.empty());
  world.load("ip_address,merk\n10.0.0.1,a\n10.0.0.2,b\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1");
  world.load("ip_address,merk\n10.0.0.1,a\n");
  world.load("ip_address,merk\n10.0.0.1,a\n10.0.0.2,b\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2");
  world.remove(2);
  world.load("ip_address,merk\n10.0.0.1,a\n10.0.0.2,new\n");
  EXPECT_EQ(world.list(), "1=10.0.0.1 2=10.0.0.2");
}

TEST(Calls, CreateFillsInDefaultsAndIsSafeToRepeat) {
  World world;
  auto first = world.create(api_device("Host.Example"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->id, 1u);
  EXPECT_EQ(first->address, "host.example");
  EXPECT_EQ(first->interval_ms, 5000u);
  EXPECT_EQ(first->timeout_ms, 3000u);
  EXPECT_EQ(first->kondisi, "baik");
  EXPECT_EQ(first->source, "api");
  EXPECT_TRUE(world.last.changes.at(0).schedule_changed);
  auto again = world.create(api_device("host.example"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->id, 1u);
  EXPECT_TRUE(world.last.changes.empty());
}

TEST(Calls, NameTheFieldThatIsWrong) {
  World world;
  world.load("ip_address,device_id,parent,interval_s\n10.0.0.1,1,,5\n10.0.0.2,2,1,5\n");
  const auto message = [](const auto& result) { return result ? "" : result.error().message; };
  EXPECT_EQ(message(world.create(api_device("10.0.0.1"))), "address: 10.0.0.1 is already device 1");
  EXPECT_NE(
      message(world.create(api_device("127.0.0.1"))).find("address: \"127.0.0.1\" is a loopback"),
      std::string::npos);
  EXPECT_EQ(message(world.update({.id = 9}, {})), "no such device: 9");
  EXPECT_EQ(message(world.update({.id = 1}, {"colour"})), "colour: is not a field of a device");
  EXPECT_EQ(message(world.update({.id = 1, .parent = 2}, {"parent"})),
            "parent: closes a circle through device 1");
  EXPECT_EQ(message(world.update({.id = 1, .interval_ms = 9000}, {"interval_ms"})),
            "interval_ms: child 2 is checked more often, every 5000 ms");
  EXPECT_EQ(message(world.update({.id = 2, .timeout_ms = 0}, {"timeout_ms"})),
            "timeout_ms: 0 is not within 1 to 60000");
  EXPECT_EQ(world.remove(9), "no such device: 9");
  EXPECT_EQ(world.remove(1), "device 1 is the parent of 1 others, the first is device 2");
}

TEST(Calls, UpdateTakesOnlyTheNamedFieldsAndTellsTheAudit) {
  World world;
  ASSERT_TRUE(world.create(api_device("10.0.0.1")));
  auto updated = world.update({.id = 1, .hostname = "x", .merk = "M", .interval_ms = 1000},
                              {"manufacturer", "interval_s"});
  ASSERT_TRUE(updated);
  EXPECT_EQ(updated->merk, "M");
  EXPECT_EQ(updated->interval_ms, 1000u);
  EXPECT_EQ(updated->hostname, "");
  ASSERT_EQ(world.last.changes.size(), 1u);
  const Change& change = world.last.changes[0];
  EXPECT_EQ(change.action, Action::kUpdated);
  EXPECT_TRUE(change.schedule_changed);
  EXPECT_EQ(change.fields,
            (std::vector<FieldChange>{{"merk", "", "M"}, {"interval_ms", "5000", "1000"}}));
}

TEST(Schedule, ALostDeviceIsNotChecked) {
  World world;
  world.load("ip_address,kondisi\n10.0.0.1,hilang\n10.0.0.2,maintenance\n");
  EXPECT_EQ(scheduled_interval_ms(world.inventory.devices.at(1)), 0u);
  EXPECT_EQ(scheduled_interval_ms(world.inventory.devices.at(2)), 5000u);
  EXPECT_FALSE(world.last.changes.at(0).schedule_changed);
  world.load("ip_address,kondisi\n10.0.0.1,baik\n10.0.0.2,hilang\n");
  EXPECT_TRUE(world.last.changes.at(0).schedule_changed);
  EXPECT_TRUE(world.last.changes.at(1).schedule_changed);
}

TEST(Catalogue, ComesBackFromDisk) {
  World world;
  world.load("ip_address\n10.0.0.1\n10.0.0.2\n");
  world.remove(2);
  const Catalogue catalogue = catalogue_of(world.inventory);
  EXPECT_EQ(catalogue.devices.size(), 1u);
  EXPECT_EQ(catalogue.next_device_id, 3u);
  EXPECT_EQ(catalogue_of(inventory_of(catalogue)), catalogue);
}

}  // namespace
}  // namespace gema::inventory
