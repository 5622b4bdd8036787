#include "common/domain/packed_chunk.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "common/base/assert.h"
#include "common/base/crc32c.h"
#include "common/domain/chunk.h"

namespace gema {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kFillersImplied = 1;  // flag

constexpr size_t kBlock = 128;
constexpr uint8_t kAllEqual = 255;  // instead of the Rice parameter: every value is the base
constexpr uint32_t kRiceMax = 30;
// A quotient of this many ones says that the distance follows as it is: a spike costs 57 bits, and
// its block stays as dense as it was.
constexpr uint32_t kEscape = 24;
constexpr uint32_t kDistanceBits = 33;  // zigzag of the difference of two int32

// 0, -1, 1, -2, ... -> 0, 1, 2, 3, ...
uint64_t zigzag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}
int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

// --- bytes and bits -----------------------------------------------------------------------------

void put_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Bits are written from the lowest of each byte upwards.
class BitWriter {
 public:
  explicit BitWriter(std::string& out) : out_(out) {}
  // Requires: count <= 33, value < 2^count.
  void put(uint64_t value, uint32_t count) {
    word_ |= value << used_;
    used_ += count;
    for (; used_ >= 8; used_ -= 8, word_ >>= 8) out_.push_back(static_cast<char>(word_));
  }
  void end() {
    if (used_ > 0) out_.push_back(static_cast<char>(word_));
    word_ = 0;
    used_ = 0;
  }

 private:
  std::string& out_;
  uint64_t word_ = 0;
  uint32_t used_ = 0;
};

// Reads what is there and remembers whether it wanted more.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  uint8_t byte() {
    if (rest_.empty()) return static_cast<uint8_t>(fail());
    const auto value = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
      const uint8_t b = byte();
      value |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return value;
    }
    return fail();
  }
  // At most `most`; more is a failure, so that no count can ask for memory that it has no use for.
  size_t count(size_t most) {
    const uint64_t value = varint();
    return value <= most ? static_cast<size_t>(value) : fail();
  }
  int64_t signed_varint() { return unzigzag(varint()); }

  // Requires: count <= 33.
  uint64_t bits(uint32_t count) {
    fill(count);
    const uint64_t value = word_ & ((uint64_t{1} << count) - 1);
    drop(count);
    return value;
  }
  // Ones before a zero, which is taken too; kEscape ones have no zero behind them.
  uint32_t ones() {
    fill(kEscape + 1);
    const auto ones = static_cast<uint32_t>(std::countr_one(word_));
    if (ones >= kEscape) {
      drop(kEscape);
      return kEscape;
    }
    drop(ones + 1);
    return ones;
  }
  // What was looked at beyond the last bit goes back; the next section begins at a whole byte.
  void end_bits() {
    rest_ = {rest_.data() - held_ / 8, rest_.size() + held_ / 8};
    word_ = 0;
    held_ = 0;
  }

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty() && held_ == 0; }

 private:
  uint64_t fail() {
    failed_ = true;
    rest_ = {};
    word_ = 0;
    held_ = 0;
    return 0;
  }
  void fill(uint32_t count) {
    while (held_ < count && !rest_.empty()) {
      word_ |= static_cast<uint64_t>(static_cast<uint8_t>(rest_.front())) << held_;
      held_ += 8;
      rest_.remove_prefix(1);
    }
  }
  void drop(uint32_t count) {
    if (count > held_) {
      fail();
      return;
    }
    word_ >>= count;
    held_ -= count;
  }

  std::string_view rest_;
  uint64_t word_ = 0;
  uint32_t held_ = 0;
  bool failed_ = false;
};

// --- round trip times ---------------------------------------------------------------------------

// Bits that the block takes with this parameter.
uint64_t rice_bits(std::span<const uint64_t> distances, uint32_t k) {
  uint64_t bits = 0;
  for (const uint64_t d : distances) {
    bits += d >> k < kEscape ? (d >> k) + 1 + k : kEscape + kDistanceBits;
  }
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
  for (const uint64_t d : distances) {
    if (d >> k < kEscape) {
      const auto quotient = static_cast<uint32_t>(d >> k);
      bits.put((uint64_t{1} << quotient) - 1, quotient + 1);
      bits.put(d & ((uint64_t{1} << k) - 1), k);
    } else {
      bits.put((uint64_t{1} << kEscape) - 1, kEscape);
      bits.put(d, kDistanceBits);
    }
  }
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
    const uint32_t quotient = in.ones();
    const uint64_t distance = quotient == kEscape
                                  ? in.bits(kDistanceBits)
                                  : static_cast<uint64_t>(quotient) << k | in.bits(k);
    const int64_t v = center + unzigzag(distance);
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
  const uint32_t crc = crc32c(out);
  for (uint32_t shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(crc >> shift));
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
  if (bytes.size() < 5) return bad("cut short");
  if (static_cast<uint8_t>(bytes[0]) != kVersion) return bad("unknown version");
  uint32_t crc = 0;
  for (size_t i = 0; i < 4; ++i) {
    crc |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[bytes.size() - 4 + i])) << (8 * i);
  }
  bytes.remove_suffix(4);
  if (crc32c(bytes) != crc) return bad("wrong checksum");
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
