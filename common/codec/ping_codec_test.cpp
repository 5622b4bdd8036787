#include "common/codec/ping_codec.h"

#include <gtest/gtest.h>

#include <set>

#include "common/base/random.h"
#include "common/codec/ping_columns.h"

namespace gema {
namespace {

IpAddress random_address(Random& random) {
  IpAddress address{.family = static_cast<uint8_t>(random.chance(500) ? 4 : 6)};
  for (size_t i = 0; i < (address.family == 4 ? 4 : 16); ++i) {
    address.bytes[i] = static_cast<uint8_t>(random.below(2));
  }
  return address;
}

EchoNote random_note(uint32_t index, uint32_t echo, Random& random) {
  return {.index = index,
          .echo = echo,
          .kind = static_cast<NoteKind>(random.below(kNoteKindMax + 1)),
          .icmp_type = static_cast<uint8_t>(random.next()),
          .icmp_code = static_cast<uint8_t>(random.next()),
          .error = static_cast<uint16_t>(random.next()),
          .rtt_us = static_cast<uint32_t>(random.next()),
          .count = 1 + static_cast<uint32_t>(random.below(9)),
          .from = random.chance(500) ? random_address(random) : IpAddress{}};
}

PingResults random_results(Random& random) {
  PingResults r;
  r.location = random.chance(500) ? "here" : "";
  const size_t n = 1 + random.below(20);
  const bool mixed = random.chance(500);
  for (size_t i = 0; i < n; ++i) {
    r.device.push_back(random.chance(100) ? random.next() : random.below(1000));
    r.interval_ms.push_back(mixed ? 1 + static_cast<uint32_t>(random.below(9999)) : 1000);
    r.due_ms.push_back(1'763'632'561'000 + static_cast<int64_t>(random.below(60'000)));
    r.verdict.push_back(static_cast<Verdict>(mixed ? random.below(3) : 0));
    r.reason.push_back(mixed ? Reason::kProberSuspect : Reason::kNone);
    const uint64_t echoes = mixed ? random.below(4) : 1;
    for (uint64_t e = 0; e < echoes; ++e) {
      const auto outcome = static_cast<uint32_t>(mixed ? random.below(kEchoOutcomeMax + 1) : 0);
      r.echo_outcome.push_back(is_echo_outcome(outcome) ? static_cast<EchoOutcome>(outcome)
                                                        : EchoOutcome::kTimeout);
      r.echo_rtt_us.push_back(
          r.echo_outcome.back() == EchoOutcome::kReply ? static_cast<uint32_t>(random.next()) : 0);
    }
    r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    for (uint32_t e = 0; mixed && e < echoes; ++e) {
      if (random.chance(500)) r.notes.push_back(random_note(static_cast<uint32_t>(i), e, random));
    }
    if (mixed && random.chance(200)) {
      r.proofs.push_back({.index = static_cast<uint32_t>(i),
                          .kind = ProofKind::kTcp,
                          .outcome = static_cast<ProofOutcome>(random.below(kProofOutcomeMax + 1)),
                          .port = static_cast<uint16_t>(random.next()),
                          .status = 503,
                          .elapsed_us = static_cast<uint32_t>(random.next())});
    }
    if (mixed && random.chance(200)) r.burst.push_back({static_cast<uint32_t>(i), 4, {5, 6}});
  }
  if (mixed) {
    r.health = {.lag_max_us = 7, .canaries_failed = 1, .suspicion = Suspicion::kCanaries};
    r.strays.push_back({.device = 3, .due_ms = -5, .echo = 2, .rtt_us = 3'100'000});
    r.address_changes.push_back({.device = 9, .at_ms = 77, .to = random_address(random)});
  }
  if (mixed) r.note = "paused by Siti";
  return r;
}

TEST(PingCodec, GivesBackWhatItWasGiven) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::string bytes;
  PingResults decoded;
  for (int i = 0; i < 2000; ++i) {
    const PingResults results = random_results(random);
    encode_ping(results, bytes);
    auto done = decode_ping(bytes, decoded);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    ASSERT_EQ(decoded, results);
  }
}

TEST(PingCodec, RefusesOrReadsMutilatedBytesButNeverCrashes) {
  const uint64_t seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::string bytes;
  PingResults decoded;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    encode_ping(random_results(random), bytes);
    for (uint64_t k = 0; k <= random.below(3); ++k) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    if (random.chance(300)) bytes.resize(random.below(bytes.size() + 1));
    if (!decode_ping(bytes, decoded)) {
      ++refused;
      EXPECT_TRUE(decoded.empty());
    } else {
      EXPECT_EQ(decoded.echo_begin.size(), decoded.size() + 1);
      EXPECT_EQ(decoded.echo_begin.back(), decoded.echo_outcome.size());
    }
  }
  EXPECT_GT(refused, 1000);
}

// As probers send most of them: one echo each, a burst now and then.
PingResults plain_results(Random& random) {
  PingResults r;
  r.location = "here";
  const size_t n = 1 + random.below(30);
  const bool losses = random.chance(500);
  for (uint32_t i = 0; i < n; ++i) {
    r.device.push_back(1 + random.below(100'000));
    r.interval_ms.push_back(1000);
    r.due_ms.push_back(1'763'632'561'000 + static_cast<int64_t>(random.below(1000)));
    const bool lost = losses && random.chance(200);
    r.verdict.push_back(lost ? Verdict::kFailed : Verdict::kAnswered);
    r.reason.push_back(lost ? Reason::kTimeout : Reason::kNone);
    r.echo_outcome.push_back(lost ? EchoOutcome::kTimeout : EchoOutcome::kReply);
    r.echo_rtt_us.push_back(lost ? 0 : static_cast<uint32_t>(random.next() >> random.below(64)));
    r.echo_begin.push_back(i + 1);
    if (lost) r.burst.push_back({i, 4, {5, 70'000}});
  }
  if (random.chance(500)) r.health = {.lag_max_us = 70, .canaries_answered = 3};
  return r;
}

TEST(PingCodec, ReadsPlainBatchesExactlyAsProtobufDoes) {
  const uint64_t seed = 20261121;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::string bytes;
  PingResults decoded, expected;
  int plain = 0, right = 0;
  for (int i = 0; i < 60'000; ++i) {
    const PingResults results = random.chance(800) ? plain_results(random) : random_results(random);
    encode_ping(results, bytes);
    const bool whole = random.chance(200);
    for (uint64_t k = 0; !whole && k <= random.below(3); ++k) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    if (!whole && random.chance(300)) bytes.resize(random.below(bytes.size() + 1));
    const auto done = decode_ping(bytes, decoded);
    const auto any = decode_any_ping(bytes, expected);
    ASSERT_EQ(done.has_value(), any.has_value());
    ASSERT_EQ(decoded, expected);
    if (!done) {
      ASSERT_EQ(done.error().message, any.error().message);
    }
    right += done ? 1 : 0;
    decoded.clear();
    plain += decode_plain_ping(bytes, decoded) ? 1 : 0;
  }
  EXPECT_GT(right, 15'000);
  EXPECT_GT(plain, 10'000);
}

TEST(PingCodec, CostsAFewBytesAResult) {
  PingResults r;
  Random random(1);
  for (uint32_t i = 0; i < 1000; ++i) {
    r.device.push_back(1000 + 8 * i);
    r.interval_ms.push_back(1000);
    r.due_ms.push_back(1'763'632'561'000 + i);
    r.verdict.push_back(Verdict::kAnswered);
    r.reason.push_back(Reason::kNone);
    r.echo_outcome.push_back(EchoOutcome::kReply);
    r.echo_rtt_us.push_back(300 + static_cast<uint32_t>(random.below(10'000)));
    r.echo_begin.push_back(i + 1);
  }
  std::string bytes;
  encode_ping(r, bytes);
  EXPECT_LT(bytes.size(), 6 * r.size());
}

TEST(PingCodec, SaysWhichBatchesHoldNothingOfADeviceWithoutDecodingThem) {
  const uint64_t seed = 82;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  size_t spared = 0;
  for (int round = 0; round < 500; ++round) {
    PingResults r;
    r.location = "default";
    std::set<DeviceId> devices;
    for (uint64_t n = 1 + random.below(20); n > 0; --n) {
      const DeviceId device = random.chance(50) ? random.next() : random.below(300);
      devices.insert(device);
      r.device.push_back(device);
      r.interval_ms.push_back(5'000);
      r.due_ms.push_back(1'700'000'000'000 + static_cast<int64_t>(random.below(1'000)));
      r.verdict.push_back(Verdict::kAnswered);
      r.reason.push_back(Reason::kNone);
      r.echo_outcome.push_back(EchoOutcome::kReply);
      r.echo_rtt_us.push_back(static_cast<uint32_t>(random.below(1'000'000)));
      r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
    }
    if (random.chance(100)) r.strays.push_back({.device = 5, .due_ms = r.due_ms[0]});
    std::string bytes;
    encode_ping(r, bytes);
    for (const DeviceId device : devices) ASSERT_TRUE(may_hold(bytes, device));
    for (DeviceId device = 0; device < 300; ++device) {
      const bool may = may_hold(bytes, device);
      if (devices.contains(device) || !r.strays.empty()) {
        ASSERT_TRUE(may);
      } else {
        spared += may ? 0 : 1;
      }
    }
    // Whatever the bytes are, it ends.
    bytes.resize(random.below(bytes.size()));
    may_hold(bytes, 7);
    for (char& c : bytes) c = static_cast<char>(random.next());
    may_hold(bytes, 7);
  }
  EXPECT_GT(spared, 100'000U);
}

}  // namespace
}  // namespace gema
