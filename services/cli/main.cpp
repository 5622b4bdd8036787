#include "services/cli/app.h"

int main(int argc, char** argv) {
  return gema::cli::run(argc, argv);
}
