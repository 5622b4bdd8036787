#include "common/stream/core/position_set.h"

#include <algorithm>
#include <charconv>

#include "common/base/crc32c.h"
#include "common/stream/core/bytes.h"

namespace gema::stream {
namespace {

constexpr uint32_t kMagic = 0x31504d47;  // "GMP1"

bool valid(const Position& p) {
  if (p.cumulative > p.highest) return false;
  uint64_t previous = p.cumulative;
  for (const SeqRange& range : p.missing) {
    if (range.first <= previous || range.last < range.first || range.last >= p.highest) {
      return false;
    }
    previous = range.last;
  }
  return true;
}

Error bad(const char* what) {
  return Error{Errc::kBadInput, std::string("stream positions: ") + what};
}

}  // namespace

bool Position::includes(uint64_t seq) const {
  if (seq == 0 || seq > highest) return false;
  if (seq <= cumulative) return true;
  auto it = std::lower_bound(missing.begin(), missing.end(), seq,
                             [](const SeqRange& r, uint64_t s) { return r.last < s; });
  return it == missing.end() || seq < it->first;
}

std::string format_ranges(const std::vector<SeqRange>& ranges) {
  std::string out;
  for (const SeqRange& range : ranges) {
    if (!out.empty()) out += ',';
    out += std::to_string(range.first) + '-' + std::to_string(range.last);
  }
  return out;
}

Result<std::vector<SeqRange>> parse_ranges(std::string_view text) {
  std::vector<SeqRange> ranges;
  const char* p = text.data();
  const char* end = p + text.size();
  uint64_t previous = 0;
  while (p != end) {
    SeqRange range;
    auto first = std::from_chars(p, end, range.first);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return bad("no range");
    auto last = std::from_chars(first.ptr + 1, end, range.last);
    if (last.ec != std::errc()) return bad("no range");
    if (range.first <= previous || range.last < range.first) return bad("ranges out of order");
    previous = range.last;
    ranges.push_back(range);
    p = last.ptr;
    if (p == end) break;
    if (*p != ',' || p + 1 == end) return bad("no comma between ranges");
    ++p;
  }
  return ranges;
}

const Position* PositionSet::find(const PositionKey& key) const {
  auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : &it->second;
}

void PositionSet::set(PositionKey key, Position position) {
  GEMA_ASSERT(valid(position));
  entries_[std::move(key)] = std::move(position);
}

bool PositionSet::covers(const RecordKey& record) const {
  const Position* position = find({record.producer, record.epoch, record.partition});
  return position != nullptr && position->includes(record.seq);
}

PositionSet::Changes PositionSet::changes_since(const PositionSet& before) const {
  Changes changes;
  for (const auto& [key, position] : entries_) {
    const Position* old = before.find(key);
    if (old == nullptr || !(*old == position)) changes.upserts.emplace_back(key, position);
  }
  for (const auto& [key, position] : before.entries_) {
    if (find(key) == nullptr) changes.removals.push_back(key);
  }
  return changes;
}

std::string PositionSet::serialise() const {
  std::string out;
  put(out, kMagic);
  put(out, static_cast<uint32_t>(entries_.size()));
  for (const auto& [key, position] : entries_) {
    put(out, static_cast<uint32_t>(key.producer.size()));
    out += key.producer;
    put(out, key.epoch);
    put(out, key.partition);
    put(out, position.cumulative);
    put(out, position.highest);
    put(out, position.order);
    put(out, static_cast<uint8_t>(position.closed ? 1 : 0));
    put(out, static_cast<uint32_t>(position.missing.size()));
    for (const SeqRange& range : position.missing) {
      put(out, range.first);
      put(out, range.last);
    }
  }
  put(out, crc32c(out));
  return out;
}

Result<PositionSet> PositionSet::parse(std::string_view bytes) {
  if (bytes.size() < 12) return bad("too short");
  std::string_view body = bytes.substr(0, bytes.size() - 4);
  if (crc32c(body) != get<uint32_t>(bytes, body.size())) return bad("checksum is wrong");
  Reader reader(body);
  if (reader.take<uint32_t>() != kMagic) return bad("not positions");
  PositionSet set;
  uint32_t count = reader.take<uint32_t>();
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    PositionKey key;
    key.producer = reader.take_bytes(reader.take<uint32_t>());
    key.epoch = reader.take<uint64_t>();
    key.partition = reader.take<uint32_t>();
    Position position;
    position.cumulative = reader.take<uint64_t>();
    position.highest = reader.take<uint64_t>();
    position.order = reader.take<uint64_t>();
    position.closed = reader.take<uint8_t>() != 0;
    uint32_t ranges = reader.take<uint32_t>();
    if (uint64_t{ranges} * 16 > reader.left()) return bad("cut short");
    for (uint32_t r = 0; r < ranges; ++r) {
      uint64_t first = reader.take<uint64_t>();
      position.missing.push_back({first, reader.take<uint64_t>()});
    }
    if (!reader.ok()) return bad("cut short");
    if (!valid(position)) return bad("impossible position");
    set.entries_[std::move(key)] = std::move(position);
  }
  if (!reader.ok() || reader.left() != 0) return bad("wrong length");
  return set;
}

}  // namespace gema::stream
