#include "common/bus/testing/broker_process.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "common/bus/topics.h"
#include "common/runtime/clock.h"
#include "tests/support/wait_until.h"

#ifndef GEMA_BROKER_BINARY
#error "set by CMake"
#endif

namespace gema::bus::testing {

using gema::testing::wait_until;

BrokerProcess::BrokerProcess(BrokerOptions options) : options_(std::move(options)) {
  const auto endpoint = [&](const char* name) {
    if (options_.tcp) return fmt::format("tcp://127.0.0.1:{}", gema::testing::free_port());
    return fmt::format("ipc://{}/run/bus-{}.sock", dir_.path().string(), name);
  };
  ingress_ = endpoint("ingress");
  inner_ = endpoint("inner");
  edge_ = endpoint("edge");
  std::vector<std::string> arguments;
  for (const std::string& client : options_.clients) {
    arguments.push_back("--client");
    arguments.push_back(client);
  }
  if (make_keys(arguments) != 0) throw std::runtime_error("make-keys failed");
  start();
}

gema::testing::ChildOptions BrokerProcess::child(
    const std::vector<std::string>& environment) const {
  gema::testing::ChildOptions child;
  child.command = {GEMA_BROKER_BINARY, "--data-dir", dir_.path().string()};
  child.log = dir_ / "broker.log";
  child.environment = options_.environment;
  // Under the address sanitizer freed memory would count as the broker's for long.
  child.environment.push_back(
      "ASAN_OPTIONS=quarantine_size_mb=1:thread_local_quarantine_size_kb=64:"
      "allocator_release_to_os_interval_ms=50");
  child.environment.push_back("GEMA_BUS__INGRESS=" + ingress_);
  child.environment.push_back("GEMA_BUS__INNER=" + inner_);
  child.environment.push_back("GEMA_BUS__EDGE=" + edge_);
  for (const std::string& entry : environment) child.environment.push_back(entry);
  return child;
}

void BrokerProcess::start() {
  process_ = gema::testing::ChildProcess(child({}));
  const bool ready = wait_until([&] {
    return !process_.running() ||
           http_get(dir_ / "run" / "broker.http.sock", "/readyz") == "ready\n";
  });
  if (!ready || !process_.running()) throw std::runtime_error("broker does not start: " + log());
}

std::pair<int, std::string> BrokerProcess::start_and_fail(
    const std::vector<std::string>& environment) {
  auto options = child(environment);
  options.log = dir_ / "failing.log";
  std::filesystem::remove(options.log);
  gema::testing::ChildProcess failing(options);
  const auto status = failing.wait();
  std::ifstream file(options.log);
  std::ostringstream text;
  text << file.rdbuf();
  return {status.value_or(-1), text.str()};
}

void BrokerProcess::kill9() {
  process_.signal(SIGKILL);
  process_.wait();
}

void BrokerProcess::reload() {
  process_.signal(SIGHUP);
}
void BrokerProcess::pause() {
  process_.signal(SIGSTOP);
}
void BrokerProcess::resume() {
  process_.signal(SIGCONT);
}

int BrokerProcess::make_keys(const std::vector<std::string>& arguments) {
  gema::testing::ChildOptions options;
  options.command = {GEMA_BROKER_BINARY, "--make-keys", dir_.path().string()};
  options.command.insert(options.command.end(), arguments.begin(), arguments.end());
  options.log = dir_ / "make-keys.log";
  return gema::testing::ChildProcess(options).wait().value_or(-1);
}

std::string BrokerProcess::log() const {
  std::ifstream file(dir_ / "broker.log");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double BrokerProcess::metric(const std::string& series) const {
  return metric(series, "");
}

double BrokerProcess::metric(const std::string& series, const std::string& label) const {
  std::istringstream lines(http_get(dir_ / "run" / "broker.http.sock", "/metrics"));
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool wanted = line.substr(0, series.size()) == series;
    if (wanted && line.find(label) != std::string::npos) sum += number_at_end(line);
  }
  return sum;
}

size_t BrokerProcess::resident_bytes() const {
  return resident_bytes_of(process_.pid());
}
double BrokerProcess::cpu_seconds() const {
  return cpu_seconds_of(process_.pid());
}

BusOptions BrokerProcess::client_options(const std::string& name) const {
  const bool prober = name.substr(0, 7) == "prober-";
  return {
      .ingress = ingress_, .egress = prober ? edge_ : inner_, .keys_dir = keys_dir(), .name = name};
}

Peer::Peer(BusOptions options) {
  auto client = BusClient::open(std::move(options));
  if (!client) throw std::runtime_error(client.error().message);
  client_ = std::move(*client);
}

void Peer::turn() {
  client_->tick(runtime::read_clock());
  Message message;
  while (client_->receive(message.topic, message.payload)) got.push_back(message);
}

bool Peer::connect() {
  return turn_until({this}, [&] { return client_->connected(); });
}

bool turn_until(const std::vector<Peer*>& peers, const std::function<bool()>& condition,
                std::chrono::milliseconds deadline) {
  return wait_until(
      [&] {
        for (Peer* peer : peers) peer->turn();
        return condition();
      },
      deadline);
}

bool wait_for_flow(Peer& from, Peer& to) {
  const std::string topic = heartbeat_topic(from.client().name());
  to.client().subscribe(topic);
  to.got.clear();
  const bool flows = turn_until({&from, &to}, [&] {
    from.client().publish(topic, "");
    return !to.got.empty();
  });
  to.client().unsubscribe(topic);
  turn_until({&from, &to}, [&] { return true; });
  to.got.clear();
  return flows;
}

std::string numbered(uint64_t number, size_t bytes) {
  std::string payload(std::max(bytes, sizeof number), 'x');
  std::memcpy(payload.data(), &number, sizeof number);
  return payload;
}

uint64_t number_of(std::string_view payload) {
  uint64_t number = 0;
  if (payload.size() >= sizeof number) std::memcpy(&number, payload.data(), sizeof number);
  return number;
}

std::string http_get(const std::filesystem::path& socket, const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  if (::connect(fd, generic, sizeof address) != 0) {
    ::close(fd);
    return "";
  }
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (::write(fd, request.data(), request.size()) < 0) {
    ::close(fd);
    return "";
  }
  std::string reply;
  char buffer[65536];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) {
    reply.append(buffer, static_cast<size_t>(n));
  }
  ::close(fd);
  const size_t body = reply.find("\r\n\r\n");
  return body == std::string::npos ? "" : reply.substr(body + 4);
}

double number_at_end(std::string_view text) {
  const size_t before = text.find_last_not_of("0123456789.e+-");
  const std::string_view digits = text.substr(before == std::string_view::npos ? 0 : before + 1);
  double number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

size_t resident_bytes_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/statm", pid));
  size_t total = 0;
  size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const size_t after_name = text.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(after_name + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace gema::bus::testing
