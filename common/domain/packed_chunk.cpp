#include "common/domain/packed_chunk.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/base/assert.h"
#include "common/domain/chunk.h"
#include "common/domain/packing.h"

namespace gema {
namespace {

using packing::BitWriter;
using packing::Input;
using packing::put_varint;
using packing::unzigzag;
using packing::zigzag;

constexpr uint8_t kVersion = 1;
constexpr uint8_t kFillersImplied = 1;  // flag

constexpr size_t kBlock = 128;
constexpr uint8_t kAllEqual = 255;  // instead of the Rice parameter: every value is the base
constexpr uint32_t kRiceMax = packing::kRiceMax;

// --- round trip times ---------------------------------------------------------------------------

// Distances from the middle: of two int32 of one sign, so 32 bits hold them.
using Distances = std::array<uint32_t, kBlock>;

// The cost is convex in k but for the escapes, so the best lies near the middle distance.
uint32_t best_rice(const Distances& distance, size_t n, uint32_t greatest) {
  std::array<uint8_t, 33> of_width{};
  for (size_t i = 0; i < n; ++i) ++of_width[static_cast<size_t>(std::bit_width(distance[i]))];
  uint32_t width = 0;  // of the middle one
  for (size_t passed = of_width[0]; passed <= n / 2; passed += of_width[width]) ++width;
  const uint32_t first = std::min(width > 2 ? width - 2 : 0, kRiceMax);
  const uint32_t last = std::min(first + 5, kRiceMax);
  // All six at a time: the quotients' sums.
  std::array<uint64_t, 6> quotients{};
  for (size_t i = 0; i < n; ++i) {
    const uint32_t d = distance[i] >> first;
    quotients[0] += d;
    quotients[1] += d >> 1;
    quotients[2] += d >> 2;
    quotients[3] += d >> 3;
    quotients[4] += d >> 4;
    quotients[5] += d >> 5;
  }
  uint32_t best = first;
  uint64_t least = UINT64_MAX;
  for (uint32_t k = first; k <= last; ++k) {
    uint64_t bits = quotients[k - first] + n * (1 + k);
    if (greatest >> k >= packing::kEscape) {
      bits = 0;
      for (size_t i = 0; i < n; ++i) bits += packing::rice_bits(distance[i], k);
    }
    if (bits >= least) continue;
    least = bits;
    best = k;
  }
  return best;
}

// The middle one of `values`, of an even number the upper one: by counting into 64 drawers of equal
// width, then among those in its drawer.
int32_t median(std::span<const int32_t> values) {
  constexpr uint32_t kDrawers = 64;
  const int32_t* const v = values.data();
  const size_t n = values.size();
  int32_t least = v[0], greatest = v[0];
  for (size_t i = 1; i < n; ++i) {
    least = std::min(least, v[i]);
    greatest = std::max(greatest, v[i]);
  }
  const auto range = static_cast<uint32_t>(greatest) - static_cast<uint32_t>(least);
  const auto width = static_cast<uint32_t>(std::bit_width(range));
  const uint32_t shift = width > 6 ? width - 6 : 0;
  auto drawer = [&](int32_t value) {
    return (static_cast<uint32_t>(value) - static_cast<uint32_t>(least)) >> shift;
  };
  std::array<uint8_t, kDrawers> counts{};
  for (size_t i = 0; i < n; ++i) ++counts[drawer(v[i])];
  const size_t middle = n / 2;
  uint32_t of = 0;
  size_t before = 0;
  for (; before + counts[of] <= middle; ++of) before += counts[of];
  std::array<int32_t, kBlock> in_it;
  size_t held = 0;
  for (size_t i = 0; i < n; ++i) {
    in_it[held] = v[i];
    held += drawer(v[i]) == of ? 1 : 0;
  }
  const auto at = in_it.begin() + static_cast<std::ptrdiff_t>(middle - before);
  std::nth_element(in_it.begin(), at, in_it.begin() + static_cast<std::ptrdiff_t>(held));
  return *at;
}

// Base (as the difference from the block before), parameter, distances.
void put_block(std::span<const int32_t> values, int32_t& base, std::string& out) {
  const int32_t center = median(values);
  put_varint(zigzag(int64_t{center} - base), out);
  base = center;
  Distances distance;
  uint32_t greatest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    distance[i] = static_cast<uint32_t>(zigzag(int64_t{values[i]} - center));
    greatest = std::max(greatest, distance[i]);
  }
  if (greatest == 0) {
    out.push_back(static_cast<char>(kAllEqual));
    return;
  }
  const uint32_t k = best_rice(distance, values.size(), greatest);
  out.push_back(static_cast<char>(k));
  BitWriter bits(out);
  for (size_t i = 0; i < values.size(); ++i) bits.put_rice(distance[i], k);
  bits.end();
}

// Returns: false on numbers that no writer writes.
bool take_block(Input& in, std::span<int32_t> values, int32_t& base) {
  const int64_t center = base + in.signed_varint();
  if (center < 0 || center > std::numeric_limits<int32_t>::max()) return false;
  base = static_cast<int32_t>(center);
  const uint8_t k = in.byte();
  if (k == kAllEqual) {
    std::fill(values.begin(), values.end(), base);
    return true;
  }
  if (k > kRiceMax) return false;
  for (int32_t& value : values) {
    const int64_t v = center + unzigzag(in.rice(k));
    if (v < 0 || v > std::numeric_limits<int32_t>::max()) return false;
    value = static_cast<int32_t>(v);
  }
  in.end_bits();
  return !in.failed();
}

// --- codes --------------------------------------------------------------------------------------

struct CodeRun {
  size_t values_before = 0;  // since the run before
  int64_t code = 0;          // below 0
  size_t length = 0;
};

// True when every slot whose first number says that there are no echoes is filled up with kNoEcho:
// the fillers then need not be written.
bool fillers_are_plain(uint32_t echoes, std::span<const int32_t> samples) {
  for (size_t i = 0; i < samples.size(); i += echoes) {
    if (samples[i] > kNoResult) continue;
    const auto rest = samples.subspan(i + 1, echoes - 1);
    if (!std::all_of(rest.begin(), rest.end(), [](int32_t v) { return v == kNoEcho; })) {
      return false;
    }
  }
  return echoes > 1;
}

}  // namespace

std::string pack_chunk(uint32_t echoes, std::span<const int32_t> samples,
                       std::span<const int32_t> extra) {
  GEMA_ASSERT(echoes > 0 && samples.size() % echoes == 0);
  GEMA_ASSERT(samples.size() <= kPackedNumbersMax && extra.size() <= kPackedNumbersMax);
  const bool implied = fillers_are_plain(echoes, samples);
  std::vector<int32_t> values;
  values.reserve(samples.size());
  std::vector<CodeRun> runs;
  size_t values_before = 0;
  bool open = false;  // the last run may go on
  for (size_t i = 0; i < samples.size(); ++i) {
    const int32_t v = samples[i];
    if (v >= 0) {
      values.push_back(v);
      ++values_before;
      open = false;
    } else if (open && runs.back().code == v) {
      ++runs.back().length;
    } else {
      runs.push_back({values_before, v, 1});
      values_before = 0;
      open = true;
    }
    if (implied && i % echoes == 0 && v <= kNoResult) i += echoes - 1;
  }
  std::string out;
  out.reserve(64 + 2 * samples.size());
  out.push_back(static_cast<char>(kVersion));
  out.push_back(static_cast<char>(implied ? kFillersImplied : 0));
  put_varint(samples.size() / echoes, out);
  put_varint(echoes, out);
  put_varint(runs.size(), out);
  for (const CodeRun& run : runs) {
    put_varint(run.values_before, out);
    put_varint(static_cast<uint64_t>(-run.code), out);
    put_varint(run.length, out);
  }
  put_varint(values.size(), out);
  int32_t base = 0;
  for (size_t i = 0; i < values.size(); i += kBlock) {
    const size_t n = std::min(kBlock, values.size() - i);
    put_block(std::span(values).subspan(i, n), base, out);
  }
  put_varint(extra.size(), out);
  for (const int32_t v : extra) put_varint(zigzag(v), out);
  packing::put_checksum(out);
  return out;
}

namespace {

Error bad(const char* rule) {
  return Error{Errc::kBadInput, std::string("packed chunk: ") + rule};
}

// Puts values and runs of codes back where they were.
bool merge(std::span<const CodeRun> runs, std::span<const int32_t> values, bool implied,
           size_t numbers, ChunkArrays& out) {
  size_t next_value = 0;
  auto put = [&](int32_t v) {
    if (out.samples.size() >= numbers) return false;
    const bool first = out.samples.size() % out.echoes == 0;
    out.samples.push_back(v);
    if (implied && first && v <= kNoResult) {
      out.samples.resize(out.samples.size() + out.echoes - 1, kNoEcho);
    }
    return true;
  };
  auto put_values = [&](size_t n) {
    if (n > values.size() - next_value) return false;
    if (out.echoes == 1) {  // nothing to fill up
      if (n > numbers - out.samples.size()) return false;
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(next_value);
      out.samples.insert(out.samples.end(), begin, begin + static_cast<std::ptrdiff_t>(n));
      next_value += n;
      return true;
    }
    for (; n > 0; --n) {
      if (!put(values[next_value++])) return false;
    }
    return true;
  };
  for (const CodeRun& run : runs) {
    if (!put_values(run.values_before)) return false;
    for (size_t i = 0; i < run.length; ++i) {
      if (!put(static_cast<int32_t>(run.code))) return false;
    }
  }
  return put_values(values.size() - next_value) && out.samples.size() == numbers;
}

Result<void> unpack(std::string_view bytes, ChunkArrays& out) {
  if (bytes.empty()) return bad("no bytes");
  if (static_cast<uint8_t>(bytes[0]) != kVersion) return bad("unknown version");
  if (!packing::take_checksum(bytes)) return bad("wrong checksum");
  Input in(bytes.substr(1));
  const uint8_t flags = in.byte();
  if (flags > kFillersImplied) return bad("unknown flag");
  const size_t slots = in.count(kPackedNumbersMax);
  out.echoes = static_cast<uint32_t>(in.count(kPackedNumbersMax));
  if (in.failed() || out.echoes == 0 || slots > kPackedNumbersMax / out.echoes) {
    return bad("more numbers than a chunk may hold");
  }
  const size_t numbers = slots * out.echoes;
  std::vector<CodeRun> runs(in.count(std::min(numbers, bytes.size() / 3)));
  for (CodeRun& run : runs) {
    run.values_before = in.count(numbers);
    run.code = -static_cast<int64_t>(in.count(size_t{1} << 31));
    run.length = in.count(numbers);
    if (run.code == 0 || run.length == 0) return bad("an empty run of codes");
  }
  std::vector<int32_t> values(in.count(numbers));
  int32_t base = 0;
  for (size_t i = 0; i < values.size(); i += kBlock) {
    const size_t n = std::min(kBlock, values.size() - i);
    if (!take_block(in, std::span(values).subspan(i, n), base)) return bad("a broken block");
  }
  out.samples.reserve(numbers);
  if (in.failed() || !merge(runs, values, (flags & kFillersImplied) != 0, numbers, out)) {
    return bad("its samples do not add up");
  }
  out.extra.resize(in.count(std::min(kPackedNumbersMax, bytes.size())));
  for (int32_t& v : out.extra) {
    const int64_t value = in.signed_varint();
    if (value < std::numeric_limits<int32_t>::min() ||
        value > std::numeric_limits<int32_t>::max()) {
      return bad("a number out of range");
    }
    v = static_cast<int32_t>(value);
  }
  if (in.failed() || !in.at_end()) return bad("cut short or too long");
  return {};
}

}  // namespace

Result<void> unpack_chunk(std::string_view bytes, ChunkArrays& out) {
  out.samples.clear();
  out.extra.clear();
  auto done = unpack(bytes, out);
  if (!done) {
    out.samples.clear();
    out.extra.clear();
  }
  return done;
}

}  // namespace gema
