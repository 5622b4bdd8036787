// Inventory's metrics.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/observability/metrics.h"
#include "services/inventory/core/assigner.h"
#include "services/inventory/core/inventory.h"

namespace gema::inventory {

class Gauges {
 public:
  explicit Gauges(obs::Metrics& metrics) : metrics_(metrics) {}

  void set(const char* name, const char* help, double value);
  void count(const char* name, const char* help, const obs::Labels& labels = {}, double by = 1);

  void show(const Inventory& inventory, size_t devices);
  void show(const AssignerStats& stats);
  void show_file(const Plan& plan);

 private:
  // Brings a counter up to a total that a core counted.
  void total(const char* name, const char* help, uint64_t total);

  obs::Metrics& metrics_;
  std::map<std::string, uint64_t> totals_;
};

}  // namespace gema::inventory
