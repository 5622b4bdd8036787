// Results as text for other programs: CSV or NDJSON (one JSON object a line), columns as
// docs/export.md lists them. `gema export` and GET /api/v1/export write it, `gema import` reads it.
//
// Pulled: next() gives the next piece of bytes, so that memory stays the same whatever the span.
// Order: by device as given, then slot, then location. A piece is one snapshot of history: several
// devices that have little, or a window of one that has much; devices that have nothing in the
// range are told from the others by thousands. Pieces are read one after the other.
//
// A stored row that does not decode is left out; a line stands in its place and says so.
//
// No I/O but the connection's. Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/chunk.h"
#include "common/domain/ping.h"
#include "common/history/results.h"
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

// One result that counts.
struct ExportRow {
  int64_t due_ms = 0;
  uint32_t interval_ms = 0;
  std::string_view location;
  std::string_view prober;
  ResultView result;
  std::span<const Stray> late_answers;
};

// Appends one result as a line. For CSV lines end with CR LF, for NDJSON with LF.
void append_export_row(std::string& out, ExportFormat format, const ExportDevice& device,
                       const ExportRow& row);

// The verdict of a line that stands for a stored row which does not decode; its reason names the
// row.
inline constexpr std::string_view kUnreadable = "unreadable";
// `device`: nullptr for a hot row, which belongs to none.
void append_unreadable_row(std::string& out, ExportFormat format, const ExportDevice* device,
                           const BrokenRow& row);

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

  // Appends the next piece to `out`: some MB at most, perhaps nothing. Returns: false at the end.
  // After an error the export is over.
  Result<bool> next(std::string& out);

  ExportProgress progress() const;
  // Stored rows that did not decode and were left out, so far; the first of them by name.
  uint64_t broken_rows() const { return broken_rows_; }
  const std::vector<BrokenRow>& broken() const { return broken_; }
  static constexpr size_t kBrokenNamedMax = 1'000;

 private:
  struct Found {
    size_t place = 0;      // in query_.devices
    uint64_t results = 0;  // about so many
  };

  Result<void> begin();
  Result<void> find_hot();
  Result<void> look();
  Result<void> read_piece(std::string& out);
  Result<size_t> read(size_t begin, size_t end, int64_t from_ms, int64_t to_ms, std::string& out);
  void take_broken(const BrokenRow& row);
  void take_hot_broken(const BrokenRow& row);

  postgres::Connection& connection_;
  const ExportQuery query_;
  bool begun_ = false;
  int64_t from_ms_ = 0;  // what there can be lies in [from_ms_, to_ms_)
  int64_t to_ms_ = 0;
  std::set<DeviceId> hot_;        // have something in hot rows
  size_t next_ = 0;               // the first device that was not looked for yet
  std::vector<Found> found_;      // of the last look
  size_t at_ = 0;                 // what comes next of them
  std::optional<int64_t> at_ms_;  // in the middle of a device: from here on
  int64_t window_ms_ = 6 * kChunkSpanMs;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  uint64_t broken_rows_ = 0;
  std::vector<BrokenRow> broken_;
  std::vector<BrokenRow> told_;   // of the devices that are read just now
  std::set<int64_t> hot_broken_;  // numbers
};

}  // namespace gema::history
