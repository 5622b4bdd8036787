// One named thread for blocking work (database, DNS, SMTP) behind a bounded queue, so that the loop
// never waits. Jobs run in order of submission; results come back through take_done() after fd()
// became readable. All methods belong to the thread that made the Worker.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/assert.h"
#include "common/base/time.h"

namespace gema::runtime {

template <class Job, class Done>
class Worker {
 public:
  // `work` runs on the worker's thread and must not throw: it turns failures into a Done.
  // `queue_max` bounds the jobs waiting or running; at the bound try_submit refuses.
  Worker(std::string name, size_t queue_max, std::function<Done(Job)> work)
      : shared_(std::make_shared<Shared>(queue_max, std::move(work))) {
    GEMA_ASSERT(shared_->event >= 0);
    thread_ = std::thread([shared = shared_, name = std::move(name)] { shared->run(name); });
  }

  // Lets the job in hand finish; jobs still waiting are dropped.
  ~Worker() {
    stop();
    if (thread_.joinable()) thread_.join();
  }

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // For a job that may hang for good (a directory that does not answer): the thread is left to
  // itself, and ends with its job or the process. Requires: `work` owns what it uses. Nothing is
  // submitted afterwards.
  void abandon() {
    stop();
    if (thread_.joinable()) thread_.detach();  // lint: allow(banned-call) that is its purpose
  }

  // Instead of waiting for a job in hand for as long as it takes: at most so long, then abandon().
  // Requires: as abandon().
  void finish_within(Duration patience) {
    pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    if (queued() > 0 && ::poll(&waiting, 1, static_cast<int>(ms)) <= 0) abandon();
  }

  // False when the queue is full; the job is then untouched by the worker.
  bool try_submit(Job job) {
    {
      const std::lock_guard lock(shared_->mutex);
      if (shared_->queued() >= shared_->queue_max) return false;
      shared_->jobs.push_back(std::move(job));
    }
    shared_->wake.notify_one();
    return true;
  }

  // Results since the last call, in order. Clears fd().
  std::vector<Done> take_done() {
    const std::lock_guard lock(shared_->mutex);
    uint64_t value = 0;
    if (::read(shared_->event, &value, sizeof value) < 0) value = 0;  // nothing was pending
    return std::exchange(shared_->done, {});
  }

  // Readable while results wait.
  int fd() const { return shared_->event; }

  // Jobs waiting or running.
  size_t queued() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->queued();
  }

 private:
  // What the thread uses: it lives as long as either side.
  struct Shared {
    Shared(size_t most, std::function<Done(Job)> what)
        : queue_max(most), work(std::move(what)), event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    ~Shared() { ::close(event); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    // Requires: the mutex is held.
    size_t queued() const { return jobs.size() + running; }

    void run(const std::string& name) {
      prctl(PR_SET_NAME, name.c_str());
      std::unique_lock lock(mutex);
      while (true) {
        wake.wait(lock, [this] { return stopping || !jobs.empty(); });
        if (stopping) return;
        Job job = std::move(jobs.front());
        jobs.pop_front();
        running = 1;
        lock.unlock();
        Done result = work(std::move(job));
        lock.lock();
        running = 0;
        done.push_back(std::move(result));
        const uint64_t one = 1;
        GEMA_ASSERT(::write(event, &one, sizeof one) == static_cast<ssize_t>(sizeof one));
      }
    }

    const size_t queue_max;
    const std::function<Done(Job)> work;
    const int event;
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<Job> jobs;    // at most queue_max with the running one; more are refused
    std::vector<Done> done;  // at most queue_max between two take_done(), as jobs are
    size_t running = 0;
    bool stopping = false;
  };

  void stop() {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->stopping = true;
    }
    shared_->wake.notify_one();
  }

  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace gema::runtime
