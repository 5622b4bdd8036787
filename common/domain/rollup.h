// What is kept of a device's results in one period: counts, round trip times, quantiles. Made from
// single results, or from the rollups of shorter periods; two add up to exactly the rollup of both,
// but for the jitter across their border. docs/rollups.md describes the bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/chunk.h"
#include "common/domain/ping.h"
#include "common/domain/quantile_sketch.h"

namespace gema {

__extension__ using Uint128 = unsigned __int128;

struct Rollup {
  // checks
  std::array<uint64_t, 3> verdicts{};              // by Verdict
  std::array<uint64_t, kReasonMax + 1> reasons{};  // by Reason
  // The time that checks stand for: the sum of their intervals, by Verdict. Rows of version 1 do
  // not say: 0.
  std::array<uint64_t, 3> time_ms{};
  // echoes of the checks' own trains; bursts apart
  std::array<uint64_t, kEchoOutcomeMax + 1> outcomes{};  // by EchoOutcome
  uint64_t burst_sent = 0;
  uint64_t burst_answered = 0;
  // round trip times of everything answered, bursts included, in us
  uint32_t rtt_min_us = 0;  // 0 when nothing was answered
  uint32_t rtt_max_us = 0;
  uint64_t rtt_sum_us = 0;
  Uint128 rtt_squares_us = 0;  // sum of squares
  uint64_t jitter_sum_us = 0;  // of |difference| of own echoes answered one after the other
  uint64_t jitter_count = 0;
  QuantileSketch sketch;

  uint64_t checks() const { return verdicts[0] + verdicts[1] + verdicts[2]; }
  uint64_t answered_echoes() const;  // bursts included
  uint64_t sent_echoes() const;      // likewise; not those that were never sent
  // Of everything answered, in us; 0 when nothing was.
  double mean_us() const;
  double deviation_us() const;  // standard deviation of the population
  double jitter_us() const;     // mean |difference|; 0 when there was none

  void merge(const Rollup& other);

  friend bool operator==(const Rollup&, const Rollup&) = default;
};

// Rolls up the results of one device and location into consecutive periods.
class RollupBuilder {
 public:
  // Requires: period_ms > 0. Slots before start_ms or after the last period are not counted.
  RollupBuilder(int64_t start_ms, int64_t period_ms, size_t periods);

  // Requires: by rising due_ms.
  void add(int64_t due_ms, uint32_t interval_ms, const ResultView& result);
  // The same for a check whose only echo was answered.
  void add_reply(int64_t due_ms, uint32_t interval_ms, uint32_t rtt_us);
  // What follows is not compared with what came before (jitter), as across the border of two
  // periods.
  void split() { has_last_ = false; }
  // The periods, in order; those without any check are empty rollups. The builder is then empty.
  std::vector<Rollup> take();

 private:
  Rollup* open(int64_t due_ms);  // nullptr: not counted
  void add_echo(Rollup& rollup, uint32_t rtt_us);
  void add_rtt(Rollup& rollup, uint32_t rtt_us);
  void close();

  int64_t start_ms_;
  int64_t period_ms_;
  std::vector<Rollup> rollups_;
  size_t open_ = 0;  // the period that is being filled
  int64_t open_from_ms_ = 0;
  std::vector<uint32_t> answered_;  // its round trip times
  uint32_t last_rtt_us_ = 0;
  bool has_last_ = false;
};

// How many rollups an hour of checks each `interval_ms` has in history: minutes while these hold
// some 30 samples, so that rollups stay a small part of what they sum up. Where intervals differ
// the shortest one decides.
size_t rollups_per_hour(uint32_t interval_ms);

// At most this many in one row.
inline constexpr size_t kRollupsMax = 1440;

// Requires: at most kRollupsMax. Any that RollupBuilder or merge() made comes back exactly.
std::string pack_rollups(std::span<const Rollup> rollups);
// Reads every version ever written. Fails with kBadInput on anything else.
Result<std::vector<Rollup>> unpack_rollups(std::string_view bytes);
// The same into `out` (replaced; its memory is kept). `out` is of no use after a failure.
Result<void> unpack_rollups(std::string_view bytes, std::vector<Rollup>& out);

}  // namespace gema
