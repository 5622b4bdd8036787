// timeout_tracking.csv, the multi-ping system's list of devices that time out: which rows, in which
// order, how they are written, and when the file is due.
//
// A device is in it while its count of timeouts in a row is not 0, one line each, the highest count
// first. What was not measured (paused, a prober away) changes no count, so such a device stays;
// one that is gone or lost (`hilang`) is not in it.
//
// In: the tracker's counts, the catalogue, what became of a job; `now`. Out: one job at a time, for
// a worker. Pure; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/catalogue.h"
#include "common/domain/multi_ping.h"

namespace gema::timeout_tracker {

struct TimeoutRow {
  DeviceId device = 0;
  TimeoutSample sample;

  friend bool operator==(const TimeoutRow&, const TimeoutRow&) = default;
};
using TimeoutRows = std::vector<TimeoutRow>;

// Those of checked devices; the highest count first, then by id.
TimeoutRows choose_rows(TimeoutRows rows, const Catalogue& catalogue);

// Cells as common/domain/csv_text.h says, lines end with CR LF.
void append_timeout_header(std::string& out);
void append_timeout_row(std::string& out, const Device& device, const TimeoutSample& sample,
                        const UtcOffset& offset);

// What the file is to be made of.
struct TimeoutsJob {
  std::shared_ptr<const TimeoutRows> rows;  // to choose from
  std::shared_ptr<const Catalogue> catalogue;
};

struct TimeoutsDone {
  std::string problem;  // "" = the file stands
  uint64_t rows = 0;    // that it has
  Duration took{};
};

struct TimeoutsCounts {
  uint64_t writes = 0;
  uint64_t failures = 0;
  uint64_t rows = 0;  // of the last file written
  double last_seconds = 0;
};

// When the file is made anew: when it would say something else, at most every `write_every`, so
// that making it takes at most a fiftieth of the time; at least each minute, so that whatever
// became of the file meanwhile does not last.
class TimeoutsBook {
 public:
  TimeoutsBook(Duration write_every, Now now);

  // The counts are not known (yet): the file stays as it is. Once they are, what came meanwhile is
  // read first, for as long as between two files.
  void wait_for_counts(Now now);

  bool due(Now now) const { return !running_ && now.mono >= next_look_; }
  // `rows`: Tracker::timeouts(). Requires: due(now). nullopt: the file says just that. Each job is
  // followed by on_done.
  std::optional<TimeoutsJob> next(TimeoutRows rows, std::shared_ptr<const Catalogue> catalogue,
                                  Now now);
  void on_done(const TimeoutsDone& done, Now now);
  MonoTime next_look() const { return next_look_; }

  const std::string& failing() const { return failing_; }  // "" = the last job went well
  const TimeoutsCounts& counts() const { return counts_; }

 private:
  const Duration write_every_;
  MonoTime next_look_{};
  MonoTime refresh_at_{};
  bool running_ = false;
  TimeoutsJob job_;  // what the file was made of, or is being made of; after a failure nothing
  std::string failing_;
  TimeoutsCounts counts_;
};

}  // namespace gema::timeout_tracker
