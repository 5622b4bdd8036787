#include "common/bus/calls.h"

#include <fmt/format.h>
#include <sodium.h>
#include <xxhash.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "common/base/assert.h"
#include "common/bus/limits.h"
#include "common/bus/topics.h"
#include "gema/v1/call.pb.h"
#include "proto/parse.h"

namespace gema::bus {
namespace {

// Two hosts' wall clocks may differ; a request is late only when it is late for any of them. Guess.
constexpr Duration kClockSkewMax = 2s;

uint64_t random_id() {
  GEMA_ASSERT(sodium_init() >= 0);
  uint64_t id = 0;
  while (id == 0) randombytes_buf(&id, sizeof id);
  return id;
}

uint64_t digest_of(std::string_view bytes) {
  return XXH64(bytes.data(), bytes.size(), 0);
}

Errc errc_from(uint32_t code) {
  return code <= static_cast<uint32_t>(Errc::kUnavailable) ? static_cast<Errc>(code)
                                                           : Errc::kPermanent;
}

CallTransport transport_of(BusClient& client) {
  return {[&client](std::string_view topic, std::string_view payload) {
            return client.publish(topic, payload);
          },
          [&client] { return client.connected(); }};
}

}  // namespace

// ---------------------------------------------------------------------------------- Caller

struct Caller::Impl {
  struct Open {
    std::string topic;
    std::string request;  // serialised, to be repeated as it is
    Done done;
    MonoTime deadline;
    MonoTime repeat_at;
    std::string what;  // "inventory device.create", for errors
    // The reply, as far as it has come.
    uint64_t digest = 0;
    std::vector<std::optional<std::string>> parts;
    size_t parts_missing = 0;
    size_t bytes = 0;
  };

  CallTransport transport;
  std::string name;
  std::string topic;
  std::map<uint64_t, Open> open;                // <= kCallsOpenMax; full: the call fails at once
  std::vector<std::pair<Done, Error>> refused;  // told at the next tick; <= kCallsOpenMax
  size_t bytes_held = 0;
  CallerStats stats;

  Error no_answer(const Open& call) const {
    if (transport.connected()) {
      return {Errc::kTimeout, fmt::format("{}: no answer in time", call.what)};
    }
    return {Errc::kUnavailable, fmt::format("{}: the bus is away", call.what)};
  }

  // Takes the call off the table before its callback, which may call again.
  void finish(std::map<uint64_t, Open>::iterator at, Result<std::string> result) {
    Done done = std::move(at->second.done);
    bytes_held -= at->second.bytes;
    open.erase(at);
    done(std::move(result));
  }

  void take_part(std::map<uint64_t, Open>::iterator at, v1::CallReply& reply, Now now);
};

Caller::Caller(BusClient& client, std::string name)
    : Caller(transport_of(client), std::move(name)) {
  client.subscribe(impl_->topic);
}

Caller::Caller(CallTransport transport, std::string name) : impl_(std::make_unique<Impl>()) {
  impl_->transport = std::move(transport);
  impl_->topic = reply_topic(name);
  impl_->name = std::move(name);
}

Caller::~Caller() = default;

void Caller::call(std::string_view process, std::string_view method, std::string body,
                  Duration deadline, Done done, Now now) {
  GEMA_ASSERT(deadline > Duration::zero() && deadline <= kReplyRememberedFor);
  Impl& impl = *impl_;
  ++impl.stats.started;
  std::string what = fmt::format("{} {}", process, method);
  const auto refuse = [&](Errc code, std::string_view why) {
    ++impl.stats.refused;
    // Told at the next tick: the caller's own state may be half changed. Only when nobody ticks
    // (the queue is full) is the oldest told right here.
    if (impl.refused.size() >= kCallsOpenMax) {
      auto [oldest, error] = std::move(impl.refused.front());
      impl.refused.erase(impl.refused.begin());
      oldest(std::move(error));
    }
    impl.refused.emplace_back(std::move(done), Error{code, fmt::format("{}: {}", what, why)});
  };
  if (!is_valid_name(process)) return refuse(Errc::kBadInput, "no such process name");
  if (body.size() > kCallBodyBytesMax) {
    return refuse(Errc::kBadInput, fmt::format("request of {} bytes, at most {} are allowed",
                                               body.size(), kCallBodyBytesMax));
  }
  if (impl.open.size() >= kCallsOpenMax) {
    return refuse(Errc::kUnavailable, fmt::format("{} calls are open already", kCallsOpenMax));
  }

  uint64_t id = random_id();
  while (impl.open.contains(id)) id = random_id();
  v1::CallRequest request;
  request.set_id(id);
  request.set_caller(impl.name);
  request.set_method(std::string(method));
  request.set_deadline_us(unix_us(now.wall + deadline));
  request.set_body(std::move(body));

  Impl::Open call;
  call.topic = call_topic(process);
  call.request = request.SerializeAsString();
  call.done = std::move(done);
  call.deadline = now.mono + deadline;
  call.repeat_at = now.mono + kCallRepeatAfter;
  call.what = std::move(what);
  impl.transport.publish(call.topic, call.request);  // lost? It is repeated.
  impl.open.emplace(id, std::move(call));
}

bool Caller::on_message(std::string_view topic, std::string_view payload, Now now) {
  Impl& impl = *impl_;
  if (topic != impl.topic) return false;
  v1::CallReply reply;
  if (!parse(payload, reply)) {
    ++impl.stats.unexpected;
    return true;
  }
  const auto at = impl.open.find(reply.id());
  if (at == impl.open.end()) {
    ++impl.stats.unexpected;  // most often the second answer to a repeated request
    return true;
  }
  if (reply.has_error()) {
    ++impl.stats.failed;
    impl.finish(at, Error{errc_from(reply.error().code()), reply.error().message()});
    return true;
  }
  impl.take_part(at, reply, now);
  return true;
}

void Caller::Impl::take_part(std::map<uint64_t, Open>::iterator at, v1::CallReply& reply, Now now) {
  Open& call = at->second;
  if (reply.parts() == 0 || reply.parts() > kReplyPartsMax || reply.part() >= reply.parts()) {
    ++stats.unexpected;
    return;
  }
  if (call.parts.size() != reply.parts() || call.digest != reply.digest()) {
    // The first part, or another answer to the same request (the callee restarted): begin anew.
    bytes_held -= call.bytes;
    call.bytes = 0;
    call.parts.assign(reply.parts(), std::nullopt);
    call.parts_missing = reply.parts();
    call.digest = reply.digest();
  }
  auto& slot = call.parts[reply.part()];
  call.repeat_at = now.mono + kCallRepeatAfter;  // it is coming: do not ask for all of it again
  if (slot) return;
  if (bytes_held + reply.body().size() > kReplyBytesHeldMax) {
    ++stats.refused;
    finish(at,
           Error{Errc::kUnavailable, fmt::format("{}: too many large replies at once", call.what)});
    return;
  }
  bytes_held += reply.body().size();
  call.bytes += reply.body().size();
  slot = std::move(*reply.mutable_body());
  if (--call.parts_missing > 0) return;

  std::string whole;
  whole.reserve(call.bytes);
  for (const auto& part : call.parts) whole += *part;
  if (digest_of(whole) != call.digest) {
    ++stats.unexpected;
    bytes_held -= call.bytes;
    call.bytes = 0;
    call.parts.clear();
    call.repeat_at = now.mono;
    return;
  }
  ++stats.answered;
  finish(at, std::move(whole));
}

std::optional<MonoTime> Caller::tick(Now now) {
  Impl& impl = *impl_;
  for (auto& [done, error] : std::exchange(impl.refused, {})) done(std::move(error));
  std::vector<uint64_t> late;
  for (auto& [id, call] : impl.open) {
    if (now.mono >= call.deadline) {
      late.push_back(id);
    } else if (now.mono >= call.repeat_at) {
      ++impl.stats.repeated;
      call.repeat_at = now.mono + kCallRepeatAfter;
      impl.transport.publish(call.topic, call.request);
    }
  }
  for (const uint64_t id : late) {
    const auto at = impl.open.find(id);
    if (at == impl.open.end()) continue;
    ++impl.stats.timed_out;
    impl.finish(at, impl.no_answer(at->second));
  }
  std::optional<MonoTime> next;
  if (!impl.refused.empty()) next = now.mono;
  for (const auto& [id, call] : impl.open) {
    const MonoTime due = std::min(call.deadline, call.repeat_at);
    if (!next || due < *next) next = due;
  }
  return next;
}

size_t Caller::open_calls() const {
  return impl_->open.size();
}
const CallerStats& Caller::stats() const {
  return impl_->stats;
}

// ------------------------------------------------------------------------------ CallServer

struct Responder::Request {
  std::weak_ptr<CallServer::Impl> server;
  std::string caller;
  uint64_t id = 0;
  MonoTime give_up_at;  // unanswered: nobody listens any more
  MonoTime forget_at;   // answered: nobody repeats any more
  bool answered = false;
  // Once answered: what to say again. The error is unset when the body is the answer.
  std::string body;
  std::optional<Error> error;
};

struct CallServer::Impl {
  using Key = std::pair<std::string, uint64_t>;  // caller, id
  using RequestPtr = std::shared_ptr<Responder::Request>;

  CallTransport transport;
  std::string name;
  std::string topic;
  std::map<std::string, Handler, std::less<>> handlers;
  std::map<Key, RequestPtr> known;  // pending <= kCallsPendingMax, answered <= kRepliesRemembered
  std::deque<RequestPtr> answered;  // in the order of their answers; the oldest is forgotten first
  size_t answered_bytes = 0;        // <= kReplyBytesRemembered
  CallServerStats stats;

  size_t pending() const { return known.size() - answered.size(); }

  void publish_error(const std::string& caller, uint64_t id, const Error& error) {
    v1::CallReply reply;
    reply.set_id(id);
    reply.mutable_error()->set_code(static_cast<uint32_t>(error.code));
    reply.mutable_error()->set_message(error.message.substr(0, 4096));
    transport.publish(reply_topic(caller), reply.SerializeAsString());
  }

  void publish_answer(const Responder::Request& request) {
    ++stats.replies;
    if (request.error) return publish_error(request.caller, request.id, *request.error);
    const std::string to = reply_topic(request.caller);
    const size_t parts =
        std::max<size_t>(1, (request.body.size() + kCallBodyBytesMax - 1) / kCallBodyBytesMax);
    v1::CallReply reply;
    reply.set_id(request.id);
    reply.set_parts(static_cast<uint32_t>(parts));
    reply.set_digest(digest_of(request.body));
    for (size_t i = 0; i < parts; ++i) {
      reply.set_part(static_cast<uint32_t>(i));
      reply.set_body(request.body.substr(i * kCallBodyBytesMax, kCallBodyBytesMax));
      transport.publish(to, reply.SerializeAsString());
    }
  }

  void forget_oldest() {
    const RequestPtr oldest = answered.front();
    answered.pop_front();
    answered_bytes -= oldest->body.size();
    known.erase({oldest->caller, oldest->id});
  }

  void remember(const RequestPtr& request) {
    if (request->body.size() > kReplyBytesRemembered) {
      known.erase({request->caller, request->id});
      return;
    }
    answered.push_back(request);
    answered_bytes += request->body.size();
    while (answered.size() > kRepliesRemembered || answered_bytes > kReplyBytesRemembered) {
      forget_oldest();
    }
  }

  void finish(const RequestPtr& request, Result<std::string> result) {
    if (request->answered) return;
    request->answered = true;
    const bool still_wanted = known.contains({request->caller, request->id});
    if (!result) {
      request->error = result.error();
    } else if (result->size() > kReplyPartsMax * kCallBodyBytesMax) {
      request->error =
          Error{Errc::kPermanent, fmt::format("reply of {} bytes, at most {} travel",
                                              result->size(), kReplyPartsMax * kCallBodyBytesMax)};
    } else {
      request->body = std::move(*result);
    }
    if (!still_wanted) return;  // its deadline has passed
    publish_answer(*request);
    remember(request);
  }
};

void Responder::answer(Result<std::string> result) const {
  if (const auto server = request_->server.lock()) server->finish(request_, std::move(result));
}
void Responder::reply(std::string body) const {
  answer(std::move(body));
}
void Responder::fail(const Error& error) const {
  answer(error);
}
const std::string& Responder::caller() const {
  return request_->caller;
}

CallServer::CallServer(BusClient& client, std::string name)
    : CallServer(transport_of(client), std::move(name)) {
  client.subscribe(impl_->topic);
}

CallServer::CallServer(CallTransport transport, std::string name)
    : impl_(std::make_shared<Impl>()) {
  impl_->transport = std::move(transport);
  impl_->topic = call_topic(name);
  impl_->name = std::move(name);
}

CallServer::~CallServer() = default;

void CallServer::handle(std::string method, Handler handler) {
  const bool added = impl_->handlers.emplace(std::move(method), std::move(handler)).second;
  GEMA_ASSERT(added);
}

bool CallServer::on_message(std::string_view topic, std::string_view payload, Now now) {
  Impl& impl = *impl_;
  if (topic != impl.topic) return false;
  ++impl.stats.requests;
  v1::CallRequest call;
  if (!parse(payload, call) || !is_valid_name(call.caller())) {
    ++impl.stats.refused;
    return true;
  }
  const WallTime deadline = wall_from_us(call.deadline_us());
  if (now.wall > deadline + kClockSkewMax ||
      deadline > now.wall + kReplyRememberedFor + kClockSkewMax) {
    ++impl.stats.expired;
    return true;
  }
  const Impl::Key key{call.caller(), call.id()};
  if (const auto known = impl.known.find(key); known != impl.known.end()) {
    ++impl.stats.repeats;
    if (known->second->answered) impl.publish_answer(*known->second);
    return true;
  }
  const auto handler = impl.handlers.find(call.method());
  if (handler == impl.handlers.end()) {
    ++impl.stats.refused;
    impl.publish_error(call.caller(), call.id(),
                       {Errc::kBadInput, fmt::format("{} has no method \"{}\"", impl.name,
                                                     call.method().substr(0, 100))});
    return true;
  }
  if (impl.pending() >= kCallsPendingMax) {
    ++impl.stats.refused;
    impl.publish_error(call.caller(), call.id(),
                       {Errc::kUnavailable, fmt::format("{} is busy: {} calls are pending",
                                                        impl.name, kCallsPendingMax)});
    return true;
  }
  auto request = std::make_shared<Responder::Request>();
  request->server = impl_;
  request->caller = call.caller();
  request->id = call.id();
  request->give_up_at = now.mono + (deadline - now.wall) + kClockSkewMax;
  request->forget_at = now.mono + kReplyRememberedFor + 2 * kClockSkewMax;
  impl.known.emplace(key, request);
  Responder responder;
  responder.request_ = std::move(request);
  handler->second(std::move(*call.mutable_body()), std::move(responder));
  return true;
}

std::optional<MonoTime> CallServer::tick(Now now) {
  Impl& impl = *impl_;
  while (!impl.answered.empty() && impl.answered.front()->forget_at <= now.mono) {
    impl.forget_oldest();
  }
  // Requests that nobody ever answered; at most kCallsPendingMax, so a walk is cheap.
  if (impl.pending() > 0) {
    std::erase_if(impl.known, [&](const auto& entry) {
      return !entry.second->answered && entry.second->give_up_at <= now.mono;
    });
  }
  if (impl.known.empty()) return std::nullopt;
  return now.mono + 1s;
}

const CallServerStats& CallServer::stats() const {
  return impl_->stats;
}

}  // namespace gema::bus
