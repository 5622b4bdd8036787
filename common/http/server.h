// An HTTP server on a Unix socket, for nginx (and `curl --unix-socket`) only: a shell over
// cpp-httplib that leaves none of the library's doubtful parts reachable.
//
// In: connections. Out: one call of the handler for each whole request, on a thread of the
// server's own; its Response goes back. It will not: route (common/http/router.h does), keep
// connections alive, read chunked, compressed, multipart or over-long bodies, hand any byte of a
// request to a regular expression, compress, serve files.
//
// Every error it makes itself (400, 411, 413, 414, 415, 500) goes through `error_body`, so a
// client always gets the family's own envelope. An exception in the handler is a 500 that says
// nothing about it and is given to `on_exception`.
//
// Threads: start() and stop() on one thread; the handler runs on up to threads_max at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "common/base/result.h"
#include "common/http/message.h"

namespace gema::http {

struct ServerOptions {
  std::filesystem::path socket;  // at most 107 bytes; a stale socket file is replaced
  uint32_t socket_mode = 0660;
  size_t threads_max = 16;            // requests (and streams) at once
  size_t waiting_max = 256;           // accepted and waiting; beyond it no more are accepted
  size_t body_bytes_max = 64 * 1024;  // 413 beyond
  std::chrono::seconds read_timeout{10};
  std::chrono::seconds write_timeout{5};

  std::function<Response(const Request&)> handler;
  // The response for an error the server found itself. `path_known` false: no target was read.
  std::function<Response(int status, const std::string& why, const Request&)> error_body;
  std::function<void(const std::string& what, const Request&)> on_exception;
};

class Server {
 public:
  // Binds and serves. Fails with kPermanent and one clear sentence: path too long, directory
  // missing, another server alive on the socket.
  static Result<std::unique_ptr<Server>> start(ServerOptions options);
  ~Server();  // stops

  // Stops accepting, waits for running requests, removes the socket. Streams end within a second.
  void stop();
  // False once the accept loop ended by itself: the owner should exit and be restarted.
  bool running() const;

  struct Stats {
    size_t threads = 0;
    size_t busy = 0;
    size_t waiting = 0;
    uint64_t held_back = 0;  // times accepting paused because `waiting_max` was reached
  };
  Stats stats() const;

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gema::http
