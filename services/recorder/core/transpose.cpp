#include "services/recorder/core/transpose.h"

#include <algorithm>
#include <tuple>

#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

constexpr uint32_t kNoBurst = ~uint32_t{0};

int64_t span_of(int64_t due_ms) {
  const int64_t quotient = due_ms / kChunkSpanMs;
  return due_ms % kChunkSpanMs < 0 ? quotient - 1 : quotient;
}

}  // namespace

void Transposer::add(uint32_t source, PingResults results) {
  sort_bursts(results);
  const auto batch = static_cast<uint32_t>(batches_.size());
  size_t burst = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    while (burst < results.burst.size() && results.burst[burst].index < i) ++burst;
    const bool has = burst < results.burst.size() && results.burst[burst].index == i;
    entries_.push_back({.device = results.device[i],
                        .due_ms = results.due_ms[i],
                        .source = source,
                        .interval_ms = results.interval_ms[i],
                        .batch = batch,
                        .index = static_cast<uint32_t>(i),
                        .burst = has ? static_cast<uint32_t>(burst) : kNoBurst});
  }
  batches_.push_back(std::move(results));
}

ResultView Transposer::view(const Entry& entry) const {
  const PingResults& results = batches_[entry.batch];
  size_t burst = entry.burst == kNoBurst ? results.burst.size() : entry.burst;
  return view_of(results, entry.index, burst);
}

void Transposer::emit(std::span<const Entry> run, uint32_t ordinal, Chunks& out) const {
  ChunkHead head{.device = run.front().device,
                 .source = run.front().source,
                 .start_ms = run.front().due_ms,
                 .step_ms = run.front().interval_ms,
                 .ordinal = ordinal,
                 .samples_begin = out.samples.size(),
                 .extra_begin = out.extra.size()};
  for (const Entry& entry : run) {
    const PingResults& r = batches_[entry.batch];
    head.echoes = std::max(head.echoes, r.echo_begin[entry.index + 1] - r.echo_begin[entry.index]);
  }
  uint32_t slot = 0;
  for (const Entry& entry : run) {
    const auto at = static_cast<uint32_t>((entry.due_ms - head.start_ms) / head.step_ms);
    for (; slot < at; ++slot) {
      out.samples.push_back(kNoResult);
      out.samples.resize(out.samples.size() + head.echoes - 1, kNoEcho);
    }
    append_sample(view(entry), slot++, head.echoes, out.samples, out.extra);
  }
  head.samples_end = out.samples.size();
  head.extra_end = out.extra.size();
  out.results += run.size();
  out.heads.push_back(head);
}

Chunks Transposer::take(int64_t oldest_ms) {
  Chunks out;
  const size_t before = entries_.size();
  std::erase_if(entries_, [&](const Entry& e) { return e.due_ms < oldest_ms; });
  out.discarded = before - entries_.size();
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.device, a.source, a.interval_ms, a.due_ms, a.batch, a.index) <
           std::tie(b.device, b.source, b.interval_ms, b.due_ms, b.batch, b.index);
  });
  // Of several results of one source for one slot the best stays, at the first one's place.
  size_t kept = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    Entry* last = kept > 0 ? &entries_[kept - 1] : nullptr;
    if (last != nullptr && std::tie(last->device, last->source, last->interval_ms, last->due_ms) ==
                               std::tie(e.device, e.source, e.interval_ms, e.due_ms)) {
      if (beats(view(e), view(*last))) *last = e;
      ++out.doubled;
    } else {
      entries_[kept++] = e;
    }
  }
  entries_.resize(kept);
  uint32_t ordinal = 0;
  for (size_t begin = 0, i = 1; i <= entries_.size(); ++i) {
    const Entry& first = entries_[begin];
    if (i < entries_.size()) {
      const Entry& e = entries_[i];
      const int64_t hole_max = static_cast<int64_t>(kHoleSlotsMax) * e.interval_ms;
      if (std::tie(e.device, e.source, e.interval_ms) ==
              std::tie(first.device, first.source, first.interval_ms) &&
          span_of(e.due_ms) == span_of(first.due_ms) &&
          e.due_ms - entries_[i - 1].due_ms <= hole_max) {
        continue;
      }
    }
    emit(std::span<const Entry>(entries_).subspan(begin, i - begin), ordinal, out);
    ordinal = i < entries_.size() && entries_[i].device == first.device ? ordinal + 1 : 0;
    begin = i;
  }
  entries_.clear();
  batches_.clear();
  return out;
}

}  // namespace gema::recorder
