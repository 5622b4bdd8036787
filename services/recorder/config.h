// Section `recorder:` of gema.yaml.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/config/spec.h"
#include "services/recorder/core/csv_book.h"

namespace gema::recorder {

struct Config {
  // How long what came waits for company before it is committed. Longer: fewer, larger commits;
  // what is not committed is not acknowledged, so nothing is risked.
  std::chrono::milliseconds commit_every{900};
  // How often hot rows become chunks. Longer: longer, cheaper chunks, and a longer hot tail for
  // readers to go through.
  std::chrono::seconds chunk_every{120};
  // How long every single result is kept.
  uint32_t raw_retention_days = 90;
  // How long after an hour's end, and after the last result that came late for it, its results are
  // packed for good. Longer: hours that are being caught up with are packed once, not twice.
  std::chrono::seconds compact_after{600};
  // How long rollups are kept; those of minutes at least as long as single results.
  uint32_t minute_rollups_days = 0;
  uint32_t hour_rollups_days = 1827;
  // How long transitions are kept, which availability and outages are read from; at least as long
  // as rollups of hours. The newest of each device stays.
  uint32_t transitions_days = 1827;

  // The daily CSV files of the multi-ping system.
  std::string csv_rows = "devices";  // "results", "off"
  std::string csv_columns = "all";   // "short"
  int64_t csv_max_records = -1;      // -1: all devices, or the newest 1,000 results; 0: all
  uint32_t csv_keep_days = 30;
  std::chrono::seconds csv_write_every{5};

  CsvPolicy csv_policy() const;

  static void describe(config::Spec& spec, Config& config);
};

}  // namespace gema::recorder
