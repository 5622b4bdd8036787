#include "services/broker/io/forwarder.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>
#include <zmq.hpp>

#include "common/base/assert.h"
#include "common/bus/limits.h"
#include "common/bus/secure_socket.h"
#include "gema/v1/inventory.pb.h"
#include "services/broker/core/limits.h"
#include "services/broker/io/zap_handler.h"

namespace gema::broker {
namespace {

constexpr int kWatchedEvents = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED |
                               ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;

// Queues are counted in messages; sized so that even the largest stay within the bytes.
int messages_for(size_t bytes) {
  return static_cast<int>(std::max<size_t>(16, bytes / bus::kFrameBytesMax));
}

int zmq_fd(void* socket) {
  int fd = -1;
  size_t size = sizeof fd;
  return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

// The key of the connection a message came over; empty when libzmq does not say.
std::string_view user_of(zmq_msg_t* message) {
  const char* user = zmq_msg_gets(message, "User-Id");
  return user == nullptr ? std::string_view() : std::string_view(user);
}

// One listening socket with its connections.
struct Listener {
  Listener(const char* n, Role r, size_t connections_max, obs::Metrics& m)
      : name(n),
        role(r),
        connections({connections_max, kSubscriptionsMax, kSubscriptionBytesMax}),
        metrics(&m),
        open(&m.gauge("connections", "Connections just now.", {{"socket", n}})),
        shaken(&m.counter("handshakes_total", "Handshakes by socket and outcome.",
                          {{"socket", n}, {"outcome", "accepted"}})),
        refused(&m.counter("handshakes_total", "", {{"socket", n}, {"outcome", "refused"}})),
        garbled(&m.counter("handshakes_total", "", {{"socket", n}, {"outcome", "garbled"}})) {}

  // The kernel ends the connection, libzmq notices and cleans up, the client comes back.
  void cut(int fd, Verdict why, const Forwarder::OnCut& on_cut) const {
    ::shutdown(fd, SHUT_RDWR);
    metrics
        ->counter("cut_total", "Connections the broker ended, by reason.",
                  {{"socket", name}, {"reason", to_string(why)}})
        .Increment();
    on_cut(name, why);
  }

  void drain_events(const Forwarder::OnCut& on_cut);

  // What libzmq has waiting for us. Looking costs a system call even in vain, so we look when the
  // descriptor says so; and at the subscriptions now and then besides, since sending takes them in
  // (they are in force then, just not accounted for) and swallows the descriptor's word.
  bool events_wait = true;
  bool subscriptions_wait = true;

  const char* name;
  Role role;  // egress only
  std::string endpoint;
  zmq::socket_t socket;
  bus::SocketMonitor monitor;
  Connections connections;
  obs::Metrics* metrics;
  prometheus::Gauge* open;
  prometheus::Counter* shaken;
  prometheus::Counter* refused;
  prometheus::Counter* garbled;
};

void Listener::drain_events(const Forwarder::OnCut& on_cut) {
  events_wait = false;
  bus::SocketEvent event;
  while (monitor.next(event)) {
    switch (event.event) {
      case ZMQ_EVENT_ACCEPTED: {
        const Verdict verdict = connections.on_accepted(event.value);
        if (verdict != Verdict::kKeep) cut(event.value, verdict, on_cut);
        break;
      }
      case ZMQ_EVENT_DISCONNECTED:
        connections.on_closed(event.value);
        break;
      case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        shaken->Increment();
        break;
      case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        refused->Increment();
        break;
      default:
        garbled->Increment();
        break;
    }
  }
  open->Set(static_cast<double>(connections.size()));
}

}  // namespace

struct Forwarder::Impl {
  Impl(const ForwarderOptions& options, const SharedAllowList& shared, obs::Metrics& metrics);

  Result<void> start(const ForwarderOptions& options);
  Result<void> make_socket(Listener& listener, zmq::socket_type type, const std::string& domain,
                           const bus::WireLimits& limits);
  Result<void> bind(Listener& listener);
  bool take_messages(const OnRefused& on_refused);
  void take_message(const AllowList& list, const OnRefused& on_refused);
  void refuse(std::string_view name, Refusal why, std::string_view topic,
              const OnRefused& on_refused);
  bool take_subscriptions(Listener& listener, const OnCut& on_cut);

  const SharedAllowList& clients;
  bus::KeyPair keys;
  std::shared_ptr<zmq::context_t> context = bus::process_context();
  std::unique_ptr<ZapHandler> zap;
  Listener ingress;
  Listener inner;
  Listener edge;
  zmq::message_t message;
  zmq::message_t copy;
  std::array<prometheus::Counter*, 10> forwarded{};  // by TopicKind
  std::array<prometheus::Counter*, kRefusals> refused{};
  prometheus::Counter* bytes = nullptr;
  prometheus::Counter* to_edge = nullptr;
  prometheus::Counter* subscriptions = nullptr;
  bool sent = false;  // since all was looked at
};

Forwarder::Impl::Impl(const ForwarderOptions& options, const SharedAllowList& shared,
                      obs::Metrics& metrics)
    : clients(shared),
      keys(options.keys),
      ingress("ingress", Role::kInner, options.connections_max, metrics),
      inner("inner", Role::kInner, options.connections_max, metrics),
      edge("edge", Role::kEdge, options.connections_max, metrics) {
  ingress.endpoint = options.ingress;
  inner.endpoint = options.inner;
  edge.endpoint = options.edge;
  for (size_t i = 0; i < forwarded.size(); ++i) {
    const std::string kind(to_string(static_cast<bus::TopicKind>(i)));
    forwarded[i] = &metrics.counter("messages_total", "Messages forwarded, by kind of topic.",
                                    {{"kind", kind}});
  }
  for (int i = 1; i < kRefusals; ++i) {
    refused[static_cast<size_t>(i)] =
        &metrics.counter("refused_total", "Messages not forwarded, by reason.",
                         {{"reason", to_string(static_cast<Refusal>(i))}});
  }
  bytes = &metrics.counter("bytes_total", "Bytes of the messages forwarded.");
  to_edge = &metrics.counter("messages_to_edge_total", "Messages forwarded to the edge role too.");
  subscriptions = &metrics.counter("subscriptions_total", "Subscriptions and cancellations.");
}

Result<void> Forwarder::Impl::make_socket(Listener& listener, zmq::socket_type type,
                                          const std::string& domain,
                                          const bus::WireLimits& limits) try {
  listener.socket = zmq::socket_t(*context, type);
  void* socket = listener.socket.handle();
  auto done = bus::set_wire_options(socket, limits);
  if (done) done = bus::secure_server(socket, keys, domain);
  if (!done) return done;
  listener.socket.set(zmq::sockopt::backlog, kListenBacklog);
  if (type == zmq::socket_type::xpub) listener.socket.set(zmq::sockopt::xpub_verbose, 1);
  return listener.monitor.start(*context, socket, kWatchedEvents);
} catch (const zmq::error_t& error) {
  return Error{Errc::kPermanent,
               fmt::format("cannot make the {} socket: {}", listener.name, error.what())};
}

Result<void> Forwarder::Impl::bind(Listener& listener) {
  auto secure = bus::check_server_is_secure(listener.socket.handle());
  if (!secure) return secure;
  if (zmq_bind(listener.socket.handle(), listener.endpoint.c_str()) != 0) {
    return Error{Errc::kPermanent, fmt::format("cannot listen on {} ({}): {}", listener.endpoint,
                                               listener.name, bus::last_zmq_error())};
  }
  return {};
}

Result<void> Forwarder::Impl::start(const ForwarderOptions& options) {
  const auto domain = [&](const char* which) {
    return options.zap_domain.empty() ? std::string() : options.zap_domain + "." + which;
  };
  const ZapDomains domains{domain("ingress"), domain("inner"), domain("edge")};
  auto handler = ZapHandler::start(*context, domains, clients);
  if (!handler) return handler.error();
  zap = std::move(*handler);

  const int in_queue = messages_for(options.ingress_queue_bytes);
  const int out_queue = messages_for(options.egress_queue_bytes);
  auto done = make_socket(ingress, zmq::socket_type::pull, domains.ingress,
                          {bus::kWireBytesMax, in_queue, in_queue});
  const bus::WireLimits egress{bus::kControlWireBytesMax, out_queue, kSubscriptionQueueMax};
  if (done) done = make_socket(inner, zmq::socket_type::xpub, domains.inner, egress);
  if (done) done = make_socket(edge, zmq::socket_type::xpub, domains.edge, egress);
  if (done) done = bind(inner);
  if (done) done = bind(edge);
  return done;
}

void Forwarder::Impl::refuse(std::string_view name, Refusal why, std::string_view topic,
                             const OnRefused& on_refused) {
  refused[static_cast<size_t>(why)]->Increment();
  on_refused(name, why, topic);
}

void Forwarder::Impl::take_message(const AllowList& list, const OnRefused& on_refused) {
  const Client* client = list.find_key(user_of(message.handle()));
  const std::string_view name = client == nullptr ? "" : std::string_view(client->name);
  if (message.more()) {
    while (message.more()) {
      if (zmq_msg_recv(message.handle(), ingress.socket.handle(), ZMQ_DONTWAIT) < 0) break;
    }
    return refuse(name, Refusal::kMultipart, "", on_refused);
  }
  if (client == nullptr) return refuse(name, Refusal::kUnknownKey, "", on_refused);
  const std::string_view frame = message.to_string_view();
  const std::string_view head = frame.substr(0, bus::kTopicBytesMax + 1);
  const size_t nul = head.find('\0');
  const auto topic =
      nul == std::string_view::npos ? std::nullopt : bus::parse_topic(head.substr(0, nul));
  if (!topic || frame.size() > bus::kFrameBytesMax) {
    return refuse(name, Refusal::kNotATopic, head.substr(0, std::min(nul, head.size())),
                  on_refused);
  }
  const Refusal why = may_publish(*client, *topic);
  if (why != Refusal::kNone) return refuse(name, why, head.substr(0, nul), on_refused);

  sent = true;
  forwarded[static_cast<size_t>(topic->kind)]->Increment();
  bytes->Increment(static_cast<double>(frame.size()));
  if (edge_sees(*topic)) {
    to_edge->Increment();
    copy.copy(message);
    zmq_msg_send(copy.handle(), edge.socket.handle(), ZMQ_DONTWAIT);
  }
  zmq_msg_send(message.handle(), inner.socket.handle(), ZMQ_DONTWAIT);
}

bool Forwarder::Impl::take_messages(const OnRefused& on_refused) {
  const auto list = clients.get();
  for (size_t i = 0; i < kMessagesPerTurn; ++i) {
    if (zmq_msg_recv(message.handle(), ingress.socket.handle(), ZMQ_DONTWAIT) < 0) return false;
    take_message(*list, on_refused);
  }
  return true;
}

bool Forwarder::Impl::take_subscriptions(Listener& listener, const OnCut& on_cut) {
  struct Subscription {
    int fd = -1;
    std::string key;
    size_t bytes = 0;
    bool valid = false;
  };
  std::vector<Subscription> taken;
  bool more = true;
  while (taken.size() < kSubscriptionsPerTurn) {
    if (zmq_msg_recv(message.handle(), listener.socket.handle(), ZMQ_DONTWAIT) < 0) {
      more = false;
      break;
    }
    const std::string_view frame = message.to_string_view();
    const std::string_view key = user_of(message.handle());
    if (key.empty()) continue;  // libzmq takes back the subscriptions of a connection that ended
    taken.push_back({zmq_msg_get(message.handle(), ZMQ_SRCFD), std::string(key), frame.size(),
                     !frame.empty() && (frame[0] == 0 || frame[0] == 1)});
  }
  listener.subscriptions_wait = more;
  // After the messages, so that the account of each connection they came over has been opened.
  listener.drain_events(on_cut);
  for (const Subscription& subscription : taken) {
    subscriptions->Increment();
    Verdict verdict =
        listener.connections.on_subscription(subscription.fd, subscription.key, subscription.bytes);
    if (!subscription.valid) verdict = Verdict::kNotASubscription;
    if (verdict == Verdict::kKeep) continue;
    listener.cut(subscription.fd, verdict, on_cut);
    listener.connections.on_closed(subscription.fd);  // once is enough
  }
  return more;
}

Forwarder::Forwarder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Forwarder::~Forwarder() {
  // Monitors before the sockets they watch, sockets before the handler that vouches for them.
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    listener->monitor.stop();
    listener->socket.close();
  }
  impl_->zap.reset();
}

Result<std::unique_ptr<Forwarder>> Forwarder::open(const ForwarderOptions& options,
                                                   const SharedAllowList& clients,
                                                   obs::Metrics& metrics) {
  std::unique_ptr<Forwarder> forwarder(
      new Forwarder(std::make_unique<Impl>(options, clients, metrics)));
  auto started = forwarder->impl_->start(options);
  if (!started) return started.error();
  return forwarder;
}

Result<void> Forwarder::bind_ingress() {
  return impl_->bind(impl_->ingress);
}

bool Forwarder::turn(bool look_at_all, const OnRefused& on_refused, const OnCut& on_cut) {
  bool more = false;
  if (look_at_all) impl_->sent = false;
  for (Listener* listener : {&impl_->inner, &impl_->edge}) {
    if (listener->subscriptions_wait || look_at_all) {
      more = impl_->take_subscriptions(*listener, on_cut) || more;
    }
  }
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    if (listener->events_wait || look_at_all) listener->drain_events(on_cut);
  }
  return impl_->take_messages(on_refused) || more;
}

bool Forwarder::should_look_at_all() const {
  return impl_->sent;
}

void Forwarder::on_readable(int fd) {
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    if (fd == zmq_fd(listener->socket.handle())) listener->subscriptions_wait = true;
    if (fd == listener->monitor.fd()) listener->events_wait = true;
  }
}

void Forwarder::publish_heartbeat(const std::string& process, WallTime started, WallTime now) {
  v1::Heartbeat heartbeat;
  heartbeat.set_process(process);
  heartbeat.set_kind(std::string(bus::kBrokerName));
  heartbeat.set_at_us(unix_us(now));
  heartbeat.set_started_at_us(unix_us(started));
  heartbeat.set_ready(true);
  std::string frame = bus::heartbeat_topic(process);
  frame += '\0';
  frame += heartbeat.SerializeAsString();
  impl_->sent = true;
  zmq_send(impl_->inner.socket.handle(), frame.data(), frame.size(), ZMQ_DONTWAIT);
}

void Forwarder::cut_revoked(const OnCut& on_cut) {
  const auto list = impl_->clients.get();
  for (Listener* listener : {&impl_->inner, &impl_->edge}) {
    const auto revoked = [&](const std::string& key) {
      const Client* client = list->find_key(key);
      return client == nullptr || client->role != listener->role;
    };
    for (const int fd : listener->connections.of_keys(revoked)) {
      listener->cut(fd, Verdict::kKeyRevoked, on_cut);
    }
  }
}

void Forwarder::cut_all(const OnCut& on_cut) {
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    for (const int fd : listener->connections.all()) listener->cut(fd, Verdict::kMemory, on_cut);
  }
}

std::vector<int> Forwarder::fds() const {
  std::vector<int> all;
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    all.push_back(zmq_fd(listener->socket.handle()));
    all.push_back(listener->monitor.fd());
  }
  return all;
}

std::vector<std::string> Forwarder::bound_endpoints() const {
  std::vector<std::string> all;
  for (Listener* listener : {&impl_->ingress, &impl_->inner, &impl_->edge}) {
    const auto endpoint = listener->socket.get(zmq::sockopt::last_endpoint);
    if (!endpoint.empty()) all.push_back(fmt::format("{} {}", listener->name, endpoint));
  }
  return all;
}

}  // namespace gema::broker
