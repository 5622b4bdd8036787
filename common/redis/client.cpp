#include "common/redis/client.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>

namespace gema::redis {

struct ContextHolder {
  explicit ContextHolder(redisContext* c) : context(c) {}
  ~ContextHolder() {
    if (context != nullptr) redisFree(context);
  }
  ContextHolder(const ContextHolder&) = delete;
  ContextHolder& operator=(const ContextHolder&) = delete;
  redisContext* context;
};

namespace {

timeval to_timeval(Duration duration) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return {.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
}

std::string place(const Options& options) {
  return options.socket.empty() ? fmt::format("{}:{}", options.host, options.port) : options.socket;
}

Reply convert(const redisReply& in) {
  Reply out;
  switch (in.type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      out.kind = Reply::Kind::kText;
      out.text.assign(in.str, static_cast<size_t>(in.len));
      break;
    case REDIS_REPLY_ERROR:
      out.kind = Reply::Kind::kError;
      out.text.assign(in.str, static_cast<size_t>(in.len));
      break;
    case REDIS_REPLY_INTEGER:
      out.kind = Reply::Kind::kInteger;
      out.integer = in.integer;
      break;
    case REDIS_REPLY_ARRAY:
      out.kind = Reply::Kind::kArray;
      out.items.reserve(in.elements);
      for (size_t i = 0; i < in.elements; ++i) out.items.push_back(convert(*in.element[i]));
      break;
    default:
      break;  // REDIS_REPLY_NIL; the RESP3 kinds of hiredis 1.x are never asked for
  }
  return out;
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

Error error_reply(const std::string& text, const char* where) {
  return {classify(text), fmt::format("redis{}: {}", where, text)};
}

}  // namespace

Errc classify(const std::string& error_text) {
  static constexpr std::array<std::string_view, 9> kPassing = {
      "LOADING",  "BUSY",       "OOM",        "MISCONF",    "READONLY",
      "TRYAGAIN", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN"};
  for (const std::string_view prefix : kPassing) {
    if (error_text.compare(0, prefix.size(), prefix) == 0) return Errc::kRetryable;
  }
  return error_text.find("max number of clients") != std::string::npos ? Errc::kRetryable
                                                                       : Errc::kPermanent;
}

Client::Client(Options options) : options_(std::move(options)) {}
Client::~Client() = default;

void Client::disconnect() {
  context_.reset();
}

Error Client::lost(const char* doing) {
  const redisContext* context = context_->context;
  const bool late = context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  Error error{late ? Errc::kTimeout : Errc::kUnavailable,
              fmt::format("redis at {}: {}: {}", place(options_), doing,
                          late ? "no answer in time" : context->errstr)};
  context_.reset();
  return error;
}

Result<void> Client::connect() {
  if (context_) return {};
  const timeval connect_timeout = to_timeval(options_.connect_timeout);
  redisContext* raw =
      options_.socket.empty()
          ? redisConnectWithTimeout(options_.host.c_str(), options_.port, connect_timeout)
          : redisConnectUnixWithTimeout(options_.socket.c_str(), connect_timeout);
  if (raw == nullptr) return Error{Errc::kUnavailable, "redis: out of memory"};
  context_ = std::make_unique<ContextHolder>(raw);
  if (raw->err != 0) {
    Error error{Errc::kUnavailable,
                fmt::format("redis at {}: connecting: {}", place(options_), raw->errstr)};
    context_.reset();
    return error;
  }
  if (redisSetTimeout(raw, to_timeval(options_.command_timeout)) != REDIS_OK) {
    return lost("setting the timeout");
  }
  if (options_.socket.empty()) redisEnableKeepAlive(raw);  // a help, not a need
  if (options_.password_file.empty()) return {};
  std::ifstream file(options_.password_file);
  std::string password;
  if (!file || !std::getline(file, password)) {
    context_.reset();
    return Error{Errc::kPermanent,
                 fmt::format("redis: cannot read the password file {}", options_.password_file)};
  }
  if (auto sent = send({"AUTH", password}); !sent) return sent;
  auto reply = receive();
  if (!reply) return reply.error();
  if (reply->kind == Reply::Kind::kError) {
    context_.reset();
    return error_reply(reply->text, " AUTH");
  }
  return {};
}

Result<void> Client::send(const Command& command) {
  thread_local std::vector<const char*> argv;
  thread_local std::vector<size_t> lengths;
  argv.clear();
  lengths.clear();
  for (const std::string& argument : command) {
    argv.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  if (redisAppendCommandArgv(context_->context, static_cast<int>(argv.size()), argv.data(),
                             lengths.data()) != REDIS_OK) {
    return lost("writing");
  }
  return {};
}

Result<Reply> Client::receive() {
  void* raw = nullptr;
  errno = 0;
  if (redisGetReply(context_->context, &raw) != REDIS_OK || raw == nullptr) {
    return lost("reading the reply");
  }
  const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(raw));
  return convert(*reply);
}

Result<Reply> Client::run(const Command& command) {
  auto replies = pipeline({&command, 1});
  if (!replies) return replies.error();
  if (replies->front().kind == Reply::Kind::kError) return error_reply(replies->front().text, "");
  return std::move(replies->front());
}

Result<std::vector<Reply>> Client::pipeline(std::span<const Command> commands) {
  if (auto up = connect(); !up) return up.error();
  for (const Command& command : commands) {
    GEMA_ASSERT(!command.empty());
    if (auto sent = send(command); !sent) return sent.error();
  }
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  for (size_t i = 0; i < commands.size(); ++i) {
    auto reply = receive();
    if (!reply) return reply.error();
    replies.push_back(*std::move(reply));
  }
  return replies;
}

Result<std::vector<Reply>> Client::transact(std::span<const Command> commands) {
  if (auto up = connect(); !up) return up.error();
  if (auto sent = send({"MULTI"}); !sent) return sent.error();
  for (const Command& command : commands) {
    if (auto sent = send(command); !sent) return sent.error();
  }
  if (auto sent = send({"EXEC"}); !sent) return sent.error();
  std::string refused;
  for (size_t i = 0; i <= commands.size(); ++i) {  // MULTI and each QUEUED
    auto reply = receive();
    if (!reply) return reply.error();
    if (reply->kind == Reply::Kind::kError && refused.empty()) refused = reply->text;
  }
  auto exec = receive();
  if (!exec) return exec.error();
  if (!refused.empty()) return error_reply(refused, "");
  if (exec->kind == Reply::Kind::kError) return error_reply(exec->text, "");
  if (exec->kind == Reply::Kind::kNil) {
    return Error{Errc::kRetryable, "redis: a watched key changed, nothing was done"};
  }
  for (const Reply& reply : exec->items) {
    if (reply.kind == Reply::Kind::kError) return error_reply(reply.text, " in EXEC");
  }
  return std::move(exec->items);
}

}  // namespace gema::redis
