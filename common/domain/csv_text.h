// How a cell of a CSV file is written: quoted as RFC 4180 says; one that a spreadsheet would take
// for a formula (it begins with = + - @, tab or CR) gets a ' before it. And how a line is taken
// apart again. Pure.
#pragma once

#include <string>
#include <string_view>

namespace gema {

void append_csv_cell(std::string& out, std::string_view text);

// What was given to append_csv_cell: without the ' before a formula.
std::string_view without_formula_mark(std::string_view cell);

}  // namespace gema
