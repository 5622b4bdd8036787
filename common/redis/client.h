// A thin shell over hiredis (0.14 and 1.2): one blocking connection to one Redis.
//
// Connects when first used and again after any error (the context is discarded: hiredis says it is
// unusable). Commands are argument vectors, never formats, so keys and values may hold any bytes.
// Thread: one at a time; its calls block up to the timeouts, so it belongs on a worker, never on a
// thread that drains a socket. Requires: SIGPIPE ignored (common/runtime does it): hiredis 0.14
// writes with plain write().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"

namespace gema::redis {

struct Options {
  std::string socket;  // path of a Unix socket; when empty, host and port count
  std::string host = "127.0.0.1";
  uint16_t port = 6379;
  std::string password_file;  // empty = no AUTH; read at every connect, trailing newline ignored
  Duration connect_timeout = 2s;
  Duration command_timeout = 10s;  // per reply; a MULTI of 100,000 states takes well under 1 s
};

struct ContextHolder;

using Command = std::vector<std::string>;

struct Reply {
  enum class Kind { kNil, kText, kInteger, kArray, kError };
  Kind kind = Kind::kNil;
  std::string text;          // kText (bulk and status), kError
  int64_t integer = 0;       // kInteger
  std::vector<Reply> items;  // kArray
};

// What to do next, by how the error began: LOADING, BUSY, OOM, MISCONF, READONLY and the like pass
// (kRetryable); anything else is the caller's fault or a wrong password (kPermanent).
Errc classify(const std::string& error_text);

class Client {
 public:
  explicit Client(Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // An error reply becomes an Error; see classify(). A lost connection is kUnavailable, a reply
  // that does not come in time kTimeout: the command may have taken effect in both cases.
  Result<Reply> run(const Command& command);

  // Sends all, then reads all. Error replies stay in the vector as Kind::kError.
  Result<std::vector<Reply>> pipeline(std::span<const Command> commands);

  // MULTI, the commands, EXEC in one go: all or none. Fails with kRetryable when a watched key
  // changed, and with the first error when Redis refused any of them (then none took effect, unless
  // the message says "in EXEC": a type error, which is a bug of ours or a foreign key).
  Result<std::vector<Reply>> transact(std::span<const Command> commands);

  bool connected() const { return context_ != nullptr; }
  // Forgets the connection; the next call makes another.
  void disconnect();

 private:
  Result<void> connect();
  Result<void> send(const Command& command);
  Result<Reply> receive();
  Error lost(const char* doing);

  Options options_;
  std::unique_ptr<ContextHolder> context_;
};

}  // namespace gema::redis
