// Takes CSV text apart, piece by piece, as RFC 4180 says and as spreadsheets write it: cells in
// quotes may hold line ends, lines end with LF or CR LF. A line that breaks the rules is told as
// bad, and reading goes on with the next. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace gema::cli {

struct CsvLine {
  uint64_t number = 0;  // where it begins, from 1
  std::vector<std::string> cells;
  const char* broken = nullptr;  // the rule it breaks; the cells are then worthless
};

class CsvReader {
 public:
  using Each = std::function<void(const CsvLine&)>;  // blank lines are left out

  void take(std::string_view text, const Each& each);
  void finish(const Each& each);  // the last line may lack its end

 private:
  enum class At : uint8_t { kCellBegin, kPlain, kQuoted, kQuoteInQuoted };

  void put(char c);
  void end_cell();
  void end_line(const Each& each);

  At at_ = At::kCellBegin;
  CsvLine line_;
  std::string cell_;
  uint64_t lines_ = 1;
  bool any_ = false;  // the line holds something
};

}  // namespace gema::cli
