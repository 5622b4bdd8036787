#include "common/runtime/service_main.h"
#include "services/recorder/app.h"

int main(int argc, char** argv) {
  return gema::runtime::service_main<gema::recorder::App>(argc, argv);
}
