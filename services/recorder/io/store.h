// History's tables, as the recorder writes them. Owns one connection, opened when needed and
// dropped when it breaks. All calls block: they belong on a worker's thread.
//
// What makes a record count exactly once: every commit locks the stream's head rows, finds the
// tokens that the last commit left there, writes data and positions, and leaves a new token. If the
// tokens are others, nothing is written and the caller learns what the database holds now: another
// recorder was there, or the database is an older one. If they are this very batch's tokens, an
// earlier try went through after all (the connection broke during COMMIT).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "common/domain/transition.h"
#include "common/postgres/binary.h"
#include "common/postgres/connection.h"
#include "common/stream/core/position_set.h"
#include "services/recorder/core/gap_spans.h"
#include "services/recorder/io/refusals.h"

namespace gema::recorder {

using Tokens = std::array<int64_t, kPartitions>;

struct EpochRow {
  std::string producer;
  uint64_t epoch = 0;
  uint64_t predecessor = 0;
  stream::EpochReason reason{};
};

struct GapRow {
  stream::RecordKey key;  // seq unused
  stream::SeqRange seqs;
  Span span;
  std::string reason;
};

struct AddressChangeRow {
  stream::RecordKey key;  // of the record that told it
  std::string location;
  AddressChange change;
};

struct TransitionRow {
  RecordRow record;  // as it came
  TransitionId id{};
  DeviceId device = 0;
  uint64_t counter = 0;
  uint8_t from = 0;
  uint8_t to = 0;
  uint8_t reason = 0;
  int64_t slot_ms = 0;
  int64_t decided_at_us = 0;
  std::string state;
};

// Of a record of stream transitions, whose payload `record` holds. Fails with kBadInput on what no
// row can hold.
Result<TransitionRow> transition_of(RecordRow record);

// Everything that one commit makes durable.
struct Batch {
  std::string stream;
  int64_t token = 0;  // random, not 0
  stream::PositionSet before;
  stream::PositionSet after;
  Tokens tokens{};  // as the commit before left them
  std::vector<RecordRow> records;
  std::vector<RecordRow> set_aside;
  std::vector<RecordRow> quarantined;
  std::vector<EpochRow> epochs;
  std::vector<GapRow> gaps;
  std::vector<TransitionRow> transitions;
  std::vector<AddressChangeRow> address_changes;
};

struct Loaded {
  stream::PositionSet positions;
  Tokens tokens{};
  uint64_t set_aside = 0;
};

struct Committed {
  bool conflict = false;  // nothing was written; `now` says what the database holds
  bool earlier = false;   // this batch was committed by an earlier try
  Tokens tokens{};        // as they are now
  Loaded now;             // conflict only
  uint64_t hot_rows = 0;
  uint64_t hot_bytes = 0;
  std::vector<Refused> refused;
};

struct TakenIn {
  uint64_t records = 0;    // taken from where they were
  uint64_t set_aside = 0;  // left in the table
  std::vector<Refused> refused;
};

struct Chunked {
  uint64_t hot_rows = 0;
  uint64_t hot_bytes = 0;
  uint64_t chunks = 0;
  uint64_t results = 0;
  uint64_t strays = 0;
  uint64_t doubled = 0;
  uint64_t discarded = 0;
  uint64_t undecodable = 0;
  uint64_t refused = 0;  // chunks that PostgreSQL refuses
  bool more = false;     // hot rows above the new watermark remain
};

struct Housekept {
  uint64_t hot_leaves_dropped = 0;
  uint64_t quarantine_trimmed = 0;
  uint64_t address_changes_dropped = 0;
  uint64_t gaps_dropped = 0;
  uint64_t transitions_dropped = 0;
  uint64_t epochs_dropped = 0;
  uint64_t refused_dropped = 0;
};

// How long things are kept that are not in leaves.
struct RowRetention {
  // Address changes, gaps, refused records and epochs, which say something of results.
  Duration results = 90 * 24h;
  // Per device the newest transition from before stays: it says what the device was then.
  Duration transitions = 1827 * 24h;
};

class Store {
 public:
  explicit Store(postgres::Options options);

  // Connects when needed; waits for nothing. kUnavailable while the schema is older than this
  // binary's (inventory brings it up), kPermanent when it is newer.
  Result<void> ensure_ready();

  Result<Loaded> load(const std::string& stream);
  // What PostgreSQL refuses for its content is set aside (io/refusals.h) and the rest committed.
  Result<Committed> commit(const Batch& batch);
  // Records set aside whose slots are no longer ahead of `now` are recorded, and refused ones that
  // people want to be tried again.
  Result<TakenIn> take_in(const std::string& stream, WallTime now);
  // Transposes hot rows of one partition, at most kChunkBytesMax, and moves its watermark.
  Result<Chunked> chunk(uint32_t partition, WallTime now, Duration retention);
  // Drops hot leaves and address changes that are no longer needed, trims the quarantine.
  Result<Housekept> housekeep(WallTime now, const RowRetention& retention);

 private:
  struct Heads {
    std::array<int64_t, kPartitions> numbers{};
    Tokens tokens{};
    int64_t now_us = 0;  // the database's
  };

  // Deletes what is past its retention, once an hour. Returns: false when there is more.
  Result<bool> sweep(WallTime now, const RowRetention& retention, Housekept& out);
  Heads lock_heads(postgres::Transaction& tx, const std::string& stream);
  Loaded read(postgres::Transaction& tx, const std::string& stream);
  Committed commit(postgres::Transaction& tx, const Batch& batch, bool apart);
  TakenIn take_in(postgres::Transaction& tx, const std::string& stream, WallTime now, bool apart);
  // All but positions and heads. `apart`: piece by piece, setting aside what is refused.
  void write(postgres::Transaction& tx, Heads& heads, const Batch& batch, bool apart,
             Committed& out);
  void write_at_once(postgres::Transaction& tx, Heads& heads, const Batch& batch, Committed& out);
  void make_hot_leaves(postgres::Transaction& tx, const Heads& heads);
  // Returns bytes written. Raises heads' numbers; write_heads() stores them.
  uint64_t write_hot(postgres::Transaction& tx, Heads& heads, const std::vector<RecordRow>& records,
                     uint64_t& rows);
  void write_heads(postgres::Transaction& tx, const std::string& stream, const Heads& heads,
                   const std::set<uint32_t>& partitions);
  void write_positions(postgres::Transaction& tx, const std::string& stream,
                       const stream::PositionSet::Changes& changes);
  void write_rarities(postgres::Transaction& tx, const Batch& batch);
  void write_transitions(postgres::Transaction& tx, const Batch& batch);
  void write_address_changes(postgres::Transaction& tx, const Batch& batch);
  Chunked chunk(postgres::Transaction& tx, uint32_t partition, WallTime now, Duration retention,
                bool apart);
  int32_t name_id(postgres::Transaction& tx, const std::string& name,
                  std::map<std::string, int32_t>& ids);

  // Runs `work(tx, false)`, and where PostgreSQL refuses its content `work(tx, true)`.
  template <class Work>
  auto run_apart(Work&& work);
  // Runs `work` on a ready connection.
  template <class Work>
  auto run(Work&& work) -> typename postgres::internal::AsResult<
      std::invoke_result_t<Work, postgres::Transaction&>>::type;

  postgres::Options options_;
  std::unique_ptr<postgres::Connection> connection_;
  // What every commit says.
  postgres::Prepared lock_heads_;
  postgres::Prepared write_heads_;
  postgres::Prepared write_positions_;
  // Hot leaves exist for rows written before this instant of the database's clock.
  int64_t leaves_until_us_ = 0;
  WallTime swept_at_{};
};

}  // namespace gema::recorder
