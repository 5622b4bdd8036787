// A set of seqs kept as ranges: disjoint, never adjacent, ascending. All operations are logarithmic
// in the number of ranges, plus the ranges they touch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/stream/core/types.h"

namespace gema::stream {

class SeqSet {
 public:
  using Map = std::map<uint64_t, uint64_t>;  // first -> last

  bool empty() const { return ranges_.empty(); }
  uint64_t count() const { return count_; }
  size_t range_count() const { return ranges_.size(); }
  bool contains(uint64_t seq) const { return range_at(seq).has_value(); }
  // The range that holds `seq`.
  std::optional<SeqRange> range_at(uint64_t seq) const;
  // The first range that begins after `seq`.
  std::optional<SeqRange> range_after(uint64_t seq) const;
  // Requires: !empty().
  SeqRange front() const { return {ranges_.begin()->first, ranges_.begin()->second}; }
  uint64_t highest() const { return ranges_.rbegin()->second; }
  // True when adding `seq` would begin a range of its own.
  bool stands_alone(uint64_t seq) const;

  // Returns: how many seqs were new, or were there.
  uint64_t add(SeqRange range);
  uint64_t add(uint64_t seq) { return add(SeqRange{seq, seq}); }
  uint64_t remove(SeqRange range);
  uint64_t remove(uint64_t seq) { return remove(SeqRange{seq, seq}); }
  void clear();

  // What of `within` is not in the set.
  std::vector<SeqRange> missing(SeqRange within) const;
  std::vector<SeqRange> ranges() const;

 private:
  Map ranges_;
  uint64_t count_ = 0;
};

}  // namespace gema::stream
