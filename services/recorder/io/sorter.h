// Turns deliveries of a stream into the rows of the batch being gathered. One for each stream.
//
// Whatever it does with a record, the record's position moves with the batch: recorded, set aside,
// discarded, quarantined, or noted as a gap. Nothing is passed over in silence; all are counted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/time.h"
#include "common/codec/ping_codec.h"
#include "common/stream/consumer.h"
#include "services/recorder/core/gap_spans.h"
#include "services/recorder/io/store.h"

namespace gema::recorder {

struct SorterCounts {
  uint64_t records = 0;
  uint64_t results = 0;  // of the ping stream; transitions of theirs
  uint64_t discarded_results = 0;
  uint64_t quarantined = 0;
  uint64_t set_aside = 0;
  uint64_t gaps = 0;
  uint64_t gap_records = 0;
  uint64_t address_changes = 0;
  int64_t newest_ms = 0;  // newest slot taken, Unix ms
};

class Sorter {
 public:
  virtual ~Sorter() = default;

  // Adds to `batch`. Returns: the bytes it grew by, as far as memory goes.
  size_t take(stream::Delivery&& delivery, Now now, Batch& batch);

  // How many records the database holds aside (after a load or a take-in).
  void set_aside_is(uint64_t records) { set_aside_ = records; }
  uint64_t set_aside() const { return set_aside_; }
  const SorterCounts& counts() const { return counts_; }

 protected:
  virtual void take_record(stream::Delivery&& delivery, Now now, Batch& batch) = 0;
  void quarantine(RecordRow row, std::string reason, Batch& batch);

  SorterCounts counts_;
  GapSpans spans_;
  uint64_t set_aside_ = 0;
};

// Sees what is taken to be recorded, before it is. May see it again.
using PingObserver = std::function<void(const PingResults&, Now)>;

// Stream ping. `retention`: results older than this are not kept.
std::unique_ptr<Sorter> make_ping_sorter(Duration retention, PingObserver observer = nullptr);
// Stream transitions.
std::unique_ptr<Sorter> make_transition_sorter();

}  // namespace gema::recorder
