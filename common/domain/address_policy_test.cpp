#include "common/domain/address_policy.h"

#include <gtest/gtest.h>

#include <set>

namespace gema {
namespace {

IpAddress ip(std::string_view text) {
  const auto address = parse_ip(text);
  EXPECT_TRUE(address) << text;
  return address.value_or(IpAddress{});
}

Cidr cidr(std::string_view text) {
  const auto block = parse_cidr(text);
  EXPECT_TRUE(block) << text;
  return block ? *block : Cidr{};
}

TEST(ParseIp, TakesEverySpellingOfAnAddressAndNothingElse) {
  EXPECT_EQ(to_text(ip("192.0.2.1")), "192.0.2.1");
  EXPECT_EQ(to_text(ip("2001:DB8:0:0::1")), "2001:db8::1");
  EXPECT_EQ(to_text(ip("::ffff:192.0.2.1")), "192.0.2.1") << "mapped into IPv6";
  for (const std::string_view text :
       {"", "192.0.2", "192.0.2.256", "192.0.2.1 ", "0x7f.1", "fe80::1%eth0", "[::1]", "host",
        "1.2.3.4/32", "2001:db8::1:2001:db8::1:2001:db8::1:2001:db8::1"}) {
    EXPECT_FALSE(parse_ip(text)) << text;
  }
  EXPECT_FALSE(parse_ip(std::string_view("192.0.2.1\0", 10)));
}

TEST(Cidr, HoldsWhatSharesItsFirstBits) {
  EXPECT_TRUE(cidr("10.0.0.0/8").contains(ip("10.255.0.1")));
  EXPECT_FALSE(cidr("10.0.0.0/8").contains(ip("11.0.0.1")));
  EXPECT_TRUE(cidr("172.16.0.0/12").contains(ip("172.31.9.9")));
  EXPECT_FALSE(cidr("172.16.0.0/12").contains(ip("172.32.0.0")));
  EXPECT_TRUE(cidr("0.0.0.0/0").contains(ip("8.8.8.8")));
  EXPECT_FALSE(cidr("0.0.0.0/0").contains(ip("2001:db8::1"))) << "another family";
  EXPECT_TRUE(cidr("2001:db8::/33").contains(ip("2001:db8:7fff::1")));
  EXPECT_FALSE(cidr("2001:db8::/33").contains(ip("2001:db8:8000::1")));
  EXPECT_TRUE(cidr("192.0.2.7").contains(ip("192.0.2.7")));
  EXPECT_FALSE(cidr("192.0.2.7/32").contains(ip("192.0.2.6")));
}

TEST(Cidr, IsRefusedWhenItIsNoneOrHasBitsBehindItsPrefix) {
  for (const std::string_view text : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
                                      "10.0.0.0/8x", "10.0.0.1/8", "2001:db8::/129", "office"}) {
    EXPECT_FALSE(parse_cidr(text)) << text;
  }
}

TEST(Policy, OneRowPerReason) {
  const AddressPolicy policy{.allow = {cidr("10.0.0.0/8"), cidr("0.0.0.0/0"), cidr("::/0")},
                             .deny = {cidr("10.9.0.0/16")}};
  const AddressPolicy narrow{.allow = {cidr("10.0.0.0/8")}};
  struct Row {
    const char* address;
    const AddressPolicy& policy;
    bool is_device;
    AddressVerdict expected;
  };
  const Row rows[] = {
      {"10.1.2.3", narrow, false, AddressVerdict::kAllowed},
      {"8.8.8.8", narrow, false, AddressVerdict::kNotListed},
      {"8.8.8.8", narrow, true, AddressVerdict::kAllowed},
      {"127.0.0.1", narrow, false, AddressVerdict::kLoopback},
      {"::1", narrow, false, AddressVerdict::kLoopback},
      {"127.0.0.1", narrow, true, AddressVerdict::kAllowed},
      {"127.8.0.1", policy, false, AddressVerdict::kLoopback},
      {"10.9.0.1", policy, false, AddressVerdict::kDenied},
      {"10.9.0.1", policy, true, AddressVerdict::kDenied},
      // never, whatever the lists say and whoever asks
      {"0.0.0.0", policy, true, AddressVerdict::kUnspecified},
      {"::", policy, true, AddressVerdict::kUnspecified},
      {"255.255.255.255", policy, true, AddressVerdict::kBroadcast},
      {"224.0.0.1", policy, true, AddressVerdict::kMulticast},
      {"239.255.255.255", policy, true, AddressVerdict::kMulticast},
      {"ff02::1", policy, true, AddressVerdict::kMulticast},
      {"0.1.2.3", policy, true, AddressVerdict::kReserved},
      {"240.0.0.1", policy, true, AddressVerdict::kReserved},
      {"::127.0.0.1", policy, true, AddressVerdict::kReserved},
      {"169.254.169.254", policy, true, AddressVerdict::kMetadata},
      {"::ffff:169.254.169.254", policy, true, AddressVerdict::kMetadata},
      {"fd00:ec2::254", policy, true, AddressVerdict::kMetadata},
      {"169.254.1.1", policy, false, AddressVerdict::kAllowed},
  };
  std::set<AddressVerdict> seen;
  for (const Row& row : rows) {
    const AddressVerdict verdict = judge(row.policy, ip(row.address), row.is_device);
    EXPECT_EQ(verdict, row.expected) << row.address << ": " << to_string(verdict);
    seen.insert(verdict);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kAddressVerdictMax) + 1) << "a reason without a row";
  EXPECT_EQ(judge(policy, IpAddress{}, true), AddressVerdict::kUnspecified);
}

TEST(Policy, AProberAloneRefusesTheHardClassesOnly) {
  EXPECT_EQ(never_pinged(ip("127.0.0.1")), AddressVerdict::kAllowed);
  EXPECT_EQ(never_pinged(ip("8.8.8.8")), AddressVerdict::kAllowed);
  EXPECT_EQ(never_pinged(ip("255.255.255.255")), AddressVerdict::kBroadcast);
}

}  // namespace
}  // namespace gema
