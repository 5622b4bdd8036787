#include "common/bus/keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace gema::bus {
namespace {

constexpr size_t kKeyTextBytes = 40;

std::filesystem::path key_path(const std::filesystem::path& dir, std::string_view name,
                               std::string_view suffix) {
  return dir / (std::string(name) + std::string(suffix));
}

Error io_error(const std::filesystem::path& path, std::string_view what, int error_number) {
  return Error{Errc::kPermanent,
               fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(error_number))};
}

Result<std::string> read_key_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) return Error{Errc::kBadInput, fmt::format("cannot read key {}", path.string())};
  std::string text;
  std::getline(file, text);
  if (!is_key_text(text)) {
    return Error{Errc::kBadInput,
                 fmt::format("{} does not hold a key (40 characters of Z85)", path.string())};
  }
  return text;
}

Result<void> sync_directory(const std::filesystem::path& dir) {
  const int fd = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return io_error(dir, "open", errno);
  const int rc = ::fsync(fd);
  const int saved = errno;
  ::close(fd);
  if (rc != 0) return io_error(dir, "sync", saved);
  return {};
}

}  // namespace

Result<KeyPair> make_key_pair() {
  std::array<char, kKeyTextBytes + 1> public_key{};
  std::array<char, kKeyTextBytes + 1> secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    return Error{Errc::kPermanent, "this libzmq was built without CURVE"};
  }
  return KeyPair{public_key.data(), secret_key.data()};
}

bool is_key_text(std::string_view text) {
  if (text.size() != kKeyTextBytes) return false;
  std::array<uint8_t, 32> raw{};
  return zmq_z85_decode(raw.data(), std::string(text).c_str()) != nullptr;
}

Result<KeyPair> read_key_pair(const std::filesystem::path& dir, std::string_view name) {
  const auto path = key_path(dir, name, ".key");
  auto secret = read_key_text(path);
  if (!secret) return secret.error();
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return io_error(path, "stat", errno);
  if ((status.st_mode & 077) != 0) {
    return Error{Errc::kBadInput, fmt::format("{} is readable by others (mode {:o}): chmod 600",
                                              path.string(), status.st_mode & 0777)};
  }
  std::array<char, kKeyTextBytes + 1> public_key{};
  if (zmq_curve_public(public_key.data(), secret->c_str()) != 0) {
    return Error{Errc::kBadInput, fmt::format("{} is not a CURVE secret key", path.string())};
  }
  return KeyPair{public_key.data(), *secret};
}

Result<std::string> read_public_key(const std::filesystem::path& dir, std::string_view name) {
  return read_key_text(key_path(dir, name, ".pub"));
}

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                                   int mode) {
  const std::filesystem::path temporary = path.string() + ".new";
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        static_cast<mode_t>(mode));
  if (fd < 0) return io_error(temporary, "create", errno);
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int saved = errno;
      ::close(fd);
      ::unlink(temporary.c_str());
      return io_error(temporary, "write", saved);
    }
    done += static_cast<size_t>(n);
  }
  // Made by root for a stack that runs as another user: whoever owns the directory must read it.
  struct stat directory {};
  if (::geteuid() == 0 && ::stat(path.parent_path().c_str(), &directory) == 0 &&
      ::fchown(fd, directory.st_uid, directory.st_gid) != 0) {
    const int refused = errno;
    ::close(fd);
    ::unlink(temporary.c_str());
    return io_error(temporary, "give away", refused);
  }
  const bool kept = ::fchmod(fd, static_cast<mode_t>(mode)) == 0 && ::fsync(fd) == 0;
  const int saved = errno;
  ::close(fd);
  if (!kept) {
    ::unlink(temporary.c_str());
    return io_error(temporary, "sync", saved);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error(path, "replace", errno);
  return sync_directory(path.parent_path());
}

Result<void> write_key_pair(const std::filesystem::path& dir, std::string_view name,
                            const KeyPair& pair) {
  // The public one first: who finds a secret key finds its public key beside it.
  auto written = write_file_atomically(key_path(dir, name, ".pub"), pair.public_key + "\n", 0644);
  if (!written) return written;
  return write_file_atomically(key_path(dir, name, ".key"), pair.secret_key + "\n", 0600);
}

}  // namespace gema::bus
