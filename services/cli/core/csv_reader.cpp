#include "services/cli/core/csv_reader.h"

#include "services/cli/core/limits.h"

namespace gema::cli {

void CsvReader::put(char c) {
  if (c == '\0') line_.broken = "holds a zero byte";
  if (cell_.size() >= kCellBytesMax) {
    line_.broken = "a cell has more than 64 KiB";
    return;
  }
  cell_ += c;
}

void CsvReader::end_cell() {
  if (line_.cells.size() >= kCellsMax) {
    line_.broken = "has more than 200 cells";
  } else {
    line_.cells.push_back(cell_);
  }
  cell_.clear();
  at_ = At::kCellBegin;
}

void CsvReader::end_line(const Each& each) {
  if (any_) {
    if (at_ == At::kPlain && cell_.ends_with('\r')) cell_.pop_back();
    end_cell();
    each(line_);
  }
  line_.number = lines_;
  line_.cells.clear();
  line_.broken = nullptr;
  cell_.clear();
  at_ = At::kCellBegin;
  any_ = false;
}

void CsvReader::take(std::string_view text, const Each& each) {
  if (line_.number == 0) line_.number = 1;
  for (const char c : text) {
    if (c == '\n') ++lines_;
    if (at_ == At::kQuoted) {
      if (c == '"') {
        at_ = At::kQuoteInQuoted;
      } else {
        put(c);
      }
      continue;
    }
    if (c == '\n') {
      end_line(each);
      continue;
    }
    if (c == '\r' && (at_ == At::kQuoteInQuoted || (at_ == At::kCellBegin && !any_))) continue;
    any_ = true;
    if (c == ',') {
      end_cell();
    } else if (at_ == At::kQuoteInQuoted) {
      if (c == '"') {
        put(c);
        at_ = At::kQuoted;
      } else {
        line_.broken = "something stands behind a closing quote";
        at_ = At::kPlain;
      }
    } else if (c == '"' && at_ == At::kCellBegin) {
      at_ = At::kQuoted;
    } else {
      put(c);
      at_ = At::kPlain;
    }
  }
}

void CsvReader::finish(const Each& each) {
  if (at_ == At::kQuoted) line_.broken = "a quote is not closed";
  end_line(each);
}

}  // namespace gema::cli
