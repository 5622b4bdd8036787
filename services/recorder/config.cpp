#include "services/recorder/config.h"

#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

// What the source system's README says of MAX_CSV_RECORDS.
constexpr uint64_t kResultsByDefault = 1'000;

}  // namespace

using namespace std::chrono_literals;

void Config::describe(config::Spec& spec, Config& config) {
  spec.duration_ms("commit_every_ms", config.commit_every, 50ms, 1000ms,
                   "How long results wait for company before they are committed to PostgreSQL.");
  spec.duration_s("chunk_every_s", config.chunk_every, 1s, 3600s,
                  "How often hot rows are transposed into chunks.");
  spec.integer("raw_retention_days", config.raw_retention_days, 1, 3650,
               "How many days every single result is kept; older ones are dropped by whole days.");
  spec.duration_s(
      "compact_after_s", config.compact_after, 0s, 86400s,
      "How long after an hour's end its results are packed for good; what comes later is "
      "merged again.");
  spec.integer("minute_rollups_days", config.minute_rollups_days, 0, 36500,
               "How many days rollups of minutes are kept; at least as long as single results.");
  spec.integer("hour_rollups_days", config.hour_rollups_days, 1, 36500,
               "How many days rollups of hours are kept; at least as long as single results.");
  spec.integer(
      "transitions_days", config.transitions_days, 1, 36500,
      "How many days transitions (up, down) are kept; at least as long as rollups of hours. "
      "Of each device the newest one before stays.");
  spec.choice("csv_rows", config.csv_rows, {"devices", "results", "off"},
              "The daily CSV files have one row per device, replaced in place, or one per result; "
              "off: there are none.");
  spec.choice("csv_columns", config.csv_columns, {"all", "short"},
              "All eleven columns, or the seven from timestamp to error_message.");
  spec.integer("csv_max_records", config.csv_max_records, -1, kCsvRecordsMax,
               "A CSV file has at most this many rows, the newest; 0: all there are. -1: all "
               "devices, or the newest 1000 results.");
  spec.alias("MAX_CSV_RECORDS", "csv_max_records");
  spec.integer("csv_keep_days", config.csv_keep_days, 1, 3650,
               "CSV files older than this many days are removed.");
  spec.duration_s("csv_write_every_s", config.csv_write_every, 1s, 3600s,
                  "Today's CSV file is written when something changed, at most so often; rarer "
                  "where it is large.");
}

CsvPolicy Config::csv_policy() const {
  CsvPolicy policy{.rows = csv_rows == "devices"   ? CsvRows::kDevices
                           : csv_rows == "results" ? CsvRows::kResults
                                                   : CsvRows::kOff,
                   .columns = csv_columns == "all" ? CsvColumns::kAll : CsvColumns::kShort,
                   .keep_days = csv_keep_days,
                   .write_every = csv_write_every};
  if (csv_max_records >= 0) {
    policy.max_records = static_cast<uint64_t>(csv_max_records);
  } else if (policy.rows == CsvRows::kResults) {
    policy.max_records = kResultsByDefault;
  }
  return policy;
}

}  // namespace gema::recorder
