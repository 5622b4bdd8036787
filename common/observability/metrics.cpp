#include "common/observability/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace gema::obs {
namespace {

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

Metrics::Metrics(const std::string& service)
    : prefix_("gema_" + service + "_"), registry_(std::make_unique<prometheus::Registry>()) {
  std::replace(prefix_.begin(), prefix_.end(), '-', '_');
}

Metrics::~Metrics() = default;

// Registry::Add returns the family that exists already when name, help and labels are the same
// (its default insert behaviour is Merge).
prometheus::Counter& Metrics::counter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
  return prometheus::BuildCounter()
      .Name(prefix_ + name)
      .Help(help)
      .Register(*registry_)
      .Add(labels);
}

prometheus::Gauge& Metrics::gauge(const std::string& name, const std::string& help,
                                  const Labels& labels) {
  return prometheus::BuildGauge().Name(prefix_ + name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Histogram& Metrics::histogram(const std::string& name, const std::string& help,
                                          const std::vector<double>& buckets,
                                          const Labels& labels) {
  return prometheus::BuildHistogram()
      .Name(prefix_ + name)
      .Help(help)
      .Register(*registry_)
      .Add(labels, buckets);
}

std::string Metrics::serialise() const {
  std::string text = prometheus::TextSerializer().Serialize(registry_->Collect());
  text += "# TYPE " + prefix_ + "process_cpu_seconds_total counter\n" + prefix_ +
          "process_cpu_seconds_total " + std::to_string(cpu_seconds()) + "\n";
  text += "# TYPE " + prefix_ + "process_resident_memory_bytes gauge\n" + prefix_ +
          "process_resident_memory_bytes " +
          std::to_string(static_cast<long long>(resident_bytes())) + "\n";
  return text;
}

}  // namespace gema::obs
