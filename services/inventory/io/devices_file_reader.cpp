#include "services/inventory/io/devices_file_reader.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <set>
#include <sstream>

#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

int line_of(const YAML::Node& node) {
  return node.Mark().line + 1;
}

// A scalar, or a list of scalars joined as files write locations; nullopt: anything else.
std::optional<std::string> text_of(const YAML::Node& node) {
  if (node.IsNull()) return "";
  if (node.IsScalar()) return node.Scalar();
  if (!node.IsSequence()) return std::nullopt;
  std::string text;
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) return std::nullopt;
    text += (text.empty() ? "" : ";") + item.Scalar();
  }
  return text;
}

// Nothing: what is wrong stands in `problem`.
std::optional<Record> record_of(const YAML::Node& node, std::string& problem) {
  if (!node.IsMap()) {
    problem = "is not a device: keys and values are needed";
    return std::nullopt;
  }
  Record record{.line = line_of(node)};
  std::set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      problem = "has a key that is not text";
      return std::nullopt;
    }
    const std::string key = entry.first.Scalar();
    const auto canonical = canonical_field(key);
    if (!seen.insert(canonical       ? std::string(*canonical)
                     : key == "name" ? "hostname"
                                     : key)
             .second) {
      problem = fmt::format("{}: stands twice", key);
      return std::nullopt;
    }
    if (key == "tags" && entry.second.IsMap()) {
      for (const auto& tag : entry.second) {
        if (!tag.first.IsScalar() || !tag.second.IsScalar()) {
          problem = "tags: names and texts are needed";
          return std::nullopt;
        }
        record.tags.emplace_back(tag.first.Scalar(), tag.second.Scalar());
      }
      continue;
    }
    const auto text = text_of(entry.second);
    if (!text || (entry.second.IsSequence() && key != "probe_from" && key != "tcp_ports")) {
      problem = fmt::format("{}: a single value is needed", key);
      return std::nullopt;
    }
    record.fields.emplace_back(key, *text);
  }
  return record;
}

Result<DevicesFile> read_list(const YAML::Node& list, const char* key,
                              const DeviceDefaults& defaults) {
  if (!list.IsSequence()) {
    return Error{Errc::kBadInput, fmt::format("line {}: \"{}\" is not a list", line_of(list), key)};
  }
  std::vector<Record> records;
  std::vector<FileProblem> problems;
  for (const YAML::Node& node : list) {
    std::string problem;
    auto record = record_of(node, problem);
    if (!record) {
      problems.push_back({line_of(node), problem});
      continue;
    }
    for (auto& [name, value] : record->fields) {
      if (name == "name") name = "hostname";  // ace's word
    }
    records.push_back(std::move(*record));
  }
  const size_t unreadable = problems.size();
  DevicesFile file = read_devices(records, defaults, std::move(problems));
  file.bad.resize(file.bad.size() + unreadable);
  return file;
}

// ace's own keys and defaults; its other sections are about things that Gema has elsewhere.
Result<DevicesFile> read_ace(const YAML::Node& root, DeviceDefaults defaults) {
  Device device{.address = "ace.example",
                .interval_ms = 60'000,
                .timeout_ms = 2'000,
                .echo_count = 5,
                .echo_spacing_ms = defaults.echo_spacing_ms};
  const YAML::Node monitoring = root["monitoring"];
  for (const auto& [key, field] :
       {std::pair{"interval_seconds", "interval_s"}, std::pair{"ping_count", "echo_count"},
        std::pair{"timeout_seconds", "timeout_s"}}) {
    if (!monitoring || !monitoring.IsMap() || !monitoring[key]) continue;
    const YAML::Node node = monitoring[key];
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    std::string reason;
    if (std::string_view(field) == "timeout_s") {
      auto ms = parse_seconds(text);
      if (ms)
        device.timeout_ms = *ms;
      else
        reason = ms.error().message;
    } else if (auto problem = set_field(device, field, text)) {
      reason = problem->reason;
    }
    if (!reason.empty()) {
      return Error{Errc::kBadInput,
                   fmt::format("line {}: monitoring.{}: {}", line_of(node), key, reason)};
    }
  }
  const std::vector<FieldProblem> problems = check_device(device, {});
  if (!problems.empty()) {
    return Error{Errc::kBadInput,
                 fmt::format("line {}: monitoring: {}", line_of(monitoring), to_text(problems))};
  }
  defaults = {.interval_ms = device.interval_ms,
              .timeout_ms = device.timeout_ms,
              .echo_count = device.echo_count,
              .min_replies = 1,
              .echo_spacing_ms = device.echo_spacing_ms};
  return read_list(root["hosts"], "hosts", defaults);
}

}  // namespace

Result<DevicesFile> read_devices_yaml(const std::string& text, DeviceDefaults defaults) {
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root.IsMap()) return Error{Errc::kBadInput, "no \"devices:\" at its top"};
    if (const YAML::Node list = root["devices"]) return read_list(list, "devices", defaults);
    if (root["hosts"]) return read_ace(root, defaults);
    return Error{Errc::kBadInput, "neither \"devices:\" nor \"hosts:\" at its top"};
  } catch (const YAML::Exception& e) {
    return Error{Errc::kBadInput, fmt::format("line {}: {}", e.mark.line + 1, e.msg)};
  }
}

Result<DevicesFile> read_devices_file(const std::filesystem::path& path,
                                      const DeviceDefaults& defaults) {
  const auto refuse = [&](const std::string& reason) {
    return Error{Errc::kBadInput, fmt::format("{}: {}", path.string(), reason)};
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return refuse("no such file");
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > kFileBytesMax) {
    return refuse(fmt::format("larger than {} MiB", kFileBytesMax / (1024 * 1024)));
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || (size > 0 && text.str().empty())) return refuse("cannot be read");
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  auto file = extension == ".yaml" || extension == ".yml" ? read_devices_yaml(text.str(), defaults)
                                                          : read_devices_csv(text.str(), defaults);
  if (!file) return refuse(file.error().message);
  return file;
}

}  // namespace gema::inventory
