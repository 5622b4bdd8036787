#include "services/cli/io/import_writer.h"

#include <fmt/format.h>

#include "common/postgres/binary.h"

namespace gema::cli {
namespace {

using postgres::CopyIn;
using postgres::Transaction;

constexpr size_t kFlushRows = 2'000;

void copy_rollups(Transaction& tx, const char* statement, const std::vector<RollupOut>& rows,
                  bool time_first = false) {
  if (rows.empty()) return;
  CopyIn copy(tx, statement);
  for (const RollupOut& row : rows) {
    copy.row(4);
    if (time_first) copy.int64(row.time_ms);
    copy.int64(static_cast<int64_t>(row.device));
    if (!time_first) copy.int64(row.time_ms);
    copy.int32(row.location);
    copy.bytes(row.bytes);
  }
  copy.finish();
}

}  // namespace

void Gone::add(DeviceId device, int64_t time, int64_t other) {
  devices_.add(static_cast<int64_t>(device));
  times_.add(time);
  others_.add(other);
  least_ = std::min(least_, time);
  most_ = std::max(most_, time);
}

void Gone::remove(Transaction& tx, const char* table, const char* time, const char* other) const {
  if (devices_.count() == 0) return;
  tx.exec(fmt::format("DELETE FROM {0} t USING unnest($1::bigint[], $2::bigint[], $3::bigint[])"
                      " AS gone (device_id, at, other) WHERE t.device_id = gone.device_id"
                      " AND t.{1} = gone.at AND t.{2} = gone.other"
                      " AND t.{1} >= $4::bigint AND t.{1} <= $5::bigint",
                      table, time, other),
          devices_.text(), times_.text(), others_.text(), least_, most_);
}

void ImportWriter::flush_much() {
  if (packed.size() + minutes.size() > kFlushRows) flush();
}

void ImportWriter::flush() {
  packed_gone.remove(tx_, "ping_packed", "start_ms", "part");
  minutes_gone.remove(tx_, "ping_rollup_minutes", "hour_ms", "location_id");
  recent_gone.remove(tx_, "ping_rollup_recent", "hour_ms", "location_id");
  hours_gone.remove(tx_, "ping_rollup_hours", "day_ms", "location_id");
  if (!packed.empty()) {
    CopyIn copy(tx_,
                "COPY ping_packed (device_id, start_ms, part, step_ms, location_id, producer_id,"
                " results, clock_steps, packed, details) FROM STDIN (FORMAT binary)");
    for (const PackedOut& out : packed) {
      copy.row(10);
      copy.int64(static_cast<int64_t>(out.device));
      copy.int64(out.row.start_ms);
      copy.int32(out.part);
      copy.int32(static_cast<int32_t>(out.row.step_ms));
      copy.int32(out.row.source.location);
      copy.int32(out.row.source.producer);
      copy.int32(static_cast<int32_t>(out.row.results));
      copy.int16(out.row.source.clock_steps);
      copy.bytes(out.row.packed);
      if (out.row.details.empty()) {
        copy.null();
      } else {
        copy.bytes(out.row.details);
      }
    }
    copy.finish();
  }
  copy_rollups(tx_,
               "COPY ping_rollup_minutes (device_id, hour_ms, location_id, rollups) FROM STDIN"
               " (FORMAT binary)",
               minutes);
  copy_rollups(tx_,
               "COPY ping_rollup_recent (hour_ms, device_id, location_id, rollup) FROM STDIN"
               " (FORMAT binary)",
               recent, true);
  copy_rollups(tx_,
               "COPY ping_rollup_hours (device_id, day_ms, location_id, rollups) FROM STDIN"
               " (FORMAT binary)",
               hours);
  packed.clear();
  minutes.clear();
  recent.clear();
  hours.clear();
  packed_gone = minutes_gone = recent_gone = hours_gone = {};
}

}  // namespace gema::cli
