// History for request threads: each query runs on one of a few threads with a database connection
// of its own, and whoever asked waits for at most `patience`. Database away, too slow, or too many
// waiting: an error at once or at the latest then, never a hang.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "common/base/result.h"
#include "common/http/thread_queue.h"
#include "common/postgres/connection.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/v1_bodies.h"
#include "services/gateway/io/history_reads.h"
#include "services/gateway/io/statistics_cache.h"

namespace gema::gateway {

struct HistoryOptions {
  postgres::Options postgres;
  size_t connections = 2;
  size_t waiting_max = kHistoryWaitingMax;
  std::chrono::milliseconds patience{10'000};
};

struct DeviceHistory {
  std::vector<HistoryRow> rows;  // newest first
  bool truncated = false;        // older ones exist in the window
};

class HistoryService {
 public:
  explicit HistoryService(HistoryOptions options);
  ~HistoryService();

  // Results with from_ms <= slot < to_ms; at most `limit`, the newest.
  Result<DeviceHistory> device(DeviceId device, int64_t from_ms, int64_t to_ms, size_t limit);
  // The newest of a window, in the order of time; history::Results::truncated when older ones
  // exist.
  Result<history::Results> results(const ResultsQuery& query);
  // The newest address changes of a device, newest first.
  Result<std::vector<AddressRow>> addresses(DeviceId device, size_t limit);
  Result<history::Series> series(const history::SeriesQuery& query);
  Result<history::Outages> outages(const history::OutageQuery& query);
  Result<history::Availability> availability(const history::AvailabilityQuery& query);
  // Of all devices: from memory when somebody asked the same just now (statistics_cache.h).
  Result<std::shared_ptr<const history::WindowStatistics>> statistics(
      const history::StatisticsQuery& query);
  Result<HistoryOverview> overview();

  struct Stats {
    uint64_t queries = 0;
    uint64_t failed = 0;
    uint64_t refused = 0;  // too many waiting
    uint64_t late = 0;     // nobody waited for the answer any more
  };
  Stats stats() const;
  StatisticsCache::Stats cache_stats() const { return cache_.stats(); }

 private:
  template <class T>
  Result<T> run(std::function<Result<T>(postgres::Connection&)> query);
  Result<std::unique_ptr<postgres::Connection>> take_connection();
  void give_back(std::unique_ptr<postgres::Connection> connection);

  const HistoryOptions options_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<postgres::Connection>> idle_;  // at most as many as threads
  Stats stats_;
  StatisticsCache cache_;
  http::ThreadQueue threads_;  // last: its jobs use the above
};

}  // namespace gema::gateway
