#include "common/catalogue/catalogue_feed.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "common/bus/topics.h"
#include "gema/v1/inventory.pb.h"
#include "tests/support/temp_dir.h"

namespace gema {
namespace {

struct CatalogueFeedTest : ::testing::Test {
  Catalogue catalogue(uint64_t number) {
    Catalogue out;
    out.version = {.generation = 1, .number = number};
    Device device;
    device.id = number;
    device.address = "192.0.2.1";
    out.devices = {device};
    return out;
  }
  void publish(CatalogueFeed& feed, uint64_t number) {
    const Catalogue whole = catalogue(number);
    for (const std::string& part : split_snapshot(encode_catalogue(whole), whole.version)) {
      EXPECT_TRUE(feed.on_message(bus::catalogue_topic(), part));
    }
  }
  void name(CatalogueFeed& feed, uint64_t number) {
    v1::Heartbeat heartbeat;
    heartbeat.set_process("inventory");
    to_proto(Version{1, number}, *heartbeat.mutable_catalogue());
    EXPECT_TRUE(feed.on_message(bus::heartbeat_topic("inventory"), heartbeat.SerializeAsString()));
  }

  testing::TempDir dir;
  std::vector<uint64_t> taken;
  CatalogueFeed::Take take = [this](const Catalogue& c) { taken.push_back(c.version.number); };
  std::vector<std::string> requests;
  bus::Caller caller{{.publish =
                          [this](std::string_view topic, std::string_view) {
                            requests.emplace_back(topic);
                            return true;
                          },
                      .connected = [] { return true; }},
                     "recorder"};
  Now now{MonoTime{} + 100s, wall_from_ms(1'800'000'000'000)};
};

TEST_F(CatalogueFeedTest, TakesWhatIsNewerAndRefusesWhatIsNot) {
  CatalogueFeed feed(dir / "catalogue", take);
  publish(feed, 4);
  publish(feed, 4);
  publish(feed, 3);
  EXPECT_TRUE(feed.on_message(bus::catalogue_topic(), "no part at all"));
  publish(feed, 5);
  EXPECT_EQ(taken, (std::vector<uint64_t>{4, 5}));
  EXPECT_EQ(feed.version(), (Version{1, 5}));
  EXPECT_FALSE(feed.on_message("live/ping/prober-1/", "x"));
}

TEST_F(CatalogueFeedTest, TheNextStartHasItFromDiskUnlessTheFileIsDamaged) {
  {
    CatalogueFeed feed(dir / "catalogue", take);
    EXPECT_FALSE(feed.load());
    publish(feed, 4);
  }
  CatalogueFeed again(dir / "catalogue", take);
  EXPECT_TRUE(again.load());
  EXPECT_EQ(taken, (std::vector<uint64_t>{4, 4}));
  std::ofstream(dir / "catalogue", std::ios::app) << "x";
  CatalogueFeed damaged(dir / "catalogue", take);
  EXPECT_FALSE(damaged.load());
}

TEST_F(CatalogueFeedTest, AsksForWhatInventoryNamedAndDidNotCome) {
  CatalogueFeed feed(dir / "catalogue", take);
  feed.tick(caller, now);
  EXPECT_TRUE(requests.empty());
  name(feed, 4);
  feed.tick(caller, now);
  EXPECT_TRUE(requests.empty()) << "its parts may be on their way";
  now.mono += 2s;
  feed.tick(caller, now);
  feed.tick(caller, now);
  EXPECT_EQ(requests, std::vector<std::string>{bus::call_topic("inventory")});
  publish(feed, 4);
  EXPECT_EQ(taken, std::vector<uint64_t>{4});
}

}  // namespace
}  // namespace gema
