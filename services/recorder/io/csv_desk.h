// Does the jobs of a CsvBook: takes what memory has, reads the rest from history, writes the file.
// Owns a connection of its own, opened when needed.
//
// Memory: of one row per device, all of them; of one row per result, those kept, or one window.
//
// Thread rule: one thread, a worker's. Calls block.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/history/reader.h"
#include "common/postgres/connection.h"
#include "services/recorder/core/csv_book.h"
#include "services/recorder/io/csv_files.h"

namespace gema::recorder {

struct CsvDeskOptions {
  std::filesystem::path dir;
  postgres::Options postgres;
  CsvPolicy policy;
  std::function<UtcOffset()> local_offset;  // asked once per job
};

class CsvDesk {
 public:
  explicit CsvDesk(CsvDeskOptions options) : options_(std::move(options)), files_(options_.dir) {}

  // Requires: the job has a catalogue, unless it sweeps.
  CsvDone run(CsvJob job);
  Result<std::vector<CsvFile>> list() { return files_.list(); }

 private:
  using Rows = std::vector<CsvResult>;

  // Returns: rows written; nullopt: there was nothing to write.
  Result<std::optional<uint64_t>> write(CsvJob& job, Rows& loaded);
  Result<std::optional<uint64_t>> write_all_results(const CsvJob& job);
  Result<void> ensure_connected();
  Result<void> scan(int64_t from_ms, int64_t to_ms,
                    const std::function<void(DeviceId, const std::vector<history::Row>&)>& each);
  Result<Rows> newest_of_each_device(const CsvJob& job, const DaySpan& span);
  Result<Rows> newest_results(const CsvJob& job, const DaySpan& span);
  Result<void> results_between(const CsvJob& job, int64_t from_ms, int64_t to_ms, Rows& rows);
  bool on_day(const CsvJob& job, const DaySpan& span, int64_t due_ms) const;
  bool leave_alone(const CsvJob& job) const;

  const CsvDeskOptions options_;
  CsvFiles files_;
  UtcOffset offset_;  // of this job
  std::unique_ptr<postgres::Connection> connection_;
};

}  // namespace gema::recorder
