#include "services/timeout-tracker/core/timeouts_csv.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/domain/csv_text.h"
#include "common/domain/find_checked.h"
#include "services/timeout-tracker/core/limits.h"

namespace gema::timeout_tracker {

TimeoutRows choose_rows(TimeoutRows rows, const Catalogue& catalogue) {
  std::erase_if(rows, [&](const TimeoutRow& row) {
    return row.sample.consecutive == 0 || find_checked(catalogue, row.device) == nullptr;
  });
  std::sort(rows.begin(), rows.end(), [](const TimeoutRow& a, const TimeoutRow& b) {
    return a.sample.consecutive != b.sample.consecutive
               ? a.sample.consecutive > b.sample.consecutive
               : a.device < b.device;
  });
  return rows;
}

void append_timeout_header(std::string& out) {
  for (const std::string_view column : kTimeoutColumns) {
    out += column;
    out += column == kTimeoutColumns.back() ? "\r\n" : ",";
  }
}

void append_timeout_row(std::string& out, const Device& device, const TimeoutSample& sample,
                        const UtcOffset& offset) {
  bool first = true;
  for_each_timeout_cell(device, sample, offset, [&](std::string_view text) {
    if (!std::exchange(first, false)) out += ',';
    append_csv_cell(out, text);
  });
  out += "\r\n";
}

TimeoutsBook::TimeoutsBook(Duration write_every, Now now) : write_every_(write_every) {
  wait_for_counts(now);
}

void TimeoutsBook::wait_for_counts(Now now) {
  next_look_ = std::max(next_look_, now.mono + write_every_);
}

std::optional<TimeoutsJob> TimeoutsBook::next(TimeoutRows rows,
                                              std::shared_ptr<const Catalogue> catalogue, Now now) {
  GEMA_ASSERT(due(now) && catalogue != nullptr);
  if (job_.rows != nullptr && *job_.rows == rows && job_.catalogue == catalogue &&
      now.mono < refresh_at_) {
    next_look_ = now.mono + write_every_;
    return std::nullopt;
  }
  job_ = {std::make_shared<const TimeoutRows>(std::move(rows)), std::move(catalogue)};
  running_ = true;
  return job_;
}

void TimeoutsBook::on_done(const TimeoutsDone& done, Now now) {
  GEMA_ASSERT(running_);
  running_ = false;
  failing_ = done.problem;
  counts_.last_seconds = std::chrono::duration<double>(done.took).count();
  if (!done.problem.empty()) {
    ++counts_.failures;
    job_ = {};
    next_look_ = now.mono + std::max(write_every_, kCsvRetryAfter);
    return;
  }
  ++counts_.writes;
  counts_.rows = done.rows;
  next_look_ = now.mono + std::max(write_every_, done.took * kCsvIdleShare);
  refresh_at_ = now.mono + kCsvRefreshEvery;
}

}  // namespace gema::timeout_tracker
