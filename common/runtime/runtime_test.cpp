#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <thread>

#include "common/runtime/clock.h"
#include "common/runtime/loop.h"
#include "common/runtime/worker.h"

namespace gema::runtime {
namespace {

TEST(Loop, TurnsAtOnceThenAtTheTimeTheTurnAskedFor) {
  Loop loop;
  std::vector<MonoTime> turns;
  MonoTime wanted{};
  loop.run([&](Now now) -> std::optional<MonoTime> {
    turns.push_back(now.mono);
    if (turns.size() == 1) {
      wanted = now.mono + 5ms;
      return wanted;
    }
    loop.stop();
    return std::nullopt;
  });
  ASSERT_EQ(turns.size(), 2U);
  EXPECT_GE(turns[1], wanted);
}

TEST(Loop, AWakeUpInThePastMeansAtOnce) {
  Loop loop;
  int turns = 0;
  loop.run([&](Now now) -> std::optional<MonoTime> {
    if (++turns == 1000) loop.stop();
    return now.mono - 1s;
  });
  EXPECT_GE(turns, 1000);
}

TEST(Loop, CallsTheHandlerOfAReadableDescriptorWhichMayRemoveItself) {
  Loop loop;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  int calls = 0;
  loop.add_fd(ends[0], [&](Now) {
    ++calls;
    loop.remove_fd(ends[0]);  // still readable, but nobody asks any more
    loop.stop();
  });
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  loop.run([](Now) { return std::nullopt; });
  EXPECT_EQ(calls, 1);
  close(ends[0]);
  close(ends[1]);
}

TEST(Loop, SaysWhatAWatchedDescriptorIsReadyFor) {
  Loop loop;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  std::vector<Readiness> seen;
  loop.watch_fd(ends[0], {.read = true, .write = true}, [&](Now, Readiness ready) {
    seen.push_back(ready);
    if (seen.size() == 1) {
      loop.change_fd(ends[0], {.read = true, .write = false});
      ASSERT_EQ(write(ends[1], "x", 1), 1);
    } else if (seen.size() == 2) {
      char byte = 0;
      ASSERT_EQ(read(ends[0], &byte, 1), 1);
      loop.change_fd(ends[0], {.read = false, .write = false});
      close(ends[1]);
    } else {
      loop.stop();  // a hang-up is told even if nothing is asked for
    }
  });
  loop.run([](Now) { return std::nullopt; });
  EXPECT_EQ(seen, (std::vector<Readiness>{{.read = false, .write = true},
                                          {.read = true, .write = false},
                                          {.read = true, .write = true}}));
  loop.remove_fd(ends[0]);
  close(ends[0]);
}

TEST(Loop, StopsOnSigtermAndNotesSighup) {
  Loop loop;
  raise(SIGHUP);  // blocked, so it waits for the loop
  bool reloaded = false;
  loop.run([&](Now) -> std::optional<MonoTime> {
    if (loop.take_reload()) {
      reloaded = true;
      raise(SIGTERM);
    }
    return std::nullopt;
  });
  EXPECT_TRUE(reloaded);
  EXPECT_FALSE(loop.take_reload());
}

TEST(Loop, GoesOnAfterASignalUntilItMayStopOrTheSecondOne) {
  for (const bool second : {false, true}) {
    Loop loop;
    int turns = 0;
    loop.set_may_stop([&](Now) { return !second && turns >= 5; });
    loop.run([&](Now) -> std::optional<MonoTime> {
      ++turns;
      if (turns == 1 || (second && turns == 3)) raise(SIGTERM);
      return MonoTime{};
    });
    EXPECT_EQ(turns, second ? 3 : 5);
  }
}

TEST(Loop, StopFromAnotherThreadWakesIt) {
  Loop loop;
  std::thread other([&] { loop.stop(); });
  loop.run([](Now) { return std::nullopt; });
  other.join();
}

TEST(Worker, RunsJobsInOrderAndWakesTheLoop) {
  Loop loop;
  Worker<int, int> worker("squares", 10, [](int x) { return x * x; });
  std::vector<int> done;
  loop.add_fd(worker.fd(), [&](Now) {
    for (const int d : worker.take_done()) done.push_back(d);
    if (done.size() == 3) loop.stop();
  });
  for (int i = 1; i <= 3; ++i) EXPECT_TRUE(worker.try_submit(i));
  loop.run([](Now) { return std::nullopt; });
  EXPECT_EQ(done, (std::vector<int>{1, 4, 9}));
  EXPECT_EQ(worker.queued(), 0U);
}

TEST(Worker, RefusesAtItsBoundCountingTheRunningJob) {
  std::mutex gate;
  gate.lock();
  Worker<int, int> worker("slow", 2, [&](int x) {
    const std::lock_guard wait(gate);
    return x;
  });
  EXPECT_TRUE(worker.try_submit(1));
  EXPECT_TRUE(worker.try_submit(2));
  EXPECT_FALSE(worker.try_submit(3));
  gate.unlock();
}

TEST(Worker, AnAbandonedJobHoldsNobodyUp) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable left;
    bool open = false;
    bool done = false;
  };
  const auto gate = std::make_shared<Gate>();
  {
    Worker<int, int> worker("hangs", 1, [gate](int x) {
      std::unique_lock lock(gate->mutex);
      gate->left.wait(lock, [&] { return gate->open; });
      gate->done = true;
      gate->left.notify_all();
      return x;
    });
    EXPECT_TRUE(worker.try_submit(1));
    worker.abandon();
  }
  // We are here although the job still waits; what it uses is still there.
  std::unique_lock lock(gate->mutex);
  gate->open = true;
  gate->left.notify_all();
  // The job may not have begun when it was abandoned; then it never does.
  gate->left.wait_for(lock, std::chrono::milliseconds(100), [&] { return gate->done; });
}

TEST(Clock, MonotonicTimeDoesNotGoBack) {
  const Now a = read_clock();
  const Now b = read_clock();
  EXPECT_LE(a.mono, b.mono);
  EXPECT_GT(unix_ms(a.wall), 1'700'000'000'000);
}

}  // namespace
}  // namespace gema::runtime
