#include "services/inventory/core/address.h"

#include <gtest/gtest.h>

namespace gema::inventory {
namespace {

struct Row {
  const char* text;
  const char* canonical;  // nullptr = refused
  const char* reason;     // a piece of it
};

TEST(Address, IsAnIpAddressOrAHostNameInOneForm) {
  const Row rows[] = {
      {"192.0.2.1", "192.0.2.1", ""},
      {"127.0.0.1", "127.0.0.1", ""},
      {"10.0.0.255", "10.0.0.255", ""},
      {"2001:DB8:0:0::1", "2001:db8::1", ""},
      {"::1", "::1", ""},
      {"::ffff:192.0.2.1", "192.0.2.1", ""},
      {"Router.Example.COM.", "router.example.com", ""},
      {"localhost", "localhost", ""},
      {"a", "a", ""},
      {"xn--bcher-kva.example", "xn--bcher-kva.example", ""},
      {"", nullptr, "missing"},
      {"255.255.255.255", nullptr, "broadcast"},
      {"224.0.0.1", nullptr, "multicast"},
      {"239.1.2.3", nullptr, "multicast"},
      {"ff02::1", nullptr, "multicast"},
      {"0.0.0.0", nullptr, "unspecified"},
      {"::", nullptr, "unspecified"},
      {"::ffff:224.0.0.1", nullptr, "multicast"},
      {"0.1.2.3", nullptr, "0.0.0.0/8"},
      {"240.0.0.1", nullptr, "reserved"},
      {"255.255.255.254", nullptr, "reserved"},
      {"::ffff:255.255.255.255", nullptr, "broadcast"},
      {"::ffff:0.0.0.0", nullptr, "unspecified"},
      {"fe80::1", nullptr, "link-local"},
      {"febf::1", nullptr, "link-local"},
      {"fec0::1", "fec0::1", ""},
      {"169.254.1.1", "169.254.1.1", ""},
      {"169.254.169.254", nullptr, "metadata"},
      {"fd00:ec2::254", nullptr, "metadata"},
      {"300.1.1.1", nullptr, "neither"},
      {"1.2.3", nullptr, "neither"},
      {"10.0.0.1/24", nullptr, "neither"},
      {"10.0.0.1:80", nullptr, "neither"},
      {"fe80::1%eth0", nullptr, "zone"},
      {"-a.example", nullptr, "neither"},
      {"a..b", nullptr, "neither"},
      {"a b", nullptr, "neither"},
      {"http://a", nullptr, "neither"},
      {"2001:db8:::1", nullptr, "neither"},
  };
  for (const Row& row : rows) {
    auto got = canonical_address(row.text);
    if (row.canonical != nullptr) {
      ASSERT_TRUE(got) << row.text << ": " << got.error().message;
      EXPECT_EQ(*got, row.canonical);
    } else {
      ASSERT_FALSE(got) << row.text << " became " << *got;
      EXPECT_NE(got.error().message.find(row.reason), std::string::npos) << got.error().message;
    }
  }
  EXPECT_FALSE(canonical_address(std::string(64, 'a') + ".example"));
  EXPECT_FALSE(canonical_address(std::string_view("a\0b", 3)));
}

TEST(Address, LoopbackIsForFilesOnly) {
  for (const char* text :
       {"127.0.0.1", "127.8.8.8", "::1", "localhost", "x.localhost", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(canonical_address(text, {.loopback_allowed = true})) << text;
    EXPECT_FALSE(canonical_address(text, {.loopback_allowed = false})) << text;
  }
}

}  // namespace
}  // namespace gema::inventory
