#include "common/stream/core/seq_set.h"

#include <algorithm>
#include <iterator>

namespace gema::stream {

std::optional<SeqRange> SeqSet::range_at(uint64_t seq) const {
  auto it = ranges_.upper_bound(seq);
  if (it == ranges_.begin()) return std::nullopt;
  --it;
  if (it->second < seq) return std::nullopt;
  return SeqRange{it->first, it->second};
}

std::optional<SeqRange> SeqSet::range_after(uint64_t seq) const {
  auto it = ranges_.upper_bound(seq);
  if (it == ranges_.end()) return std::nullopt;
  return SeqRange{it->first, it->second};
}

bool SeqSet::stands_alone(uint64_t seq) const {
  auto it = ranges_.upper_bound(seq);
  if (it != ranges_.end() && it->first == seq + 1) return false;
  if (it == ranges_.begin()) return true;
  return std::prev(it)->second + 1 < seq;
}

uint64_t SeqSet::add(SeqRange range) {
  auto it = ranges_.upper_bound(range.first);
  uint64_t overlap = 0;
  if (it != ranges_.begin()) {
    auto before = std::prev(it);
    if (before->second + 1 >= range.first) it = before;
  }
  SeqRange merged = range;
  while (it != ranges_.end() && it->first <= range.last + 1) {
    uint64_t low = std::max(it->first, range.first);
    uint64_t high = std::min(it->second, range.last);
    if (low <= high) overlap += high - low + 1;
    merged.first = std::min(merged.first, it->first);
    merged.last = std::max(merged.last, it->second);
    if (it->first == merged.first && std::next(it) == ranges_.end()) {
      it->second = merged.last;  // the usual case: the newest range grows at its end
      count_ += range.size() - overlap;
      return range.size() - overlap;
    }
    it = ranges_.erase(it);
  }
  ranges_.emplace_hint(it, merged.first, merged.last);
  count_ += range.size() - overlap;
  return range.size() - overlap;
}

uint64_t SeqSet::remove(SeqRange range) {
  uint64_t removed = 0;
  auto it = ranges_.upper_bound(range.first);
  if (it != ranges_.begin()) --it;
  while (it != ranges_.end() && it->first <= range.last) {
    SeqRange have{it->first, it->second};
    if (have.last < range.first) {
      ++it;
      continue;
    }
    it = ranges_.erase(it);
    if (have.first < range.first) ranges_.emplace_hint(it, have.first, range.first - 1);
    if (have.last > range.last) ranges_.emplace_hint(it, range.last + 1, have.last);
    removed += std::min(have.last, range.last) - std::max(have.first, range.first) + 1;
  }
  count_ -= removed;
  return removed;
}

void SeqSet::clear() {
  ranges_.clear();
  count_ = 0;
}

std::vector<SeqRange> SeqSet::missing(SeqRange within) const {
  std::vector<SeqRange> out;
  uint64_t cursor = within.first;
  auto it = ranges_.upper_bound(within.first);
  if (it != ranges_.begin()) --it;
  for (; it != ranges_.end() && it->first <= within.last && cursor <= within.last; ++it) {
    if (it->second < cursor) continue;
    if (it->first > cursor) out.push_back({cursor, it->first - 1});
    cursor = it->second + 1;
  }
  if (cursor <= within.last) out.push_back({cursor, within.last});
  return out;
}

std::vector<SeqRange> SeqSet::ranges() const {
  std::vector<SeqRange> out;
  out.reserve(ranges_.size());
  for (const auto& [first, last] : ranges_) out.push_back({first, last});
  return out;
}

}  // namespace gema::stream
