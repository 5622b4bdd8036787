#include "services/recorder/io/csv_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/runtime/file_replacement.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "ping_results_";

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
            : runtime::is_unfinished_replacement(name, kPrefix)) {
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
