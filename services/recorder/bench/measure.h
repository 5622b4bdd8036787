// What the measurements of history share: how they speak, and CPU time, their own and that of a
// PostgreSQL with everything that belongs to it.
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "common/base/result.h"
#include "common/postgres/connection.h"

namespace gema::recorder::bench {

// Without it there is nothing to measure.
template <class T>
T must(Result<T> result) {
  if (!result) {
    std::cerr << result.error().message << "\n";
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// One JSON object on a line; `reference` 0: there is none.
inline void print(const char* bench, const std::string& metric, double value, double reference) {
  const std::string more = reference > 0 ? fmt::format(R"("reference":{:.4g},"ratio":{:.4g})",
                                                       reference, value / reference)
                                         : R"("reference":null,"ratio":null)";
  std::cout << fmt::format(R"({{"bench":"{}","metric":"{}","value":{:.5g},{}}})", bench, metric,
                           value, more)
            << "\n"
            << std::flush;
}

// --- CPU ----------------------------------------------------------------------------------------

inline double thread_cpu_s() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);  // lint: allow(real-clock) no time of day
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// Of this process.
inline double own_cpu_s() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

// To the nanosecond; 0 when it is gone.
inline double process_cpu_s(int pid) {
  double ns = 0;
  std::error_code gone;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone)) {
    std::ifstream in(task.path() / "schedstat");
    double one = 0;
    if (in >> one) ns += one;
  }
  return ns / 1e9;
}

// A PostgreSQL: the postmaster, its children (backends, checkpointer, background and WAL writer,
// autovacuum), and those children that ended.
inline double server_cpu_s(int postmaster) {
  double total = process_cpu_s(postmaster);
  {
    std::ifstream in(fmt::format("/proc/{}/stat", postmaster));
    std::string text((std::istreambuf_iterator<char>(in)), {});
    const size_t at = text.rfind(')');
    std::istringstream rest(at == std::string::npos ? "" : text.substr(at + 2));
    std::string field;
    for (int i = 3; rest >> field; ++i) {
      if (i == 16 || i == 17) {
        total += std::strtod(field.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
      }
    }
  }
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", postmaster));
  for (int pid = 0; children >> pid;) total += process_cpu_s(pid);
  return total;
}

inline int postmaster_of(const std::string& socket_dir) {
  std::ifstream in(socket_dir + "/pg/postmaster.pid");
  int pid = 0;
  in >> pid;
  return pid;
}

// Of those processes of a server that live now; autovacuum's come and go, and are left out.
inline double living_cpu_s(postgres::Connection& connection) {
  const auto pids = must(connection.transact([](postgres::Transaction& tx) {
    return tx.exec(
        "SELECT pid FROM pg_stat_activity WHERE backend_type NOT LIKE 'autovacuum worker'");
  }));
  double total = 0;
  for (const auto& row : pids) total += process_cpu_s(row[0].as<int>());
  return total;
}

// Of all leaves of a table, indexes included.
inline int64_t bytes_of(postgres::Connection& connection, const std::string& table) {
  return must(connection.transact([&](postgres::Transaction& tx) {
    return tx
        .exec(
            "SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint"
            " FROM pg_partition_tree('" +
            table + "') WHERE isleaf")[0][0]
        .as<int64_t>();
  }));
}

}  // namespace gema::recorder::bench
