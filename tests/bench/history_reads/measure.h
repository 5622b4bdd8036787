// What is measured, once the database is filled.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/history/statistics.h"
#include "tests/bench/history_reads/database.h"
#include "tests/bench/history_reads/dataset.h"
#include "tests/bench/history_reads/http_client.h"
#include "tests/bench/history_reads/row_client.h"
#include "tests/bench/history_reads/samples.h"
#include "tests/bench/history_reads/site.h"

namespace gema::bench {

// GEMA_BENCH_QUICK is set.
bool is_quick();
// As autovacuum will have done of what it is let at.
void vacuum(Database& database);

struct Places {
  std::filesystem::path source;
  std::filesystem::path gateway;
};

class Measurement {
 public:
  Measurement(const Places& places, Database& database, const Samples& samples, const Plan& plan);

  // False: something could not be measured, or an answer was wrong (said on stderr).
  bool run();

 private:
  // Milliseconds of each request; the answers must be 200.
  double timed_get(const std::string& target);
  std::string results_target(DeviceId device) const;
  std::string chart_target();
  std::string statistics_target();
  DeviceId any_device() { return 1 + random_.below(plan_.devices); }

  void sizes();
  void choose_row_plan(RowClient& rows);
  void same_answers();
  void device_day_warm();
  void device_day_cold();
  void chart();
  void statistics();
  void status();
  void quantiles();
  double worst_error(const history::StatisticsQuery& query, const Rollup& found);
  void part(const std::string& name, void (Measurement::*work)());

  const Places places_;
  Database& database_;
  const Samples& samples_;
  const Plan plan_;
  Random random_{1};
  bool good_ = true;
  int64_t windows_ = 0;  // of statistics asked for
  bool rows_by_index_ = false;
  std::unique_ptr<Site> site_;
  std::unique_ptr<HttpClient> http_;
};

}  // namespace gema::bench
