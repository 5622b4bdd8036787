#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <stdexcept>

namespace gema::testing {

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  std::string name = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/gema-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a directory " + name);
  path_ = name;
  keep_ = std::getenv("GEMA_KEEP_TEMP") != nullptr;
}

TempDir::~TempDir() {
  std::error_code ignored;
  if (!keep_) std::filesystem::remove_all(path_, ignored);
}

}  // namespace gema::testing
