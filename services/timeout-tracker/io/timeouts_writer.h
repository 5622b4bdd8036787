// Keeps timeout_tracking.csv in the directory of the CSV files.
//
// In: the tracker's counts when the file is due (core/timeouts_csv.h decides when, and what stands
// in it), catalogues. Deciding never waits for it: a worker writes. A directory that fails, or
// never answers, is said by problem() and counted; the file is right again once it can be written.
//
// Thread rule: the loop's thread.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "common/base/time.h"
#include "common/observability/metrics.h"
#include "common/runtime/worker.h"
#include "services/timeout-tracker/core/tracker.h"

namespace prometheus {
class Counter;
class Gauge;
}  // namespace prometheus

namespace gema::timeout_tracker {

struct TimeoutsWriterOptions {
  std::filesystem::path dir;
  Duration write_every = 5s;
  std::function<UtcOffset()> local_offset;  // asked once per file
  // A file that takes longer is a problem worth saying.
  Duration slow_after = 60s;
};

class TimeoutsWriter {
 public:
  TimeoutsWriter(TimeoutsWriterOptions options, obs::Metrics& metrics, Now now);
  // Waits for a file in hand for at most two seconds.
  ~TimeoutsWriter();

  void set_catalogue(std::shared_ptr<const Catalogue> catalogue) {
    catalogue_ = std::move(catalogue);
  }

  // Does what is due. `tracker`: nullptr while the states are still being put together. Returns
  // when to call again; fd() apart.
  MonoTime turn(const Tracker* tracker, Now now);
  int fd() const { return worker_.fd(); }

  // One sentence, "" = all is well.
  std::string problem(Now now) const;

 private:
  void show(Now now);

  const TimeoutsWriterOptions options_;
  std::shared_ptr<const Catalogue> catalogue_;
  TimeoutsBook book_;
  MonoTime busy_since_{};
  bool busy_ = false;
  prometheus::Counter &writes_, &failures_;
  prometheus::Gauge &rows_, &last_seconds_, &failing_;
  runtime::Worker<TimeoutsJob, TimeoutsDone> worker_;
};

}  // namespace gema::timeout_tracker
