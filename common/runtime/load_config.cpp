#include "common/runtime/load_config.h"

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>

extern char** environ;  // NOLINT: POSIX declares it nowhere else

namespace gema::runtime {
namespace {

std::map<std::string, std::string> environment_variables() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return std::nullopt;
  return text.str();
}

}  // namespace

bool load_config(const std::string& program, const std::string& config_file,
                 const config::Common& common, const std::vector<config::Spec>& specs) {
  config::Inputs inputs;
  inputs.env = environment_variables();
  const bool named = !config_file.empty();
  const std::filesystem::path path =
      named ? std::filesystem::path(config_file) : common.data_dir / "gema.yaml";
  inputs.file_name = path.string();
  inputs.file_text = std::filesystem::is_regular_file(path) ? read_file(path) : std::nullopt;
  if (!inputs.file_text && (named || std::filesystem::exists(path))) {
    std::cerr << fmt::format("{}: cannot read the configuration file {}\n", program, path.string());
    return false;
  }
  if (const auto dotenv = read_file(common.data_dir / ".env")) {
    inputs.dotenv = config::parse_dotenv(*dotenv);
  }
  const auto problems = config::load(specs, config::all_sections(), inputs);
  for (const auto& problem : problems) {
    std::cerr << fmt::format("{}: {}\n", program, problem.text());
  }
  for (const auto& [name, why] : config::accepted_without_effect()) {
    if (inputs.env.contains(name) || inputs.dotenv.contains(name)) {
      std::cerr << fmt::format("{}: {} has no effect: {}\n", program, name, why);
    }
  }
  return problems.empty();
}

}  // namespace gema::runtime
