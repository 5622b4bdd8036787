// Checks of an old system, which drift, on slots: runs that begin at a check's true time and go on
// one step apart while checks lie within a tolerance of start + k * step. So times are true within
// the tolerance, the interval is right, and nothing is dropped. A run stays within an hour of UTC,
// as chunks do. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/chunk_details.h"
#include "common/domain/ping.h"

namespace gema::cli {

struct Run {
  int64_t start_ms = 0;
  struct At {
    size_t check = 0;  // index into the times
    uint32_t slot = 0;
  };
  std::vector<At> checks;  // by rising slot
};

// Requires: `times` do not fall and lie within the hour that begins at `hour_ms`; step_ms > 0.
std::vector<Run> place(std::span<const int64_t> times, int64_t hour_ms, uint32_t step_ms,
                       int64_t tolerance_ms);

// How far a check may be from its slot: a second, or a tenth of the interval where that is less.
int64_t tolerance_of(uint32_t interval_ms);

// The median of the differences, as an interval; 0 where there is none or it says nothing (checks
// more than an hour apart). `times` is reordered. Requires: they rise.
uint32_t median_spacing(std::vector<int64_t>& differences);

// Results of one source, one step apart, as a chunk. Reused.
class ChunkBuilder {
 public:
  void begin(DeviceId device, int64_t start_ms, uint32_t step_ms, uint32_t echoes);
  // By rising slot. Requires: at most `echoes` outcomes.
  void add(const ResultView& result, uint32_t slot, std::span<const Stray> strays);
  // Views live until begin().
  ChunkView view();

 private:
  DeviceId device_ = 0;
  int64_t start_ms_ = 0;
  uint32_t step_ms_ = 0;
  uint32_t echoes_ = 1;
  std::vector<int32_t> samples_;
  std::vector<int32_t> extra_;
  DetailsWriter writer_;
  std::vector<Stray> strays_;
  std::string details_;
};

}  // namespace gema::cli
