#include "services/gateway/io/statistics_cache.h"

#include <algorithm>
#include <condition_variable>
#include <optional>

#include "services/gateway/core/limits.h"

namespace gema::gateway {

struct StatisticsCache::Entry {
  std::mutex mutex;
  std::condition_variable came;
  std::optional<Answer> answer;
  MonoTime asked_at{};
};

StatisticsCache::StatisticsCache(std::chrono::milliseconds patience,
                                 std::function<MonoTime()> clock)
    : patience_(patience), clock_(std::move(clock)) {}

StatisticsCache::~StatisticsCache() = default;

StatisticsCache::Answer StatisticsCache::get(const std::string& key,
                                             const std::function<Answer()>& read) {
  const MonoTime now = clock_();
  std::shared_ptr<Entry> entry;
  bool ours = false;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [now](const auto& e) {
      return e.second->asked_at + kStatisticsFresh <= now && e.second.use_count() == 1;
    });
    auto& slot = entries_[key];
    ours = slot == nullptr;
    if (ours) {
      slot = std::make_shared<Entry>();
      slot->asked_at = now;
      ++stats_.misses;
    } else {
      ++stats_.hits;
    }
    entry = slot;
    if (entries_.size() > kStatisticsKept) {
      const auto oldest =
          std::min_element(entries_.begin(), entries_.end(), [&](const auto& a, const auto& b) {
            // Ours stays.
            return std::pair(a.second == entry, a.second->asked_at) <
                   std::pair(b.second == entry, b.second->asked_at);
          });
      entries_.erase(oldest);
    }
  }
  if (!ours) {
    std::unique_lock lock(entry->mutex);
    if (!entry->came.wait_for(lock, patience_, [&] { return entry->answer.has_value(); })) {
      return Error{Errc::kTimeout, "history did not answer within " +
                                       std::to_string(patience_.count() / 1000) + " s"};
    }
    return *entry->answer;
  }
  Answer answer = read();
  {
    const std::lock_guard lock(entry->mutex);
    entry->answer = answer;
    entry->came.notify_all();
  }
  if (!answer) {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it != entries_.end() && it->second == entry) entries_.erase(it);
  }
  return answer;
}

StatisticsCache::Stats StatisticsCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace gema::gateway
