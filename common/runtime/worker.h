// One named thread for blocking work (database, DNS, SMTP) behind a bounded queue, so that the loop
// never waits. Jobs run in order of submission; results come back through take_done() after fd()
// became readable. All methods belong to the thread that made the Worker.
#pragma once

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/assert.h"

namespace gema::runtime {

template <class Job, class Done>
class Worker {
 public:
  // `work` runs on the worker's thread and must not throw: it turns failures into a Done.
  // `queue_max` bounds the jobs waiting or running; at the bound try_submit refuses.
  Worker(std::string name, size_t queue_max, std::function<Done(Job)> work)
      : queue_max_(queue_max),
        work_(std::move(work)),
        event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    GEMA_ASSERT(event_ >= 0);
    thread_ = std::thread([this, name = std::move(name)] { run(name); });
  }

  // Lets the job in hand finish; jobs still waiting are dropped.
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
    ::close(event_);
  }

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // False when the queue is full; the job is then untouched by the worker.
  bool try_submit(Job job) {
    {
      const std::lock_guard lock(mutex_);
      if (jobs_.size() + running_ >= queue_max_) return false;
      jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
    return true;
  }

  // Results since the last call, in order. Clears fd().
  std::vector<Done> take_done() {
    const std::lock_guard lock(mutex_);
    uint64_t value = 0;
    if (::read(event_, &value, sizeof value) < 0) value = 0;  // nothing was pending
    return std::exchange(done_, {});
  }

  // Readable while results wait.
  int fd() const { return event_; }

  // Jobs waiting or running.
  size_t queued() const {
    const std::lock_guard lock(mutex_);
    return jobs_.size() + running_;
  }

 private:
  void run(const std::string& name) {
    prctl(PR_SET_NAME, name.c_str());
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      running_ = 1;
      lock.unlock();
      Done done = work_(std::move(job));
      lock.lock();
      running_ = 0;
      done_.push_back(std::move(done));
      const uint64_t one = 1;
      GEMA_ASSERT(::write(event_, &one, sizeof one) == static_cast<ssize_t>(sizeof one));
    }
  }

  const size_t queue_max_;
  const std::function<Done(Job)> work_;
  const int event_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;    // at most queue_max_ with the running one; more are refused
  std::vector<Done> done_;  // at most queue_max_ between two take_done(), as jobs are
  size_t running_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace gema::runtime
