#include "common/http/thread_queue.h"

#include <signal.h>

#include "common/base/assert.h"

namespace gema::http {
namespace {
constexpr size_t kStackBytes = 8u << 20;
}

ThreadQueue::ThreadQueue(size_t threads_max, size_t waiting_max)
    : threads_max_(threads_max), waiting_max_(waiting_max) {
  GEMA_ASSERT(threads_max > 0 && waiting_max > 0);
}

ThreadQueue::~ThreadQueue() {
  shutdown();
}

bool ThreadQueue::enqueue(std::function<void()> job) {
  std::unique_lock lock(mutex_);
  if (waiting_.size() >= waiting_max_ && !stop_) {
    ++held_back_;
    room_.wait(lock, [this] { return waiting_.size() < waiting_max_ || stop_; });
  }
  if (stop_) {
    return false;
  }
  take(std::move(job));
  return true;
}

bool ThreadQueue::try_enqueue(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (stop_ || waiting_.size() >= waiting_max_) {
    return false;
  }
  take(std::move(job));
  return true;
}

// Requires: mutex_ held.
void ThreadQueue::take(std::function<void()> job) {
  waiting_.push_back(std::move(job));
  if (busy_ + waiting_.size() > threads_.size() && threads_.size() < threads_max_) {
    add_thread();
  }
  work_or_stop_.notify_one();
}

void ThreadQueue::shutdown() {
  std::vector<pthread_t> threads;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    threads.swap(threads_);
  }
  work_or_stop_.notify_all();
  room_.notify_all();
  for (pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
}

ThreadQueue::Stats ThreadQueue::stats() const {
  std::lock_guard lock(mutex_);
  return {threads_.size(), busy_, waiting_.size(), held_back_};
}

// Requires: mutex_ held. Signals are blocked in the thread: they are the main loop's business.
void ThreadQueue::add_thread() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int failed = pthread_create(&thread, &attributes, &ThreadQueue::thread_main, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  // Without a new thread the job waits for one of the others; with none at all nothing would ever
  // be served, which is better said loudly.
  GEMA_ASSERT(failed == 0 || !threads_.empty());
  if (failed == 0) {
    threads_.push_back(thread);
  }
}

void* ThreadQueue::thread_main(void* self) {
  static_cast<ThreadQueue*>(self)->work();
  return nullptr;
}

void ThreadQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_or_stop_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (waiting_.empty()) {
      return;
    }
    auto job = std::move(waiting_.front());
    waiting_.pop_front();
    ++busy_;
    room_.notify_one();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    --busy_;
  }
}

}  // namespace gema::http
