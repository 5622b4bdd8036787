#include "services/inventory/check_devices.h"

#include <fmt/format.h>

#include <iostream>

#include "services/inventory/config.h"
#include "services/inventory/io/devices_file_reader.h"

namespace gema::inventory {

int check_devices(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "gema-inventory: --check-devices needs one file and nothing else\n";
    return 2;
  }
  const auto file = read_devices_file(argv[2], Config{}.defaults());
  if (!file) {
    std::cerr << fmt::format("gema-inventory: {}\n", file.error().message);
    return 2;
  }
  const auto plan = plan_file(Inventory{}, *file);
  const auto& problems = plan ? plan->problems : file->problems;
  for (const FileProblem& problem : problems) {
    std::cerr << fmt::format("{}: {}\n", argv[2], to_text(problem));
  }
  if (!plan) {
    std::cerr << fmt::format("gema-inventory: {}: {}\n", argv[2], plan.error().message);
    return 2;
  }
  std::cout << fmt::format("{}: {} devices, {} bad lines\n", argv[2], plan->devices,
                           problems.size());
  return 0;
}

}  // namespace gema::inventory
