// Outages (common/history/outages) out of what the recorder stores, against a real PostgreSQL.
#include "common/history/outages.h"

#include <cstdio>
#include <set>

#include "common/codec/transition_codec.h"
#include "common/history/availability.h"
#include "services/recorder/io/store_fixture_for_test.h"

namespace gema::recorder {
namespace {

constexpr int64_t kDay = 1'800'057'600'000;  // a day begins
static_assert(kDay % kDayMs == 0);

class OutagesTest : public StoreFixture {
 protected:
  void transition(DeviceId device, uint64_t counter, DeviceStatus from, DeviceStatus to,
                  TransitionReason reason, int64_t slot_ms, int64_t first_timeout_ms = 0) {
    DeviceState state{.device = device,
                      .status = to,
                      .consecutive_timeouts = first_timeout_ms > 0 ? 3U : 0U,
                      .first_timeout_ms = first_timeout_ms,
                      .last_slot_ms = slot_ms,
                      .last_verdict = Verdict::kFailed,
                      .last_reason = Reason::kTimeout,
                      .transition_counter = counter,
                      .location = "default",
                      .last_prober = "p1"};
    std::string bytes;
    encode_state(state, bytes);
    std::string hex;
    for (const char c : bytes) hex += fmt_hex(static_cast<unsigned char>(c));
    char id[64];
    std::snprintf(id, sizeof id, "00000000-0000-0000-%04x-%012x", static_cast<unsigned>(device),
                  static_cast<unsigned>(counter));
    sql("INSERT INTO transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
        " decided_at, state) VALUES ('" +
        std::string(id) + "', " + std::to_string(device) + ", " + std::to_string(counter) + ", " +
        std::to_string(static_cast<int>(from)) + ", " + std::to_string(static_cast<int>(to)) +
        ", " + std::to_string(static_cast<int>(reason)) + ", to_timestamp(" +
        std::to_string(slot_ms) + " / 1000.0), to_timestamp(" + std::to_string(slot_ms + 50) +
        " / 1000.0), '\\x" + hex + "')");
  }
  static std::string fmt_hex(unsigned char c) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", c);
    return text;
  }
  void down(DeviceId device, uint64_t counter, int64_t first_ms, int64_t slot_ms) {
    transition(device, counter, DeviceStatus::kUp, DeviceStatus::kDown,
               TransitionReason::kFailuresInARow, slot_ms, first_ms);
  }
  void up(DeviceId device, uint64_t counter, int64_t slot_ms) {
    transition(device, counter, DeviceStatus::kDown, DeviceStatus::kUp,
               TransitionReason::kAnsweredAgain, slot_ms);
  }

  std::vector<history::Outage> outages(history::OutageQuery query) {
    if (query.now_ms == 0) query.now_ms = kDay + kDayMs;
    auto read = history::read_outages(*connection_, query);
    EXPECT_TRUE(read) << (read ? "" : read.error().message);
    if (!read) return {};
    truncated_ = read->truncated;
    return read->rows;
  }

  bool truncated_ = false;
};

TEST_F(OutagesTest, BeginWithTheFirstFailureAndEndWithTheAnswer) {
  transition(7, 1, DeviceStatus::kNew, DeviceStatus::kUp, TransitionReason::kFirstAnswer, kDay);
  down(7, 2, kDay + 60'000, kDay + 70'000);
  up(7, 3, kDay + 130'000);
  down(7, 4, kDay + kHourMs, kDay + kHourMs + 10'000);
  auto rows = outages({});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].start_ms, kDay + kHourMs);
  EXPECT_EQ(rows[0].end, history::OutageEnd::kStill);
  EXPECT_FALSE(rows[0].end_ms);
  EXPECT_EQ(rows[0].duration_ms, kDayMs - kHourMs);
  EXPECT_EQ(rows[1].start_ms, kDay + 60'000);
  EXPECT_EQ(rows[1].confirmed_ms, kDay + 70'000);
  EXPECT_EQ(rows[1].decided_at_ms, kDay + 70'050);
  EXPECT_EQ(rows[1].end, history::OutageEnd::kAnswered);
  EXPECT_EQ(rows[1].end_ms, kDay + 130'000);
  EXPECT_EQ(rows[1].end_decided_at_ms, kDay + 130'050);
  EXPECT_EQ(rows[1].duration_ms, 70'000);
  EXPECT_EQ(rows[1].reason, Reason::kTimeout);
  EXPECT_EQ(rows[1].failures_to_confirm, 3U);
  EXPECT_EQ(rows[1].prober, "p1");
  EXPECT_EQ(to_string(rows[1].id), "00000000-0000-0000-0007-000000000002");
  ASSERT_TRUE(rows[1].end_id);
  EXPECT_EQ(to_string(*rows[1].end_id), "00000000-0000-0000-0007-000000000003");
  // Nothing was recorded of that time.
  EXPECT_FALSE(rows[1].checks);

  EXPECT_EQ(outages({.active_only = true}).size(), 1U);
  EXPECT_EQ(outages({.devices = {8}}).size(), 0U);
  EXPECT_EQ(outages({.devices = {7, 8}, .limit = 1}).at(0).start_ms, kDay + kHourMs);
  EXPECT_TRUE(truncated_);
}

TEST_F(OutagesTest, AreThoseThatOverlapTheWindow) {
  down(7, 1, kDay - 3 * kDayMs, kDay - 3 * kDayMs + 1'000);  // long before, and over
  up(7, 2, kDay - 2 * kDayMs);
  down(8, 1, kDay - 3 * kDayMs, kDay - 3 * kDayMs + 1'000);  // reaches into it
  up(8, 2, kDay + 1);
  down(9, 1, kDay - 3 * kDayMs, kDay - 3 * kDayMs + 1'000);  // ever since
  down(10, 1, kDay + kHourMs - 1, kDay + kHourMs + 60'000);  // confirmed behind it
  up(10, 2, kDay + 2 * kHourMs);
  down(11, 1, kDay + kHourMs, kDay + kHourMs + 1'000);  // begins where it ends
  down(12, 1, kDay - kHourMs, kDay - kHourMs + 1'000);  // ends where it begins
  up(12, 2, kDay);
  std::set<DeviceId> found;
  for (const auto& o : outages({.from_ms = kDay, .to_ms = kDay + kHourMs})) found.insert(o.device);
  EXPECT_EQ(found, (std::set<DeviceId>{8, 9, 10}));
  found.clear();
  for (const auto& o : outages({.active_only = true})) found.insert(o.device);
  EXPECT_EQ(found, (std::set<DeviceId>{9, 11}));
}

TEST_F(OutagesTest, AreNotEndedByAResetButByRemovalAndByTheNext) {
  down(7, 1, kDay, kDay + 10'000);
  transition(7, 2, DeviceStatus::kDown, DeviceStatus::kDown, TransitionReason::kReset,
             kDay + 20'000);
  auto rows = outages({});
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].end, history::OutageEnd::kStill);
  EXPECT_TRUE(rows[0].reset_meanwhile);
  sql("INSERT INTO devices (id, address, interval_ms, timeout_ms, echo_count, min_replies, source,"
      " created_at, updated_at, removed_at) VALUES (7, '198.18.0.7', 5000, 1000, 1, 1, 'file',"
      " now(), now(), to_timestamp(" +
      std::to_string(kDay + kHourMs) + " / 1000.0))");
  rows = outages({});
  EXPECT_EQ(rows.at(0).end, history::OutageEnd::kRemoved);
  EXPECT_EQ(rows.at(0).duration_ms, kHourMs);
  EXPECT_TRUE(outages({.active_only = true}).empty());
  down(8, 1, kDay, kDay + 10'000);
  down(8, 5, kDay + kHourMs, kDay + kHourMs + 10'000);
  rows = outages({.devices = {8}});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].end, history::OutageEnd::kSuperseded);
  EXPECT_FALSE(rows[1].reset_meanwhile);
}

TEST_F(OutagesTest, KnowWhatWasCheckedMeanwhile) {
  const DeviceId device = 7;
  PingResults r;
  r.location = "default";
  int64_t slots[4] = {};
  for (int i = 0; i < 4; ++i) {
    slots[i] = slot_after(device, 5'000, kDay) + i * 5'000;
    const bool answered = i == 3;
    r.device.push_back(device);
    r.interval_ms.push_back(5'000);
    r.due_ms.push_back(slots[i]);
    r.verdict.push_back(answered ? Verdict::kAnswered : Verdict::kFailed);
    r.reason.push_back(answered ? Reason::kLossy : Reason::kTimeout);
    for (int e = 0; e < 4; ++e) {
      const bool reply = answered && e > 0;
      r.echo_outcome.push_back(reply ? EchoOutcome::kReply : EchoOutcome::kTimeout);
      r.echo_rtt_us.push_back(reply ? 500 : 0);
    }
    r.echo_begin.push_back(static_cast<uint32_t>(r.echo_outcome.size()));
  }
  record("p1", r);
  down(device, 1, slots[0], slots[2]);
  up(device, 2, slots[3]);
  for (const bool chunked : {false, true}) {
    if (chunked) chunk_all(kDay + kHourMs);
    const auto rows = outages({});
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].checks, 3U);
    EXPECT_EQ(rows[0].failed_checks, 3U);
    ASSERT_TRUE(rows[0].recovery_percent);
    EXPECT_DOUBLE_EQ(*rows[0].recovery_percent, 75);
  }
  auto read =
      history::read_availability(*connection_, {.devices = {device},
                                                .bounds = {kDay, kDay + 10'000, kDay + kHourMs},
                                                .now_ms = kDay + kHourMs});
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->devices[0].periods[0].outages, 1U);
  EXPECT_EQ(read->devices[0].periods[0].outage_ms, static_cast<uint64_t>(kDay + 10'000 - slots[0]));
  EXPECT_EQ(read->devices[0].total.outages, 1U);
  EXPECT_EQ(read->devices[0].total.outage_ms, 15'000U);
  EXPECT_EQ(read->devices[0].total.down_ms, 15'000U);
}

}  // namespace
}  // namespace gema::recorder
