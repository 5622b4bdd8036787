#include "services/recorder/io/csv_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "ping_results_";
constexpr std::string_view kNextPrefix = ".ping_results_";
constexpr std::string_view kNextSuffix = ".new";
constexpr mode_t kFileMode = 0644;
constexpr mode_t kDirMode = 0755;

Error failed(const char* what, const fs::path& path, int error) {
  return Error{Errc::kPermanent,
               std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(error)};
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// nullopt: it cannot be read, or is no plain file (any more).
std::optional<uint64_t> count_rows(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.get() < 0) return std::nullopt;
  CsvLineCounter counter;
  std::string buffer(256 * 1024, '\0');
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) return counter.rows();
    counter.take(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
  }
}

// Calls each(name) for every entry. No directory is an empty one.
template <class Each>
Result<void> for_each_name(const fs::path& dir, Each&& each) {
  std::error_code error;
  fs::directory_iterator entries(dir, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    each(entries->path().filename().string());
  }
  if (error) return failed("read", dir, error.value());
  return {};
}

}  // namespace

// --- CsvReplacement ----------------------------------------------------------------------------

Result<CsvReplacement> CsvReplacement::begin(const fs::path& dir, const std::string& name) {
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
  return CsvReplacement(dir / name, next, fd);
}

CsvReplacement::CsvReplacement(CsvReplacement&& other) noexcept
    : path_(std::move(other.path_)),
      next_(std::move(other.next_)),
      fd_(std::exchange(other.fd_, -1)) {}

CsvReplacement::~CsvReplacement() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(next_.c_str());
}

Result<void> CsvReplacement::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("write", path_, n < 0 ? errno : ENOSPC);
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> CsvReplacement::commit() {
  if (::fsync(fd_) != 0) return failed("sync", path_, errno);
  if (::rename(next_.c_str(), path_.c_str()) != 0) return failed("replace", path_, errno);
  ::close(std::exchange(fd_, -1));
  return {};
}

// --- CsvFiles ------------------------------------------------------------------------------------

bool CsvFiles::exists(LocalDay day) const {
  std::error_code ignored;
  return fs::exists(dir_ / csv_file_name(day), ignored);
}

Result<std::vector<CsvFile>> CsvFiles::list() {
  std::vector<CsvFile> files;
  std::map<std::string, Counted> counted;
  auto read = for_each_name(dir_, [&](const std::string& name) {
    if (!name.starts_with(kPrefix) || !name.ends_with(".csv") || files.size() >= kCsvFilesMax) {
      return;
    }
    const fs::path path = dir_ / name;
    struct stat about {};
    if (::lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) return;
    const auto size = static_cast<uint64_t>(about.st_size);
    const WallTime modified_at =
        wall_from_us(about.st_mtim.tv_sec * 1'000'000 + about.st_mtim.tv_nsec / 1'000);
    const auto known = counted_.find(name);
    std::optional<uint64_t> rows;
    if (known != counted_.end() && known->second.size_bytes == size &&
        known->second.modified_at == modified_at) {
      rows = known->second.rows;
    } else {
      rows = count_rows(path);
    }
    if (!rows) return;
    counted[name] = {size, modified_at, *rows};
    const auto day = day_of_file_name(name);
    files.push_back({.name = name,
                     .date = day ? format_day(*day) : "",
                     .size_bytes = size,
                     .rows = *rows,
                     .modified_at = modified_at});
  });
  if (!read) return read.error();
  counted_ = std::move(counted);
  std::sort(files.begin(), files.end(), [](const CsvFile& a, const CsvFile& b) {
    const auto day_a = day_of_file_name(a.name);
    const auto day_b = day_of_file_name(b.name);
    return day_a != day_b ? day_a > day_b : a.name > b.name;
  });
  return files;
}

Result<uint64_t> CsvFiles::sweep(LocalDay today, uint32_t keep_days) {
  std::vector<std::string> going;
  auto read = for_each_name(dir_, [&](const std::string& name) {
    const auto day = day_of_file_name(name);
    if (day ? past_keeping(*day, today, keep_days)
            : name.starts_with(kNextPrefix) && name.ends_with(kNextSuffix)) {
      going.push_back(name);
    }
  });
  if (!read) return read.error();
  uint64_t removed = 0;
  for (const std::string& name : going) {
    const fs::path path = dir_ / name;
    struct stat about {};
    if (::lstat(path.c_str(), &about) != 0 || S_ISDIR(about.st_mode)) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove", path, errno);
    ++removed;
  }
  return removed;
}

}  // namespace gema::recorder
