#include "common/runtime/service_main.h"
#include "services/prober/app.h"

int main(int argc, char** argv) {
  gema::prober::App::open_sockets();
  return gema::runtime::service_main<gema::prober::App>(argc, argv);
}
