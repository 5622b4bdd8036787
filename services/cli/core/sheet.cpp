#include "services/cli/core/sheet.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/rfc3339.h"
#include "common/domain/csv_text.h"

namespace gema::cli {
namespace {

constexpr size_t kNarrowest = 8;  // a column is cut to this much at most
constexpr const char* kGap = "  ";

template <class... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <class... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

std::string instant_text(int64_t ms) {
  // "2026-11-20T09:56:01.250000Z": milliseconds are all there is.
  std::string text = format_rfc3339(wall_from_ms(ms));
  if (text.ends_with("000Z")) text.replace(text.size() - 4, 4, "Z");
  return text;
}

// For programs. `quoted`: JSON would put it in quotes.
std::string plain_text(const Cell& cell, bool& quoted) {
  quoted = false;
  return std::visit(Overloaded{[](std::monostate) { return std::string(); },
                               [&](const std::string& v) {
                                 quoted = true;
                                 return v;
                               },
                               [](int64_t v) { return std::to_string(v); },
                               [](uint64_t v) { return std::to_string(v); },
                               [](bool v) { return std::string(v ? "true" : "false"); },
                               [&](At v) {
                                 quoted = true;
                                 return instant_text(v.ms);
                               },
                               [](Real v) { return fmt::format("{}", v.value); },
                               [](Micros v) { return std::to_string(v.us); },
                               [](Span v) { return std::to_string(v.ms); }},
                    cell);
}

std::string table_text(const Cell& cell, const UtcOffset& offset) {
  return std::visit(
      Overloaded{[](std::monostate) { return std::string("-"); },
                 [](const std::string& v) { return printable(v); },
                 [](int64_t v) { return std::to_string(v); },
                 [](uint64_t v) { return std::to_string(v); },
                 [](bool v) { return std::string(v ? "yes" : "no"); },
                 [&](At v) { return local_text(v.ms, offset); },
                 [](Real v) { return fmt::format("{:.{}f}", v.value, v.decimals); },
                 [](Micros v) { return fmt::format("{:.2f}", static_cast<double>(v.us) / 1'000); },
                 [](Span v) { return span_text(v.ms); }},
      cell);
}

bool to_the_right(const Cell& cell) {
  return !std::holds_alternative<std::string>(cell) && !std::holds_alternative<At>(cell) &&
         !std::holds_alternative<bool>(cell);
}

// Characters, for UTF-8: what is no continuation byte.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string cut(const std::string& text, size_t width) {
  if (width_of(text) <= width) return text;
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    if ((text[end] & 0xC0) != 0x80 && ++seen == width) break;
  }
  return text.substr(0, end) + "~";
}

std::string padded(const std::string& text, size_t width, bool right) {
  const size_t has = width_of(text);
  const std::string fill(width > has ? width - has : 0, ' ');
  return right ? fill + text : text + fill;
}

const char* colour_of(Look look) {
  switch (look) {
    case Look::kGood:
      return "\x1b[32m";
    case Look::kBad:
      return "\x1b[31m";
    case Look::kDim:
      return "\x1b[2m";
    case Look::kPlain:
      break;
  }
  return "";
}

std::string print_table(const Sheet& sheet, const Paper& paper, const UtcOffset& offset) {
  std::vector<size_t> shown;
  for (size_t c = 0; c < sheet.columns.size(); ++c) {
    if (!sheet.columns[c].title.empty()) shown.push_back(c);
  }
  std::vector<std::vector<std::string>> texts(sheet.rows.size());
  std::vector<size_t> widths(shown.size());
  std::vector<bool> right(shown.size(), false);
  for (size_t i = 0; i < shown.size(); ++i) widths[i] = width_of(sheet.columns[shown[i]].title);
  for (size_t r = 0; r < sheet.rows.size(); ++r) {
    for (size_t i = 0; i < shown.size(); ++i) {
      const Cell& cell = sheet.rows[r].cells[shown[i]];
      texts[r].push_back(table_text(cell, offset));
      widths[i] = std::max(widths[i], width_of(texts[r].back()));
      if (to_the_right(cell) && !std::holds_alternative<std::monostate>(cell)) right[i] = true;
    }
  }
  const auto total = [&] {
    size_t sum = widths.empty() ? 0 : 2 * (widths.size() - 1);
    for (const size_t w : widths) sum += w;
    return sum;
  };
  // Texts give way first, the widest of them.
  while (paper.width > 0 && total() > paper.width) {
    size_t widest = shown.size();
    for (size_t i = 0; i < shown.size(); ++i) {
      if (!right[i] && (widest == shown.size() || widths[i] > widths[widest])) widest = i;
    }
    if (widest == shown.size() || widths[widest] <= kNarrowest) break;
    --widths[widest];
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells, const char* colour) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += kGap;
      text += padded(cut(cells[i], widths[i]), widths[i], right[i]);
    }
    while (text.ends_with(' ')) text.pop_back();
    out += colour;
    out += text;
    if (*colour != '\0') out += "\x1b[0m";
    out += '\n';
  };
  std::vector<std::string> titles;
  for (const size_t c : shown) titles.push_back(sheet.columns[c].title);
  line(titles, paper.colour ? "\x1b[1m" : "");
  for (size_t r = 0; r < sheet.rows.size(); ++r) {
    line(texts[r], paper.colour ? colour_of(sheet.rows[r].look) : "");
  }
  return out;
}

void append_json_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_object(std::string& out, const Sheet& sheet, const Row& row) {
  out += '{';
  for (size_t c = 0; c < sheet.columns.size(); ++c) {
    if (c > 0) out += ',';
    append_json_text(out, sheet.columns[c].key);
    out += ':';
    bool quoted = false;
    const std::string text = plain_text(row.cells[c], quoted);
    if (std::holds_alternative<std::monostate>(row.cells[c])) {
      out += "null";
    } else if (quoted) {
      append_json_text(out, text);
    } else {
      out += text;
    }
  }
  out += '}';
}

}  // namespace

std::optional<Format> format_of(std::string_view text) {
  if (text == "table") return Format::kTable;
  if (text == "csv") return Format::kCsv;
  if (text == "json") return Format::kJson;
  if (text == "ndjson") return Format::kNdjson;
  return std::nullopt;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  return out;
}

std::string span_text(uint64_t ms) {
  if (ms < 1'000) return fmt::format("{}ms", ms);
  const uint64_t s = ms / 1'000;
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3'600)
    return s % 60 == 0 ? fmt::format("{}m", s / 60) : fmt::format("{}m {}s", s / 60, s % 60);
  const uint64_t m = s / 60;
  if (m < 1'440)
    return m % 60 == 0 ? fmt::format("{}h", m / 60) : fmt::format("{}h {}m", m / 60, m % 60);
  const uint64_t h = m / 60;
  return h % 24 == 0 ? fmt::format("{}d", h / 24) : fmt::format("{}d {}h", h / 24, h % 24);
}

std::string local_text(int64_t unix_ms, const UtcOffset& offset) {
  std::string text = local_iso(unix_ms * 1'000, offset);
  text[10] = ' ';
  if (text.size() == 26) text.resize(23);
  return text;
}

std::string print(const Sheet& sheet, const Paper& paper, const UtcOffset& offset) {
  if (paper.format == Format::kTable) return print_table(sheet, paper, offset);
  std::string out;
  if (paper.format == Format::kCsv) {
    for (size_t c = 0; c < sheet.columns.size(); ++c) {
      if (c > 0) out += ',';
      out += sheet.columns[c].key;
    }
    out += "\r\n";
    for (const Row& row : sheet.rows) {
      for (size_t c = 0; c < row.cells.size(); ++c) {
        if (c > 0) out += ',';
        bool quoted = false;
        const std::string text = plain_text(row.cells[c], quoted);
        // Numbers are no formulas, also below zero.
        if (quoted) {
          append_csv_cell(out, text);
        } else {
          out += text;
        }
      }
      out += "\r\n";
    }
    return out;
  }
  const bool lines = paper.format == Format::kNdjson;
  if (!lines) out += '[';
  for (size_t r = 0; r < sheet.rows.size(); ++r) {
    if (!lines && r > 0) out += ',';
    if (!lines) out += "\n ";
    append_object(out, sheet, sheet.rows[r]);
    if (lines) out += '\n';
  }
  if (!lines) out += sheet.rows.empty() ? "]\n" : "\n]\n";
  return out;
}

}  // namespace gema::cli
