// The sections that every process reads, and the names of all sections there are.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "common/config/spec.h"

namespace gema::config {

struct Common {
  // general
  std::filesystem::path data_dir = "var";  // --data-dir; everything Gema keeps lives below it
  std::string timezone;                    // "" = the system's

  // csv: where recorder and timeout-tracker write, and the gateway names
  std::string csv_output_dir = "ping_results";

  // bus: empty endpoints mean ipc below data_dir/run
  std::string bus_ingress;
  std::string bus_inner;
  std::string bus_edge;
  std::string bus_keys_dir;  // "" = data_dir/keys

  // postgres
  std::string postgres_host;  // "" = the Unix socket in data_dir/run
  uint16_t postgres_port = 5432;
  std::string postgres_database = "gema";
  std::string postgres_user = "gema";
  std::string postgres_password_file;  // "" = none (the socket's peer is trusted by its directory)
  std::chrono::seconds postgres_connect_timeout{5};

  // detection: what the probers' bursts (by their assignment) and the tracker must agree on
  uint32_t down_after = 3;  // failed checks in a row

  // redis
  std::string redis_host;  // "" = the Unix socket data_dir/run/redis.sock
  uint16_t redis_port = 6379;
  std::string redis_password_file;

  // log
  std::string log_level = "info";

  std::filesystem::path run_dir() const { return data_dir / "run"; }
  std::string ingress_endpoint() const;
  std::string inner_endpoint() const;
  std::string edge_endpoint() const;
  std::filesystem::path keys_dir() const;
  std::filesystem::path csv_dir() const;
  std::string postgres_host_or_socket() const;  // what libpq calls "host"

  // One Spec per common section, bound to the fields of `common`.
  static std::vector<Spec> describe(Common& common);
};

// Every section a gema.yaml may have, of all processes.
const std::vector<std::string>& all_sections();

// Names of the source systems that are accepted without effect (MAX_PING_WORKERS, ...), each with
// the notice to show once when it is set.
const std::map<std::string, std::string>& accepted_without_effect();

}  // namespace gema::config
