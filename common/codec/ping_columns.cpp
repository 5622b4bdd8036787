#include "common/codec/ping_columns.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "common/codec/message.h"

namespace gema {
namespace {

// The fields of PingBatch, ProberHealth and Burst that are read here.
enum Field : uint32_t {
  kLocation = 1,
  kFirstDue = 2,
  kDeviceDelta = 3,
  kInterval = 4,
  kDueOffset = 5,
  kVerdict = 6,
  kReason = 7,
  kEchoCount = 8,
  kEchoOutcome = 9,
  kRtt = 10,
  kBurst = 11,
  kHealth = 12,
};
constexpr uint32_t kVarintType = 0;
constexpr uint32_t kBytesType = 2;

// Varints one after the other. Any that is cut short or too long makes it fail.
class Numbers {
 public:
  explicit Numbers(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  uint64_t next() {
    if (std::endian::native == std::endian::little && end_ - at_ >= 8) {
      uint64_t word = 0;
      std::memcpy(&word, at_, sizeof word);
      const uint64_t stops = ~word & 0x8080808080808080U;
      // Of up to four bytes: without a branch that depends on how many.
      if ((stops & 0x80808080U) != 0) {
        const auto bits = static_cast<uint32_t>(std::countr_zero(stops)) + 1;  // 8, 16, 24, 32
        at_ += bits / 8;
        word &= (uint64_t{1} << bits) - 1;
        return (word & 0x7f) | (word >> 1 & 0x3f80) | (word >> 2 & 0x1fc000) |
               (word >> 3 & 0xfe00000);
      }
    }
    return next_slowly();
  }
  uint32_t next32() {
    const uint64_t value = next();
    if (value > UINT32_MAX) failed_ = true;
    return static_cast<uint32_t>(value);
  }
  std::string_view bytes() {
    const uint64_t length = next();
    if (failed_ || length > static_cast<uint64_t>(end_ - at_)) {
      failed_ = true;
      return {};
    }
    const std::string_view out(at_, static_cast<size_t>(length));
    at_ += length;
    return out;
  }
  bool at_end() const { return at_ == end_; }
  bool failed() const { return failed_; }
  bool done() const { return at_ == end_ && !failed_; }

 private:
  uint64_t next_slowly() {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 63 && at_ != end_; shift += 7) {
      const auto byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;  // cut short, or of ten bytes
    at_ = end_;
    return 0;
  }

  const char* at_;
  const char* end_;
  bool failed_ = false;
};

// How many varints begin in `bytes`.
size_t count_numbers(std::string_view bytes) {
  size_t count = 0;
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  for (; end - at >= 8; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    count += ((~word & 0x8080808080808080U) >> 7) * 0x0101010101010101U >> 56;
  }
  for (; at != end; ++at) count += (*at & 0x80) == 0 ? 1 : 0;
  return count;
}

// One number for all or one for each, through `convert` into `out`, which has its length.
template <class T, class Convert>
bool read_column(std::string_view bytes, std::vector<T>& out, Convert convert) {
  const size_t count = count_numbers(bytes);
  Numbers in(bytes);
  if (count == 1) {
    T value{};
    if (!convert(in.next32(), value)) return false;
    std::fill(out.begin(), out.end(), value);
    return in.done();
  }
  if (count != out.size()) return false;
  T* to = out.data();
  bool right = true;
  for (size_t i = 0; i < count; ++i) right &= convert(in.next32(), to[i]);
  return right && in.done();
}

class Reader {
 public:
  explicit Reader(PingResults& results) : results_(results) {}

  bool read(std::string_view bytes) {
    Numbers in(bytes);
    while (!in.at_end()) {
      const uint64_t tag = in.next();
      const auto field = static_cast<uint32_t>(tag >> 3);
      if (in.failed() || tag > 0x7f || field > kHealth) return false;
      // Each once and in order, but for bursts.
      if (field < last_ || (field == last_ && field != kBurst)) return false;
      last_ = field;
      if (field == kFirstDue) {
        if ((tag & 7) != kVarintType) return false;
        first_due_ms_ = static_cast<int64_t>(in.next());
        if (in.failed() || !is_due(first_due_ms_)) return false;
        continue;
      }
      if ((tag & 7) != kBytesType) return false;
      const std::string_view value = in.bytes();
      if (in.failed() || !take(field, value)) return false;
    }
    // n results need columns 3 to 8, and echoes what they have.
    if ((seen_ & 0x1f8) != 0x1f8) return false;
    const size_t replies = static_cast<size_t>(std::count(
        results_.echo_outcome.begin(), results_.echo_outcome.end(), EchoOutcome::kReply));
    if (!results_.echo_outcome.empty() && (seen_ >> kEchoOutcome & 1) == 0) return false;
    return read_rtts(replies);
  }

 private:
  bool take(uint32_t field, std::string_view bytes) {
    seen_ |= 1U << field;
    switch (field) {
      case kLocation:
        results_.location = bytes;
        return std::all_of(bytes.begin(), bytes.end(), [](char c) { return (c & 0x80) == 0; });
      case kDeviceDelta:
        return read_devices(bytes);
      case kInterval:
        return sized(results_.interval_ms) &&
               read_column(bytes, results_.interval_ms, [](uint32_t v, uint32_t& to) {
                 to = v;
                 return v != 0;
               });
      case kDueOffset:
        return read_dues(bytes);
      case kVerdict:
        return sized(results_.verdict) &&
               read_column(bytes, results_.verdict, [](uint32_t v, Verdict& to) {
                 to = static_cast<Verdict>(v);
                 return is_verdict(v);
               });
      case kReason:
        return sized(results_.reason) &&
               read_column(bytes, results_.reason, [](uint32_t v, Reason& to) {
                 to = static_cast<Reason>(v);
                 return is_reason(v);
               });
      case kEchoCount:
        return read_counts(bytes);
      case kEchoOutcome:
        if (results_.echo_outcome.empty()) return false;
        return read_column(bytes, results_.echo_outcome, [](uint32_t v, EchoOutcome& to) {
          to = static_cast<EchoOutcome>(v);
          return is_echo_outcome(v);
        });
      case kRtt:
        rtts_ = bytes;
        return true;
      case kBurst:
        return read_burst(bytes);
      case kHealth:
        return read_health(bytes);
      default:
        return false;
    }
  }

  template <class T>
  bool sized(std::vector<T>& column) {
    column.resize(results_.device.size());
    return !column.empty();
  }

  bool read_devices(std::string_view bytes) {
    results_.device.resize(count_numbers(bytes));
    Numbers in(bytes);
    uint64_t device = 0;
    for (DeviceId& to : results_.device) {
      const uint64_t zigzag = in.next();
      device += (zigzag >> 1) ^ (~(zigzag & 1) + 1);
      to = device;
    }
    return in.done();
  }

  bool read_dues(std::string_view bytes) {
    if (!sized(results_.due_ms) || count_numbers(bytes) != results_.device.size()) return false;
    Numbers in(bytes);
    // Offsets are 32 bits, so only the greatest can leave the years that are due.
    uint32_t greatest = 0;
    for (int64_t& to : results_.due_ms) {
      const uint32_t offset = in.next32();
      greatest = std::max(greatest, offset);
      to = first_due_ms_ + offset;
    }
    return in.done() && is_due(first_due_ms_ + greatest);
  }

  bool read_counts(std::string_view bytes) {
    const size_t n = results_.device.size();
    results_.echo_begin.resize(n + 1);
    uint32_t* begin = results_.echo_begin.data();
    const size_t count = count_numbers(bytes);
    Numbers in(bytes);
    uint64_t total = 0;
    if (count == 1) {
      const uint64_t each = in.next32();
      if (each * n > kBatchEchoesMax) return false;
      for (size_t i = 0; i < n; ++i) begin[i + 1] = static_cast<uint32_t>(total += each);
    } else if (count == n) {
      for (size_t i = 0; i < n; ++i) {
        total += in.next32();
        if (total > kBatchEchoesMax) return false;
        begin[i + 1] = static_cast<uint32_t>(total);
      }
    } else {
      return false;
    }
    results_.echo_outcome.resize(total);
    results_.echo_rtt_us.resize(total);
    return in.done();
  }

  bool read_rtts(size_t replies) {
    if (count_numbers(rtts_) != replies) return false;
    Numbers in(rtts_);
    uint32_t* to = results_.echo_rtt_us.data();
    const EchoOutcome* outcome = results_.echo_outcome.data();
    const size_t n = results_.echo_outcome.size();
    if (replies == n) {
      for (size_t e = 0; e < n; ++e) to[e] = in.next32();
    } else {
      for (size_t e = 0; e < n; ++e) to[e] = outcome[e] == EchoOutcome::kReply ? in.next32() : 0;
    }
    return in.done();
  }

  bool read_burst(std::string_view bytes) {
    if (results_.device.empty()) return false;
    BurstResult burst;
    Numbers in(bytes);
    uint64_t last = 0;
    while (!in.at_end()) {
      const uint64_t tag = in.next();
      if (in.failed() || tag >> 3 <= last) return false;
      last = tag >> 3;
      if (tag == (1 << 3 | kVarintType)) {
        burst.index = in.next32();
      } else if (tag == (2 << 3 | kVarintType)) {
        burst.sent = in.next32();
      } else if (tag == (3 << 3 | kBytesType)) {
        const std::string_view rtts = in.bytes();
        burst.rtt_us.resize(count_numbers(rtts));
        Numbers each(rtts);
        for (uint32_t& rtt_us : burst.rtt_us) rtt_us = each.next32();
        if (!each.done()) return false;
      } else {
        return false;
      }
    }
    if (in.failed() || burst.index >= results_.device.size() || burst.rtt_us.size() > burst.sent) {
      return false;
    }
    results_.burst.push_back(std::move(burst));
    return true;
  }

  bool read_health(std::string_view bytes) {
    ProberHealth& h = results_.health;
    uint32_t suspicion = 0;
    uint32_t* const fields[] = {&h.lag_max_us,      &h.send_errors, &h.socket_drops,
                                &h.missed_slots,    &h.paused_ms,   &h.canaries_answered,
                                &h.canaries_failed, &suspicion};
    Numbers in(bytes);
    uint64_t last = 0;
    while (!in.at_end()) {
      const uint64_t tag = in.next();
      const uint64_t field = tag >> 3;
      if (in.failed() || (tag & 7) != kVarintType || field <= last || field > 8) return false;
      last = field;
      *fields[field - 1] = in.next32();
    }
    h.suspicion = static_cast<Suspicion>(suspicion);
    return !in.failed() && suspicion <= static_cast<uint32_t>(kSuspicionMax);
  }

  PingResults& results_;
  int64_t first_due_ms_ = 0;
  std::string_view rtts_;
  uint32_t last_ = 0;
  uint32_t seen_ = 0;
};

}  // namespace

bool decode_plain_ping(std::string_view bytes, PingResults& results) {
  return Reader(results).read(bytes);
}

}  // namespace gema
