// Results as text for other programs: CSV or NDJSON (one JSON object a line), columns as
// docs/export.md lists them. `gema export` and GET /api/v1/export write it, `gema import` reads it.
//
// Pulled: next() gives the next piece of bytes, so that memory stays the same whatever the span.
// Order: by device as given, then slot, then location. Each window of a device is one snapshot of
// history; windows are read one after the other.
//
// No I/O but the connection's. Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/history/reader.h"
#include "common/postgres/connection.h"

namespace gema::history {

enum class ExportFormat : uint8_t { kCsv = 0, kNdjson = 1 };

struct ExportDevice {
  DeviceId id = 0;
  std::string address;
  std::string name;  // "" = the address is written
};

struct ExportQuery {
  std::vector<ExportDevice> devices;
  int64_t from_ms = 0;  // window [from_ms, to_ms)
  int64_t to_ms = 0;
  ExportFormat format = ExportFormat::kCsv;
  std::optional<std::string> location;  // nullopt: all
};

// The names of the CSV columns, in order.
std::string_view export_csv_header();  // with its line end

// Appends one result as a line. For CSV lines end with CR LF, for NDJSON with LF.
void append_export_row(std::string& out, ExportFormat format, const ExportDevice& device,
                       const Results& results, const Row& row);

struct ExportProgress {
  uint64_t devices_done = 0;
  uint64_t devices = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
  double share = 0;  // of devices and time, 0..1
};

class Export {
 public:
  Export(postgres::Connection& connection, ExportQuery query);

  // Appends the next piece to `out`: nothing, where a window held nothing; at most what one window
  // of a device has. Returns: false at the end. After an error the export is over.
  Result<bool> next(std::string& out);

  ExportProgress progress() const;
  // Stored rows that did not decode and were left out, so far.
  const std::vector<BrokenRow>& broken() const { return broken_; }

 private:
  Result<void> begin();

  postgres::Connection& connection_;
  const ExportQuery query_;
  Reader reader_;
  bool begun_ = false;
  size_t device_ = 0;
  int64_t from_ms_ = 0;  // what there can be lies in [from_ms_, to_ms_)
  int64_t to_ms_ = 0;
  int64_t at_ms_ = 0;  // of the current device, what comes next
  int64_t window_ms_ = 0;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  std::vector<BrokenRow> broken_;
};

}  // namespace gema::history
