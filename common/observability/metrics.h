// Metrics of one process, in Prometheus' text format. Names are given without their prefix:
// counter("results_total", ...) in the recorder is gema_recorder_results_total. Asking for the same
// name and labels again returns the same object. Thread-safe; keep the references on hot paths.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace gema::obs {

using Labels = std::map<std::string, std::string>;

class Metrics {
 public:
  // `service`: "timeout-tracker" gives the prefix gema_timeout_tracker_.
  explicit Metrics(const std::string& service);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  prometheus::Counter& counter(const std::string& name, const std::string& help,
                               const Labels& labels = {});
  prometheus::Gauge& gauge(const std::string& name, const std::string& help,
                           const Labels& labels = {});
  // `buckets`: upper bounds, ascending. They are those of the first call for a name.
  prometheus::Histogram& histogram(const std::string& name, const std::string& help,
                                   const std::vector<double>& buckets, const Labels& labels = {});

  // Text exposition format 0.0.4, including the process_* basics (CPU seconds, resident bytes).
  std::string serialise() const;

 private:
  std::string prefix_;
  std::unique_ptr<prometheus::Registry> registry_;
};

}  // namespace gema::obs
