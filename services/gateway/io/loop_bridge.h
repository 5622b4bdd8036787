// Work that request threads hand to the loop's thread (calls over the bus belong to it). Bounded:
// full is refused, and the request answered 503.
//
// post() from any thread; the rest on the loop's.
#pragma once

#include <deque>
#include <functional>
#include <mutex>

#include "common/base/time.h"

namespace gema::gateway {

class LoopBridge {
 public:
  explicit LoopBridge(size_t jobs_max);
  ~LoopBridge();
  LoopBridge(const LoopBridge&) = delete;
  LoopBridge& operator=(const LoopBridge&) = delete;

  bool post(std::function<void(Now)> job);
  int fd() const { return event_; }  // readable while jobs wait
  void run_jobs(Now now);

 private:
  const size_t jobs_max_;
  const int event_;
  std::mutex mutex_;
  std::deque<std::function<void(Now)>> jobs_;  // at most jobs_max_; more are refused
};

}  // namespace gema::gateway
