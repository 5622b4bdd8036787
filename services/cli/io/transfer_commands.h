// gema export and gema import.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/cli/io/session.h"

namespace gema::cli {

struct ExportOptions {
  std::vector<std::string> devices;
  std::string from = "24h";
  std::string to = "now";
  std::string location;
  std::string output;  // "" = stdout
  bool progress = false;
};
int export_command(const CommonOptions& common, const ExportOptions& options);

struct ImportCommandOptions {
  std::vector<std::string> files;
  std::string from;  // "" = all there is
  std::string to;
  std::string time_zone;
  std::string location = "default";
  std::string producer;  // "" = import:ace, import:csv
  double interval_s = 0;
  uint32_t down_after = 0;  // 0 = 1 for ace, else the configured one
  std::string write_devices;
  bool skip_unknown = false;
  bool skip_bad = false;
  bool no_outages = false;
  bool dry_run = false;
  bool progress = false;
};
int import_command(const CommonOptions& common, const ImportCommandOptions& options);

}  // namespace gema::cli
