#include "services/broker/io/make_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string_view>

#include "common/bus/keys.h"
#include "services/broker/core/rights.h"
#include "services/broker/io/allow_list.h"

namespace gema::broker {
namespace {

// Held while keys and list are read and written.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    held_ = fd_ >= 0 && ::flock(fd_, LOCK_EX) == 0;
  }
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool held() const { return held_; }

 private:
  int fd_;
  bool held_ = false;
};

// The pair of `name`: the one that is there, or a new one. A secret key without its public file
// gets it again; a broken secret key is an error, for a new one would lock out who holds the old.
Result<bus::KeyPair> ensure_pair(const std::filesystem::path& dir, const std::string& name) {
  const auto secret_path = dir / (name + ".key");
  if (!std::filesystem::exists(secret_path)) {
    auto pair = bus::make_key_pair();
    if (!pair) return pair;
    auto written = bus::write_key_pair(dir, name, *pair);
    if (!written) return written.error();
    return pair;
  }
  auto pair = bus::read_key_pair(dir, name);
  if (!pair) return pair;
  auto public_key = bus::read_public_key(dir, name);
  if (!public_key || *public_key != pair->public_key) {
    auto written = bus::write_file_atomically(dir / (name + ".pub"), pair->public_key + "\n", 0644);
    if (!written) return written.error();
  }
  return pair;
}

Result<void> apply_request(const std::filesystem::path& dir, const KeyRequest& request,
                           std::vector<Client>& clients) {
  if (request.name == bus::kBrokerName) return {};  // its pair is made in any case
  auto wanted = preset(request.kind, request.name);
  if (!wanted) {
    std::string known;
    for (const std::string& kind : kinds()) known += (known.empty() ? "" : ", ") + kind;
    return Error{Errc::kBadInput,
                 fmt::format("client {}={}: kinds are {}; a prober's name begins with \"prober-\"",
                             request.name, request.kind, known)};
  }
  auto pair = ensure_pair(dir, request.name);
  if (!pair) return pair.error();
  wanted->public_key = pair->public_key;
  const auto same = [&](const Client& client) { return client.name == request.name; };
  const auto at = std::find_if(clients.begin(), clients.end(), same);
  if (at == clients.end()) {
    clients.push_back(std::move(*wanted));
  } else if (at->kind == "custom") {
    at->public_key = pair->public_key;
  } else {
    *at = std::move(*wanted);
  }
  return {};
}

}  // namespace

Result<void> make_keys(const std::filesystem::path& keys_dir,
                       const std::vector<KeyRequest>& requests,
                       const std::vector<std::string>& remove) {
  ::umask(0077);
  std::error_code error;
  std::filesystem::create_directories(keys_dir, error);
  if (error) {
    return Error{Errc::kPermanent,
                 fmt::format("cannot make {}: {}", keys_dir.string(), error.message())};
  }
  const Lock lock(keys_dir / ".lock");
  if (!lock.held()) {
    return Error{Errc::kPermanent,
                 fmt::format("cannot lock {}: {}", keys_dir.string(), std::strerror(errno))};
  }
  const std::string list_path = (keys_dir / "clients.yaml").string();
  std::vector<Client> before;
  if (std::filesystem::exists(list_path)) {
    auto read = read_clients(list_path);
    if (!read) return read.error();
    before = std::move(*read);
  }
  auto broker = ensure_pair(keys_dir, std::string(bus::kBrokerName));
  if (!broker) return broker.error();
  std::vector<Client> after = before;
  for (const KeyRequest& request : requests) {
    auto applied = apply_request(keys_dir, request, after);
    if (!applied) return applied;
  }
  for (const std::string& name : remove) {
    std::erase_if(after, [&](const Client& client) { return client.name == name; });
  }
  if (after != before || !std::filesystem::exists(list_path)) {
    auto written = bus::write_file_atomically(list_path, print_clients(after), 0600);
    if (!written) return written;
  }
  // Files last: a key on no list opens nothing, a name on the list without files would be made
  // anew.
  for (const std::string& name : remove) {
    if (name == bus::kBrokerName) continue;
    std::filesystem::remove(keys_dir / (name + ".key"), error);
    std::filesystem::remove(keys_dir / (name + ".pub"), error);
  }
  return {};
}

bool wants_make_keys(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* argument) {
    const std::string_view text(argument);
    return text == "--make-keys" || text.substr(0, 12) == "--make-keys=";
  });
}

int make_keys_main(int argc, char** argv) {
  std::string data_dir;
  std::vector<std::string> clients;
  std::vector<std::string> remove;
  CLI::App cli(
      "gema-broker --make-keys DIR: makes DIR/keys and its allow-list, keeping what is there.");
  cli.add_option("--make-keys", data_dir, "The data directory.")
      ->required()
      ->check([](const std::string& dir) {
        return dir.starts_with("-") ? dir + ": must be a directory, not an option" : std::string();
      });
  cli.add_option("--client", clients, "NAME or NAME=KIND; repeatable.");
  cli.add_option("--remove-client", remove, "NAME to take off the list; repeatable.");
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : 2;
  }
  std::vector<KeyRequest> requests;
  for (const std::string& client : clients) {
    const size_t equals = client.find('=');
    if (equals == std::string::npos) {
      requests.push_back({client, kind_of(client)});
    } else {
      requests.push_back({client.substr(0, equals), client.substr(equals + 1)});
    }
  }
  for (const std::string& name : remove) {
    if (!bus::is_valid_name(name)) {
      std::cerr << fmt::format("gema-broker: --remove-client {}: not a name\n", name);
      return 2;
    }
  }
  auto made = make_keys(std::filesystem::path(data_dir) / "keys", requests, remove);
  if (!made) {
    std::cerr << fmt::format("gema-broker: {}\n", made.error().message);
    return 2;
  }
  return 0;
}

}  // namespace gema::broker
