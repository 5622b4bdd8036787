// A directory of a test's own, gone with it. Short paths (sockets allow 107 bytes).
#pragma once

#include <filesystem>
#include <string>

namespace gema::testing {

class TempDir {
 public:
  TempDir();  // throws std::runtime_error when /tmp (or $TMPDIR) cannot be written
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  // Keep it for a look after a failure (also: environment GEMA_KEEP_TEMP=1).
  void keep() { keep_ = true; }

 private:
  std::filesystem::path path_;
  bool keep_ = false;
};

}  // namespace gema::testing
