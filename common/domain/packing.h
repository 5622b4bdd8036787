// Numbers as few bytes and bits: what packed chunks and rollups are written with. The words are
// those of docs/packed-chunk.md.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "common/base/crc32c.h"

namespace gema::packing {

// The greatest Golomb-Rice parameter.
inline constexpr uint32_t kRiceMax = 30;
// A quotient of this many ones says that the number follows as it is, in kEscapedBits: an outlier
// costs 57 bits and leaves the others as dense as they were.
inline constexpr uint32_t kEscape = 24;
inline constexpr uint32_t kEscapedBits = 33;  // zigzag of the difference of two int32

inline uint64_t rice_bits(uint64_t value, uint32_t k) {
  return value >> k < kEscape ? (value >> k) + 1 + k : kEscape + kEscapedBits;
}

// 0, -1, 1, -2, ... -> 0, 1, 2, 3, ...
inline uint64_t zigzag(int64_t value) {
  return static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

// --- bytes and bits -----------------------------------------------------------------------------

inline void put_varint(uint64_t value, std::string& out) {
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
    for (; used_ >= 32; used_ -= 32, word_ >>= 32) {
      char bytes[4];
      for (uint32_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(word_ >> (8 * i));
      out_.append(bytes, sizeof bytes);
    }
  }
  // Requires: value < 2^33, k <= kRiceMax.
  void put_rice(uint64_t value, uint32_t k) {
    if (value >> k < kEscape) {
      const auto quotient = static_cast<uint32_t>(value >> k);
      const uint64_t ones = (uint64_t{1} << quotient) - 1;
      const uint64_t low = value & ((uint64_t{1} << k) - 1);
      if (quotient + 1 + k <= 33) {
        put(ones | low << (quotient + 1), quotient + 1 + k);
      } else {
        put(ones, quotient + 1);
        put(low, k);
      }
    } else {
      put((uint64_t{1} << kEscape) - 1, kEscape);
      put(value, kEscapedBits);
    }
  }
  // Up to the next whole byte.
  void end() {
    for (; used_ > 0; word_ >>= 8) {
      out_.push_back(static_cast<char>(word_));
      used_ -= used_ < 8 ? used_ : 8;
    }
    word_ = 0;
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
  // Requires: k <= kRiceMax.
  uint64_t rice(uint32_t k) {
    const uint32_t quotient = ones();
    if (quotient == kEscape) return bits(kEscapedBits);
    return static_cast<uint64_t>(quotient) << k | bits(k);
  }
  // What was looked at beyond the last bit goes back; the next section begins at a whole byte.
  void end_bits() {
    rest_ = {rest_.data() - held_ / 8, rest_.size() + held_ / 8};
    word_ = 0;
    held_ = 0;
  }

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty() && held_ == 0; }
  std::string_view rest() const { return rest_; }  // after whole bytes

 private:
  uint64_t fail() {
    failed_ = true;
    rest_ = {};
    word_ = 0;
    held_ = 0;
    return 0;
  }
  void fill(uint32_t count) {
    if (held_ >= count) return;
    if (std::endian::native == std::endian::little && rest_.size() >= 8) {
      // As many whole bytes as there is room for; what is read of the next one is read again.
      uint64_t next = 0;
      std::memcpy(&next, rest_.data(), sizeof next);
      word_ |= next << held_;
      const uint32_t bytes = (63 - held_) / 8;
      held_ += bytes * 8;
      rest_.remove_prefix(bytes);
      return;
    }
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

// CRC-32C of all of `out`, four bytes, lowest first.
inline void put_checksum(std::string& out) {
  const uint32_t crc = crc32c(out);
  for (uint32_t shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(crc >> shift));
}

// Takes the checksum off the end. Returns: false when it is wrong.
inline bool take_checksum(std::string_view& bytes) {
  if (bytes.size() < 4) return false;
  uint32_t crc = 0;
  for (size_t i = 0; i < 4; ++i) {
    crc |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[bytes.size() - 4 + i])) << (8 * i);
  }
  bytes.remove_suffix(4);
  return crc32c(bytes) == crc;
}

}  // namespace gema::packing
