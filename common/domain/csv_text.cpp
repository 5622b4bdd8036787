#include "common/domain/csv_text.h"

namespace gema {
namespace {

bool begins_formula(std::string_view text) {
  return !text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos;
}

}  // namespace

void append_csv_cell(std::string& out, std::string_view text) {
  const bool quoted = text.find_first_of(",\"\r\n") != std::string_view::npos;
  if (quoted) out += '"';
  if (begins_formula(text)) out += '\'';
  if (!quoted) {
    out += text;
    return;
  }
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

std::string_view without_formula_mark(std::string_view cell) {
  if (cell.starts_with('\'') && begins_formula(cell.substr(1))) cell.remove_prefix(1);
  return cell;
}

}  // namespace gema
