#include "common/domain/ip_address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "common/base/random.h"

namespace gema {
namespace {

// The C library writes the same form (RFC 5952), but for the mapped and compatible addresses.
TEST(IpAddress, IsWrittenAsTheCLibraryWritesIt) {
  const uint64_t seed = 5952;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int i = 0; i < 20'000; ++i) {
    IpAddress address{.family = static_cast<uint8_t>(i % 2 == 0 ? 4 : 6)};
    for (size_t b = 0; b < (address.family == 4 ? 4 : 16); ++b) {
      address.bytes[b] = static_cast<uint8_t>(random.chance(600) ? 0 : random.below(256));
    }
    if (address.family == 6) address.bytes[0] = 0x20;
    char text[INET6_ADDRSTRLEN];
    ASSERT_NE(inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes.data(), text,
                        sizeof text),
              nullptr);
    ASSERT_EQ(to_text(address), text);
    ASSERT_EQ(ip_from_bytes(bytes_of(address)), address);
  }
}

TEST(IpAddress, OfNoFamilyIsNoText) {
  EXPECT_EQ(to_text(IpAddress{}), "");
  EXPECT_EQ(ip_from_bytes(""), IpAddress{});
  EXPECT_EQ(ip_from_bytes("12345"), std::nullopt);
}

}  // namespace
}  // namespace gema
