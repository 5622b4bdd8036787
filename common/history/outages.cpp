#include "common/history/outages.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/codec/transition_codec.h"
#include "common/history/pieces.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

// A failure takes some checks to be confirmed: the outage may have begun so much earlier. The
// longest interval is an hour.
constexpr int64_t kConfirmingMsMax = kDayMs;
constexpr int kFetchRows = 1'000;

Result<void> check(const OutageQuery& query) {
  if (query.limit == 0 || query.limit > kOutagesMax) {
    return Error{Errc::kBadInput, fmt::format("the limit is 1 to {} outages", kOutagesMax)};
  }
  return check_window(query.from_ms, std::min(query.to_ms, kTimeMax));
}

std::string ms_of(std::string_view column) {
  return fmt::format("floor(extract(epoch FROM {}) * 1000)::bigint", column);
}

// Instants as PostgreSQL compares them.
std::string at_ms(int64_t ms) {
  return fmt::format("to_timestamp({}::bigint / 1000.0)", ms);
}

constexpr const char* kDowns = "to_status = 2 AND from_status <> 2";

// Of each device the newest transition to down that fulfils `filter`.
std::string newest_of_each(const Devices& devices, const std::string& filter) {
  const std::string newest = fmt::format(
      "SELECT * FROM transitions t WHERE t.device_id = ids.device_id AND {}{}"
      " ORDER BY t.counter DESC LIMIT 1",
      kDowns, filter);
  const std::string ids =
      devices.all()
          // Each device that was ever down: from one to the next, not down by down.
          ? fmt::format(
                "WITH RECURSIVE ids AS ((SELECT device_id FROM transitions WHERE {0}"
                " ORDER BY device_id LIMIT 1) UNION ALL SELECT (SELECT t.device_id FROM"
                " transitions t WHERE t.device_id > ids.device_id AND {0}"
                " ORDER BY t.device_id LIMIT 1) FROM ids WHERE ids.device_id IS NOT NULL)"
                " SELECT device_id FROM ids WHERE device_id IS NOT NULL",
                kDowns)
          : fmt::format("SELECT unnest('{{{}}}'::bigint[]) AS device_id",
                        fmt::join(devices.ids(), ","));
  return fmt::format("SELECT d.* FROM ({}) ids CROSS JOIN LATERAL ({}) d", ids, newest);
}

// Transitions to down, with what ended each.
std::string with_ends(const std::string& downs, const OutageQuery& query) {
  return fmt::format(
      "SELECT uuid_send(d.id), d.device_id, {}, {}, d.state, uuid_send(e.id), {}, {},"
      " e.to_status, {}, EXISTS (SELECT FROM transitions r WHERE r.device_id = d.device_id"
      " AND r.counter > d.counter AND r.counter < coalesce(e.counter, r.counter + 1)"
      " AND r.reason = {}) FROM ({}) d"
      // The next change of being down or not.
      " LEFT JOIN LATERAL (SELECT * FROM transitions n WHERE n.device_id = d.device_id"
      " AND n.counter > d.counter AND ((n.from_status = 2) <> (n.to_status = 2))"
      " ORDER BY n.counter LIMIT 1) e ON true"
      " LEFT JOIN devices v ON v.id = d.device_id AND v.removed_at > d.slot_at"
      " WHERE {} > {}{} ORDER BY d.slot_at DESC, d.device_id",
      ms_of("d.slot_at"), ms_of("d.decided_at"), ms_of("e.slot_at"), ms_of("e.decided_at"),
      ms_of("v.removed_at"), static_cast<int>(TransitionReason::kReset), downs,
      fmt::format("coalesce({}, {}, {})", ms_of("e.slot_at"), ms_of("v.removed_at"), INT64_MAX),
      query.from_ms, query.active_only ? " AND e.id IS NULL AND v.id IS NULL" : "");
}

TransitionId id_of(std::string_view bytes) {
  TransitionId id{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), id.size()), id.begin());
  return id;
}

Outage read_row(const BinaryResult& rows, int i, int64_t now_ms, std::vector<BrokenRow>& broken) {
  Outage out{.id = id_of(rows.bytes(i, 0)),
             .device = static_cast<DeviceId>(rows.int64(i, 1)),
             .start_ms = rows.int64(i, 2),
             .confirmed_ms = rows.int64(i, 2),
             .decided_at_ms = rows.int64(i, 3)};
  if (const auto state = decode_state(rows.bytes(i, 4))) {
    if (state->first_timeout_ms > 0) {
      out.start_ms = std::min(out.start_ms, state->first_timeout_ms);
    }
    out.reason = state->last_reason;
    out.failures_to_confirm = state->consecutive_timeouts;
    out.location = state->location;
    out.prober = state->last_prober;
  } else {
    broken.push_back({.table = "transitions", .device = out.device, .start_ms = out.confirmed_ms});
  }
  if (!rows.is_null(i, 5)) {
    const auto status = static_cast<DeviceStatus>(rows.int16(i, 8));
    out.end = status == DeviceStatus::kDown ? OutageEnd::kSuperseded
              : status == DeviceStatus::kUp ? OutageEnd::kAnswered
                                            : OutageEnd::kUnknown;
    out.end_id = id_of(rows.bytes(i, 5));
    out.end_ms = rows.int64(i, 6);
    out.end_decided_at_ms = rows.int64(i, 7);
  } else if (!rows.is_null(i, 9)) {
    out.end = OutageEnd::kRemoved;
    out.end_ms = rows.int64(i, 9);
  }
  out.reset_meanwhile = rows.bytes(i, 10) != std::string_view("\0", 1);
  out.duration_ms = std::max<int64_t>(0, out.end_ms.value_or(now_ms) - out.start_ms);
  return out;
}

// Appends those of a statement, newest first, until there is one more than wanted.
void take_rows(Transaction& tx, const std::string& statement, const OutageQuery& query,
               Outages& out) {
  const BinaryResult declared(tx, "DECLARE outages NO SCROLL CURSOR FOR " + statement, {});
  const std::string fetch = fmt::format("FETCH {} FROM outages", kFetchRows);
  for (bool more = true; more && out.rows.size() <= query.limit;) {
    const BinaryResult rows(tx, fetch, {});
    for (int i = 0; i < rows.rows() && out.rows.size() <= query.limit; ++i) {
      Outage outage = read_row(rows, i, query.now_ms, out.broken);
      if (outage.start_ms < query.to_ms) out.rows.push_back(std::move(outage));
    }
    more = rows.rows() == kFetchRows;
  }
  tx.exec("CLOSE outages");
}

// --- checks -----------------------------------------------------------------------------------

// The instants at which outages of one device begin and end.
std::vector<int64_t> bounds_of(const std::vector<Outage*>& outages, int64_t now_ms) {
  std::vector<int64_t> bounds;
  for (const Outage* outage : outages) {
    bounds.push_back(outage->start_ms);
    bounds.push_back(std::max(outage->end_ms.value_or(now_ms), outage->start_ms + 1));
  }
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  return bounds;
}

void count_checks(Scan& scan, DeviceId device, const std::vector<Outage*>& outages, int64_t now_ms,
                  std::vector<BrokenRow>& broken) {
  const Devices one({device});
  const Cuts cuts(bounds_of(outages, now_ms));
  struct Checks {
    uint64_t answered = 0;
    uint64_t failed = 0;
  };
  std::vector<Checks> checks(cuts.segments());
  Pieces pieces(scan, broken);
  pieces.read(one, cuts, std::nullopt, [&](const Piece& piece, const Rollup& rollup) {
    checks[piece.segment].answered += rollup.verdicts[static_cast<size_t>(Verdict::kAnswered)];
    checks[piece.segment].failed += rollup.verdicts[static_cast<size_t>(Verdict::kFailed)];
  });
  if (pieces.coarse()) return;
  for (Outage* outage : outages) {
    Checks sum;
    const int64_t end_ms = outage->end_ms.value_or(now_ms);
    for (size_t i = cuts.at(outage->start_ms).value_or(cuts.segments());
         i < cuts.segments() && cuts.from(i) < end_ms; ++i) {
      sum.answered += checks[i].answered;
      sum.failed += checks[i].failed;
    }
    // It had failures; none is there: not any more, or not yet.
    if (sum.failed == 0) continue;
    outage->checks = sum.answered + sum.failed;
    outage->failed_checks = sum.failed;
  }
}

void read_recovery(Scan& scan, Outage& outage) {
  if (outage.end != OutageEnd::kAnswered) return;
  scan.results(Devices({outage.device}), {*outage.end_ms, *outage.end_ms + 1},
               [&](DeviceId, const Merged& merged) {
                 Rollup all;
                 for (const Merged::Entry& entry : merged.entries()) {
                   RollupBuilder builder(entry.due_ms, 1, 1);
                   builder.add(entry.due_ms, 1, view_of(*entry.source, entry.index));
                   all.merge(builder.take().front());
                 }
                 if (all.sent_echoes() == 0) return;
                 outage.recovery_percent = 100.0 * static_cast<double>(all.answered_echoes()) /
                                           static_cast<double>(all.sent_echoes());
               });
}

void read_checks(Transaction& tx, const OutageQuery& query, Outages& out) {
  std::map<DeviceId, std::vector<Outage*>> by_device;
  std::vector<DeviceId> ids;
  int64_t from_ms = kTimeMax;
  int64_t to_ms = 0;
  for (size_t i = 0; i < std::min(out.rows.size(), kCheckedOutagesMax); ++i) {
    Outage& outage = out.rows[i];
    if (outage.start_ms < 0 || outage.start_ms >= query.now_ms) continue;
    by_device[outage.device].push_back(&outage);
    ids.push_back(outage.device);
    from_ms = std::min(from_ms, outage.start_ms);
    to_ms = std::max(to_ms, outage.end_ms.value_or(query.now_ms) + 1);
  }
  if (ids.empty()) return;
  Scan scan(tx, out.broken, Devices(ids), from_ms, to_ms);
  for (const auto& [device, outages] : by_device) {
    count_checks(scan, device, outages, query.now_ms, out.broken);
    for (Outage* outage : outages) read_recovery(scan, *outage);
  }
}

}  // namespace

const char* to_string(OutageEnd end) {
  switch (end) {
    case OutageEnd::kStill:
      return "still down";
    case OutageEnd::kAnswered:
      return "answered again";
    case OutageEnd::kRemoved:
      return "device removed";
    case OutageEnd::kSuperseded:
      return "down again";
    case OutageEnd::kUnknown:
      return "not known";
  }
  return "?";
}

Result<Outages> read_outages(Transaction& tx, const OutageQuery& query) {
  if (auto right = check(query); !right) return right.error();
  Outages out;
  const Devices devices = query.devices.empty() ? Devices() : Devices(query.devices);
  if (query.active_only) {
    take_rows(tx, with_ends(newest_of_each(devices, ""), query), query, out);
  } else {
    std::string before;
    if (query.to_ms < kTimeMax - kConfirmingMsMax) {
      before = " AND slot_at < " + at_ms(query.to_ms + kConfirmingMsMax);
    }
    take_rows(
        tx,
        with_ends(fmt::format("SELECT * FROM transitions WHERE {} AND slot_at >= {}{}{}", kDowns,
                              at_ms(query.from_ms), before, devices.where("device_id")),
                  query),
        query, out);
    // Those that reach into the window from before it.
    if (query.from_ms > 0 && out.rows.size() <= query.limit) {
      take_rows(
          tx, with_ends(newest_of_each(devices, " AND t.slot_at < " + at_ms(query.from_ms)), query),
          query, out);
    }
  }
  if (out.rows.size() > query.limit) {
    out.rows.resize(query.limit);
    out.truncated = true;
  }
  std::stable_sort(out.rows.begin(), out.rows.end(), [](const Outage& a, const Outage& b) {
    return a.start_ms != b.start_ms ? a.start_ms > b.start_ms : a.device < b.device;
  });
  if (query.with_checks) read_checks(tx, query, out);
  return out;
}

Result<Outages> read_outages(postgres::Connection& connection, const OutageQuery& query) {
  if (auto right = check(query); !right) return right.error();
  return connection.snapshot([&](Transaction& tx) -> Result<Outages> {
    begin_reading(tx);
    return read_outages(tx, query);
  });
}

}  // namespace gema::history
