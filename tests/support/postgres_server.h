// A real PostgreSQL of a test's own: in a temporary directory, on a Unix socket only, with user and
// database "gema", no password. The newest major installed is taken.
//
// Without fsync by default, which is what makes it quick; kill9() then still loses nothing (the
// kernel holds the pages). Tests of what a power cut does set Options.fsync.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace gema::testing {

class PostgresServer {
 public:
  struct Options {
    bool fsync = false;
    std::vector<std::string> settings;  // "name=value", as for postgres -c
    // Where its data and its write-ahead log are; empty: in its temporary directory. They must
    // exist, be empty, and belong to who runs it (unprivileged_uid()). A database that data_dir
    // has already is taken as it is.
    std::filesystem::path data_dir;
    std::filesystem::path wal_dir;
    bool checksums = false;  // of pages, as deploy/local/up makes them
  };

  PostgresServer();  // initialised and started; throws std::runtime_error with its log
  explicit PostgresServer(Options options);
  ~PostgresServer();

  // "host=DIR port=5432 user=gema dbname=gema": for libpq and libpqxx alike.
  std::string conninfo() const;
  std::string socket_dir() const;  // what gema.yaml calls postgres.host

  // For the next start(), in place of Options.settings.
  void configure(std::vector<std::string> settings) { options_.settings = std::move(settings); }
  void start();    // returns when it accepts connections
  void stop();     // clean (fast) shutdown
  void kill9();    // the server and all its backends, as a power cut would
  void restart();  // kill9() if it still runs, then start()
  bool running() { return server_.running(); }
  // False while it does not accept connections (it may be recovering by itself).
  bool accepts() const;

  std::filesystem::path data_dir() const;
  // Where a program of this server's version is: "pg_basebackup".
  static std::string program(const std::string& name);
  // Everything it logged so far, for a failing test's message.
  std::string log() const;

 private:
  Options options_;
  TempDir dir_;
  ChildProcess server_;
};

}  // namespace gema::testing
