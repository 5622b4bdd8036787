// A program started by a test. Dies with the test, however the test ends.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace gema::testing {

struct ChildOptions {
  std::vector<std::string> command;      // program (looked up in PATH) and arguments
  std::filesystem::path log;             // stdout and stderr go here, appended
  std::vector<std::string> environment;  // NAME=value, added to the test's own
  std::optional<uid_t> run_as;           // with the group of the same number; needs root
  int death_signal = 9;                  // what it gets when the test dies
};

class ChildProcess {
 public:
  ChildProcess() = default;
  explicit ChildProcess(const ChildOptions& options);  // throws std::runtime_error
  ~ChildProcess();                                     // SIGKILL, if it still runs
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;

  pid_t pid() const { return pid_; }  // 0 = none
  bool running();                     // reaps it when it has ended
  void signal(int number) const;

  // Returns: the exit status (128 + signal when one ended it), nullopt when it still runs after
  // `deadline`.
  std::optional<int> wait(std::chrono::milliseconds deadline = std::chrono::seconds(10));

  // The process and every descendant at once, as a power cut would.
  void kill_tree();

 private:
  pid_t pid_ = 0;
  std::optional<int> status_;
};

// False also for a zombie that nobody has reaped yet.
bool alive(pid_t pid);

// An identity that may run what refuses root (initdb, postgres): nobody's when the test is root,
// else nullopt: just run it.
std::optional<uid_t> unprivileged_uid();

// Runs a command to its end. Throws std::runtime_error with its output when it fails.
void run_or_throw(const ChildOptions& options);

// A TCP port of 127.0.0.1 that nobody listens on just now.
int free_port();

}  // namespace gema::testing
