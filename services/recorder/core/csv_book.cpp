#include "services/recorder/core/csv_book.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {

CsvBook::CsvBook(CsvPolicy policy, UtcOffset offset, Now now)
    : policy_(policy), offset_(std::move(offset)), next_sweep_(now.mono) {
  today_ = local_day(unix_ms(now.wall), offset_);
  span_ = span_of(today_, offset_);
  // It may not have been finished when we stopped.
  past_[today_ - 1] = now.mono;
}

void CsvBook::roll(Now now) {
  const LocalDay today = local_day(unix_ms(now.wall), offset_);
  if (today == today_) return;
  // The last results of the day that ends are still on their way into history.
  past_[today_] = now.mono + kCsvSettle;
  past_.erase(today);
  today_ = today;
  span_ = span_of(today, offset_);
  late_span_ = {};
  std::erase_if(past_, [&](const auto& day) { return !may_rebuild(day.first); });
  rows_.clear();
  index_.clear();
  have_history_ = false;
  next_sweep_ = now.mono;
}

void CsvBook::on_results(const PingResults& results, Now now) {
  if (policy_.rows == CsvRows::kOff) return;
  size_t burst = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    while (burst < results.burst.size() && results.burst[burst].index < i) ++burst;
    const int64_t due_ms = results.due_ms[i];
    if (!span_.holds(due_ms) || (!span_.whole && local_day(due_ms, offset_) != today_)) {
      note_late(due_ms, now);
      continue;
    }
    changed_ = true;
    if (policy_.rows == CsvRows::kResults || results.verdict[i] == Verdict::kNotMeasured) continue;
    const bool has_burst = burst < results.burst.size() && results.burst[burst].index == i;
    take(results.device[i], {due_ms, results.verdict[i], results.reason[i],
                             mean_rtt_us(results, i, has_burst ? &results.burst[burst] : nullptr)});
  }
}

// What belongs to tomorrow already (clocks differ) comes from history when the day has begun.
void CsvBook::note_late(int64_t due_ms, Now now) {
  if (due_ms >= span_.to_ms) return;
  ++counts_.late;
  if (late_span_.holds(due_ms)) return;
  const LocalDay day = local_day(due_ms, offset_);
  if (day == today_ || !may_rebuild(day)) return;
  past_.try_emplace(day, now.mono + kCsvSettle);
  late_span_ = span_of(day, offset_);
  if (!late_span_.whole) late_span_ = {};
}

void CsvBook::take(DeviceId device, const PingSample& sample) {
  const auto found = index_.find(device);
  if (found != index_.end()) {
    PingSample& held = rows_[found->second].sample;
    if (sample.due_ms > held.due_ms) held = sample;
    return;
  }
  if (rows_.size() >= kCsvDevicesMax) {
    ++counts_.refused;
    return;
  }
  index_.emplace(device, static_cast<uint32_t>(rows_.size()));
  rows_.push_back({device, sample});
}

void CsvBook::on_catalogue(std::shared_ptr<const Catalogue> catalogue) {
  catalogue_ = std::move(catalogue);
  changed_ = true;
  forget_unknown_devices();
}

// A new device's results may come before the catalogue that names it, so not at once.
void CsvBook::forget_unknown_devices() {
  if (rows_.size() < 2 * catalogue_->devices.size() + 1'000) return;
  std::erase_if(rows_, [&](const CsvResult& row) {
    return find_checked(*catalogue_, row.device) == nullptr;
  });
  index_.clear();
  for (size_t i = 0; i < rows_.size(); ++i) {
    index_.emplace(rows_[i].device, static_cast<uint32_t>(i));
  }
}

bool CsvBook::may_rebuild(LocalDay day) const {
  return day <= today_ && !past_keeping(day, today_, policy_.keep_days);
}

bool CsvBook::request_rebuild(LocalDay day) {
  GEMA_ASSERT(catalogue_ != nullptr && may_rebuild(day));
  if (rebuild_ || rebuilding_) return false;
  rebuild_ = day;
  return true;
}

bool CsvBook::today_is_due() const {
  return changed_ || !have_history_;
}

CsvJob CsvBook::begin(CsvJob::Kind kind, LocalDay day, bool from_history) {
  running_ = true;
  rebuilding_ = kind == CsvJob::Kind::kRebuild;
  CsvJob job{.kind = kind,
             .day = day,
             .from_history = from_history,
             .even_if_empty = rebuilding_,
             .rows = {},
             .catalogue = catalogue_};
  if (kind == CsvJob::Kind::kSweep) return job;
  past_.erase(day);
  late_span_ = {};
  if (day == today_) {
    changed_ = false;
    job.rows = rows_;
  }
  return job;
}

std::optional<CsvJob> CsvBook::next(Now now) {
  using Kind = CsvJob::Kind;
  roll(now);
  if (running_ || policy_.rows == CsvRows::kOff) return std::nullopt;
  if (rebuild_) {
    const LocalDay day = *std::exchange(rebuild_, std::nullopt);
    return begin(Kind::kRebuild, day, true);
  }
  if (now.mono >= next_sweep_) {
    next_sweep_ = now.mono + kCsvSweepEvery;
    return begin(Kind::kSweep, today_, false);
  }
  if (catalogue_ == nullptr || now.mono < next_write_) return std::nullopt;
  // Once today's file stands, a past day that is due comes first: today always has something new.
  if (have_history_) {
    for (const auto& [day, due] : past_) {
      if (due <= now.mono) return begin(Kind::kWrite, day, true);
    }
  }
  if (today_is_due()) {
    return begin(Kind::kWrite, today_, policy_.rows == CsvRows::kResults || !have_history_);
  }
  return std::nullopt;
}

void CsvBook::on_done(const CsvJob& job, const CsvDone& done, Now now) {
  running_ = false;
  rebuilding_ = false;
  counts_.last_seconds = std::chrono::duration<double>(done.took).count();
  counts_.seconds += counts_.last_seconds;
  if (done.error) {
    ++counts_.failures;
    failing_ = done.error->message;
    next_write_ = now.mono + std::max(policy_.write_every, kCsvRetryAfter);
    if (job.kind == CsvJob::Kind::kSweep) return;
    if (job.day == today_) {
      changed_ = true;
    } else if (may_rebuild(job.day)) {
      past_.try_emplace(job.day, next_write_);
    }
    return;
  }
  if (job.kind == CsvJob::Kind::kSweep) return;  // says nothing about writing
  if (done.rows) {
    failing_.clear();
    ++counts_.writes;
    counts_.rows = *done.rows;
  }
  next_write_ = now.mono + std::max(policy_.write_every, done.took * kCsvIdleShare);
  if (job.day == today_ && job.from_history) {
    have_history_ = true;
    for (const CsvResult& row : done.loaded) take(row.device, row.sample);
  }
}

MonoTime CsvBook::next_wakeup(Now now) const {
  constexpr Duration kLook = 1s;  // midnight comes within
  if (running_ || policy_.rows == CsvRows::kOff) return now.mono + kLook;
  if (rebuild_) return now.mono;
  MonoTime at = std::min(next_sweep_, now.mono + kLook);
  if (catalogue_ == nullptr) return at;
  if (today_is_due()) return std::min(at, next_write_);
  for (const auto& [day, due] : past_) at = std::min(at, std::max(due, next_write_));
  return at;
}

}  // namespace gema::recorder
