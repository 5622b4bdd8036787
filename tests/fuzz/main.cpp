// gema_fuzz: all targets in one program of libFuzzer's; GEMA_FUZZ_TARGET says which one runs (a
// variable rather than an option, because libFuzzer starts itself again to merge and to minimise).
#include <cstring>

#include "tests/fuzz/fuzz.h"

namespace {

const gema::fuzz::Target* chosen = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("GEMA_FUZZ_TARGET");
  for (const auto& target : gema::fuzz::targets()) {
    if (name != nullptr && std::strcmp(name, target.name) == 0) chosen = &target;
  }
  gema::fuzz::keep_protobuf_quiet();
  if (chosen != nullptr) return 0;
  std::fprintf(stderr, "gema_fuzz: GEMA_FUZZ_TARGET must be one of");
  for (const auto& target : gema::fuzz::targets()) std::fprintf(stderr, " %s", target.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({data, size});
  return 0;
}
