#include "common/runtime/service_main.h"
#include "services/broker/app.h"
#include "services/broker/io/make_keys.h"  // lint: allow(main-includes) words of its own

int main(int argc, char** argv) {
  if (gema::broker::wants_make_keys(argc, argv)) return gema::broker::make_keys_main(argc, argv);
  return gema::runtime::service_main<gema::broker::App>(argc, argv);
}
