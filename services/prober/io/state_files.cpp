#include "services/prober/io/state_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "common/base/crc32c.h"
#include "common/codec/device_codec.h"
#include "gema/v1/prober.pb.h"

namespace gema::prober {
namespace {

constexpr size_t kCrcBytes = 4;

Result<std::optional<std::string>> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (!std::filesystem::exists(path)) return std::optional<std::string>();
    return Error{Errc::kPermanent, fmt::format("{} cannot be read", path.string())};
  }
  std::ostringstream text;
  text << file.rdbuf();
  std::string bytes = std::move(text).str();
  uint32_t crc = 0;
  if (bytes.size() < kCrcBytes) {
    return Error{Errc::kBadInput, fmt::format("{} is cut short", path.string())};
  }
  std::memcpy(&crc, bytes.data() + bytes.size() - kCrcBytes, kCrcBytes);
  bytes.resize(bytes.size() - kCrcBytes);
  if (crc != crc32c(bytes)) {
    return Error{Errc::kBadInput, fmt::format("{} is damaged (checksum)", path.string())};
  }
  return std::optional(std::move(bytes));
}

Error failed(const char* what, const std::filesystem::path& path) {
  return Error{Errc::kRetryable,
               fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(errno))};
}

Result<void> write_file(const std::filesystem::path& path, std::string bytes) {
  const uint32_t crc = crc32c(bytes);
  bytes.append(reinterpret_cast<const char*>(&crc), kCrcBytes);
  std::filesystem::path next = path;
  next += ".new";
  const int fd = ::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed("create", next);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const Error error = failed("write", next);
      ::close(fd);
      return error;
    }
    done += static_cast<size_t>(n);
  }
  if (::close(fd) != 0) return failed("close", next);
  if (::rename(next.c_str(), path.c_str()) != 0) return failed("replace", path);
  return {};
}

template <class Message>
Result<std::optional<Message>> read_message(const std::filesystem::path& path) {
  auto bytes = read_file(path);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<Message>();
  Message message;
  if (!message.ParseFromString(**bytes)) {
    return Error{Errc::kBadInput, fmt::format("{} is not what it should be", path.string())};
  }
  return std::optional(std::move(message));
}

}  // namespace

Result<std::optional<KeptAssignment>> read_assignment(const std::filesystem::path& path) {
  auto message = read_message<v1::KeptAssignment>(path);
  if (!message) return message.error();
  if (!*message) return std::optional<KeptAssignment>();
  auto assignment = decode_assignment((*message)->assignment());
  if (!assignment) return assignment.error();
  KeptAssignment kept{.assignment = std::move(*assignment),
                      .since_ms = {(*message)->since_ms().begin(), (*message)->since_ms().end()}};
  if (kept.since_ms.size() != kept.assignment.devices.size()) {
    return Error{Errc::kBadInput, fmt::format("{}: columns disagree", path.string())};
  }
  for (const auto& l : (*message)->leaving()) {
    if (l.interval_ms() == 0) continue;
    kept.leaving.push_back({l.device(), l.interval_ms(), l.since_ms(), l.until_ms()});
  }
  return std::optional(std::move(kept));
}

Result<void> write_assignment(const std::filesystem::path& path, const KeptAssignment& kept) {
  v1::KeptAssignment message;
  message.set_assignment(encode_assignment(kept.assignment));
  message.mutable_since_ms()->Add(kept.since_ms.begin(), kept.since_ms.end());
  for (const Leaving& l : kept.leaving) {
    auto* row = message.add_leaving();
    row->set_device(l.device);
    row->set_interval_ms(l.interval_ms);
    row->set_since_ms(l.since_ms);
    row->set_until_ms(l.until_ms);
  }
  return write_file(path, message.SerializeAsString());
}

Result<std::optional<SpoolMark>> read_mark(const std::filesystem::path& path) {
  auto message = read_message<v1::SpoolMark>(path);
  if (!message) return message.error();
  if (!*message) return std::optional<SpoolMark>();
  return std::optional(SpoolMark{(*message)->done_until_ms(), (*message)->position()});
}

Result<void> write_mark(const std::filesystem::path& path, const SpoolMark& mark) {
  v1::SpoolMark message;
  message.set_done_until_ms(mark.done_until_ms);
  message.set_position(mark.position);
  return write_file(path, message.SerializeAsString());
}

}  // namespace gema::prober
