#include "common/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace gema {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "gema: %s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace gema
