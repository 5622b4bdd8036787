// How far a group has come: per (producer, epoch, partition) the seqs whose effect is included.
// A consumer stores its PositionSet in the transaction of the effect, and starts from it again.
//
// Plain value, no thread rule. Entries of closed epochs stay a while as tombstones (closed = true),
// so that a late tip cannot open them again; the consumer bounds them.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/stream/core/types.h"

namespace gema::stream {

struct PositionKey {
  std::string producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;

  friend auto operator<=>(const PositionKey&, const PositionKey&) = default;
};

// Included: every seq <= cumulative, and those in (cumulative, highest] that are not in `missing`.
// Invariants: cumulative <= highest; missing ascending, disjoint, within (cumulative, highest).
struct Position {
  uint64_t cumulative = 0;
  uint64_t highest = 0;
  std::vector<SeqRange> missing;
  uint64_t order = 0;   // of the epoch among its producer's, from 1: a later epoch has a higher one
  bool closed = false;  // the producer no longer holds the epoch

  bool includes(uint64_t seq) const;
  friend bool operator==(const Position&, const Position&) = default;
};

// `missing` as text and back, for a column of a table: "3-5,9-9"; empty = none.
std::string format_ranges(const std::vector<SeqRange>& ranges);
Result<std::vector<SeqRange>> parse_ranges(std::string_view text);

class PositionSet {
 public:
  using Map = std::map<PositionKey, Position>;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  Map::const_iterator begin() const { return entries_.begin(); }
  Map::const_iterator end() const { return entries_.end(); }
  // All entries of one producer.
  Map::const_iterator first_of(const std::string& producer) const {
    return entries_.lower_bound(PositionKey{producer, 0, 0});
  }
  const Position* find(const PositionKey& key) const;
  void set(PositionKey key, Position position);
  void erase(const PositionKey& key) { entries_.erase(key); }

  // True when the record's effect is included (what an observer asks after a snapshot).
  bool covers(const RecordKey& record) const;

  // What must be written to turn `before` into this: rows to upsert and rows to delete.
  struct Changes {
    std::vector<std::pair<PositionKey, Position>> upserts;
    std::vector<PositionKey> removals;
  };
  Changes changes_since(const PositionSet& before) const;

  // Bytes with a checksum, and back. Fails with kBadInput on anything serialise() cannot have made.
  std::string serialise() const;
  static Result<PositionSet> parse(std::string_view bytes);

  friend bool operator==(const PositionSet&, const PositionSet&) = default;

 private:
  Map entries_;
};

}  // namespace gema::stream
