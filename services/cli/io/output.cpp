#include "services/cli/io/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "common/runtime/clock.h"
#include "services/cli/core/sheet.h"

namespace gema::cli {
namespace {

volatile std::sig_atomic_t break_signal = 0;

void on_break(int signal) {
  break_signal = signal;
}

double seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

int broken_off() {
  return break_signal;
}

void watch_for_breaks() {
  struct sigaction action {};
  action.sa_handler = on_break;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

Result<Output> Output::open(const std::string& file) {
  Output out;
  if (file.empty()) return out;
  out.file_ = file;
  std::error_code ignored;
  const auto there = std::filesystem::status(out.file_, ignored);
  if (std::filesystem::is_directory(there)) {
    return Error{Errc::kBadInput, fmt::format("{}: is a directory", file)};
  }
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    out.straight_ = true;
    out.fd_ = ::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (out.fd_ < 0) return out.failed("cannot be opened");
    return out;
  }
  const auto dir =
      out.file_.has_parent_path() ? out.file_.parent_path() : std::filesystem::path(".");
  // Nameless until it is whole: nothing is left even after kill -9.
  out.fd_ = ::open(dir.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
  if (out.fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    out.temp_ = fmt::format("{}.{}.part", file, ::getpid());
    out.fd_ = ::open(out.temp_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out.fd_ < 0) out.temp_.clear();
  }
  if (out.fd_ < 0) return out.failed("cannot be made");
  return out;
}

Output::Output(Output&& other) noexcept
    : file_(std::move(other.file_)),
      temp_(std::move(other.temp_)),
      straight_(other.straight_),
      fd_(other.fd_) {
  other.file_.clear();
  other.temp_.clear();
  other.fd_ = 1;
}

Output::~Output() {
  if (fd_ > 2) ::close(fd_);
  if (!temp_.empty()) ::unlink(temp_.c_str());
}

Error Output::failed(const char* what) const {
  const std::string where = file_.empty() ? "stdout" : file_.string();
  return {Errc::kPermanent, fmt::format("{}: {}: {}", where, what, std::strerror(errno))};
}

Result<void> Output::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR && break_signal == 0) continue;
    if (n < 0) return failed("cannot be written");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> Output::finish() {
  if (file_.empty() || straight_) return {};
  if (::fsync(fd_) != 0) return failed("cannot be written");
  if (temp_.empty()) {
    // A link cannot take the place of a file, so it gets a name of its own first.
    const std::string name = fmt::format("{}.{}.part", file_.string(), ::getpid());
    const std::string self = fmt::format("/proc/self/fd/{}", fd_);
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return failed("cannot be named");
    }
    temp_ = name;
  }
  if (::rename(temp_.c_str(), file_.c_str()) != 0) return failed("cannot be put in place");
  temp_.clear();
  return {};
}

bool stderr_is_terminal() {
  return ::isatty(2) == 1;
}

bool stdout_is_terminal() {
  return ::isatty(1) == 1;
}

size_t terminal_width() {
  winsize size{};
  if (!stdout_is_terminal() || ::ioctl(1, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

ProgressLine::ProgressLine(bool wanted)
    : wanted_(wanted), terminal_(stderr_is_terminal()), begun_(runtime::read_clock().mono) {}

ProgressLine::~ProgressLine() {
  clear();
}

void ProgressLine::clear() {
  if (any_ && terminal_) std::fputs("\r\x1b[K", stderr);
  any_ = false;
}

void ProgressLine::show(const std::string& text, double share) {
  if (!wanted_) return;
  const MonoTime now = runtime::read_clock().mono;
  const Duration every = terminal_ ? Duration(200ms) : Duration(2s);
  if (now - shown_ < every) return;
  shown_ = now;
  const double taken = seconds(now - begun_);
  std::string line = fmt::format("{}  {:.0f}%", text, share * 100);
  if (share > 0.01 && share < 1 && taken > 1) {
    const double left = taken / share - taken;
    line += fmt::format("  about {} left", span_text(static_cast<uint64_t>(left * 1'000)));
  }
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
  any_ = true;
}

}  // namespace gema::cli
