#include "common/domain/quantile_sketch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "common/base/assert.h"
#include "common/domain/packing.h"

namespace gema {
namespace {

constexpr uint32_t kRttMax = std::numeric_limits<int32_t>::max();
constexpr size_t kBinsMax = 1024;

// The lower bounds of all bins, and behind them that of none.
const std::vector<uint32_t>& bounds() {
  static const std::vector<uint32_t> all = [] {
    std::vector<uint32_t> list{0};
    while (list.back() <= kRttMax) list.push_back(list.back() + std::max(1U, list.back() / 50));
    return list;
  }();
  return all;
}

// Times whose highest six bits agree share a cell: at most 3 % wide, so that few bins begin in it.
constexpr uint32_t kCellBits = 6;
constexpr uint32_t kCells = 32U << (kCellBits - 1);

uint32_t cell_of(uint32_t rtt_us) {
  const auto width = static_cast<uint32_t>(std::bit_width(rtt_us));
  if (width <= kCellBits) return rtt_us;
  return ((width - kCellBits) << (kCellBits - 1)) + (rtt_us >> (width - kCellBits));
}

// The bin of the first time of each cell.
const std::array<uint16_t, kCells>& cells() {
  static const std::array<uint16_t, kCells> all = [] {
    std::array<uint16_t, kCells> list{};
    for (uint32_t cell = 0; cell < kCells; ++cell) {
      const uint32_t shift = cell < 1U << kCellBits ? 0 : (cell >> (kCellBits - 1)) - 1;
      const uint64_t top =
          cell < 1U << kCellBits ? cell : (1U << (kCellBits - 1)) + cell % (1U << (kCellBits - 1));
      const auto first = static_cast<uint32_t>(std::min<uint64_t>(top << shift, kRttMax));
      const auto after = std::upper_bound(bounds().begin(), bounds().end() - 1, first);
      list[cell] = static_cast<uint16_t>(after - bounds().begin() - 1);
    }
    return list;
  }();
  return all;
}

Error bad(const char* rule) {
  return Error{Errc::kBadInput, std::string("quantile sketch: ") + rule};
}

// How a sketch is written: as one gap per sample, or as one gap and count per bin.
enum Form : uint64_t { kSamples = 0, kBins = 1 };
constexpr uint64_t kSamplesMax = 1000;  // more are written as bins

void pack_bins(const std::vector<QuantileSketch::Bin>& bins, std::string& out) {
  packing::put_varint(bins.size(), out);
  uint16_t before = 0;
  for (const QuantileSketch::Bin& bin : bins) {
    packing::put_varint(static_cast<uint64_t>(bin.index - before), out);
    packing::put_varint(bin.count, out);
    before = bin.index;
  }
}

template <class Each>
void each_gap(const std::vector<QuantileSketch::Bin>& bins, Each each) {
  uint16_t before = bins.front().index;
  bool first = true;
  for (const QuantileSketch::Bin& bin : bins) {
    for (uint64_t i = 0; i < bin.count; ++i) {
      if (!first) each(static_cast<uint64_t>(bin.index - before));
      first = false;
      before = bin.index;
    }
  }
}

void pack_samples(const std::vector<QuantileSketch::Bin>& bins, std::string& out) {
  uint32_t best = 0;
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (uint32_t k = 0; k <= 8; ++k) {
    uint64_t bits = 0;
    each_gap(bins, [&](uint64_t gap) { bits += packing::rice_bits(gap, k); });
    if (bits < least) {
      least = bits;
      best = k;
    }
  }
  packing::put_varint(bins.front().index, out);
  out.push_back(static_cast<char>(best));
  packing::BitWriter writer(out);
  each_gap(bins, [&](uint64_t gap) { writer.put_rice(gap, best); });
  writer.end();
}

}  // namespace

uint16_t quantile_bin(uint32_t rtt_us) {
  const uint32_t rtt = std::min(rtt_us, kRttMax);
  uint16_t index = cells()[cell_of(rtt)];
  while (bounds()[index + 1U] <= rtt && index + 1 < quantile_bins()) ++index;
  return index;
}

uint32_t quantile_bin_begin(uint16_t index) {
  return bounds()[index];
}

uint16_t quantile_bins() {
  return static_cast<uint16_t>(bounds().size() - 1);
}

void QuantileSketch::add(uint32_t rtt_us, uint64_t count) {
  if (count == 0) return;
  const uint16_t index = quantile_bin(rtt_us);
  const auto at = std::lower_bound(bins_.begin(), bins_.end(), index,
                                   [](const Bin& b, uint16_t i) { return b.index < i; });
  if (at != bins_.end() && at->index == index) {
    at->count += count;
  } else {
    bins_.insert(at, {index, count});
  }
}

void QuantileSketch::add_all(std::span<const uint32_t> rtts_us) {
  if (rtts_us.empty()) return;
  GEMA_ASSERT(quantile_bins() <= kBinsMax);
  std::array<uint32_t, kBinsMax> counts{};
  uint16_t least = kBinsMax - 1;
  uint16_t greatest = 0;
  for (const uint32_t rtt_us : rtts_us) {
    const uint16_t index = quantile_bin(rtt_us);
    ++counts[index];
    least = std::min(least, index);
    greatest = std::max(greatest, index);
  }
  QuantileSketch more;
  for (uint16_t index = least; index <= greatest; ++index) {
    if (counts[index] > 0) more.bins_.push_back({index, counts[index]});
  }
  if (bins_.empty()) {
    bins_ = std::move(more.bins_);
  } else {
    merge(more);
  }
}

void QuantileSketch::merge(const QuantileSketch& other) {
  if (&other == this) {
    for (Bin& bin : bins_) bin.count *= 2;
    return;
  }
  // In place: how many bins are new, then from the last one backwards.
  size_t more = 0;
  auto at = bins_.begin();
  for (const Bin& bin : other.bins_) {
    while (at != bins_.end() && at->index < bin.index) ++at;
    if (at == bins_.end() || at->index != bin.index) ++more;
  }
  size_t mine = bins_.size();
  bins_.resize(mine + more);
  size_t to = bins_.size();
  for (size_t theirs = other.bins_.size(); theirs > 0;) {
    const Bin& bin = other.bins_[theirs - 1];
    if (mine > 0 && bins_[mine - 1].index > bin.index) {
      bins_[--to] = bins_[--mine];
    } else if (mine > 0 && bins_[mine - 1].index == bin.index) {
      bins_[--to] = {bin.index, bins_[mine - 1].count + bin.count};
      --mine;
      --theirs;
    } else {
      bins_[--to] = bin;
      --theirs;
    }
  }
}

uint64_t QuantileSketch::count() const {
  uint64_t n = 0;
  for (const Bin& bin : bins_) n += bin.count;
  return n;
}

uint32_t QuantileSketch::quantile_us(double q) const {
  GEMA_ASSERT(!empty() && q >= 0 && q <= 1);
  const uint64_t n = count();
  const auto rank =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(q * static_cast<double>(n))), 1, n);
  uint64_t passed = 0;
  for (const Bin& bin : bins_) {
    passed += bin.count;
    if (passed < rank) continue;
    const uint32_t begin = bounds()[bin.index];
    return begin + (bounds()[bin.index + 1U] - begin - 1) / 2;
  }
  return 0;
}

void QuantileSketch::pack(std::string& out) const {
  const uint64_t n = count();
  if (n == 0) {
    packing::put_varint(0, out);
    return;
  }
  std::string as_bins;
  pack_bins(bins_, as_bins);
  std::string as_samples;
  if (n <= kSamplesMax) pack_samples(bins_, as_samples);
  const bool samples = n <= kSamplesMax && as_samples.size() < as_bins.size();
  packing::put_varint(n << 1 | (samples ? kSamples : kBins), out);
  out += samples ? as_samples : as_bins;
}

Result<QuantileSketch> QuantileSketch::unpack(std::string_view& bytes) {
  QuantileSketch sketch;
  if (auto done = sketch.take(bytes); !done) return done.error();
  return sketch;
}

Result<void> QuantileSketch::take(std::string_view& bytes) {
  bins_.clear();
  packing::Input in(bytes);
  const uint64_t head = in.varint();
  const uint64_t n = head >> 1;
  uint64_t index = 0;
  auto add = [&](uint64_t gap, uint64_t count) {
    index += gap;
    if (gap >= quantile_bins() || index >= quantile_bins()) return false;
    if (!bins_.empty() && bins_.back().index == index) {
      bins_.back().count += count;
    } else {
      bins_.push_back({static_cast<uint16_t>(index), count});
    }
    return true;
  };
  if (n > 0 && (head & 1) == kSamples) {
    if (n > kSamplesMax) return bad("more samples than are written one by one");
    if (!add(in.varint(), 1)) return bad("a bin out of range");
    const uint8_t k = in.byte();
    if (k > 8) return bad("a parameter out of range");
    for (uint64_t i = 1; i < n; ++i) {
      if (!add(in.rice(k), 1)) return bad("a bin out of range");
    }
    in.end_bits();
  } else if (n > 0) {
    uint64_t total = 0;
    for (size_t i = in.count(quantile_bins()); i > 0; --i) {
      const uint64_t gap = in.varint();
      const uint64_t count = in.varint();
      if (count == 0 || count > n - total || (gap == 0 && !bins_.empty())) {
        return bad("bins that do not add up");
      }
      total += count;
      if (!add(gap, count)) return bad("a bin out of range");
    }
    if (total != n) return bad("bins that do not add up");
  }
  if (in.failed()) return bad("cut short");
  bytes = in.rest();
  return {};
}

}  // namespace gema
