// Proof of life against real servers, on ports of their own, in this process.
#include "services/prober/io/proof.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <mutex>
#include <thread>

#include "common/runtime/clock.h"
#include "services/prober/core/limits.h"
#include "services/prober/io/address_text.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace gema::prober {
namespace {

using gema::testing::TempDir;

int listen_on(uint16_t& port, int backlog) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  socklen_t length = sizeof at;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  EXPECT_EQ(::listen(fd, backlog), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &length), 0);
  port = ntohs(at.sin_port);
  return fd;
}

// A port that nobody listens on.
uint16_t closed_port() {
  uint16_t port = 0;
  ::close(listen_on(port, 1));
  return port;
}

// Speaks whatever a test tells it to: `answer` has the request's head and writes to the socket,
// which is closed when it returns.
class RawServer {
 public:
  using Answer = std::function<void(int fd, const std::string& head)>;

  explicit RawServer(Answer answer) : answer_(std::move(answer)), fd_(listen_on(port, 4096)) {
    acceptor_ = std::thread([this] {
      for (;;) {
        const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        const std::lock_guard lock(mutex_);
        threads_.emplace_back([this, fd] { serve(fd); });
      }
    });
  }
  explicit RawServer(const std::string& text)
      : RawServer([text](int fd, const std::string&) { write_all(fd, text); }) {}
  ~RawServer() {
    stopping = true;
    ::shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& t : threads_) t.join();
    ::close(fd_);
  }

  static bool write_all(int fd, const std::string& text) {
    return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::string url(const std::string& path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port) + path;
  }
  // "GET /, HEAD /x, ..."
  std::string requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::string heads() {
    const std::lock_guard lock(mutex_);
    return heads_;
  }

  uint16_t port = 0;
  std::atomic<bool> stopping = false;

 private:
  void serve(int fd) {
    std::string head;
    char c = 0;
    while (head.find("\r\n\r\n") == std::string::npos && ::read(fd, &c, 1) == 1) head += c;
    {
      const std::lock_guard lock(mutex_);
      requests_ += (requests_.empty() ? "" : ", ") + head.substr(0, head.find(" HTTP"));
      heads_ += head;
    }
    if (!head.empty()) answer_(fd, head);
    ::shutdown(fd, SHUT_WR);
    while (::read(fd, &c, 1) > 0) continue;  // no reset while the answer is on its way
    ::close(fd);
  }

  Answer answer_;
  int fd_ = -1;
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::string requests_, heads_;
};

std::string reply(const std::string& status, const std::string& headers = "",
                  const std::string& body = "") {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}

// Waits until the other side hangs up.
void hang(int fd) {
  char c = 0;
  while (::read(fd, &c, 1) > 0) continue;
}

class ProofTest : public ::testing::Test {
 protected:
  void SetUp() override { config.secrets_dir = dir.path(); }

  static AssignedDevice device(DeviceId id, ProofSpec proof, std::string address = "127.0.0.1") {
    return {.id = id, .address = std::move(address), .timeout_ms = 1000, .proof = std::move(proof)};
  }

  // Wants a proof of each, in order; returns what became of them in the order of their ends.
  std::vector<ProofDone> ask_all(const std::vector<AssignedDevice>& devices) {
    runtime::Loop loop;
    Proofs proofs(config, loop, [this](const std::string& name) {
      const auto known = names.find(name);
      return known == names.end() ? Address{} : known->second;
    });
    proofs.assign(devices);
    std::vector<ProofDone> done;
    bool begun = false;
    loop.run([&](Now now) {
      for (size_t i = 0; i < devices.size() && !begun; ++i) {
        proofs.want({static_cast<uint32_t>(devices[i].id), 7, devices[i].id}, now);
      }
      begun = true;
      proofs.tick(now);
      in_flight_most = std::max(in_flight_most, proofs.in_flight());
      proofs.take_done(done);
      if (done.size() == devices.size()) loop.stop();
      return proofs.next_wakeup();
    });
    EXPECT_EQ(proofs.in_flight(), 0u);
    EXPECT_EQ(proofs.waiting(), 0u);
    stats = proofs.stats();
    return done;
  }
  // "alive", "unexpected status 404", ...
  std::string ask(ProofSpec spec, const std::string& address = "127.0.0.1") {
    const std::vector<ProofDone> done = ask_all({device(1, std::move(spec), address)});
    std::string text;
    for (const ProofDone& one : done) {
      EXPECT_EQ(one.generation, 7u);
      for (const ProofResult& r : one.results) {
        text += (text.empty() ? "" : ", ") + std::string(to_string(r.outcome)) +
                (r.status != 0 ? " " + std::to_string(r.status) : "");
      }
    }
    return text;
  }

  void write_secret(const std::string& name, const std::string& text, mode_t mode = 0600) {
    std::ofstream(dir / name) << text;
    ASSERT_EQ(::chmod((dir / name).c_str(), mode), 0);
  }

  TempDir dir;
  ProofConfig config;
  std::map<std::string, Address> names;
  size_t in_flight_most = 0;
  ProofStats stats;
};

TEST_F(ProofTest, AnExpectedStatusProvesLifeByHeadAlone) {
  RawServer server(reply("200 OK"));
  EXPECT_EQ(ask({.web_url = server.url("/x?y=1")}), "alive 200");
  EXPECT_EQ(server.requests(), "HEAD /x?y=1");
  EXPECT_EQ(stats.outcomes[0][static_cast<size_t>(ProofOutcome::kAlive)], 1u);
  EXPECT_EQ(ask({.web_url = server.url(), .web_status = 401}), "wrong status 200");
}

TEST_F(ProofTest, AnotherStatusIsAskedForAgainByGet) {
  RawServer server(reply("404 Not Found"));
  EXPECT_EQ(ask({.web_url = server.url()}), "wrong status 404");
  EXPECT_EQ(server.requests(), "HEAD /, GET /");
  EXPECT_EQ(ask({.web_url = server.url(), .web_status = 404}), "alive 404");
}

TEST_F(ProofTest, AServerThatKnowsNoHeadIsAskedByGet) {
  RawServer refuses([](int fd, const std::string& head) {
    RawServer::write_all(fd, head.starts_with("HEAD") ? reply("405 Method Not Allowed")
                                                      : reply("200 OK", "", "hello"));
  });
  EXPECT_EQ(ask({.web_url = refuses.url()}), "alive 200");
  RawServer closes([](int fd, const std::string& head) {
    if (head.starts_with("GET")) RawServer::write_all(fd, reply("200 OK"));
  });
  EXPECT_EQ(ask({.web_url = closes.url()}), "alive 200");
  RawServer hangs([](int fd, const std::string& head) {
    head.starts_with("HEAD") ? hang(fd) : void(RawServer::write_all(fd, reply("200 OK")));
  });
  EXPECT_EQ(ask({.web_url = hangs.url()}), "alive 200");
  EXPECT_EQ(hangs.requests(), "HEAD /, GET /");
}

TEST_F(ProofTest, CredentialsComeFromAFileThatOthersCannotRead) {
  RawServer server([](int fd, const std::string& head) {
    // "admin:s3cret:x"
    const bool right =
        head.find("Authorization: Basic YWRtaW46czNjcmV0Ong=\r\n") != std::string::npos;
    RawServer::write_all(
        fd, right ? reply("200 OK")
                  : reply("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"));
  });
  ProofSpec spec{.web_url = server.url(), .web_auth = "router"};
  EXPECT_EQ(ask(spec), "no credentials");
  EXPECT_EQ(server.requests(), "") << "not without them";
  write_secret("router", "admin:s3cret:x\n");
  EXPECT_EQ(ask(spec), "alive 200");
  write_secret("router", "admin:wrong\n");
  EXPECT_EQ(ask(spec), "wrong status 401");
  write_secret("router", "admin:s3cret:x\n", 0644);
  EXPECT_EQ(ask(spec), "no credentials");
  write_secret("router", "admin:s3cret:x\n10.0.0.1\n");
  EXPECT_EQ(ask(spec), "no credentials") << "meant for another host";
  write_secret("router", "admin:s3cret:x\r\n10.0.0.1\n127.0.0.1\n");
  EXPECT_EQ(ask(spec), "alive 200");
  write_secret("router", "no colon\n");
  EXPECT_EQ(ask(spec), "no credentials");
  spec.web_auth = "../router";
  EXPECT_EQ(ask(spec), "no credentials");
  ASSERT_EQ(::symlink((dir / "router").c_str(), (dir / "link").c_str()), 0);
  spec.web_auth = "link";
  EXPECT_EQ(ask(spec), "no credentials");
}

TEST_F(ProofTest, ARedirectionToAnotherHostIsNotFollowed) {
  RawServer other(reply("200 OK"));
  RawServer server(
      reply("302 Found", "Location: http://localhost:" + std::to_string(other.port) + "/\r\n"));
  names["localhost"] = *parse_address("127.0.0.1");
  EXPECT_EQ(ask({.web_url = server.url()}), "redirected to another host 302");
  EXPECT_EQ(other.requests(), "");
  EXPECT_EQ(ask({.web_url = server.url(), .web_status = 302}), "alive 302");
}

TEST_F(ProofTest, ARedirectionOnTheSameHostIsFollowedWithoutCredentialsToOtherPorts) {
  RawServer other(reply("200 OK"));
  RawServer server([&](int fd, const std::string& head) {
    const bool first = head.find(" /a ") != std::string::npos;
    RawServer::write_all(
        fd, reply("301 Moved Permanently",
                  first ? "Location: b\r\n"
                        : "location:  //127.0.0.1:" + std::to_string(other.port) + "/c\r\n"));
  });
  write_secret("s", "u:p");
  EXPECT_EQ(ask({.web_url = server.url("/a"), .web_auth = "s"}), "alive 200");
  EXPECT_EQ(server.requests(), "HEAD /a, HEAD /b");
  EXPECT_NE(server.heads().find("Authorization"), std::string::npos);
  EXPECT_EQ(other.requests(), "HEAD /c");
  EXPECT_EQ(other.heads().find("Authorization"), std::string::npos);
}

TEST_F(ProofTest, RedirectionsEndAfterThree) {
  RawServer server(reply("302 Found", "Location: /again\r\n"));
  EXPECT_EQ(ask({.web_url = server.url()}), "wrong status 302");
  EXPECT_EQ(server.requests(), "HEAD /, HEAD /again, HEAD /again, HEAD /again");
  RawServer elsewhere(reply("302 Found", "Location: gopher://127.0.0.1/\r\n"));
  EXPECT_EQ(ask({.web_url = elsewhere.url()}), "wrong status 302");
}

TEST_F(ProofTest, AJsonValueMustBeTheExpectedOne) {
  const std::string body = R"({"a/b":[{"up":true,"n":3,"f":1.5,"s":"x=y","z":null}],"o":{}})";
  RawServer server(reply("200 OK", "", body));
  const auto with = [&](const char* json) {
    return ask({.web_url = server.url(), .web_json = json});
  };
  EXPECT_EQ(with("/a~1b/0/up=true"), "alive 200");
  EXPECT_EQ(server.requests(), "GET /") << "a body is needed";
  EXPECT_EQ(with("/a~1b/0/n=3"), "alive 200");
  EXPECT_EQ(with("/a~1b/0/f=1.5"), "alive 200");
  EXPECT_EQ(with("/a~1b/0/s=x=y"), "alive 200");
  EXPECT_EQ(with("/a~1b/0/z=null"), "alive 200");
  for (const char* wrong : {"/a~1b/0/up=false", "/a~1b/0/n=3.0", "/a~1b/1/up=true", "/b=", "/o={}",
                            "/a~1b/x=1", "/a~1b=1", "no pointer", "/a~2b=1"}) {
    EXPECT_EQ(with(wrong), "wrong body 200") << wrong;
  }
  RawServer page(reply("200 OK", "", "<html>"));
  EXPECT_EQ(ask({.web_url = page.url(), .web_json = "/a=1"}), "wrong body 200");
  RawServer deep(reply("200 OK", "", std::string(60'000, '[')));
  EXPECT_EQ(ask({.web_url = deep.url(), .web_json = "/a=1"}), "wrong body 200");
  RawServer refused(reply("403 Forbidden", "", body));
  EXPECT_EQ(ask({.web_url = refused.url(), .web_json = "/a~1b/0/up=true"}), "wrong status 403");
}

TEST_F(ProofTest, AnEndlessBodyIsNotRead) {
  RawServer server([](int fd, const std::string&) {
    RawServer::write_all(fd, "HTTP/1.1 200 OK\r\n\r\n");
    while (RawServer::write_all(fd, std::string(10'000, 'x'))) continue;
  });
  EXPECT_EQ(ask({.web_url = server.url()}), "alive 200");
  EXPECT_EQ(ask({.web_url = server.url(), .web_json = "/a=1"}), "body too long 200");
  RawServer headers([](int fd, const std::string&) {
    RawServer::write_all(fd, "HTTP/1.1 200 OK\r\n");
    while (RawServer::write_all(fd, "X-Y: " + std::string(1000, 'x') + "\r\n")) continue;
  });
  EXPECT_EQ(ask({.web_url = headers.url()}), "protocol error");
}

TEST_F(ProofTest, WhoHangsOrDripsIsCutAtTheDeadline) {
  RawServer hangs([](int fd, const std::string&) { hang(fd); });
  EXPECT_EQ(ask({.web_url = hangs.url()}), "timeout");
  RawServer drips([&](int fd, const std::string&) {
    for (const char c :
         std::string("HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) {
      if (!RawServer::write_all(fd, std::string(1, c))) return;
      pollfd gone{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&gone, 1, 50) == 1) return;  // the other side has had enough
    }
  });
  const auto done = ask_all({device(1, {.web_url = drips.url()})});
  ASSERT_EQ(done.at(0).results.size(), 1u);
  EXPECT_EQ(done[0].results[0].outcome, ProofOutcome::kTimeout);
}

TEST_F(ProofTest, WhatIsNotHttpIsAProtocolError) {
  RawServer ssh("SSH-2.0-OpenSSH_9.2p1\r\n");
  EXPECT_EQ(ask({.web_url = ssh.url()}), "protocol error");
  RawServer nothing("");
  EXPECT_EQ(ask({.web_url = nothing.url()}), "protocol error");
  RawServer half("HTTP/1.1 200 OK\r\nContent-");
  EXPECT_EQ(ask({.web_url = half.url()}), "protocol error");
}

TEST_F(ProofTest, AConnectionProvesLifeAndAResetDoesNot) {
  RawServer server("");
  const uint16_t closed = closed_port();
  EXPECT_EQ(ask({.tcp_ports = {server.port}}), "alive");
  EXPECT_EQ(ask({.tcp_ports = {closed}}), "connection reset");
  EXPECT_EQ(ask({.web_url = "http://127.0.0.1:" + std::to_string(closed) + "/"}),
            "connection reset");
  RawServer hangs([](int fd, const std::string&) { hang(fd); });
  const auto done =
      ask_all({device(1, {.web_url = hangs.url(), .tcp_ports = {closed, server.port}})});
  ASSERT_EQ(done.at(0).results.size(), 2u) << "the first proof of life ends the matter";
  EXPECT_EQ(done[0].results[0].outcome, ProofOutcome::kReset);
  EXPECT_EQ(done[0].results[0].port, closed);
  EXPECT_EQ(done[0].results[1].kind, ProofKind::kTcp);
  EXPECT_EQ(done[0].results[1].outcome, ProofOutcome::kAlive);
}

TEST_F(ProofTest, Ipv6IsAskedAsWell) {
  const int listener = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 at{};
  at.sin6_family = AF_INET6;
  at.sin6_addr = in6addr_loopback;
  socklen_t length = sizeof at;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
    GTEST_SKIP() << "no IPv6 here";
  }
  ASSERT_EQ(::listen(listener, 16), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length), 0);
  const uint16_t port = ntohs(at.sin6_port);
  std::thread server([&] {
    const int first = ::accept(listener, nullptr, nullptr);  // the port
    ::close(first);
    const int second = ::accept(listener, nullptr, nullptr);
    RawServer::write_all(second, reply("200 OK"));
    hang(second);
    ::close(second);
  });
  EXPECT_EQ(ask({.tcp_ports = {port}}, "::1"), "alive");
  EXPECT_EQ(ask({.web_url = "http://[::1]:" + std::to_string(port) + "/"}, "::1"), "alive 200");
  server.join();
  ::close(listener);
}

TEST_F(ProofTest, ANewAssignmentTakesWhatItChanges) {
  runtime::Loop loop;
  Proofs proofs(config, loop, [](const std::string&) { return Address{}; });
  proofs.assign({device(1, {.web_url = "http://b.example/"}),
                 device(2, {.web_url = "http://a.example/"}),
                 device(3, {.web_url = "http://c.example/"}, "c.example"), device(4, {})});
  EXPECT_EQ(proofs.host_names(), (std::vector<std::string>{"a.example", "b.example"}))
      << "c.example is resolved as the device's address";
  proofs.assign(
      {device(1, {.web_url = "http://b.example/"}), device(2, {.web_url = "http://192.0.2.1/"})});
  EXPECT_EQ(proofs.host_names(), (std::vector<std::string>{"b.example"}));
}

TEST_F(ProofTest, ASilentPortIsATimeout) {
  uint16_t port = 0;
  const int listener = listen_on(port, 0);
  std::vector<int> fill;  // the queue takes one or two; the rest get no answer
  for (int i = 0; i < 4; ++i) {
    fill.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)::connect(fill.back(), reinterpret_cast<sockaddr*>(&at), sizeof at);
  }
  EXPECT_EQ(ask({.tcp_ports = {port}}), "timeout");
  for (const int fd : fill) ::close(fd);
  ::close(listener);
}

TEST_F(ProofTest, TheAddressPolicyHoldsBeforeAnythingIsSent) {
  RawServer server(reply("200 OK"));
  const std::string port = ":" + std::to_string(server.port) + "/";
  names["far.example"] = *parse_address("127.0.0.1");
  names["meta.example"] = *parse_address("169.254.169.254");
  names["local.example"] = *parse_address("127.0.0.1");
  const std::string far = "192.0.2.1";
  EXPECT_EQ(ask({.web_url = "http://far.example" + port}, far), "forbidden")
      << "a name that means this machine, of a device that is elsewhere";
  EXPECT_EQ(ask({.web_url = "http://meta.example/"}, far), "forbidden");
  EXPECT_EQ(ask({.web_url = "http://169.254.169.254/latest/meta-data/"}, far), "forbidden");
  EXPECT_EQ(ask({.web_url = "http://224.0.0.1/"}, far), "forbidden");
  EXPECT_EQ(ask({.web_url = "http://0.0.0.0" + port}, far), "forbidden");
  EXPECT_EQ(ask({.web_url = "http://0x0" + port}, far), "forbidden") << "other spellings, too";
  EXPECT_EQ(ask({.web_url = "file:///etc/passwd"}, far), "forbidden");
  EXPECT_EQ(ask({.web_url = "http://nobody.example/"}, far), "no address");
  EXPECT_EQ(ask({.tcp_ports = {server.port}}, "far.example"), "forbidden");
  EXPECT_EQ(server.requests(), "");
  EXPECT_EQ(ask({.web_url = "http://local.example" + port}), "alive 200")
      << "of a device on loopback";
  EXPECT_EQ(ask({.web_url = "http://127.0.0.1" + port}, far), "alive 200") << "it says so itself";
}

TEST_F(ProofTest, NoProxyOfTheEnvironmentIsUsed) {
  RawServer server(reply("200 OK"));
  const std::string proxy = "http://127.0.0.1:" + std::to_string(closed_port());
  ::setenv("http_proxy", proxy.c_str(), 1);
  ::setenv("ALL_PROXY", proxy.c_str(), 1);
  EXPECT_EQ(ask({.web_url = server.url()}), "alive 200");
  ::unsetenv("http_proxy");
  ::unsetenv("ALL_PROXY");
}

// --- TLS ----------------------------------------------------------------------------------------

class TlsTest : public ProofTest {
 protected:
  void SetUp() override {
    ProofTest::SetUp();
    gema::testing::run_or_throw(
        {.command = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                     "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                     "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                     (dir / "key.pem").string(), "-out", (dir / "cert.pem").string()},
         .log = dir / "openssl.log"});
    server =
        std::make_unique<httplib::SSLServer>((dir / "cert.pem").c_str(), (dir / "key.pem").c_str());
    server->Get("/", [](const httplib::Request&, httplib::Response& r) {
      r.set_content("{\"up\":1}", "application/json");
    });
    port = server->bind_to_any_port("0.0.0.0");
    ASSERT_GT(port, 0);
    thread = std::thread([this] { server->listen_after_bind(); });
  }
  void TearDown() override {
    if (!thread.joinable()) return;
    server->stop();
    thread.join();
  }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port) + "/";
  }

  std::unique_ptr<httplib::SSLServer> server;
  std::thread thread;
  int port = 0;
};

TEST_F(TlsTest, ACertificateIsCheckedUnlessTheDeviceSaysNotTo) {
  EXPECT_EQ(ask({.web_url = url()}), "bad certificate");
  EXPECT_EQ(ask({.web_url = url(), .web_insecure = true}), "alive 200");
  config.ca_file = (dir / "cert.pem").string();
  EXPECT_EQ(ask({.web_url = url()}), "alive 200");
  EXPECT_EQ(ask({.web_url = url(), .web_json = "/up=1"}), "alive 200");
  EXPECT_EQ(ask({.web_url = url("127.0.0.2")}), "bad certificate") << "of another host";
  EXPECT_EQ(ask({.web_url = url("127.0.0.2"), .web_insecure = true}), "alive 200");
  std::string plain = url();
  EXPECT_NE(ask({.web_url = plain.replace(0, 5, "http")}).substr(0, 5), "alive");
}

// --- many ---------------------------------------------------------------------------------------

void allow_many_files() {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
}

TEST_F(ProofTest, AThousandThatHangDoNotDelayTheOneThatAnswers) {
  allow_many_files();
  // Never accepted: connected, and then silence. Each host has an address of its own.
  uint16_t silent = 0;
  const int listener = listen_on(silent, 4096);
  RawServer good(reply("200 OK"));
  config.connections_max = 2048;
  std::vector<AssignedDevice> devices;
  for (uint32_t i = 1; i <= 1000; ++i) {
    const std::string host = "127.1." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
    devices.push_back(
        device(i, {.web_url = "http://" + host + ":" + std::to_string(silent) + "/"}, host));
  }
  devices.push_back(device(1001, {.web_url = good.url()}));
  const auto done = ask_all(devices);
  ASSERT_EQ(done.size(), 1001u);
  EXPECT_EQ(done.front().check, 1001u) << "it was the last to be asked";
  ASSERT_EQ(done.front().results.size(), 1u);
  EXPECT_EQ(done.front().results[0].outcome, ProofOutcome::kAlive);
  EXPECT_EQ(stats.outcomes[0][static_cast<size_t>(ProofOutcome::kTimeout)], 1000u);
  EXPECT_GT(in_flight_most, 1000u);
  ::close(listener);
}

TEST_F(ProofTest, WhatFindsNoRoomBeforeItsDeadlineIsNotTried) {
  uint16_t silent = 0;
  const int listener = listen_on(silent, 4096);
  std::vector<AssignedDevice> devices;
  for (uint32_t i = 1; i <= 40; ++i) {
    const std::string host = "127.1.0." + std::to_string(i);
    devices.push_back(
        device(i, {.web_url = "http://" + host + ":" + std::to_string(silent) + "/"}, host));
  }
  config.connections_max = 16;
  const auto done = ask_all(devices);
  EXPECT_EQ(in_flight_most, 14u) << "two are kept for those that proved to live before";
  EXPECT_EQ(stats.outcomes[0][static_cast<size_t>(ProofOutcome::kTimeout)], 14u);
  EXPECT_EQ(stats.outcomes[0][static_cast<size_t>(ProofOutcome::kNotTried)], 26u);
  for (auto& one : devices) one.proof.web_url = "http://127.0.0.1:" + std::to_string(silent) + "/";
  config.connections_max = 100;
  ask_all(devices);
  EXPECT_EQ(stats.outcomes[0][static_cast<size_t>(ProofOutcome::kTimeout)], kProofsPerHost)
      << "one host has a bound of its own";
  ::close(listener);
}

TEST_F(ProofTest, OneThatIsCancelledIsNotAnswered) {
  RawServer hangs([](int fd, const std::string&) { hang(fd); });
  runtime::Loop loop;
  Proofs proofs(config, loop, [](const std::string&) { return Address{}; });
  proofs.assign({device(1, {.web_url = hangs.url(), .tcp_ports = {closed_port()}}),
                 device(2, {.tcp_ports = {hangs.port}})});
  std::vector<ProofDone> done;
  int turns = 0;
  bool cancelled = false;
  loop.run([&](Now now) -> std::optional<MonoTime> {
    if (++turns == 1) proofs.want({.check = 1, .generation = 1, .device = 1}, now);
    proofs.tick(now);
    proofs.take_done(done);
    if (hangs.requests() == "HEAD /" && !cancelled) {
      cancelled = true;
      proofs.cancel({.check = 1, .generation = 1, .device = 1});
      proofs.cancel({.check = 1, .generation = 1, .device = 1});
      proofs.want({.check = 2, .generation = 1, .device = 2}, now);
      proofs.want({.check = 3, .generation = 1, .device = 3}, now);
    }
    if (done.size() == 2) loop.stop();
    return !cancelled ? now.mono + 1ms : proofs.next_wakeup();
  });
  EXPECT_EQ(proofs.stats().cancelled, 1u);
  EXPECT_EQ(done[0].check, 3u) << "no such device: nothing to prove";
  EXPECT_TRUE(done[0].results.empty());
  EXPECT_EQ(done[1].check, 2u);
}

TEST(WebUrl, IsTakenApartAsLibcurlDoes) {
  const auto url = parse_web_url("HTTPS://Router.Example./a?b");
  ASSERT_TRUE(url);
  EXPECT_TRUE(url->https);
  EXPECT_EQ(url->host, "router.example");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(parse_web_url("http://[2001:DB8::1]:8080/")->host, "2001:db8::1");
  for (const char* bad : {"", "x", "ftp://a/", "http://", "http://u@a/", "http://a:0/",
                          "http://a:99999/", "file:///x", "http://a b/"}) {
    EXPECT_FALSE(parse_web_url(bad)) << bad;
  }
  EXPECT_EQ(follow_location(*url, "../c")->text, "https://Router.Example./c");
  EXPECT_EQ(follow_location(*url, "//other/")->host, "other");
  EXPECT_FALSE(follow_location(*url, "javascript:alert(1)"));
}

}  // namespace
}  // namespace gema::prober
