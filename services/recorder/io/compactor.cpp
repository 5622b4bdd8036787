#include "services/recorder/io/compactor.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "common/base/assert.h"
#include "common/observability/log.h"
#include "common/runtime/clock.h"

namespace gema::recorder {
namespace {

constexpr int kNice = 10;
// Behind by more than this, it works without pauses. Guess.
constexpr double kBehindS = 2 * 3600;

// Of the calling thread; on Linux priorities are a thread's.
void lower_priority() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
}

}  // namespace

Compactor::Compactor(CompactorOptions options, Now now)
    : options_(std::move(options)),
      store_(options_.store),
      worker_("rec-compact", 1, [this](const Job& job) { return work(job); }) {
  due_ = now.mono + options_.look_every;
  housekeep_due_ = now.mono;
}

Compactor::Done Compactor::work(const Job& job) {
  lower_priority();
  Done done{.housekeep = job.housekeep};
  const MonoTime begin = runtime::read_clock().mono;
  if (job.cleanup) {
    done.cleaned = store_.cleanup(*job.cleanup, job.now);
  } else if (job.housekeep) {
    done.housekept = store_.housekeep(job.now);
    done.status = store_.status(job.now);
  } else {
    done.compacted = store_.step(job.now);
  }
  done.seconds = std::chrono::duration<double>(runtime::read_clock().mono - begin).count();
  return done;
}

MonoTime Compactor::turn(Now now) {
  for (const Done& done : worker_.take_done()) {
    busy_ = false;
    on_done(done, now);
  }
  if (busy_) return now.mono + 1s;  // fd() wakes us
  if (cleanup_) {
    busy_ = true;
    const bool taken = worker_.try_submit({.now = now.wall, .cleanup = std::move(cleanup_)});
    GEMA_ASSERT(taken);
    cleanup_.reset();
    return now.mono + 1s;
  }
  if (std::min(due_, housekeep_due_) <= now.mono) {
    const bool housekeep = housekeep_due_ <= now.mono;
    if (housekeep) {
      housekeep_due_ = now.mono + options_.housekeep_every;
    } else {
      due_ = now.mono + options_.look_every;
    }
    busy_ = true;
    const bool taken = worker_.try_submit({.housekeep = housekeep, .now = now.wall});
    GEMA_ASSERT(taken);
    return now.mono + 1s;
  }
  return std::min(due_, housekeep_due_);
}

void Compactor::clean_up(const CleanupOrder& order, CleanupDone done) {
  if (cleanup_done_) {
    return done(Error{Errc::kUnavailable, "another cleanup is under way"});
  }
  cleanup_ = order;
  cleanup_done_ = std::move(done);
}

void Compactor::on_done(const Done& done, Now now) {
  if (done.cleaned) {
    const CleanupDone tell = std::move(cleanup_done_);
    cleanup_done_ = nullptr;
    return tell(*done.cleaned);
  }
  if (done.housekeep) {
    if (done.status) counts_.status = *done.status;
    if (done.housekept) {
      counts_.housekept.chunk_leaves_dropped += done.housekept->chunk_leaves_dropped;
      counts_.housekept.leaves_dropped += done.housekept->leaves_dropped;
      counts_.housekept.recent_leaves_dropped += done.housekept->recent_leaves_dropped;
    } else if (done.housekept.error().code != Errc::kRetryable) {
      // Retryable: a reader held the table for longer than we waited; nothing is wrong.
      failed(done.housekept.error());
    }
    return;
  }
  if (!done.compacted) {
    due_ = now.mono + options_.retry_after;
    return failed(done.compacted.error());
  }
  const Compacted& c = *done.compacted;
  if (c.more) {
    due_ = now.mono;
    if (counts_.status.lag_s < kBehindS) {
      due_ += std::chrono::duration_cast<Duration>(std::chrono::duration<double>(done.seconds));
    }
  }
  if (c.broken > 0) {
    obs::log_warn("stored rows do not decode and were left out; table history_broken names them",
                  {{"rows", c.broken}});
  }
  if (c.refused > 0) {
    obs::log_error(
        "PostgreSQL refuses hours of devices: what was to be added to them is set aside"
        " in stream_quarantine",
        {{"devices", c.refused}});
  }
  counts_.done.add(c);
  counts_.seconds += done.seconds;
  if (!waiting_for_.empty()) {
    waiting_for_.clear();
    obs::log_info("compacting again");
  }
}

void Compactor::failed(const Error& error) {
  ++counts_.failures;
  if (waiting_for_ == error.message) return;
  waiting_for_ = error.message;
  obs::log_warn("short chunks wait to be compacted", {{"why", error.message}});
}

}  // namespace gema::recorder
