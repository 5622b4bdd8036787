#include "common/runtime/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "common/base/assert.h"
#include "common/runtime/clock.h"

namespace gema::runtime {
namespace {

// Waits up to this long may oversleep a suspend by as much.
constexpr Duration kBrief = 900ms;

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

void watch(int epoll, int operation, int fd, Readiness wanted = {}) {
  epoll_event event{};
  event.events = (wanted.read ? EPOLLIN : 0U) | (wanted.write ? EPOLLOUT : 0U);
  event.data.fd = fd;
  GEMA_ASSERT(epoll_ctl(epoll, operation, fd, &event) == 0);
}

Readiness readiness(uint32_t events) {
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  return {.read = broken || (events & EPOLLIN) != 0, .write = broken || (events & EPOLLOUT) != 0};
}

template <class T>
bool read_one(int fd, T& value) {
  return ::read(fd, &value, sizeof value) == static_cast<ssize_t>(sizeof value);
}

}  // namespace

Loop::Loop() {
  const sigset_t set = handled_signals();
  // Blocked in this thread before others start, so that all inherit it and only the descriptor sees
  // the signals.
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  stop_event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  GEMA_ASSERT(epoll_ >= 0 && timer_ >= 0 && signals_ >= 0 && stop_event_ >= 0);
  watch(epoll_, EPOLL_CTL_ADD, timer_);
  watch(epoll_, EPOLL_CTL_ADD, signals_);
  watch(epoll_, EPOLL_CTL_ADD, stop_event_);
}

Loop::~Loop() {
  for (const int fd : {epoll_, timer_, signals_, stop_event_}) ::close(fd);
}

void Loop::add_fd(int fd, std::function<void(Now)> on_readable) {
  watch_fd(fd, {}, [call = std::move(on_readable)](Now now, Readiness) { call(now); });
}

void Loop::add_fd(int fd) {
  add_fd(fd, [](Now) {});
}

void Loop::watch_fd(int fd, Readiness wanted, std::function<void(Now, Readiness)> on_ready) {
  const bool added = handlers_.emplace(fd, std::move(on_ready)).second;
  GEMA_ASSERT(added);
  watch(epoll_, EPOLL_CTL_ADD, fd, wanted);
}

void Loop::change_fd(int fd, Readiness wanted) {
  GEMA_ASSERT(handlers_.contains(fd));
  watch(epoll_, EPOLL_CTL_MOD, fd, wanted);
}

void Loop::remove_fd(int fd) {
  if (handlers_.erase(fd) > 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void Loop::stop() {
  const uint64_t one = 1;
  // A full eventfd counter means that a stop is pending already.
  if (::write(stop_event_, &one, sizeof one) < 0) return;
}

bool Loop::take_reload() {
  return std::exchange(reload_, false);
}

void Loop::set_timer(MonoTime wakeup) {
  const auto at = wakeup.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  itimerspec spec{};
  spec.it_value.tv_sec = seconds.count();
  spec.it_value.tv_nsec = (at - seconds).count();
  timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

// One system call instead of the timer's three. It does not count suspended time, so it is for
// short waits only. has_pwait2_ is false afterwards where the kernel (before 5.11) or a container's
// filter refuses it.
int Loop::wait_briefly(std::span<epoll_event> events, Duration length) {
  const timespec timeout{0, length.count()};
  const int n =
      epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  if (n < 0 && (errno == ENOSYS || errno == EPERM)) has_pwait2_ = false;
  return n;
}

void Loop::wait(std::optional<MonoTime> wakeup, Now now) {
  int timeout_ms = -1;
  std::optional<Duration> brief;
  if (wakeup && *wakeup <= now.mono) {
    timeout_ms = 0;
  } else if (wakeup) {
    const Duration left = *wakeup - read_clock().mono;
    if (has_pwait2_ && left < kBrief) {
      brief = std::max(left, Duration::zero());
    } else {
      // epoll_wait counts whole milliseconds; the timer is exact and counts suspended time.
      set_timer(*wakeup);
    }
  }
  ready_.clear();
  std::array<epoll_event, 64> events;
  int n = brief ? wait_briefly(events, *brief) : -1;
  if (!brief || !has_pwait2_) {
    if (brief) set_timer(*wakeup);
    n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
  }
  for (int i = 0; i < n; ++i) {
    const int fd = events[static_cast<size_t>(i)].data.fd;
    uint64_t value = 0;
    signalfd_siginfo signal{};
    if (fd == timer_) {
      read_one(timer_, value);
    } else if (fd == stop_event_) {
      read_one(stop_event_, value);
      ++stops_;
    } else if (fd == signals_) {
      while (read_one(signals_, signal)) {
        if (signal.ssi_signo == SIGHUP) {
          reload_ = true;
        } else {
          ++stops_;
        }
      }
    } else {
      ready_.emplace_back(fd, readiness(events[static_cast<size_t>(i)].events));
    }
  }
}

bool Loop::stops(Now now) {
  return stops_ > 1 || (stops_ == 1 && (!may_stop_ || may_stop_(now)));
}

void Loop::run(const std::function<std::optional<MonoTime>(Now)>& turn) {
  std::optional<MonoTime> wakeup = MonoTime{};
  Now now = read_clock();
  while (!stops(now)) {
    wait(wakeup, now);
    now = read_clock();
    if (stops(now)) break;
    for (const auto& [fd, ready] : ready_) {
      const auto handler = handlers_.find(fd);
      if (handler == handlers_.end()) continue;  // removed by an earlier handler
      const auto call = handler->second;         // a copy: it may remove itself
      call(now, ready);
    }
    wakeup = turn(now);
  }
}

}  // namespace gema::runtime
