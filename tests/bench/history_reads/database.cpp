#include "tests/bench/history_reads/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "tests/bench/history_reads/report.h"

namespace gema::bench {
namespace {

// What deploy/local/up renders, but for where files are and what it listens on.
std::vector<std::string> deployed_settings(const std::filesystem::path& source) {
  std::ifstream in(source / "deploy/local/templates/postgresql.conf");
  std::vector<std::string> settings;
  for (std::string line; std::getline(in, line);) {
    const size_t equals = line.find(" = ");
    if (line.empty() || line.front() == '#' || equals == std::string::npos) continue;
    const std::string name = line.substr(0, equals);
    std::string value = line.substr(equals + 3);
    if (value.find('@') != std::string::npos || name == "listen_addresses" || name == "port" ||
        name == "unix_socket_permissions" || name == "cluster_name") {
      continue;
    }
    value = value.substr(0, value.find(" #"));
    while (!value.empty() && value.back() == ' ') value.pop_back();
    if (value.size() >= 2 && value.front() == '\'') value = value.substr(1, value.size() - 2);
    settings.push_back(name + "=" + value);
  }
  if (settings.empty()) fail("deploy/local/templates/postgresql.conf is not where it should be");
  return settings;
}

void each_file(const std::filesystem::path& dir,
               const std::function<void(const std::filesystem::path&, int)>& each) {
  for (const char* part : {"base", "global", "pg_wal", "pg_xact"}) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir / part, ignored)) {
      if (!entry.is_regular_file(ignored)) continue;
      const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) continue;
      each(entry.path(), fd);
      ::close(fd);
    }
  }
}

// The server refuses root.
std::filesystem::path make_ours(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  const auto uid = testing::unprivileged_uid();
  if (uid && ::chown(directory.c_str(), *uid, *uid) != 0) {
    fail("cannot give " + directory.string() + " away");
  }
  return directory;
}

}  // namespace

Database::Database(const std::filesystem::path& directory)
    : server_({.data_dir = make_ours(directory), .checksums = true}) {}

void Database::restart_for_filling() {
  server_.stop();
  server_.configure({"wal_level=minimal", "max_wal_senders=0", "max_wal_size=8GB",
                     "shared_buffers=1GB", "maintenance_work_mem=1GB", "checkpoint_timeout=1h",
                     "max_parallel_maintenance_workers=2", "jit=off", "wal_compression=on"});
  server_.start();
}

void Database::restart_as_deployed(const std::filesystem::path& source) {
  server_.stop();
  server_.configure(deployed_settings(source));
  server_.start();
}

void Database::drop_caches() {
  server_.stop();
  each_file(dir(), [](const std::filesystem::path&, int fd) {
    ::fdatasync(fd);  // what is not written yet would stay
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  });
  server_.start();
}

void Database::warm_caches() {
  std::vector<char> buffer(1 << 20);
  each_file(dir(), [&](const std::filesystem::path&, int fd) {
    while (::read(fd, buffer.data(), buffer.size()) > 0) {
    }
  });
}

postgres::Options Database::options() const {
  postgres::Options out{.conninfo = server_.conninfo()};
  // Building the row table's key takes minutes.
  out.statement_timeout = out.lock_timeout = out.idle_in_transaction_timeout =
      std::chrono::hours(1);
  return out;
}

}  // namespace gema::bench
