// The loop every process runs: sleep until the earliest wake-up or input, read the clock once, let
// the input handlers run, then one turn of the service. Single-threaded: handlers and turn run on
// the thread that called run(). Only stop() may be called from elsewhere.
#pragma once

#include <sys/epoll.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "common/base/time.h"

namespace gema::runtime {

// What a descriptor is watched for, and what it is ready for. An error or a hang-up is both.
struct Readiness {
  bool read = true;
  bool write = false;

  friend bool operator==(const Readiness&, const Readiness&) = default;
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Calls on_readable(now) in every turn in which `fd` is readable (level-triggered). A handler may
  // add and remove descriptors, its own too. Requires: fd is not added yet.
  void add_fd(int fd, std::function<void(Now)> on_readable);
  // The same, woken up without a handler: turn() does the work (ZeroMQ's descriptors are
  // edge-triggered, so their shells drain in every turn anyway).
  void add_fd(int fd);
  // The same for a descriptor that wants to write, too. A call may come although nothing is ready
  // any more: an earlier handler of the turn may have closed the descriptor and got its number
  // again.
  void watch_fd(int fd, Readiness wanted, std::function<void(Now, Readiness)> on_ready);
  // Requires: fd is watched.
  void change_fd(int fd, Readiness wanted);
  void remove_fd(int fd);

  // Turns until stop(), SIGTERM or SIGINT. `turn` returns when it wants to run again: a time in the
  // past means at once, nullopt only on input. After SIGHUP, take_reload() is true once.
  void run(const std::function<std::optional<MonoTime>(Now)>& turn);

  // Asked once a turn after SIGTERM, SIGINT or stop(): false lets the loop go on. The second signal
  // or stop() ends it in any case.
  void set_may_stop(std::function<bool(Now)> may_stop) { may_stop_ = std::move(may_stop); }

  // Thread-safe, and safe before run().
  void stop();

  bool take_reload();

 private:
  void wait(std::optional<MonoTime> wakeup, Now now);
  bool stops(Now now);
  void set_timer(MonoTime wakeup);
  int wait_briefly(std::span<epoll_event> events, Duration length);

  int epoll_ = -1;
  int timer_ = -1;
  int signals_ = -1;
  int stop_event_ = -1;
  int stops_ = 0;  // times that somebody wanted it
  std::function<bool(Now)> may_stop_;
  bool reload_ = false;
  bool has_pwait2_ = true;
  std::map<int, std::function<void(Now, Readiness)>> handlers_;
  std::vector<std::pair<int, Readiness>> ready_;
};

}  // namespace gema::runtime
