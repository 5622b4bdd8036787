#include "services/inventory/io/gauges.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

namespace gema::inventory {

void Gauges::set(const char* name, const char* help, double value) {
  metrics_.gauge(name, help).Set(value);
}

void Gauges::count(const char* name, const char* help, const obs::Labels& labels, double by) {
  metrics_.counter(name, help, labels).Increment(by);
}

void Gauges::total(const char* name, const char* help, uint64_t total) {
  uint64_t& before = totals_[name];
  metrics_.counter(name, help).Increment(static_cast<double>(total - before));
  before = total;
}

void Gauges::show(const Inventory& inventory, size_t devices) {
  set("devices", "Devices that exist.", static_cast<double>(devices));
  set("devices_removed", "Devices that were removed; their ids stay reserved.",
      static_cast<double>(inventory.devices.size() - devices));
  set("catalogue_generation", "Generation of the catalogue's version.",
      static_cast<double>(inventory.version.generation));
  set("catalogue_number", "Number of the catalogue's version within its generation.",
      static_cast<double>(inventory.version.number));
}

void Gauges::show(const AssignerStats& stats) {
  set("probers_live", "Probers heard within 5 s, or held for alive.",
      static_cast<double>(stats.probers_live));
  set("unassigned", "Devices times locations without a prober.",
      static_cast<double>(stats.unassigned));
  set("moving", "Devices on their way from one prober to another.",
      static_cast<double>(stats.moving));
  total("moves_planned_total", "Devices moved while their prober was alive.", stats.moves_planned);
  total("moves_after_death_total", "Devices moved because their prober died.",
        stats.moves_after_death);
  total("prober_deaths_total", "Probers that fell silent.", stats.deaths);
  total("mass_losses_total", "Times that more than half of the probers vanished together.",
        stats.mass_losses);
  total("connections_total", "Times that our own heartbeat came back to us.", stats.connections);
  total("repairs_total", "Assignments sent again because a prober lacked them.", stats.repairs);
  total("probers_refused_total", "Heartbeats of probers beyond the limit.", stats.refused_probers);
}

void Gauges::show_file(const Plan& plan) {
  set("file_devices", "Good lines of the devices file.", static_cast<double>(plan.devices));
  set("file_bad_lines", "Bad lines of the devices file.",
      static_cast<double>(plan.problems.size()));
  set("file_removals_withheld", "Devices kept because an unreadable line may mean them.",
      static_cast<double>(plan.withheld));
}

}  // namespace gema::inventory
