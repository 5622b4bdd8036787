// The server over a real Unix socket, spoken to with raw bytes: what nginx, curl and an attacker
// can send.
#include "common/http/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/support/temp_dir.h"

namespace gema::http {
namespace {

class Connection {
 public:
  explicit Connection(const std::string& path) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Connection() { ::close(fd_); }
  bool connected() const { return connected_; }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) {
        return;
      }
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  // What arrives until the server closes, or until `enough` of it is there.
  std::string read(std::string_view enough = {}) {
    std::string out;
    char buffer[4096];
    while (enough.empty() || out.find(enough) == std::string::npos) {
      const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) {
        break;
      }
      out.append(buffer, static_cast<size_t>(n));
    }
    return out;
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

struct ServerTest : ::testing::Test {
  ServerTest() {
    options.socket = dir / "s.sock";
    options.body_bytes_max = 1000;
    options.handler = [](const Request& request) {
      Response response;
      response.content_type = "text/plain";
      response.body = request.method + " ";
      for (const auto& segment : request.segments) {
        response.body += "[" + segment + "]";
      }
      for (const auto& [name_, value] : request.query) {
        response.body += " " + name_ + "=" + value;
      }
      response.body += " client=" + request.client + " body=" + request.body;
      if (const std::string* type = request.header("content-type")) {
        response.body += " type=" + *type;
      }
      if (!request.segments.empty() && request.segments[0] == "throw") {
        throw std::runtime_error("secret detail");
      }
      return response;
    };
    options.error_body = [](int status, const std::string& why, const Request&) {
      Response response;
      response.status = status;
      response.content_type = "application/json";
      response.body = "{\"error\":\"" + why + "\"}";
      return response;
    };
    options.on_exception = [this](const std::string& what, const Request&) { exception = what; };
  }
  ~ServerTest() override { server.reset(); }
  void start() {
    auto started = Server::start(options);
    ASSERT_TRUE(started) << started.error().message;
    server = std::move(*started);
  }
  std::string ask(std::string_view bytes) {
    Connection connection(options.socket.string());
    connection.send(bytes);
    return connection.read();
  }

  gema::testing::TempDir dir;
  ServerOptions options;
  std::unique_ptr<Server> server;
  std::string exception;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}
#define EXPECT_HAS(text, part) EXPECT_TRUE(contains(text, part)) << (text)
#define EXPECT_LACKS(text, part) EXPECT_FALSE(contains(text, part)) << (text)

TEST_F(ServerTest, AnswersARequestOfHttp10AndCloses) {
  start();
  const std::string reply =
      ask("GET /api/x%2Fy?limit=5 HTTP/1.0\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 9.9.9.9\r\n"
          "REMOTE_ADDR: 6.6.6.6\r\n\r\n");
  EXPECT_HAS(reply, " 200 ");
  EXPECT_HAS(reply, "GET [api][x/y] limit=5 client=192.0.2.7 body=");
  EXPECT_HAS(reply, "Content-Length:");
}

TEST_F(ServerTest, ReadsABodyOfAnyTypeAsItIs) {
  start();
  for (const char* type : {"application/json", "application/x-www-form-urlencoded",
                           "multipart/form-data; boundary=x", "text/plain"}) {
    const std::string reply = ask(std::string("POST /a HTTP/1.0\r\nContent-Length: 7\r\n"
                                              "Content-Type: ") +
                                  type + "\r\n\r\na=1&b=2");
    EXPECT_HAS(reply, "POST [a] client= body=a=1&b=2 type=" + std::string(type));
  }
}

TEST_F(ServerTest, AMethodWithoutABodyNeedsNone) {
  start();
  EXPECT_HAS(ask("DELETE /a HTTP/1.0\r\n\r\n"), "DELETE [a] client= body=");
  EXPECT_HAS(ask("POST /a HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), "POST [a] client= body=");
}

TEST_F(ServerTest, AHeadRequestGetsTheHeadersOnly) {
  start();
  const std::string reply = ask("HEAD /a HTTP/1.0\r\n\r\n");
  EXPECT_HAS(reply, " 200 ");
  EXPECT_HAS(reply, "Content-Type: text/plain");
  EXPECT_LACKS(reply, "GET [a]");
}

TEST_F(ServerTest, RefusesABodyBeyondTheBound) {
  start();
  const auto post = [this](const std::string& length, size_t bytes) {
    return ask("POST /a HTTP/1.0\r\nContent-Length: " + length + "\r\n\r\n" +
               std::string(bytes, 'x'));
  };
  EXPECT_HAS(post("1000", 1000), " 200 ");
  EXPECT_HAS(post("1001", 1001), " 413 ");
  EXPECT_HAS(post("1001", 1001), "more than 1000 bytes");
  // Larger than any socket buffer: the answer must still arrive.
  EXPECT_HAS(post("8000000", 8'000'000), " 413 ");
  EXPECT_HAS(post("99999999999", 0), " 413 ");
  EXPECT_HAS(post("99999999999999999999999", 0), " 400 ");
}

TEST_F(ServerTest, RefusesBodiesWhoseLengthCannotBeTrusted) {
  start();
  EXPECT_HAS(ask("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
             " 411 ");
  EXPECT_HAS(ask("POST /a HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), " 400 ");
  EXPECT_HAS(ask("POST /a HTTP/1.0\r\nContent-Length: -1\r\n\r\n"), " 400 ");
  EXPECT_HAS(ask("POST /a HTTP/1.0\r\nContent-Length: 1x\r\n\r\nx"), " 400 ");
  EXPECT_HAS(ask("POST /a HTTP/1.0\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nxxxxx"),
             " 415 ");
}

TEST_F(ServerTest, AnswersMalformedRequestsInTheCallersEnvelope) {
  start();
  for (const char* bytes :
       {"garbage\r\n\r\n", "GET /a%00b HTTP/1.0\r\n\r\n", "GET /../etc/passwd HTTP/1.0\r\n\r\n",
        "BREW /a HTTP/1.0\r\n\r\n", "GET a HTTP/1.0\r\n\r\n"}) {
    const std::string reply = ask(bytes);
    EXPECT_HAS(reply, " 400 ");
    EXPECT_HAS(reply, "{\"error\":");
  }
}

TEST_F(ServerTest, RefusesAnEndlessTarget) {
  start();
  const std::string reply = ask("GET /" + std::string(20000, 'a') + " HTTP/1.0\r\n\r\n");
  EXPECT_HAS(reply, " 414 ");
  EXPECT_HAS(reply, "{\"error\":");
}

TEST_F(ServerTest, RefusesTooManyHeaders) {
  start();
  std::string request = "GET /a HTTP/1.0\r\n";
  for (int i = 0; i < 200; ++i) {
    request += "X-" + std::to_string(i) + ": 1\r\n";
  }
  EXPECT_HAS(ask(request + "\r\n"), " 400 ");
}

TEST_F(ServerTest, AnExceptionIsA500ThatSaysNothing) {
  start();
  const std::string reply = ask("GET /throw HTTP/1.0\r\n\r\n");
  EXPECT_HAS(reply, " 500 ");
  EXPECT_HAS(reply, "{\"error\":\"internal error\"}");
  EXPECT_LACKS(reply, "secret");
  EXPECT_LACKS(reply, "EXCEPTION");
  EXPECT_EQ(exception, "secret detail");
}

TEST_F(ServerTest, IgnoresRangesAndNeverCompresses) {
  start();
  const std::string reply =
      ask("GET /a HTTP/1.0\r\nRange: bytes=0-1\r\nAccept-Encoding: gzip, br\r\n\r\n");
  EXPECT_HAS(reply, " 200 ");
  EXPECT_LACKS(reply, "Content-Encoding");
  EXPECT_HAS(reply, "GET [a]");
}

TEST_F(ServerTest, AConnectionServesOneRequest) {
  start();
  const std::string reply =
      ask("GET /one HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET /two HTTP/1.1\r\n\r\n");
  EXPECT_HAS(reply, "[one]");
  EXPECT_LACKS(reply, "[two]");
  EXPECT_HAS(reply, "Connection: close");
}

TEST_F(ServerTest, AStreamGoesOnUntilItsProviderEndsIt) {
  std::atomic<int> closed{0};
  options.handler = [&closed](const Request&) {
    Response response;
    response.content_type = "text/event-stream";
    response.stream = [n = 0](StreamSink& sink) mutable {
      return sink.write("data: " + std::to_string(n) + "\n\n") && ++n < 3;
    };
    response.stream_closed = [&closed] { ++closed; };
    return response;
  };
  start();
  const std::string reply = ask("GET / HTTP/1.0\r\n\r\n");
  EXPECT_HAS(reply, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
  EXPECT_LACKS(reply, "chunked");
  ask("HEAD / HTTP/1.0\r\n\r\n");
  server->stop();
  EXPECT_EQ(closed, 2);
}

TEST_F(ServerTest, StopEndsStreamsAndRemovesTheSocket) {
  std::atomic<int> closed{0};
  options.handler = [&closed](const Request&) {
    Response response;
    response.content_type = "text/event-stream";
    response.stream = [](StreamSink& sink) { return sink.write(": beat\n"); };
    response.stream_closed = [&closed] { ++closed; };
    return response;
  };
  start();
  Connection client(options.socket.string());
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_HAS(client.read(": beat"), ": beat");
  std::thread drain([&client] { client.read(); });
  server->stop();
  drain.join();
  EXPECT_EQ(closed, 1);
  EXPECT_FALSE(std::filesystem::exists(options.socket));
}

// --- streams whose end matters ------------------------------------------------------------------

struct WholeStreamTest : ServerTest {
  // Three lines; `whole`: says so at the end.
  void serve(bool whole) {
    options.handler = [whole](const Request&) {
      Response response;
      response.content_type = "text/csv";
      response.end_matters = true;
      response.stream = [whole, n = 0](StreamSink& sink) mutable {
        if (n == 3) {
          if (whole) sink.finish();
          return false;
        }
        return sink.wait_for_room() == StreamSink::Room::kRoom &&
               sink.write("line " + std::to_string(n++) + "\n");
      };
      return response;
    };
    start();
  }
};

TEST_F(WholeStreamTest, OnlyAWholeOneHasALastChunk) {
  serve(true);
  const std::string reply = ask("GET / HTTP/1.1\r\n\r\n");
  EXPECT_HAS(reply, "Transfer-Encoding: chunked");
  EXPECT_HAS(reply, "7\r\nline 0\n\r\n7\r\nline 1\n\r\n7\r\nline 2\n\r\n0\r\n\r\n");
}

TEST_F(WholeStreamTest, OneThatBrokeOffHasNone) {
  serve(false);
  const std::string reply = ask("GET / HTTP/1.1\r\n\r\n");
  EXPECT_HAS(reply, "line 2\n\r\n");
  EXPECT_LACKS(reply, "0\r\n\r\n");
}

TEST_F(WholeStreamTest, AnOldClientGetsNoChunks) {
  serve(true);
  const std::string reply = ask("GET / HTTP/1.0\r\n\r\n");
  EXPECT_LACKS(reply, "chunked");
  EXPECT_HAS(reply, "\r\n\r\nline 0\nline 1\nline 2\n");
}

TEST_F(WholeStreamTest, ASlowReaderIsWaitedForAndOneThatLeftIsNoticed) {
  using Room = StreamSink::Room;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Room> seen;
  options.write_timeout = std::chrono::seconds(1);
  options.handler = [&](const Request&) {
    Response response;
    response.end_matters = true;
    response.stream = [&](StreamSink& sink) {
      const Room room = sink.wait_for_room();
      {
        const std::lock_guard lock(mutex);
        seen.push_back(room);
        changed.notify_all();
      }
      return room == Room::kNotYet ||
             (room == Room::kRoom && sink.write(std::string(16 << 10, 'x')));
    };
    return response;
  };
  start();
  const auto wait_until = [&](Room last) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(30),
                            [&] { return !seen.empty() && seen.back() == last; });
  };
  {
    Connection client(options.socket.string());
    client.send("GET / HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(wait_until(Room::kNotYet));
    // It takes something: the stream goes on.
    for (int i = 0; i < 200; ++i) client.read("x");
    EXPECT_TRUE(wait_until(Room::kRoom));
  }
  EXPECT_TRUE(wait_until(Room::kGone));
}

// A reader that takes nothing: the write fails after the write timeout and the thread is free.
TEST_F(ServerTest, AClientThatReadsNothingLosesItsStream) {
  std::mutex mutex;
  std::condition_variable changed;
  bool closed = false;
  options.write_timeout = std::chrono::seconds(1);
  options.handler = [&](const Request&) {
    Response response;
    response.content_type = "text/event-stream";
    response.stream = [block = std::string(1 << 16, 'x')](StreamSink& sink) {
      return sink.write(block);
    };
    response.stream_closed = [&] {
      std::lock_guard lock(mutex);
      closed = true;
      changed.notify_all();
    };
    return response;
  };
  start();
  Connection client(options.socket.string());
  client.send("GET / HTTP/1.0\r\n\r\n");
  std::unique_lock lock(mutex);
  EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [&] { return closed; }));
}

TEST_F(ServerTest, ManyClientsAtOnceAreAllServed) {
  options.threads_max = 4;
  options.waiting_max = 2;
  start();
  std::vector<std::thread> clients;
  std::atomic<int> served{0};
  for (int i = 0; i < 64; ++i) {
    clients.emplace_back([&] {
      if (contains(ask("GET /a HTTP/1.0\r\n\r\n"), "GET [a]")) {
        ++served;
      }
    });
  }
  for (auto& client : clients) {
    client.join();
  }
  EXPECT_EQ(served, 64);
  EXPECT_LE(server->stats().threads, 4u);
}

TEST_F(ServerTest, ReplacesAStaleSocketButNotALivingOneNorAFile) {
  start();
  auto second = Server::start(options);
  ASSERT_FALSE(second);
  EXPECT_HAS(second.error().message, "in use");
  server->stop();

  // A socket file that nobody listens on any more.
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = options.socket.string();
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
  start();
  EXPECT_HAS(ask("GET /a HTTP/1.0\r\n\r\n"), "GET [a]");
  server->stop();

  std::ofstream(options.socket) << "precious";
  auto over_file = Server::start(options);
  ASSERT_FALSE(over_file);
  EXPECT_HAS(over_file.error().message, "no socket");
}

TEST_F(ServerTest, SaysWhenThePathIsTooLong) {
  options.socket = dir / std::string(120, 'x');
  auto started = Server::start(options);
  ASSERT_FALSE(started);
  EXPECT_HAS(started.error().message, "at most 107");
}

}  // namespace
}  // namespace gema::http
