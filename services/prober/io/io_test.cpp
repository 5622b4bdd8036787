// What the prober keeps on disk, and what it takes from the bus.
#include <gtest/gtest.h>

#include <fstream>

#include "common/codec/ping_codec.h"
#include "common/runtime/clock.h"
#include "services/prober/io/address_text.h"
#include "services/prober/io/assignments.h"
#include "services/prober/io/routes.h"
#include "services/prober/io/spooler.h"
#include "services/prober/io/state_files.h"
#include "tests/support/temp_dir.h"

namespace gema::prober {
namespace {

using gema::testing::TempDir;

KeptAssignment kept_assignment() {
  KeptAssignment kept;
  kept.assignment = {.version = {2, 5}, .prober = "prober-1", .location = "here", .down_after = 4};
  kept.assignment.devices = {{.id = 1, .address = "192.0.2.1"}, {.id = 2, .address = "a.example"}};
  kept.since_ms = {1'763'632'561'000, 5};
  kept.leaving = {{.device = 3, .interval_ms = 500, .since_ms = 1, .until_ms = 2}};
  return kept;
}

TEST(StateFiles, GiveBackWhatWasKept) {
  const TempDir dir;
  EXPECT_FALSE(*read_assignment(dir / "a"));
  ASSERT_TRUE(write_assignment(dir / "a", kept_assignment()));
  const auto read = read_assignment(dir / "a");
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->assignment, kept_assignment().assignment);
  EXPECT_EQ((*read)->since_ms, kept_assignment().since_ms);
  EXPECT_EQ((*read)->leaving.at(0).until_ms, 2);
  EXPECT_FALSE(*read_mark(dir / "m"));
  ASSERT_TRUE(write_mark(dir / "m", {17, "position"}));
  EXPECT_EQ(*read_mark(dir / "m"), (SpoolMark{17, "position"}));
}

TEST(StateFiles, ADamagedFileIsAnErrorAndNeverHalfRead) {
  const TempDir dir;
  ASSERT_TRUE(write_assignment(dir / "a", kept_assignment()));
  std::ifstream file(dir / "a", std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x20);
    std::ofstream(dir / "a", std::ios::binary) << bad;
    EXPECT_FALSE(read_assignment(dir / "a")) << "byte " << i;
    std::ofstream(dir / "a", std::ios::binary) << good.substr(0, i);
    EXPECT_FALSE(read_assignment(dir / "a")) << "cut at " << i;
  }
}

TEST(StateFiles, ADirectoryThatIsGoneIsAnError) {
  const TempDir dir;
  const auto written = write_mark(dir / "gone/m", {});
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Errc::kRetryable);
}

TEST(ParseAddress, KnowsAddressesFromNames) {
  EXPECT_EQ(parse_address("192.0.2.1")->family, 4);
  EXPECT_EQ(parse_address("2001:db8::1")->family, 6);
  EXPECT_GT(parse_address("fe80::1%lo")->scope, 0U);
  for (const char* text : {"192.0.2.1", "2001:db8::1", "fe80::1%1"}) {
    EXPECT_EQ(to_text(*parse_address(text)), text);
  }
  for (const char* name : {"", "example.org", "192.0.2", "192.0.2.256", "2001:db8::zz", "1",
                           "fe80::1%", "fe80::1%nosuch", "%lo"}) {
    EXPECT_FALSE(parse_address(name)) << name;
  }
}

struct Taken {
  TempDir dir;
  SlotClock clock{runtime::read_clock()};
  Engine engine{{}, clock, runtime::read_clock().mono};
  runtime::Loop loop;
  std::unique_ptr<Resolver> own = *Resolver::open(loop, {});
  Resolver& resolver = *own;
  Proofs proofs{{}, loop, [](const std::string&) { return Address{}; }};
  Assignments assignments{"prober-1", dir / "assignment.pb", engine, resolver, proofs};

  Result<bool> give(const Assignment& a) {
    Result<bool> last = false;
    for (const std::string& part : split_snapshot(encode_assignment(a), a.version)) {
      last = assignments.on_part(part);
      if (!last) return last;
    }
    return last;
  }
};

TEST(Assignments, TakeANewerOneAndRefuseALowerOne) {
  Taken taken;
  Assignment a = kept_assignment().assignment;
  EXPECT_TRUE(*taken.give(a));
  EXPECT_EQ(taken.engine.devices(), 2U);
  EXPECT_EQ(taken.resolver.names(), 1U);
  a.devices.clear();
  for (const Version lower : {Version{2, 5}, Version{2, 4}, Version{1, 99}}) {
    a.version = lower;
    const auto given = taken.give(a);
    EXPECT_FALSE(given && *given);
    EXPECT_EQ(taken.engine.devices(), 2U);
  }
  a.version = {3, 1};
  EXPECT_TRUE(*taken.give(a));
  EXPECT_EQ(taken.engine.devices(), 0U);
}

TEST(Assignments, RefuseWhatIsForAnotherProberOrNoAssignment) {
  Taken taken;
  Assignment a = kept_assignment().assignment;
  a.prober = "prober-2";
  EXPECT_FALSE(taken.give(a));
  EXPECT_FALSE(taken.assignments.on_part("garbage"));
  EXPECT_FALSE(taken.assignments.any());
}

TEST(Assignments, TrainsLongerThanTheirIntervalAndImpossibleAddressesAreRefused) {
  Taken taken;
  Assignment a = kept_assignment().assignment;
  a.devices = {
      {.id = 1, .address = "192.0.2.1", .interval_ms = 1000, .echo_count = 11},
      {.id = 2, .address = "192.0.2.2", .interval_ms = 999, .echo_count = 11},
      {.id = 3, .address = "192.0.2.3", .echo_count = 20, .echo_spacing_ms = 264},
      {.id = 4, .address = "192.0.2.4", .echo_count = 20, .echo_spacing_ms = 263},
      {.id = 5, .address = "255.255.255.255"},
      {.id = 6, .address = "224.0.0.1"},
      {.id = 7, .address = "0.0.0.0"},
      {.id = 8, .address = "ff02::1"},
      {.id = 9, .address = "::"},
      {.id = 10, .address = "192.0.2.5", .echo_spacing_ms = kEchoSpacingMsMax + 1},
      {.id = 11, .address = "192.0.2.6", .echo_count = 100, .echo_spacing_ms = 50},
  };
  EXPECT_TRUE(*taken.give(a));
  EXPECT_EQ(taken.engine.devices(), 3U);  // 1, 4, 11
  EXPECT_EQ(taken.assignments.refused_devices(), 8U);
  for (const DeviceId id : {1, 4, 11}) EXPECT_GT(taken.engine.since_ms(id), 0);
}

TEST(Assignments, APauseIsKeptAndEnds) {
  Taken taken;
  Assignment a = kept_assignment().assignment;
  a.paused_by = "ani";
  EXPECT_TRUE(*taken.give(a));
  EXPECT_EQ(taken.engine.paused_by(), "ani");
  EXPECT_EQ((*read_assignment(taken.dir / "assignment.pb"))->assignment.paused_by, "ani");
  a.paused_by.clear();
  a.version = {9, 9};
  EXPECT_TRUE(*taken.give(a));
  EXPECT_FALSE(taken.engine.paused());
}

TEST(Routes, TheDefaultGatewaysAreFoundAndNothingElse) {
  const std::string v4 =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
      "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
      "eth1\t00000000\t010011AC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"  // the same again
      "eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"    // no gateway
      "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
      "eth0\t0000000A\t020011AC\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n"  // not the default
      "eth0\tzz\t1\n\n";
  const auto four = parse_gateways_v4(v4);
  ASSERT_EQ(four.size(), 1U);
  EXPECT_EQ(to_text(four[0]), "172.17.0.1");
  const std::string none(32, '0');
  const std::string by = "20010db8000000000000000000000001",
                    lo = "fe800000000000000000000000000001";
  const std::string v6 =
      none + " 00 " + none + " 00 " + by + " 00000400 00000001 00000000 00000003     eth0\n" +
      none + " 00 " + none + " 00 " + lo + " 00000400 00000001 00000000 00000003       lo\n" +
      none + " 00 " + none + " 00 " + lo + " 00000400 00000001 00000000 00000003 nowhere\n" + none +
      " 00 " + none + " 00 " + none + " ffffffff 00000001 00000000 00200200       lo\n" + none +
      " 08 " + none + " 00 " + by + " 00000400 00000001 00000000 00000003     eth0\nx\n";
  const auto six = parse_gateways_v6(v6);
  ASSERT_EQ(six.size(), 2U);
  EXPECT_EQ(to_text(six[0]), "2001:db8::1");
  EXPECT_EQ(to_text(six[1]), "fe80::1%1");
}

TEST(Assignments, DevicesBeyondTheLimitsAreRefusedAndTheOthersChecked) {
  Taken taken;
  Assignment a = kept_assignment().assignment;
  a.devices = {{.id = 1, .address = "192.0.2.1", .interval_ms = kIntervalMsMin - 1},
               {.id = 2, .address = "192.0.2.2", .timeout_ms = kTimeoutMsMax + 1},
               {.id = 3, .address = "192.0.2.3", .echo_count = kEchoCountMax + 1},
               {.id = 4, .address = "192.0.2.4", .min_replies = 2},
               {.id = 9, .address = "192.0.2.9"}};
  EXPECT_TRUE(*taken.give(a));
  EXPECT_EQ(taken.engine.devices(), 1U);
  EXPECT_EQ(taken.assignments.refused_devices(), 4U);
}

TEST(Assignments, ComeBackAtTheNextStartWithSinceWhen) {
  Taken first;
  ASSERT_TRUE(*first.give(kept_assignment().assignment));
  const int64_t since = first.engine.since_ms(1);
  Taken second;
  std::filesystem::copy(first.dir / "assignment.pb", second.dir / "assignment.pb");
  const auto schedules = second.assignments.restore();
  ASSERT_TRUE(schedules);
  ASSERT_EQ(schedules->size(), 2U);
  EXPECT_EQ((*schedules)[0].since_ms, since);
  EXPECT_EQ(second.engine.since_ms(1), since);
  EXPECT_EQ(second.assignments.version(), (Version{2, 5}));
}

struct Spool {
  TempDir dir;
  Now now = runtime::read_clock();
  std::unique_ptr<stream::Producer> producer;

  std::unique_ptr<Spooler> open() {
    producer.reset();
    auto opened = stream::Producer::open({.dir = dir / "spool",
                                          .stream = "ping",
                                          .name = "prober-1",
                                          .groups = {"recorder"},
                                          .bytes_max = 64 << 20},
                                         now);
    EXPECT_TRUE(opened) << opened.error().message;
    producer = std::move(*opened);
    return std::make_unique<Spooler>(*producer, dir / "mark.pb");
  }
  static PingResults result(DeviceId device, int64_t due) {
    PingResults r;
    r.device = {device};
    r.interval_ms = {1000};
    r.due_ms = {due};
    r.verdict = {Verdict::kNotMeasured};
    r.reason = {Reason::kLate};
    r.echo_begin = {0, 0};
    return r;
  }
};

TEST(Spooler, ANextStartKnowsTheMarkAndTheLastSlotsBehindIt) {
  Spool spool;
  auto spooler = spool.open();
  EXPECT_FALSE(spooler->read_past()->done_until_ms);
  spooler->append(partition_of(1), Spool::result(1, 1000), spool.now);
  spooler->mark(900, 1000);  // marks become valid one call later, when their records are synced
  spooler->append(partition_of(1), Spool::result(1, 2000), spool.now);
  spooler->append(partition_of(2), Spool::result(2, 1500), spool.now);
  spooler->mark(1400, 2000);
  spooler = spool.open();
  auto past = *spooler->read_past();
  EXPECT_FALSE(past.done_until_ms);  // at 900 no position was known yet
  EXPECT_EQ(past.last_slot, (std::map<DeviceId, int64_t>{{1, 2000}, {2, 1500}}));
  spooler->mark(1999, 2500);
  spooler->append(partition_of(2), Spool::result(2, 2600), spool.now);
  spooler->mark(2550, 3000);
  spooler->mark(2999, 3500);
  spooler = spool.open();
  past = *spooler->read_past();
  EXPECT_EQ(past.done_until_ms, 2550);
  EXPECT_EQ(past.last_slot, (std::map<DeviceId, int64_t>{{2, 2600}}));
}

TEST(Spooler, ADamagedMarkCostsOnlyCertainty) {
  Spool spool;
  auto spooler = spool.open();
  spooler->append(partition_of(1), Spool::result(1, 1000), spool.now);
  std::ofstream(spool.dir / "mark.pb") << "garbage";
  spooler = spool.open();
  const auto past = spooler->read_past();
  ASSERT_TRUE(past);
  EXPECT_FALSE(past->done_until_ms);
  EXPECT_EQ(past->last_slot.at(1), 1000);
}

}  // namespace
}  // namespace gema::prober
