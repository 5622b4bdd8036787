// What a command answers, as rows and columns, and how it is printed: a table for people, CSV, JSON
// (an array of objects) or NDJSON for programs. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.h"
#include "common/domain/local_iso.h"

namespace gema::cli {

enum class Format : uint8_t { kTable, kCsv, kJson, kNdjson };
std::optional<Format> format_of(std::string_view text);

// An instant: RFC 3339 for programs, local time in a table.
struct At {
  int64_t ms = 0;
};
struct Real {
  double value = 0;
  int decimals = 2;  // in a table
};
// A time in us, in a table as milliseconds.
struct Micros {
  uint64_t us = 0;
};
// A span in ms, in a table as "1d 2h 3m".
struct Span {
  uint64_t ms = 0;
};
using Cell =
    std::variant<std::monostate, std::string, int64_t, uint64_t, bool, At, Real, Micros, Span>;

enum class Look : uint8_t { kPlain, kGood, kBad, kDim };

struct Column {
  std::string key;    // of programs: "rtt_mean_us"
  std::string title;  // of the table: "mean"; "" = not in the table
};

struct Row {
  std::vector<Cell> cells;
  Look look = Look::kPlain;
};

struct Sheet {
  std::vector<Column> columns;
  std::vector<Row> rows;
};

struct Paper {
  Format format = Format::kTable;
  size_t width = 0;     // of the terminal; 0 = none, whatever a line takes
  bool colour = false;  // only ever for tables
};

std::string print(const Sheet& sheet, const Paper& paper, const UtcOffset& offset);

// "1d 2h", "3m 5s", "250ms"
std::string span_text(uint64_t ms);
// "2026-11-20 10:00:00", and ".250" where there are milliseconds
std::string local_text(int64_t unix_ms, const UtcOffset& offset);

// Cells and columns a person sees: control characters are no way to write to their terminal.
std::string printable(std::string_view text);

}  // namespace gema::cli
