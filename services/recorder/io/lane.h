// One stream on its way into PostgreSQL: consumer, the batch being gathered, and one worker that
// commits. The thread that calls it never waits for the database.
//
//   on_message -> consumer -> deliveries -> sorter -> batch -> worker: commit -> mark_durable ->
//   ack
//
// One batch is in flight at a time. A commit that fails is tried again, the same batch, until it
// is in (the head rows' tokens tell whether an earlier try went through). What PostgreSQL refuses
// for its content does not fail a commit: it is set aside in it (io/refusals.h). When the head rows
// say that somebody else wrote, or that the database is older than what we know, everything
// gathered is dropped and the consumer goes back to what the database holds: what it lacks is asked
// for again.
//
// Bound: kPendingBytesMax gathered and in flight; there the consumer is paused. Nothing is
// acknowledged that is not committed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/random.h"
#include "common/base/time.h"
#include "common/runtime/worker.h"
#include "common/stream/consumer.h"
#include "services/recorder/io/sorter.h"
#include "services/recorder/io/store.h"

namespace gema::recorder {

struct LaneOptions {
  std::string stream;  // "ping"
  postgres::Options postgres;
  Duration commit_every = 900ms;
  Duration retry_after = 1s;        // after a failed try
  Duration check_every = 5s;        // when idle: is the database still the one we know?
  Duration look_again_every = 60s;  // for refused records that people want to be tried again
  size_t pending_bytes_max = 0;     // 0 = kPendingBytesMax
  uint64_t seed = 0;                // of the tokens: random
};

struct LaneCounts {
  uint64_t commits = 0;
  uint64_t commit_failures = 0;  // tries
  uint64_t conflicts = 0;
  uint64_t hot_rows = 0;
  uint64_t hot_bytes = 0;
  uint64_t taken_in = 0;
  uint64_t refused = 0;  // records, or what they say beside results, that PostgreSQL refused
  int64_t newest_recorded_ms = 0;  // newest slot that is durable
};

class Lane {
 public:
  Lane(LaneOptions options, std::unique_ptr<Sorter> sorter);

  // What must be subscribed to; empty until the positions were read.
  std::vector<std::string> subscriptions() const;
  // Ignored until the positions were read: records come again then.
  void on_message(std::string_view topic, std::string_view payload, Now now);
  // Does what is due. Returns when to call again; input and fd() apart.
  MonoTime turn(Now now);
  std::vector<stream::Outgoing> take_outgoing(Now now);
  int fd() const { return worker_.fd(); }

  // "" while the database takes what we give it.
  const std::string& waiting_for() const { return waiting_for_; }
  bool paused() const { return paused_; }
  size_t pending_bytes() const { return open_bytes_ + in_flight_bytes_; }
  size_t pending_records() const { return open_records_ + in_flight_records_; }
  // Nothing gathered, nothing in flight.
  bool idle() const { return !in_flight_ && !open_changed_; }
  uint64_t set_aside() const { return sorter_->set_aside(); }
  const SorterCounts& sorted() const { return sorter_->counts(); }
  const LaneCounts& counts() const { return counts_; }
  stream::ConsumerStats stream_stats() const;

  // Commits what was gathered, if the database is there; for a clean stop. Waits.
  void flush(Now now, std::chrono::milliseconds patience);

 private:
  enum class Kind { kLoad, kCommit, kTakeIn };
  struct Job {
    Kind kind = Kind::kLoad;
    std::shared_ptr<const Batch> batch;
    WallTime now{};
  };
  struct Done {
    Kind kind = Kind::kLoad;
    Result<Loaded> loaded{Loaded{}};
    Result<Committed> committed{Committed{}};
    Result<TakenIn> taken_in{TakenIn{}};
    Duration took{};
  };

  Done work(Job job);
  void on_done(Done done, Now now);
  void on_loaded(const Loaded& loaded, Now now);
  void on_committed(const Committed& committed, Now now);
  void on_refused(const std::vector<Refused>& refused, Now now);
  bool may_log_quarantine(Now now);
  void failed(const Error& error, Duration took, Now now);
  void deliver(Now now);
  void seal(Now now);
  void submit(Kind kind, Now now);
  void set_pause();

  LaneOptions options_;
  std::unique_ptr<Sorter> sorter_;
  Random random_;
  std::optional<stream::Consumer> consumer_;
  std::vector<stream::Delivery> deliveries_;

  Loaded known_;  // what the database holds, as far as we know
  Batch open_;
  bool open_changed_ = false;
  size_t open_bytes_ = 0;
  size_t open_records_ = 0;
  MonoTime open_since_{};
  std::shared_ptr<Batch> in_flight_;  // being committed, or waiting for another try
  size_t in_flight_bytes_ = 0;
  size_t in_flight_records_ = 0;
  int64_t in_flight_newest_ms_ = 0;
  bool busy_ = false;  // the worker has a job of ours
  MonoTime next_try_{};
  MonoTime next_check_{};
  MonoTime next_take_in_{};
  bool paused_ = false;
  MonoTime quarantine_minute_{};  // when the lines were last counted from 0
  uint32_t quarantine_lines_ = 0;
  std::string waiting_for_ = "the first look at the positions";
  LaneCounts counts_;

  Store store_;  // used on the worker's thread only
  runtime::Worker<Job, Done> worker_;
};

}  // namespace gema::recorder
