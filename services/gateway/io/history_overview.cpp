#include "services/gateway/io/history_overview.h"

namespace gema::gateway {
namespace {

std::optional<int64_t> optional_ms(const pqxx::row& row, int column) {
  if (row[column].is_null()) return std::nullopt;
  return row[column].as<int64_t>();
}

}  // namespace

Result<HistoryOverview> read_overview(postgres::Connection& connection) {
  return connection.snapshot([](postgres::Transaction& tx) {
    HistoryOverview out;
    for (const auto& row : tx.exec(
             // A leaf may be dropped meanwhile: then it has no size.
             "SELECT c.relname::text,"
             " coalesce(sum(pg_total_relation_size(to_regclass(l.leaf))), 0)::bigint,"
             " count(l.leaf), min(l.from_ms), max(l.to_ms)"
             " FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid"
             " LEFT JOIN LATERAL history_leaves(c.relname::text) l ON true"
             " WHERE c.relname LIKE 'ping\\_%' GROUP BY 1 ORDER BY 1")) {
      out.tables.push_back({.name = row[0].as<std::string>(),
                            .bytes = row[1].as<uint64_t>(),
                            .leaves = row[2].as<uint64_t>(),
                            .from_ms = optional_ms(row, 3),
                            .to_ms = optional_ms(row, 4)});
    }
    const auto row = tx.exec(
        "SELECT (SELECT floor(extract(epoch FROM max(written_at)) * 1000)::bigint FROM ping_hot),"
        " (SELECT floor(extract(epoch FROM min(moved_at)) * 1000)::bigint FROM ping_watermarks"
        "  WHERE number > 0),"
        " (SELECT count(*) FROM ping_hours WHERE compacted = 0),"
        " (SELECT count(*) FROM ping_hours WHERE compacted > 0 AND written > compacted),"
        " (SELECT count(*) FROM history_broken),"
        " (SELECT count(*) FROM stream_quarantine),"
        " (SELECT count(*) FROM stream_set_aside),"
        " (SELECT count(*) FROM stream_gaps),"
        " (SELECT floor(extract(epoch FROM max(noticed_at)) * 1000)::bigint FROM stream_gaps),"
        " (SELECT floor_ms FROM history_state)")[0];
    out.last_commit_ms = optional_ms(row, 0);
    out.chunked_ms = optional_ms(row, 1);
    out.hours_pending = row[2].as<uint64_t>();
    out.hours_dirty = row[3].as<uint64_t>();
    out.broken_rows = row[4].as<uint64_t>();
    out.quarantined = row[5].as<uint64_t>();
    out.set_aside = row[6].as<uint64_t>();
    out.gaps = row[7].as<uint64_t>();
    out.last_gap_ms = optional_ms(row, 8);
    out.floor_ms = row[9].is_null() ? 0 : row[9].as<int64_t>();
    return out;
  });
}

}  // namespace gema::gateway
