#include "tests/support/postgres_server.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "tests/support/wait_until.h"

namespace gema::testing {
// Debian keeps the server's programs out of PATH, one directory per major.
std::string PostgresServer::program(const std::string& name) {
  int newest = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (std::filesystem::exists(entry.path() / "bin" / name))
      newest = std::max(newest, std::stoi(entry.path().filename()));
  }
  if (newest == 0) return name;
  return "/usr/lib/postgresql/" + std::to_string(newest) + "/bin/" + name;
}

PostgresServer::PostgresServer() : PostgresServer(Options()) {}

PostgresServer::PostgresServer(Options options) : options_(std::move(options)) {
  const auto uid = unprivileged_uid();
  if (uid && chown(dir_.path().c_str(), *uid, *uid) != 0)
    throw std::runtime_error("cannot give " + dir_.path().string() + " away");
  if (std::filesystem::exists(data_dir() / "PG_VERSION")) {
    start();
    return;
  }
  std::vector<std::string> initdb{
      program("initdb"),  "-D",       data_dir(), "-U", "gema", "-A", "trust", "-E", "UTF8",
      "--locale=C.UTF-8", "--no-sync"};
  if (!options_.wal_dir.empty()) initdb.push_back("--waldir=" + options_.wal_dir.string());
  if (options_.checksums) initdb.push_back("--data-checksums");
  run_or_throw({.command = initdb, .log = dir_ / "initdb.log", .environment = {}, .run_as = uid});
  start();
  const std::string postgres = "host=" + socket_dir() + " user=gema dbname=postgres";
  PGconn* connection = PQconnectdb(postgres.c_str());
  PGresult* result = PQexec(connection, "CREATE DATABASE gema");
  const bool made = PQresultStatus(result) == PGRES_COMMAND_OK;
  const std::string why = PQerrorMessage(connection);
  PQclear(result);
  PQfinish(connection);
  if (!made) throw std::runtime_error("cannot create the database: " + why);
}

PostgresServer::~PostgresServer() {
  if (server_.running()) {
    server_.signal(SIGQUIT);
    server_.wait();
  }
}

std::string PostgresServer::conninfo() const {
  return "host=" + socket_dir() + " port=5432 user=gema dbname=gema";
}

std::string PostgresServer::socket_dir() const {
  return dir_.path();
}

std::filesystem::path PostgresServer::data_dir() const {
  return options_.data_dir.empty() ? dir_ / "pg" : options_.data_dir;
}

bool PostgresServer::accepts() const {
  return PQping(conninfo().c_str()) == PQPING_OK;
}

void PostgresServer::start() {
  std::vector<std::string> command{program("postgres"),
                                   "-D",
                                   data_dir(),
                                   "-k",
                                   socket_dir(),
                                   "-c",
                                   "listen_addresses=",
                                   "-c",
                                   "port=5432",
                                   "-c",
                                   "shared_buffers=32MB",
                                   "-c",
                                   "max_connections=40",
                                   "-c",
                                   std::string("fsync=") + (options_.fsync ? "on" : "off")};
  for (const auto& setting : options_.settings) {
    command.push_back("-c");
    command.push_back(setting);
  }
  // After kill9 the last backend may still be on its way out; the server then refuses to start.
  for (int attempt = 0; attempt < 3; ++attempt) {
    server_ = ChildProcess({.command = command,
                            .log = dir_ / "postgres.log",
                            .environment = {},
                            .run_as = unprivileged_uid(),
                            .death_signal = SIGQUIT});
    const bool settled =
        wait_until([this] { return PQping(conninfo().c_str()) == PQPING_OK || !server_.running(); },
                   std::chrono::seconds(30));
    if (settled && server_.running()) return;
  }
  throw std::runtime_error("PostgreSQL does not start:\n" + log());
}

void PostgresServer::stop() {
  server_.signal(SIGINT);
  if (!server_.wait(std::chrono::seconds(30)))
    throw std::runtime_error("PostgreSQL does not stop:\n" + log());
}

void PostgresServer::kill9() {
  server_.kill_tree();
}

void PostgresServer::restart() {
  kill9();
  start();
}

std::string PostgresServer::log() const {
  std::stringstream text;
  for (const char* name : {"initdb.log", "postgres.log"}) {
    std::ifstream file(dir_ / name);
    if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  }
  return text.str();
}

}  // namespace gema::testing
