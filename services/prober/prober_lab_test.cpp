// The prober as a process, in a network of its own (tests/lab): what stands in its spool afterwards
// must be exactly right. Runs itself again inside a lab; where none can be made it is skipped.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/topics.h"
#include "common/codec/device_codec.h"
#include "common/codec/ping_codec.h"
#include "common/runtime/clock.h"
#include "common/stream/producer.h"
#include "services/prober/io/address_text.h"
#include "services/prober/io/dns_server_for_test.h"
#include "services/prober/io/icmp_sockets.h"
#include "services/prober/io/state_files.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::prober {
namespace {

using gema::testing::ChildProcess;
using gema::testing::TempDir;
using gema::testing::wait_until;
using namespace std::chrono_literals;

std::filesystem::path bin_dir() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

std::string v4(uint32_t n) {  // 198.18.0.1 and on
  const uint32_t a = 0xc6120000 + n;
  return std::to_string(a >> 24) + "." + std::to_string(a >> 16 & 255) + "." +
         std::to_string(a >> 8 & 255) + "." + std::to_string(a & 255);
}
std::string v6(uint32_t n) {
  std::ostringstream text;
  text << "2001:db8:2::" << std::hex << 0x1000 + n;
  return text.str();
}

void lab(const std::string& verb, const std::vector<std::string>& targets) {
  std::vector<std::string> command{GEMA_LAB_TOOL, verb};
  command.insert(command.end(), targets.begin(), targets.end());
  testing::run_or_throw({.command = command});
}

struct Row {
  int64_t due_ms;
  uint32_t interval_ms;
  Verdict verdict;
  Reason reason;
  std::vector<EchoOutcome> echoes;
  std::vector<uint32_t> rtt_us;
  std::vector<EchoNote> notes;
  std::string note;  // of the record
};
using Rows = std::map<DeviceId, std::vector<Row>>;

// One data directory with a prober in it.
class Site {
 public:
  Site() {
    for (const char* name : {"run", "state/prober-1", "spool/prober-1"}) {
      std::filesystem::create_directories(dir_ / name);
    }
    testing::run_or_throw(
        {.command = {(bin_dir() / "gema-broker").string(), "--make-keys", dir_.path().string(),
                     "--client", "prober-1", "--client", "inventory"}});
  }

  AssignedDevice& add(DeviceId id, std::string address) {
    assignment_.devices.push_back(
        {.id = id, .address = std::move(address), .interval_ms = 1000, .timeout_ms = 500});
    return assignment_.devices.back();
  }

  // As if inventory had assigned it to an earlier run.
  void keep_assignment() {
    assignment_.version = {1, 1};
    assignment_.prober = "prober-1";
    assignment_.location = "default";
    KeptAssignment kept{.assignment = assignment_};
    kept.since_ms.assign(assignment_.devices.size(), unix_ms(runtime::read_clock().wall));
    ASSERT_TRUE(write_assignment(dir_ / "state/prober-1/assignment.pb", kept));
  }

  void start(std::vector<std::string> before = {}) {
    std::vector<std::string> command = std::move(before);
    for (const std::string& word :
         {(bin_dir() / "gema-prober").string(), std::string("--data-dir"), dir_.path().string(),
          std::string("--instance"), std::string("prober-1")}) {
      command.push_back(word);
    }
    prober = ChildProcess({.command = command, .log = dir_ / "log"});
  }
  std::string log() const {
    std::ifstream file(dir_ / "log");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  bool wait_probing(int times = 1) {
    return wait_until([&] {
      const std::string text = log();
      int n = 0;
      for (size_t at = 0; (at = text.find(" probing sockets=", at)) != std::string::npos; ++at) ++n;
      return n >= times;
    });
  }
  void stop() {
    prober.signal(SIGTERM);
    EXPECT_EQ(prober.wait(), 0) << log();
  }
  void kill9() {
    prober.signal(SIGKILL);
    prober.wait();
  }

  // Everything in the spool, checked for what holds always: a slot once, in order, without a hole.
  // Requires: the prober has ended.
  Rows rows() {
    Rows rows;
    const Now now = runtime::read_clock();
    auto producer = stream::Producer::open({.dir = dir_ / "spool/prober-1",
                                            .stream = "ping",
                                            .name = "prober-1",
                                            .groups = {"recorder", "timeout-tracker"}},
                                           now);
    EXPECT_TRUE(producer) << producer.error().message;
    PingResults r;
    const auto read = (*producer)->read_after({}, [&](const stream::Spooled& record) {
      EXPECT_TRUE(decode_ping(record.payload, r));
      changes.insert(changes.end(), r.address_changes.begin(), r.address_changes.end());
      for (size_t i = 0; i < r.size(); ++i) {
        EXPECT_EQ(record.key.partition, partition_of(r.device[i]));
        EXPECT_TRUE(is_slot(r.device[i], r.interval_ms[i], r.due_ms[i]));
        Row row{r.due_ms[i], r.interval_ms[i], r.verdict[i], r.reason[i], {}, {}, {}, r.note};
        for (const EchoNote& n : r.notes) {
          if (n.index == i) row.notes.push_back(n);
        }
        for (uint32_t e = r.echo_begin[i]; e < r.echo_begin[i + 1]; ++e) {
          row.echoes.push_back(r.echo_outcome[e]);
          row.rtt_us.push_back(r.echo_rtt_us[e]);
        }
        auto& of_device = rows[r.device[i]];
        if (!of_device.empty()) {
          EXPECT_EQ(row.due_ms - of_device.back().due_ms, row.interval_ms)
              << "device " << r.device[i] << ": slot twice, missing or out of order";
        }
        of_device.push_back(std::move(row));
      }
      return true;
    });
    EXPECT_TRUE(read);
    return rows;
  }

  const TempDir& dir() const { return dir_; }
  Assignment& assignment() { return assignment_; }
  ChildProcess prober;
  std::vector<AddressChange> changes;  // by rows()

 private:
  TempDir dir_;
  Assignment assignment_;
};

void pass(Duration length) {  // lets a real network run; nothing is asserted about its length
  const MonoTime until = runtime::read_clock().mono + length;
  wait_until([&] { return runtime::read_clock().mono >= until; }, 60s);
}

size_t count(const std::vector<Row>& rows, Verdict verdict) {
  return static_cast<size_t>(
      std::count_if(rows.begin(), rows.end(), [&](const Row& r) { return r.verdict == verdict; }));
}

TEST(ProberInTheLab, TellsAnsweringSilentAndUnreachableDevicesApartExactly) {
  Site site;
  std::set<DeviceId> silent, unreachable;
  std::vector<std::string> silent_addresses, unreachable_addresses;
  for (DeviceId id = 1; id <= 1200; ++id) {
    const auto n = static_cast<uint32_t>(id);
    const std::string address = id <= 1000 ? v4(n) : v6(n);
    site.add(id, address);
    if (id % 20 == 0) {
      silent.insert(id);
      silent_addresses.push_back(address);
    } else if (id % 50 == 1) {
      unreachable.insert(id);
      unreachable_addresses.push_back(address);
    }
  }
  lab("silence", silent_addresses);
  lab("unreachable", unreachable_addresses);
  site.keep_assignment();
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(8s);
  site.stop();
  lab("answer", silent_addresses);
  const Rows rows = site.rows();
  ASSERT_EQ(rows.size(), 1200U);
  for (const auto& [id, of_device] : rows) {
    SCOPED_TRACE(::testing::Message() << "device " << id);
    EXPECT_GE(of_device.size(), 5U);
    for (const Row& row : of_device) {
      if (row.reason == Reason::kNotRunning) continue;  // between keep_assignment() and start
      ASSERT_EQ(row.echoes.size(), 1U) << to_string(row.reason);
      if (silent.contains(id)) {
        EXPECT_EQ(row.verdict, Verdict::kFailed);
        EXPECT_EQ(row.reason, Reason::kTimeout);
      } else if (unreachable.contains(id)) {
        EXPECT_EQ(row.verdict, Verdict::kFailed);
        EXPECT_EQ(row.reason, Reason::kUnreachable);
        EXPECT_EQ(row.echoes[0], EchoOutcome::kHostUnreachable);
        ASSERT_GE(row.notes.size(), 1U);
        const bool six = id > 1000;
        EXPECT_EQ(row.notes[0].icmp_type, six ? 1 : 3);
        EXPECT_EQ(row.notes[0].icmp_code, six ? 3 : 1);
        EXPECT_EQ(row.notes[0].from.family, six ? 6 : 4);
      } else {
        EXPECT_EQ(row.verdict, Verdict::kAnswered);
        EXPECT_EQ(row.reason, Reason::kNone);
        EXPECT_GT(row.rtt_us[0], 0U);
      }
    }
  }
}

TEST(ProberInTheLab, AStopOfFiveSecondsMakesNoFalseTimeout) {
  Site site;
  for (DeviceId id = 1; id <= 1000; ++id) site.add(id, v4(2000 + static_cast<uint32_t>(id)));
  site.keep_assignment();
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(2s);
  site.prober.signal(SIGSTOP);
  pass(5s);
  site.prober.signal(SIGCONT);
  pass(3s);
  site.stop();
  size_t late = 0;
  for (const auto& [id, of_device] : site.rows()) {
    EXPECT_EQ(count(of_device, Verdict::kFailed), 0U) << id;
    for (const Row& row : of_device) late += row.reason == Reason::kLate ? 1 : 0;
  }
  EXPECT_GE(late, 4000U);
  EXPECT_NE(site.log().find("did not run"), std::string::npos);
}

// This thread only.
void enter_far() {
  const std::string far = std::string("/run/netns/") + std::getenv("GEMA_LAB") + "-far";
  const int ns = ::open(far.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::setns(ns, CLONE_NEWNET), 0);
  ::close(ns);
}

// A web server in the far namespace that finds everything.
class WebServer {
 public:
  explicit WebServer(uint16_t port) : port_(port), thread_([this] { run(); }) {
    wait_until([this] { return ready_.load(); });
  }
  ~WebServer() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run() {
    enter_far();
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port_);
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    ASSERT_EQ(::listen(listener, 100), 0);
    ready_ = true;
    while (!stop_) {
      pollfd ready{listener, POLLIN, 0};
      if (::poll(&ready, 1, 50) <= 0) continue;
      const int peer = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      char request[1024];
      static_cast<void>(::recv(peer, request, sizeof request, 0));
      const std::string answer =
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      static_cast<void>(::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL));
      ::close(peer);
    }
    ::close(listener);
  }

  const uint16_t port_;
  std::atomic<bool> stop_ = false, ready_ = false;
  std::thread thread_;
};

std::vector<std::string> with_canary(const std::string& address) {
  return {"env", "GEMA_PROBER__CANARIES=" + address};
}

TEST(ProberInTheLab, AStopOfAMinuteMakesNoFalseTimeoutWithCanariesBurstsAndProofs) {
  const WebServer web(8081);
  Site site;
  std::vector<std::string> silent;
  for (DeviceId id = 1; id <= 500; ++id) {
    AssignedDevice& device = site.add(id, v4(9000 + static_cast<uint32_t>(id)));
    device.echo_count = id % 5 == 0 ? 5 : 1;
    if (id % 10 != 0) continue;
    device.proof.web_url = "http://" + v4(9999) + ":8081/";  // they live by their web pages
    silent.push_back(device.address);
  }
  lab("silence", silent);
  site.keep_assignment();
  site.start(with_canary("192.0.2.2"));
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(4s);
  site.prober.signal(SIGSTOP);
  pass(60s);
  site.prober.signal(SIGCONT);
  pass(4s);
  for (int i = 0; i < 3; ++i) {
    site.prober.signal(SIGSTOP);
    pass(2s);
    site.prober.signal(SIGCONT);
    pass(700ms);
  }
  pass(2s);
  site.stop();
  lab("answer", silent);
  size_t late = 0, alive = 0;
  for (const auto& [id, of_device] : site.rows()) {
    EXPECT_EQ(count(of_device, Verdict::kFailed), 0U) << id;
    for (const Row& row : of_device) {
      late += row.reason == Reason::kLate ? 1 : 0;
      alive += row.reason == Reason::kWebAlive ? 1 : 0;
    }
  }
  EXPECT_GE(late, 500U * 60);
  EXPECT_GE(alive, 50U * 5) << site.log();
}

TEST(ProberInTheLab, ACutWireBlamesNoDeviceAndADeviceThatIsDownIsBlamed) {
  for (const bool cut : {true, false}) {
    SCOPED_TRACE(cut ? "everything falls silent" : "only devices fall silent");
    Site site;
    std::vector<std::string> silent;
    for (DeviceId id = 1; id <= 50; ++id) {
      silent.push_back(v4(11'000 + static_cast<uint32_t>(id)));
      site.add(id, silent.back());
    }
    const std::string canary = v4(11'100);
    if (cut) silent.push_back(canary);
    site.keep_assignment();
    site.start(with_canary(canary));
    ASSERT_TRUE(site.wait_probing()) << site.log();
    pass(3s);
    lab("silence", silent);
    pass(6s);
    lab("answer", silent);
    pass(4s);
    site.stop();
    size_t failed = 0, suspect = 0;
    for (const auto& [id, of_device] : site.rows()) {
      failed += count(of_device, Verdict::kFailed);
      for (const Row& row : of_device) suspect += row.reason == Reason::kProberSuspect ? 1 : 0;
      EXPECT_EQ(of_device.back().verdict, Verdict::kAnswered);
    }
    EXPECT_EQ(failed == 0, cut) << failed;
    EXPECT_EQ(suspect == 0, !cut) << suspect;
    const bool said = site.log().find("suspects itself") != std::string::npos;
    EXPECT_EQ(said, cut) << site.log();
    EXPECT_EQ(site.log().find("trusts itself again") != std::string::npos, cut);
  }
}

TEST(ProberInTheLab, APauseThatWasKeptHoldsAfterAStart) {
  Site site;
  for (DeviceId id = 1; id <= 10; ++id) site.add(id, v4(12'000 + static_cast<uint32_t>(id)));
  site.assignment().paused_by = "ani";
  site.keep_assignment();
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(4s);
  site.stop();
  for (const auto& [id, of_device] : site.rows()) {
    EXPECT_EQ(count(of_device, Verdict::kNotMeasured), of_device.size());
    EXPECT_EQ(of_device.back().reason, Reason::kPaused);
    EXPECT_EQ(of_device.back().note, "ani");
  }
}

// Answers echo requests in the far namespace after a delay, in place of a kernel that was silenced.
class SlowResponder {
 public:
  explicit SlowResponder(Duration delay) : delay_(delay), thread_([this] { run(); }) {}
  ~SlowResponder() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run() {
    enter_far();
    const int in = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    const int out = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    ASSERT_TRUE(in >= 0 && out >= 0);
    std::deque<std::pair<MonoTime, std::vector<uint8_t>>> waiting;
    while (!stop_) {
      pollfd ready{in, POLLIN, 0};
      ::poll(&ready, 1, 5);
      const MonoTime now = runtime::read_clock().mono;
      std::vector<uint8_t> packet(128);
      const ssize_t n = ::recv(in, packet.data(), packet.size(), MSG_DONTWAIT);
      if (n >= 28 && packet[0] == 0x45 && packet[9] == IPPROTO_ICMP && packet[20] == 8) {
        packet.resize(static_cast<size_t>(n));
        waiting.emplace_back(now + delay_, std::move(packet));
      }
      while (!waiting.empty() && waiting.front().first <= now) {
        answer(out, waiting.front().second);
        waiting.pop_front();
      }
    }
    ::close(in);
    ::close(out);
  }
  static void answer(int out, std::vector<uint8_t>& packet) {
    std::swap_ranges(packet.begin() + 12, packet.begin() + 16, packet.begin() + 16);
    packet[20] = 0;
    packet[22] = packet[23] = 0;
    const uint16_t sum = internet_checksum(std::span(packet).subspan(20));
    packet[22] = static_cast<uint8_t>(sum >> 8);
    packet[23] = static_cast<uint8_t>(sum);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, &packet[16], 4);
    ::sendto(out, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  }

  const Duration delay_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST(ProberInTheLab, RepliesThatArriveWhileItIsStoppedAreRepliesWithTheirTrueTime) {
  Site site;
  std::vector<std::string> slow;
  for (DeviceId id = 1; id <= 250; ++id) {
    slow.push_back(v4(8000 + static_cast<uint32_t>(id)));
    site.add(id, slow.back());  // 500 ms timeout
  }
  lab("silence", slow);
  site.keep_assignment();
  {
    const SlowResponder responder(250ms);
    site.start();
    ASSERT_TRUE(site.wait_probing()) << site.log();
    for (int i = 0; i < 3; ++i) {
      pass(1500ms);
      site.prober.signal(SIGSTOP);  // with some 60 answers under way
      pass(2s);
      site.prober.signal(SIGCONT);
    }
    pass(1500ms);
    site.stop();
  }
  lab("answer", slow);
  for (const auto& [id, of_device] : site.rows()) {
    for (const Row& row : of_device) {
      EXPECT_NE(row.verdict, Verdict::kFailed) << id;
      if (row.verdict != Verdict::kAnswered) continue;
      EXPECT_EQ(row.reason, Reason::kNone) << "by a burst: a false timeout";
      EXPECT_GE(row.rtt_us[0], 250'000U);
      EXPECT_LE(row.rtt_us[0], 500'000U);  // its timeout
    }
  }
}

TEST(ProberInTheLab, AfterKillNineEverySlotIsThereOnceOrNotMeasuredBecauseItDidNotRun) {
  Site site;
  std::vector<std::string> silent;
  for (DeviceId id = 1; id <= 500; ++id) {
    const std::string address = v4(4000 + static_cast<uint32_t>(id));
    site.add(id, address);
    if (id % 10 == 0) silent.push_back(address);
  }
  lab("silence", silent);
  site.keep_assignment();
  int starts = 0;
  for (const Duration run : {3200ms, 300ms, 2500ms}) {
    site.start();
    ASSERT_TRUE(site.wait_probing(++starts)) << site.log();
    pass(run);
    site.kill9();
    pass(1500ms);
  }
  site.start();
  ASSERT_TRUE(site.wait_probing(++starts)) << site.log();
  pass(4s);
  site.stop();
  lab("answer", silent);
  const Rows rows = site.rows();  // checks that no slot is missing or there twice
  ASSERT_EQ(rows.size(), 500U);
  for (const auto& [id, of_device] : rows) {
    size_t not_running = 0;
    for (const Row& row : of_device) {
      if (row.verdict != Verdict::kNotMeasured) continue;
      EXPECT_EQ(row.reason, Reason::kNotRunning);
      ++not_running;
    }
    EXPECT_GE(not_running, 3U) << id;
    EXPECT_EQ(count(of_device, id % 10 == 0 ? Verdict::kAnswered : Verdict::kFailed), 0U) << id;
  }
}

TEST(ProberInTheLab, ACleanStopLeavesNoHoleEither) {
  Site site;
  for (DeviceId id = 1; id <= 100; ++id) site.add(id, v4(5000 + static_cast<uint32_t>(id)));
  site.keep_assignment();
  for (int starts = 1; starts <= 3; ++starts) {
    site.start();
    ASSERT_TRUE(site.wait_probing(starts)) << site.log();
    pass(1300ms);
    site.stop();
    pass(700ms);
  }
  EXPECT_EQ(site.rows().size(), 100U);
}

TEST(ProberInTheLab, TakesAnAssignmentFromTheBusAndKeepsItForTheNextStart) {
  Site site;
  ChildProcess broker(
      {.command = {(bin_dir() / "gema-broker").string(), "--data-dir", site.dir().path().string()},
       .log = site.dir() / "broker.log"});
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  const std::string run = (site.dir() / "run").string();
  auto bus = bus::BusClient::open({.ingress = "ipc://" + run + "/bus-ingress.sock",
                                   .egress = "ipc://" + run + "/bus-inner.sock",
                                   .keys_dir = site.dir() / "keys",
                                   .name = "inventory"});
  ASSERT_TRUE(bus) << bus.error().message;
  auto publish = [&](Version version, uint32_t first, uint32_t n) {
    Assignment a{.version = version, .prober = "prober-1", .location = "default"};
    for (uint32_t i = 0; i < n; ++i) {
      a.devices.push_back({.id = first + i,
                           .address = v4(6000 + first + i),
                           .interval_ms = 500,
                           .timeout_ms = 300});
    }
    return split_snapshot(encode_assignment(a), version);
  };
  auto in_force = [&](const std::string& number) {
    return site.log().find("number=" + number) != std::string::npos;
  };
  auto send_until = [&](const std::vector<std::string>& parts, const std::string& number) {
    return wait_until([&] {
      (*bus)->tick(runtime::read_clock());
      std::string topic, payload;
      while ((*bus)->receive(topic, payload)) {
      }
      for (const std::string& part : parts) {
        (*bus)->publish(bus::assign_topic("prober-1"), part);
      }
      return in_force(number);
    });
  };
  ASSERT_TRUE(send_until(publish({3, 7}, 1, 50), "7")) << site.log();
  pass(1500ms);
  // Fewer and other devices; then an older version, which must change nothing.
  ASSERT_TRUE(send_until(publish({3, 8}, 26, 50), "8")) << site.log();
  for (const std::string& part : publish({3, 6}, 200, 5)) {
    (*bus)->publish(bus::assign_topic("prober-1"), part);
  }
  pass(1500ms);
  EXPECT_FALSE(in_force("6"));
  site.kill9();
  site.start();  // with what it kept
  ASSERT_TRUE(site.wait_probing(2)) << site.log();
  pass(1s);
  site.stop();
  const Rows rows = site.rows();
  EXPECT_EQ(rows.size(), 75U);
  int64_t last_of_left = 0, last_of_kept = 0;
  for (const auto& [id, of_device] : rows) {
    EXPECT_EQ(count(of_device, Verdict::kFailed), 0U) << id;
    int64_t& last = id <= 25 ? last_of_left : last_of_kept;
    last = std::max(last, of_device.back().due_ms);
  }
  EXPECT_LT(last_of_left, last_of_kept);
}

TEST(ProberInTheLab, RunsWithoutRootWhenGivenRawSocketsOrPingSockets) {
  const uid_t nobody = 65534;
  for (const bool raw : {true, false}) {
    SCOPED_TRACE(raw ? "raw" : "datagram");
    std::ofstream("/proc/sys/net/ipv4/ping_group_range") << (raw ? "1 0" : "0 2147483647");
    Site site;
    std::vector<std::string> silent{v4(7002)}, unreachable{v4(7003), v6(7004)};
    lab("silence", silent);
    lab("unreachable", unreachable);
    site.add(1, v4(7001));
    site.add(2, v4(7002));
    site.add(3, v4(7003));
    site.add(4, v6(7004));
    site.add(5, v6(7005));
    site.keep_assignment();
    for (const auto& entry : std::filesystem::recursive_directory_iterator(site.dir().path())) {
      ASSERT_EQ(lchown(entry.path().c_str(), nobody, nobody), 0);
    }
    ASSERT_EQ(lchown(site.dir().path().c_str(), nobody, nobody), 0);
    std::vector<std::string> as_nobody{"setpriv",        "--reuid=65534",   "--regid=65534",
                                       "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"};
    if (raw) {
      as_nobody = {"setpriv",        "--reuid=65534",       "--regid=65534",
                   "--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"};
    }
    site.start(as_nobody);
    ASSERT_TRUE(site.wait_probing()) << site.log();
    EXPECT_NE(site.log().find(raw ? "raw IPv4, raw IPv6" : "datagram IPv4, datagram IPv6"),
              std::string::npos)
        << site.log();
    std::ifstream status("/proc/" + std::to_string(site.prober.pid()) + "/status");
    std::ostringstream text;
    text << status.rdbuf();
    EXPECT_NE(text.str().find("CapPrm:\t0000000000000000"), std::string::npos) << text.str();
    pass(3s);
    site.stop();
    lab("answer", silent);
    const Rows rows = site.rows();
    ASSERT_EQ(rows.size(), 5U);
    for (const DeviceId id : {1, 5}) EXPECT_GE(count(rows.at(id), Verdict::kAnswered), 2U);
    EXPECT_EQ(rows.at(2).back().reason, Reason::kTimeout);
    EXPECT_EQ(rows.at(3).back().reason, Reason::kUnreachable);
    EXPECT_EQ(rows.at(4).back().reason, Reason::kUnreachable);
  }
}

TEST(ProberInTheLab, NamesAreResolvedAndWithoutAnAddressASlotIsNotMeasured) {
  Site site;
  site.add(1, "localhost");
  site.add(2, "nowhere.invalid");
  site.keep_assignment();
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(4s);
  site.stop();
  const Rows rows = site.rows();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.at(1).back().verdict, Verdict::kAnswered);
  EXPECT_EQ(rows.at(2).back().reason, Reason::kNoAddress);
}

TEST(ProberInTheLab, ADeviceFollowsItsNameToAnotherAddressAndTheChangeIsTold) {
  DnsServer server;
  server.set("camera.test", {.v4 = {v4(12'001)}, .ttl_s = 1});
  server.set("group.test", {.v4 = {"224.0.0.1"}});
  Site site;
  std::ofstream(site.dir() / "gema.yaml")
      << "prober:\n  dns_servers: [\"" << server.endpoint() << "\"]\n";
  site.add(1, "camera.test");
  site.add(2, "group.test");
  site.keep_assignment();
  lab("silence", {v4(12'001)});
  site.start();
  auto says = [&](const std::string& words) {
    return wait_until([&] { return site.log().find(words) != std::string::npos; }, 60s);
  };
  ASSERT_TRUE(says("name=camera.test from=\"\" to=" + v4(12'001))) << site.log();
  ASSERT_TRUE(says("name=group.test why=\"only addresses that are never pinged\"")) << site.log();
  pass(2s);
  server.set("camera.test", {.v4 = {v4(12'002)}, .v6 = {v6(12'002)}, .ttl_s = 1});
  ASSERT_TRUE(says("from=" + v4(12'001) + " to=" + v6(12'002))) << site.log();
  server.set("camera.test", {.code = 2});
  ASSERT_TRUE(says("why=\"server failure\" still_checked_at=" + v6(12'002))) << site.log();
  pass(2s);
  site.stop();
  lab("answer", {v4(12'001)});
  const Rows rows = site.rows();
  EXPECT_GT(count(rows.at(1), Verdict::kFailed), 0U);
  EXPECT_EQ(rows.at(1).back().verdict, Verdict::kAnswered);
  EXPECT_EQ(rows.at(2).back().reason, Reason::kNoAddress);
  ASSERT_EQ(site.changes.size(), 2U);
  EXPECT_FALSE(site.changes[0].from.known());
  EXPECT_EQ(to_text(site.changes[0].to), v4(12'001));
  EXPECT_EQ(to_text(site.changes[1].from), v4(12'001));
  EXPECT_EQ(to_text(site.changes[1].to), v6(12'002));
  EXPECT_GT(site.changes[1].at_ms, site.changes[0].at_ms);
}

// --- sockets ------------------------------------------------------------------------------------

// A bystander who sees everything on the loopback and answers what he likes.
class Bystander {
 public:
  Bystander() : fd_(::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP)) {}
  ~Bystander() { ::close(fd_); }

  // The next packet of a type he overhears, whole.
  std::vector<uint8_t> overhear_packet(uint8_t type) const {
    std::vector<uint8_t> bytes(70'000);
    ssize_t n = -1;
    wait_until([&] {
      n = ::recv(fd_, bytes.data(), bytes.size(), 0);
      return n > 28 && bytes[20] == type;
    });
    return {bytes.begin(), bytes.begin() + std::max<ssize_t>(n, 20)};
  }
  // The next echo reply, from its ICMP header on.
  std::vector<uint8_t> overhear() const {
    const auto packet = overhear_packet(0);
    return {packet.begin() + 20, packet.end()};
  }
  void reply(std::vector<uint8_t> icmp, uint8_t last_byte_of_source) const {
    icmp[2] = icmp[3] = 0;
    const uint16_t sum = internet_checksum(icmp);
    icmp[2] = static_cast<uint8_t>(sum >> 8);
    icmp[3] = static_cast<uint8_t>(sum);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(0x7f000000 | last_byte_of_source);
    const int fd = ::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    to.sin_addr.s_addr = htonl(0x7f000001);
    EXPECT_GT(
        ::sendto(fd, icmp.data(), icmp.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    ::close(fd);
  }

 private:
  int fd_;
};

TEST(IcmpSocketsOnLoopback, AReplyCountsOnlyWithItsTokenAndFromTheAddressAsked) {
  const Bystander bystander;
  auto sockets = IcmpSockets::open();
  ASSERT_TRUE(sockets) << sockets.error().message;
  ASSERT_TRUE((*sockets)->configure({}));
  const SlotClock clock(runtime::read_clock());
  Address local{.family = 4};
  local.bytes = {127, 0, 0, 1};
  const Send send{.check = 5, .generation = 9, .timeout_ms = 1000, .destination = local};
  std::vector<Sent> sent;
  (*sockets)->send({{send}}, sent);
  ASSERT_EQ(sent.size(), 1U);
  ASSERT_EQ(sent[0].status, SendStatus::kSent);
  std::vector<Answer> answers;
  auto receive = [&] { (*sockets)->receive(clock, 100, answers); };
  ASSERT_TRUE(wait_until([&] {
    receive();
    return !answers.empty();
  }));
  EXPECT_EQ(answers[0].check, 5U);
  EXPECT_EQ(answers[0].generation, 9U);
  EXPECT_GE(answers[0].at, sent[0].at - 1ms);
  auto genuine = bystander.overhear();
  ASSERT_EQ(genuine.size(), kEchoBytes);
  auto altered = genuine;
  altered.back() ^= 1;  // of the token
  bystander.reply(altered, 1);
  bystander.reply(genuine, 2);  // the token is right, the source is not
  ASSERT_TRUE(wait_until([&] {
    receive();
    return (*sockets)->stats().forged == 2;
  }));
  EXPECT_EQ(answers.size(), 1U);
  // Another program's ping does not even reach us; a repetition of the genuine reply does.
  auto other = genuine;
  other[4] ^= 0x80;  // of the identifier
  bystander.reply(other, 1);
  bystander.reply(genuine, 1);
  ASSERT_TRUE(wait_until([&] {
    receive();
    return answers.size() == 2;
  }));
  EXPECT_EQ((*sockets)->stats().foreign, 0U);
}

// Sends one echo; its answer, if it comes.
struct Sender {
  std::unique_ptr<IcmpSockets> sockets;
  SlotClock clock{runtime::read_clock()};
  std::vector<Sent> sent;
  std::vector<Answer> answers;

  explicit Sender(const SocketOptions& options) : sockets(std::move(*IcmpSockets::open())) {
    const auto configured = sockets->configure(options);
    EXPECT_TRUE(configured) << configured.error().message;
  }
  Sent send(const std::string& to, uint32_t check = 5) {
    const Send one{.check = check, .timeout_ms = 1000, .destination = *parse_address(to)};
    sent.clear();
    sockets->send({{one}}, sent);
    return sent.at(0);
  }
  bool answered() {
    return wait_until([&] {
      sockets->receive(clock, 100, answers);
      return !answers.empty();
    });
  }
};

TEST(IcmpSocketsOnLoopback, SourceDscpSizeAndDoNotFragmentAreOnTheWire) {
  const Bystander bystander;
  Sender sender(
      {.source_ipv4 = "127.0.0.9", .dscp = 46, .payload_bytes = 5001, .dont_fragment = true});
  ASSERT_EQ(sender.send("127.0.0.1").status, SendStatus::kSent);
  const auto packet = bystander.overhear_packet(8);
  ASSERT_EQ(packet.size(), 20U + 8 + 5001);
  EXPECT_EQ(packet[1], 46 << 2);
  EXPECT_EQ(packet[6] & 0x40, 0x40);
  EXPECT_EQ(packet[15], 9);  // last byte of the source
  EXPECT_EQ(internet_checksum(std::span(packet).subspan(20)), 0);
  ASSERT_TRUE(sender.answered());
  EXPECT_EQ(sender.answers[0].check, 5U);
  EXPECT_EQ(sender.sockets->stats().forged + sender.sockets->stats().foreign, 0U);
}

TEST(IcmpSocketsInTheLab, LargeEchoesAreAnsweredInBothFamilies) {
  for (const size_t bytes : {size_t{33}, size_t{1472}, size_t{9001}, kPayloadBytesMax}) {
    for (const std::string& to : {v4(1), v6(1)}) {
      SCOPED_TRACE(to + " " + std::to_string(bytes));
      Sender sender({.payload_bytes = bytes});
      ASSERT_EQ(sender.send(to).status, SendStatus::kSent);
      EXPECT_TRUE(sender.answered());
    }
  }
}

TEST(IcmpSocketsInTheLab, ATooLongEchoThatMustNotBeFragmentedIsRefusedAsMessageTooLong) {
  Sender sender({.payload_bytes = 1473, .dont_fragment = true});
  for (const std::string& to : {v4(1), v6(1)}) {
    const Sent sent = sender.send(to);
    EXPECT_EQ(sent.status, SendStatus::kRefused) << to;
    EXPECT_EQ(sent.error, EMSGSIZE) << to;
  }
  Sender fits({.payload_bytes = 1452, .dont_fragment = true});
  for (const std::string& to : {v4(1), v6(1)}) {
    EXPECT_EQ(fits.send(to).status, SendStatus::kSent) << to;
  }
}

TEST(IcmpSocketsInTheLab, WhatTheRouteForbidsIsRefusedWithTheKernelsReason) {
  auto ip = [](std::vector<std::string> words) {
    words.insert(words.begin(), "ip");
    testing::run_or_throw({.command = words});
  };
  const std::map<std::string, int> kinds{
      {"unreachable", EHOSTUNREACH}, {"prohibit", EACCES}, {"blackhole", EINVAL}};
  Sender sender({});
  for (const auto& [kind, error] : kinds) {
    ip({"route", "add", kind, v4(9001)});
    ip({"-6", "route", "add", kind, v6(9001)});
    for (const std::string& to : {v4(9001), v6(9001)}) {
      const Sent sent = sender.send(to);
      EXPECT_EQ(sent.status, SendStatus::kRefused) << kind << " " << to;
      EXPECT_EQ(sent.error, error) << kind << " " << to << ": " << std::strerror(sent.error);
    }
    ip({"route", "del", kind, v4(9001)});
    ip({"-6", "route", "del", kind, v6(9001)});
    EXPECT_EQ(sender.send(v4(9001)).status, SendStatus::kSent);
  }
  EXPECT_EQ(sender.send("203.0.113.1").error, ENETUNREACH);  // no default route in the lab
  EXPECT_EQ(sender.send("192.0.2.3").error, EACCES);         // a broadcast address
}

TEST(IcmpSocketsInTheLab, ErrorsOfOthersEchoesDelayNoneOfOurs) {
  lab("unreachable", {v4(9100), v6(9100)});
  Sender other({}), sender({});
  for (int round = 0; round < 200; ++round) {
    for (const std::string& to : {v4(9100), v6(9100)}) {
      EXPECT_EQ(other.send(to).status, SendStatus::kSent);
    }
    for (const std::string& to : {v4(1), v6(1)}) {
      EXPECT_EQ(sender.send(to).status, SendStatus::kSent);
      sender.answers.clear();
      ASSERT_TRUE(sender.answered());
    }
  }
  EXPECT_EQ(sender.sockets->stats().receive_errors, 0U);
  ASSERT_TRUE(wait_until([&] {
    other.answered();
    return other.answers.size() == 400;
  }));
}

TEST(IcmpSocketsInTheLab, AFamilyThatIsNotAllowedHasNoSocket) {
  Sender sender({.v6 = false});
  EXPECT_EQ(sender.send(v6(1)).status, SendStatus::kNoFamily);
  EXPECT_EQ(sender.send(v4(1)).status, SendStatus::kSent);
}

TEST(IcmpSocketsInTheLab, OptionsThatCannotBeMetAreRefusedByName) {
  auto refusal = [](const SocketOptions& options) {
    const auto configured = (*IcmpSockets::open())->configure(options);
    return configured ? "" : configured.error().message;
  };
  EXPECT_EQ(refusal({.source_ipv4 = "203.0.113.9"}),
            "prober.source_ipv4 = 203.0.113.9: is no address of this host");
  EXPECT_EQ(refusal({.source_ipv6 = "2001:db8:77::1"}),
            "prober.source_ipv6 = 2001:db8:77::1: is no address of this host");
  EXPECT_EQ(refusal({.source_ipv4 = "eth0"}), "prober.source_ipv4 = eth0: must be an IPv4 address");
  EXPECT_EQ(refusal({.v6 = false, .source_ipv6 = "::1"}),
            "prober.source_ipv6 = ::1: there is no IPv6 socket to use it");
}

TEST(ProberInTheLab, UnreachableNetworksAndForbiddenRoutesAreSendErrorsAndCostNoOtherDevice) {
  Site site;
  for (DeviceId id = 1; id <= 300; ++id) {
    const std::string address = v4(10'000 + static_cast<uint32_t>(id));
    site.add(id, id % 3 == 0 ? "203.0.113." + std::to_string(id % 256) : address);
  }
  site.add(301, "192.0.2.3");  // a broadcast address
  site.keep_assignment();
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(4s);
  site.stop();
  for (const auto& [id, of_device] : site.rows()) {
    SCOPED_TRACE(::testing::Message() << "device " << id);
    const Row& last = of_device.back();
    if (id % 3 == 0 || id == 301) {
      EXPECT_EQ(last.verdict, Verdict::kNotMeasured);
      EXPECT_EQ(last.reason, Reason::kSendError);
    } else {
      EXPECT_EQ(last.verdict, Verdict::kAnswered);
    }
    EXPECT_EQ(count(of_device, Verdict::kFailed), 0U);
  }
}

TEST(ProberInTheLab, AFullQueueIsASendErrorAndNeverATimeout) {
  Site site;
  for (DeviceId id = 1; id <= 300; ++id) {
    const auto n = 11'000 + static_cast<uint32_t>(id);
    site.add(id, id % 2 == 0 ? v4(n) : v6(n));
  }
  site.keep_assignment();
  // Some 60 of our packets a second, and room for no more than a few.
  testing::run_or_throw({.command = {"tc", "qdisc", "add", "dev", "veth0", "root", "tbf", "rate",
                                     "48kbit", "burst", "1600", "limit", "1600"}});
  site.start();
  ASSERT_TRUE(site.wait_probing()) << site.log();
  pass(5s);
  site.stop();
  testing::run_or_throw({.command = {"tc", "qdisc", "del", "dev", "veth0", "root"}});
  size_t answered = 0, send_errors = 0, failed = 0;
  for (const auto& [id, of_device] : site.rows()) {
    failed += count(of_device, Verdict::kFailed);
    answered += count(of_device, Verdict::kAnswered);
    for (const Row& row : of_device) send_errors += row.reason == Reason::kSendError ? 1 : 0;
  }
  EXPECT_EQ(failed, 0U);
  EXPECT_GT(answered, 0U);
  EXPECT_GT(send_errors, 0U);
}

TEST(ProberInTheLab, WithoutAnyIcmpSocketSaysSoInOneLineAndExitsTwo) {
  std::ofstream("/proc/sys/net/ipv4/ping_group_range") << "1 0";
  Site site;
  ASSERT_EQ(chmod(site.dir().path().c_str(), 0755), 0);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(site.dir().path())) {
    ASSERT_EQ(lchown(entry.path().c_str(), 65534, 65534), 0);
  }
  site.start({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
              "--inh-caps=-all"});
  EXPECT_EQ(site.prober.wait(), 2) << site.log();
  const std::string log = site.log();
  EXPECT_NE(log.find("gema-prober-1: no ICMP socket may be opened (Permission denied): run with "
                     "CAP_NET_RAW, or let net.ipv4.ping_group_range admit group 65534"),
            std::string::npos)
      << log;
}

}  // namespace
}  // namespace gema::prober

int main(int argc, char** argv) {
  if (std::getenv("GEMA_LAB") == nullptr) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    std::vector<std::string> words{GEMA_LAB_TOOL, "run", "--seconds", "420", "--", self};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    for (int i = 1; i < argc; ++i) arguments.push_back(argv[i]);
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    std::cerr << "cannot run " << words[0] << "\n";
    return 1;
  }
  ::testing::InitGoogleTest(&argc, argv);
  // A new link settles first: IPv6 looks for duplicates of its link-local address for a second.
  using gema::testing::wait_until;
  for (const std::string& address : {gema::prober::v4(1), gema::prober::v6(1)}) {
    auto answers = [&] {
      gema::testing::ChildProcess ping(
          {.command = {"ping", "-c1", "-W1", address}, .log = "/dev/null"});
      return ping.wait() == 0;
    };
    if (!wait_until(answers)) {
      std::cerr << address << " does not answer in the lab\n";
      return 1;
    }
  }
  return RUN_ALL_TESTS();
}
