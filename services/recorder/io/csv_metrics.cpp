#include "services/recorder/io/csv_metrics.h"

#include <prometheus/gauge.h>

namespace gema::recorder {

CsvMetrics::CsvMetrics(obs::Metrics& m)
    : writes_(m.counter("csv_writes_total", "CSV files written")),
      failures_(m.counter("csv_failures_total", "CSV files that could not be written or removed")),
      late_(m.counter("csv_late_results_total", "Results of a day whose CSV file was done")),
      refused_(m.counter("csv_refused_results_total",
                         "Results of more devices than are kept for the CSV file")),
      seconds_(m.counter("csv_seconds_total", "Time spent on CSV files")),
      rows_(m.gauge("csv_rows", "Rows of the CSV file written last")),
      devices_(m.gauge("csv_devices", "Devices whose newest result is kept for the CSV file")),
      last_seconds_(m.gauge("csv_last_seconds", "Time that the last CSV file took")),
      failing_(m.gauge("csv_failing", "1 while CSV files cannot be written")) {}

void CsvMetrics::update(const CsvWriter& writer, Now now) {
  const CsvCounts& c = writer.book().counts();
  writes_.follow(static_cast<double>(c.writes));
  failures_.follow(static_cast<double>(c.failures));
  late_.follow(static_cast<double>(c.late));
  refused_.follow(static_cast<double>(c.refused));
  seconds_.follow(c.seconds);
  rows_.Set(static_cast<double>(c.rows));
  devices_.Set(static_cast<double>(writer.book().devices()));
  last_seconds_.Set(c.last_seconds);
  failing_.Set(writer.problem(now).empty() ? 0 : 1);
}

}  // namespace gema::recorder
