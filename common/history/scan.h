// Results of devices as one snapshot sees them: hot rows above the watermark, short chunks, packed
// rows; and which of several results for a slot counts. What the readers of this directory are made
// of, and what `gema import` reads with in its own transaction; others use the readers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/ping.h"
#include "common/history/results.h"
#include "common/postgres/binary.h"
#include "common/postgres/connection.h"

namespace gema::history {

// Names of locations and producers: those of history_names by their ids there, others by ids of
// their own, below 0.
class Names {
 public:
  void add(int32_t id, std::string_view name);
  int32_t id(std::string_view name);
  const std::string& operator[](int32_t id) const;
  std::optional<int32_t> find(std::string_view name) const;

 private:
  std::map<int32_t, std::string> names_;
  std::map<std::string, int32_t, std::less<>> ids_;
};

// Which devices: some, or all.
class Devices {
 public:
  Devices() = default;  // all
  explicit Devices(std::vector<DeviceId> ids);

  bool all() const { return all_; }
  const std::vector<DeviceId>& ids() const { return ids_; }  // rising, each once; none when all()
  bool has(DeviceId device) const;
  bool has_partition(uint32_t partition) const;
  // " AND COLUMN = ANY ('{...}')", "" for all.
  std::string where(std::string_view column) const;

 private:
  bool all_ = true;
  std::vector<DeviceId> ids_;
  uint32_t partitions_ = ~0U;
};

// Results of one device from one source, before it is decided which count.
struct Source {
  int32_t location = 0;
  int32_t producer = 0;
  uint32_t clock_steps = 0;
  PingResults results;
  std::vector<ResultText> texts;  // by rising index

  // Nothing is known of any of its results beyond their echoes.
  bool plain() const {
    return texts.empty() && results.burst.empty() && results.notes.empty() &&
           results.proofs.empty();
  }
};

struct DeviceResults {
  std::vector<Source> sources;
  size_t used = 0;  // the first so many count; the others are memory kept

  Source& of(int32_t location, int32_t producer, uint32_t clock_steps);
  void clear();
};

// Result `i` of a source, its text with it.
ResultView view_of(const Source& source, size_t i);

// An answer that came late, and whose echo it answers.
struct LateAnswer {
  int32_t location;
  int32_t producer;
  Stray stray;
};

// What is known of a device in a window: of each slot and location the result that counts.
class Merged {
 public:
  struct Entry {
    int64_t due_ms;
    const Source* source;
    uint32_t index;
  };

  explicit Merged(const Names& names) : names_(names) {}

  // Decides. The sources must stay as they are while the entries are used.
  void set(const DeviceResults* stored, const DeviceResults* hot, int64_t from_ms, int64_t to_ms);
  // By rising due_ms, then location name.
  const std::vector<Entry>& entries() const { return entries_; }
  bool has_strays() const { return !late_.empty(); }
  // The late answers to one of them.
  std::vector<Stray> strays_of(const Entry& entry) const;

 private:
  void take(const DeviceResults& results, int64_t from_ms, int64_t to_ms);

  const Names& names_;
  std::vector<Entry> entries_;
  std::vector<LateAnswer> late_;
  std::vector<Claim> claims_;
};

// Leaves of these tables may be dropped once others hold what they held, and our snapshot may be
// earlier. LOCK TABLE takes no snapshot, so the one that we take next is not older than the lock.
// Requires: nothing else was done in the transaction. Also settles how statements are planned.
void begin_reading(postgres::Transaction& tx);

// Calls `each` for every row of a statement, some thousand of them in memory at a time; all at
// once, and so with fewer round trips, when there are `few`. `each` asks nothing of the database.
void each_row(postgres::Transaction& tx, const std::string& statement,
              const postgres::Params& params,
              const std::function<void(const postgres::BinaryResult&, int row)>& each,
              bool few = false);

class Scan {
 public:
  struct Options {
    // results() of the same devices and range comes first, and is asked for with the rest.
    bool results_first = false;
  };
  // Begins reading, and reads the hot rows of devices in [from_ms, to_ms). In one round trip.
  // Requires: nothing was done in the transaction, or begin_reading() first.
  Scan(postgres::Transaction& tx, std::vector<BrokenRow>& broken, Devices devices, int64_t from_ms,
       int64_t to_ms, Options options);
  Scan(postgres::Transaction& tx, std::vector<BrokenRow>& broken, Devices devices, int64_t from_ms,
       int64_t to_ms)
      : Scan(tx, broken, std::move(devices), from_ms, to_ms, Options()) {}

  const std::map<DeviceId, DeviceResults>& hot() const { return hot_; }

  struct Range {
    int64_t from_ms = 0;
    int64_t to_ms = 0;
    bool packed = true;  // false: there are no packed rows, and none is looked for
  };
  // Calls `each` for every device with results from short chunks, packed rows or hot rows in the
  // range, each once: first those that are stored, by rising id, then those that are hot only.
  // `each` may look at the results until it returns.
  void results(const Devices& devices, const Range& range,
               const std::function<void(DeviceId, const Merged&)>& each);

  Names& names() { return names_; }
  postgres::Transaction& tx() { return tx_; }

 private:
  void take_names(const postgres::BinaryResult& rows);
  void take_epochs(const postgres::BinaryResult& rows);
  void take_hot_rows(const postgres::BinaryResult& rows);
  void take_hot(std::string_view producer, uint64_t epoch, std::string_view payload);
  void take_chunk(const postgres::BinaryResult& rows, int i);

  postgres::Transaction& tx_;
  std::vector<BrokenRow>& broken_;
  std::optional<postgres::Pipeline> ahead_;  // the answer for results() is the next in it
  Names names_;
  std::map<std::pair<std::string, uint64_t>, uint32_t> clock_steps_;
  Devices hot_devices_;
  int64_t hot_from_ms_ = 0;
  int64_t hot_to_ms_ = 0;
  std::map<DeviceId, DeviceResults> hot_;
  PingResults scratch_;
  ChunkArrays arrays_;
  DeviceResults stored_;
  Merged merged_{names_};
};

}  // namespace gema::history
