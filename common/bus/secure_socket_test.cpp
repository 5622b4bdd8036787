// What libzmq itself does with our options, without a broker: above all that it fails closed.
#include "common/bus/secure_socket.h"

#include <gtest/gtest.h>

#include <zmq.hpp>

#include "common/bus/limits.h"
#include "tests/support/wait_until.h"

namespace gema::bus {
namespace {

constexpr int kOutcomes = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                          ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                          ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_DISCONNECTED;

constexpr WireLimits kLimits{kWireBytesMax, 100, 100};

// Connects a client with a key of its own to `server`; the first outcome the server sees.
int first_outcome(zmq::context_t& context, zmq::socket_t& server, const KeyPair& server_keys) {
  SocketMonitor monitor;
  EXPECT_TRUE(monitor.start(context, server.handle(), kOutcomes));
  server.bind("tcp://127.0.0.1:*");
  zmq::socket_t client(context, zmq::socket_type::push);
  EXPECT_TRUE(set_wire_options(client.handle(), kLimits));
  EXPECT_TRUE(secure_client(client.handle(), *make_key_pair(), server_keys.public_key));
  client.connect(server.get(zmq::sockopt::last_endpoint));
  SocketEvent event;
  EXPECT_TRUE(gema::testing::wait_until([&] { return monitor.next(event); }));
  monitor.stop();
  return event.event;
}

TEST(SecureSocket, WithoutAZapHandlerNobodyIsLetIn) {
  zmq::context_t context(1);
  const KeyPair keys = *make_key_pair();
  zmq::socket_t server(context, zmq::socket_type::pull);
  ASSERT_TRUE(set_wire_options(server.handle(), kLimits));
  ASSERT_TRUE(secure_server(server.handle(), keys, "gema.ingress"));
  EXPECT_NE(first_outcome(context, server, keys), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

TEST(SecureSocket, WithoutTheEnforcedDomainLibzmqWouldLetEverybodyIn) {
  // The control to the test above: if this one fails, libzmq has changed and that one proves
  // nothing any more.
  zmq::context_t context(1);
  const KeyPair keys = *make_key_pair();
  zmq::socket_t server(context, zmq::socket_type::pull);
  server.set(zmq::sockopt::linger, 0);
  server.set(zmq::sockopt::curve_server, true);
  server.set(zmq::sockopt::curve_secretkey, keys.secret_key);
  EXPECT_EQ(first_outcome(context, server, keys), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
  EXPECT_FALSE(check_server_is_secure(server.handle()));
}

TEST(SecureSocket, AnEmptyDomainIsRefused) {
  zmq::context_t context(1);
  zmq::socket_t server(context, zmq::socket_type::pull);
  const auto done = secure_server(server.handle(), *make_key_pair(), "");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kBadInput);
}

TEST(SecureSocket, WhatIsReadBackDecides) {
  zmq::context_t context(1);
  const KeyPair keys = *make_key_pair();
  const auto secured = [&] {
    zmq::socket_t socket(context, zmq::socket_type::pull);
    EXPECT_TRUE(secure_server(socket.handle(), keys, "gema.ingress"));
    EXPECT_TRUE(check_server_is_secure(socket.handle()));
    return socket;
  };
  const int off = 0;
  zmq::socket_t not_enforced = secured();
  ASSERT_EQ(zmq_setsockopt(not_enforced.handle(), 93, &off, sizeof off), 0);
  EXPECT_FALSE(check_server_is_secure(not_enforced.handle()));
  zmq::socket_t no_domain(context, zmq::socket_type::pull);
  no_domain.set(zmq::sockopt::curve_server, true);
  no_domain.set(zmq::sockopt::curve_secretkey, keys.secret_key);
  const int on = 1;
  ASSERT_EQ(zmq_setsockopt(no_domain.handle(), 93, &on, sizeof on), 0);
  const auto unsafe = check_server_is_secure(no_domain.handle());
  ASSERT_FALSE(unsafe);
  EXPECT_NE(unsafe.error().message.find("domain is empty"), std::string::npos);
  zmq::socket_t no_curve = secured();
  ASSERT_EQ(zmq_setsockopt(no_curve.handle(), ZMQ_CURVE_SERVER, &off, sizeof off), 0);
  EXPECT_FALSE(check_server_is_secure(no_curve.handle()));
  zmq::socket_t untouched(context, zmq::socket_type::pull);
  EXPECT_FALSE(check_server_is_secure(untouched.handle()));
}

TEST(SecureSocket, SizesAndQueuesArriveAndZmtpHeartbeatsStayOff) {
  zmq::context_t context(1);
  zmq::socket_t socket(context, zmq::socket_type::pull);
  ASSERT_TRUE(set_wire_options(socket.handle(), {1234, 5, 6}));
  EXPECT_EQ(socket.get(zmq::sockopt::maxmsgsize), 1234);
  EXPECT_EQ(socket.get(zmq::sockopt::sndhwm), 5);
  EXPECT_EQ(socket.get(zmq::sockopt::rcvhwm), 6);
  EXPECT_EQ(socket.get(zmq::sockopt::linger), 0);
  EXPECT_EQ(socket.get(zmq::sockopt::handshake_ivl), kHandshakeMs);
  EXPECT_EQ(socket.get(zmq::sockopt::tcp_maxrt), kTcpMaxRetryMs);
  EXPECT_EQ(socket.get(zmq::sockopt::tcp_keepalive), 1);
  EXPECT_EQ(socket.get(zmq::sockopt::heartbeat_ivl), 0);
}

TEST(SecureSocket, OneContextServesTheWholeProcessAndGoesWithItsLastUser) {
  auto first = process_context();
  const auto second = process_context();
  EXPECT_EQ(first, second);
  std::weak_ptr<zmq::context_t> watch = first;
  first.reset();
  EXPECT_FALSE(watch.expired());
}

}  // namespace
}  // namespace gema::bus
