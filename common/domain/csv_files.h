// What is asked of and told about the daily CSV files of results, as values;
// common/codec/csv_codec.h turns them into messages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/time.h"

namespace gema {

struct CsvFile {
  std::string name;
  std::string date;  // "2026-11-20", as its name says; "" = it says none
  uint64_t size_bytes = 0;
  uint64_t rows = 0;  // lines after the header
  WallTime modified_at{};

  friend bool operator==(const CsvFile&, const CsvFile&) = default;
};

// What became of the wish to make a file anew. Numbers are on the wire.
enum class CsvRebuildOutcome : uint8_t {
  kDone = 0,
  kStarted = 1,    // it takes longer than a caller should wait
  kBusy = 2,       // one is under way
  kNoDevices = 3,  // nothing is checked
  kNotReady = 4,   // which devices there are is not known yet, or the files are switched off
  kBadDay = 5,     // no date, in the future, or past keeping
  kFailed = 6,
};
inline constexpr int kCsvRebuildOutcomeMax = 6;

struct CsvRebuilt {
  CsvRebuildOutcome outcome = CsvRebuildOutcome::kDone;
  uint64_t device_count = 0;  // devices that are checked
  std::string error;          // one sentence, unless kDone or kStarted

  friend bool operator==(const CsvRebuilt&, const CsvRebuilt&) = default;
};

}  // namespace gema
