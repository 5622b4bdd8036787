#include "tests/support/child_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "tests/support/wait_until.h"

namespace gema::testing {
namespace {

constexpr uid_t kNobody = 65534;

// In the child, between fork and exec. Only async-signal-safe calls: the test may have threads.
[[noreturn]] void become(const ChildOptions& options, int log_fd, char** arguments, char** env,
                         pid_t parent) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setpgid(0, 0);  // a Ctrl-C is for the test, which then ends us in its own order
  if (log_fd >= 0) {
    dup2(log_fd, 1);
    dup2(log_fd, 2);
  }
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd >= 0) dup2(null_fd, 0);
  if (options.run_as) {
    if (setgroups(0, nullptr) != 0 || setgid(*options.run_as) != 0 || setuid(*options.run_as) != 0)
      _exit(126);
  }
  prctl(PR_SET_PDEATHSIG, options.death_signal);
  if (getppid() != parent) _exit(125);
  execvpe(arguments[0], arguments, env);
  _exit(127);
}

struct ProcessState {
  char state = 0;  // 0 = there is none
  pid_t parent = 0;
};

ProcessState state_of(const std::string& pid) {
  std::ifstream stat("/proc/" + pid + "/stat");
  std::string line;
  std::getline(stat, line);
  ProcessState out;
  const size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return out;
  std::istringstream(line.substr(after_name + 1)) >> out.state >> out.parent;
  return out;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto [state, ppid] = state_of(name);
    if (state != 0 && ppid == parent) out.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return out;
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  std::vector<char*> arguments;
  for (const auto& word : options.command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> env;
  for (char** entry = environ; *entry != nullptr; ++entry) env.push_back(*entry);
  for (const auto& entry : options.environment) env.push_back(const_cast<char*>(entry.c_str()));
  env.push_back(nullptr);

  int log_fd = -1;
  if (!options.log.empty()) {
    log_fd = open(options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) throw std::runtime_error("cannot write " + options.log.string());
  }
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become(options, log_fd, arguments.data(), env.data(), parent);
  if (log_fd >= 0) close(log_fd);
  if (pid_ < 0) {
    pid_ = 0;
    throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  }
}

ChildProcess::~ChildProcess() {
  if (running()) {
    signal(SIGKILL);
    wait();
  }
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), status_(std::exchange(other.status_, std::nullopt)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(status_, other.status_);
  return *this;
}

bool ChildProcess::running() {
  if (pid_ == 0 || status_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

void ChildProcess::signal(int number) const {
  if (pid_ != 0 && !status_) kill(pid_, number);
}

std::optional<int> ChildProcess::wait(std::chrono::milliseconds deadline) {
  wait_until([this] { return !running(); }, deadline);
  return status_;
}

void ChildProcess::kill_tree() {
  if (!running()) return;
  std::vector<pid_t> all{pid_};
  signal(SIGSTOP);  // no new children while we look
  for (size_t i = 0; i < all.size(); ++i)
    for (const pid_t child : children_of(all[i])) all.push_back(child);
  for (const pid_t one : all) kill(one, SIGKILL);
  wait();
  for (const pid_t one : all) wait_until([one] { return !alive(one); }, std::chrono::seconds(5));
}

bool alive(pid_t pid) {
  const char state = state_of(std::to_string(pid)).state;
  return state != 0 && state != 'Z' && state != 'X';
}

std::optional<uid_t> unprivileged_uid() {
  if (geteuid() != 0) return std::nullopt;
  return kNobody;
}

void run_or_throw(const ChildOptions& options) {
  ChildProcess child(options);
  const auto status = child.wait(std::chrono::seconds(60));
  if (status == 0) return;
  std::ifstream log(options.log);
  std::stringstream text;
  text << options.command.at(0) << " failed with " << status.value_or(-1) << ":\n" << log.rdbuf();
  throw std::runtime_error(text.str());
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const bool ok =
      fd >= 0 && bind(fd, generic, length) == 0 && getsockname(fd, generic, &length) == 0;
  if (fd >= 0) close(fd);
  if (!ok) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

}  // namespace gema::testing
