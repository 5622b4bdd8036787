// A real gema-broker of a test's own, with keys, on free ports or Unix sockets in a temporary
// directory; and clients of it that collect what they receive.
//
// The test's CMake target needs: LINK gema_bus_testing, add_dependencies(<test> gema-broker).
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/bus/client.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace gema::bus::testing {

struct BrokerOptions {
  bool tcp = false;  // else ipc
  std::vector<std::string> clients = {"prober-1", "recorder",  "timeout-tracker",
                                      "gateway",  "inventory", "cli"};
  std::vector<std::string> environment;  // GEMA_BROKER__...=value
};

class BrokerProcess {
 public:
  explicit BrokerProcess(BrokerOptions options = {});  // started; throws std::runtime_error

  void start();  // returns when it is ready
  // Starts it where it is expected to refuse; returns its exit code and what it said.
  std::pair<int, std::string> start_and_fail(const std::vector<std::string>& environment);
  void kill9();
  void reload();  // SIGHUP
  void pause();   // SIGSTOP
  void resume();
  int make_keys(const std::vector<std::string>& arguments);  // returns the exit code

  bool running() { return process_.running(); }
  std::filesystem::path dir() const { return dir_.path(); }
  std::filesystem::path keys_dir() const { return dir_ / "keys"; }
  const std::string& ingress() const { return ingress_; }
  const std::string& inner() const { return inner_; }
  const std::string& edge() const { return edge_; }
  std::string log() const;

  // The sum of all samples whose line begins with `series`, e.g.
  // "gema_broker_refused_total{reason=\"multipart\"}". 0 when there is none.
  double metric(const std::string& series) const;
  // Of lines that also contain `label`.
  double metric(const std::string& series, const std::string& label) const;
  size_t resident_bytes() const;
  double cpu_seconds() const;

  // `role_endpoint`: inner() or edge(); by default that of the name (probers: edge).
  BusOptions client_options(const std::string& name) const;

 private:
  gema::testing::ChildOptions child(const std::vector<std::string>& environment) const;

  BrokerOptions options_;
  gema::testing::TempDir dir_;
  std::string ingress_;
  std::string inner_;
  std::string edge_;
  gema::testing::ChildProcess process_;
};

struct Message {
  std::string topic;
  std::string payload;
};

// A BusClient whose turns are run by the test.
class Peer {
 public:
  explicit Peer(BusOptions options);  // throws std::runtime_error
  Peer(const BrokerProcess& broker, const std::string& name) : Peer(broker.client_options(name)) {}

  BusClient& client() { return *client_; }
  void turn();     // tick, and receive everything
  bool connect();  // turns until connected; false after 10 s

  std::vector<Message> got;

 private:
  std::unique_ptr<BusClient> client_;
};

// Turns all peers until `condition`, or 10 s.
bool turn_until(const std::vector<Peer*>& peers, const std::function<bool()>& condition,
                std::chrono::milliseconds deadline = std::chrono::seconds(10));

// Both directions work: `to` has received what `from` published on its heartbeat. Connected is not
// yet that: the subscription travels after the handshake.
bool wait_for_flow(Peer& from, Peer& to);

// Payloads with a number in front, so that losses can be seen.
std::string numbered(uint64_t number, size_t bytes);
uint64_t number_of(std::string_view payload);

// One GET over a Unix socket; the body.
std::string http_get(const std::filesystem::path& socket, const std::string& path);

// The number at the end of `text`; 0 when there is none. "tcp://127.0.0.1:5555" -> 5555.
double number_at_end(std::string_view text);

size_t resident_bytes_of(pid_t pid);
double cpu_seconds_of(pid_t pid);

}  // namespace gema::bus::testing
