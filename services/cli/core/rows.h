// Lines of the files that import reads, as checks: multi-ping's daily CSV (11, 12 or 7 columns, and
// what our recorder writes), and the CSV that gema export writes. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "services/cli/core/check.h"

namespace gema::cli {

// How a file names a host.
struct Host {
  std::string address;
  std::string name;
  std::optional<uint64_t> id;  // in the system that wrote the file
  // What else multi-ping's files say of it.
  std::string merk, os, kondisi, id_lokasi;
};

struct SourceRow {
  Host host;
  std::string location;  // "" = the import's
  std::string prober;    // ditto
  std::optional<int64_t> utc_us;
  int64_t local_us = 0;  // where utc_us is none
  Check check;           // without at_ms
  // Stands for results that did not decode where they were exported; the rest says nothing.
  bool unreadable = false;
};
// The verdict of such a line.
inline constexpr std::string_view kUnreadableVerdict = "unreadable";

enum class CsvKind : uint8_t { kPing, kExport };

class CsvLayout {
 public:
  // From the first line. Fails with kBadInput when it is neither kind's.
  static Result<CsvLayout> of(const std::vector<std::string>& header);

  CsvKind kind() const { return kind_; }
  // Fails with kBadInput: "column = value: rule".
  Result<SourceRow> parse(const std::vector<std::string>& cells) const;

 private:
  const std::string& cell(const std::vector<std::string>& cells, const char* column) const;
  Result<SourceRow> parse_ping(const std::vector<std::string>& cells) const;
  Result<SourceRow> parse_export(const std::vector<std::string>& cells) const;

  CsvKind kind_ = CsvKind::kPing;
  size_t columns_ = 0;
  std::map<std::string, size_t, std::less<>> places_;
};

// RFC 3339, or a local time without offset. Fails with kBadInput.
Result<void> take_time(const std::string& column, const std::string& text, SourceRow& row);

// Checks what CSV and NDJSON have in common: enumerators that fit together, bounds.
Result<void> check_rules(const Check& check);

}  // namespace gema::cli
