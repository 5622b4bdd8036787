// Quantiles of round trip times for any window and any group of devices: counts per bin, so that
// two sketches add up to exactly the sketch of both (docs/rollups.md).
//
// Bins: lower bounds 0, 1, 2, ... and b + max(1, b / 50) after b, in whole microseconds. So times
// below 100 us have bins of their own, and above no bin is wider than 2 % of its lower bound. A
// quantile is the middle of its bin: within 1 % of the true sample of that rank (kQuantileError),
// whatever was merged. Integers only: every machine has the same bins. The idea is DDSketch's
// (C. Masson, J. E. Rim, H. K. Lee, VLDB 2019).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace gema {

inline constexpr double kQuantileError = 0.01;

class QuantileSketch {
 public:
  struct Bin {
    uint16_t index = 0;
    uint64_t count = 0;

    friend bool operator==(const Bin&, const Bin&) = default;
  };

  // Times of 2^31 us (36 minutes: no echo lives so long) and more share the last bin.
  void add(uint32_t rtt_us, uint64_t count = 1);
  // Many at once, in any order: a few nanoseconds each.
  void add_all(std::span<const uint32_t> rtts_us);
  void merge(const QuantileSketch& other);
  void clear() { bins_.clear(); }

  bool empty() const { return bins_.empty(); }
  uint64_t count() const;
  // The sample of rank ceil(q * count), of ranks from 1: q = 0 is the least, q = 1 the greatest.
  // Requires: !empty(), 0 <= q <= 1.
  uint32_t quantile_us(double q) const;
  const std::vector<Bin>& bins() const { return bins_; }  // by rising index, none empty

  // Appends the sketch to `out`. A minute of 60 samples takes about 15 bytes, an hour about 100.
  void pack(std::string& out) const;
  // Takes one sketch from the front of `bytes`. Fails with kBadInput on bytes that pack() does not
  // write.
  static Result<QuantileSketch> unpack(std::string_view& bytes);
  // The same in place of what is here (its memory is kept), which is of no use after a failure.
  Result<void> take(std::string_view& bytes);

  friend bool operator==(const QuantileSketch&, const QuantileSketch&) = default;

 private:
  std::vector<Bin> bins_;
};

// The bin of a round trip time, and the first time of a bin.
uint16_t quantile_bin(uint32_t rtt_us);
uint32_t quantile_bin_begin(uint16_t index);
uint16_t quantile_bins();  // how many there are

}  // namespace gema
