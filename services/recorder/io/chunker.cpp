#include "services/recorder/io/chunker.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/observability/log.h"
#include "common/runtime/clock.h"

namespace gema::recorder {

Chunker::Chunker(ChunkerOptions options, Now now)
    : options_(std::move(options)),
      store_(options_.postgres),
      worker_("rec-chunks", 1, [this](const Job& job) { return work(job); }) {
  // Spread, so that the work is even and not all at the same second.
  for (uint32_t p = 0; p < kPartitions; ++p) {
    due_[p] = now.mono + options_.chunk_every * (p + 1) / kPartitions;
  }
  housekeep_due_ = now.mono + options_.housekeep_every;
}

Chunker::Done Chunker::work(const Job& job) {
  Done done{.partition = job.partition};
  const MonoTime begin = runtime::read_clock().mono;
  if (job.partition < 0) {
    done.housekept = store_.housekeep(job.now, options_.retention);
  } else {
    done.chunked =
        store_.chunk(static_cast<uint32_t>(job.partition), job.now, options_.retention.results);
  }
  done.seconds = std::chrono::duration<double>(runtime::read_clock().mono - begin).count();
  return done;
}

MonoTime Chunker::turn(Now now) {
  for (const Done& done : worker_.take_done()) {
    busy_ = false;
    on_done(done, now);
  }
  auto next = std::min_element(due_.begin(), due_.end());
  if (!busy_) {
    Job job{.partition = static_cast<int>(next - due_.begin()), .now = now.wall};
    MonoTime& due = *next <= housekeep_due_ ? *next : housekeep_due_;
    if (&due == &housekeep_due_) job.partition = -1;
    if (due <= now.mono) {
      // Never a burst to catch up after a stall.
      const Duration every = job.partition < 0 ? options_.housekeep_every : options_.chunk_every;
      due = std::max(due + every, now.mono + every / 2);
      busy_ = true;
      const bool taken = worker_.try_submit(job);
      GEMA_ASSERT(taken);
    }
  }
  if (busy_) return now.mono + 1s;  // fd() wakes us
  return std::min(*std::min_element(due_.begin(), due_.end()), housekeep_due_);
}

void Chunker::on_done(const Done& done, Now now) {
  if (done.partition < 0) {
    if (!done.housekept) {
      housekeep_due_ = std::min(housekeep_due_, now.mono + options_.retry_after);
      // A reader held the table for longer than we waited: nothing is wrong.
      if (done.housekept.error().code != Errc::kRetryable) failed(done.housekept.error());
      return;
    }
    counts_.hot_leaves_dropped += done.housekept->hot_leaves_dropped;
    counts_.quarantine_trimmed += done.housekept->quarantine_trimmed;
    counts_.address_changes_dropped += done.housekept->address_changes_dropped;
    counts_.gaps_dropped += done.housekept->gaps_dropped;
    counts_.transitions_dropped += done.housekept->transitions_dropped;
    counts_.epochs_dropped += done.housekept->epochs_dropped;
    counts_.refused_dropped += done.housekept->refused_dropped;
    return;
  }
  MonoTime& due = due_[static_cast<size_t>(done.partition)];
  if (!done.chunked) {
    // Refused although what can be was set aside: each try is work.
    if (done.chunked.error().code != Errc::kBadInput) {
      due = std::min(due, now.mono + options_.retry_after);
    }
    return failed(done.chunked.error());
  }
  const Chunked& c = *done.chunked;
  if (c.more) due = now.mono;
  if (c.undecodable > 0) {
    obs::log_warn("recorded results could not be decoded and were quarantined",
                  {{"partition", done.partition}, {"records", c.undecodable}});
  }
  if (c.refused > 0) {
    obs::log_error("PostgreSQL refuses chunks: their results are set aside in stream_quarantine",
                   {{"partition", done.partition}, {"chunks", c.refused}});
  }
  ++counts_.runs;
  counts_.hot_rows += c.hot_rows;
  counts_.chunks += c.chunks;
  counts_.results += c.results;
  counts_.strays += c.strays;
  counts_.doubled += c.doubled;
  counts_.discarded += c.discarded;
  counts_.undecodable += c.undecodable;
  counts_.refused += c.refused;
  counts_.seconds += done.seconds;
  counts_.last_seconds = done.seconds;
  if (!waiting_for_.empty()) {
    waiting_for_.clear();
    obs::log_info("transposing again");
  }
}

void Chunker::failed(const Error& error) {
  ++counts_.failures;
  if (waiting_for_ == error.message) return;
  waiting_for_ = error.message;
  obs::log_warn("hot rows wait to be transposed", {{"why", error.message}});
}

}  // namespace gema::recorder
