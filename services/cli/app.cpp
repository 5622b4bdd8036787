#include "services/cli/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "common/runtime/version.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/when.h"
#include "services/cli/io/inventory.h"
#include "services/cli/io/query_commands.h"
#include "services/cli/io/session.h"
#include "services/cli/io/transfer_commands.h"

namespace gema::cli {
namespace {

constexpr const char* kIntroduction =
    "Asks Gema's history, and moves results out of it and into it.\n\n"
    "  gema statistics all                       the last 24 hours, a line for each device\n"
    "  gema results 192.0.2.7 --from 1h          every check of the last hour\n"
    "  gema outages all --from 30d\n"
    "  gema availability gate --from 2026-11-01 --per day\n"
    "  gema export all --from 7d --output week.csv\n"
    "  gema import connection_logs.db --dry-run  what an old system's file would bring\n\n"
    "Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 3 done but "
    "for\n"
    "stored rows that do not decode (they are named), 128 + signal broken off.";

constexpr const char* kAlso =
    "Which Gema: --data DIR (default var), --config FILE, as for every command; see gema --help.";

class Commands {
 public:
  Commands() : app_(kIntroduction, "gema") {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", fmt::format("gema {}", runtime::kVersion));
    app_.add_option("--config", common_.config_file,
                    "Configuration file. Default: DIR/gema.yaml, if there is one.");
    app_.add_option("--data,--data-dir,--dir", common_.data_dir,
                    "Directory of everything Gema keeps (DIR), as given to deploy/local/up.")
        ->capture_default_str();
    app_.fallthrough();
    app_.footer(fmt::format("Instants: {}.\nDevices: {}.", kWhenHelp, kDevicesHelp));
    add_queries();
    add_export();
    add_import();
    add_cleanup();
  }

  int run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::RequiredError& e) {
      const auto rest = app_.remaining();
      if (!app_.get_subcommands().empty() || rest.empty()) return app_.exit(e) == 0 ? 0 : kUsage;
      return fail({Errc::kBadInput, rest.front() + ": is no command; gema --help names all"});
    } catch (const CLI::ParseError& e) {
      return app_.exit(e) == 0 ? 0 : kUsage;
    }
    return chosen_();
  }

 private:
  CLI::App* command(const char* name, const char* about, std::function<int()> work) {
    CLI::App* sub = app_.add_subcommand(name, about);
    sub->callback([this, work = std::move(work)] { chosen_ = work; });
    return sub;
  }

  template <class Options>
  void add_devices(CLI::App* sub, Options& options) {
    sub->add_option("DEVICE", options.devices, fmt::format("Which devices: {}.", kDevicesHelp))
        ->required();
  }

  template <class Options>
  void add_range(CLI::App* sub, Options& options) {
    sub->add_option("--from", options.from, "From when on.")->capture_default_str();
    sub->add_option("--to", options.to, "Up to when.")->capture_default_str();
    sub->add_option("--location", options.location, "Only what was measured there.");
    sub->footer(fmt::format("Instants: {}.\n{}", kWhenHelp, kAlso));
  }

  void add_format(CLI::App* sub) {
    sub->add_option("--format", common_.format, "table, csv, json (one array) or ndjson.")
        ->capture_default_str()
        ->check(CLI::IsMember({"table", "csv", "json", "ndjson"}));
  }

  CLI::App* query(const char* name, const char* about,
                  int (*work)(const CommonOptions&, const QueryOptions&)) {
    CLI::App* sub = command(name, about, [this, work] { return work(common_, query_); });
    add_devices(sub, query_);
    add_range(sub, query_);
    add_format(sub);
    return sub;
  }

  void add_limit(CLI::App* sub, const char* about, uint64_t most) {
    sub->add_option("--limit", query_.limit, about)->check(CLI::Range(uint64_t{1}, most));
  }

  void add_queries() {
    add_limit(query("results", "Every check, one by one.", results_command),
              "The newest so many of each device. Default: 1000.", kRowsMax);
    query("series", "A range in equal steps: counts, losses, round trip times, percentiles.",
          series_command)
        ->add_option("--points", query_.points, "Steps at most. Default: 48 in a table, else 1000.")
        ->check(CLI::Range(uint64_t{1}, uint64_t{10'000}));
    query("statistics", "A range as one line for each device.", statistics_command);
    CLI::App* outages = query("outages", "When devices were down.", outages_command);
    outages->add_flag("--active", query_.active, "Only those that are down now.");
    add_limit(outages, "The newest so many. Default: 50.", 10'000);
    query("availability", "How long devices were up, down, not measured.", availability_command)
        ->add_option("--per", query_.per, "A line for each local hour, day, week or month.")
        ->check(CLI::IsMember({"hour", "day", "week", "month"}));
  }

  void add_export() {
    CLI::App* sub = command("export", "Writes every result as CSV or NDJSON (docs/export.md).",
                            [this] { return export_command(common_, export_); });
    add_devices(sub, export_);
    add_range(sub, export_);
    sub->add_option("--format", common_.format, "csv (the default) or ndjson, which tells more.")
        ->check(CLI::IsMember({"csv", "ndjson"}));
    sub->footer(fmt::format(
        "  gema export all --from 7d --output week.csv\n"
        "  gema export gate type=router --from 2026-11-01 --format ndjson | gzip > november.gz\n\n"
        "Instants: {}.\n{}",
        kWhenHelp, kAlso));
    sub->add_option("--output,-o", export_.output,
                    "File; it is there when it is whole. Default: stdout.");
    sub->add_flag("--progress", export_.progress,
                  "Say how far it is, also where stderr is no "
                  "terminal.");
  }

  void add_import() {
    CLI::App* sub = command(
        "import",
        "Takes the past of another system into history: connection_logs.db of "
        "ace-connection-logger,"
        " ping_results_YYYYMMDD.csv of multi-ping (and ours), what gema export wrote. All of it or"
        " nothing; importing a file again changes nothing.",
        [this] { return import_command(common_, import_); });
    sub->add_option("FILE", import_.files, "Files, of any of these kinds; - is standard input.")
        ->required();
    sub->add_option("--from", import_.from, "Only checks from then on.");
    sub->add_option("--to", import_.to, "Only checks before then.");
    sub->add_option("--time-zone", import_.time_zone,
                    "Zone of local times in the files, such as Asia/Jakarta. Default: the "
                    "configured one.");
    sub->add_option("--location", import_.location,
                    "Where it was measured, if the file does not say.")
        ->capture_default_str();
    sub->add_option("--producer", import_.producer,
                    "Who measured, if the file does not say. Default: import:ace, import:csv.");
    sub->add_option("--interval-s", import_.interval_s,
                    "Seconds between two checks of a host. Default: the median in the files; the "
                    "device's interval where they say nothing.")
        ->check(CLI::Range(0.01, 86'400.0));
    sub->add_option("--down-after", import_.down_after,
                    "Failed checks in a row that begin an outage. Default: 1 for "
                    "ace-connection-logger, as there; else detection.down_after.")
        ->check(CLI::Range(1U, 1'000'000U));
    sub->add_flag("--no-outages", import_.no_outages, "Tell no outages of it.");
    sub->add_option("--write-devices", import_.write_devices,
                    "Write hosts that the inventory lacks to this devices file (CSV).");
    sub->add_flag("--skip-unknown", import_.skip_unknown,
                  "Leave hosts out that the inventory lacks.");
    sub->add_flag("--skip-bad", import_.skip_bad, "Leave bad lines out.");
    sub->add_flag("--dry-run", import_.dry_run, "Only say what would be imported.");
    sub->add_flag("--progress", import_.progress,
                  "Say how far it is, also where stderr is no "
                  "terminal.");
    sub->footer(fmt::format(
        "Hosts are found in the inventory by address, else by name; if any is missing nothing is "
        "imported\nand all are named.\n\n"
        "  gema import connection_logs.db ping_results_2026*.csv --dry-run\n"
        "  gema import connection_logs.db --write-devices missing.csv\n\n"
        "Instants: {}.\n{}",
        kWhenHelp, kAlso));
  }

  void add_cleanup() {
    CLI::App* sub = command("cleanup",
                            "Drops single results and minute rollups of old days; rollups of hours"
                            " stay.",
                            [this] { return cleanup_command(common_, cleanup_); });
    sub->add_option("--older-than-days", cleanup_.older_than_days,
                    "Days that ended more than so many days ago.")
        ->required()
        ->check(CLI::Range(1U, 36'500U));
    sub->add_flag("--dry-run", cleanup_.dry_run, "Only say what would go.");
    add_format(sub);
    sub->footer(kAlso);
  }

  CLI::App app_;
  CommonOptions common_;
  QueryOptions query_;
  ExportOptions export_;
  ImportCommandOptions import_;
  CleanupOptions cleanup_;
  std::function<int()> chosen_;
};

}  // namespace

int run(int argc, char** argv) {
  return Commands().run(argc, argv);
}

}  // namespace gema::cli
