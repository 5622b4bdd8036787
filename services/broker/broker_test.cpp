// The broker as a process, against peers that are wrong, hostile, broken or stopped.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <zmq.hpp>

#include "common/base/random.h"
#include "common/bus/limits.h"
#include "common/bus/secure_socket.h"
#include "common/bus/testing/broker_process.h"
#include "common/bus/topics.h"
#include "common/runtime/clock.h"
#include "tests/support/wait_until.h"

namespace gema::broker {
namespace {

using namespace gema::bus;
using namespace gema::bus::testing;
using gema::testing::ChildProcess;
using gema::testing::wait_until;

constexpr size_t kMib = 1024 * 1024;
const std::string kLive = live_topic("ping", "prober-1");

// A socket with the keys of `name` and none of our client's good manners.
class RawPeer {
 public:
  RawPeer(const BrokerProcess& broker, const std::string& name, zmq::socket_type type,
          const std::string& endpoint)
      : context_(process_context()), socket_(*context_, type) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::sndhwm, 0);
    socket_.set(zmq::sockopt::rcvhwm, 0);
    if (!name.empty()) {
      EXPECT_TRUE(secure_client(socket_.handle(), *read_key_pair(broker.keys_dir(), name),
                                *read_public_key(broker.keys_dir(), "broker")));
    }
    EXPECT_TRUE(monitor_.start(*context_, socket_.handle(), ZMQ_EVENT_ALL));
    socket_.connect(endpoint);
  }
  ~RawPeer() { monitor_.stop(); }

  zmq::socket_t& socket() { return socket_; }
  bool send(const std::string& frame, bool more = false) {
    return zmq_send(socket_.handle(), frame.data(), frame.size(),
                    ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
  }
  // Waits for the event; others are skipped.
  bool saw(int event, std::chrono::milliseconds deadline = std::chrono::seconds(10)) {
    SocketEvent seen;
    return wait_until(
        [&] {
          while (monitor_.next(seen)) {
            if (seen.event == event) return true;
          }
          return false;
        },
        deadline);
  }

 private:
  std::shared_ptr<zmq::context_t> context_;
  zmq::socket_t socket_;
  SocketMonitor monitor_;
};

std::string frame(const std::string& topic, const std::string& payload) {
  return topic + '\0' + payload;
}

double refused(const BrokerProcess& broker, const std::string& reason) {
  return broker.metric("gema_broker_refused_total{reason=\"" + reason + "\"}");
}

double cut(const BrokerProcess& broker, const std::string& reason) {
  return broker.metric("gema_broker_cut_total{", "reason=\"" + reason + "\"");
}

in_port_t port_of(const std::string& endpoint) {
  return htons(static_cast<uint16_t>(number_at_end(endpoint)));
}

// Two well-behaved processes with a flow of numbered messages between them: what others must not
// disturb.
class Flow {
 public:
  explicit Flow(BrokerProcess& broker, const std::string& from = "prober-1")
      : topic_(live_topic("ping", from)), prober(broker, from), recorder(broker, "recorder") {
    recorder.client().subscribe(topic_);
    EXPECT_TRUE(prober.connect() && recorder.connect());
    EXPECT_TRUE(wait_for_flow(prober, recorder));
  }

  void publish(size_t bytes = 100) {
    const std::string payload = numbered(next_, bytes);
    if (!prober.client().publish(topic_, payload)) {
      EXPECT_TRUE(wait_until([&] {
        turn();
        return prober.client().publish(topic_, payload);
      }));
    }
    ++next_;
  }
  void turn() {
    prober.turn();
    recorder.turn();
    for (const Message& message : recorder.got) {
      if (message.topic != topic_) continue;
      if (number_of(message.payload) != expected_) ++gaps_;
      expected_ = number_of(message.payload) + 1;
      ++received_;
    }
    recorder.got.clear();
  }
  // Publishes a thousand more, one at a time, until all have arrived. False: some did not.
  bool flows(int count = 1000) {
    for (int i = 0; i < count; ++i) {
      publish();
      turn();
    }
    return all_arrived();
  }
  // Publishes until the newest arrives again, and forgets what was lost meanwhile.
  bool comes_back() {
    const bool back = wait_until([&] {
      publish();
      turn();
      return wait_until(
          [&] {
            turn();
            return expected_ == next_;
          },
          100ms);
    });
    gaps_ = 0;
    received_ = next_;
    return back;
  }
  bool all_arrived() {
    return wait_until([&] {
             turn();
             return expected_ == next_;
           }) &&
           gaps_ == 0 && received_ == next_;
  }
  // Messages published and not yet received.
  uint64_t under_way() const { return next_ - expected_; }
  uint64_t published() const { return next_; }
  uint64_t gaps() const { return gaps_; }

 private:
  std::string topic_;

 public:
  Peer prober;
  Peer recorder;

 private:
  uint64_t next_ = 0;
  uint64_t expected_ = 0;
  uint64_t received_ = 0;
  uint64_t gaps_ = 0;
};

// ------------------------------------------------------------------------------ who gets in

TEST(Admission, AnUnknownKeyIsRefusedAndLetInOnceItIsListed) {
  BrokerProcess broker;
  // Its files are there, its entry is not.
  const KeyPair pair = *make_key_pair();
  ASSERT_TRUE(write_key_pair(broker.keys_dir(), "prober-7", pair));
  Peer stranger(broker, "prober-7");
  ASSERT_TRUE(
      turn_until({&stranger}, [&] { return stranger.client().stats().handshakes_refused >= 2; }));
  EXPECT_FALSE(stranger.client().connected());
  EXPECT_NE(stranger.client().why_not_connected().find("refuses our key"), std::string::npos)
      << stranger.client().why_not_connected();
  EXPECT_GE(broker.metric("gema_broker_handshakes_total{outcome=\"refused\""), 2);

  ASSERT_EQ(broker.make_keys({"--client", "prober-7"}), 0);
  EXPECT_EQ(read_key_pair(broker.keys_dir(), "prober-7")->public_key, pair.public_key);
  ASSERT_TRUE(stranger.connect()) << stranger.client().why_not_connected();
  Peer recorder(broker, "recorder");
  EXPECT_TRUE(wait_for_flow(stranger, recorder));
}

TEST(Admission, WithoutAKeyNothingIsAccepted) {
  BrokerProcess broker({.tcp = true});
  Flow flow(broker);
  RawPeer push(broker, "", zmq::socket_type::push, broker.ingress());
  RawPeer sub(broker, "", zmq::socket_type::sub, broker.inner());
  sub.socket().set(zmq::sockopt::subscribe, "");
  push.send(frame(kLive, numbered(99, 8)));
  EXPECT_TRUE(push.saw(ZMQ_EVENT_DISCONNECTED));
  EXPECT_TRUE(sub.saw(ZMQ_EVENT_DISCONNECTED));
  EXPECT_TRUE(flow.flows());
  zmq::message_t message;
  EXPECT_LT(zmq_msg_recv(message.handle(), sub.socket().handle(), ZMQ_DONTWAIT), 0);
  EXPECT_GE(broker.metric("gema_broker_handshakes_total{outcome=\"garbled\""), 2);
}

TEST(Admission, AKeyOfTheOtherRoleIsRefusedAtEachEgress) {
  BrokerProcess broker;
  auto options = broker.client_options("prober-1");
  options.egress = broker.inner();
  Peer climber(options);
  ASSERT_TRUE(
      turn_until({&climber}, [&] { return climber.client().stats().handshakes_refused >= 1; }));
  options = broker.client_options("recorder");
  options.egress = broker.edge();
  Peer lost(options);
  ASSERT_TRUE(turn_until({&lost}, [&] { return lost.client().stats().handshakes_refused >= 1; }));
  EXPECT_FALSE(climber.client().connected());
  EXPECT_FALSE(lost.client().connected());
}

TEST(Admission, TheEdgeSeesNothingOfTheInner) {
  BrokerProcess broker;
  Peer prober(broker, "prober-1");
  Peer other(broker, "recorder");
  Peer inventory(broker, "inventory");
  Peer gateway(broker, "gateway");
  prober.client().subscribe("");
  ASSERT_TRUE(prober.connect() && other.connect() && inventory.connect() && gateway.connect());
  const std::string last = assign_topic("prober-1");
  ASSERT_TRUE(turn_until({&prober, &inventory}, [&] {
    inventory.client().publish(last, "first");
    return !prober.got.empty();
  }));
  prober.got.clear();

  prober.client().publish(kLive, "");
  prober.client().publish(heartbeat_topic("prober-1"), "");
  inventory.client().publish(catalogue_topic(), "");
  inventory.client().publish(reply_topic("gateway"), "");
  inventory.client().publish(heartbeat_topic("inventory"), "");
  gateway.client().publish(call_topic("inventory"), "");
  other.client().publish(ack_topic("transitions", "recorder", "timeout-tracker"), "");
  other.client().publish(ack_topic("ping", "recorder", "prober-1"), "");
  other.client().publish(want_topic("ping", "recorder", "prober-1"), "");
  gateway.client().publish(call_topic("prober-1"), "x");
  ASSERT_TRUE(turn_until({&prober, &inventory, &gateway, &other}, [&] {
    return broker.metric("gema_broker_messages_total{kind=\"call\"}") >= 2 &&
           broker.metric("gema_broker_messages_total{kind=\"ack\"}") >= 2 &&
           broker.metric("gema_broker_messages_total{kind=\"want\"}") >= 1 &&
           broker.metric("gema_broker_messages_total{kind=\"live\"}") >= 1 &&
           broker.metric("gema_broker_messages_total{kind=\"reply\"}") >= 1;
  }));
  inventory.client().publish(last, "last");
  std::set<std::string> seen;
  ASSERT_TRUE(turn_until({&prober, &inventory}, [&] {
    for (const Message& m : prober.got) seen.insert(m.topic);
    return !prober.got.empty() && prober.got.back().payload == "last";
  }));
  EXPECT_EQ(seen, (std::set<std::string>{last, "ack/ping/recorder/prober-1/",
                                         "want/ping/recorder/prober-1/", "call/prober-1/"}));
}

TEST(Admission, ARevokedKeyIsCutOffAtOnceAndOthersAreNot) {
  BrokerProcess broker;
  Flow flow(broker);
  Peer cli(broker, "cli");
  cli.client().subscribe(live_prefix("ping"));
  ASSERT_TRUE(cli.connect());
  ASSERT_TRUE(turn_until({&cli}, [&] {
    flow.publish();
    flow.turn();
    return !cli.got.empty();
  }));
  ASSERT_EQ(broker.make_keys({"--remove-client", "cli"}), 0);
  EXPECT_FALSE(std::filesystem::exists(broker.keys_dir() / "cli.key"));
  ASSERT_TRUE(turn_until({&cli}, [&] { return cut(broker, "key_revoked") >= 1; }));
  ASSERT_TRUE(turn_until({&cli}, [&] {
    return cli.client().stats().handshakes_refused >= 1 && !cli.client().connected();
  }));
  // Its way in still stands (libzmq asks only at the handshake), but nothing goes through it.
  cli.client().publish(call_topic("inventory"), "x");
  ASSERT_TRUE(turn_until({&cli}, [&] { return refused(broker, "unknown_key") >= 1; }));
  cli.got.clear();
  EXPECT_TRUE(flow.flows());
  cli.turn();
  EXPECT_TRUE(cli.got.empty());
}

TEST(Admission, AnUnreadableAllowListLeavesTheOldOneStanding) {
  BrokerProcess broker;
  Flow flow(broker);
  std::ofstream(broker.keys_dir() / "clients.yaml") << "clients: [{name: prober-1, role: king}]\n";
  broker.reload();
  ASSERT_TRUE(
      wait_until([&] { return broker.metric("gema_broker_allow_list_errors_total") >= 1; }));
  EXPECT_NE(broker.log().find("role must be inner or edge"), std::string::npos);
  Peer gateway(broker, "gateway");
  EXPECT_TRUE(gateway.connect());
  EXPECT_TRUE(flow.flows());
}

TEST(Admission, ConnectionsAreBounded) {
  BrokerProcess broker({.tcp = true, .environment = {"GEMA_BROKER__CONNECTIONS_MAX=8"}});
  Flow flow(broker);
  std::vector<std::unique_ptr<RawPeer>> crowd;
  for (int i = 0; i < 20; ++i) {
    crowd.push_back(
        std::make_unique<RawPeer>(broker, "cli", zmq::socket_type::sub, broker.inner()));
  }
  ASSERT_TRUE(wait_until([&] { return cut(broker, "too_many_connections") >= 12; }));
  // Those cut come back every 100 ms to be cut again; in between there are eight.
  EXPECT_TRUE(
      wait_until([&] { return broker.metric("gema_broker_connections{socket=\"inner\"}") <= 8; }));
  EXPECT_TRUE(flow.flows());
}

// ------------------------------------------------------------------------------ who says what

TEST(Rights, ForgedAcknowledgementsAndForeignTopicsGoNowhere) {
  BrokerProcess broker({.clients = {"prober-1", "prober-2", "recorder", "cli", "gateway"}});
  Flow flow(broker);
  Peer forger(broker, "prober-2");
  Peer observer(broker, "cli");
  Peer victim(broker, "gateway");
  observer.client().subscribe("");
  ASSERT_TRUE(forger.connect() && observer.connect() && victim.connect());
  ASSERT_TRUE(wait_for_flow(forger, observer));
  observer.client().subscribe("");
  observer.got.clear();
  const std::pair<std::string, const char*> forged[] = {
      {ack_topic("ping", "recorder", "prober-1"), "not_its_group"},
      {want_topic("ping", "recorder", "prober-1"), "not_its_group"},
      {live_topic("ping", "prober-1"), "not_its_name"},
      {tip_topic("ping", "prober-1"), "not_its_name"},
      {replay_topic("ping", "recorder", "prober-1"), "not_its_name"},
      {heartbeat_topic("inventory"), "not_its_name"},
      {live_topic("transitions", "prober-2"), "not_its_stream"},
      {catalogue_topic(), "may_not_publish"},
      {assign_topic("prober-1"), "may_not_publish"},
      {call_topic("inventory"), "may_not_call"},
  };
  std::map<std::string, int> expected;
  for (const auto& [topic, reason] : forged) {
    EXPECT_TRUE(forger.client().publish(topic, "forged"));
    ++expected[reason];
  }
  for (const auto& [reason, count] : expected) {
    EXPECT_TRUE(turn_until({&forger}, [&] { return refused(broker, reason) >= count; })) << reason;
    EXPECT_EQ(refused(broker, reason), count) << reason;
  }
  EXPECT_TRUE(flow.flows(100));
  ASSERT_TRUE(wait_for_flow(forger, observer));  // whatever was forwarded has arrived by now
  observer.turn();
  for (const Message& message : observer.got) EXPECT_NE(message.payload, "forged") << message.topic;
  EXPECT_NE(broker.log().find("reason=not_its_group"), std::string::npos) << "said in the log";
}

TEST(Rights, WhatIsNotOneFrameWithATopicIsRefused) {
  BrokerProcess broker({.clients = {"prober-1", "prober-2", "recorder"}});
  Flow flow(broker);
  RawPeer raw(broker, "prober-2", zmq::socket_type::push, broker.ingress());
  ASSERT_TRUE(raw.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED));
  const std::string live = live_topic("ping", "prober-2");
  raw.send(live, true);
  raw.send("payload");
  raw.send(frame(live, "a"), true);
  raw.send("", true);
  raw.send("b");
  raw.send(live);
  raw.send("");
  raw.send(std::string(5000, 'x'));
  raw.send(std::string(1, '\0'));
  raw.send(frame("live/ping/prober-2", "no slash"));
  ASSERT_TRUE(wait_until(
      [&] { return refused(broker, "multipart") + refused(broker, "not_a_topic") >= 7; }));
  EXPECT_EQ(refused(broker, "multipart"), 2);
  EXPECT_EQ(refused(broker, "not_a_topic"), 5);
  EXPECT_TRUE(flow.flows());
}

// ------------------------------------------------------------------------------ hostile bytes

TEST(Hostile, AnOversizedFrameCutsThatPeerAndOthersLoseNothing) {
  BrokerProcess broker({.tcp = true, .clients = {"prober-1", "prober-2", "recorder"}});
  Flow flow(broker);
  RawPeer raw(broker, "prober-2", zmq::socket_type::push, broker.ingress());
  ASSERT_TRUE(raw.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED));
  const size_t before = broker.resident_bytes();
  for (int i = 0; i < 5; ++i) {
    raw.send(frame(live_topic("ping", "prober-2"), std::string(4 * kMib, 'x')));
    for (int j = 0; j < 200; ++j) {
      flow.publish(4096);
      flow.turn();
    }
    EXPECT_TRUE(raw.saw(ZMQ_EVENT_DISCONNECTED));
    EXPECT_TRUE(raw.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED)) << "it may come back";
  }
  EXPECT_TRUE(flow.all_arrived());
  EXPECT_LT(broker.resident_bytes(), before + 16 * kMib);
  // Likewise on the egress, where even half a kilobyte is too much.
  RawPeer sub(broker, "recorder", zmq::socket_type::sub, broker.inner());
  ASSERT_TRUE(sub.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED));
  sub.socket().set(zmq::sockopt::subscribe, std::string(1000, 'x'));
  EXPECT_TRUE(sub.saw(ZMQ_EVENT_DISCONNECTED));
  EXPECT_TRUE(flow.flows());
}

// Writes bytes to a TCP port until the other side has closed.
bool closed_after(const std::string& endpoint, const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = port_of(endpoint);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  if (::connect(fd, generic, sizeof address) != 0) {
    ::close(fd);
    return false;
  }
  timeval patience{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  [[maybe_unused]] const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  char buffer[4096];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) {
  }
  const bool closed = n == 0 || errno == ECONNRESET;
  ::close(fd);
  return closed;
}

TEST(Hostile, GarbageOnTheRawPortsIsClosedAndCounted) {
  const uint64_t seed = 20261120;
  SCOPED_TRACE(seed);
  Random random(seed);
  BrokerProcess broker({.tcp = true});
  Flow flow(broker);
  const size_t before = broker.resident_bytes();
  const std::string greeting = std::string("\xff\0\0\0\0\0\0\0\1\x7f\3\0", 12) + "CURVE" +
                               std::string(15, '\0') + std::string(32, '\0');
  std::vector<std::string> texts = {
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      std::string(1, '\0'),
      std::string(64, '\xff'),
      std::string("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16) +
          std::string(48, '\0'),                        // ZMTP, no CURVE
      std::string("\1\0", 2),                           // ZMTP 1
      greeting + std::string("\6\0\0\0\2\0\0\0\0", 9),  // a command of 8 GB
      greeting + std::string("\4\xff", 2) + std::string(255, 'x'),
      greeting,  // and then silence: HANDSHAKE_IVL ends it
  };
  for (int i = 0; i < 20; ++i) {
    std::string bytes(random.below(3000) + 1, '\0');
    for (char& c : bytes) c = static_cast<char>(random.below(256));
    texts.push_back(i % 2 == 0 ? bytes : greeting + bytes);
  }
  for (const std::string& text : texts) {
    for (const std::string& endpoint : {broker.ingress(), broker.inner(), broker.edge()}) {
      // A connection that only stays silent is ended after HANDSHAKE_IVL; three of each suffice.
      EXPECT_TRUE(closed_after(endpoint, text)) << ::testing::PrintToString(text.substr(0, 40));
    }
    for (int i = 0; i < 20; ++i) {
      flow.publish();
      flow.turn();
    }
  }
  EXPECT_TRUE(flow.all_arrived());
  EXPECT_TRUE(broker.running());
  EXPECT_LT(broker.resident_bytes(), before + 16 * kMib);
  EXPECT_GE(broker.metric("gema_broker_handshakes_total{outcome=\"garbled\""), 1);
  ASSERT_TRUE(
      wait_until([&] { return broker.metric("gema_broker_connections{socket=\"edge\"}") == 1; }));
}

TEST(Hostile, AMillionJunkSubscriptionsCutTheirPeerAndNobodyElse) {
  BrokerProcess broker({.tcp = true, .clients = {"prober-1", "recorder", "gateway"}});
  Flow flow(broker);
  const size_t before = broker.resident_bytes();
  RawPeer raw(broker, "gateway", zmq::socket_type::sub, broker.inner());
  ASSERT_TRUE(raw.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED));
  size_t most = before;
  for (int i = 0; i < 1'000'000; ++i) {
    raw.socket().set(zmq::sockopt::subscribe, "junk/" + std::to_string(i * 2654435761u) + "/");
    if (i % 1000 == 0) {
      flow.publish();
      flow.turn();
      most = std::max(most, broker.resident_bytes());
    }
  }
  // libzmq sends all of them again at every reconnect; watch a few of these too.
  ASSERT_TRUE(wait_until(
      [&] {
        flow.publish();
        flow.turn();
        most = std::max(most, broker.resident_bytes());
        zmq::message_t message;  // libzmq takes up the reconnection when it is called
        zmq_msg_recv(message.handle(), raw.socket().handle(), ZMQ_DONTWAIT);
        return cut(broker, "too_many_subscriptions") >= 5;
      },
      std::chrono::seconds(60)));
  EXPECT_TRUE(flow.all_arrived()) << flow.gaps() << " gaps, " << flow.under_way() << " missing";
  EXPECT_LT(most, before + 32 * kMib);
  RecordProperty("resident_mib_before", static_cast<int>(before / kMib));
  RecordProperty("resident_mib_most", static_cast<int>(most / kMib));
  std::printf("broker: %zu MiB before, %zu MiB at most; cut %.0f times\n", before / kMib,
              most / kMib, cut(broker, "too_many_subscriptions"));
  EXPECT_TRUE(broker.running());
}

TEST(Hostile, AMessageOfEndlessPartsDoesNotFillTheMemory) {
  // libzmq shows us a message only when its last part is there, and holds the others.
  BrokerProcess broker({.tcp = true,
                        .clients = {"prober-1", "prober-2", "recorder"},
                        .environment = {"GEMA_BROKER__MEMORY_MIB=128"}});
  Flow flow(broker);
  RawPeer raw(broker, "prober-2", zmq::socket_type::push, broker.ingress());
  ASSERT_TRUE(raw.saw(ZMQ_EVENT_HANDSHAKE_SUCCEEDED));
  // 600 MiB on the wire, one part in our memory.
  zmq::message_t part(200 * 1024);
  std::memset(part.data(), 'x', part.size());
  for (int i = 0; i < 3000; ++i) {
    zmq::message_t copy;
    copy.copy(part);
    ASSERT_GE(zmq_msg_send(copy.handle(), raw.socket().handle(), ZMQ_DONTWAIT | ZMQ_SNDMORE), 0);
  }
  raw.send("");
  size_t most = 0;
  ASSERT_TRUE(wait_until([&] {
    most = std::max(most, broker.resident_bytes());
    return cut(broker, "memory") >= 1;
  }));
  raw.socket().close();
  ASSERT_TRUE(wait_until([&] { return broker.resident_bytes() < 128 * kMib; }));
  std::printf("broker: %zu MiB at most\n", most / kMib);
  EXPECT_LT(most, 512 * kMib);
  ASSERT_TRUE(wait_for_flow(flow.prober, flow.recorder)) << "everybody comes back";
  EXPECT_TRUE(broker.running());
}

// ------------------------------------------------------------------------------ stopped, killed

// The seconds a subscriber stays stopped. 0: just until its queues have overflown. Nightly: 60.
int stop_seconds() {
  const char* text = std::getenv("GEMA_STOPPED_SUBSCRIBER_S");
  return text == nullptr ? 0 : static_cast<int>(number_at_end(text));
}

struct Counts {
  uint64_t received = 0;
  uint64_t first = 0;
  uint64_t last = 0;
};

Counts last_line(const std::filesystem::path& log) {
  std::ifstream file(log);
  Counts counts;
  Counts line;
  while (file >> line.received >> line.first >> line.last) counts = line;
  return counts;
}

void stop_a_subscriber(bool tcp) {
  BrokerProcess broker({.tcp = tcp, .clients = {"prober-1", "recorder", "gateway"}});
  Flow flow(broker);
  const std::filesystem::path log = broker.dir() / "stopped.log";
  ChildProcess stopped({.command = {GEMA_BUS_PEER_BINARY, broker.keys_dir().string(), "gateway",
                                    broker.ingress(), broker.inner(), live_prefix("ping")},
                        .log = log});
  constexpr size_t kBytes = 4096;
  ASSERT_TRUE(wait_until([&] {
    flow.publish(kBytes);
    flow.turn();
    return last_line(log).received > 0;
  }));
  ASSERT_TRUE(flow.all_arrived());
  const size_t before = broker.resident_bytes();
  const uint64_t published_before = flow.published();
  stopped.signal(SIGSTOP);

  // More than the broker's queue, the kernel's and the subscriber's own can hold, by far.
  const Now start = runtime::read_clock();
  const MonoTime until = start.mono + std::chrono::seconds(stop_seconds());
  size_t most = before;
  uint64_t sent = 0;
  Now now = start;
  while (sent < 20'000 || now.mono < until) {
    // As fast as the other subscriber keeps up; paced to 2,000 a second in the long run.
    const auto allowed =
        stop_seconds() == 0
            ? sent + 50
            : static_cast<uint64_t>((now.mono - start.mono) / std::chrono::microseconds(500));
    for (; sent < allowed && flow.under_way() < 200; ++sent) flow.publish(kBytes);
    flow.turn();
    if (sent % 1000 < 50) most = std::max(most, broker.resident_bytes());
    now = runtime::read_clock();
  }
  EXPECT_TRUE(flow.all_arrived()) << "the other subscriber lost " << flow.gaps();
  EXPECT_TRUE(broker.running());
  EXPECT_LT(most, before + 48 * kMib);

  stopped.signal(SIGCONT);
  const uint64_t resumed_at = flow.published();
  ASSERT_TRUE(wait_until([&] {
    flow.publish(kBytes);
    flow.turn();
    return last_line(log).last >= resumed_at;
  })) << "it hears of what is published now";
  EXPECT_TRUE(stopped.running()) << "and has not aborted";
  const Counts counts = last_line(log);
  const uint64_t lost = counts.last - counts.first + 1 - counts.received;
  EXPECT_GT(lost, sent / 2) << "else its queues never overflowed and this proves nothing";
  EXPECT_TRUE(flow.flows());
  std::printf(
      "%s: broker %zu MiB before, %zu MiB at most; of %lu published in %.1f s the stopped "
      "one lost %lu, the other none\n",
      tcp ? "tcp" : "ipc", before / kMib, most / kMib,
      static_cast<unsigned long>(flow.published() - published_before),
      std::chrono::duration<double>(now.mono - start.mono).count(),
      static_cast<unsigned long>(lost));
}

TEST(Stopped, ASubscriberStoppedOverTcpHarmsNobody) {
  stop_a_subscriber(true);
}
TEST(Stopped, ASubscriberStoppedOverIpcHarmsNobody) {
  stop_a_subscriber(false);
}

TEST(Stopped, ASubscriberStoppedWhileTheBrokerIsKilledComesBackWithoutAborting) {
  for (const bool tcp : {true, false}) {
    BrokerProcess broker({.tcp = tcp, .clients = {"prober-1", "recorder", "gateway"}});
    auto flow = std::make_unique<Flow>(broker);
    const std::filesystem::path log = broker.dir() / "stopped.log";
    ChildProcess stopped({.command = {GEMA_BUS_PEER_BINARY, broker.keys_dir().string(), "gateway",
                                      broker.ingress(), broker.inner(), live_prefix("ping")},
                          .log = log});
    ASSERT_TRUE(wait_until([&] {
      flow->publish(4096);
      flow->turn();
      return last_line(log).received > 0;
    }));
    ASSERT_TRUE(flow->all_arrived());
    stopped.signal(SIGSTOP);
    for (int i = 0; i < 5000; ++i) {
      flow->publish(4096);
      while (flow->under_way() > 200) flow->turn();
    }
    broker.kill9();
    broker.start();
    stopped.signal(SIGCONT);
    ASSERT_TRUE(wait_for_flow(flow->prober, flow->recorder));
    const uint64_t from_here = flow->published();
    ASSERT_TRUE(wait_until([&] {
      flow->publish(4096);
      flow->turn();
      return last_line(log).last >= from_here;
    }));
    EXPECT_TRUE(stopped.running());
  }
}

TEST(Killed, PublishersGoOnWhereTheyWereAndSubscribersKeepTheirSubscriptions) {
  BrokerProcess broker;
  Flow flow(broker);
  broker.kill9();
  for (int i = 0; i < 500; ++i) flow.publish();  // kept by the clients: fewer than their queue
  broker.start();
  // What was under way may be gone: the kernel held it, or a subscriber took longer to come back
  // than the half second it is given. From then on all arrives, in order.
  EXPECT_TRUE(flow.comes_back());
  EXPECT_TRUE(flow.flows()) << flow.gaps();
}

// ------------------------------------------------------------------------------ starting

TEST(Start, RefusesWhatWouldBeOpenOrWrongWithOneClearLine) {
  BrokerProcess broker({.tcp = true});
  const auto expect = [&](const std::vector<std::string>& environment, const std::string& text) {
    const auto [status, said] = broker.start_and_fail(environment);
    EXPECT_EQ(status, 2) << said;
    EXPECT_NE(said.find(text), std::string::npos) << said;
  };
  expect({}, "another broker runs here already");
  broker.kill9();
  expect({"GEMA_BROKER__ZAP_DOMAIN="}, "zap_domain is empty");
  const auto taken = [&](const std::string& endpoint) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port_of(endpoint);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    EXPECT_EQ(::bind(fd, static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                     sizeof address),
              0);
    EXPECT_EQ(::listen(fd, 1), 0);
    return fd;
  };
  for (const std::string& endpoint : {broker.ingress(), broker.inner(), broker.edge()}) {
    const int fd = taken(endpoint);
    expect({}, endpoint);
    ::close(fd);
  }
  std::filesystem::permissions(broker.keys_dir() / "broker.key", std::filesystem::perms(0644));
  expect({}, "chmod 600");
  std::filesystem::remove(broker.keys_dir() / "broker.key");
  expect({}, "broker.key");
  ASSERT_EQ(broker.make_keys({}), 0);
  std::ofstream(broker.keys_dir() / "clients.yaml") << "clients: 7\n";
  expect({}, "clients must be a list");
  std::filesystem::remove(broker.keys_dir() / "clients.yaml");
  expect({}, "cannot read the allow-list");
}

TEST(MakeKeys, ChangesNothingWhenAllIsThereAndKeepsWhatPeopleWrote) {
  BrokerProcess broker({.clients = {"prober-1", "recorder"}});
  const auto read = [&](const char* name) {
    std::ifstream file(broker.keys_dir() / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  };
  const std::string list = read("clients.yaml");
  const std::string key = read("prober-1.key");
  ASSERT_EQ(broker.make_keys({"--client", "prober-1", "--client", "recorder=recorder"}), 0);
  EXPECT_EQ(read("clients.yaml"), list);
  EXPECT_EQ(read("prober-1.key"), key);

  std::string edited = list;
  const std::string kind = "kind: \"recorder\"";
  edited.replace(edited.find(kind), kind.size(), "kind: \"custom\"");
  std::ofstream(broker.keys_dir() / "clients.yaml") << edited;
  ASSERT_EQ(broker.make_keys({"--client", "recorder", "--client", "prober-2"}), 0);
  EXPECT_NE(read("clients.yaml").find("custom"), std::string::npos);
  EXPECT_NE(read("clients.yaml").find("prober-2"), std::string::npos);

  EXPECT_EQ(broker.make_keys({"--client", "emperor"}), 2);
  EXPECT_EQ(broker.make_keys({"--client", "bandung=prober"}), 2);
  EXPECT_EQ(broker.make_keys({"--client", "../x=recorder"}), 2);
  EXPECT_EQ(broker.make_keys({"--remove-client", "../x"}), 2);
}

}  // namespace
}  // namespace gema::broker
