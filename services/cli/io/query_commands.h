// gema results, series, statistics, outages, availability, cleanup: questions to history.
// Each returns the process' exit code and says on stderr what went wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/cli/io/session.h"

namespace gema::cli {

struct QueryOptions {
  std::vector<std::string> devices;
  std::string from = "24h";
  std::string to = "now";
  std::string location;
  uint64_t limit = 0;   // 0 = the command's own
  uint64_t points = 0;  // series
  std::string per;      // availability: hour, day, week, month; "" = the whole
  bool active = false;  // outages
};

int results_command(const CommonOptions& common, const QueryOptions& query);
int series_command(const CommonOptions& common, const QueryOptions& query);
int statistics_command(const CommonOptions& common, const QueryOptions& query);
int outages_command(const CommonOptions& common, const QueryOptions& query);
int availability_command(const CommonOptions& common, const QueryOptions& query);

struct CleanupOptions {
  uint32_t older_than_days = 0;
  bool dry_run = false;
};
int cleanup_command(const CommonOptions& common, const CleanupOptions& options);

}  // namespace gema::cli
