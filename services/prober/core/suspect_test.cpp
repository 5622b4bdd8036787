#include "services/prober/core/suspect.h"

#include <gtest/gtest.h>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

constexpr MonoTime kNow{1000s};

TEST(Suspect, EveryCauseHasItsLimit) {
  struct Row {
    const char* name;
    Suspect::Window window;
    Suspicion cause;
  };
  const Row rows[] = {
      {"all well", {.lag_us = 1'000'000, .sent = 1000}, Suspicion::kNone},
      {"lag", {.lag_us = 1'000'001, .sent = 1000}, Suspicion::kLag},
      {"a tenth refused", {.sent = 90, .send_errors = 10}, Suspicion::kNone},
      {"more than a tenth", {.sent = 80, .send_errors = 10}, Suspicion::kSendErrors},
      {"all, but few", {.sent = 0, .send_errors = 9}, Suspicion::kNone},
      {"a hundredth dropped", {.sent = 1000, .socket_drops = 10}, Suspicion::kNone},
      {"more", {.sent = 1000, .socket_drops = 11}, Suspicion::kSocketDrops},
      {"few", {.sent = 10, .socket_drops = 9}, Suspicion::kNone},
      {"drops weigh most",
       {.lag_us = 2'000'000, .sent = 10, .send_errors = 100, .socket_drops = 100},
       Suspicion::kSocketDrops},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Suspect suspect({});
    suspect.on_window(row.window, kNow);
    EXPECT_EQ(suspect.cause(kNow), row.cause);
    EXPECT_EQ(suspect.cause(kNow + kSuspectLinger), Suspicion::kNone);
  }
}

TEST(Suspect, CanariesWeighMoreThanAllElseAndLastAsLongAsTheyFail) {
  Suspect suspect({});
  suspect.on_canaries(true);
  suspect.on_window({.sent = 100, .socket_drops = 100}, kNow);
  EXPECT_EQ(suspect.cause(kNow + 3600s), Suspicion::kCanaries);
  suspect.on_canaries(false);
  EXPECT_EQ(suspect.cause(kNow), Suspicion::kSocketDrops);
}

}  // namespace
}  // namespace gema::prober
