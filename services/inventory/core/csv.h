// Comma separated values as RFC 4180 writes them, with what files in the wild add: a UTF-8 byte
// order mark, LF or CRLF, blank lines. A broken record costs only itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gema::inventory {

struct CsvRow {
  int line = 0;  // where it begins, from 1
  std::vector<std::string> fields;
  std::string problem;  // not empty: the record is broken, this is how
};

// Every record of `text`, in order; blank lines are left out. A quoted field may span lines. A
// record whose quotes are broken is one line long: reading goes on with the next, so that one slip
// does not swallow the rest of the file.
std::vector<CsvRow> parse_csv(std::string_view text);

}  // namespace gema::inventory
