// Threads for a server whose requests may be short or may be streams that last for hours: a thread
// is made when work waits and none is idle, up to a bound, and kept. Stacks are 8 MiB (the library
// below recurses deeply on some headers; a small stack would overflow), of which the kernel gives
// only what is touched.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

namespace gema::http {

class ThreadQueue {
 public:
  ThreadQueue(size_t threads_max, size_t waiting_max);
  ~ThreadQueue();

  // Blocks while `waiting_max` jobs wait: the accept loop then stops accepting, which is what
  // tells the peer to wait. Returns false after shutdown().
  bool enqueue(std::function<void()> job);
  // The same, but refuses (false) where the other blocks.
  bool try_enqueue(std::function<void()> job);
  // Lets running and waiting jobs finish and joins all threads.
  void shutdown();

  struct Stats {
    size_t threads = 0;
    size_t busy = 0;
    size_t waiting = 0;
    uint64_t held_back = 0;
  };
  Stats stats() const;

 private:
  static void* thread_main(void* self);
  void work();
  void add_thread();
  void take(std::function<void()> job);

  const size_t threads_max_;
  const size_t waiting_max_;
  mutable std::mutex mutex_;
  std::condition_variable work_or_stop_;
  std::condition_variable room_;
  std::deque<std::function<void()>> waiting_;  // at most waiting_max_, then enqueue() blocks
  std::vector<pthread_t> threads_;             // at most threads_max_
  size_t busy_ = 0;
  uint64_t held_back_ = 0;
  bool stop_ = false;
};

}  // namespace gema::http
