// Statistics of all devices cost a database query of some hundred milliseconds, and pages poll: an
// answer serves everybody who asks the same within kStatisticsFresh, and of those who ask at the
// same time one asks the database, the others wait for it.
//
// Windows "the last N hours" end at a whole multiple of kStatisticsFresh, so that they are the same
// window for all who ask within it.
//
// Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/history/statistics.h"

namespace gema::gateway {

class StatisticsCache {
 public:
  using Answer = Result<std::shared_ptr<const history::WindowStatistics>>;

  StatisticsCache(std::chrono::milliseconds patience, std::function<MonoTime()> clock);
  ~StatisticsCache();

  // `read` runs on the caller's thread, of those with the same `key` only one at a time. Failures
  // are not kept: who waited for one gets it too, who comes later asks anew.
  Answer get(const std::string& key, const std::function<Answer()>& read);

  struct Stats {
    uint64_t hits = 0;    // answered from memory, or by another's query
    uint64_t misses = 0;  // asked the database
  };
  Stats stats() const;

 private:
  struct Entry;
  const std::chrono::milliseconds patience_;
  const std::function<MonoTime()> clock_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>>
      entries_;  // at most kStatisticsKept: the oldest goes
  Stats stats_;
};

}  // namespace gema::gateway
