#include "common/codec/transition_codec.h"

#include <gtest/gtest.h>

#include "common/base/random.h"

namespace gema {
namespace {

DeviceState some_state(Random& random) {
  return {.device = random.next(),
          .status = static_cast<DeviceStatus>(random.below(4)),
          .consecutive_timeouts = static_cast<uint32_t>(random.below(100)),
          .first_timeout_ms = static_cast<int64_t>(random.below(1'000'000)),
          .last_timeout_ms = static_cast<int64_t>(random.below(1'000'000)),
          .consecutive_answers = static_cast<uint32_t>(random.below(100)),
          .since_ms = -static_cast<int64_t>(random.below(1'000'000)),
          .last_success_ms = 3,
          .last_slot_ms = 4,
          .last_verdict = static_cast<Verdict>(random.below(3)),
          .last_reason = Reason::kQueueFull,
          .last_rtt_us = static_cast<uint32_t>(random.next()),
          .transition_counter = random.next(),
          .failed_attempts = 7,
          .ever_answered = random.chance(500),
          .location = "default",
          .last_prober = "prober-1"};
}

Transition some_transition(Random& random) {
  Transition t;
  for (uint8_t& byte : t.id) byte = static_cast<uint8_t>(random.next());
  t.state = some_state(random);
  t.device = t.state.device;
  t.from = static_cast<DeviceStatus>(random.below(4));
  t.to = static_cast<DeviceStatus>(random.below(4));
  t.reason = static_cast<TransitionReason>(1 + random.below(6));
  t.slot_ms = 1'763'632'561'250;
  t.decided_at = wall_from_us(1'763'632'561'250'001);
  t.cause = {"prober-1", random.next(), 3, random.next()};
  return t;
}

TEST(TransitionCodec, GivesBackWhatItWasGiven) {
  const uint64_t seed = 1;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::string bytes;
  for (int i = 0; i < 500; ++i) {
    const Transition transition = some_transition(random);
    encode_transition(transition, bytes);
    auto decoded = decode_transition(bytes);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
    EXPECT_EQ(*decoded, transition);
    encode_state(transition.state, bytes);
    auto state = decode_state(bytes);
    ASSERT_TRUE(state.has_value());
    EXPECT_EQ(*state, transition.state);
  }
}

TEST(TransitionCodec, ReadsOrRefusesMutilatedBytesButNeverCrashes) {
  const uint64_t seed = 2;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::string bytes;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    encode_transition(some_transition(random), bytes);
    bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    if (random.chance(200)) bytes.resize(random.below(bytes.size() + 1));
    refused += decode_transition(bytes) ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
}

// They would overflow where they become times.
TEST(TransitionCodec, RefusesTimesOutOfRange) {
  Random random(5);
  for (const int64_t far : {INT64_MAX, INT64_MIN, int64_t{9'200'000'000'001}}) {
    std::string bytes;
    Transition transition = some_transition(random);
    transition.slot_ms = far;
    encode_transition(transition, bytes);
    EXPECT_EQ(decode_transition(bytes).error().message, "transition: slot_ms is out of range");
    for (int64_t DeviceState::*time :
         {&DeviceState::first_timeout_ms, &DeviceState::last_timeout_ms, &DeviceState::since_ms,
          &DeviceState::last_success_ms, &DeviceState::last_slot_ms}) {
      DeviceState state = some_transition(random).state;
      state.*time = far;
      encode_state(state, bytes);
      EXPECT_EQ(decode_state(bytes).error().message, "device state: a time is out of range");
    }
  }
  std::string bytes;
  Transition transition = some_transition(random);
  transition.decided_at = wall_from_us(-1);
  encode_transition(transition, bytes);
  EXPECT_EQ(decode_transition(bytes).error().message, "transition: decided_at_us is out of range");
}

TEST(TransitionCodec, RefusesAStateOfAnotherDevice) {
  Random random(3);
  Transition transition = some_transition(random);
  transition.device += 1;
  std::string bytes;
  encode_transition(transition, bytes);
  auto decoded = decode_transition(bytes);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().message, "transition: the state is of another device");
}

TEST(TransitionCodec, SnapshotGivesBackWhatItWasGiven) {
  Random random(4);
  StateSnapshot snapshot;
  for (int i = 0; i < 3; ++i) snapshot.states.push_back(some_state(random));
  snapshot.positions = {{"prober-1", 9, 2, 17}, {"prober-2", 10, 7, 1}};
  snapshot.timeout_tracking_enabled = false;
  snapshot.critical_threshold = 20;
  snapshot.timeouts_file = "ping_results/timeout_tracking.csv";
  std::string bytes;
  encode_snapshot(snapshot, bytes);
  auto decoded = decode_snapshot(bytes);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(*decoded, snapshot);
}

TEST(TransitionCodec, ResetGivesBackWhatItWasGiven) {
  EXPECT_EQ(*decode_timeouts_reset(encode_timeouts_reset({})), std::vector<DeviceId>{});
  EXPECT_EQ(*decode_timeouts_reset(encode_timeouts_reset({3, 1})), (std::vector<DeviceId>{3, 1}));
  EXPECT_EQ(*decode_timeouts_reset_reply(encode_timeouts_reset_reply(17)), 17U);
  EXPECT_FALSE(decode_timeouts_reset("\xff"));
}

TEST(TransitionId, IsWrittenAsAUuid) {
  TransitionId id{};
  for (size_t i = 0; i < id.size(); ++i) id[i] = static_cast<uint8_t>(i * 16 + i);
  EXPECT_EQ(to_string(id), "00112233-4455-6677-8899-aabbccddeeff");
}

}  // namespace
}  // namespace gema
