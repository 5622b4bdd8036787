// Keeps the CSV files of the multi-ping system beside history, and answers the calls about them.
//
// In: results as the ping lane takes them, catalogues, calls. Recording never waits for it: what it
// takes it keeps in bounded memory (CsvBook); files and history are a worker's business, one job at
// a time. A directory that fails, or never answers, is said by problem() and counted; results are
// not lost by it, as the files are made from history again.
//
// Thread rule: the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/time.h"
#include "common/domain/csv_files.h"
#include "common/runtime/worker.h"
#include "services/recorder/core/csv_book.h"
#include "services/recorder/io/csv_desk.h"

namespace gema::recorder {

struct CsvWriterOptions {
  CsvDeskOptions desk;
  // A job that takes longer is a problem worth saying.
  Duration slow_after = 120s;
  Duration answer_after = 3s;  // a rebuild that takes longer is answered as started
  // Tests put a desk in that hangs.
  std::function<CsvDone(CsvJob)> run = nullptr;
};

class CsvWriter {
 public:
  using RebuildDone = std::function<void(CsvRebuilt)>;
  using ListDone = std::function<void(Result<std::vector<CsvFile>>)>;

  CsvWriter(CsvWriterOptions options, Now now);
  // Waits for a job in hand for at most two seconds.
  ~CsvWriter();

  void on_results(const PingResults& results, Now now) { book_.on_results(results, now); }
  void on_catalogue(std::shared_ptr<const Catalogue> catalogue) {
    book_.on_catalogue(std::move(catalogue));
  }

  // `day`: "2026-11-20", "" = today. Each `done` is called once, unless we are gone before.
  void rebuild(const std::string& day, RebuildDone done, Now now);
  void list(ListDone done);

  // Does what is due. Returns when to call again; fd() apart.
  MonoTime turn(Now now);
  int fd() const { return worker_.fd(); }

  // One sentence, "" = all is well.
  std::string problem(Now now) const;
  const CsvBook& book() const { return book_; }

 private:
  using Listed = Result<std::vector<CsvFile>>;
  struct Job {
    std::shared_ptr<CsvJob> write;  // nullptr: list
  };
  using Done = std::variant<CsvDone, Listed>;

  static std::function<Done(Job)> work_of(const CsvWriterOptions& options);
  void on_done(Done done, Now now);
  void answer_rebuild(CsvRebuilt rebuilt);

  const CsvWriterOptions options_;
  CsvBook book_;
  std::shared_ptr<CsvJob> in_hand_;
  bool busy_ = false;
  MonoTime busy_since_{};
  std::vector<ListDone> lists_;  // at most kCsvCallsMax wait; more are refused
  RebuildDone rebuild_done_;     // of the one that waits or runs
  MonoTime rebuild_answer_at_{};
  runtime::Worker<Job, Done> worker_;
};

}  // namespace gema::recorder
