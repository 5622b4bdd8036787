#include "services/inventory/core/devices_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "common/base/utf8.h"
#include "services/inventory/core/csv.h"
#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

constexpr DeviceId kDeviceIdMax = INT64_MAX;  // PostgreSQL's bigint

std::string column_name(std::string_view text) {
  std::string name(trimmed(text));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

std::optional<DeviceId> parse_id(std::string_view text) {
  DeviceId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (id == 0 || id > kDeviceIdMax) return std::nullopt;
  return id;
}

struct Line {
  FileDevice device;
  std::vector<FieldProblem> problems;
};

void set_tag(Line& line, const std::string& name, std::string_view value) {
  if (!value.empty()) line.device.device.tags[name] = std::string(value);
}

void set_value(Line& line, const std::string& column, std::string_view value) {
  if (column == "device_id") {
    line.device.device_id = parse_id(value);
    if (!line.device.device_id && !value.empty()) {
      line.problems.push_back(
          {column, fmt::format("\"{}\" is not a positive whole number", value.substr(0, 40))});
    }
    return;
  }
  const auto field = canonical_field(column);
  if (!field || *field == "tags") {
    set_tag(line, column, value);
    return;
  }
  if (*field == "parent") {
    line.device.parent = std::string(value);
    return;
  }
  if (value.empty()) return;  // an empty cell means the default
  if (auto problem = set_field(line.device.device, column, value)) {
    line.problems.push_back(*problem);
  }
}

// min_replies may be given alone or not at all: the default never contradicts echo_count.
Line read_line(const Record& record, const DeviceDefaults& defaults) {
  Line line;
  line.device.line = record.line;
  Device& device = line.device.device;
  device.interval_ms = defaults.interval_ms;
  device.timeout_ms = defaults.timeout_ms;
  device.echo_count = defaults.echo_count;
  device.echo_spacing_ms = defaults.echo_spacing_ms;
  device.min_replies = 0;
  device.source = "file";
  for (const auto& [column, value] : record.fields) set_value(line, column, trimmed(value));
  for (const auto& [name, value] : record.tags) set_tag(line, name, trimmed(value));
  const bool given = std::any_of(record.fields.begin(), record.fields.end(), [](const auto& field) {
    return field.first == "min_replies" && !trimmed(field.second).empty();
  });
  if (!given) device.min_replies = std::min(defaults.min_replies, device.echo_count);
  const std::vector<FieldProblem> broken = check_device(device, {.loopback_allowed = true});
  line.problems.insert(line.problems.end(), broken.begin(), broken.end());
  return line;
}

}  // namespace

std::string to_text(const FileProblem& problem) {
  if (problem.line == 0) return problem.reason;
  return fmt::format("line {}: {}", problem.line, problem.reason);
}

Result<DevicesFile> read_devices_csv(std::string_view text, const DeviceDefaults& defaults) {
  const std::vector<CsvRow> rows = parse_csv(text);
  if (rows.empty()) return Error{Errc::kBadInput, "the file is empty; a header line is needed"};
  const CsvRow& header = rows.front();
  if (!header.problem.empty()) {
    return Error{Errc::kBadInput,
                 fmt::format("line {}: the header {}", header.line, header.problem)};
  }
  if (header.fields.size() > kColumnsMax) {
    return Error{Errc::kBadInput, fmt::format("more than {} columns", kColumnsMax)};
  }
  std::vector<std::string> columns;
  std::map<std::string, std::string> seen;  // canonical name -> as written
  for (const std::string& field : header.fields) {
    columns.push_back(column_name(field));
    const std::string& name = columns.back();
    if (!is_clean_text(name)) return Error{Errc::kBadInput, "the header line is not text"};
    if (name.empty())
      return Error{Errc::kBadInput, fmt::format("line {}: a column has no name", header.line)};
    const auto canonical = canonical_field(name);
    const auto [at, fresh] = seen.emplace(canonical ? std::string(*canonical) : name, name);
    if (!fresh) {
      return Error{Errc::kBadInput, fmt::format("line {}: columns \"{}\" and \"{}\" mean the same",
                                                header.line, at->second, name)};
    }
  }
  if (!seen.contains("address")) {
    return Error{Errc::kBadInput,
                 fmt::format("line {}: no column \"ip_address\" or \"address\"", header.line)};
  }
  std::vector<Record> records;
  std::vector<FileProblem> problems;
  size_t unreadable = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    const CsvRow& row = rows[i];
    if (!row.problem.empty()) {
      ++unreadable;
      problems.push_back({row.line, row.problem});
    } else if (row.fields.size() != columns.size()) {
      ++unreadable;
      problems.push_back({row.line, fmt::format("has {} fields, the header has {}",
                                                row.fields.size(), columns.size())});
    } else {
      Record& record = records.emplace_back(Record{.line = row.line});
      for (size_t k = 0; k < columns.size(); ++k)
        record.fields.emplace_back(columns[k], row.fields[k]);
    }
  }
  DevicesFile file = read_devices(records, defaults, std::move(problems));
  file.bad.resize(file.bad.size() + unreadable);
  return file;
}

DevicesFile read_devices(const std::vector<Record>& records, const DeviceDefaults& defaults,
                         std::vector<FileProblem> problems) {
  DevicesFile file{.problems = std::move(problems)};
  std::map<std::string, int> line_of_address;
  std::map<DeviceId, int> line_of_id;
  for (const Record& record : records) {
    Line line = read_line(record, defaults);
    FileDevice& device = line.device;
    if (line.problems.empty()) {
      const auto address = line_of_address.find(device.device.address);
      if (address != line_of_address.end()) {
        line.problems.push_back({"address", fmt::format("{} stands already on line {}",
                                                        device.device.address, address->second)});
      }
      if (device.device_id && line_of_id.contains(*device.device_id)) {
        line.problems.push_back(
            {"device_id", fmt::format("{} stands already on line {}", *device.device_id,
                                      line_of_id[*device.device_id])});
      }
      if (file.devices.size() >= kDevicesMax) {
        line.problems.push_back({"file", fmt::format("holds more than {} devices", kDevicesMax)});
      }
    }
    if (!line.problems.empty()) {
      file.problems.push_back({device.line, to_text(line.problems)});
      file.bad.push_back({device.device_id, device.device.address});
      continue;
    }
    line_of_address.emplace(device.device.address, device.line);
    if (device.device_id) line_of_id.emplace(*device.device_id, device.line);
    file.devices.push_back(std::move(device));
  }
  std::stable_sort(file.problems.begin(), file.problems.end(),
                   [](const FileProblem& a, const FileProblem& b) { return a.line < b.line; });
  return file;
}

}  // namespace gema::inventory
