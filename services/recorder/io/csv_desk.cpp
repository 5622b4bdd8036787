#include "services/recorder/io/csv_desk.h"

#include <algorithm>
#include <set>

#include "common/base/assert.h"
#include "common/runtime/clock.h"
#include "common/runtime/file_replacement.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/store.h"

namespace gema::recorder {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;  // written at once
constexpr int64_t kHourMs = 3'600'000;
// Back from the end of a day: half a minute, five minutes, then hour by hour.
constexpr int64_t kFirstStepMs = 30'000;
// Slots may be this far ahead of our clock.
constexpr int64_t kAheadMs = 15'000;
// So few devices are looked for one by one.
constexpr size_t kFewDevices = 64;

PingSample sample_of(const history::Row& row) {
  return {row.due_ms, row.verdict, row.reason, row.rtt_us};
}

// The file of a job as it is being written, begun with its first row.
class Output {
 public:
  Output(const std::filesystem::path& dir, const CsvJob& job, CsvColumns columns,
         const UtcOffset& offset)
      : dir_(dir), job_(job), columns_(columns), offset_(offset) {}

  uint64_t rows() const { return rows_; }

  // Requires: the devices of all rows are checked.
  Result<void> add(const std::vector<CsvResult>& rows) {
    if (auto begun = begin(); !begun) return begun.error();
    rows_ += rows.size();
    for (const CsvResult& row : rows) {
      append_row(piece_, *find_checked(*job_.catalogue, row.device), row.sample, offset_, columns_);
      if (piece_.size() < kPieceBytes) continue;
      if (auto written = file_->write(piece_); !written) return written.error();
      piece_.clear();
    }
    return {};
  }

  Result<void> finish() {
    if (auto begun = begin(); !begun) return begun.error();
    if (auto written = file_->write(piece_); !written) return written.error();
    return file_->commit();
  }

 private:
  Result<void> begin() {
    if (file_) return {};
    auto begun = runtime::FileReplacement::begin(dir_, csv_file_name(job_.day));
    if (!begun) return begun.error();
    file_.emplace(std::move(*begun));
    append_header(piece_, columns_);
    return {};
  }

  const std::filesystem::path& dir_;
  const CsvJob& job_;
  const CsvColumns columns_;
  const UtcOffset& offset_;
  std::optional<runtime::FileReplacement> file_;
  std::string piece_;
  uint64_t rows_ = 0;
};

// kPermanent is the directory's (CsvDone).
Error of_history(Error error) {
  if (error.code == Errc::kPermanent) error.code = Errc::kUnavailable;
  return error;
}

int64_t now_ms() {
  return unix_ms(runtime::read_clock().wall);
}

}  // namespace

CsvDone CsvDesk::run(CsvJob job) {
  const MonoTime begin = runtime::read_clock().mono;
  offset_ = options_.local_offset();
  CsvDone done;
  if (job.kind == CsvJob::Kind::kSweep) {
    if (auto swept = files_.sweep(job.day, options_.policy.keep_days); !swept) {
      done.error = swept.error();
    }
  } else if (auto written = write(job, done.loaded); written) {
    done.rows = *written;
  } else {
    done.error = written.error();
  }
  done.took = runtime::read_clock().mono - begin;
  return done;
}

Result<std::optional<uint64_t>> CsvDesk::write(CsvJob& job, Rows& loaded) {
  GEMA_ASSERT(job.catalogue != nullptr);
  const CsvPolicy& policy = options_.policy;
  if (policy.rows == CsvRows::kResults && policy.max_records == 0) return write_all_results(job);
  if (job.from_history) {
    const DaySpan span = span_of(job.day, offset_);
    auto read = policy.rows == CsvRows::kDevices ? newest_of_each_device(job, span)
                                                 : newest_results(job, span);
    if (!read) return read.error();
    if (policy.rows == CsvRows::kDevices) {
      loaded = *read;
      // Memory has what is not committed yet; of two rows of a device the newer one counts.
      std::map<DeviceId, PingSample> newest;
      for (const Rows* rows : {&*read, &job.rows}) {
        for (const CsvResult& row : *rows) {
          PingSample& held = newest.try_emplace(row.device, row.sample).first->second;
          if (row.sample.due_ms > held.due_ms) held = row.sample;
        }
      }
      job.rows.clear();
      for (const auto& [device, sample] : newest) job.rows.push_back({device, sample});
    } else {
      job.rows = std::move(*read);
    }
  }
  const Rows rows =
      choose_rows(std::move(job.rows), *job.catalogue, policy.max_records, policy.rows);
  if (rows.empty() && leave_alone(job)) return std::optional<uint64_t>();
  Output output(files_.dir(), job, policy.columns, offset_);
  if (auto added = output.add(rows); !added) return added.error();
  if (auto finished = output.finish(); !finished) return finished.error();
  return std::optional(output.rows());
}

// A file of nothing helps nobody, and where history was lost the old file is all there is.
bool CsvDesk::leave_alone(const CsvJob& job) const {
  const bool today = local_day(now_ms(), offset_) == job.day;
  return files_.exists(job.day) ? !today : !job.even_if_empty;
}

// Window by window, so that memory stays bounded however long the day is.
Result<std::optional<uint64_t>> CsvDesk::write_all_results(const CsvJob& job) {
  const DaySpan span = span_of(job.day, offset_);
  const double rate = std::max(results_per_second(*job.catalogue), 0.01);
  const auto window_ms = static_cast<int64_t>(
      std::clamp(kCsvWindowRows / rate * 1'000.0, 60'000.0, static_cast<double>(kHourMs)));
  const int64_t to_ms = std::min(span.to_ms, now_ms() + kAheadMs);
  Output output(files_.dir(), job, options_.policy.columns, offset_);
  for (int64_t from_ms = span.from_ms; from_ms < to_ms; from_ms += window_ms) {
    Rows rows;
    const int64_t until_ms = std::min(from_ms + window_ms, to_ms);
    if (auto read = results_between(job, from_ms, until_ms, rows); !read) return read.error();
    std::erase_if(rows, [&](const CsvResult& r) { return !on_day(job, span, r.sample.due_ms); });
    rows = choose_rows(std::move(rows), *job.catalogue, 0, CsvRows::kResults);
    if (rows.empty()) continue;
    if (auto added = output.add(rows); !added) return added.error();
  }
  if (output.rows() == 0 && leave_alone(job)) return std::optional<uint64_t>();
  if (auto finished = output.finish(); !finished) return finished.error();
  return std::optional(output.rows());
}

bool CsvDesk::on_day(const CsvJob& job, const DaySpan& span, int64_t due_ms) const {
  return span.whole || local_day(due_ms, offset_) == job.day;
}

// --- from history ------------------------------------------------------------------------------

Result<void> CsvDesk::ensure_connected() {
  if (connection_ != nullptr && connection_->usable()) return {};
  connection_.reset();
  // Inventory may have yet to bring the schema up.
  if (auto ready = Store(options_.postgres).ensure_ready(); !ready)
    return of_history(ready.error());
  auto opened = postgres::Connection::open(options_.postgres);
  if (!opened) return of_history(opened.error());
  connection_ = std::move(*opened);
  return {};
}

Result<void> CsvDesk::scan(
    int64_t from_ms, int64_t to_ms,
    const std::function<void(DeviceId, const std::vector<history::Row>&)>& each) {
  if (auto connected = ensure_connected(); !connected) return connected.error();
  auto read = history::Reader(*connection_).each_device(from_ms, to_ms, each);
  if (!read) return of_history(read.error());
  return {};
}

// The newest measured result of each device of the day. Back from its end in growing steps, as most
// devices have one in its last minutes: a day of everything would be read for hours.
Result<CsvDesk::Rows> CsvDesk::newest_of_each_device(const CsvJob& job, const DaySpan& span) {
  const MonoTime begin = runtime::read_clock().mono;
  const auto checked = checked_devices(*job.catalogue);
  std::set<DeviceId> missing(checked.begin(), checked.end());
  Rows rows;
  auto look = [&](DeviceId device, const std::vector<history::Row>& found) {
    if (!missing.contains(device)) return;
    for (auto row = found.rbegin(); row != found.rend(); ++row) {
      if (row->verdict == Verdict::kNotMeasured || !on_day(job, span, row->due_ms)) continue;
      rows.push_back({device, sample_of(*row)});
      missing.erase(device);
      return;
    }
  };
  int64_t end_ms = std::min(span.to_ms, now_ms() + kAheadMs);
  int64_t step_ms = kFirstStepMs;
  while (!missing.empty() && end_ms > span.from_ms) {
    if (step_ms == kHourMs && missing.size() <= kFewDevices) break;
    if (runtime::read_clock().mono - begin > kCsvPatience) return rows;
    const int64_t from_ms = std::max(span.from_ms, end_ms - step_ms);
    if (auto read = scan(from_ms, end_ms, look); !read) return read.error();
    end_ms = from_ms;
    step_ms = std::min(10 * step_ms, kHourMs);
  }
  if (missing.empty() || end_ms <= span.from_ms) return rows;
  for (const DeviceId device : std::set<DeviceId>(missing)) {
    if (auto connected = ensure_connected(); !connected) return connected.error();
    auto read = history::Reader(*connection_).results(device, span.from_ms, end_ms);
    if (!read) return of_history(read.error());
    look(device, read->rows);
  }
  return rows;
}

Result<void> CsvDesk::results_between(const CsvJob& job, int64_t from_ms, int64_t to_ms,
                                      Rows& rows) {
  return scan(from_ms, to_ms, [&](DeviceId device, const std::vector<history::Row>& found) {
    if (find_checked(*job.catalogue, device) == nullptr) return;
    for (const history::Row& row : found) rows.push_back({device, sample_of(row)});
  });
}

// The newest results of the day, max_records of them. The first step back is what that many should
// take; where less was measured, each further one is twice as long.
Result<CsvDesk::Rows> CsvDesk::newest_results(const CsvJob& job, const DaySpan& span) {
  const uint64_t limit = options_.policy.max_records;
  const double rate = std::max(results_per_second(*job.catalogue), 0.01);
  auto step_ms = static_cast<int64_t>(
      std::clamp(static_cast<double>(limit) / rate * 1'200.0, 10'000.0, 86'400'000.0));
  int64_t end_ms = std::min(span.to_ms, now_ms() + kAheadMs);
  Rows rows;
  while (rows.size() < limit && end_ms > span.from_ms) {
    const int64_t from_ms = std::max(span.from_ms, end_ms - step_ms);
    if (auto read = results_between(job, from_ms, end_ms, rows); !read) return read.error();
    std::erase_if(rows, [&](const CsvResult& r) { return !on_day(job, span, r.sample.due_ms); });
    end_ms = from_ms;
    step_ms *= 2;
  }
  return rows;
}

}  // namespace gema::recorder
