#include <string_view>

#include "common/runtime/service_main.h"
#include "services/inventory/app.h"

int main(int argc, char** argv) {
  if (argc >= 2 && std::string_view(argv[1]) == "--check-devices") {
    return gema::inventory::check_devices(argc, argv);
  }
  return gema::runtime::service_main<gema::inventory::App>(argc, argv);
}
