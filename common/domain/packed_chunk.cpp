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

// Bits that the block takes with this parameter.
uint64_t rice_bits(std::span<const uint64_t> distances, uint32_t k) {
  uint64_t bits = 0;
  for (const uint64_t d : distances) bits += packing::rice_bits(d, k);
  return bits;
}

// The cost is convex in k but for the escapes, so the best lies near the mean distance.
uint32_t best_rice(std::span<const uint64_t> distances) {
  std::array<uint64_t, kBlock> sorted;
  std::copy(distances.begin(), distances.end(), sorted.begin());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(distances.size() / 2);
  std::nth_element(sorted.begin(), middle,
                   sorted.begin() + static_cast<std::ptrdiff_t>(distances.size()));
  const auto width = static_cast<uint32_t>(std::bit_width(*middle));
  const uint32_t first = std::min(width > 2 ? width - 2 : 0, kRiceMax);
  uint32_t best = first;
  uint64_t least = rice_bits(distances, first);
  for (uint32_t k = first + 1; k <= std::min(first + 5, kRiceMax); ++k) {
    const uint64_t bits = rice_bits(distances, k);
    if (bits >= least) continue;
    least = bits;
    best = k;
  }
  return best;
}

int32_t median(std::span<const int32_t> values) {
  std::array<int32_t, kBlock> sorted;
  std::copy(values.begin(), values.end(), sorted.begin());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(sorted.begin(), middle,
                   sorted.begin() + static_cast<std::ptrdiff_t>(values.size()));
  return *middle;
}

// Base (as the difference from the block before), parameter, distances.
void put_block(std::span<const int32_t> values, int32_t& base, std::string& out) {
  const int32_t center = median(values);
  put_varint(zigzag(int64_t{center} - base), out);
  base = center;
  std::array<uint64_t, kBlock> distance;
  bool equal = true;
  for (size_t i = 0; i < values.size(); ++i) {
    distance[i] = zigzag(int64_t{values[i]} - center);
    equal &= distance[i] == 0;
  }
  if (equal) {
    out.push_back(static_cast<char>(kAllEqual));
    return;
  }
  const std::span<const uint64_t> distances(distance.data(), values.size());
  const uint32_t k = best_rice(distances);
  out.push_back(static_cast<char>(k));
  BitWriter bits(out);
  for (const uint64_t d : distances) bits.put_rice(d, k);
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
