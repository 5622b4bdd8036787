// Turns batches (many devices, few instants) into chunks (one device, many instants).
//
// In: the decoded records of a partition's hot rows. Out: chunks in the order of their devices, one
// per device, source, interval and unbroken run within an hour. Where one source gave two results
// for a slot, the better one stays (common/domain/chunk.h); between sources the reader decides, so
// that what comes later can still take part. The outcome does not depend on the order of add().
// Strays go into the chunk that is there for their hour, so a reader finds them where it looks for
// the slot; where there is none (the slot was transposed before) into a chunk without results.
//
// Pure; keeps what was added until take().
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/chunk_details.h"
#include "common/domain/ping.h"

namespace gema::recorder {

struct ChunkHead {
  DeviceId device = 0;
  uint32_t source = 0;  // as given to add()
  int64_t start_ms = 0;
  uint32_t step_ms = 0;
  uint32_t echoes = 1;
  uint32_t results = 0;
  uint32_t ordinal = 0;  // of this chunk among its device's in this take(), from 0
  size_t samples_begin = 0;
  size_t samples_end = 0;
  size_t extra_begin = 0;
  size_t extra_end = 0;
  size_t details_begin = 0;
  size_t details_end = 0;
};

struct Chunks {
  std::vector<ChunkHead> heads;
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
  std::string details;
  uint64_t results = 0;    // that the chunks hold
  uint64_t strays = 0;     // ditto
  uint64_t doubled = 0;    // dropped: the same source had a better one for the slot
  uint64_t discarded = 0;  // dropped: before `oldest_ms`

  std::span<const int32_t> samples_of(const ChunkHead& h) const {
    return {samples.data() + h.samples_begin, h.samples_end - h.samples_begin};
  }
  std::span<const int32_t> extra_of(const ChunkHead& h) const {
    return {extra.data() + h.extra_begin, h.extra_end - h.extra_begin};
  }
  std::string_view details_of(const ChunkHead& h) const {
    return std::string_view(details).substr(h.details_begin, h.details_end - h.details_begin);
  }
};

class Transposer {
 public:
  // `source` names location, producer and clock of the batch; a number of the caller's choice.
  void add(uint32_t source, const PingResults& results);
  // Slots before `oldest_ms` are dropped and counted. Empties the transposer.
  Chunks take(int64_t oldest_ms);

 private:
  // What chunks are made of: results of one device, source and interval.
  struct Group {
    DeviceId device;
    uint32_t source;
    uint32_t interval_ms;
    uint32_t entries;
    bool rising;  // its due times, so far
    int64_t last_ms;
  };
  // A result. Most are one number of `samples`, and that is here; the others stand in rare_.
  struct Entry {
    int64_t due_ms;
    uint32_t group;
    int32_t code;  // kRare - i: result i of rare_
  };
  struct LateAnswer {
    Stray stray;
    uint32_t source;
  };

  uint32_t group_of(DeviceId device, uint32_t source, uint32_t interval_ms);
  void grow_table();
  int32_t keep_rare(const PingResults& results, size_t i);
  ResultView rare(int32_t code) const;
  bool beats(const Entry& a, const Entry& b) const;
  // Entries in the order of their groups, and of arrival within each.
  void arrange(const std::vector<uint32_t>& order, int64_t oldest_ms, Chunks& out);
  // By rising due time; of several results for one slot the best stays. Returns: how many stay.
  size_t settle(std::span<Entry> entries, bool rising, Chunks& out);
  // Appends the chunks of a group.
  void emit_group(const Group& group, std::span<const Entry> entries, Chunks& out);
  // Appends the chunk of `run`, and as many of its strays as fit into its hour.
  void emit(const Group& group, std::span<const Entry> run, Chunks& out);
  // Appends chunks without results for strays up to (not including) `end`.
  void emit_strays(size_t end, Chunks& out);
  // The first stray from next_stray_ on that comes not before that slot.
  size_t strays_before(DeviceId device, uint32_t source, int64_t due_ms) const;
  ChunkHead head(DeviceId device, uint32_t source, int64_t start_ms, Chunks& out) const;

  std::vector<Group> groups_;
  std::vector<uint32_t> table_;  // open addressing: 1 + place in groups_, 0 = free
  std::vector<Entry> entries_;   // as they came
  std::vector<Entry> arranged_;
  PingResults rare_;
  std::vector<ResultText> rare_texts_;
  std::vector<uint8_t> has_more_;  // of the batch in hand: burst, notes or proofs
  std::vector<LateAnswer> strays_;
  size_t next_stray_ = 0;
  DetailsWriter details_;
};

}  // namespace gema::recorder
