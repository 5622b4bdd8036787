// A small name server for tests: answers A and AAAA questions on a free port of 127.0.0.1, by UDP
// and TCP, from a table that the test changes while it runs. A thread of its own.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace gema::prober {

class DnsServer {
 public:
  struct Name {
    std::vector<std::string> v4, v6;
    uint32_t ttl_s = 60;
    uint8_t code = 0;      // 2 server failure, 3 no such name, 5 refused
    bool silent = false;   // no answer at all
    bool by_tcp = false;   // UDP says: truncated
    bool garbage = false;  // an answer that is none
  };

  DnsServer() {
    for (int tries = 0; tries < 50; ++tries) {  // a port that is free for both
      udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in name{};
      name.sin_family = AF_INET;
      name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t length = sizeof name;
      EXPECT_EQ(::bind(udp_, reinterpret_cast<sockaddr*>(&name), length), 0);
      EXPECT_EQ(::getsockname(udp_, reinterpret_cast<sockaddr*>(&name), &length), 0);
      port_ = ntohs(name.sin_port);
      if (::bind(tcp_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) break;
      ::close(udp_);
      ::close(tcp_);
    }
    EXPECT_EQ(::listen(tcp_, 16), 0);
    thread_ = std::thread([this] { run(); });
  }
  ~DnsServer() {
    stop_ = true;
    thread_.join();
    ::close(udp_);
    ::close(tcp_);
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  // A name that is not in the table does not exist.
  void set(const std::string& name, Name answer) {
    const std::lock_guard lock(mutex_);
    names_[name] = std::move(answer);
  }
  // What a name has from now on that is not in the table.
  void set_others(Name answer) {
    const std::lock_guard lock(mutex_);
    others_ = std::move(answer);
  }
  std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
  int questions() const { return questions_; }
  int questions_by_tcp() const { return by_tcp_; }
  int questions_about(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = asked_.find(name);
    return found == asked_.end() ? 0 : found->second;
  }

 private:
  void run() {
    while (!stop_) {
      pollfd ready[] = {{udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
      if (::poll(ready, 2, 20) <= 0) continue;
      std::vector<uint8_t> bytes(4096);
      sockaddr_storage from{};
      socklen_t length = sizeof from;
      if (ready[0].revents != 0) {
        const ssize_t n = ::recvfrom(udp_, bytes.data(), bytes.size(), 0,
                                     reinterpret_cast<sockaddr*>(&from), &length);
        bytes.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
        const auto answer = answer_to(bytes, false);
        if (!answer.empty()) {
          ::sendto(udp_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from),
                   length);
        }
      }
      if (ready[1].revents != 0) serve_tcp();
    }
  }
  void serve_tcp() {
    const int fd = ::accept(tcp_, nullptr, nullptr);
    uint8_t size[2];
    std::vector<uint8_t> bytes;
    if (::recv(fd, size, 2, MSG_WAITALL) == 2) {
      bytes.resize(static_cast<size_t>(size[0] << 8 | size[1]));
      if (::recv(fd, bytes.data(), bytes.size(), MSG_WAITALL) ==
          static_cast<ssize_t>(bytes.size())) {
        auto answer = answer_to(bytes, true);
        const auto n = static_cast<uint16_t>(answer.size());
        answer.insert(answer.begin(), {static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
        EXPECT_EQ(::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(answer.size()));
      }
    }
    ::close(fd);
  }

  std::vector<uint8_t> answer_to(const std::vector<uint8_t>& question, bool tcp) {
    std::string name;
    size_t at = 12;
    while (at < question.size() && question[at] != 0) {
      if (!name.empty()) name += '.';
      name.append(reinterpret_cast<const char*>(&question[at + 1]), question[at]);
      at += 1U + question[at];
    }
    if (at + 5 > question.size()) return {};
    const int type = question[at + 1] << 8 | question[at + 2];
    const std::lock_guard lock(mutex_);
    ++questions_;
    by_tcp_ += tcp ? 1 : 0;
    ++asked_[name];
    const auto found = names_.find(name);
    const Name& data = found == names_.end() ? others_ : found->second;
    if (data.silent) return {};
    const bool truncated = data.by_tcp && !tcp;
    std::vector<std::string> addresses;
    if (data.code == 0 && !truncated)
      addresses = type == 1 ? data.v4 : type == 28 ? data.v6 : addresses;
    std::vector<uint8_t> out(question.begin(),
                             question.begin() + static_cast<std::ptrdiff_t>(at + 5));
    out[2] = static_cast<uint8_t>(0x81 | (truncated ? 2 : 0));
    out[3] = static_cast<uint8_t>(0x80 | data.code);
    out[6] = 0;
    out[7] = static_cast<uint8_t>(addresses.size());
    out[8] = out[9] = out[10] = out[11] = 0;
    if (data.garbage) {
      out.resize(14);
      return out;
    }
    for (const std::string& address : addresses) {
      uint8_t bytes[16];
      const size_t size = type == 1 ? 4 : 16;
      EXPECT_EQ(::inet_pton(type == 1 ? AF_INET : AF_INET6, address.c_str(), bytes), 1) << address;
      const uint32_t ttl = data.ttl_s;
      out.insert(out.end(),
                 {0xc0, 12, 0, static_cast<uint8_t>(type), 0, 1, static_cast<uint8_t>(ttl >> 24),
                  static_cast<uint8_t>(ttl >> 16), static_cast<uint8_t>(ttl >> 8),
                  static_cast<uint8_t>(ttl), 0, static_cast<uint8_t>(size)});
      out.insert(out.end(), bytes, bytes + size);
    }
    return out;
  }

  int udp_ = -1, tcp_ = -1;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::map<std::string, Name> names_;
  Name others_{.code = 3};
  std::map<std::string, int> asked_;
  std::atomic<int> questions_ = 0, by_tcp_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace gema::prober
