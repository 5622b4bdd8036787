// Turns batches (many devices, few instants) into chunks (one device, many instants).
//
// In: the decoded records of a partition's hot rows. Out: chunks in the order of their devices, one
// per device, source, interval and unbroken run within an hour. Where one source gave two results
// for a slot, the better one stays (common/domain/chunk.h); between sources the reader decides, so
// that what comes later can still take part. The outcome does not depend on the order of add().
//
// Pure; keeps what was added until take().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/ping.h"

namespace gema::recorder {

struct ChunkHead {
  DeviceId device = 0;
  uint32_t source = 0;  // as given to add()
  int64_t start_ms = 0;
  uint32_t step_ms = 0;
  uint32_t echoes = 1;
  uint32_t ordinal = 0;  // of this chunk among its device's in this take(), from 0
  size_t samples_begin = 0;
  size_t samples_end = 0;
  size_t extra_begin = 0;
  size_t extra_end = 0;
};

struct Chunks {
  std::vector<ChunkHead> heads;
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
  uint64_t results = 0;    // that the chunks hold
  uint64_t doubled = 0;    // dropped: the same source had a better one for the slot
  uint64_t discarded = 0;  // dropped: before `oldest_ms`

  std::span<const int32_t> samples_of(const ChunkHead& h) const {
    return {samples.data() + h.samples_begin, h.samples_end - h.samples_begin};
  }
  std::span<const int32_t> extra_of(const ChunkHead& h) const {
    return {extra.data() + h.extra_begin, h.extra_end - h.extra_begin};
  }
};

class Transposer {
 public:
  // `source` names location, producer and clock of the batch; a number of the caller's choice.
  void add(uint32_t source, PingResults results);
  // Slots before `oldest_ms` are dropped and counted. Empties the transposer.
  Chunks take(int64_t oldest_ms);

 private:
  struct Entry {
    DeviceId device;
    int64_t due_ms;
    uint32_t source;
    uint32_t interval_ms;
    uint32_t batch;
    uint32_t index;
    uint32_t burst;  // place in the batch's bursts, ~0 = none
  };

  ResultView view(const Entry& entry) const;
  // Appends the chunk of entries [begin, end), which are one run without doubles.
  void emit(std::span<const Entry> run, uint32_t ordinal, Chunks& out) const;

  std::vector<PingResults> batches_;
  std::vector<Entry> entries_;
};

}  // namespace gema::recorder
