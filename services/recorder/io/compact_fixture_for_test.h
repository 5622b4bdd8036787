// The compactor over what the recorder stored, for its tests.
#pragma once

#include <string>
#include <vector>

#include "common/postgres/binary.h"
#include "services/recorder/io/store_fixture_for_test.h"

namespace gema::recorder {

using postgres::BinaryResult;

inline constexpr int64_t kIn = kHour + 5'000;  // well within it, whatever a device's phase
inline constexpr int64_t kDay = kHour - kHour % kDayMs;

class CompactTest : public StoreFixture {
 protected:
  PingResults one(DeviceId device, int64_t at_ms, Verdict verdict, uint32_t rtt_us = 100,
                  uint32_t interval_ms = 1000) {
    PingResults r = batch_of({device}, at_ms, verdict, rtt_us, {.interval_ms = interval_ms});
    if (verdict == Verdict::kNotMeasured) {
      r.reason = {Reason::kPaused};
      r.note = "Siti";
    }
    return r;
  }

  // A device's checks of each second in [from_ms, to_ms), one record.
  PingResults each_second(DeviceId device, int64_t from_ms, int64_t to_ms) {
    PingResults r;
    r.location = "default";
    for (int64_t due = slot_after(device, 1000, from_ms - 1); due < to_ms; due += 1000) {
      const bool lost = random_.chance(20);
      gema::testing::append(r,
                            {.device = device,
                             .due_ms = due,
                             .verdict = lost ? Verdict::kFailed : Verdict::kAnswered,
                             .rtt_us = lost ? 0 : static_cast<uint32_t>(500 + random_.below(100))});
    }
    return r;
  }

  // The rollups that the results a reader sees give.
  std::vector<Rollup> rolled_up(const history::Results& results, const std::string& location,
                                int64_t start_ms, int64_t period_ms, size_t periods) {
    RollupBuilder builder(start_ms, period_ms, periods);
    for (const history::Row& row : results.rows) {
      if (results.location(row) == location) roll_up(builder, results, row);
    }
    return builder.take();
  }

  // Stored rollups of a device and location; empty ones when there is no row.
  std::vector<Rollup> stored(const char* table, const char* column, DeviceId device,
                             const std::string& location, int64_t at_ms, size_t periods) {
    auto result = connection_->transact([&](Transaction& tx) {
      postgres::Params params;
      params.int64(static_cast<int64_t>(device)).int64(at_ms).bytes(location);
      const BinaryResult rows(tx,
                              std::string("SELECT rollups FROM ") + table +
                                  " r JOIN history_names n ON n.id = r.location_id"
                                  " WHERE device_id = $1 AND " +
                                  column + " = $2 AND n.name = $3",
                              params);
      EXPECT_LE(rows.rows(), 1);
      if (rows.rows() == 0) return std::vector<Rollup>(periods);
      auto unpacked = unpack_rollups(rows.bytes(0, 0));
      EXPECT_TRUE(unpacked);
      return unpacked ? *unpacked : std::vector<Rollup>(periods);
    });
    EXPECT_TRUE(result);
    return result ? *result : std::vector<Rollup>();
  }
};

}  // namespace gema::recorder
