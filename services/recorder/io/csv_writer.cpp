#include "services/recorder/io/csv_writer.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

constexpr Duration kStopPatience = 2s;

uint64_t count_checked(const Catalogue& catalogue) {
  return static_cast<uint64_t>(
      std::count_if(catalogue.devices.begin(), catalogue.devices.end(), is_checked));
}

}  // namespace

CsvWriter::CsvWriter(CsvWriterOptions options, Now now)
    : options_(std::move(options)),
      book_(options_.desk.policy, options_.desk.local_offset(), now),
      worker_("rec-csv", 1, work_of(options_)) {}

CsvWriter::~CsvWriter() {
  worker_.finish_within(kStopPatience);
}

// What runs on the worker's thread owns all it uses: it may outlive us (Worker::abandon).
std::function<CsvWriter::Done(CsvWriter::Job)> CsvWriter::work_of(const CsvWriterOptions& options) {
  auto desk = std::make_shared<CsvDesk>(options.desk);
  return [desk, run = options.run](const Job& job) -> Done {
    if (job.write == nullptr) return desk->list();
    return run ? run(*job.write) : desk->run(*job.write);
  };
}

void CsvWriter::rebuild(const std::string& day, RebuildDone done, Now now) {
  using Outcome = CsvRebuildOutcome;
  if (options_.desk.policy.rows == CsvRows::kOff) {
    return done({Outcome::kNotReady, 0, "CSV files are switched off"});
  }
  const Catalogue* catalogue = book_.catalogue();
  if (catalogue == nullptr) {
    return done({Outcome::kNotReady, 0, "which devices there are is not known yet"});
  }
  const uint64_t devices = count_checked(*catalogue);
  if (devices == 0) return done({Outcome::kNoDevices, 0, "no device is checked"});
  const auto wanted = day.empty() ? std::optional(book_.today()) : parse_day(day);
  if (!wanted || !book_.may_rebuild(*wanted)) {
    return done(
        {Outcome::kBadDay, devices,
         "day: must be a date as 2026-11-20, of today or of the days whose files are kept"});
  }
  if (rebuild_done_ || !book_.request_rebuild(*wanted)) {
    return done({Outcome::kBusy, devices, "a file is being made anew"});
  }
  rebuild_done_ = std::move(done);
  rebuild_answer_at_ = now.mono + options_.answer_after;
}

void CsvWriter::answer_rebuild(CsvRebuilt rebuilt) {
  if (!rebuild_done_) return;
  rebuilt.device_count = count_checked(*book_.catalogue());
  std::exchange(rebuild_done_, nullptr)(std::move(rebuilt));
}

void CsvWriter::list(ListDone done) {
  if (lists_.size() >= kCsvCallsMax) {
    return done(Error{Errc::kUnavailable, "too many wait for the list of files"});
  }
  lists_.push_back(std::move(done));
}

void CsvWriter::on_done(Done done, Now now) {
  busy_ = false;
  if (auto* listed = std::get_if<Listed>(&done)) {
    for (const ListDone& waiting : std::exchange(lists_, {})) waiting(*listed);
    return;
  }
  const CsvDone& written = std::get<CsvDone>(done);
  const std::shared_ptr<CsvJob> job = std::exchange(in_hand_, nullptr);
  book_.on_done(*job, written, now);
  if (job->kind != CsvJob::Kind::kRebuild) return;
  if (written.error && written.error->code == Errc::kPermanent) {
    answer_rebuild({CsvRebuildOutcome::kFailed, 0, written.error->message});
  } else if (written.error) {
    answer_rebuild({CsvRebuildOutcome::kNotReady, 0, "history cannot be read now"});
  } else {
    answer_rebuild({CsvRebuildOutcome::kDone, 0, ""});
  }
}

MonoTime CsvWriter::turn(Now now) {
  for (Done& done : worker_.take_done()) on_done(std::move(done), now);
  if (rebuild_done_ && now.mono >= rebuild_answer_at_) {
    answer_rebuild({CsvRebuildOutcome::kStarted, 0, ""});
  }
  if (!busy_) {
    Job job;
    if (lists_.empty()) {
      if (auto due = book_.next(now)) {
        // The worker takes the rows from its copy; ours says what it was.
        job.write = std::make_shared<CsvJob>(std::move(*due));
        in_hand_ = job.write;
      }
    }
    if (!lists_.empty() || job.write != nullptr) {
      busy_ = true;
      busy_since_ = now.mono;
      const bool taken = worker_.try_submit(std::move(job));
      GEMA_ASSERT(taken);
    }
  }
  MonoTime wakeup = busy_ ? now.mono + 1s : book_.next_wakeup(now);
  if (rebuild_done_) wakeup = std::min(wakeup, rebuild_answer_at_);
  return wakeup;
}

std::string CsvWriter::problem(Now now) const {
  if (busy_ && now.mono - busy_since_ > options_.slow_after) {
    return "writing to " + options_.desk.dir.string() + " takes very long";
  }
  return book_.failing();
}

}  // namespace gema::recorder
