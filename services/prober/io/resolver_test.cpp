// The resolver against a real name server on the loopback. Time is given to it, so that hours of
// times to live pass at once; only what the network takes is waited for.
#include "services/prober/io/resolver.h"

#include <gtest/gtest.h>

#include <fstream>

#include "common/runtime/clock.h"
#include "services/prober/io/address_text.h"
#include "services/prober/io/dns_server_for_test.h"
#include "tests/support/temp_dir.h"

namespace gema::prober {
namespace {

struct Rig {
  runtime::Loop loop;
  std::unique_ptr<Resolver> resolver;
  MonoTime now = runtime::read_clock().mono;
  std::vector<Resolved> changed;

  explicit Rig(std::vector<std::string> servers, bool v4 = true, bool v6 = true,
               Duration timeout = 100ms) {
    auto opened = Resolver::open(
        loop, {.v4 = v4, .v6 = v6, .servers = std::move(servers), .timeout = timeout});
    EXPECT_TRUE(opened) << opened.error().message;
    resolver = std::move(*opened);
  }
  explicit Rig(const DnsServer& server, bool v4 = true, bool v6 = true)
      : Rig(std::vector{server.endpoint()}, v4, v6) {}

  // Runs the loop until every question has its answer.
  void settle() {
    settle_until([&] { return resolver->asked() == 0; });
  }
  void settle_until(const std::function<bool()>& done) {
    const MonoTime give_up = runtime::read_clock().mono + 60s;
    struct Over {};  // a loop that was stopped stays so; this one goes on later
    try {
      loop.run([&](Now real) -> std::optional<MonoTime> {
        now += 1ms;  // a turn is a millisecond for the resolver, however fast the machine is
        resolver->tick(now, changed);
        if (done() || real.mono > give_up) throw Over{};
        return real.mono + 1ms;
      });
    } catch (const Over&) {
    }
    EXPECT_TRUE(done()) << "not within a minute";
  }
  std::string ask(const std::string& name) {
    resolver->assign({{1, name}});
    settle();
    return to_text(resolver->known(name));
  }
  // Lets the name's time to live pass.
  std::string ask_again(const std::string& name) {
    now += kNameTtlMax;
    settle();
    return to_text(resolver->known(name));
  }
  uint64_t failures(NameFault fault) const {
    return resolver->stats().failures[static_cast<size_t>(fault)];
  }
};

TEST(Resolver, FindsAddressesOfBothFamiliesAndTellsTheDevice) {
  DnsServer server;
  server.set("four.test", {.v4 = {"192.0.2.1"}});
  server.set("six.test", {.v6 = {"2001:db8::1"}});
  Rig rig(server);
  rig.resolver->assign({{1, "four.test"}, {2, "six.test"}, {3, "four.test"}});
  EXPECT_EQ(rig.resolver->unresolved(), 2U);
  rig.settle();
  EXPECT_EQ(rig.resolver->unresolved(), 0U);
  EXPECT_EQ(to_text(rig.resolver->known("four.test")), "192.0.2.1");
  EXPECT_EQ(to_text(rig.resolver->known("six.test")), "2001:db8::1");
  EXPECT_EQ(rig.changed.size(), 3U);
  EXPECT_EQ(server.questions_about("four.test"), 2);  // once for both devices
}

TEST(Resolver, AsksAgainWhenTheTimeToLiveIsOverAndNotBefore) {
  DnsServer server;
  server.set("a.test", {.v4 = {"192.0.2.1"}, .ttl_s = 100});
  Rig rig(server);
  EXPECT_EQ(rig.ask("a.test"), "192.0.2.1");
  const int asked = server.questions();
  server.set("a.test", {.v4 = {"192.0.2.2"}, .ttl_s = 100});
  rig.now += 80s;
  rig.settle();
  EXPECT_EQ(server.questions(), asked);
  rig.changed.clear();
  rig.now += 21s;
  rig.settle();
  ASSERT_EQ(rig.changed.size(), 1U);
  EXPECT_EQ(rig.changed[0],
            (Resolved{1, *parse_address("192.0.2.1"), *parse_address("192.0.2.2")}));
  EXPECT_EQ(rig.resolver->stats().address_changes, 2U);
}

TEST(Resolver, RoundRobinDoesNotMoveADevice) {
  DnsServer server;
  server.set("a.test", {.v4 = {"192.0.2.3", "192.0.2.1", "192.0.2.2"}, .ttl_s = 0});
  Rig rig(server);
  EXPECT_EQ(rig.ask("a.test"), "192.0.2.1");
  server.set("a.test", {.v4 = {"192.0.2.2", "192.0.2.3", "192.0.2.1"}});
  EXPECT_EQ(rig.ask_again("a.test"), "192.0.2.1");
  server.set("a.test", {.v4 = {"192.0.2.3", "192.0.2.2"}});
  EXPECT_EQ(rig.ask_again("a.test"), "192.0.2.2");
}

TEST(Resolver, EachFailureHasItsReasonAndKeepsTheAddress) {
  struct Case {
    DnsServer::Name answer;
    NameFault fault;
  };
  const Case cases[] = {{{.code = 2}, NameFault::kServerFailure},
                        {{.code = 5}, NameFault::kRefused},
                        {{.code = 3}, NameFault::kNoSuchName},
                        {{}, NameFault::kNoData},
                        {{.silent = true}, NameFault::kTimeout}};
  for (const Case& c : cases) {
    SCOPED_TRACE(to_string(c.fault));
    DnsServer server;
    server.set("a.test", {.v4 = {"192.0.2.1"}});
    Rig rig(server);
    EXPECT_EQ(rig.ask("a.test"), "192.0.2.1");
    server.set("a.test", c.answer);
    EXPECT_EQ(rig.ask_again("a.test"), "192.0.2.1");
    EXPECT_EQ(rig.failures(c.fault), 1U);
    EXPECT_EQ(rig.resolver->failing(), 1U);
    server.set("a.test", {.v4 = {"192.0.2.1"}});
    rig.ask_again("a.test");
    EXPECT_EQ(rig.resolver->failing(), 0U);
    EXPECT_EQ(rig.changed.size(), 1U);
  }
}

TEST(Resolver, GarbageAndForbiddenAddressesGiveNone) {
  DnsServer server;
  server.set("garbage.test", {.garbage = true});
  server.set("multicast.test", {.v4 = {"224.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3"},
                                .v6 = {"ff02::1", "::"}});
  Rig rig(server);
  EXPECT_EQ(rig.ask("garbage.test"), "");
  EXPECT_EQ(rig.ask("multicast.test"), "");
  EXPECT_EQ(rig.failures(NameFault::kForbidden), 1U);
  EXPECT_EQ(rig.ask("no..name"), "");
  EXPECT_EQ(rig.failures(NameFault::kBadName), 1U);
}

TEST(Resolver, OnlyPermittedFamiliesAreAskedFor) {
  DnsServer server;
  server.set("a.test", {.v4 = {"192.0.2.1"}, .v6 = {"2001:db8::1"}});
  server.set("six.test", {.v6 = {"2001:db8::1"}});
  Rig v4(server, true, false);
  EXPECT_EQ(v4.ask("a.test"), "192.0.2.1");
  EXPECT_EQ(server.questions(), 1);
  EXPECT_EQ(v4.ask("six.test"), "");
  EXPECT_EQ(v4.failures(NameFault::kNoData), 1U);
  Rig v6(server, false, true);
  EXPECT_EQ(v6.ask("a.test"), "2001:db8::1");
}

TEST(Resolver, ATruncatedAnswerIsFetchedByTcp) {
  DnsServer server;
  DnsServer::Name big{.by_tcp = true};
  for (int i = 200; i > 0; --i) big.v4.push_back("192.0.2." + std::to_string(i));
  server.set("big.test", big);
  Rig rig(server);
  EXPECT_EQ(rig.ask("big.test"), "192.0.2.137");  // the lowest of the first 64
  EXPECT_GT(server.questions_by_tcp(), 0);
}

TEST(Resolver, TheNextServerIsAskedWhenOneFailsAndTheGoodOneComesFirstThen) {
  DnsServer bad, good;
  bad.set_others({.code = 2});
  good.set("a.test", {.v4 = {"192.0.2.1"}});
  good.set("b.test", {.v4 = {"192.0.2.2"}});
  Rig rig({bad.endpoint(), good.endpoint()});
  EXPECT_EQ(rig.ask("a.test"), "192.0.2.1");
  EXPECT_GT(bad.questions(), 0);
  const int before = bad.questions();
  EXPECT_EQ(rig.ask("b.test"), "192.0.2.2");
  EXPECT_EQ(bad.questions(), before);
  EXPECT_EQ(rig.ask("gone.test"), "");  // an answer: nobody else is asked
  EXPECT_EQ(bad.questions(), before);
}

TEST(Resolver, AServerThatIsNotThereIsSaidToBe) {
  std::string endpoint;
  {
    DnsServer gone;
    endpoint = gone.endpoint();
  }
  Rig rig({endpoint});
  EXPECT_EQ(rig.ask("a.test"), "");
  EXPECT_EQ(rig.failures(NameFault::kNoServer), 1U);
}

TEST(Resolver, HostsFileComesFirst) {
  DnsServer server;
  server.set_others({.v4 = {"192.0.2.1"}});
  Rig rig(server);
  EXPECT_EQ(rig.ask("localhost"), "127.0.0.1");  // in every /etc/hosts
  EXPECT_EQ(server.questions(), 0);
}

TEST(Resolver, ThousandsOfNamesAreAskedForAFewAtATime) {
  DnsServer server;
  server.set_others({.v4 = {"192.0.2.1"}, .ttl_s = 60});
  Rig rig(server);
  std::vector<Resolver::Named> names;
  for (DeviceId id = 1; id <= 2000; ++id) names.push_back({id, std::to_string(id) + ".test"});
  rig.resolver->assign(names);
  const MonoTime begin = rig.now;
  size_t most = 0;
  rig.settle_until([&] {
    most = std::max(most, rig.resolver->asked());
    return rig.resolver->unresolved() == 0;
  });
  EXPECT_LE(most, kNamesAskedMax);
  EXPECT_GE(rig.now - begin, kNameSpacing * (2000 - kNameBurst - 1));  // 500 a second
  EXPECT_EQ(server.questions(), 4000);
}

TEST(Resolver, NamesThatTimeOutDoNotHoldUpTheOthers) {
  DnsServer server;
  server.set_others({.silent = true});
  std::vector<Resolver::Named> names;
  for (DeviceId id = 1; id <= 300; ++id) names.push_back({id, std::to_string(id) + ".test"});
  Rig rig(server);
  rig.resolver->assign(names);
  rig.settle_until([&] { return rig.failures(NameFault::kTimeout) >= 300; });
  // All of them are due again, and slow; a new name has room beside them.
  rig.now += kResolveRetryMax;
  server.set("new.test", {.v4 = {"192.0.2.1"}});
  names.push_back({301, "new.test"});
  rig.resolver->assign(names);
  size_t most = 0;
  rig.settle_until([&] {
    most = std::max(most, rig.resolver->asked());
    return rig.resolver->known("new.test").known();
  });
  EXPECT_LE(most, kNamesAskedSlowMax + 1);
}

TEST(Resolver, NamesThatLeaveWhileAskedForAreForgotten) {
  DnsServer server;
  server.set_others({.silent = true});
  Rig rig(server);
  rig.resolver->assign({{1, "a.test"}, {2, "b.test"}});
  rig.resolver->tick(rig.now, rig.changed);
  EXPECT_EQ(rig.resolver->asked(), 2U);
  rig.resolver->assign({{2, "b.test"}});
  rig.resolver->assign({{1, "a.test"}, {2, "b.test"}});  // and one comes back
  rig.settle();
  EXPECT_EQ(rig.resolver->names(), 2U);
  EXPECT_TRUE(rig.changed.empty());
}

TEST(Resolver, KeepsKnownAddressesOverANewAssignment) {
  DnsServer server;
  server.set("a.test", {.v4 = {"192.0.2.1"}});
  Rig rig(server);
  rig.ask("a.test");
  const int asked = server.questions();
  rig.resolver->assign({{5, "a.test"}});
  EXPECT_EQ(to_text(rig.resolver->known("a.test")), "192.0.2.1");
  rig.settle();
  EXPECT_EQ(server.questions(), asked);
}

TEST(Resolver, CanBeDestroyedWhileItAsks) {
  DnsServer server;
  server.set_others({.silent = true});
  Rig rig(server);
  rig.resolver->assign({{1, "a.test"}});
  rig.resolver->tick(rig.now, rig.changed);
  rig.resolver.reset();
}

TEST(Resolver, TheSystemsServersAreReadAgainWhenTheirFileChanges) {
  const gema::testing::TempDir dir;
  const std::string file = dir / "resolv.conf";
  std::ofstream(file) << "nameserver 127.0.0.1\n";
  runtime::Loop loop;
  auto resolver = *Resolver::open(loop, {.timeout = 50ms, .system = file});
  MonoTime now = runtime::read_clock().mono;
  std::vector<Resolved> changed;
  resolver->assign({{1, "a.invalid"}});
  resolver->tick(now, changed);
  std::ofstream(file) << "nameserver 127.0.0.1\nnameserver 127.0.0.2\n";
  now += kDnsConfigEvery;
  resolver->tick(now, changed);  // what was under way is put off, not failed
  EXPECT_EQ(resolver->failing(), 0U);
  EXPECT_EQ(resolver->servers_read(), 2U);
}

TEST(Resolver, RefusesServersThatAreNone) {
  for (const char* text :
       {"", "ns.example", "192.0.2.53:", "192.0.2.53:70000", "192.0.2.53:0", "[192.0.2.53]:53",
        "[2001:db8::53]", "192.0.2", "a b", "192.0.2.53,192.0.2.54"}) {
    runtime::Loop loop;
    const auto opened = Resolver::open(loop, {.servers = {text}});
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().code, Errc::kBadInput);
    EXPECT_NE(opened.error().message.find("prober.dns_servers = "), std::string::npos);
  }
  for (const char* text : {"192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:53"}) {
    runtime::Loop loop;
    EXPECT_TRUE(Resolver::open(loop, {.servers = {text}})) << text;
  }
}

}  // namespace
}  // namespace gema::prober
