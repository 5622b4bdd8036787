// Reads the files that import takes, line by line: ace-connection-logger's SQLite database, CSV
// (multi-ping's daily files, gema export's), NDJSON (gema export's). Which kind a file is, its
// content says.
//
// Good rows go to `row`, the others to `bad`, each with its place. Files are only read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/base/result.h"
#include "services/cli/core/rows.h"

namespace gema::cli {

enum class SourceKind : uint8_t { kAce, kPingCsv, kExportCsv, kExportNdjson };
const char* to_string(SourceKind kind);

struct SourceSink {
  std::function<void(SourceKind)> begin;
  // `line`: of the file, or the row's id in a database.
  std::function<void(SourceRow& row, uint64_t line)> row;
  std::function<void(uint64_t line, const std::string& what)> bad;
  // Bytes (or rows) read so far and in all; return false to break off.
  std::function<bool(double share)> progress;
};

// Fails when the file cannot be read as a whole: missing, another format, a database cut short, a
// file that somebody rewrites meanwhile. "-": standard input.
Result<void> read_source(const std::filesystem::path& name, const SourceSink& sink);

}  // namespace gema::cli
