#include "common/stream/posix_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include "common/base/assert.h"

namespace gema::stream {
namespace {

constexpr size_t kReadFilesMax = 8;  // kept open for replays; the lowest is closed first

struct File {
  int fd = -1;
  explicit File(int descriptor) : fd(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};
using FilePtr = std::shared_ptr<File>;

std::string reason(int error) {
  return std::system_category().message(error);
}

std::string segment_name(uint64_t number) {
  std::string digits = std::to_string(number);
  return std::string(20 - std::min<size_t>(20, digits.size()), '0') + digits + ".seg";
}

// Writes all of it, or says why not (errno).
int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

// fdatasync on a thread, one job at a time.
class Syncer {
 public:
  Syncer() : thread_([this] { run(); }) {}
  ~Syncer() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void begin(std::vector<FilePtr> files) {
    {
      std::lock_guard lock(mutex_);
      GEMA_ASSERT(!busy_ && !result_);
      files_ = std::move(files);
      busy_ = true;
    }
    wake_.notify_all();
  }
  // errno of the job that ended, 0 = good; nullopt when none has ended.
  std::optional<int> take() {
    std::lock_guard lock(mutex_);
    std::optional<int> result = result_;
    result_.reset();
    return result;
  }
  int wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !busy_; });
    int result = result_.value_or(0);
    result_.reset();
    return result;
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stop_ || busy_; });
      if (!busy_) return;
      std::vector<FilePtr> files = std::move(files_);
      lock.unlock();
      int error = 0;
      for (const FilePtr& file : files) {
        if (::fdatasync(file->fd) != 0 && error == 0) error = errno;
      }
      files.clear();
      lock.lock();
      busy_ = false;
      result_ = error;
      wake_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<FilePtr> files_;
  bool busy_ = false;
  bool stop_ = false;
  std::optional<int> result_;
  std::thread thread_;  // lint: allow(thread) fdatasync and nothing else; Worker lies above us
};

class PosixStore final : public SegmentStore {
 public:
  PosixStore(std::filesystem::path dir, FilePtr dir_fd, FilePtr lock)
      : dir_(std::move(dir)), dir_fd_(std::move(dir_fd)), lock_(std::move(lock)) {}

  Result<std::vector<uint64_t>> list() override {
    std::vector<uint64_t> numbers;
    DIR* dir = ::opendir(dir_.c_str());
    if (dir == nullptr) return failed("cannot be listed", errno);
    while (const dirent* entry = ::readdir(dir)) {
      std::string_view name = entry->d_name;
      if (name.size() != 24 || name.substr(20) != ".seg") continue;
      uint64_t number = 0;
      auto parsed = std::from_chars(name.data(), name.data() + 20, number);
      if (parsed.ec == std::errc() && parsed.ptr == name.data() + 20 && number > 0) {
        numbers.push_back(number);
      }
    }
    ::closedir(dir);
    std::sort(numbers.begin(), numbers.end());
    return numbers;
  }

  Result<std::string> read_all(uint64_t number) override {
    FilePtr file = for_reading(number);
    if (file == nullptr) return failed(segment_name(number) + " cannot be opened", errno);
    struct stat info {};
    if (::fstat(file->fd, &info) != 0) return failed(segment_name(number), errno);
    return read(number, 0, static_cast<uint64_t>(info.st_size));
  }

  Result<std::string> read(uint64_t number, uint64_t offset, uint64_t bytes) override {
    FilePtr file = for_reading(number);
    if (file == nullptr) return failed(segment_name(number) + " cannot be opened", errno);
    std::string out(bytes, '\0');
    uint64_t have = 0;
    while (have < bytes) {
      ssize_t n =
          ::pread(file->fd, out.data() + have, bytes - have, static_cast<off_t>(offset + have));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed(segment_name(number) + " cannot be read", n < 0 ? errno : EIO);
      have += static_cast<uint64_t>(n);
    }
    return out;
  }

  Result<void> create(uint64_t number, std::string_view header) override {
    std::string name = segment_name(number);
    // O_EXCL: a number is never used twice.
    int fd =
        ::openat(dir_fd_->fd, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return failed(name + " cannot be created", errno);
    auto file = std::make_shared<File>(fd);
    if (int error = write_all(fd, header); error != 0) {
      ::unlinkat(dir_fd_->fd, name.c_str(), 0);
      return failed(name + " cannot be written", error);
    }
    writing_[number] = file;
    sizes_[number] = header.size();
    created_ = true;
    return {};
  }

  Result<void> append(uint64_t number, std::string_view bytes) override {
    FilePtr file = for_writing(number);
    if (file == nullptr) return failed(segment_name(number) + " cannot be opened", errno);
    uint64_t& size = sizes_[number];
    int error = write_all(file->fd, bytes);
    if (error == 0) {
      size += bytes.size();
      return {};
    }
    bool undone = ::ftruncate(file->fd, static_cast<off_t>(size)) == 0;
    Error what = failed(segment_name(number) + " cannot be written", error);
    what.code = undone ? Errc::kRetryable : Errc::kPermanent;
    return what;
  }

  Result<void> truncate(uint64_t number, uint64_t bytes) override {
    FilePtr file = for_writing(number);
    if (file == nullptr || ::ftruncate(file->fd, static_cast<off_t>(bytes)) != 0) {
      return failed(segment_name(number) + " cannot be shortened", errno);
    }
    sizes_[number] = bytes;
    return {};
  }

  Result<void> remove(uint64_t number) override {
    forget(number);
    if (::unlinkat(dir_fd_->fd, segment_name(number).c_str(), 0) != 0) {
      return failed(segment_name(number) + " cannot be removed", errno);
    }
    return {};
  }

  Result<void> set_aside(uint64_t number) override {
    forget(number);
    std::string name = segment_name(number);
    if (::renameat(dir_fd_->fd, name.c_str(), dir_fd_->fd, "damaged.seg.kept") != 0) {
      return failed(name + " cannot be set aside", errno);
    }
    return {};
  }

  void begin_sync(std::vector<uint64_t> numbers) override { syncer_.begin(files_of(numbers)); }

  std::optional<Result<void>> sync_result() override {
    std::optional<int> error = syncer_.take();
    if (!error) return std::nullopt;
    if (*error != 0) return failed("fdatasync failed", *error);
    return Result<void>();
  }

  Result<void> sync_now(std::vector<uint64_t> numbers) override {
    created_ = true;
    int before = syncer_.wait();
    syncer_.begin(files_of(numbers));
    int error = syncer_.wait();
    if (before != 0 || error != 0) return failed("fdatasync failed", before != 0 ? before : error);
    return {};
  }

  Result<std::optional<std::string>> read_meta() override {
    int fd = ::openat(dir_fd_->fd, "spool.meta", O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return std::optional<std::string>();
    if (fd < 0) return failed("spool.meta cannot be opened", errno);
    File file(fd);
    std::string out;
    char buffer[4096];
    for (;;) {
      ssize_t n = ::read(fd, buffer, sizeof(buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("spool.meta cannot be read", errno);
      if (n == 0) return std::optional<std::string>(std::move(out));
      out.append(buffer, static_cast<size_t>(n));
    }
  }

  Result<void> write_meta(std::string_view bytes, bool durable) override {
    int fd =
        ::openat(dir_fd_->fd, "spool.meta.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return failed("spool.meta.new cannot be created", errno);
    auto file = std::make_shared<File>(fd);
    int error = write_all(fd, bytes);
    if (error == 0 && durable && ::fsync(fd) != 0) error = errno;
    if (error == 0 && ::renameat(dir_fd_->fd, "spool.meta.new", dir_fd_->fd, "spool.meta") != 0) {
      error = errno;
    }
    if (error == 0 && durable && ::fsync(dir_fd_->fd) != 0) error = errno;
    if (error != 0) return failed("spool.meta cannot be written", error);
    meta_ = durable ? nullptr : file;
    return {};
  }

 private:
  Error failed(const std::string& what, int error) const {
    return Error{Errc::kPermanent, "spool " + dir_.string() + ": " + what + ": " + reason(error)};
  }

  FilePtr for_reading(uint64_t number) {
    if (auto it = writing_.find(number); it != writing_.end()) return it->second;
    if (auto it = reading_.find(number); it != reading_.end()) return it->second;
    int fd = ::openat(dir_fd_->fd, segment_name(number).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return nullptr;
    if (reading_.size() >= kReadFilesMax) reading_.erase(reading_.begin());
    return reading_[number] = std::make_shared<File>(fd);
  }

  FilePtr for_writing(uint64_t number) {
    if (auto it = writing_.find(number); it != writing_.end()) return it->second;
    int fd = ::openat(dir_fd_->fd, segment_name(number).c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0) return nullptr;
    struct stat info {};
    if (::fstat(fd, &info) != 0) {
      ::close(fd);
      return nullptr;
    }
    sizes_[number] = static_cast<uint64_t>(info.st_size);
    reading_.erase(number);
    return writing_[number] = std::make_shared<File>(fd);
  }

  void forget(uint64_t number) {
    writing_.erase(number);
    reading_.erase(number);
    sizes_.erase(number);
  }

  std::vector<FilePtr> files_of(const std::vector<uint64_t>& numbers) {
    std::vector<FilePtr> files;
    for (uint64_t number : numbers) {
      if (FilePtr file = for_writing(number)) files.push_back(std::move(file));
    }
    if (meta_ != nullptr) files.push_back(meta_);
    if (created_ || meta_ != nullptr) files.push_back(dir_fd_);
    created_ = false;
    meta_.reset();
    // The newest is written on. The others keep the descriptor they were written through only until
    // it is synced: a fresh one might not be told of an earlier write error.
    while (writing_.size() > 1) writing_.erase(writing_.begin());
    return files;
  }

  std::filesystem::path dir_;
  FilePtr dir_fd_;
  FilePtr lock_;
  std::map<uint64_t, FilePtr> writing_;
  std::map<uint64_t, FilePtr> reading_;
  std::map<uint64_t, uint64_t> sizes_;
  FilePtr meta_;          // written, not synced yet
  bool created_ = false;  // a name that a sync must make durable
  Syncer syncer_;
};

}  // namespace

Result<std::unique_ptr<SegmentStore>> open_posix_store(const std::filesystem::path& dir) {
  auto failed = [&](const std::string& what, int error) {
    return Error{Errc::kPermanent, "spool " + dir.string() + ": " + what + ": " + reason(error)};
  };
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return failed("cannot be created", error.value());
  int dir_fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd < 0) return failed("cannot be opened", errno);
  auto held_dir = std::make_shared<File>(dir_fd);
  int lock_fd = ::openat(dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd < 0) return failed("LOCK cannot be opened", errno);
  auto lock = std::make_shared<File>(lock_fd);
  if (::flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return Error{Errc::kUnavailable,
                   "spool " + dir.string() + ": in use by another process (its LOCK is held)"};
    }
    return failed("LOCK cannot be taken", errno);
  }
  return std::unique_ptr<SegmentStore>(std::make_unique<PosixStore>(dir, held_dir, lock));
}

uint64_t random_epoch() {
  uint64_t value = 0;
  while (value == 0) {
    ssize_t n = ::getrandom(&value, sizeof(value), 0);
    GEMA_ASSERT(n == sizeof(value) || (n < 0 && errno == EINTR));
    if (n != sizeof(value)) value = 0;
  }
  return value;
}

std::string machine_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (file >> id && !id.empty()) return id;
  return "unknown-" + std::to_string(random_epoch());
}

}  // namespace gema::stream
