#include <fmt/format.h>

#include <cstdio>

#include "common/history/export.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/when.h"
#include "services/cli/io/inventory.h"
#include "services/cli/io/output.h"
#include "services/cli/io/transfer_commands.h"

namespace gema::cli {
namespace {

Result<history::ExportQuery> query_of(const Session& session, const ExportOptions& options,
                                      postgres::Connection& connection) {
  const auto range = range_of(session, options.from, options.to);
  if (!range) return range.error();
  history::ExportQuery query{.from_ms = range->from_ms, .to_ms = range->to_ms};
  query.format = session.paper.format == Format::kNdjson ? history::ExportFormat::kNdjson
                                                         : history::ExportFormat::kCsv;
  if (!options.location.empty()) query.location = options.location;
  const auto inventory = Inventory::read(connection);
  if (!inventory) return inventory.error();
  const auto devices = inventory->choose(options.devices);
  if (!devices) return devices.error();
  for (const KnownDevice* d : *devices) query.devices.push_back({d->id, d->address, d->hostname});
  return query;
}

}  // namespace

int export_command(const CommonOptions& common, const ExportOptions& options) {
  CommonOptions as = common;
  if (as.format == "table") as.format = "csv";
  if (as.format != "csv" && as.format != "ndjson") {
    return fail({Errc::kBadInput,
                 fmt::format("--format = {}: export writes csv or ndjson", common.format)});
  }
  const auto session = begin_session(as, "");
  if (!session) return kUsage;
  auto connection = connect(*session);
  if (!connection) return fail(connection.error());
  auto query = query_of(*session, options, **connection);
  if (!query) return fail(query.error());
  auto output = Output::open(options.output);
  if (!output) return fail(output.error());
  watch_for_breaks();
  ProgressLine line(options.progress || (stderr_is_terminal() && !stdout_is_terminal()));
  history::Export pulled(**connection, *std::move(query));
  std::string bytes;
  for (bool more = true; more;) {
    auto next = pulled.next(bytes);
    if (!next) return fail(next.error());
    more = *next;
    if (broken_off() != 0) {
      line.clear();
      fail({Errc::kPermanent, options.output.empty()
                                  ? "broken off"
                                  : "broken off; " + options.output + " is as it was"});
      return 128 + broken_off();
    }
    if (bytes.size() >= kWriteBytes || !more) {
      if (auto written = output->write(bytes); !written) return fail(written.error());
      bytes.clear();
    }
    const auto progress = pulled.progress();
    line.show(fmt::format("{} of {} devices  {} results  {} MB", progress.devices_done,
                          progress.devices, grouped(progress.rows), progress.bytes / 1'000'000),
              progress.share);
  }
  if (auto finished = output->finish(); !finished) return fail(finished.error());
  line.clear();
  const auto progress = pulled.progress();
  if (options.output.empty() && progress.rows == 0) {
    fmt::print(stderr, "gema: history has no results of {} in this range{}\n",
               progress.devices == 1 ? "this device" : "these devices",
               options.location.empty() ? "" : " from location " + printable(options.location));
  }
  if (!options.output.empty()) {
    fmt::print(stderr, "{} results of {} devices in {}\n", grouped(progress.rows), progress.devices,
               options.output);
  }
  return tell_broken(0, pulled.broken(), pulled.broken_rows(), *session);
}

}  // namespace gema::cli
