#include "common/codec/on_demand_codec.h"

#include <gtest/gtest.h>

#include "common/base/random.h"
#include "gema/v1/call.pb.h"

namespace gema {
namespace {

PingReport report() {
  PingReport r{.prober = "prober-1",
               .location = "jakarta",
               .address = *parse_ip("2001:db8::7"),
               .started_at = wall_from_us(1'758'246'347'075'001)};
  r.outcome = {EchoOutcome::kReply, EchoOutcome::kHostUnreachable, EchoOutcome::kTimeout,
               EchoOutcome::kSendError};
  r.rtt_us = {1234, 0, 0, 0};
  r.notes = {{.echo = 1, .icmp_type = 1, .icmp_code = 3, .from = *parse_ip("2001:db8::1")},
             {.echo = 2, .kind = NoteKind::kLate, .rtt_us = 3'100'000},
             {.echo = 3, .kind = NoteKind::kSendError, .error = 101}};
  return r;
}

TEST(OnDemandCodec, OrdersComeBackAsTheyWere) {
  const PingOrder by_address{.address = *parse_ip("192.0.2.7"), .count = 5, .timeout_ms = 700};
  const PingOrder by_device{.device = 9, .count = 100, .spacing_ms = 10};
  for (const PingOrder& order : {by_address, by_device}) {
    const auto back = decode_ping_order(encode_ping_order(order));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, order);
  }
}

TEST(OnDemandCodec, AnOrderThatBreaksARuleIsRefusedWithIt) {
  const auto refused = [](const PingOrder& order) {
    const auto back = decode_ping_order(encode_ping_order(order));
    return back ? std::string("taken") : back.error().message;
  };
  EXPECT_EQ(refused({}), "ping: names nobody to ping");
  EXPECT_EQ(refused({.device = 1, .count = 0}), "ping: count = 0: must be from 1 to 100");
  v1::PingRequest message;
  message.set_address("abc");
  EXPECT_FALSE(decode_ping_order(message.SerializeAsString()));
  EXPECT_FALSE(decode_ping_order("\xff\xff\xff"));
}

TEST(OnDemandCodec, ReportsComeBackWithWhoSaidWhat) {
  const auto back = decode_ping_report(encode_ping_report(report()));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, report());
}

TEST(OnDemandCodec, ReportsWhoseColumnsDisagreeAreRefused) {
  const auto mutilated = [](const std::function<void(v1::PingReply&)>& change) {
    v1::PingReply message;
    EXPECT_TRUE(message.ParseFromString(encode_ping_report(report())));
    change(message);
    return static_cast<bool>(decode_ping_report(message.SerializeAsString()));
  };
  EXPECT_TRUE(mutilated([](v1::PingReply&) {}));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) { m.clear_address(); }));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) { m.add_rtt_us(1); }));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) { m.set_outcome(0, 6); }));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) { m.clear_said_by(); }));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) { m.mutable_notes(0)->set_index(1); }));
  EXPECT_FALSE(mutilated([](v1::PingReply& m) {
    m.clear_outcome();
    m.clear_rtt_us();
  }));
}

TEST(OnDemandCodec, MutilatedBytesAreRefusedOrDecodedButNeverMore) {
  Random random(20251120);
  const std::string whole = encode_ping_report(report());
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole.substr(0, random.below(whole.size() + 1));
    if (!bytes.empty()) bytes[random.below(bytes.size())] ^= static_cast<char>(random.next());
    const auto back = decode_ping_report(bytes);
    if (back) {
      EXPECT_EQ(back->outcome.size(), back->rtt_us.size());
    }
    (void)decode_ping_order(bytes);
    (void)decode_probing(bytes);
    (void)decode_probing_change(bytes);
  }
}

TEST(OnDemandCodec, ProbingComesBackAsItWas) {
  const Probing paused{.paused = true,
                       .by = "Siti",
                       .reason = "work on the ring",
                       .since = wall_from_us(1'758'246'347'000'000)};
  const auto back = decode_probing(encode_probing(paused));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, paused);
  const auto change = decode_probing_change(
      encode_probing_change({.by = "Siti", .reason = "why", .actor = "admin"}));
  ASSERT_TRUE(change);
  EXPECT_EQ(change->by + change->reason + change->actor, "Sitiwhyadmin");
}

}  // namespace
}  // namespace gema
