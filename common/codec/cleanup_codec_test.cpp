#include "common/codec/cleanup_codec.h"

#include <gtest/gtest.h>

namespace gema {
namespace {

TEST(CleanupCodec, WhatIsEncodedComesBack) {
  const CleanupOrder order{.older_than_days = 30, .dry_run = true, .actor = "siti"};
  EXPECT_EQ(*decode_cleanup_order(encode_cleanup_order(order)), order);
  const CleanupReport report{.leaves = 3, .bytes = 1ULL << 40, .before_ms = -5};
  EXPECT_EQ(*decode_cleanup_report(encode_cleanup_report(report)), report);
}

TEST(CleanupCodec, RefusesWhatIsNoSuchMessageAndDaysThatCannotBe) {
  EXPECT_FALSE(decode_cleanup_order("\xff\xff\xff"));
  EXPECT_FALSE(decode_cleanup_report("\xff\xff\xff"));
  for (const uint32_t days : {0U, kCleanupDaysMax + 1, UINT32_MAX}) {
    const auto refused = decode_cleanup_order(encode_cleanup_order({.older_than_days = days}));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kBadInput);
  }
  EXPECT_TRUE(decode_cleanup_order(encode_cleanup_order({.older_than_days = 1})));
}

}  // namespace
}  // namespace gema
