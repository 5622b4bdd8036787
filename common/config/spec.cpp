#include "common/config/spec.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "common/base/assert.h"

namespace gema::config {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  return text;
}

std::string trim(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    part = trim(part);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

std::string yaml_text(const std::string& text) {
  YAML::Emitter out;
  out << YAML::DoubleQuoted << text;
  return out.c_str();
}

// "timeout-tracker", "down_after" -> "GEMA_TIMEOUT_TRACKER__DOWN_AFTER".
std::string env_name(const std::string& section, const std::string& key) {
  std::string name = "GEMA_" + section + "__" + key;
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return name;
}

class Loading {
 public:
  Loading(const std::vector<Spec>& specs, const std::vector<std::string>& others,
          const Inputs& inputs)
      : specs_(specs), others_(others), inputs_(inputs) {}

  std::vector<Problem> run() {
    if (inputs_.file_text) read_file();
    read_aliases();
    read_environment();
    return std::move(problems_);
  }

 private:
  void problem(std::string where, std::string key, std::string value, std::string rule) {
    problems_.push_back({std::move(where), std::move(key), std::move(value), std::move(rule)});
  }

  std::string at_line(const YAML::Node& node) const {
    return fmt::format("{} line {}", inputs_.file_name, node.Mark().line + 1);
  }

  const Spec* spec_of(const std::string& section) const {
    for (const Spec& spec : specs_) {
      if (spec.section() == section) return &spec;
    }
    return nullptr;
  }

  void read_file() {
    YAML::Node root;
    try {
      root = YAML::Load(*inputs_.file_text);
    } catch (const YAML::Exception& e) {
      problem(fmt::format("{} line {}", inputs_.file_name, e.mark.line + 1), "", "",
              "is no valid YAML: " + e.msg);
      return;
    }
    if (root.IsNull()) return;
    if (!root.IsMap()) {
      problem(inputs_.file_name, "", "", "must be a map of sections, such as \"prober:\"");
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : root) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      if (!seen.insert(name).second) {
        problem(at_line(entry.first), name, "", "is in the file twice");
        continue;
      }
      const Spec* spec = spec_of(name);
      if (spec != nullptr) {
        read_section(*spec, entry.second);
      } else if (std::find(others_.begin(), others_.end(), name) == others_.end()) {
        problem(at_line(entry.first), name, "", "is no section that Gema knows");
      }
    }
  }

  void read_section(const Spec& spec, const YAML::Node& node) {
    if (node.IsNull()) return;
    if (!node.IsMap()) {
      problem(at_line(node), spec.section(), "", "must be a map of keys and values");
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      const std::string full = spec.section() + "." + key;
      if (!seen.insert(key).second) {
        problem(at_line(entry.first), full, "", "is in the file twice");
        continue;
      }
      const Setting* setting = spec.find(key);
      if (setting == nullptr) {
        if (!spec.partial()) problem(at_line(entry.first), full, "", "is no key that Gema knows");
      } else {
        read_value(*setting, full, entry.second);
      }
    }
  }

  void read_value(const Setting& setting, const std::string& full, const YAML::Node& node) {
    if (setting.is_list && node.IsSequence()) {
      std::vector<std::string> values;
      for (const auto& item : node) {
        if (!item.IsScalar()) {
          problem(at_line(item), full, "", "must be a list of plain values");
          return;
        }
        values.push_back(item.Scalar());
      }
      if (auto rule = setting.set_list(values)) problem(at_line(node), full, "", *rule);
      return;
    }
    if (!node.IsScalar()) {
      problem(at_line(node), full, "", "must be a single value");
      return;
    }
    apply(setting, at_line(node), full, node.Scalar());
  }

  void apply(const Setting& setting, const std::string& where, const std::string& key,
             const std::string& value) {
    if (auto rule = setting.set(value)) {
      problem(where, key, setting.secret ? "***" : value, *rule);
    }
  }

  void read_aliases() {
    for (const Spec& spec : specs_) {
      for (const Setting& setting : spec.settings()) {
        for (const std::string& alias : setting.aliases) {
          const auto env = inputs_.env.find(alias);
          if (env != inputs_.env.end()) {
            apply(setting, "environment", alias, env->second);
            continue;
          }
          const auto dotenv = inputs_.dotenv.find(alias);
          if (dotenv != inputs_.dotenv.end()) apply(setting, ".env", alias, dotenv->second);
        }
      }
    }
  }

  void read_environment() {
    for (const auto& [name, value] : inputs_.dotenv) {
      if (!inputs_.env.contains(name)) read_variable(".env", name, value);
    }
    for (const auto& [name, value] : inputs_.env) read_variable("environment", name, value);
  }

  void read_variable(const char* where, const std::string& name, const std::string& value) {
    if (!name.starts_with("GEMA_") || name.find("__") == std::string::npos) return;
    for (const Spec& spec : specs_) {
      if (!name.starts_with(env_name(spec.section(), ""))) continue;
      for (const Setting& setting : spec.settings()) {
        if (env_name(spec.section(), setting.key) == name) {
          apply(setting, where, name, value);
          return;
        }
      }
      if (!spec.partial()) problem(where, name, "", "names no key of section " + spec.section());
      return;
    }
    for (const std::string& other : others_) {
      if (name.starts_with(env_name(other, ""))) return;
    }
    problem(where, name, "", "names no section that Gema knows");
  }

  const std::vector<Spec>& specs_;
  const std::vector<std::string>& others_;
  const Inputs& inputs_;
  std::vector<Problem> problems_;
};

}  // namespace

std::string Problem::text() const {
  std::string line = where;
  if (!key.empty()) line += ": " + key;
  if (!value.empty()) line += " = " + value;
  return line + ": " + rule;
}

const Setting* Spec::find(const std::string& key) const {
  for (const Setting& setting : settings_) {
    if (setting.key == key) return &setting;
  }
  return nullptr;
}

void Spec::add(Setting setting) {
  GEMA_ASSERT(find(setting.key) == nullptr);
  settings_.push_back(std::move(setting));
}

void Spec::add_number(const char* key, int64_t min, int64_t max, const char* unit,
                      std::function<void(int64_t)> store, std::function<int64_t()> load_value,
                      const char* doc) {
  Setting setting;
  setting.key = key;
  setting.doc = doc;
  setting.set = [min, max, unit,
                 store = std::move(store)](const std::string& text) -> std::optional<std::string> {
    const std::string number = trim(text);
    int64_t value = 0;
    const char* end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, value);
    if (number.empty() || error != std::errc() || stop != end) {
      return fmt::format("must be a whole number from {} to {}{}", min, max, unit);
    }
    if (value < min || value > max) return fmt::format("must be from {} to {}{}", min, max, unit);
    store(value);
    return std::nullopt;
  };
  setting.print = [load_value = std::move(load_value)] { return std::to_string(load_value()); };
  add(std::move(setting));
}

void Spec::text(const char* key, std::string& field, const char* doc) {
  Setting setting;
  setting.key = key;
  setting.doc = doc;
  setting.set = [&field](const std::string& value) -> std::optional<std::string> {
    if (value.find('\0') != std::string::npos) return "must not contain a zero byte";
    field = value;
    return std::nullopt;
  };
  setting.print = [&field] { return yaml_text(field); };
  add(std::move(setting));
}

void Spec::secret(const char* key, std::string& field, const char* doc) {
  text(key, field, doc);
  settings_.back().secret = true;
  settings_.back().print = [&field] { return yaml_text(field.empty() ? "" : "***"); };
}

void Spec::flag(const char* key, bool& field, const char* doc) {
  Setting setting;
  setting.key = key;
  setting.doc = doc;
  setting.set = [&field](const std::string& value) -> std::optional<std::string> {
    const std::string word = lower(trim(value));
    for (const char* yes : {"true", "yes", "on", "1"}) {
      if (word == yes) {
        field = true;
        return std::nullopt;
      }
    }
    for (const char* no : {"false", "no", "off", "0"}) {
      if (word == no) {
        field = false;
        return std::nullopt;
      }
    }
    return "must be true or false";
  };
  setting.print = [&field] { return field ? "true" : "false"; };
  add(std::move(setting));
}

void Spec::choice(const char* key, std::string& field, std::vector<std::string> choices,
                  const char* doc) {
  Setting setting;
  setting.key = key;
  setting.doc = doc;
  setting.set = [&field, choices = std::move(choices)](
                    const std::string& value) -> std::optional<std::string> {
    for (const std::string& choice : choices) {
      if (lower(choice) == lower(trim(value))) {
        field = choice;
        return std::nullopt;
      }
    }
    return fmt::format("must be one of {}", fmt::join(choices, ", "));
  };
  setting.print = [&field] { return yaml_text(field); };
  add(std::move(setting));
}

void Spec::list(const char* key, std::vector<std::string>& field, const char* doc,
                CheckItem check) {
  Setting setting;
  setting.key = key;
  setting.doc = doc;
  setting.is_list = true;
  setting.set_list = [&field, check = std::move(check)](
                         const std::vector<std::string>& values) -> std::optional<std::string> {
    for (const std::string& item : values) {
      if (auto rule = check ? check(item) : std::nullopt) return rule;
    }
    field = values;
    return std::nullopt;
  };
  setting.set = [set_list = setting.set_list](const std::string& value) {
    return set_list(split(value, ','));
  };
  setting.print = [&field] {
    std::vector<std::string> items;
    for (const std::string& item : field) items.push_back(yaml_text(item));
    return fmt::format("[{}]", fmt::join(items, ", "));
  };
  add(std::move(setting));
}

void Spec::alias(const char* seed_name, const char* key) {
  for (Setting& setting : settings_) {
    if (setting.key == key) {
      setting.aliases.emplace_back(seed_name);
      return;
    }
  }
  GEMA_ASSERT(!"alias for a key that was not described");
}

std::vector<Problem> load(const std::vector<Spec>& specs,
                          const std::vector<std::string>& other_sections, const Inputs& inputs) {
  return Loading(specs, other_sections, inputs).run();
}

std::string print(const std::vector<Spec>& specs) {
  std::string out;
  for (const Spec& spec : specs) {
    out += spec.section() + ":\n";
    for (const Setting& setting : spec.settings()) {
      out += "  # " + setting.doc;
      for (const std::string& alias : setting.aliases) out += " Also " + alias + ".";
      out += "\n  " + setting.key + ": " + setting.print() + "\n";
    }
  }
  return out;
}

std::map<std::string, std::string> parse_dotenv(const std::string& text) {
  std::map<std::string, std::string> values;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    line = trim(line);
    if (line.starts_with("export ")) line = trim(line.substr(7));
    const auto equals = line.find('=');
    if (line.starts_with("#") || equals == std::string::npos) continue;
    const std::string name = trim(line.substr(0, equals));
    std::string value = trim(line.substr(equals + 1));
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
        value.back() == value.front()) {
      value = value.substr(1, value.size() - 2);
    } else if (const auto comment = value.find(" #"); comment != std::string::npos) {
      value = trim(value.substr(0, comment));
    }
    if (!name.empty()) values[name] = value;
  }
  return values;
}

}  // namespace gema::config
