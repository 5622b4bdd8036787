// Puts the counts of the CSV writer into the process' metrics, once a second.
#pragma once

#include "common/observability/metrics.h"
#include "services/recorder/io/csv_writer.h"
#include "services/recorder/io/lane_metrics.h"

namespace gema::recorder {

class CsvMetrics {
 public:
  explicit CsvMetrics(obs::Metrics& metrics);
  void update(const CsvWriter& writer, Now now);

 private:
  Following writes_, failures_, late_, refused_, seconds_;
  prometheus::Gauge &rows_, &devices_, &last_seconds_, &failing_;
};

}  // namespace gema::recorder
