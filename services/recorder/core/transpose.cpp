#include "services/recorder/core/transpose.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

#include "common/domain/packed_chunk.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

int64_t span_of(int64_t due_ms) {
  const int64_t quotient = due_ms / kChunkSpanMs;
  return due_ms % kChunkSpanMs < 0 ? quotient - 1 : quotient;
}

// Codes of `samples` are far above (common/domain/chunk.h).
constexpr int32_t kRare = -1'000'000;

// The number that says all of the result, where there is one. Requires: no burst, note or proof.
int32_t plain_code(const PingResults& r, size_t i) {
  const uint32_t begin = r.echo_begin[i];
  const uint32_t echoes = r.echo_begin[i + 1] - begin;
  if (echoes == 1) {
    const EchoOutcome outcome = r.echo_outcome[begin];
    if (outcome == EchoOutcome::kReply) {
      const uint32_t rtt_us = r.echo_rtt_us[begin];
      const bool said = r.verdict[i] == Verdict::kAnswered && r.reason[i] == Reason::kNone;
      if (said && rtt_us <= INT32_MAX) return static_cast<int32_t>(rtt_us);
    } else if (outcome == EchoOutcome::kTimeout) {
      const bool said = r.verdict[i] == Verdict::kFailed && r.reason[i] == Reason::kTimeout;
      if (said) return -static_cast<int32_t>(outcome);
    }
  } else if (echoes == 0 && r.verdict[i] == Verdict::kNotMeasured &&
             (r.reason[i] != Reason::kPaused || r.note.empty())) {
    return kNotMeasuredBase - static_cast<int32_t>(r.reason[i]);
  }
  return kRare;
}

uint64_t hash_of(DeviceId device, uint32_t source, uint32_t interval_ms) {
  const uint64_t all = device + 0x9e3779b97f4a7c15U * (uint64_t{source} << 32 | interval_ms);
  const uint64_t mixed = (all ^ all >> 32) * 0xd6e8feb86659fd93U;
  return mixed ^ mixed >> 29;
}

}  // namespace

void Transposer::grow_table() {
  table_.assign(std::max<size_t>(1024, table_.size() * 2), 0);
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    size_t at = hash_of(group.device, group.source, group.interval_ms);
    while (table_[at & (table_.size() - 1)] != 0) ++at;
    table_[at & (table_.size() - 1)] = g + 1;
  }
}

uint32_t Transposer::group_of(DeviceId device, uint32_t source, uint32_t interval_ms) {
  if (groups_.size() * 2 >= table_.size()) grow_table();
  const size_t mask = table_.size() - 1;
  for (size_t at = hash_of(device, source, interval_ms);; ++at) {
    uint32_t& place = table_[at & mask];
    if (place == 0) {
      groups_.push_back({device, source, interval_ms, 0, true, INT64_MIN});
      place = static_cast<uint32_t>(groups_.size());
      return place - 1;
    }
    const Group& group = groups_[place - 1];
    if (group.device == device && group.source == source && group.interval_ms == interval_ms) {
      return place - 1;
    }
  }
}

int32_t Transposer::keep_rare(const PingResults& results, size_t i) {
  append_result(results, i, rare_, rare_texts_);
  return kRare - static_cast<int32_t>(rare_.size() - 1);
}

ResultView Transposer::rare(int32_t code) const {
  return view_of(rare_, rare_texts_, static_cast<size_t>(kRare - code));
}

void Transposer::add(uint32_t source, const PingResults& results) {
  if (!std::is_sorted(results.burst.begin(), results.burst.end(),
                      [](const auto& a, const auto& b) { return a.index < b.index; })) {
    PingResults sorted = results;
    sort_bursts(sorted);
    return add(source, sorted);
  }
  has_more_.assign(results.size(), 0);
  for (const BurstResult& burst : results.burst) has_more_[burst.index] = 1;
  for (const EchoNote& note : results.notes) has_more_[note.index] = 1;
  for (const ProofResult& proof : results.proofs) has_more_[proof.index] = 1;
  for (size_t i = 0; i < results.size(); ++i) {
    const uint32_t place = group_of(results.device[i], source, results.interval_ms[i]);
    Group& group = groups_[place];
    const int64_t due_ms = results.due_ms[i];
    group.rising = group.rising && group.last_ms < due_ms;
    group.last_ms = due_ms;
    int32_t code = has_more_[i] != 0 ? kRare : plain_code(results, i);
    if (code == kRare) code = keep_rare(results, i);
    entries_.push_back({due_ms, place, code});
  }
  for (const Stray& stray : results.strays) strays_.push_back({stray, source});
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

void Transposer::emit(const Group& group, std::span<const Entry> run, Chunks& out) {
  const int64_t start_ms = run.front().due_ms;
  if (next_stray_ < strays_.size()) {
    emit_strays(strays_before(group.device, group.source, start_ms), out);
  }
  ChunkHead chunk = head(group.device, group.source, start_ms, out);
  chunk.step_ms = group.interval_ms;
  chunk.results = static_cast<uint32_t>(run.size());
  for (const Entry& entry : run) {
    if (entry.code > kRare) continue;
    chunk.echoes = std::max(chunk.echoes, static_cast<uint32_t>(rare(entry.code).outcomes.size()));
  }
  int64_t next_ms = start_ms;
  uint32_t slot = 0;
  for (const Entry& entry : run) {
    for (; next_ms < entry.due_ms; next_ms += chunk.step_ms, ++slot) {
      out.samples.push_back(kNoResult);
      out.samples.resize(out.samples.size() + chunk.echoes - 1, kNoEcho);
    }
    if (entry.code > kRare) {
      out.samples.push_back(entry.code);
      if (chunk.echoes > 1) out.samples.resize(out.samples.size() + chunk.echoes - 1, kNoEcho);
    } else {
      const ResultView result = rare(entry.code);
      details_.add(result, slot);
      append_sample(result, slot, chunk.echoes, out.samples, out.extra);
    }
    next_ms += chunk.step_ms;
    ++slot;
  }
  for (; next_stray_ < strays_.size(); ++next_stray_, ++out.strays) {
    const LateAnswer& s = strays_[next_stray_];
    if (s.stray.device != group.device || s.source != group.source) break;
    if (span_of(s.stray.due_ms) != span_of(start_ms)) break;
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

bool Transposer::beats(const Entry& a, const Entry& b) const {
  // A plain code as the result that it says.
  struct Held {
    EchoOutcome outcome{};
    uint32_t rtt_us = 0;
  };
  auto view = [this](const Entry& entry, Held& held) -> ResultView {
    if (entry.code <= kRare) return rare(entry.code);
    if (entry.code <= kNotMeasuredBase) {
      return {.reason = static_cast<Reason>(kNotMeasuredBase - entry.code)};
    }
    const bool replied = entry.code >= 0;
    held = {replied ? EchoOutcome::kReply : static_cast<EchoOutcome>(-entry.code),
            replied ? static_cast<uint32_t>(entry.code) : 0};
    return {.verdict = replied ? Verdict::kAnswered : Verdict::kFailed,
            .reason = replied ? Reason::kNone : Reason::kTimeout,
            .outcomes = {&held.outcome, 1},
            .rtt_us = {&held.rtt_us, 1}};
  };
  Held held_a, held_b;
  const ResultView view_a = view(a, held_a);
  return gema::beats(view_a, view(b, held_b));
}

void Transposer::arrange(const std::vector<uint32_t>& order, int64_t oldest_ms, Chunks& out) {
  for (Group& group : groups_) group.entries = 0;
  size_t kept = 0;
  for (const Entry& entry : entries_) {
    if (entry.due_ms < oldest_ms) {
      ++out.discarded;
      continue;
    }
    ++groups_[entry.group].entries;
    ++kept;
  }
  arranged_.resize(kept);
  std::vector<uint32_t> next(groups_.size());
  uint32_t begin = 0;
  for (const uint32_t g : order) {
    next[g] = begin;
    begin += groups_[g].entries;
  }
  for (const Entry& entry : entries_) {
    if (entry.due_ms >= oldest_ms) arranged_[next[entry.group]++] = entry;
  }
}

size_t Transposer::settle(std::span<Entry> entries, bool rising, Chunks& out) {
  if (rising) return entries.size();
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.due_ms < b.due_ms; });
  size_t kept = 0;
  for (const Entry& entry : entries) {
    if (kept > 0 && entries[kept - 1].due_ms == entry.due_ms) {
      if (beats(entry, entries[kept - 1])) entries[kept - 1] = entry;
      ++out.doubled;
    } else {
      entries[kept++] = entry;
    }
  }
  return kept;
}

void Transposer::emit_group(const Group& group, std::span<const Entry> entries, Chunks& out) {
  const int64_t hole_max = static_cast<int64_t>(kHoleSlotsMax) * group.interval_ms;
  size_t begin = 0;
  uint64_t echoes = 1;  // of the run's widest check
  uint64_t extra = 0;   // numbers in `extra`, at most
  for (size_t i = 0; i < entries.size(); ++i) {
    uint64_t wanted = 1, more = 0;
    if (entries[i].code <= kRare) {
      const ResultView result = rare(entries[i].code);
      wanted = std::max<uint64_t>(1, result.outcomes.size());
      more = 4 + result.burst_rtt_us.size();
    }
    const int64_t due_ms = entries[i].due_ms;
    const auto slots =
        static_cast<uint64_t>((due_ms - entries[begin].due_ms) / group.interval_ms + 1);
    if (i > begin && (due_ms - entries[i - 1].due_ms > hole_max ||
                      span_of(due_ms) != span_of(entries[begin].due_ms) ||
                      slots * std::max(echoes, wanted) > kPackedNumbersMax ||
                      extra + more > kPackedNumbersMax)) {
      emit(group, entries.subspan(begin, i - begin), out);
      begin = i;
      echoes = wanted;
      extra = more;
    } else {
      echoes = std::max(echoes, wanted);
      extra += more;
    }
  }
  if (begin < entries.size()) emit(group, entries.subspan(begin), out);
}

Chunks Transposer::take(int64_t oldest_ms) {
  Chunks out;
  std::erase_if(strays_, [&](const LateAnswer& s) { return s.stray.due_ms < oldest_ms; });
  std::sort(strays_.begin(), strays_.end(), [](const LateAnswer& a, const LateAnswer& b) {
    return std::tie(a.stray.device, a.source, a.stray.due_ms, a.stray.echo, a.stray.kind,
                    a.stray.rtt_us) < std::tie(b.stray.device, b.source, b.stray.due_ms,
                                               b.stray.echo, b.stray.kind, b.stray.rtt_us);
  });
  std::vector<uint32_t> order(groups_.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t x, uint32_t y) {
    const Group& a = groups_[x];
    const Group& b = groups_[y];
    return std::tie(a.device, a.source, a.interval_ms) <
           std::tie(b.device, b.source, b.interval_ms);
  });
  arrange(order, oldest_ms, out);
  out.samples.reserve(arranged_.size());
  size_t begin = 0;
  for (const uint32_t g : order) {
    const Group& group = groups_[g];
    const auto entries = std::span<Entry>(arranged_).subspan(begin, group.entries);
    begin += group.entries;
    emit_group(group, entries.first(settle(entries, group.rising, out)), out);
  }
  emit_strays(strays_.size(), out);
  groups_.clear();
  table_.clear();
  entries_.clear();
  arranged_.clear();
  rare_.clear();
  rare_texts_.clear();
  strays_.clear();
  next_stray_ = 0;
  return out;
}

}  // namespace gema::recorder
