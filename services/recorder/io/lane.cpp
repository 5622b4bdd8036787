#include "services/recorder/io/lane.h"

#include <poll.h>

#include <algorithm>

#include "common/base/assert.h"
#include "common/observability/log.h"
#include "common/runtime/clock.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

// The lane's own job and nothing else: see busy_.
constexpr size_t kQueueMax = 1;
constexpr Duration kTakeInEvery = 2s;
// A batch this large is committed at once: waiting longer saves nothing.
constexpr size_t kCommitBytes = 1U << 20;

}  // namespace

Lane::Lane(LaneOptions options, std::unique_ptr<Sorter> sorter)
    : options_(std::move(options)),
      sorter_(std::move(sorter)),
      random_(options_.seed),
      store_(options_.postgres),
      worker_("rec-" + options_.stream, kQueueMax,
              [this](Job job) { return work(std::move(job)); }) {
  if (options_.pending_bytes_max == 0) options_.pending_bytes_max = kPendingBytesMax;
}

// --- on the worker's thread ------------------------------------------------------------------

Lane::Done Lane::work(Job job) {
  Done done{.kind = job.kind};
  const MonoTime begin = runtime::read_clock().mono;
  switch (job.kind) {
    case Kind::kLoad:
      done.loaded = store_.load(options_.stream);
      break;
    case Kind::kCommit:
      done.committed = store_.commit(*job.batch);
      break;
    case Kind::kTakeIn:
      done.taken_in = store_.take_in(options_.stream, job.now);
      break;
  }
  done.took = runtime::read_clock().mono - begin;
  return done;
}

// --- on the owner's thread ---------------------------------------------------------------------

std::vector<std::string> Lane::subscriptions() const {
  return consumer_ ? consumer_->subscriptions() : std::vector<std::string>{};
}

stream::ConsumerStats Lane::stream_stats() const {
  return consumer_ ? consumer_->stats() : stream::ConsumerStats{};
}

std::vector<stream::Outgoing> Lane::take_outgoing(Now now) {
  return consumer_ ? consumer_->take_outgoing(now) : std::vector<stream::Outgoing>{};
}

void Lane::on_message(std::string_view topic, std::string_view payload, Now now) {
  if (!consumer_) return;
  consumer_->on_message(topic, payload, now, deliveries_);
  deliver(now);
}

void Lane::deliver(Now now) {
  if (deliveries_.empty()) return;
  if (!open_changed_) {
    open_changed_ = true;
    open_since_ = now.mono;
  }
  for (stream::Delivery& delivery : deliveries_) {
    const uint64_t quarantined = sorter_->counts().quarantined;
    open_bytes_ += sorter_->take(std::move(delivery), now, open_);
    ++open_records_;
    if (sorter_->counts().quarantined != quarantined) {
      const RecordRow& row = open_.quarantined.back();
      consumer_->note_quarantined();
      if (!may_log_quarantine(now)) continue;
      obs::log_warn("record quarantined", {{"stream", options_.stream},
                                           {"producer", row.key.producer},
                                           {"partition", row.key.partition},
                                           {"seq", row.key.seq},
                                           {"reason", row.reason}});
    }
  }
  deliveries_.clear();
  set_pause();
}

// False: enough lines in this minute.
bool Lane::may_log_quarantine(Now now) {
  if (now.mono - quarantine_minute_ >= 1min) {
    quarantine_minute_ = now.mono;
    quarantine_lines_ = 0;
  }
  if (++quarantine_lines_ == kQuarantineLinesMax + 1) {
    obs::log_warn("no more lines about quarantined records for a minute; see stream_quarantine",
                  {{"stream", options_.stream}});
  }
  return quarantine_lines_ <= kQuarantineLinesMax;
}

void Lane::on_refused(const std::vector<Refused>& refused, Now now) {
  for (const Refused& r : refused) {
    ++counts_.refused;
    consumer_->note_quarantined();
    if (!may_log_quarantine(now)) continue;
    obs::log_error("PostgreSQL refuses a record: set aside, all others are recorded",
                   {{"stream", options_.stream},
                    {"producer", r.key.producer},
                    {"epoch", r.key.epoch},
                    {"partition", r.key.partition},
                    {"seq", r.key.seq},
                    {"reason", r.reason}});
  }
}

void Lane::set_pause() {
  const bool over =
      pending_bytes() >= options_.pending_bytes_max || pending_records() >= kPendingRecordsMax;
  const bool under = pending_bytes() < options_.pending_bytes_max / 2 &&
                     pending_records() < kPendingRecordsMax / 2;
  if (paused_ ? !under : over) {
    if (paused_) return;
    paused_ = true;
    obs::log_warn("paused: what waits for PostgreSQL is at its bound; producers keep the rest",
                  {{"stream", options_.stream}, {"pending_bytes", pending_bytes()}});
  } else {
    if (!paused_) return;
    paused_ = false;
    obs::log_info("taking records again", {{"stream", options_.stream}});
  }
  if (consumer_) consumer_->set_paused(paused_);
}

MonoTime Lane::turn(Now now) {
  for (Done& done : worker_.take_done()) {
    busy_ = false;
    on_done(std::move(done), now);
  }
  if (consumer_) {
    consumer_->tick(now, deliveries_);
    deliver(now);
  }
  if (!busy_) {
    if (!consumer_ || in_flight_) {
      if (now.mono >= next_try_) submit(consumer_ ? Kind::kCommit : Kind::kLoad, now);
    } else if (open_changed_ &&
               (now.mono - open_since_ >= options_.commit_every || open_bytes_ >= kCommitBytes)) {
      seal(now);
      submit(Kind::kCommit, now);
    } else if (now.mono >= next_take_in_) {
      next_take_in_ =
          now.mono + (sorter_->set_aside() > 0 ? kTakeInEvery : options_.look_again_every);
      submit(Kind::kTakeIn, now);
    } else if (!open_changed_ && now.mono >= next_check_) {
      seal(now);  // of nothing: only the tokens are looked at
      submit(Kind::kCommit, now);
    }
  }
  MonoTime wakeup = now.mono + 1s;
  if (!busy_) {
    if (!consumer_ || in_flight_) {
      wakeup = std::min(wakeup, next_try_);
    } else if (open_changed_) {
      wakeup = std::min(wakeup, open_since_ + options_.commit_every);
    } else {
      wakeup = std::min(wakeup, next_check_);
    }
  }
  if (consumer_) {
    if (const auto at = consumer_->next_wakeup()) wakeup = std::min(wakeup, *at);
  }
  return wakeup;
}

void Lane::submit(Kind kind, Now now) {
  busy_ = true;
  const bool taken = worker_.try_submit({kind, in_flight_, now.wall});
  GEMA_ASSERT(taken);
}

void Lane::seal(Now now) {
  GEMA_ASSERT(!in_flight_ && consumer_);
  open_.stream = options_.stream;
  open_.token = static_cast<int64_t>(random_.next() | 1);
  open_.before = known_.positions;
  open_.after = consumer_->positions();
  open_.tokens = known_.tokens;
  in_flight_ = std::make_shared<Batch>(std::move(open_));
  in_flight_bytes_ = open_bytes_;
  in_flight_records_ = open_records_;
  in_flight_newest_ms_ = sorter_->counts().newest_ms;
  open_ = {};
  open_changed_ = false;
  open_bytes_ = 0;
  open_records_ = 0;
  next_check_ = now.mono + options_.check_every;
}

void Lane::on_done(Done done, Now now) {
  if (done.kind == Kind::kLoad) {
    if (!done.loaded) return failed(done.loaded.error(), done.took, now);
    on_loaded(*done.loaded, now);
  } else if (done.kind == Kind::kCommit) {
    if (!done.committed) {
      ++counts_.commit_failures;
      return failed(done.committed.error(), done.took, now);
    }
    on_committed(*done.committed, now);
  } else {
    if (!done.taken_in) {
      next_take_in_ = now.mono + options_.look_again_every;
      return failed(done.taken_in.error(), done.took, now);
    }
    counts_.taken_in += done.taken_in->records;
    on_refused(done.taken_in->refused, now);
    if (sorter_->set_aside() == 0 && done.taken_in->records > 0) next_take_in_ = now.mono;
    sorter_->set_aside_is(done.taken_in->set_aside + open_.set_aside.size());
  }
  if (!waiting_for_.empty()) {
    waiting_for_.clear();
    obs::log_info("recording", {{"stream", options_.stream}});
  }
}

void Lane::failed(const Error& error, Duration took, Now now) {
  next_try_ = now.mono + options_.retry_after;
  if (error.code == Errc::kBadInput) {  // at the bound of what may be set aside: each try is work
    next_try_ = now.mono + std::max<Duration>(kRefusedRetryAfter, kRefusedIdleShare * took);
  }
  if (waiting_for_ == error.message) return;  // said once
  waiting_for_ = error.message;
  const obs::Fields fields = {
      {"stream", options_.stream}, {"why", error.message}, {"code", to_string(error.code)}};
  if (error.code == Errc::kPermanent || error.code == Errc::kBadInput) {
    obs::log_error("PostgreSQL refuses what the recorder does", fields);
  } else {
    obs::log_warn("waiting for PostgreSQL", fields);
  }
}

void Lane::on_loaded(const Loaded& loaded, Now now) {
  known_ = loaded;
  sorter_->set_aside_is(loaded.set_aside);
  consumer_.emplace(stream::ConsumerOptions{.stream = options_.stream, .group = "recorder"},
                    loaded.positions);
  next_check_ = now.mono + options_.check_every;
}

void Lane::on_committed(const Committed& committed, Now now) {
  if (committed.conflict) {
    ++counts_.conflicts;
    obs::log_warn(
        "the database is not as this recorder left it: another recorder, or an older copy",
        {{"stream", options_.stream}, {"records_asked_for_again", pending_records()}});
    known_ = committed.now;
    sorter_->set_aside_is(known_.set_aside);
    consumer_->restore(known_.positions);
    open_ = {};
    open_changed_ = false;
    open_bytes_ = 0;
    open_records_ = 0;
    next_check_ = now.mono + options_.check_every;
  } else {
    known_.positions = in_flight_->after;
    known_.tokens = committed.tokens;
    consumer_->mark_durable(known_.positions);
    on_refused(committed.refused, now);
    if (in_flight_records_ > 0) ++counts_.commits;
    counts_.hot_rows += committed.hot_rows;
    counts_.hot_bytes += committed.hot_bytes;
    counts_.newest_recorded_ms = std::max(counts_.newest_recorded_ms, in_flight_newest_ms_);
  }
  in_flight_.reset();
  in_flight_bytes_ = 0;
  in_flight_records_ = 0;
  set_pause();
}

void Lane::flush(Now now, std::chrono::milliseconds patience) {
  const MonoTime deadline = now.mono + patience;
  bool sealed = false;
  while (now.mono < deadline) {
    if (busy_) {
      pollfd waiting{.fd = worker_.fd(), .events = POLLIN, .revents = 0};
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now.mono).count();
      if (poll(&waiting, 1, static_cast<int>(left)) <= 0) return;
      for (Done& done : worker_.take_done()) {
        busy_ = false;
        on_done(std::move(done), now);
      }
      if (!waiting_for_.empty()) return;  // the database is away: the spools keep it
      continue;
    }
    if (sealed || !consumer_ || !open_changed_ || in_flight_) return;
    sealed = true;
    seal(now);
    submit(Kind::kCommit, now);
  }
}

}  // namespace gema::recorder
