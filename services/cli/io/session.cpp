#include "services/cli/io/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <tuple>

#include "common/history/core/cuts.h"
#include "common/postgres/from_config.h"
#include "common/runtime/clock.h"
#include "common/runtime/load_config.h"
#include "common/runtime/local_time.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/when.h"
#include "services/cli/io/output.h"

namespace gema::cli {
namespace {

// Read by others, too; they check them.
config::Spec recorder_keys(Session& session) {
  config::Spec spec("recorder");
  spec.only_these();
  spec.integer("raw_retention_days", session.raw_retention_days, 1, 3650, "");
  spec.integer("hour_rollups_days", session.hour_rollups_days, 1, 36500, "");
  return spec;
}

bool colours_wanted() {
  const char* term = std::getenv("TERM");
  const char* none = std::getenv("NO_COLOR");
  return stdout_is_terminal() && (none == nullptr || *none == '\0') && term != nullptr &&
         std::strcmp(term, "dumb") != 0;
}

}  // namespace

std::optional<Session> begin_session(const CommonOptions& options, const std::string& time_zone) {
  std::optional<Session> out(std::in_place);
  out->common.data_dir = options.data_dir;
  std::vector<config::Spec> specs = config::Common::describe(out->common);
  specs.push_back(recorder_keys(*out));
  if (!runtime::load_config("gema", options.config_file, out->common, specs)) return std::nullopt;
  if (auto zone = runtime::use_timezone(time_zone.empty() ? out->common.timezone : time_zone);
      !zone) {
    fail(zone.error());
    return std::nullopt;
  }
  out->now = runtime::read_clock();
  out->offset = runtime::local_offset();
  const auto format = format_of(options.format);
  if (!format) {
    fail({Errc::kBadInput,
          fmt::format("--format = {}: must be table, csv, json or ndjson", options.format)});
    return std::nullopt;
  }
  out->paper = {.format = *format, .width = terminal_width(), .colour = colours_wanted()};
  return out;
}

Result<Range> range_of(const Session& session, const std::string& from, const std::string& to) {
  Range range;
  const int64_t now_ms = unix_ms(session.now.wall);
  for (const auto& [name, text, ms] :
       {std::tuple("--from", &from, &range.from_ms), std::tuple("--to", &to, &range.to_ms)}) {
    if (text->empty()) continue;
    const auto when = parse_when(*text, now_ms, session.offset);
    if (!when) return Error{Errc::kBadInput, fmt::format("{} = {}", name, when.error().message)};
    *ms = *when;
  }
  const auto wrong = [&](const char* rule) {
    return Error{Errc::kBadInput, fmt::format("--from {} --to {}: {}", from, to, rule)};
  };
  if (range.from_ms >= range.to_ms) return wrong("the range must begin before it ends");
  if (range.to_ms <= 0 || range.from_ms >= history::kTimeMax) {
    return wrong("history holds the years 1970 to 2261");
  }
  range.from_ms = std::max(range.from_ms, int64_t{0});
  if (!to.empty()) range.to_ms = std::min(range.to_ms, history::kTimeMax);
  return range;
}

Result<std::unique_ptr<postgres::Connection>> connect(const Session& session) {
  auto options = postgres::options_from(session.common, "gema");
  // A person or a script waits, and nobody else for us.
  options.statement_timeout = std::chrono::minutes(10);
  options.idle_in_transaction_timeout = std::chrono::minutes(10);
  auto opened = postgres::Connection::open(options);
  if (opened) return opened;
  const bool local = session.common.postgres_host.empty();
  const std::string hint =
      local ? fmt::format(
                  "Is the stack up (deploy/local/up --data {0})? Another directory than {0}:"
                  " --data DIR; another server: postgres.host in gema.yaml, or"
                  " GEMA_POSTGRES__HOST",
                  session.common.data_dir.string())
            : fmt::format(
                  "postgres.host = {}, port {}: is it up, and does it let user {} into"
                  " database {}?",
                  session.common.postgres_host, session.common.postgres_port,
                  session.common.postgres_user, session.common.postgres_database);
  return Error{opened.error().code == Errc::kBadInput ? Errc::kPermanent : opened.error().code,
               fmt::format("{}\n      {}", opened.error().message, hint)};
}

int fail(const Error& error) {
  fmt::print(stderr, "gema: {}\n", error.message);
  return error.code == Errc::kBadInput ? kUsage : kFailed;
}

int tell_broken(int code, const std::vector<history::BrokenRow>& rows, uint64_t all,
                const Session& session) {
  if (all == 0) return code;
  fmt::print(stderr,
             "gema: {} stored row{} not decode: what {} held is missing here (docs/RUNBOOK.md,"
             " broken rows)\n",
             grouped(all), all == 1 ? " does" : "s do", all == 1 ? "it" : "they");
  const size_t shown = std::min(rows.size(), kBrokenRowsShown);
  for (size_t i = 0; i < shown; ++i) {
    const history::BrokenRow& row = rows[i];
    if (row.device == 0) {
      fmt::print(stderr, "  {} number {}\n", row.table, row.part);
    } else {
      fmt::print(stderr, "  {} device {} {} part {}\n", row.table, row.device,
                 local_text(row.start_ms, session.offset), row.part);
    }
  }
  if (all > shown) fmt::print(stderr, "  and {} more\n", grouped(all - shown));
  return code == 0 ? kUnreadable : code;
}

int show(const Session& session, const Sheet& sheet,
         const std::vector<history::BrokenRow>& broken) {
  auto out = Output::open("");
  auto written = out->write(print(sheet, session.paper, session.offset));
  return tell_broken(written ? 0 : fail(written.error()), broken, broken.size(), session);
}

}  // namespace gema::cli
