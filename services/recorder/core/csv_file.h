// What stands in ping_results_YYYYMMDD.csv, the files of the multi-ping system: which rows, in
// which order, how a cell is written, which local day a result belongs to, which files are past
// keeping.
//
// Cells are written as common/domain/csv_text.h says, lines end with CR LF.
//
// Pure: local time is asked of the caller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/catalogue.h"
#include "common/domain/find_checked.h"
#include "common/domain/multi_ping.h"

namespace gema::recorder {

// A local date: days since 1970-01-01.
using LocalDay = int32_t;

LocalDay local_day(int64_t unix_ms, const UtcOffset& offset);

// The instants of a local date lie in [from_ms, to_ms). Where a clock that is set back crosses
// midnight they have a hole; `whole` is false then, and local_day() decides about each.
struct DaySpan {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  bool whole = true;

  bool holds(int64_t unix_ms) const { return unix_ms >= from_ms && unix_ms < to_ms; }
};
DaySpan span_of(LocalDay day, const UtcOffset& offset);

std::string csv_file_name(LocalDay day);                          // "ping_results_20261120.csv"
std::optional<LocalDay> day_of_file_name(std::string_view name);  // nullopt: not such a name
std::string format_day(LocalDay day);                             // "2026-11-20"
std::optional<LocalDay> parse_day(std::string_view text);         // nullopt: no such date

// True when the file of `day` is more than `keep_days` days old.
bool past_keeping(LocalDay day, LocalDay today, uint32_t keep_days);

enum class CsvRows : uint8_t {
  kOff,      // no files
  kDevices,  // one row per device, replaced in place
  kResults,  // one row per result
};
enum class CsvColumns : uint8_t {
  kAll,    // the eleven that the source system writes
  kShort,  // the seven that its README lists
};

// The newest result of a device, or one of many.
struct CsvResult {
  DeviceId device = 0;
  PingSample sample;

  friend bool operator==(const CsvResult&, const CsvResult&) = default;
};

void append_header(std::string& out, CsvColumns columns);
void append_row(std::string& out, const Device& device, const PingSample& sample,
                const UtcOffset& offset, CsvColumns columns);

std::vector<DeviceId> checked_devices(const Catalogue& catalogue);  // ascending
// Results a second that the catalogue asks for.
double results_per_second(const Catalogue& catalogue);

// The rows that go into the file, in order: those of checked devices, of these at most `limit` (0 =
// all) with the newest slots; one row per device by rising id, one row per result by rising slot.
std::vector<CsvResult> choose_rows(std::vector<CsvResult> rows, const Catalogue& catalogue,
                                   uint64_t limit, CsvRows kind);

// Lines of a CSV text that is read in pieces; a line end within quotes is none.
class CsvLineCounter {
 public:
  void take(std::string_view text);
  // Lines after the header.
  uint64_t rows() const;

 private:
  bool quoted_ = false;
  bool open_ = false;  // something stands after the last line end
  uint64_t lines_ = 0;
};

}  // namespace gema::recorder
