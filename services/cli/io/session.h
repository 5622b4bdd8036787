// What every command of gema begins with: configuration, time zone, PostgreSQL, the inventory; and
// how it ends: exit codes, and one line that says what is wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/config/common.h"
#include "common/domain/local_iso.h"
#include "common/history/results.h"
#include "common/postgres/connection.h"
#include "services/cli/core/sheet.h"

namespace gema::cli {

inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kUnreadable = 3;  // done, but for stored rows that do not decode

struct CommonOptions {
  std::string config_file;
  std::string data_dir = "var";
  std::string format = "table";
};

struct Session {
  config::Common common;
  uint32_t raw_retention_days = 90;
  uint32_t hour_rollups_days = 1827;
  Now now{};
  UtcOffset offset;
  Paper paper;
};

// Reads the configuration and sets the process' time zone. `time_zone`: "" = the configured one.
// nullopt: said why on stderr.
std::optional<Session> begin_session(const CommonOptions& options, const std::string& time_zone);

// --from and --to in Unix ms, cut to what history can hold. "": no bound.
struct Range {
  int64_t from_ms = 0;
  int64_t to_ms = INT64_MAX;
};
Result<Range> range_of(const Session& session, const std::string& from, const std::string& to);

// Fails with what to do about it.
Result<std::unique_ptr<postgres::Connection>> connect(const Session& session);

// "gema: ..." on stderr. Returns the exit code: 2 for what the caller wrote wrong, else 1.
int fail(const Error& error);

// Names stored rows that do not decode, which were left out, on stderr. Returns the exit code:
// `code`, or kUnreadable in place of 0. `all`: of them the first are given.
int tell_broken(int code, const std::vector<history::BrokenRow>& rows, uint64_t all,
                const Session& session);

// Prints the sheet on stdout, and what it lacks on stderr. Returns the exit code.
int show(const Session& session, const Sheet& sheet,
         const std::vector<history::BrokenRow>& broken = {});

}  // namespace gema::cli
