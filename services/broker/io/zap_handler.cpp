#include "services/broker/io/zap_handler.h"

#include <fmt/format.h>
#include <pthread.h>

#include <array>
#include <vector>
#include <zmq.hpp>

#include "common/bus/secure_socket.h"

namespace gema::broker {
namespace {

constexpr const char* kZapEndpoint = "inproc://zeromq.zap.01";
constexpr const char* kStopEndpoint = "inproc://gema.zap.stop";
constexpr size_t kKeyBytes = 32;

// Frames of a request: version, request id, domain, address, identity, mechanism, credentials.
enum { kVersion, kRequestId, kDomain, kAddress, kIdentity, kMechanism, kCredentials, kFrames };

std::string z85(std::string_view raw) {
  std::array<char, kKeyBytes * 5 / 4 + 1> text{};
  if (raw.size() != kKeyBytes) return "";
  const std::string copy(raw);
  std::array<uint8_t, kKeyBytes> bytes{};
  for (size_t i = 0; i < kKeyBytes; ++i) bytes[i] = static_cast<uint8_t>(copy[i]);
  return zmq_z85_encode(text.data(), bytes.data(), bytes.size()) == nullptr ? "" : text.data();
}

}  // namespace

ZapHandler::ZapHandler(ZapDomains domains, const SharedAllowList& clients)
    : domains_(std::move(domains)), clients_(clients) {}

Result<std::unique_ptr<ZapHandler>> ZapHandler::start(zmq::context_t& context, ZapDomains domains,
                                                      const SharedAllowList& clients) try {
  std::unique_ptr<ZapHandler> handler(new ZapHandler(std::move(domains), clients));
  handler->socket_ = std::make_unique<zmq::socket_t>(context, zmq::socket_type::rep);
  handler->stop_in_ = std::make_unique<zmq::socket_t>(context, zmq::socket_type::pair);
  handler->stop_out_ = std::make_unique<zmq::socket_t>(context, zmq::socket_type::pair);
  for (auto* socket : {&handler->socket_, &handler->stop_in_, &handler->stop_out_}) {
    (*socket)->set(zmq::sockopt::linger, 0);
  }
  handler->socket_->bind(kZapEndpoint);
  handler->stop_in_->bind(kStopEndpoint);
  handler->stop_out_->connect(kStopEndpoint);
  handler->thread_ =  // lint: allow(thread) a ZAP handler must answer while the loop is busy
      std::thread([raw = handler.get()] { raw->run(); });  // lint: allow(thread) see above
  return handler;
} catch (const zmq::error_t& error) {
  return Error{Errc::kPermanent, fmt::format("cannot start the ZAP handler: {}", error.what())};
}

ZapHandler::~ZapHandler() {
  if (!thread_.joinable()) return;
  zmq_send(stop_out_->handle(), "", 0, ZMQ_DONTWAIT);
  thread_.join();
}

void ZapHandler::run() {
  pthread_setname_np(pthread_self(), "zap");
  while (true) {
    std::array<zmq_pollitem_t, 2> items{
        {{socket_->handle(), 0, ZMQ_POLLIN, 0}, {stop_in_->handle(), 0, ZMQ_POLLIN, 0}}};
    if (zmq_poll(items.data(), static_cast<int>(items.size()), -1) < 0) {
      if (zmq_errno() == EINTR) continue;
      return;  // the context is gone
    }
    if ((items[1].revents & ZMQ_POLLIN) != 0) return;
    if ((items[0].revents & ZMQ_POLLIN) != 0) answer_one();
  }
}

void ZapHandler::answer_one() {
  std::vector<std::string> frames;
  zmq::message_t frame;
  do {
    if (zmq_msg_recv(frame.handle(), socket_->handle(), ZMQ_DONTWAIT) < 0) return;
    // Only this process can reach the endpoint, so the frames are libzmq's own and few.
    if (frames.size() < kFrames) frames.emplace_back(frame.to_string());
  } while (frame.more());

  std::string user;
  if (frames.size() != kFrames || frames[kVersion] != "1.0" || frames[kMechanism] != "CURVE") {
    ++counts_.malformed;
    frames.resize(kFrames);
  } else {
    const std::string key = z85(frames[kCredentials]);
    const auto list = clients_.get();
    const Client* client = list->find_key(key);
    const std::string& domain = frames[kDomain];
    if (client == nullptr) {
      ++counts_.unknown_key;
    } else if (domain == domains_.ingress ||
               (domain == domains_.inner && client->role == Role::kInner) ||
               (domain == domains_.edge && client->role == Role::kEdge)) {
      ++counts_.accepted;
      user = key;
    } else {
      ++counts_.wrong_role;
    }
  }
  const std::array<std::string, 6> reply = {"1.0",
                                            frames[kRequestId],
                                            user.empty() ? "400" : "200",
                                            user.empty() ? "No access" : "OK",
                                            user,
                                            ""};
  for (size_t i = 0; i < reply.size(); ++i) {
    const int more = i + 1 < reply.size() ? ZMQ_SNDMORE : 0;
    if (zmq_send(socket_->handle(), reply[i].data(), reply[i].size(), more) < 0) return;
  }
}

}  // namespace gema::broker
