#include "common/domain/hour_merger.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "common/base/assert.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/rollup.h"

namespace gema {
namespace {

constexpr size_t kHours = 24;

// Into how many rows a packed hour of so many bytes is cut, so that whole rows fill PostgreSQL's
// pages well: the cheapest in pages and index entries.
size_t pieces_of(size_t bytes) {
  constexpr double kPage = 8168;  // of 8192, what rows and their pointers may take
  constexpr double kRow = 83;     // header, pointer, other columns; what the packing adds
  constexpr double kIndexEntry = 45;
  constexpr double kSpread = 1.03;     // pieces differ a little
  constexpr double kInlineMax = 2020;  // larger ones go out of line
  size_t best = 0;
  double least = 0;
  for (size_t pieces = 1; pieces <= 2 + bytes / 400; ++pieces) {
    const auto n = static_cast<double>(pieces);
    const double row = (static_cast<double>(bytes) / n + kRow) * kSpread;
    if (row > kInlineMax) continue;
    const double cost = n * (kPage / std::floor(kPage / row) + kIndexEntry);
    if (best != 0 && cost >= least) continue;
    best = pieces;
    least = cost;
  }
  return best;
}

auto key_of(const Stray& s) {
  return std::tie(s.due_ms, s.echo, s.kind, s.rtt_us);
}

}  // namespace

void HourMerger::begin(DeviceId device, int64_t hour_ms) {
  device_ = device;
  hour_ms_ = hour_ms;
  groups_.clear();
}

bool HourMerger::add(const HourSource& source, const ChunkView& chunk) {
  GEMA_ASSERT(chunk.device == device_);
  const uint32_t phase_ms =
      chunk.step_ms == 0 ? 0 : static_cast<uint32_t>(chunk.start_ms % int64_t{chunk.step_ms});
  Group& group = groups_[{source, chunk.step_ms, phase_ms}];
  const ChunkMark mark = mark_of(group.results, group.texts);
  const int64_t end_ms = hour_ms_ + kChunkSpanMs;
  bool right = chunk.start_ms >= hour_ms_ && chunk.start_ms < end_ms &&
               chunk.samples.size() <= kPackedNumbersMax &&
               chunk.extra.size() <= kPackedNumbersMax &&
               append_chunk(chunk, group.results, &group.texts);
  // Its slots rise, so the last one tells.
  if (right && group.results.size() > mark.results) right = group.results.due_ms.back() < end_ms;
  for (size_t i = mark.strays; right && i < group.results.strays.size(); ++i) {
    const int64_t due_ms = group.results.strays[i].due_ms;
    right = due_ms >= hour_ms_ && due_ms < end_ms;
  }
  if (!right) cut_back(mark, group.results, group.texts);
  return right;
}

ResultView HourMerger::view(const Group& group, size_t i) {
  ResultView view = view_of(group.results, i);
  if (group.texts.empty()) return view;
  const auto text =
      std::lower_bound(group.texts.begin(), group.texts.end(), i,
                       [](const ResultText& t, size_t index) { return t.index < index; });
  if (text != group.texts.end() && text->index == i) view.text = text->text;
  return view;
}

void HourMerger::sort(Group& group, CompactedHour& out) {
  const std::vector<int64_t>& due = group.results.due_ms;
  std::vector<uint32_t>& order = group.order;
  order.resize(due.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  auto before = [&](uint32_t a, uint32_t b) { return due[a] < due[b]; };
  if (!std::is_sorted(order.begin(), order.end(), before)) {
    std::stable_sort(order.begin(), order.end(), before);
  }
  size_t kept = 0;
  for (const uint32_t i : order) {
    if (kept > 0 && due[order[kept - 1]] == due[i]) {
      if (beats(view(group, i), view(group, order[kept - 1]))) order[kept - 1] = i;
      ++out.doubled;
    } else {
      order[kept++] = i;
    }
  }
  order.resize(kept);
}

void HourMerger::emit_row(const Key& key, const Group& group, size_t begin, size_t end,
                          uint32_t echoes, std::vector<Stray>& strays, CompactedHour& out) {
  PackedRow row{.source = key.source,
                .start_ms = group.results.due_ms[group.order[begin]],
                .step_ms = key.step_ms,
                .results = static_cast<uint32_t>(end - begin)};
  samples_.clear();
  extra_.clear();
  for (size_t n = begin; n < end; ++n) {
    const uint32_t i = group.order[n];
    const auto slot = static_cast<uint32_t>((group.results.due_ms[i] - row.start_ms) / key.step_ms);
    while (samples_.size() < size_t{slot} * echoes) {
      samples_.push_back(samples_.size() % echoes == 0 ? kNoResult : kNoEcho);
    }
    const ResultView result = view(group, i);
    details_.add(result, slot);
    append_sample(result, slot, echoes, samples_, extra_);
  }
  // None of a slot before the row's start: such a one gets a row of its own.
  const auto first =
      std::lower_bound(strays.begin(), strays.end(), row.start_ms,
                       [](const Stray& s, int64_t start_ms) { return s.due_ms < start_ms; });
  for (auto s = first; s != strays.end(); ++s) details_.add_stray(*s, row.start_ms);
  strays.erase(first, strays.end());
  details_.take(row.details);
  row.packed = pack_chunk(echoes, samples_, extra_);
  out.results += row.results;
  out.rows.push_back(std::move(row));
}

void HourMerger::emit_rows(const Key& key, const Group& group, size_t begin, size_t end,
                           uint32_t echoes, std::vector<Stray>& strays, CompactedHour& out) {
  const std::vector<Stray> all = strays;
  emit_row(key, group, begin, end, echoes, strays, out);
  const size_t bytes = out.rows.back().packed.size();
  if (bytes <= kRowBytesMax) return;
  const size_t pieces = std::min(end - begin, pieces_of(bytes));
  if (pieces <= 1) return;
  out.results -= out.rows.back().results;
  out.rows.pop_back();
  strays = all;
  for (size_t i = 0; i < pieces; ++i) {
    const size_t from = begin + (end - begin) * i / pieces;
    const size_t to = begin + (end - begin) * (i + 1) / pieces;
    emit_row(key, group, from, to, echoes, strays, out);
  }
}

void HourMerger::emit(const Key& key, const Group& group, std::vector<Stray>& strays,
                      CompactedHour& out) {
  const PingResults& r = group.results;
  size_t begin = 0;
  uint32_t echoes = 1;
  size_t extra = 0;  // numbers in `extra`, at most
  // None holds more numbers than it may.
  for (size_t n = 0; n < group.order.size(); ++n) {
    const uint32_t i = group.order[n];
    const uint32_t wanted = r.echo_begin[i + 1] - r.echo_begin[i];
    const uint32_t widest = std::max(echoes, wanted);
    const auto slots =
        static_cast<uint64_t>((r.due_ms[i] - r.due_ms[group.order[begin]]) / key.step_ms + 1);
    const size_t entry = 4 + view(group, i).burst_rtt_us.size();
    if (n > begin && (slots * widest > kPackedNumbersMax || extra + entry > kPackedNumbersMax)) {
      emit_rows(key, group, begin, n, echoes, strays, out);
      begin = n;
      echoes = std::max(1U, wanted);
      extra = entry;
    } else {
      echoes = widest;
      extra += entry;
    }
  }
  if (begin < group.order.size()) {
    emit_rows(key, group, begin, group.order.size(), echoes, strays, out);
  }
}

void HourMerger::emit_strays(const HourSource& source, const std::vector<Stray>& strays,
                             CompactedHour& out) {
  if (strays.empty()) return;
  PackedRow row{.source = source, .start_ms = strays.front().due_ms, .step_ms = 1};
  for (const Stray& stray : strays) details_.add_stray(stray, row.start_ms);
  details_.take(row.details);
  row.packed = pack_chunk(1, std::vector<int32_t>{kNoResult}, {});
  out.rows.push_back(std::move(row));
}

void HourMerger::roll_up(int32_t location, CompactedHour& out) {
  struct Candidate {
    int64_t due_ms;
    const Key* key;
    const Group* group;
    uint32_t index;
  };
  std::vector<const std::pair<const Key, Group>*> groups;
  for (const auto& entry : groups_) {
    if (entry.first.source.location == location && !entry.second.order.empty()) {
      groups.push_back(&entry);
    }
  }
  if (groups.empty()) return;
  uint32_t step_ms = groups.front()->first.step_ms;
  for (const auto* entry : groups) step_ms = std::min(step_ms, entry->first.step_ms);
  const size_t periods = rollups_per_hour(step_ms);
  RollupBuilder builder(hour_ms_, kChunkSpanMs / static_cast<int64_t>(periods), periods);
  if (groups.size() == 1) {
    const Group& group = groups.front()->second;
    for (const uint32_t i : group.order) {
      builder.add(group.results.due_ms[i], group.results.interval_ms[i], view(group, i));
    }
  } else {
    std::vector<Candidate> candidates;
    for (const auto* entry : groups) {
      for (const uint32_t i : entry->second.order) {
        candidates.push_back({entry->second.results.due_ms[i], &entry->first, &entry->second, i});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const auto& a, const auto& b) { return a.due_ms < b.due_ms; });
    std::vector<Claim> claims;
    for (size_t i = 0; i < candidates.size();) {
      claims.clear();
      size_t end = i;
      for (; end < candidates.size() && candidates[end].due_ms == candidates[i].due_ms; ++end) {
        const Candidate& c = candidates[end];
        const auto name = names_.find(c.key->source.producer);
        claims.push_back({name == names_.end() ? std::string_view() : name->second,
                          static_cast<uint32_t>(c.key->source.clock_steps),
                          view(*c.group, c.index)});
      }
      const size_t best = claims.size() == 1 ? 0 : choose(claims);
      builder.add(candidates[i].due_ms, candidates[i + best].key->step_ms, claims[best].result);
      i = end;
    }
  }
  const std::vector<Rollup> minutes = builder.take();
  Rollup hour;
  for (const Rollup& minute : minutes) hour.merge(minute);
  out.minutes.push_back({location, pack_rollups(minutes), pack_rollups({&hour, 1})});
}

CompactedHour HourMerger::take() {
  CompactedHour out;
  std::map<HourSource, std::vector<Stray>> strays;
  for (auto& [key, group] : groups_) {
    sort(group, out);
    auto& of_source = strays[key.source];
    of_source.insert(of_source.end(), group.results.strays.begin(), group.results.strays.end());
  }
  for (auto& [source, of_source] : strays) {
    std::sort(of_source.begin(), of_source.end(),
              [](const Stray& a, const Stray& b) { return key_of(a) < key_of(b); });
    of_source.erase(std::unique(of_source.begin(), of_source.end()), of_source.end());
  }
  for (const auto& [key, group] : groups_) emit(key, group, strays[key.source], out);
  for (const auto& [source, of_source] : strays) emit_strays(source, of_source, out);
  int32_t last = 0;
  bool any = false;
  for (const auto& entry : groups_) {
    const int32_t location = entry.first.source.location;  // rising
    if (!any || location != last) roll_up(location, out);
    any = true;
    last = location;
  }
  groups_.clear();
  return out;
}

std::string roll_up_day(const std::vector<HourOfDay>& hours, std::vector<size_t>& broken) {
  std::vector<Rollup> day(kHours);
  broken.clear();
  for (size_t i = 0; i < hours.size(); ++i) {
    const HourOfDay& hour = hours[i];
    GEMA_ASSERT(hour.hour < kHours);
    const auto minutes = unpack_rollups(hour.minutes);
    if (!minutes) {
      broken.push_back(i);
      continue;
    }
    for (const Rollup& minute : *minutes) day[hour.hour].merge(minute);
  }
  return pack_rollups(day);
}

}  // namespace gema
