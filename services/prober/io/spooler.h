// From results to the spool: encodes records, appends them to the ping stream, and keeps the mark
// that tells the next start what is in there (core/catch_up.h). One thread.
#pragma once

#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/domain/ping.h"
#include "common/stream/producer.h"
#include "services/prober/core/catch_up.h"
#include "services/prober/io/state_files.h"

namespace gema::prober {

class Spooler {
 public:
  // What an earlier run left: its mark, and per device the last slot in the spool after it.
  struct Past {
    std::optional<int64_t> done_until_ms;
    std::map<DeviceId, int64_t> last_slot;
  };

  Spooler(stream::Producer& producer, std::filesystem::path mark_path);

  // Before the first append. An unreadable mark costs only certainty: it is as if there were none.
  Result<Past> read_past();

  // Appends one record; when the disk refuses it waits, with all after it, for retry().
  void append(uint32_t partition, const PingResults& results, Now now);
  void retry(Now now);
  // All records given so far are in the spool.
  bool up_to_date() const { return waiting_.empty(); }
  size_t waiting() const { return waiting_.size(); }
  uint64_t records_dropped() const { return dropped_; }
  uint64_t append_errors() const { return errors_; }
  const std::string& last_error() const { return last_error_; }

  // About once a second, when up_to_date() and every finished result was appended: slots up to
  // `done_until_ms` are in the spool, slot time is `now_ms`. Writes the mark of the call before,
  // whose records are synced by now.
  void mark(int64_t done_until_ms, int64_t now_ms);
  // After a clean stop: the records are synced, so the last mark may be written itself.
  void mark_finally(int64_t done_until_ms, int64_t now_ms);
  // Slot time went back: earlier positions prove nothing any more.
  void forget_marks();

 private:
  struct Record {
    uint32_t partition;
    std::string bytes;
  };
  std::optional<SpoolMark> make_mark(int64_t done_until_ms, int64_t now_ms);
  void write(const SpoolMark& mark);

  stream::Producer& producer_;
  const std::filesystem::path mark_path_;
  Marks marks_;
  std::optional<SpoolMark> next_mark_;
  std::deque<Record> waiting_;  // at most kRecordsWaitingMax; full: the oldest is dropped, counted
  std::string encoded_;
  uint64_t dropped_ = 0;
  uint64_t errors_ = 0;
  std::string last_error_;
};

}  // namespace gema::prober
