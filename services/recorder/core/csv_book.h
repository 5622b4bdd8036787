// When which CSV file is written, and what memory knows for it: the newest measured result of every
// device today. The rest comes from history: at the start, when results come late, for days gone
// by, and always where there is one row per result.
//
// In: results as they are recorded, catalogues, what became of a job; `now`. Out: one job at a time
// (for a worker: nothing here waits for a disk). It needs the catalogue to write, never to take
// results.
//
// Today's file is written when something changed, at most every `write_every`, and so that writing
// takes at most a fiftieth of the time: at 100,000 devices it takes seconds between two (README).
//
// Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/catalogue.h"
#include "common/domain/ping.h"
#include "services/recorder/core/csv_file.h"

namespace gema::recorder {

struct CsvPolicy {
  CsvRows rows = CsvRows::kDevices;
  CsvColumns columns = CsvColumns::kAll;
  uint64_t max_records = 0;  // newest rows kept; 0 = all
  uint32_t keep_days = 30;
  Duration write_every = 5s;
};

struct CsvJob {
  enum class Kind : uint8_t { kWrite, kRebuild, kSweep };
  Kind kind = Kind::kWrite;
  LocalDay day = 0;  // of the file; kSweep: today
  bool from_history = false;
  bool even_if_empty = true;    // false: no rows and no file leave it so
  std::vector<CsvResult> rows;  // what memory has of the day
  std::shared_ptr<const Catalogue> catalogue;
};

struct CsvDone {
  std::optional<Error> error;     // kPermanent: the directory's; else history's
  std::optional<uint64_t> rows;   // written; nullopt: there was nothing to write
  std::vector<CsvResult> loaded;  // newest of each device that history had, for memory
  Duration took{};
};

struct CsvCounts {
  uint64_t writes = 0;
  uint64_t failures = 0;
  uint64_t rows = 0;        // of the last file written
  uint64_t late = 0;        // results that belong to a day gone by
  uint64_t refused = 0;     // results of devices beyond the bound
  double seconds = 0;       // of all jobs
  double last_seconds = 0;  // of the last one
};

class CsvBook {
 public:
  CsvBook(CsvPolicy policy, UtcOffset offset, Now now);

  void on_results(const PingResults& results, Now now);
  void on_catalogue(std::shared_ptr<const Catalogue> catalogue);

  // The file of `day` from history, before anything else. False: one is waiting or running.
  // Requires: may_rebuild(day), a catalogue.
  bool request_rebuild(LocalDay day);
  // Today, or a day whose file is kept.
  bool may_rebuild(LocalDay day) const;

  // The job that is due, if none runs. Each is followed by on_done.
  std::optional<CsvJob> next(Now now);
  // `job`: what next() returned.
  void on_done(const CsvJob& job, const CsvDone& done, Now now);
  // When next() may have something: call it then.
  MonoTime next_wakeup(Now now) const;

  LocalDay today() const { return today_; }
  const Catalogue* catalogue() const { return catalogue_.get(); }
  size_t devices() const { return rows_.size(); }
  const std::string& failing() const { return failing_; }  // "" = the last job went well
  const CsvCounts& counts() const { return counts_; }

 private:
  void roll(Now now);
  void note_late(int64_t due_ms, Now now);
  void take(DeviceId device, const PingSample& sample);
  void forget_unknown_devices();
  CsvJob begin(CsvJob::Kind kind, LocalDay day, bool from_history);
  bool today_is_due() const;

  const CsvPolicy policy_;
  const UtcOffset offset_;
  LocalDay today_ = 0;
  DaySpan span_;
  std::shared_ptr<const Catalogue> catalogue_;

  // At most kCsvDevicesMax; results of more devices are counted and left to history.
  std::vector<CsvResult> rows_;
  std::unordered_map<DeviceId, uint32_t> index_;
  bool have_history_ = false;  // rows_ holds what history has of today
  bool changed_ = false;

  std::map<LocalDay, MonoTime> past_;  // files to be made anew, at most keep_days of them; when
  DaySpan late_span_;                  // of the day that note_late() marked last
  std::optional<LocalDay> rebuild_;
  bool running_ = false;
  bool rebuilding_ = false;
  MonoTime next_write_{};
  MonoTime next_sweep_{};
  std::string failing_;
  CsvCounts counts_;
};

}  // namespace gema::recorder
