#include "services/inventory/core/assigner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "services/inventory/core/rendezvous.h"

namespace gema::inventory {
namespace {

TEST(Rendezvous, KeepsItsChoiceForEver) {
  // Vectors: another hash would move every device of every installation at an upgrade.
  const std::vector<std::string> probers{"prober-1", "prober-2", "prober-3"};
  std::string owners;
  for (DeviceId id = 1; id <= 12; ++id) owners += rendezvous_owner(id, probers).back();
  EXPECT_EQ(owners, "213131311213");
}

TEST(Rendezvous, SharesEvenlyAndMovesOnlyTheLostShare) {
  const std::vector<std::string> three{"prober-1", "prober-2", "prober-3"};
  const std::vector<std::string> two{"prober-1", "prober-3"};
  std::map<std::string, int> share;
  for (DeviceId id = 1; id <= 30'000; ++id) {
    const std::string owner(rendezvous_owner(id, three));
    ++share[owner];
    if (owner != "prober-2") {
      ASSERT_EQ(rendezvous_owner(id, two), owner);
    }
  }
  for (const auto& [name, count] : share) EXPECT_NEAR(count, 10'000, 500) << name;
  EXPECT_EQ(rendezvous_owner(1, {}), "");
}

// Probers that beat each second and take what is published to them, unless told otherwise.
class Scenario {
 public:
  explicit Scenario(AssignerConfig config = {}) : assigner(config) {}

  void devices(DeviceId count, std::vector<std::string> locations = {}) {
    list.clear();
    for (DeviceId id = 1; id <= count; ++id) {
      list.push_back({.id = id, .address = "10.0.0.1", .probe_from = locations});
    }
    take(assigner.on_catalogue(list, now()));
  }

  // Lets time pass in steps of 250 ms.
  void run(Duration time) {
    const Duration end = at + time;
    while (at < end) {
      at += 250ms;
      if (at % 1s == 0s) {
        if (bus_up) take(assigner.on_own_heartbeat(now()));
        for (auto& [name, prober] : probers) {
          if (prober.alive && bus_up) {
            take(assigner.on_prober({.prober = name,
                                     .location = prober.location,
                                     .held = prober.holds.version,
                                     .leaving = prober.leaving},
                                    now()));
          }
        }
      }
      take(assigner.tick(now()));
      for (DeviceId id = 1; id <= list.size(); ++id) {
        if (checkers(id).empty()) ++unchecked[id];
      }
    }
  }

  void take(const AssignerEffects& effects) {
    if (effects.keep_owners) kept = assigner.owners();
    for (const std::string& name : effects.publish) {
      ++published[name];
      auto found = probers.find(name);
      if (found == probers.end() || !found->second.alive || !bus_up || found->second.deaf) continue;
      const Assignment assignment = assigner.assignment_of(name);
      ASSERT_GE(assignment.version, found->second.holds.version) << "versions only grow";
      found->second.holds = assignment;
    }
  }

  // Live probers that check the device just now.
  std::vector<std::string> checkers(DeviceId id) const {
    std::vector<std::string> names;
    for (const auto& [name, prober] : probers) {
      if (!prober.alive) continue;
      const auto& held = prober.holds.devices;
      if (std::any_of(held.begin(), held.end(), [&](const auto& d) { return d.id == id; }))
        names.push_back(name);
    }
    return names;
  }

  size_t share(const std::string& name) const { return probers.at(name).holds.devices.size(); }
  Now now() const { return {.mono = MonoTime(1000s + at), .wall = WallTime(1'800'000'000s + at)}; }

  // Everyone is checked exactly once, by whom rendezvous says.
  void expect_settled() const {
    std::vector<std::string> live;
    for (const auto& [name, prober] : probers) {
      if (prober.alive) live.push_back(name);
    }
    for (const Device& device : list) {
      ASSERT_EQ(checkers(device.id),
                std::vector<std::string>{std::string(rendezvous_owner(device.id, live))});
    }
  }

  struct FakeProber {
    std::string location;
    bool alive = true;
    bool deaf = false;
    bool leaving = false;
    Assignment holds;
  };

  Assigner assigner;
  std::map<std::string, FakeProber> probers;
  std::vector<Device> list;
  std::map<std::string, int> published;
  std::map<DeviceId, int> unchecked;  // steps of 250 ms in which nobody checked it
  Owners kept;
  Duration at{};
  bool bus_up = true;
};

TEST(Assigner, AFreshInstallationIsSharedWithinThreeSeconds) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}};
  s.devices(100);
  s.run(3s);
  s.expect_settled();
  EXPECT_EQ(s.assigner.assignment_of("prober-1").location, "default");
  EXPECT_EQ(s.assigner.stats().moves_planned, 0u);
}

TEST(Assigner, WhatALeavingProberHasMovesAsPlannedAndItGetsNothingMore) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}, {"prober-3", {}}};
  s.devices(300);
  s.run(20s);
  s.unchecked.clear();
  s.probers["prober-2"].leaving = true;
  s.run(3s);
  EXPECT_EQ(s.share("prober-2"), 0U);
  EXPECT_TRUE(s.unchecked.empty());
  s.devices(400);  // new ones go to the others
  s.run(3s);
  EXPECT_EQ(s.share("prober-2"), 0U);
  s.probers["prober-2"].alive = false;
  s.run(10s);
  EXPECT_EQ(s.assigner.stats().deaths, 0U);
  EXPECT_EQ(s.assigner.stats().moves_after_death, 0U);
  s.expect_settled();
  // Back after all.
  s.probers["prober-2"].alive = true;
  s.probers["prober-2"].leaving = false;
  s.run(5s);
  s.expect_settled();
  EXPECT_LE(s.unchecked.size(), 100U);  // the new devices, once
}

TEST(Assigner, ALeavingProberThatIsAloneKeepsItsDevices) {
  Scenario s;
  s.probers = {{"prober-1", {}}};
  s.devices(10);
  s.run(20s);
  s.probers["prober-1"].leaving = true;
  s.run(5s);
  EXPECT_EQ(s.share("prober-1"), 10U);
  // All leave: the last ones have nobody to give to.
  s.probers["prober-2"] = {.leaving = true};
  s.run(5s);
  EXPECT_EQ(s.share("prober-1"), 10U);
  s.probers["prober-2"].leaving = false;
  s.run(5s);
  EXPECT_EQ(s.share("prober-1"), 0U);
  EXPECT_EQ(s.share("prober-2"), 10U);
}

TEST(Assigner, ANewDeviceIsGivenOutAtOnceAndALostOneTakenBack) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}};
  s.devices(10);
  s.run(20s);
  s.devices(11);
  s.run(2s);
  s.expect_settled();
  s.list[3].kondisi = "hilang";
  s.take(s.assigner.on_catalogue(s.list, s.now()));
  s.run(2s);
  EXPECT_TRUE(s.checkers(4).empty());
}

TEST(Assigner, APlannedMoveNeverLeavesADeviceUnchecked) {
  Scenario s;
  s.probers = {{"prober-1", {}}};
  s.devices(200);
  s.run(15s);
  s.unchecked.clear();
  s.probers["prober-2"] = {.deaf = true};
  s.run(10s);
  s.devices(200);  // another look at everything confirms nothing
  s.run(2s);
  EXPECT_EQ(s.share("prober-1"), 200u) << "the old owner keeps all until the new one confirms";
  EXPECT_GT(s.assigner.stats().moving, 50u);
  s.probers["prober-2"].deaf = false;
  s.run(12s);
  s.expect_settled();
  EXPECT_TRUE(s.unchecked.empty());
  EXPECT_EQ(s.assigner.stats().moving, 0u);
  EXPECT_EQ(s.assigner.stats().moves_after_death, 0u);
}

TEST(Assigner, APauseReachesEveryProberAtOnceAndThoseThatJoinLater) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}};
  s.devices(100);
  s.run(15s);
  const auto before = s.assigner.versions();
  const auto shares = std::pair(s.share("prober-1"), s.share("prober-2"));
  const auto paused_by = [&s](const std::string& name) {
    return s.probers.at(name).holds.paused_by;
  };
  s.take(s.assigner.set_paused_by("Siti", s.now()));
  EXPECT_EQ(paused_by("prober-1"), "Siti") << "without waiting for a tick";
  EXPECT_EQ(paused_by("prober-2"), "Siti");
  for (const auto& [name, version] : s.assigner.versions()) EXPECT_GT(version, before.at(name));
  EXPECT_EQ(shares, std::pair(s.share("prober-1"), s.share("prober-2"))) << "nothing moves by it";

  const int published = s.published["prober-1"];
  s.take(s.assigner.set_paused_by("Siti", s.now()));
  EXPECT_EQ(s.published["prober-1"], published) << "nothing new, nothing sent";

  s.probers["prober-3"] = {};
  s.run(5s);
  EXPECT_EQ(paused_by("prober-3"), "Siti");
  s.take(s.assigner.set_paused_by("", s.now()));
  for (const char* name : {"prober-1", "prober-2", "prober-3"}) EXPECT_EQ(paused_by(name), "");
  s.run(15s);
  s.expect_settled();
}

TEST(Assigner, APauseBeforeTheFirstProberIsInItsFirstAssignment) {
  Scenario s;
  s.take(s.assigner.set_paused_by("Siti", s.now()));
  s.probers = {{"prober-1", {}}};
  s.devices(3);
  s.run(3s);
  EXPECT_EQ(s.share("prober-1"), 3u);
  EXPECT_EQ(s.probers.at("prober-1").holds.paused_by, "Siti");
}

TEST(Assigner, ADeadProbersDevicesMoveAfterFiveSecondsAndComeBackWithIt) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}, {"prober-3", {}}};
  s.devices(300);
  s.run(20s);
  s.expect_settled();
  s.unchecked.clear();
  s.probers["prober-2"].alive = false;
  s.run(4500ms);
  EXPECT_TRUE(s.assigner.alive("prober-2"));
  s.run(1500ms);
  EXPECT_FALSE(s.assigner.alive("prober-2"));
  s.expect_settled();
  for (const auto& [id, steps] : s.unchecked) EXPECT_LE(steps, 4 * 6) << id;
  s.unchecked.clear();
  s.probers["prober-2"].alive = true;
  s.run(5s);
  s.expect_settled();
  EXPECT_TRUE(s.unchecked.empty());
}

TEST(Assigner, NothingMovesWhenMoreThanHalfVanishTogether) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}, {"prober-3", {}}};
  s.devices(300);
  s.run(20s);
  s.probers["prober-1"].alive = s.probers["prober-2"].alive = false;
  const size_t before = s.share("prober-3");
  s.run(14s);
  EXPECT_EQ(s.share("prober-3"), before);
  EXPECT_EQ(s.assigner.stats().mass_losses, 1u);
  s.run(3s);
  EXPECT_EQ(s.share("prober-3"), 300u) << "at the end of the hold they are dead after all";
  EXPECT_EQ(s.assigner.stats().mass_losses, 1u);
}

TEST(Assigner, OneOfTwoIsNotMoreThanHalf) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}};
  s.devices(50);
  s.run(20s);
  s.probers["prober-1"].alive = false;
  s.run(6s);
  EXPECT_EQ(s.share("prober-2"), 50u);
}

TEST(Assigner, NothingMovesForTenSecondsAfterTheBusCameBack) {
  Scenario s;
  s.probers = {{"prober-1", {}}, {"prober-2", {}}, {"prober-3", {}}};
  s.devices(300);
  s.run(20s);
  const auto before = s.assigner.stats();
  s.bus_up = false;
  s.run(30s);
  EXPECT_EQ(s.assigner.stats().deaths, 0u) << "cut off ourselves: silence means nothing";
  s.bus_up = true;
  s.probers["prober-1"].alive = false;  // one really died meanwhile
  s.run(9s);
  EXPECT_EQ(s.assigner.stats().moves_after_death, before.moves_after_death);
  EXPECT_EQ(s.assigner.stats().deaths, 0u);
  s.run(3s);
  s.expect_settled();
  EXPECT_EQ(s.assigner.stats().connections, before.connections + 1);
}

TEST(Assigner, ANewcomerWaitsForTheEndOfTheHold) {
  Scenario s;
  s.probers = {{"prober-1", {}}};
  s.devices(100);
  s.run(4s);
  s.probers["prober-2"] = {};
  s.run(6s);
  EXPECT_EQ(s.share("prober-1"), 100u);
  EXPECT_EQ(s.assigner.stats().moves_planned, 0u);
  s.run(5s);
  s.expect_settled();
}

TEST(Assigner, ARestartMovesNothing) {
  Scenario before;
  before.probers = {{"prober-1", {}}, {"prober-2", {}}, {"prober-3", {}}};
  before.devices(300);
  before.run(20s);
  Scenario s({.generation = 2});
  s.assigner.restore(before.kept, s.now());
  s.probers = before.probers;
  s.probers["prober-2"].alive = false;  // its first heartbeat comes late
  s.devices(300);
  s.run(5s);
  EXPECT_EQ(s.share("prober-1"), before.share("prober-1"));
  s.probers["prober-2"].alive = true;
  s.run(10s);
  s.expect_settled();
  EXPECT_EQ(s.assigner.stats().moves_planned + s.assigner.stats().moves_after_death, 0u);
  EXPECT_EQ(s.assigner.assignment_of("prober-1").version.generation, 2u);
}

TEST(Assigner, WhoLacksItsAssignmentGetsItAgainEverLessOften) {
  Scenario s;
  s.probers = {{"prober-1", {}}};
  s.devices(5);
  s.run(12s);
  s.probers["prober-1"].deaf = true;
  s.devices(6);
  s.published.clear();
  s.run(30s);
  EXPECT_GE(s.published["prober-1"], 5);
  EXPECT_LE(s.published["prober-1"], 8);
  s.probers["prober-1"].deaf = false;
  s.run(9s);
  EXPECT_EQ(s.share("prober-1"), 6u);
  s.published.clear();
  s.run(20s);
  EXPECT_EQ(s.published["prober-1"], 0);
}

TEST(Assigner, ALocationHasItsOwnProbers) {
  Scenario s;
  s.probers = {{"prober-1", {.location = "jakarta"}}, {"prober-2", {.location = "surabaya"}}};
  s.devices(20, {"jakarta", "surabaya", "nowhere"});
  s.run(4s);
  EXPECT_EQ(s.share("prober-1"), 20u);
  EXPECT_EQ(s.share("prober-2"), 20u);
  EXPECT_EQ(s.assigner.stats().unassigned, 20u);
  s.probers["prober-2"].alive = false;
  s.run(20s);
  EXPECT_EQ(s.share("prober-1"), 20u);
  s.probers["prober-1"].location = "surabaya";
  s.run(14s);
  EXPECT_EQ(s.assigner.assignment_of("prober-1").location, "surabaya");
  EXPECT_EQ(s.share("prober-1"), 20u);
}

TEST(Assigner, ANewGenerationIssuesEverythingAgainAndFinishesMoves) {
  Scenario s;
  s.probers = {{"prober-1", {}}};
  s.devices(100);
  s.run(15s);
  s.probers["prober-2"] = {.deaf = true};
  s.run(3s);
  s.take(s.assigner.set_generation(9));
  s.probers["prober-2"].deaf = false;
  s.run(12s);
  s.expect_settled();
  EXPECT_EQ(s.probers["prober-1"].holds.version.generation, 9u);
}

TEST(Assigner, KnowsABoundedNumberOfProbers) {
  Scenario s;
  for (size_t i = 0; i < kProbersMax + 7; ++i) {
    s.take(s.assigner.on_prober({.prober = "p" + std::to_string(i)}, s.now()));
  }
  EXPECT_EQ(s.assigner.stats().probers_live, kProbersMax);
  EXPECT_EQ(s.assigner.stats().refused_probers, 7u);
}

TEST(Assigner, SleepsWhenThereIsNothingToDo) {
  Scenario s;
  EXPECT_FALSE(s.assigner.next_wakeup());
  s.probers = {{"prober-1", {}}};
  s.devices(3);
  s.run(20s);
  s.bus_up = false;
  s.run(20s);
  const auto wakeup = s.assigner.next_wakeup();
  EXPECT_TRUE(!wakeup || *wakeup > s.now().mono) << "no busy loop while cut off";
}

}  // namespace
}  // namespace gema::inventory
