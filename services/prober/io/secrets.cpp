#include "services/prober/io/secrets.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>  // explicit_bzero
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

void wipe(std::string& text) {
  explicit_bzero(text.data(), text.size());
  text.clear();
}

std::string_view next_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
  return line;
}

// Short enough never to be cut, and not a path.
bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kSecretNameMax && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

}  // namespace

Secret::Secret(std::string user, std::string password, std::vector<std::string> hosts)
    : user_(std::move(user)), password_(std::move(password)), hosts_(std::move(hosts)) {}

Secret::~Secret() {
  wipe(user_);
  wipe(password_);
}

bool Secret::may_go_to(const std::string& host) const {
  return hosts_.empty() || std::find(hosts_.begin(), hosts_.end(), host) != hosts_.end();
}

Result<Secret> read_secret(const std::filesystem::path& dir, const std::string& name) {
  const auto refuse = [&](std::string_view rule) {
    return Error{Errc::kPermanent, fmt::format("{}: {}", (dir / name).string(), rule)};
  };
  if (!is_name(name)) return Error{Errc::kPermanent, "web_auth is not the name of a secret"};
  const int fd = ::open((dir / name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return refuse("cannot be read");
  struct stat about {};
  std::array<char, kSecretBytesMax + 1> bytes;
  ssize_t n = -1;
  if (::fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
    n = ::read(fd, bytes.data(), bytes.size());
  ::close(fd);
  if (n < 0) return refuse("is not a plain file");
  if ((about.st_mode & 0007) != 0) return refuse("is open to everybody (chmod 600)");
  std::string_view rest(bytes.data(), static_cast<size_t>(n));
  const std::string_view line = next_line(rest);
  const size_t colon = line.find(':');
  if (n > static_cast<ssize_t>(kSecretBytesMax)) return refuse("is too long");
  if (colon == std::string_view::npos || colon == 0) return refuse("holds no \"user:password\"");
  std::vector<std::string> hosts;
  while (!rest.empty()) {
    std::string host(next_line(rest));
    std::transform(host.begin(), host.end(), host.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (!host.empty()) hosts.push_back(std::move(host));
  }
  Secret secret(std::string(line.substr(0, colon)), std::string(line.substr(colon + 1)),
                std::move(hosts));
  explicit_bzero(bytes.data(), bytes.size());
  return secret;
}

}  // namespace gema::prober
