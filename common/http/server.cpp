#include "common/http/server.h"

#include <httplib.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "common/base/assert.h"
#include "common/http/target.h"
#include "common/http/thread_queue.h"
#include "common/runtime/clock.h"

namespace gema::http {
namespace {

constexpr size_t kHeadersMax = 100;
// A body beyond the bound is read and dropped up to here before its 413: a peer that is still
// writing when we close sees an error instead of the answer.
constexpr size_t kDrainBytesMax = 16 << 20;
constexpr int kBacklog = 256;  // the library's own 5 makes nginx answer 502 in a burst

// The library hands out work through this; it owns the object, we own what it points to. Its
// enqueue() returns void in 0.11 and bool since 0.14.
class TaskQueue : public httplib::TaskQueue {
 public:
  explicit TaskQueue(ThreadQueue& threads) : threads_(threads) {}
  using EnqueueResult = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));
  EnqueueResult enqueue(std::function<void()> job) override {
    return static_cast<EnqueueResult>(threads_.enqueue(std::move(job)));
  }
  void shutdown() override { threads_.shutdown(); }

 private:
  ThreadQueue& threads_;
};

class RawServer : public httplib::Server {
 public:
  // Raises the backlog of the socket the library already listens on.
  void raise_backlog() { ::listen(svr_sock_, kBacklog); }
};

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return text;
}

// Is somebody listening there? A socket file left behind by a crash refuses.
bool is_served(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return false;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int rc = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const bool served = rc == 0 || errno == EAGAIN;
  ::close(fd);
  return served;
}

// The library waits for at most `patience` and does not say why in vain; a connection that is gone
// is noticed at once.
StreamSink::Room wait_for_room(httplib::DataSink& raw, std::chrono::milliseconds patience) {
  const auto begin = runtime::read_clock().mono;
  if (raw.is_writable()) {
    return StreamSink::Room::kRoom;
  }
  return runtime::read_clock().mono - begin >= patience / 2 ? StreamSink::Room::kNotYet
                                                            : StreamSink::Room::kGone;
}

struct Refusal {
  int status;
  std::string why;
};

// What is wrong with a request before its body is read. Sets `body_bytes`.
std::optional<Refusal> check_head(const httplib::Request& request, size_t body_bytes_max,
                                  size_t& body_bytes) {
  body_bytes = 0;
  if (request.headers.size() > kHeadersMax) {
    return Refusal{400, "more than 100 header fields"};
  }
  if (request.get_header_value_count("Transfer-Encoding") > 0) {
    return Refusal{411, "Transfer-Encoding is not supported: send Content-Length"};
  }
  if (request.get_header_value_count("Content-Encoding") > 0 &&
      lower(request.get_header_value("Content-Encoding")) != "identity") {
    return Refusal{415, "compressed request bodies are not supported"};
  }
  const size_t lengths = request.get_header_value_count("Content-Length");
  if (lengths == 0) {
    return std::nullopt;
  }
  const std::string text = request.get_header_value("Content-Length");
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), body_bytes);
  if (lengths > 1 || error != std::errc() || end != text.data() + text.size()) {
    return Refusal{400, "Content-Length is not one decimal number"};
  }
  if (body_bytes > body_bytes_max && body_bytes > kDrainBytesMax) {
    return Refusal{413, "the body has " + text + " bytes; at most " +
                            std::to_string(body_bytes_max) + " are taken"};
  }
  return std::nullopt;
}

bool may_have_body(const std::string& method) {
  return method == "POST" || method == "PUT" || method == "PATCH" || method == "DELETE";
}

}  // namespace

struct Server::Impl {
  explicit Impl(ServerOptions o)
      : options(std::move(o)), threads(options.threads_max, options.waiting_max) {}

  ServerOptions options;
  ThreadQueue threads;
  RawServer server;
  std::thread accept_thread;
  std::atomic<bool> ended{false};
  std::atomic<bool> stopped{false};

  // Set between the pre-routing hook and the body handler, which the library calls one after the
  // other on the request's own thread.
  static thread_local std::optional<Request> reading;

  void configure();
  httplib::Server::HandlerResponse before_routing(const httplib::Request& raw,
                                                  httplib::Response& out);
  Response respond(const Request& request);
  Response make_error(int status, const std::string& why, const Request& request);
  void write(const Request& request, Response response, httplib::Response& out);
};

thread_local std::optional<Request> Server::Impl::reading;

Response Server::Impl::make_error(int status, const std::string& why, const Request& request) {
  if (options.error_body) {
    return options.error_body(status, why, request);
  }
  Response response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = why + "\n";
  return response;
}

Response Server::Impl::respond(const Request& request) {
  std::string what = "not a std::exception";
  try {
    return options.handler(request);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  if (options.on_exception) {
    options.on_exception(what, request);
  }
  return make_error(500, "internal error", request);
}

void Server::Impl::write(const Request& request, Response response, httplib::Response& out) {
  out.status = response.status;
  for (const auto& [name, value] : response.headers) {
    out.set_header(name, value);
  }
  out.set_header("Connection", "close");
  if (response.stream && !request.head) {
    auto stream = std::move(response.stream);
    auto closed = std::move(response.stream_closed);
    const bool chunked = response.end_matters && request.http_1_1;
    const auto provider = [this, stream, chunked, patience = options.write_timeout](
                              size_t, httplib::DataSink& raw) {
      bool finished = false;
      StreamSink sink{
          .write = [&raw](std::string_view bytes) { return raw.write(bytes.data(), bytes.size()); },
          .alive = [&raw] { return raw.is_writable(); },
          .wait_for_room = [&raw, patience] { return wait_for_room(raw, patience); },
          .finish =
              [&raw, &finished, chunked] {
                finished = true;
                if (chunked) raw.done();
              }};
      // Newer libraries (0.18, not 0.11) give up between two calls once the client has taken
      // nothing for the write timeout, without a word to the stream. A chunked stream decides
      // itself how long its client may be slow, and is told that it left.
      for (bool gone = false;;) {
        // A chunked stream that returns false here has no last chunk.
        if (!stream(sink)) return finished && chunked;
        if (!chunked || finished || gone || stopped) return true;
        const StreamSink::Room room = wait_for_room(raw, patience);
        if (room == StreamSink::Room::kRoom) return true;
        gone = room == StreamSink::Room::kGone;
      }
    };
    const auto releaser = [closed](bool) {
      if (closed) {
        closed();
      }
    };
    if (chunked) {
      out.set_chunked_content_provider(response.content_type, provider, releaser);
    } else {
      out.set_content_provider(response.content_type, provider, releaser);
    }
    return;
  }
  if (response.stream_closed) {
    response.stream_closed();
  }
  if (response.status != 204 && response.status != 304) {
    out.body = std::move(response.body);
    if (!response.content_type.empty()) {
      out.set_header("Content-Type", response.content_type);
    }
  }
}

// Everything is decided here: the library's own routing, with its regular expressions, sees
// nothing but the constant "/" of a request whose body is to be read.
httplib::Server::HandlerResponse Server::Impl::before_routing(const httplib::Request& raw,
                                                              httplib::Response& out) {
  using enum httplib::Server::HandlerResponse;
  reading.reset();
  Request request;
  request.head = raw.method == "HEAD";
  request.method = request.head ? "GET" : raw.method;
  request.http_1_1 = raw.version == "HTTP/1.1";
  request.target = raw.target;
  for (const auto& [name, value] : raw.headers) {
    // The library adds REMOTE_ADDR and the like as if the client had sent them.
    if (name.find('_') == std::string::npos) {
      request.headers.emplace_back(lower(name), value);
    }
  }
  if (const std::string* real_ip = request.header("x-real-ip")) {
    request.client = *real_ip;
  }
  // The request is the library's own, not const there: what it would act upon by itself (ranges,
  // compression, the body's type) is taken away.
  auto& mutable_raw = const_cast<httplib::Request&>(raw);
  mutable_raw.ranges.clear();
  mutable_raw.headers.erase("Accept-Encoding");

  size_t body_bytes = 0;
  if (auto refusal = check_head(raw, options.body_bytes_max, body_bytes)) {
    write(request, make_error(refusal->status, refusal->why, request), out);
    return Handled;
  }
  auto target = parse_target(raw.target);
  if (!target) {
    write(request, make_error(400, target.error().message, request), out);
    return Handled;
  }
  request.segments = std::move(target->segments);
  request.query = std::move(target->query);
  if (body_bytes == 0 || !may_have_body(raw.method)) {
    write(request, respond(request), out);
    return Handled;
  }
  mutable_raw.path = "/";
  mutable_raw.headers.erase("Content-Type");
  reading = std::move(request);
  return Unhandled;
}

void Server::Impl::configure() {
  server.set_address_family(AF_UNIX);
  server.set_keep_alive_max_count(1);
  server.set_read_timeout(options.read_timeout);
  server.set_write_timeout(options.write_timeout);
  server.set_payload_max_length(options.body_bytes_max);
  server.new_task_queue = [this] { return new TaskQueue(threads); };
  server.set_pre_routing_handler([this](const httplib::Request& raw, httplib::Response& out) {
    return before_routing(raw, out);
  });
  const auto with_body = [this](const httplib::Request& raw, httplib::Response& out) {
    GEMA_ASSERT(reading.has_value());
    Request request = std::move(*reading);
    reading.reset();
    request.body = raw.body;
    write(request, respond(request), out);
  };
  server.Post("/", with_body);
  server.Put("/", with_body);
  server.Patch("/", with_body);
  server.Delete("/", with_body);
  // Errors found by the library (malformed request line, target too long, body cut short).
  const httplib::Server::HandlerWithResponse on_error = [this](const httplib::Request& raw,
                                                               httplib::Response& out) {
    if (!out.body.empty() || out.has_header("Content-Type")) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    Request request;
    request.method = raw.method;
    request.target = raw.target;
    if (auto target = parse_target(raw.target)) {
      request.segments = std::move(target->segments);
    }
    const std::string why =
        out.status == 413
            ? "the body has more than " + std::to_string(options.body_bytes_max) + " bytes"
            : "malformed request";
    write(request, make_error(out.status, why, request), out);
    return httplib::Server::HandlerResponse::Handled;
  };
  server.set_error_handler(on_error);
  server.set_exception_handler([this](const httplib::Request&, httplib::Response& out, auto&&...) {
    Request request;
    if (options.on_exception) {
      options.on_exception("in the HTTP library", request);
    }
    write(request, make_error(500, "internal error", request), out);
  });
  server.set_expect_100_continue_handler(
      [](const httplib::Request&, httplib::Response&) { return 417; });
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  stop();
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options) {
  GEMA_ASSERT(options.handler != nullptr);
  const std::string path = options.socket.string();
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{Errc::kPermanent, "socket path " + path + " has " + std::to_string(path.size()) +
                                       " bytes; at most 107 are possible"};
  }
  if (is_served(path)) {
    return Error{Errc::kPermanent, "socket " + path + " is in use by another process"};
  }
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) {
      return Error{Errc::kPermanent, path + " exists and is no socket"};
    }
    ::unlink(path.c_str());
  }
  auto impl = std::make_unique<Impl>(std::move(options));
  impl->configure();
  // The port means nothing on a Unix socket, but the library wants one.
  if (!impl->server.bind_to_port(path, 80)) {
    return Error{Errc::kPermanent, "cannot bind socket " + path + ": " + std::strerror(errno)};
  }
  impl->server.raise_backlog();
  ::chmod(path.c_str(), impl->options.socket_mode);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  impl->accept_thread = std::thread([raw = impl.get()] {
    raw->server.listen_after_bind();
    raw->ended = true;
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  while (!impl->server.is_running() && !impl->ended) {
    std::this_thread::yield();
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

void Server::stop() {
  if (impl_->stopped) {
    return;
  }
  impl_->stopped = true;
  impl_->server.stop();
  impl_->threads.shutdown();
  impl_->accept_thread.join();
  ::unlink(impl_->options.socket.c_str());
}

bool Server::running() const {
  return !impl_->ended;
}

Server::Stats Server::stats() const {
  const ThreadQueue::Stats s = impl_->threads.stats();
  return {s.threads, s.busy, s.waiting, s.held_back};
}

}  // namespace gema::http
