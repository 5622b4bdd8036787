#include "common/runtime/service_main.h"
#include "services/gateway/app.h"

int main(int argc, char** argv) {
  return gema::runtime::service_main<gema::gateway::App>(argc, argv);
}
