#include "common/runtime/file_replacement.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gema::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNextSuffix = ".new";
constexpr mode_t kFileMode = 0644;
constexpr mode_t kDirMode = 0755;

Error failed(const char* what, const fs::path& path, int error) {
  return Error{Errc::kPermanent,
               std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(error)};
}

}  // namespace

Result<FileReplacement> FileReplacement::begin(const fs::path& dir, const std::string& name) {
  if (::mkdir(dir.c_str(), kDirMode) != 0 && errno != EEXIST) return failed("make", dir, errno);
  const fs::path next =
      dir / ("." + name + "." + std::to_string(::getpid()) + std::string(kNextSuffix));
  // O_EXCL: never into what somebody else put there (a pipe would hold us up).
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd = ::open(next.c_str(), kFlags, kFileMode);
  if (fd < 0 && errno == EEXIST && ::unlink(next.c_str()) == 0) {
    fd = ::open(next.c_str(), kFlags, kFileMode);
  }
  if (fd < 0) return failed("create", next, errno);
  // Whatever the umask: who may read is decided by the directory, which is its owner's to open.
  if (::fchmod(fd, kFileMode) != 0) {
    const Error error = failed("open up", next, errno);
    ::close(fd);
    ::unlink(next.c_str());
    return error;
  }
  return FileReplacement(dir / name, next, fd);
}

FileReplacement::FileReplacement(FileReplacement&& other) noexcept
    : path_(std::move(other.path_)),
      next_(std::move(other.next_)),
      fd_(std::exchange(other.fd_, -1)) {}

FileReplacement::~FileReplacement() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(next_.c_str());
}

Result<void> FileReplacement::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("write", path_, n < 0 ? errno : ENOSPC);
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> FileReplacement::commit() {
  if (::fsync(fd_) != 0) return failed("sync", path_, errno);
  if (::rename(next_.c_str(), path_.c_str()) != 0) return failed("replace", path_, errno);
  ::close(std::exchange(fd_, -1));
  return {};
}

bool is_unfinished_replacement(std::string_view name, std::string_view prefix) {
  return name.starts_with('.') && name.substr(1).starts_with(prefix) && name.ends_with(kNextSuffix);
}

Result<void> remove_unfinished(const fs::path& dir, const std::string& name) {
  std::error_code error;
  fs::directory_iterator entries(dir, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (!is_unfinished_replacement(entries->path().filename().string(), name + ".")) continue;
    std::error_code ignored;
    if (entries->is_directory(ignored)) continue;
    if (::unlink(entries->path().c_str()) != 0 && errno != ENOENT) {
      return failed("remove", entries->path(), errno);
    }
  }
  if (error) return failed("read", dir, error.value());
  return {};
}

}  // namespace gema::runtime
