#include "services/timeout-tracker/io/timeouts_writer.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include "common/base/assert.h"
#include "common/domain/find_checked.h"
#include "common/runtime/clock.h"
#include "common/runtime/file_replacement.h"

namespace gema::timeout_tracker {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;  // written at once
constexpr Duration kStopPatience = 2s;

// Returns: how many rows the file has.
Result<size_t> replace(const std::filesystem::path& dir, const TimeoutsJob& job,
                       const UtcOffset& offset) {
  const TimeoutRows rows = choose_rows(*job.rows, *job.catalogue);
  auto file = runtime::FileReplacement::begin(dir, kTimeoutFile);
  if (!file) return file.error();
  std::string piece;
  append_timeout_header(piece);
  for (const TimeoutRow& row : rows) {
    append_timeout_row(piece, *find_checked(*job.catalogue, row.device), row.sample, offset);
    if (piece.size() < kPieceBytes) continue;
    if (auto written = file->write(piece); !written) return written.error();
    piece.clear();
  }
  if (auto written = file->write(piece); !written) return written.error();
  if (auto committed = file->commit(); !committed) return committed.error();
  return rows.size();
}

TimeoutsDone write(const std::filesystem::path& dir, const TimeoutsJob& job,
                   const UtcOffset& offset) {
  const MonoTime begin = runtime::read_clock().mono;
  TimeoutsDone done;
  if (const auto replaced = replace(dir, job, offset)) {
    done.rows = *replaced;
  } else {
    done.problem = replaced.error().message;
  }
  done.took = runtime::read_clock().mono - begin;
  return done;
}

}  // namespace

TimeoutsWriter::TimeoutsWriter(TimeoutsWriterOptions options, obs::Metrics& metrics, Now now)
    : options_(std::move(options)),
      book_(options_.write_every, now),
      writes_(metrics.counter("csv_writes_total", "Times that timeout_tracking.csv was written.")),
      failures_(metrics.counter("csv_failures_total",
                                "Times that timeout_tracking.csv could not be written.")),
      rows_(metrics.gauge("csv_rows", "Rows of timeout_tracking.csv when written last.")),
      last_seconds_(metrics.gauge("csv_last_seconds", "Time that writing it last took.")),
      failing_(metrics.gauge("csv_failing", "1 while timeout_tracking.csv cannot be written.")),
      // What runs there owns all it uses: it may outlive us (Worker::abandon).
      worker_("csv", 1,
              [dir = options_.dir, local_offset = options_.local_offset,
               first = std::make_shared<bool>(true)](const TimeoutsJob& job) {
                TimeoutsDone done = write(dir, job, local_offset());
                if (done.problem.empty() && std::exchange(*first, false)) {
                  // Only litter: whether it could be removed changes nothing.
                  static_cast<void>(runtime::remove_unfinished(dir, kTimeoutFile));
                }
                return done;
              }) {}

TimeoutsWriter::~TimeoutsWriter() {
  worker_.finish_within(kStopPatience);
}

MonoTime TimeoutsWriter::turn(const Tracker* tracker, Now now) {
  for (const TimeoutsDone& done : worker_.take_done()) {
    busy_ = false;
    book_.on_done(done, now);
    (done.problem.empty() ? writes_ : failures_).Increment();
  }
  if (tracker == nullptr || catalogue_ == nullptr) {
    book_.wait_for_counts(now);
  } else if (book_.due(now)) {
    if (auto job = book_.next(tracker->timeouts(), catalogue_, now)) {
      busy_ = true;
      busy_since_ = now.mono;
      const bool taken = worker_.try_submit(*std::move(job));
      GEMA_ASSERT(taken);
    }
  }
  show(now);
  return busy_ ? now.mono + 1s : book_.next_look();
}

void TimeoutsWriter::show(Now now) {
  rows_.Set(static_cast<double>(book_.counts().rows));
  last_seconds_.Set(book_.counts().last_seconds);
  failing_.Set(problem(now).empty() ? 0 : 1);
}

std::string TimeoutsWriter::problem(Now now) const {
  if (busy_ && now.mono - busy_since_ > options_.slow_after) {
    return "writing to " + options_.dir.string() + " takes very long";
  }
  return book_.failing();
}

}  // namespace gema::timeout_tracker
