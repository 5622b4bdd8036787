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
  if (add_piece(chunk, hour_ms_ + kChunkSpanMs, group)) return true;
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

// --- pieces -------------------------------------------------------------------------------------

namespace {

bool is_echo(int32_t code) {
  return code >= 0 || (code >= -kEchoOutcomeMax && code != kNoEcho);
}

// What append_chunk() would take, and append_sample() would give back, number for number.
bool is_plain(const ChunkView& chunk) {
  const std::span<const int32_t> samples = chunk.samples;
  bool right = !samples.empty() && samples.front() != kNoResult && samples.back() != kNoResult;
  for (const int32_t v : samples) {
    right &= is_echo(v) || v == kNoResult ||
             (v <= kNotMeasuredBase && v >= kNotMeasuredBase - kReasonMax);
  }
  int64_t before = -1;
  for (size_t at = 0; right && at < chunk.extra.size();) {
    const auto entry = chunk.extra.subspan(at);
    if (entry.size() < 4) return false;
    const int32_t index = entry[0], verdict = entry[1] >> 8, reason = entry[1] & 255;
    const int32_t answered = entry[3];
    right = index > before && index < static_cast<int64_t>(samples.size()) &&
            is_echo(samples[static_cast<size_t>(index)]) && verdict >= 0 &&
            verdict <= static_cast<int32_t>(Verdict::kNotMeasured) && reason <= kReasonMax &&
            entry[2] > 0 && answered >= 0 && static_cast<size_t>(answered) <= entry.size() - 4;
    if (!right) return false;
    for (int32_t i = 0; i < answered; ++i) right &= entry[static_cast<size_t>(4 + i)] >= 0;
    before = index;
    at += 4 + static_cast<size_t>(answered);
  }
  return right;
}

}  // namespace

bool HourMerger::add_piece(const ChunkView& chunk, int64_t end_ms, Group& group) {
  const int64_t begin_ms = end_ms - kChunkSpanMs;
  if (chunk.echoes != 1 || !chunk.details.empty() || chunk.step_ms == 0 ||
      chunk.start_ms < begin_ms || chunk.samples.size() > kPackedNumbersMax ||
      chunk.extra.size() > kPackedNumbersMax || !is_plain(chunk)) {
    return false;
  }
  const auto slots = static_cast<int64_t>(chunk.samples.size());
  if (chunk.start_ms + (slots - 1) * chunk.step_ms >= end_ms) return false;
  Piece piece{.start_ms = chunk.start_ms,
              .samples_begin = group.samples.size(),
              .extra_begin = group.extra.size()};
  group.samples.insert(group.samples.end(), chunk.samples.begin(), chunk.samples.end());
  group.extra.insert(group.extra.end(), chunk.extra.begin(), chunk.extra.end());
  piece.samples_end = group.samples.size();
  piece.extra_end = group.extra.size();
  group.pieces.push_back(piece);
  return true;
}

bool HourMerger::line_up() {
  const Key* before = nullptr;
  for (auto& [key, group] : groups_) {
    if (!group.results.empty() || !group.results.strays.empty() || group.pieces.empty()) {
      return false;
    }
    if (before != nullptr && before->source.location == key.source.location) return false;
    before = &key;
    auto earlier = [](const Piece& a, const Piece& b) { return a.start_ms < b.start_ms; };
    if (!std::is_sorted(group.pieces.begin(), group.pieces.end(), earlier)) {
      std::stable_sort(group.pieces.begin(), group.pieces.end(), earlier);
    }
    int64_t next_ms = hour_ms_;
    for (const Piece& piece : group.pieces) {
      if (piece.start_ms < next_ms) return false;
      next_ms = piece.start_ms +
                static_cast<int64_t>(piece.samples_end - piece.samples_begin) * key.step_ms;
    }
    const auto slots =
        static_cast<uint64_t>((next_ms - group.pieces.front().start_ms) / key.step_ms);
    if (4 * slots + group.extra.size() > kPackedNumbersMax) return false;
  }
  return true;
}

void HourMerger::take_apart() {
  for (auto& [key, group] : groups_) {
    const std::span<const int32_t> samples(group.samples), extra(group.extra);
    for (const Piece& piece : group.pieces) {
      const bool right = append_chunk(
          {.device = device_,
           .start_ms = piece.start_ms,
           .step_ms = key.step_ms,
           .samples = samples.subspan(piece.samples_begin, piece.samples_end - piece.samples_begin),
           .extra = extra.subspan(piece.extra_begin, piece.extra_end - piece.extra_begin)},
          group.results, &group.texts);
      GEMA_ASSERT(right);
    }
    group.pieces.clear();
  }
}

void HourMerger::emit_line_row(const Key& key, size_t begin, size_t end, uint32_t results,
                               CompactedHour& out) {
  const auto first = static_cast<int32_t>(begin), last = static_cast<int32_t>(end);
  extra_.clear();
  for (size_t at = 0; at < line_extra_.size();) {
    const size_t size = 4 + static_cast<size_t>(line_extra_[at + 3]);
    if (line_extra_[at] >= first && line_extra_[at] < last) {
      const auto from = line_extra_.begin() + static_cast<std::ptrdiff_t>(at);
      extra_.push_back(*from - first);
      extra_.insert(extra_.end(), from + 1, from + static_cast<std::ptrdiff_t>(size));
    }
    at += size;
  }
  out.rows.push_back({.source = key.source,
                      .start_ms = line_start_ms_ + static_cast<int64_t>(begin) * key.step_ms,
                      .step_ms = key.step_ms,
                      .results = results,
                      .packed = pack_chunk(
                          1, std::span<const int32_t>(line_).subspan(begin, end - begin), extra_)});
}

void HourMerger::emit_line(const Key& key, const Group& group, CompactedHour& out) {
  line_start_ms_ = group.pieces.front().start_ms;
  line_.clear();
  line_extra_.clear();
  for (const Piece& piece : group.pieces) {
    const auto offset = static_cast<size_t>((piece.start_ms - line_start_ms_) / key.step_ms);
    line_.resize(offset, kNoResult);
    auto from = [](const std::vector<int32_t>& all, size_t place) {
      return all.begin() + static_cast<std::ptrdiff_t>(place);
    };
    line_.insert(line_.end(), from(group.samples, piece.samples_begin),
                 from(group.samples, piece.samples_end));
    for (size_t at = piece.extra_begin; at < piece.extra_end;) {
      const size_t size = 4 + static_cast<size_t>(group.extra[at + 3]);
      line_extra_.push_back(group.extra[at] + static_cast<int32_t>(offset));
      line_extra_.insert(line_extra_.end(), from(group.extra, at + 1),
                         from(group.extra, at + size));
      at += size;
    }
  }
  const auto holes =
      static_cast<size_t>(std::count(line_.begin(), line_.end(), static_cast<int32_t>(kNoResult)));
  const size_t results = line_.size() - holes;
  out.results += results;
  emit_line_row(key, 0, line_.size(), static_cast<uint32_t>(results), out);
  const size_t bytes = out.rows.back().packed.size();
  const size_t pieces = bytes <= kRowBytesMax ? 1 : std::min(results, pieces_of(bytes));
  if (pieces <= 1) return;
  out.rows.pop_back();
  std::vector<size_t> slots;  // of the results, when they are not all there
  for (size_t i = 0; holes > 0 && i < line_.size(); ++i) {
    if (line_[i] != kNoResult) slots.push_back(i);
  }
  auto slot_of = [&](size_t result) { return holes > 0 ? slots[result] : result; };
  for (size_t i = 0; i < pieces; ++i) {
    const size_t from = results * i / pieces;
    const size_t to = results * (i + 1) / pieces;
    emit_line_row(key, slot_of(from), slot_of(to - 1) + 1, static_cast<uint32_t>(to - from), out);
  }
}

// Of the line that emit_line() made.
void HourMerger::roll_up_line(const Key& key, CompactedHour& out) {
  const size_t periods = rollups_per_hour(key.step_ms);
  RollupBuilder builder(hour_ms_, kChunkSpanMs / static_cast<int64_t>(periods), periods);
  PingResults result;
  size_t next_extra = 0;
  int64_t due_ms = line_start_ms_;
  for (size_t i = 0; i < line_.size(); ++i, due_ms += key.step_ms) {
    const int32_t v = line_[i];
    const bool more =
        next_extra < line_extra_.size() && line_extra_[next_extra] == static_cast<int32_t>(i);
    if (v >= 0 && !more) {
      builder.add_reply(due_ms, key.step_ms, static_cast<uint32_t>(v));
      continue;
    }
    if (v == kNoResult) continue;
    // The rare ones as what they are, one by one.
    extra_.clear();
    if (more) {
      const size_t size = 4 + static_cast<size_t>(line_extra_[next_extra + 3]);
      const auto from = line_extra_.begin() + static_cast<std::ptrdiff_t>(next_extra);
      extra_.push_back(0);
      extra_.insert(extra_.end(), from + 1, from + static_cast<std::ptrdiff_t>(size));
      next_extra += size;
    }
    result.clear();
    const bool right = append_chunk({.device = device_,
                                     .start_ms = due_ms,
                                     .step_ms = key.step_ms,
                                     .samples = {&v, 1},
                                     .extra = extra_},
                                    result);
    GEMA_ASSERT(right);
    builder.add(due_ms, key.step_ms, view_of(result, 0));
  }
  add_rollups(key.source.location, builder, out);
}

void HourMerger::add_rollups(int32_t location, RollupBuilder& builder, CompactedHour& out) {
  const std::vector<Rollup> minutes = builder.take();
  Rollup hour;
  for (const Rollup& minute : minutes) hour.merge(minute);
  out.minutes.push_back({location, pack_rollups(minutes), pack_rollups({&hour, 1})});
}

// --- results ------------------------------------------------------------------------------------

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
  add_rollups(location, builder, out);
}

CompactedHour HourMerger::take() {
  CompactedHour out;
  if (line_up()) {
    for (const auto& [key, group] : groups_) {
      emit_line(key, group, out);
      roll_up_line(key, out);
    }
    groups_.clear();
    return out;
  }
  take_apart();
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
