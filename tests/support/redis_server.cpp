#include "tests/support/redis_server.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tests/support/wait_until.h"

namespace gema::testing {
namespace {

// "+PONG", or "-NOAUTH ..." where a password is set: both say that it serves. "-LOADING" does not.
bool answers(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  char reply[32] = {};
  constexpr std::string_view kPing = "PING\r\n";
  const bool ok =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      send(fd, kPing.data(), kPing.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kPing.size()) &&
      recv(fd, reply, sizeof reply - 1, 0) > 0;
  close(fd);
  const std::string_view text(reply);
  return ok && (text.starts_with("+PONG") || text.starts_with("-NOAUTH"));
}

}  // namespace

RedisServer::RedisServer() : RedisServer(Options()) {}

RedisServer::RedisServer(Options options) : options_(std::move(options)) {
  start();
}

std::string RedisServer::socket_path() const {
  return dir_ / "redis.sock";
}

void RedisServer::start() {
  std::vector<std::string> command{"redis-server",
                                   "--port",
                                   "0",
                                   "--unixsocket",
                                   socket_path(),
                                   "--dir",
                                   dir_.path(),
                                   "--save",
                                   "",
                                   "--appendonly",
                                   options_.append_only ? "yes" : "no",
                                   "--appendfsync",
                                   "everysec",
                                   "--maxmemory-policy",
                                   "noeviction",
                                   "--daemonize",
                                   "no"};
  command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
  server_ = ChildProcess({.command = command, .log = dir_ / "redis.log", .environment = {}});
  wait_until([this] { return answers(socket_path()) || !server_.running(); });
  if (!server_.running() || !answers(socket_path()))
    throw std::runtime_error("Redis does not start:\n" + log());
}

void RedisServer::stop() {
  server_.signal(SIGTERM);
  if (!server_.wait()) throw std::runtime_error("Redis does not stop:\n" + log());
}

void RedisServer::kill9() {
  server_.kill_tree();
}

void RedisServer::restart() {
  kill9();
  start();
}

std::string RedisServer::log() const {
  std::ifstream file(dir_ / "redis.log");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace gema::testing
