// A real Redis of a test's own: in a temporary directory, on a Unix socket only, with the settings
// that the tracker relies on (append-only file each second, noeviction).
#pragma once

#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace gema::testing {

class RedisServer {
 public:
  struct Options {
    bool append_only = true;
    std::vector<std::string> arguments;  // more, as for redis-server: "--requirepass", "secret"
  };

  RedisServer();  // started; throws std::runtime_error with its log
  explicit RedisServer(Options options);
  ~RedisServer() = default;

  std::string socket_path() const;

  void start();    // returns when it answers
  void stop();     // clean shutdown
  void kill9();    // as a crash would
  void restart();  // kill9() if it still runs, then start()
  bool running() { return server_.running(); }
  std::string log() const;

 private:
  Options options_;
  TempDir dir_;
  ChildProcess server_;
};

}  // namespace gema::testing
