// The directory of CSV files: the list of all, removal of old ones. Fails with kPermanent and one
// sentence when the directory does not let us (full, gone, no right).
//
// Thread rule: one thread. Calls may block as long as the directory does.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/csv_files.h"
#include "services/recorder/core/csv_file.h"

namespace gema::recorder {

class CsvFiles {
 public:
  explicit CsvFiles(std::filesystem::path dir) : dir_(std::move(dir)) {}

  const std::filesystem::path& dir() const { return dir_; }
  bool exists(LocalDay day) const;
  // Newest day first; files with that prefix whose day is none come last. No directory: no files.
  Result<std::vector<CsvFile>> list();
  // Removes files past keeping, and replacements that a crash left. Returns: how many.
  Result<uint64_t> sweep(LocalDay today, uint32_t keep_days);

 private:
  struct Counted {
    uint64_t size_bytes = 0;
    WallTime modified_at{};
    uint64_t rows = 0;
  };

  const std::filesystem::path dir_;
  std::map<std::string, Counted> counted_;  // of the files there are: counting reads them whole
};

}  // namespace gema::recorder
