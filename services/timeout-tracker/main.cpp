#include "common/runtime/service_main.h"
#include "services/timeout-tracker/app.h"

int main(int argc, char** argv) {
  return gema::runtime::service_main<gema::timeout_tracker::App>(argc, argv);
}
