// The PostgreSQL of the measurement: filled with settings that make filling quick, measured with
// those that deploy/local/up gives it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/postgres/connection.h"
#include "tests/support/postgres_server.h"

namespace gema::bench {

class Database {
 public:
  // `directory`: where it is made, or found as an earlier run left it.
  explicit Database(const std::filesystem::path& directory);

  void restart_for_filling();
  // `source`: where deploy/local is.
  void restart_as_deployed(const std::filesystem::path& source);
  // Everything on disk is on disk, and nothing of it in memory: neither the server's (it is
  // restarted) nor the kernel's.
  void drop_caches();
  // Reads the whole database once, so that the kernel has it.
  void warm_caches();

  postgres::Options options() const;
  std::string socket_dir() const { return server_.socket_dir(); }
  std::filesystem::path dir() const { return server_.data_dir(); }

 private:
  testing::PostgresServer server_;
};

}  // namespace gema::bench
