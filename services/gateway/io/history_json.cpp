#include "services/gateway/io/history_json.h"

#include <algorithm>
#include <cmath>

#include "common/base/rfc3339.h"
#include "services/gateway/core/columns.h"
#include "services/gateway/core/result_text.h"

namespace gema::gateway {
namespace {

using history::Results;
using history::Row;

std::string rfc3339_ms(int64_t ms) {
  return format_rfc3339(wall_from_ms(ms));
}

void write_moment(Json& json, std::string_view key, std::optional<int64_t> ms) {
  json.key(key);
  if (ms) {
    json.text(rfc3339_ms(*ms));
  } else {
    json.null();
  }
}

// "name":[...]: what each(array, row) writes of each row.
template <class Rows, class Each>
void column(Json& json, std::string_view name, const Rows& rows, const Each& each) {
  json.value(name, [&](std::string& out) {
    NumberArray array(out);
    for (const auto& row : rows) each(array, row);
    array.end();
  });
}

uint64_t echoes_sent(const Row& row) {
  return uint64_t{row.echo_count} + row.burst_sent;
}

uint64_t echoes_answered(const Results& results, const Row& row) {
  uint64_t answered = row.burst_answered;
  for (const history::Echo& echo : results.echoes_of(row)) {
    answered += echo.outcome == EchoOutcome::kReply ? 1 : 0;
  }
  return answered;
}

// "name":[[value,count],...]: a value once for all rows that follow each other with it.
template <class Value>
void value_runs(Json& json, std::string_view name, const std::vector<Row>& rows,
                const Value& value) {
  json.value(name, [&](std::string& out) {
    NumberArray runs(out);
    for (size_t begin = 0; begin < rows.size();) {
      const auto same = value(rows[begin]);
      size_t end = begin + 1;
      while (end < rows.size() && value(rows[end]) == same) ++end;
      runs.array({static_cast<int64_t>(same), static_cast<int64_t>(end - begin)});
      begin = end;
    }
    runs.end();
  });
}

// "name":[[first,step_ms,count],...]: instants, each step_ms after the one before. The step of one
// that stands alone is 0.
void instant_runs(Json& json, std::string_view name, const std::vector<Row>& rows) {
  json.value(name, [&](std::string& out) {
    NumberArray runs(out);
    for (size_t begin = 0; begin < rows.size();) {
      size_t end = begin + 1;
      const int64_t step_ms = end < rows.size() ? rows[end].due_ms - rows[begin].due_ms : 0;
      while (end < rows.size() && rows[end].due_ms - rows[end - 1].due_ms == step_ms) ++end;
      runs.array({rows[begin].due_ms, step_ms, static_cast<int64_t>(end - begin)});
      begin = end;
    }
    runs.end();
  });
}

template <class Enum>
void write_words(Json& json, std::string_view name, int last, Enum (*of)(int)) {
  json.key(name).object();
  for (int i = 0; i <= last; ++i) {
    const std::string word = to_string(of(i));
    // Numbers that nobody uses have no word.
    if (word != "?") json.text(std::to_string(i), word);
  }
  json.end_object();
}

// --- rollups ---------------------------------------------------------------------------------

double loss_percent(const Rollup& rollup) {
  const auto sent = static_cast<double>(rollup.sent_echoes());
  return 100.0 * (sent - static_cast<double>(rollup.answered_echoes())) / sent;
}

uint64_t count_of(const Rollup& rollup, Verdict verdict) {
  return rollup.verdicts[static_cast<size_t>(verdict)];
}

void write_rtt(NumberArray& array, const Rollup& rollup, double us) {
  if (rollup.answered_echoes() == 0) {
    array.null();
  } else {
    array.fixed(us, 1);
  }
}

// The columns of points or devices, each with its rollup.
void rollup_columns(Json& json, const std::vector<const Rollup*>& rows,
                    const std::vector<Percentile>& percentiles) {
  const auto counts = [&](std::string_view name, auto count) {
    column(json, name, rows, [&](NumberArray& array, const Rollup* r) {
      array.number(static_cast<int64_t>(count(*r)));
    });
  };
  counts("answered", [](const Rollup& r) { return count_of(r, Verdict::kAnswered); });
  counts("failed", [](const Rollup& r) { return count_of(r, Verdict::kFailed); });
  counts("not_measured", [](const Rollup& r) { return count_of(r, Verdict::kNotMeasured); });
  counts("echoes_sent", [](const Rollup& r) { return r.sent_echoes(); });
  counts("echoes_answered", [](const Rollup& r) { return r.answered_echoes(); });
  column(json, "loss_percent", rows, [](NumberArray& array, const Rollup* r) {
    if (r->sent_echoes() == 0) {
      array.null();
    } else {
      array.fixed(loss_percent(*r), 2);
    }
  });
  const auto times = [&](std::string_view name, auto us) {
    column(json, name, rows,
           [&](NumberArray& array, const Rollup* r) { write_rtt(array, *r, us(*r)); });
  };
  times("rtt_min_us", [](const Rollup& r) { return static_cast<double>(r.rtt_min_us); });
  times("rtt_mean_us", [](const Rollup& r) { return r.mean_us(); });
  times("rtt_max_us", [](const Rollup& r) { return static_cast<double>(r.rtt_max_us); });
  times("rtt_deviation_us", [](const Rollup& r) { return r.deviation_us(); });
  times("jitter_us", [](const Rollup& r) { return r.jitter_us(); });
  for (const Percentile& percentile : percentiles) {
    column(json, "p" + percentile.label, rows, [&](NumberArray& array, const Rollup* r) {
      if (const auto us = history::percentile_us(*r, percentile.fraction)) {
        array.number(*us);
      } else {
        array.null();
      }
    });
  }
}

// One rollup as an object.
void write_rollup(Json& json, const Rollup& rollup, const std::vector<Percentile>& percentiles) {
  const auto real = [&](std::string_view key, bool known, double value, double scale) {
    json.key(key);
    if (known) {
      json.real(std::round(value * scale) / scale);
    } else {
      json.null();
    }
  };
  const bool answered = rollup.answered_echoes() > 0;
  json.object()
      .number("answered", count_of(rollup, Verdict::kAnswered))
      .number("failed", count_of(rollup, Verdict::kFailed))
      .number("not_measured", count_of(rollup, Verdict::kNotMeasured))
      .key("reasons")
      .object();
  for (int reason = 1; reason <= kReasonMax; ++reason) {
    if (const uint64_t count = rollup.reasons[static_cast<size_t>(reason)]; count > 0) {
      json.number(to_string(static_cast<Reason>(reason)), count);
    }
  }
  json.end_object()
      .number("echoes_sent", rollup.sent_echoes())
      .number("echoes_answered", rollup.answered_echoes());
  const bool sent = rollup.sent_echoes() > 0;
  real("loss_percent", sent, sent ? loss_percent(rollup) : 0, 10'000);
  real("rtt_min_us", answered, rollup.rtt_min_us, 1);
  real("rtt_mean_us", answered, rollup.mean_us(), 10);
  real("rtt_max_us", answered, rollup.rtt_max_us, 1);
  real("rtt_deviation_us", answered, rollup.deviation_us(), 10);
  real("jitter_us", answered, rollup.jitter_us(), 10);
  for (const Percentile& percentile : percentiles) {
    json.key("p" + percentile.label);
    if (const auto us = history::percentile_us(rollup, percentile.fraction)) {
      json.number(*us);
    } else {
      json.null();
    }
  }
  json.end_object();
}

}  // namespace

// --- results ---------------------------------------------------------------------------------

std::vector<DetailedResult> detailed_results(const Results& results) {
  std::vector<DetailedResult> out;
  out.reserve(results.rows.size());
  for (auto row = results.rows.rbegin(); row != results.rows.rend(); ++row) {
    DetailedResult result{.due_ms = row->due_ms,
                          .interval_ms = row->interval_ms,
                          .verdict = row->verdict,
                          .reason = row->reason,
                          .rtt_us = row->rtt_us,
                          .location = results.location(*row),
                          .prober = results.producer(*row),
                          .details = {}};
    for (const history::Echo& echo : results.echoes_of(*row)) {
      result.details.echoes.push_back({echo.outcome, echo.rtt_us});
    }
    result.details.burst_sent = row->burst_sent;
    for (const history::Echo& echo : results.burst_answers_of(*row)) {
      result.details.burst_rtt_us.push_back(echo.rtt_us);
    }
    if (const history::Details* details = results.details_of(*row)) {
      result.details.notes = details->notes;
      result.details.proofs = details->proofs;
      result.details.strays = details->strays;
      result.details.text = details->text;
    }
    out.push_back(std::move(result));
  }
  return out;
}

std::string results_columns_json(DeviceId id, Window window, const Results& results) {
  Json json(results.rows.size() * 40 + 1'000);
  json.object()
      .boolean("success", true)
      .number("device_id", id)
      .number("from", window.from_ms)
      .number("to", window.to_ms)
      .number("count", results.rows.size())
      .boolean("truncated", results.truncated)
      .key("next_before");
  if (results.truncated && !results.rows.empty()) {
    json.number(results.rows.front().due_ms);
  } else {
    json.null();
  }
  json.key("names").array();
  for (const std::string& name : results.names) json.text(name);
  json.end_array();
  write_words<Verdict>(json, "verdicts", 2, [](int i) { return static_cast<Verdict>(i); });
  write_words<Reason>(json, "reasons", kReasonMax, [](int i) { return static_cast<Reason>(i); });
  const auto& rows = results.rows;
  json.key("runs").object();
  instant_runs(json, "at", rows);
  value_runs(json, "verdict", rows, [](const Row& row) { return static_cast<int>(row.verdict); });
  value_runs(json, "reason", rows, [](const Row& row) { return static_cast<int>(row.reason); });
  value_runs(json, "echoes_sent", rows, echoes_sent);
  value_runs(json, "echoes_answered", rows,
             [&](const Row& row) { return echoes_answered(results, row); });
  value_runs(json, "interval_ms", rows, [](const Row& row) { return row.interval_ms; });
  value_runs(json, "location", rows, [](const Row& row) { return row.location; });
  value_runs(json, "prober", rows, [](const Row& row) { return row.producer; });
  json.end_object().key("columns").object();
  column(json, "rtt_us", rows, [&](NumberArray& array, const Row& row) {
    if (row.rtt_us > 0 || echoes_answered(results, row) > 0) {
      array.number(row.rtt_us);
    } else {
      array.null();
    }
  });
  json.end_object().end_object();
  return json.take();
}

// --- series ----------------------------------------------------------------------------------

std::string series_json(const std::vector<DeviceId>& ids, const history::Series& series,
                        const std::vector<Percentile>& percentiles) {
  Json json(64'000);
  json.object().boolean("success", true).key("device_ids").array();
  for (const DeviceId id : ids) json.number(id);
  json.end_array()
      .number("from", series.from_ms)
      .number("to", series.to_ms)
      .number("step_ms", series.step_ms)
      .text("points_are", series.step_ms == 0 ? "results" : "steps")
      .number("broken_rows", series.broken.size())
      .key("series")
      .array();
  for (const history::LocationSeries& location : series.locations) {
    json.object()
        .text("location", location.location)
        .number("count", location.points.size())
        .key("columns")
        .object();
    column(json, "at", location.points, [](NumberArray& array, const history::SeriesPoint& point) {
      array.number(point.from_ms);
    });
    std::vector<const Rollup*> rollups;
    rollups.reserve(location.points.size());
    for (const auto& point : location.points) rollups.push_back(&point.rollup);
    rollup_columns(json, rollups, percentiles);
    json.end_object().end_object();
  }
  json.end_array().end_object();
  return json.take();
}

// --- outages ---------------------------------------------------------------------------------

namespace {

std::string id_text(const TransitionId& id) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += kHex[id[i] >> 4];
    out += kHex[id[i] & 15];
  }
  return out;
}

template <class Number>
void write_optional(Json& json, std::string_view key, const std::optional<Number>& value) {
  json.key(key);
  if (value) {
    json.number(*value);
  } else {
    json.null();
  }
}

void write_outage(Json& json, const View& view, const history::Outage& outage) {
  json.object().text("id", id_text(outage.id)).number("device_id", outage.device);
  if (const auto index = view.find(outage.device)) {
    const Device& device = view.catalogue->devices[*index];
    json.text("hostname", device.hostname.empty() ? device.address : device.hostname)
        .text("address", device.address);
  } else {
    json.null("hostname").null("address");
  }
  const bool active = outage.end == history::OutageEnd::kStill;
  json.boolean("active", active).text("start", rfc3339_ms(outage.start_ms));
  write_moment(json, "end", active ? std::nullopt : outage.end_ms);
  json.number("duration_ms", outage.duration_ms)
      .text("ended_by", to_string(outage.end))
      .text("reason", to_string(outage.reason))
      .text("confirmed_at", rfc3339_ms(outage.confirmed_ms))
      .text("decided_at", rfc3339_ms(outage.decided_at_ms));
  write_moment(json, "end_decided_at", outage.end_decided_at_ms);
  json.key("end_id");
  if (outage.end_id) {
    json.text(id_text(*outage.end_id));
  } else {
    json.null();
  }
  json.number("failures_to_confirm", outage.failures_to_confirm);
  write_optional(json, "checks", outage.checks);
  write_optional(json, "failed_checks", outage.failed_checks);
  json.key("recovery_percent");
  if (outage.recovery_percent) {
    json.real(round2(*outage.recovery_percent));
  } else {
    json.null();
  }
  json.text("location", outage.location)
      .text("prober", outage.prober)
      .boolean("counters_reset", outage.reset_meanwhile)
      .end_object();
}

}  // namespace

std::string outages_json(const View& view, const history::Outages& outages) {
  Json json(outages.rows.size() * 600 + 100);
  json.object().boolean("success", true).key("data").array();
  size_t active = 0;
  for (const history::Outage& outage : outages.rows) {
    write_outage(json, view, outage);
    active += outage.end == history::OutageEnd::kStill ? 1 : 0;
  }
  json.end_array()
      .number("count", outages.rows.size())
      .number("active", active)
      .boolean("truncated", outages.truncated)
      .number("broken_rows", outages.broken.size())
      .end_object();
  return json.take();
}

// --- availability ----------------------------------------------------------------------------

namespace {

void write_percent(NumberArray& array, const std::optional<double>& percent) {
  if (percent) {
    array.fixed(*percent, 4);
  } else {
    array.null();
  }
}

void write_period(Json& json, const history::AvailabilityPeriod& period) {
  json.object()
      .number("from", period.from_ms)
      .number("to", period.to_ms)
      .number("up_ms", period.up_ms)
      .number("down_ms", period.down_ms)
      .number("not_measured_ms", period.not_measured_ms)
      .key("up_percent");
  if (const auto percent = period.up_percent()) {
    json.real(std::round(*percent * 10'000) / 10'000);
  } else {
    json.null();
  }
  json.number("answered", period.answered)
      .number("failed", period.failed)
      .number("not_measured", period.not_measured)
      .number("outages", period.outages)
      .number("outage_ms", period.outage_ms)
      .end_object();
}

}  // namespace

std::string availability_json(const AvailabilityBody& what, const history::Availability& read,
                              const UtcOffset& offset) {
  using Periods = history::AvailabilityPeriod;
  const history::DeviceAvailability none;
  const auto& device = read.devices.empty() ? none : read.devices.front();
  Json json(device.periods.size() * 150 + 1'000);
  json.object()
      .boolean("success", true)
      .number("device_id", what.device)
      .text("period", what.period_name)
      .text("timezone", what.timezone)
      .number("count", device.periods.size())
      .number("broken_rows", read.broken.size())
      .key("columns")
      .object()
      .key("label")
      .array();
  for (const Periods& period : device.periods) {
    json.text(period_label(period.from_ms, what.period, offset));
  }
  json.end_array();
  const auto numbers = [&](std::string_view name, auto Periods::*field) {
    column(json, name, device.periods, [&](NumberArray& array, const Periods& period) {
      array.number(static_cast<int64_t>(period.*field));
    });
  };
  numbers("from", &Periods::from_ms);
  numbers("to", &Periods::to_ms);
  numbers("up_ms", &Periods::up_ms);
  numbers("down_ms", &Periods::down_ms);
  numbers("not_measured_ms", &Periods::not_measured_ms);
  column(json, "up_percent", device.periods, [](NumberArray& array, const Periods& period) {
    write_percent(array, period.up_percent());
  });
  numbers("answered", &Periods::answered);
  numbers("failed", &Periods::failed);
  numbers("not_measured", &Periods::not_measured);
  numbers("outages", &Periods::outages);
  numbers("outage_ms", &Periods::outage_ms);
  json.end_object().key("total");
  write_period(json, device.total);
  json.end_object();
  return json.take();
}

// --- statistics ------------------------------------------------------------------------------

std::string statistics_json(const history::WindowStatistics& statistics,
                            const std::vector<Percentile>& percentiles, bool per_device) {
  Json json(per_device ? statistics.devices.size() * 120 + 2'000 : 2'000);
  json.object()
      .boolean("success", true)
      .number("from", statistics.from_ms)
      .number("to", statistics.to_ms)
      .number("broken_rows", statistics.broken.size())
      .number("devices_measured", statistics.measured)
      .key("total");
  write_rollup(json, statistics.total, percentiles);
  if (per_device) {
    json.number("count", statistics.devices.size()).key("columns").object();
    std::vector<const Rollup*> rollups;
    rollups.reserve(statistics.devices.size());
    for (const auto& device : statistics.devices) rollups.push_back(&device.rollup);
    column(json, "device_id", statistics.devices,
           [](NumberArray& array, const history::DeviceStatistics& device) {
             array.number(static_cast<int64_t>(device.device));
           });
    rollup_columns(json, rollups, percentiles);
    json.end_object();
  }
  json.end_object();
  return json.take();
}

// --- what history is -------------------------------------------------------------------------

std::string overview_json(const HistoryOverview& overview) {
  Json json(2'000);
  uint64_t bytes = 0;
  for (const auto& table : overview.tables) bytes += table.bytes;
  json.object().boolean("success", true).number("bytes", bytes).key("tables").array();
  for (const auto& table : overview.tables) {
    json.object()
        .text("name", table.name)
        .number("bytes", table.bytes)
        .number("partitions", table.leaves);
    write_moment(json, "from", table.from_ms);
    write_moment(json, "to", table.to_ms);
    json.end_object();
  }
  json.end_array();
  write_moment(json, "last_commit", overview.last_commit_ms);
  write_moment(json, "chunked_up_to", overview.chunked_ms);
  write_moment(json, "cleaned_up_to",
               overview.floor_ms == 0 ? std::nullopt : std::optional(overview.floor_ms));
  json.number("hours_pending", overview.hours_pending)
      .number("hours_dirty", overview.hours_dirty)
      .number("broken_rows", overview.broken_rows)
      .number("quarantined", overview.quarantined)
      .number("set_aside", overview.set_aside)
      .number("gaps", overview.gaps);
  write_moment(json, "last_gap", overview.last_gap_ms);
  json.end_object();
  return json.take();
}

std::string cleanup_json(const CleanupReport& report, bool dry_run) {
  Json json;
  json.object()
      .boolean("success", true)
      .boolean("dry_run", dry_run)
      .text("before", rfc3339_ms(report.before_ms))
      .number("partitions", report.leaves)
      .number("bytes", report.bytes)
      .end_object();
  return json.take();
}

}  // namespace gema::gateway
