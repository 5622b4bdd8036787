#include "common/domain/on_demand.h"

#include <gtest/gtest.h>

namespace gema {
namespace {

TEST(PingOrder, EachBoundIsNamedWithItsValue) {
  EXPECT_EQ(broken_rule({}), std::nullopt);
  EXPECT_EQ(broken_rule({.count = 100, .timeout_ms = 5000, .spacing_ms = 500}), std::nullopt);
  EXPECT_EQ(*broken_rule({.count = 0}), "count = 0: must be from 1 to 100");
  EXPECT_EQ(*broken_rule({.count = 101}), "count = 101: must be from 1 to 100");
  EXPECT_EQ(*broken_rule({.timeout_ms = 0}), "timeout_ms = 0: must be from 1 to 50000");
  EXPECT_EQ(*broken_rule({.spacing_ms = 9}), "spacing_ms = 9: must be from 10 to 10000");
  EXPECT_EQ(*broken_rule({.count = 100, .timeout_ms = 6000, .spacing_ms = 500}),
            "100 echoes, 500 ms apart, with a timeout of 6000 ms take 55500 ms: at most 55000 are "
            "waited for");
}

TEST(PingSummary, CountsWhatLeftAndWhatCameBack) {
  PingReport report;
  report.outcome = {EchoOutcome::kReply,     EchoOutcome::kTimeout, EchoOutcome::kReply,
                    EchoOutcome::kSendError, EchoOutcome::kReply,   EchoOutcome::kReply};
  report.rtt_us = {300, 0, 100, 0, 200, 400};
  const PingSummary s = summary_of(report);
  EXPECT_EQ(s.sent, 5u);
  EXPECT_EQ(s.received, 4u);
  EXPECT_EQ(s.min_us, 100u);
  EXPECT_EQ(s.median_us, 200u);
  EXPECT_EQ(s.max_us, 400u);
}

TEST(PingSummary, OfNothingIsZero) {
  PingReport report;
  report.outcome = {EchoOutcome::kTimeout};
  report.rtt_us = {0};
  EXPECT_EQ(summary_of(report).sent, 1u);
  EXPECT_EQ(summary_of(report).received, 0u);
  EXPECT_EQ(summary_of(report).median_us, 0u);
}

}  // namespace
}  // namespace gema
