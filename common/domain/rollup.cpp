#include "common/domain/rollup.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "common/base/assert.h"
#include "common/domain/packing.h"

namespace gema {
namespace {

using packing::Input;
using packing::put_varint;

constexpr uint8_t kVersion = 2;
constexpr uint8_t kVersionWithoutTime = 1;
// In the head of a rollup: its times are written out.
constexpr uint64_t kTimesFollow = 4;

Error bad(const char* rule) {
  return Error{Errc::kBadInput, std::string("rollups: ") + rule};
}

size_t number(Verdict verdict) {
  return static_cast<size_t>(verdict);
}

// 128 bits, seven a byte.
void put_wide(Uint128 value, std::string& out) {
  for (; value >= 0x80; value >>= 7) {
    out.push_back(static_cast<char>(static_cast<uint8_t>(value) | 0x80));
  }
  out.push_back(static_cast<char>(value));
}

Uint128 take_wide(Input& in) {
  Uint128 value = 0;
  for (uint32_t shift = 0; shift < 126; shift += 7) {
    const uint8_t b = in.byte();
    value |= static_cast<Uint128>(b & 0x7f) << shift;
    if (b < 0x80) break;
  }
  return value;
}

// Counts that are mostly zero: how many are not, then place (as gap) and count of each.
template <size_t N>
void put_counts(const std::array<uint64_t, N>& counts, std::string& out) {
  put_varint(static_cast<uint64_t>(
                 std::count_if(counts.begin(), counts.end(), [](uint64_t n) { return n != 0; })),
             out);
  size_t next = 0;
  for (size_t i = 0; i < N; ++i) {
    if (counts[i] == 0) continue;
    put_varint(i - next, out);
    put_varint(counts[i], out);
    next = i + 1;
  }
}

template <size_t N>
bool take_counts(Input& in, uint64_t places, std::array<uint64_t, N>& counts) {
  if (places > N) return false;
  size_t next = 0;
  for (uint64_t left = places; left > 0; --left) {
    next += in.count(N);
    if (next >= N) return false;
    counts[next++] = in.varint();
  }
  return !in.failed();
}

// Squares that equal values would have: what is really there is never less (Cauchy and Schwarz),
// and the difference is small.
Uint128 least_squares(uint64_t sum, uint64_t count) {
  return static_cast<Uint128>(sum) * sum / count;
}

void put_rtts(const Rollup& r, std::string& out) {
  const uint64_t n = r.answered_echoes();
  if (n == 0) return;
  put_varint(r.rtt_min_us, out);
  put_varint(r.rtt_max_us - r.rtt_min_us, out);
  put_varint(r.rtt_sum_us - n * r.rtt_min_us, out);
  put_wide(r.rtt_squares_us - least_squares(r.rtt_sum_us, n), out);
  put_varint(r.jitter_count, out);
  if (r.jitter_count > 0) put_varint(r.jitter_sum_us, out);
  r.sketch.pack(out);
}

Result<void> take_rtts(std::string_view& bytes, Rollup& r) {
  const uint64_t n = r.answered_echoes();
  if (n == 0) return {};
  Input in(bytes);
  const uint64_t least = in.varint();
  const uint64_t most = least + in.varint();
  if (least > UINT32_MAX || most > UINT32_MAX) return bad("a round trip time out of range");
  r.rtt_min_us = static_cast<uint32_t>(least);
  r.rtt_max_us = static_cast<uint32_t>(most);
  r.rtt_sum_us = in.varint() + n * least;
  r.rtt_squares_us = take_wide(in) + least_squares(r.rtt_sum_us, n);
  r.jitter_count = in.varint();
  if (r.jitter_count > 0) r.jitter_sum_us = in.varint();
  if (in.failed()) return bad("cut short");
  bytes = in.rest();
  return r.sketch.take(bytes);
}

// Back to an empty one; the sketch keeps its memory.
void clear(Rollup& r) {
  QuantileSketch sketch = std::move(r.sketch);
  sketch.clear();
  r = Rollup{};
  r.sketch = std::move(sketch);
}

// Counts times one interval: what nearly every rollup's times are.
bool times_follow_from(const Rollup& r, uint64_t interval_ms) {
  for (size_t v = 0; v < r.time_ms.size(); ++v) {
    if (r.time_ms[v] != r.verdicts[v] * interval_ms) return false;
  }
  return true;
}

// The interval that tells the times of the most rollups of a row.
uint64_t common_interval(std::span<const Rollup> rollups) {
  std::map<uint64_t, size_t> votes;
  for (const Rollup& r : rollups) {
    if (r.checks() == 0) continue;
    const uint64_t interval_ms = (r.time_ms[0] + r.time_ms[1] + r.time_ms[2]) / r.checks();
    if (times_follow_from(r, interval_ms)) ++votes[interval_ms];
  }
  uint64_t best = 0;
  size_t most = 0;
  for (const auto& [interval_ms, n] : votes) {
    if (n <= most) continue;
    best = interval_ms;
    most = n;
  }
  return best;
}

// The head of a rollup: how many checks of which verdict, and what time they stand for.
void put_checks(const Rollup& r, uint64_t interval_ms, std::string& out) {
  const bool follow = !times_follow_from(r, interval_ms);
  const size_t head = out.size();
  put_counts(r.verdicts, out);
  if (!follow) return;
  out[head] = static_cast<char>(static_cast<uint8_t>(out[head]) | kTimesFollow);
  for (size_t v = 0; v < r.time_ms.size(); ++v) {
    if (r.verdicts[v] != 0) put_varint(r.time_ms[v], out);
  }
}

bool take_checks(Input& in, uint8_t version, uint64_t interval_ms, Rollup& r) {
  const uint64_t head = in.varint();
  const uint64_t head_max = version == kVersion ? 2 * kTimesFollow - 1 : kTimesFollow - 1;
  if (head > head_max || !take_counts(in, head % kTimesFollow, r.verdicts)) return false;
  for (size_t v = 0; v < r.time_ms.size(); ++v) {
    if (r.verdicts[v] == 0) continue;
    r.time_ms[v] = head >= kTimesFollow ? in.varint() : r.verdicts[v] * interval_ms;
  }
  return !in.failed();
}

}  // namespace

uint64_t Rollup::answered_echoes() const {
  return outcomes[static_cast<size_t>(EchoOutcome::kReply)] + burst_answered;
}

uint64_t Rollup::sent_echoes() const {
  uint64_t sent = burst_sent;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const auto outcome = static_cast<EchoOutcome>(i);
    if (outcome != EchoOutcome::kNotSent && outcome != EchoOutcome::kSendError) sent += outcomes[i];
  }
  return sent;
}

double Rollup::mean_us() const {
  const uint64_t n = answered_echoes();
  return n == 0 ? 0 : static_cast<double>(rtt_sum_us) / static_cast<double>(n);
}

double Rollup::deviation_us() const {
  const uint64_t n = answered_echoes();
  if (n == 0) return 0;
  // In integers up to here: the difference of two large numbers that are nearly equal.
  const Uint128 spread =
      static_cast<Uint128>(n) * rtt_squares_us - static_cast<Uint128>(rtt_sum_us) * rtt_sum_us;
  return std::sqrt(static_cast<double>(spread)) / static_cast<double>(n);
}

double Rollup::jitter_us() const {
  return jitter_count == 0 ? 0
                           : static_cast<double>(jitter_sum_us) / static_cast<double>(jitter_count);
}

void Rollup::merge(const Rollup& other) {
  auto add = [](auto& to, const auto& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  if (other.answered_echoes() > 0) {
    rtt_min_us = answered_echoes() == 0 ? other.rtt_min_us : std::min(rtt_min_us, other.rtt_min_us);
    rtt_max_us = std::max(rtt_max_us, other.rtt_max_us);
  }
  add(verdicts, other.verdicts);
  add(reasons, other.reasons);
  add(time_ms, other.time_ms);
  add(outcomes, other.outcomes);
  burst_sent += other.burst_sent;
  burst_answered += other.burst_answered;
  rtt_sum_us += other.rtt_sum_us;
  rtt_squares_us += other.rtt_squares_us;
  jitter_sum_us += other.jitter_sum_us;
  jitter_count += other.jitter_count;
  sketch.merge(other.sketch);
}

// --- building -----------------------------------------------------------------------------------

RollupBuilder::RollupBuilder(int64_t start_ms, int64_t period_ms, size_t periods)
    : start_ms_(start_ms), period_ms_(period_ms), rollups_(periods), open_from_ms_(start_ms) {
  GEMA_ASSERT(period_ms > 0);
}

void RollupBuilder::add_rtt(Rollup& r, uint32_t rtt_us) {
  r.rtt_min_us = answered_.empty() ? rtt_us : std::min(r.rtt_min_us, rtt_us);
  r.rtt_max_us = std::max(r.rtt_max_us, rtt_us);
  r.rtt_sum_us += rtt_us;
  r.rtt_squares_us += static_cast<Uint128>(rtt_us) * rtt_us;
  answered_.push_back(rtt_us);
}

void RollupBuilder::close() {
  if (open_ < rollups_.size()) rollups_[open_].sketch.add_all(answered_);
  answered_.clear();
  has_last_ = false;
}

Rollup* RollupBuilder::open(int64_t due_ms) {
  if (due_ms < open_from_ms_ || due_ms - open_from_ms_ >= period_ms_) {
    if (due_ms < start_ms_) return nullptr;
    const auto period = static_cast<size_t>((due_ms - start_ms_) / period_ms_);
    if (period >= rollups_.size()) return nullptr;
    GEMA_ASSERT(period >= open_);
    close();
    open_ = period;
    open_from_ms_ = start_ms_ + static_cast<int64_t>(period) * period_ms_;
  }
  return open_ < rollups_.size() ? &rollups_[open_] : nullptr;
}

void RollupBuilder::add_echo(Rollup& r, uint32_t rtt_us) {
  add_rtt(r, rtt_us);
  if (has_last_) {
    r.jitter_sum_us += std::max(rtt_us, last_rtt_us_) - std::min(rtt_us, last_rtt_us_);
    ++r.jitter_count;
  }
  last_rtt_us_ = rtt_us;
  has_last_ = true;
}

void RollupBuilder::add_reply(int64_t due_ms, uint32_t interval_ms, uint32_t rtt_us) {
  Rollup* const r = open(due_ms);
  if (r == nullptr) return;
  ++r->verdicts[number(Verdict::kAnswered)];
  r->time_ms[number(Verdict::kAnswered)] += interval_ms;
  ++r->reasons[static_cast<size_t>(Reason::kNone)];
  ++r->outcomes[static_cast<size_t>(EchoOutcome::kReply)];
  add_echo(*r, rtt_us);
}

void RollupBuilder::add(int64_t due_ms, uint32_t interval_ms, const ResultView& result) {
  Rollup* const opened = open(due_ms);
  if (opened == nullptr) return;
  Rollup& r = *opened;
  ++r.verdicts[number(result.verdict)];
  r.time_ms[number(result.verdict)] += interval_ms;
  ++r.reasons[static_cast<size_t>(result.reason)];
  for (size_t e = 0; e < result.outcomes.size(); ++e) {
    ++r.outcomes[static_cast<size_t>(result.outcomes[e])];
    if (result.outcomes[e] == EchoOutcome::kReply) add_echo(r, result.rtt_us[e]);
  }
  r.burst_sent += result.burst_sent;
  r.burst_answered += result.burst_rtt_us.size();
  for (const uint32_t rtt_us : result.burst_rtt_us) add_rtt(r, rtt_us);
}

std::vector<Rollup> RollupBuilder::take() {
  close();
  open_ = 0;
  open_from_ms_ = start_ms_;
  std::vector<Rollup> rollups(rollups_.size());
  rollups.swap(rollups_);
  return rollups;
}

// --- bytes --------------------------------------------------------------------------------------

size_t rollups_per_hour(uint32_t interval_ms) {
  if (interval_ms <= 2'000) return 60;
  if (interval_ms <= 10'000) return 12;
  return interval_ms <= 30'000 ? 4 : 1;
}

std::string pack_rollups(std::span<const Rollup> rollups) {
  GEMA_ASSERT(rollups.size() <= kRollupsMax);
  std::string out;
  out.push_back(static_cast<char>(kVersion));
  put_varint(rollups.size(), out);
  const uint64_t interval_ms = common_interval(rollups);
  put_varint(interval_ms, out);
  for (const Rollup& r : rollups) {
    put_checks(r, interval_ms, out);
    if (r.checks() == 0) continue;
    put_counts(r.reasons, out);
    put_counts(r.outcomes, out);
    put_varint(r.burst_sent, out);
    if (r.burst_sent > 0) put_varint(r.burst_answered, out);
    put_rtts(r, out);
  }
  packing::put_checksum(out);
  return out;
}

Result<std::vector<Rollup>> unpack_rollups(std::string_view bytes) {
  std::vector<Rollup> rollups;
  if (auto done = unpack_rollups(bytes, rollups); !done) return done.error();
  return rollups;
}

Result<void> unpack_rollups(std::string_view bytes, std::vector<Rollup>& out) {
  if (bytes.empty()) return bad("no bytes");
  const auto version = static_cast<uint8_t>(bytes[0]);
  if (version != kVersion && version != kVersionWithoutTime) return bad("unknown version");
  if (!packing::take_checksum(bytes)) return bad("wrong checksum");
  Input head(bytes.substr(1));
  out.resize(head.count(kRollupsMax));
  const uint64_t interval_ms = version == kVersion ? head.varint() : 0;
  if (head.failed()) return bad("more than a row may hold");
  std::string_view rest = head.rest();
  for (Rollup& r : out) {
    clear(r);
    Input in(rest);
    if (!take_checks(in, version, interval_ms, r)) return bad("a verdict out of range");
    if (r.checks() != 0) {
      if (!take_counts(in, in.varint(), r.reasons)) return bad("a reason out of range");
      if (!take_counts(in, in.varint(), r.outcomes)) return bad("an outcome out of range");
      r.burst_sent = in.varint();
      if (r.burst_sent > 0) r.burst_answered = in.varint();
    }
    if (in.failed()) return bad("cut short");
    rest = in.rest();
    if (r.checks() == 0) continue;
    if (auto done = take_rtts(rest, r); !done) return done.error();
  }
  if (!rest.empty()) return bad("too long");
  return {};
}

}  // namespace gema
