#include "services/gateway/io/loop_bridge.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "common/base/assert.h"

namespace gema::gateway {

LoopBridge::LoopBridge(size_t jobs_max)
    : jobs_max_(jobs_max), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  GEMA_ASSERT(event_ >= 0);
}

LoopBridge::~LoopBridge() {
  ::close(event_);
}

bool LoopBridge::post(std::function<void(Now)> job) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= jobs_max_) {
      return false;
    }
    jobs_.push_back(std::move(job));
  }
  const uint64_t one = 1;
  GEMA_ASSERT(::write(event_, &one, sizeof(one)) == static_cast<ssize_t>(sizeof(one)));
  return true;
}

void LoopBridge::run_jobs(Now now) {
  std::deque<std::function<void(Now)>> jobs;
  {
    const std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t nothing_new = ::read(event_, &count, sizeof(count));
    jobs.swap(jobs_);
  }
  for (const auto& job : jobs) {
    job(now);
  }
}

}  // namespace gema::gateway
