#include "services/recorder/core/gap_spans.h"

#include "services/recorder/core/limits.h"

namespace gema::recorder {

void GapSpans::note(const std::string& producer, uint64_t epoch, uint32_t partition, uint64_t seq,
                    int64_t oldest_ms, int64_t newest_ms) {
  const Key key{producer, epoch, partition};
  if (known_.size() >= kSpanKeysMax && known_.count(key) == 0) known_.erase(known_.begin());
  auto& seqs = known_[key];
  seqs[seq] = {oldest_ms, newest_ms};
  if (seqs.size() > kSpansMax) seqs.erase(seqs.begin());
}

Span GapSpans::around(const std::string& producer, uint64_t epoch, uint32_t partition,
                      uint64_t first_seq, uint64_t last_seq) const {
  const auto it = known_.find({producer, epoch, partition});
  if (it == known_.end()) return {};
  Span span;
  const auto after = it->second.upper_bound(last_seq);
  if (after != it->second.end()) span.to_ms = after->second.oldest_ms;
  auto before = it->second.lower_bound(first_seq);
  if (before != it->second.begin()) span.from_ms = (--before)->second.newest_ms;
  return span;
}

void GapSpans::forget(const std::string& producer, uint64_t epoch, uint32_t partition) {
  known_.erase({producer, epoch, partition});
}

}  // namespace gema::recorder
