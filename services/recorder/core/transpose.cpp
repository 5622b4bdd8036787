#include "services/recorder/core/transpose.h"

#include <algorithm>
#include <tuple>

#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

int64_t span_of(int64_t due_ms) {
  const int64_t quotient = due_ms / kChunkSpanMs;
  return due_ms % kChunkSpanMs < 0 ? quotient - 1 : quotient;
}

}  // namespace

void Transposer::add(uint32_t source, PingResults results) {
  sort_bursts(results);
  const auto batch = static_cast<uint32_t>(batches_.size());
  for (size_t i = 0; i < results.size(); ++i) {
    entries_.push_back({.device = results.device[i],
                        .due_ms = results.due_ms[i],
                        .source = source,
                        .interval_ms = results.interval_ms[i],
                        .batch = batch,
                        .index = static_cast<uint32_t>(i)});
  }
  for (const Stray& stray : results.strays) strays_.push_back({stray, source});
  batches_.push_back(std::move(results));
}

ResultView Transposer::view(const Entry& entry) const {
  return view_of(batches_[entry.batch], entry.index);
}

ChunkHead Transposer::head(DeviceId device, uint32_t source, int64_t start_ms, Chunks& out) const {
  const bool another = !out.heads.empty() && out.heads.back().device == device;
  return {.device = device,
          .source = source,
          .start_ms = start_ms,
          .ordinal = another ? out.heads.back().ordinal + 1 : 0,
          .samples_begin = out.samples.size(),
          .extra_begin = out.extra.size(),
          .details_begin = out.details.size()};
}

size_t Transposer::strays_before(DeviceId device, uint32_t source, int64_t due_ms) const {
  const auto at =
      std::lower_bound(strays_.begin() + static_cast<ptrdiff_t>(next_stray_), strays_.end(),
                       std::tie(device, source, due_ms), [](const LateAnswer& s, const auto& key) {
                         return std::tie(s.stray.device, s.source, s.stray.due_ms) < key;
                       });
  return static_cast<size_t>(at - strays_.begin());
}

void Transposer::emit(std::span<const Entry> run, Chunks& out) {
  const Entry& first = run.front();
  if (next_stray_ < strays_.size()) {
    emit_strays(strays_before(first.device, first.source, first.due_ms), out);
  }
  ChunkHead chunk = head(first.device, first.source, first.due_ms, out);
  chunk.step_ms = first.interval_ms;
  for (const Entry& entry : run) {
    const PingResults& r = batches_[entry.batch];
    chunk.echoes =
        std::max(chunk.echoes, r.echo_begin[entry.index + 1] - r.echo_begin[entry.index]);
  }
  uint32_t slot = 0;
  for (const Entry& entry : run) {
    const auto at = static_cast<uint32_t>((entry.due_ms - chunk.start_ms) / chunk.step_ms);
    for (; slot < at; ++slot) {
      out.samples.push_back(kNoResult);
      out.samples.resize(out.samples.size() + chunk.echoes - 1, kNoEcho);
    }
    const ResultView result = view(entry);
    details_.add(result, slot);
    append_sample(result, slot++, chunk.echoes, out.samples, out.extra);
  }
  for (; next_stray_ < strays_.size(); ++next_stray_, ++out.strays) {
    const LateAnswer& s = strays_[next_stray_];
    if (s.stray.device != first.device || s.source != first.source) break;
    if (span_of(s.stray.due_ms) != span_of(first.due_ms)) break;
    details_.add_stray(s.stray, chunk.start_ms);
  }
  details_.take(out.details);
  chunk.samples_end = out.samples.size();
  chunk.extra_end = out.extra.size();
  chunk.details_end = out.details.size();
  out.results += run.size();
  out.heads.push_back(chunk);
}

void Transposer::emit_strays(size_t end, Chunks& out) {
  while (next_stray_ < end) {
    const LateAnswer& first = strays_[next_stray_];
    ChunkHead chunk = head(first.stray.device, first.source, first.stray.due_ms, out);
    chunk.step_ms = 1;
    out.samples.push_back(kNoResult);
    for (; next_stray_ < end; ++next_stray_, ++out.strays) {
      const LateAnswer& s = strays_[next_stray_];
      if (s.stray.device != first.stray.device || s.source != first.source ||
          span_of(s.stray.due_ms) != span_of(first.stray.due_ms)) {
        break;
      }
      details_.add_stray(s.stray, chunk.start_ms);
    }
    details_.take(out.details);
    chunk.samples_end = out.samples.size();
    chunk.extra_end = out.extra.size();
    chunk.details_end = out.details.size();
    out.heads.push_back(chunk);
  }
}

void Transposer::drop_doubles(Chunks& out) {
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
}

Chunks Transposer::take(int64_t oldest_ms) {
  Chunks out;
  const size_t before = entries_.size();
  std::erase_if(entries_, [&](const Entry& e) { return e.due_ms < oldest_ms; });
  std::erase_if(strays_, [&](const LateAnswer& s) { return s.stray.due_ms < oldest_ms; });
  out.discarded = before - entries_.size();
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.device, a.source, a.interval_ms, a.due_ms, a.batch, a.index) <
           std::tie(b.device, b.source, b.interval_ms, b.due_ms, b.batch, b.index);
  });
  std::sort(strays_.begin(), strays_.end(), [](const LateAnswer& a, const LateAnswer& b) {
    return std::tie(a.stray.device, a.source, a.stray.due_ms, a.stray.echo, a.stray.kind,
                    a.stray.rtt_us) < std::tie(b.stray.device, b.source, b.stray.due_ms,
                                               b.stray.echo, b.stray.kind, b.stray.rtt_us);
  });
  drop_doubles(out);
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
    emit(std::span<const Entry>(entries_).subspan(begin, i - begin), out);
    begin = i;
  }
  emit_strays(strays_.size(), out);
  entries_.clear();
  batches_.clear();
  strays_.clear();
  next_stray_ = 0;
  return out;
}

}  // namespace gema::recorder
