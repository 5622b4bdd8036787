#include "services/inventory/core/csv.h"

namespace gema::inventory {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
  }

  bool at_end() const { return at_ >= text_.size(); }

  CsvRow record() {
    CsvRow row{.line = line_};
    const size_t begin = at_;
    const int begin_line = line_;
    for (;;) {
      std::string field;
      if (!at_end() && text_[at_] == '"') {
        quoted(field, row.problem);
      } else {
        plain(field, row.problem);
      }
      row.fields.push_back(std::move(field));
      if (at_end() || line_ends()) break;
      ++at_;  // the comma
    }
    if (!row.problem.empty() && line_ != begin_line) {
      // One stray quote made several lines one record: give the others their chance.
      at_ = begin;
      line_ = begin_line;
    }
    skip_line();
    return row;
  }

 private:
  bool line_ends() const {
    return text_[at_] == '\n' ||
           (text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') ||
           (text_[at_] == '\r' && at_ + 1 == text_.size());
  }

  // Requires: at an opening quote.
  void quoted(std::string& field, std::string& problem) {
    ++at_;
    while (!at_end()) {
      const char c = text_[at_++];
      if (c != '"') {
        if (c == '\n') ++line_;
        field += c;
        continue;
      }
      if (!at_end() && text_[at_] == '"') {
        field += '"';
        ++at_;
        continue;
      }
      if (!at_end() && text_[at_] != ',' && !line_ends()) {
        problem = "has text after a closing quote";
        std::string rest;
        plain(rest, problem);
      }
      return;
    }
    problem = "opens a quote that is never closed";
  }

  void plain(std::string& field, std::string& problem) {
    while (!at_end() && text_[at_] != ',' && !line_ends()) {
      if (text_[at_] == '"' && problem.empty()) problem = "has a quote inside an unquoted field";
      field += text_[at_++];
    }
  }

  // To the beginning of the next line.
  void skip_line() {
    while (!at_end() && text_[at_] != '\n') ++at_;
    if (!at_end()) ++at_;
    ++line_;
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

bool is_blank(const CsvRow& row) {
  return row.problem.empty() && row.fields.size() == 1 &&
         row.fields[0].find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text) {
  std::vector<CsvRow> rows;
  Reader reader(text);
  while (!reader.at_end()) {
    CsvRow row = reader.record();
    if (!is_blank(row)) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace gema::inventory
