#include "services/prober/core/name_policy.h"

#include <gtest/gtest.h>

#include "common/base/random.h"
#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

constexpr MonoTime kStart{1000s};

Address ip(const std::string& text) {
  const auto parsed = parse_ip(text);
  EXPECT_TRUE(parsed) << text;
  return {.bytes = parsed->bytes, .family = parsed->family};
}

FamilyAnswer has(const std::vector<std::string>& texts, uint32_t ttl_s = 300) {
  FamilyAnswer answer{.fault = NameFault::kNone, .ttl_s = ttl_s};
  for (const std::string& text : texts) answer.candidates.push_back({ip(text)});
  return answer;
}
FamilyAnswer fails(NameFault fault) {
  return {.fault = fault};
}

struct Name {
  NameState state;
  MonoTime now = kStart;
  NameStep step;

  const Address& on(FamilyAnswer v4, FamilyAnswer v6 = fails(NameFault::kNoData)) {
    step = on_name_answer(state, {std::move(v4), std::move(v6)}, now, 0);
    return state.address;
  }
};

TEST(NamePolicy, TheAddressInUseStaysWhileItIsInTheAnswerInWhateverOrder) {
  Name name;
  EXPECT_EQ(name.on(has({"192.0.2.7", "192.0.2.5"})), ip("192.0.2.5"));  // the lowest
  EXPECT_TRUE(name.step.changed);
  EXPECT_FALSE(name.step.from.known());
  EXPECT_EQ(name.on(has({"192.0.2.1", "192.0.2.5"}), has({"2001:db8::1"})), ip("192.0.2.5"));
  EXPECT_FALSE(name.step.changed);
  EXPECT_EQ(name.on(has({"192.0.2.1"}), has({"2001:db8::1"})), ip("2001:db8::1"));
  EXPECT_TRUE(name.step.changed);
  EXPECT_EQ(name.step.from, ip("192.0.2.5"));
}

TEST(NamePolicy, PrefersWhatIsUsableThenTheTableOfRfc6724ThenTheLowest) {
  struct Case {
    std::vector<std::string> v4, v6;
    std::string chosen;
  };
  const Case cases[] = {
      {{"192.0.2.1"}, {"2001:db8::1"}, "2001:db8::1"},
      {{"10.0.0.1"}, {"fd00::1"}, "10.0.0.1"},  // private IPv6 is for those who asked for it
      {{}, {"fd00::2", "fd00::1"}, "fd00::1"},
      {{"192.0.2.1"}, {"2002:c000:201::1"}, "192.0.2.1"},  // 6to4
      {{"192.0.2.1"}, {"2001::1"}, "192.0.2.1"},           // Teredo
      {{"127.0.0.1"}, {"::1"}, "::1"},
  };
  for (const Case& c : cases) {
    Name name;
    EXPECT_EQ(name.on(has(c.v4), has(c.v6)), ip(c.chosen)) << c.chosen;
  }
  Name name;
  FamilyAnswer v6 = has({"2001:db8::1"});
  v6.candidates[0].usable = false;  // no IPv6 route here
  EXPECT_EQ(name.on(has({"192.0.2.1"}), v6), ip("192.0.2.1"));
  Name only;
  EXPECT_EQ(only.on(fails(NameFault::kNoData), v6), ip("2001:db8::1"));  // nothing better
}

TEST(NamePolicy, IsAskedAgainAfterItsTimeToLiveWithinBounds) {
  struct Case {
    uint32_t ttl_s;
    Duration wait;
  };
  for (const Case& c : {Case{0, kNameTtlMin},
                        {1, kNameTtlMin},
                        {300, 300s},
                        {7 * 24 * 3600, kNameTtlMax},
                        {UINT32_MAX, kNameTtlMax}}) {
    Name name;
    name.on(has({"192.0.2.1"}, c.ttl_s));
    EXPECT_EQ(name.state.due - name.now, c.wait) << c.ttl_s;
  }
  Name both;  // the shorter of both families
  both.on(has({"192.0.2.1"}, 60), has({"2001:db8::1"}, 20));
  EXPECT_EQ(both.state.due - both.now, 20s);
  NameState state;
  on_name_answer(state, {has({"192.0.2.1"}, 100), {}}, kStart, 1023);
  EXPECT_GT(state.due - kStart, 90s);
  EXPECT_LT(state.due - kStart, 91s);
}

TEST(NamePolicy, AFailedQuestionKeepsTheAddressSaysWhyAndIsAskedAgainEverMoreRarely) {
  using enum NameFault;
  for (const NameFault fault : {kServerFailure, kRefused, kTimeout, kNoServer}) {
    Name name;
    name.on(has({"192.0.2.1"}));
    for (const Duration wait : {10s, 20s, 40s, 60s, 60s}) {
      EXPECT_EQ(name.on(fails(fault), fails(fault)), ip("192.0.2.1"));
      EXPECT_EQ(name.state.fault, fault);
      EXPECT_EQ(name.state.due - name.now, wait);
      name.now += 24h;  // for ever
    }
    name.on(has({"192.0.2.1"}));
    EXPECT_TRUE(name.step.fault_changed);
    EXPECT_FALSE(name.step.changed);
    EXPECT_EQ(name.state.failures, 0U);
  }
}

TEST(NamePolicy, OneFamilyThatFailsDoesNotMoveADeviceToTheOther) {
  Name name;
  name.on(has({"192.0.2.1"}));
  EXPECT_EQ(name.on(fails(NameFault::kTimeout), has({"2001:db8::1"})), ip("192.0.2.1"));
  EXPECT_EQ(name.state.fault, NameFault::kTimeout);
  // But a device without any address takes what there is.
  Name fresh;
  EXPECT_EQ(fresh.on(fails(NameFault::kTimeout), has({"2001:db8::1"})), ip("2001:db8::1"));
  EXPECT_EQ(fresh.state.fault, NameFault::kNone);
}

TEST(NamePolicy, ANameThatCeasesToExistKeepsItsAddressForAnHour) {
  for (const NameFault fault : {NameFault::kNoSuchName, NameFault::kNoData}) {
    Name name;
    name.on(has({"192.0.2.1"}));
    name.on(fails(fault), fails(fault));
    EXPECT_EQ(name.state.fault, fault);
    name.now += kNameGoneAfter - 1s;
    EXPECT_EQ(name.on(fails(fault), fails(fault)), ip("192.0.2.1"));
    name.now += 1s;
    name.on(fails(NameFault::kTimeout));  // says nothing
    EXPECT_TRUE(name.state.address.known());
    name.on(fails(fault), fails(fault));
    EXPECT_FALSE(name.state.address.known());
    EXPECT_TRUE(name.step.changed);
    EXPECT_EQ(name.step.from, ip("192.0.2.1"));
  }
  Name back;  // in between it was there: the hour begins anew
  back.on(has({"192.0.2.1"}));
  back.on(fails(NameFault::kNoSuchName));
  back.now += kNameGoneAfter;
  back.on(has({"192.0.2.1"}));
  back.on(fails(NameFault::kNoSuchName));
  EXPECT_TRUE(back.state.address.known());
}

TEST(NamePolicy, AddressesThatAreNeverPingedAreNoAddresses) {
  for (const char* text :
       {"224.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3", "240.0.0.1", "169.254.169.254"}) {
    Name name;
    EXPECT_FALSE(name.on(has({text})).known()) << text;
    EXPECT_EQ(name.state.fault, NameFault::kForbidden);
    EXPECT_EQ(name.on(has({text, "192.0.2.1"})), ip("192.0.2.1"));
    EXPECT_FALSE(name.on(has({text})).known());  // at once
  }
  for (const char* text : {"ff02::1", "::", "fe80::1"}) {
    Name name;
    EXPECT_FALSE(name.on(fails(NameFault::kNoData), has({text})).known()) << text;
    EXPECT_EQ(name.state.fault, NameFault::kForbidden);
  }
}

TEST(NamePolicy, EveryFaultHasItsReason) {
  using enum NameFault;
  struct Case {
    NameFault v4, v6, said;
  };
  for (const Case& c : {Case{kNoSuchName, kNoSuchName, kNoSuchName},
                        {kNoData, kNoData, kNoData},
                        {kNoData, kNoSuchName, kNoSuchName},
                        {kBadName, kBadName, kBadName},
                        {kServerFailure, kServerFailure, kServerFailure},
                        {kRefused, kRefused, kRefused},
                        {kTimeout, kTimeout, kTimeout},
                        {kNoServer, kNoServer, kNoServer},
                        {kNoData, kTimeout, kTimeout}}) {  // nobody knows
    Name name;
    name.on(fails(c.v4), fails(c.v6));
    EXPECT_EQ(name.state.fault, c.said) << to_string(c.said);
    EXPECT_TRUE(name.step.fault_changed);
  }
}

TEST(NamePolicy, ChangesOnlyWhenTheAnswerSaysSo) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(seed);
  Random random(seed);
  Name name;
  for (int i = 0; i < 20'000; ++i) {
    auto family = [&](const char* prefix) {
      if (random.below(4) == 0) {
        return fails(static_cast<NameFault>(1 + random.below(kNameFaultMax)));
      }
      std::vector<std::string> texts;
      for (uint64_t n = 1 + random.below(4); n > 0; --n) {
        texts.push_back(prefix + std::to_string(1 + random.below(6)));
      }
      return has(texts, static_cast<uint32_t>(random.below(10'000)));
    };
    const FamilyAnswer v4 = family("192.0.2."), v6 = family("2001:db8::");
    const Address before = name.state.address;
    auto in = [](const FamilyAnswer& f, const Address& a) {
      return std::any_of(f.candidates.begin(), f.candidates.end(),
                         [&](const Candidate& c) { return c.address == a; });
    };
    const Address after = name.on(v4, v6);
    EXPECT_EQ(name.step.changed, after != before);
    if (in(v4, before) || in(v6, before)) {
      EXPECT_EQ(after, before);
    } else if (after != before && after.known()) {
      EXPECT_TRUE(in(v4, after) || in(v6, after));
    }
    EXPECT_GT(name.state.due, name.now);
    EXPECT_LE(name.state.due - name.now, kNameTtlMax);
    name.now += std::chrono::seconds(random.below(600));
  }
}

}  // namespace
}  // namespace gema::prober
