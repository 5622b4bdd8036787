// Compares the recorded history with the slots that had to be in it; the end-to-end tests and the
// benchmarks judge by it. One JSON object a device on stdout:
//   {"device":7,"expected":60,"found":60,"missing":[],"unexpected":0,"answered":58,"failed":1,
//    "not_measured":1,"reasons":{"not
//    running":1},"first_ms":...,"last_ms":...,"failed_slots":[...],
//    "not_measured_slots":[[ms,reason],...]}
// and one line {"gaps":N} at the end. Slots are expected in [from, to). With --totals one pass over
// all devices gives a single line: {"devices":N,"answered":...,"failed":...,"not_measured":...,
// "short":N}, "short" being devices with another number of results than their slots in the window.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/config/common.h"
#include "common/history/reader.h"
#include "common/postgres/connection.h"
#include "common/postgres/from_config.h"

namespace gema {
namespace {

struct Arguments {
  std::string data_dir = "var";
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  uint32_t interval_ms = 1000;
  DeviceId first = 1;
  DeviceId last = 1;
  bool totals = false;
};

int64_t slots_in_window(DeviceId device, const Arguments& a) {
  const int64_t before_first = slot_at_or_before(device, a.interval_ms, a.from_ms - 1);
  const int64_t last = slot_at_or_before(device, a.interval_ms, a.to_ms - 1);
  return (last - before_first) / a.interval_ms;
}

// From single results: an auditor does not trust rollups.
Result<nlohmann::json> totals(history::Reader& reader, const Arguments& a) {
  std::map<DeviceId, history::Statistics> counted;
  auto read = reader.each_device(a.from_ms, a.to_ms,
                                 [&](DeviceId device, const std::vector<history::Row>& rows) {
                                   history::Statistics& s = counted[device];
                                   for (const history::Row& row : rows) {
                                     if (row.verdict == Verdict::kAnswered) ++s.answered;
                                     if (row.verdict == Verdict::kFailed) ++s.failed;
                                     if (row.verdict == Verdict::kNotMeasured) ++s.not_measured;
                                   }
                                 });
  const auto* statistics = &counted;
  if (!read) return read.error();
  history::Statistics sum;
  int64_t expected = 0;
  uint64_t short_devices = 0;
  for (DeviceId device = a.first; device <= a.last; ++device) {
    const int64_t slots = slots_in_window(device, a);
    expected += slots;
    const auto found = statistics->find(device);
    const history::Statistics one =
        found == statistics->end() ? history::Statistics{} : found->second;
    sum.answered += one.answered;
    sum.failed += one.failed;
    sum.not_measured += one.not_measured;
    const auto results = one.answered + one.failed + one.not_measured;
    if (results != static_cast<uint64_t>(slots)) ++short_devices;
  }
  return nlohmann::json{{"devices", statistics->size()},    {"expected", expected},
                        {"answered", sum.answered},         {"failed", sum.failed},
                        {"not_measured", sum.not_measured}, {"short", short_devices}};
}

nlohmann::json report(DeviceId device, const history::Results& results, const Arguments& a) {
  const auto audit = history::audit_slots(results, device, a.interval_ms, a.from_ms, a.to_ms);
  const auto counts = history::statistics_of(results);
  nlohmann::json reasons = nlohmann::json::object();
  for (const auto& [reason, n] : audit.reasons) reasons[to_string(reason)] = n;
  nlohmann::json failed = nlohmann::json::array();
  nlohmann::json unmeasured = nlohmann::json::array();
  for (const auto& row : results.rows) {
    if (row.verdict == Verdict::kFailed) failed.push_back(row.due_ms);
    if (row.verdict == Verdict::kNotMeasured) {
      unmeasured.push_back({row.due_ms, to_string(row.reason)});
    }
  }
  return {{"device", device},
          {"expected", audit.expected},
          {"found", audit.found},
          {"missing", audit.missing},
          {"unexpected", audit.unexpected},
          {"answered", counts.answered},
          {"failed", counts.failed},
          {"not_measured", counts.not_measured},
          {"reasons", reasons},
          {"failed_slots", failed},
          {"not_measured_slots", unmeasured},
          {"first_ms", results.rows.empty() ? 0 : results.rows.front().due_ms},
          {"last_ms", results.rows.empty() ? 0 : results.rows.back().due_ms}};
}

int run(const Arguments& a) {
  config::Common common;
  common.data_dir = a.data_dir;
  const auto options = postgres::options_from(common, "gema-history-audit");
  auto connection = postgres::Connection::open(options);
  if (!connection) {
    std::cerr << "history_audit: " << connection.error().message << "\n";
    return 1;
  }
  history::Reader reader(**connection);
  if (a.totals) {
    auto line = totals(reader, a);
    if (!line) {
      std::cerr << "history_audit: " << line.error().message << "\n";
      return 1;
    }
    std::cout << line->dump() << "\n";
    return 0;
  }
  for (DeviceId device = a.first; device <= a.last; ++device) {
    auto results = reader.results(device, a.from_ms, a.to_ms);
    if (!results) {
      std::cerr << "history_audit: " << results.error().message << "\n";
      return 1;
    }
    std::cout << report(device, *results, a).dump() << "\n";
  }
  auto gaps = reader.gaps(a.from_ms, a.to_ms);
  if (!gaps) {
    std::cerr << "history_audit: " << gaps.error().message << "\n";
    return 1;
  }
  std::cout << nlohmann::json{{"gaps", gaps->size()}}.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace gema

int main(int argc, char** argv) {
  gema::Arguments a;
  CLI::App cli("Compares the recorded history with the slots that had to be in it.");
  cli.add_option("--data-dir", a.data_dir, "Directory of a running stack.");
  cli.add_option("--from-ms", a.from_ms, "Unix ms, included.")->required();
  cli.add_option("--to-ms", a.to_ms, "Unix ms, excluded.")->required();
  cli.add_option("--interval-ms", a.interval_ms, "Interval of the devices.");
  cli.add_option("--first", a.first, "First device id.");
  cli.add_option("--last", a.last, "Last device id.");
  cli.add_flag("--totals", a.totals, "One line for all devices.");
  CLI11_PARSE(cli, argc, argv);
  return gema::run(a);
}
