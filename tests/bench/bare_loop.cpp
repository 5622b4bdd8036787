// What the kernel alone costs: ICMP echoes by sendmmsg and recvmmsg on a raw socket, with nothing
// beside them. The reference of `tests/run bench prober`: no prober can be cheaper per echo than
// this. It keeps one send stamp an echo, to tell round trip times, and knows nothing else.
//
//   bare_loop --targets N [--first ADDRESS] [--rate R] [--seconds S] [--batch B] [--stamp HOW]
//
// Prints one JSON object. The rate is an average: every 2 ms it sends what is due (rate 0: one
// batch after the other). Sends to N addresses in a row, from ADDRESS on.
//
// --stamp says what a round trip begins with, and with `kernel` how far the other stamps are off:
//   before       one reading of the clock before the batch's system call
//   interpolate  readings before and after it, divided among its echoes (default)
//   kernel       the kernel's own transmit stamp, from the socket's error queue
//   sampled      interpolate, and the kernel's stamp for the last echo of a batch only
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr uint32_t kIdsMax = 1 << 20;  // echoes remembered: 4 bits of identifier, 16 of sequence
constexpr size_t kEchoBytes = 40;      // as the prober's
constexpr size_t kBatchMax = 256;
constexpr int64_t kQuantumNs = 2'000'000;

enum class Stamp { kBefore, kInterpolate, kKernel, kSampled };

struct Options {
  uint32_t first = 0xc6120001;  // 198.18.0.1
  uint32_t targets = 1000;
  double rate = 0;
  double seconds = 5;
  size_t batch = 16;
  Stamp stamp = Stamp::kInterpolate;
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "bare_loop: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int64_t read_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--first") {
      o.first = ntohl(inet_addr(value.c_str()));
    } else if (name == "--targets") {
      o.targets = static_cast<uint32_t>(std::stoul(value));
    } else if (name == "--rate") {
      o.rate = std::stod(value);
    } else if (name == "--seconds") {
      o.seconds = std::stod(value);
    } else if (name == "--batch") {
      o.batch = std::clamp<size_t>(std::stoul(value), 1, kBatchMax);
    } else if (name == "--stamp") {
      o.stamp = value == "before"    ? Stamp::kBefore
                : value == "kernel"  ? Stamp::kKernel
                : value == "sampled" ? Stamp::kSampled
                                     : Stamp::kInterpolate;
    } else {
      std::fprintf(stderr, "bare_loop: unknown option %s\n", name.c_str());
      std::exit(2);
    }
  }
  return o;
}

uint16_t checksum(const uint8_t* bytes, size_t size) {
  uint32_t sum = 0;
  for (size_t i = 0; i < size; i += 2) sum += static_cast<uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// What one run has seen. Errors of stamps only with Stamp::kKernel.
struct Seen {
  uint64_t sent = 0, received = 0, refused = 0, stamped = 0;
  std::vector<int64_t> rtt_ns, before_error_ns, interpolate_error_ns;
};

int64_t quantile(std::vector<int64_t>& values, double q) {
  if (values.empty()) return -1;
  const auto at = static_cast<size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

class Loop {
 public:
  explicit Loop(const Options& options) : o_(options), sent_(kIdsMax), before_(kIdsMax) {
    fd_ = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP);
    if (fd_ < 0) die("socket");
    const int bytes = 16 << 20, on = 1;
    if (setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    }
    setsockopt(fd_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    const int never_fragment = IP_PMTUDISC_DO;  // as the prober: no number is drawn for fragments
    setsockopt(fd_, SOL_IP, IP_MTU_DISCOVER, &never_fragment, sizeof never_fragment);
    icmp_filter filter{};
    filter.data = ~(1U << ICMP_ECHOREPLY);
    setsockopt(fd_, SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
    unsigned flags = 0;
    if (o_.stamp == Stamp::kKernel) {
      flags = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID |
              SOF_TIMESTAMPING_OPT_TSONLY;
    } else if (o_.stamp == Stamp::kSampled) {
      flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;
    }
    if (flags != 0 && setsockopt(fd_, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) != 0) {
      die("SO_TIMESTAMPING");
    }
    // Headers and addresses that never change; only the sequence number and the sum do.
    for (size_t i = 0; i < kBatchMax; ++i) {
      std::memset(request_[i], 0, kEchoBytes);
      request_[i][0] = ICMP_ECHO;
      send_iov_[i] = {request_[i], kEchoBytes};
      to_[i] = {};
      to_[i].sin_family = AF_INET;
      send_[i] = {};
      send_[i].msg_hdr.msg_name = &to_[i];
      send_[i].msg_hdr.msg_namelen = sizeof to_[i];
      send_[i].msg_hdr.msg_iov = &send_iov_[i];
      send_[i].msg_hdr.msg_iovlen = 1;
      receive_iov_[i] = {reply_[i], sizeof reply_[i]};
    }
    ident_ = static_cast<uint16_t>(getpid() & 0xfff0);
    const auto expected = static_cast<size_t>((o_.rate > 0 ? o_.rate : 250'000) * (o_.seconds + 1));
    seen_.rtt_ns.reserve(expected);
    if (o_.stamp == Stamp::kKernel) {
      seen_.before_error_ns.reserve(expected);
      seen_.interpolate_error_ns.reserve(expected);
    }
  }

  Seen& run() {
    const int64_t begin = read_ns(CLOCK_MONOTONIC);
    const auto end = begin + static_cast<int64_t>(o_.seconds * 1e9);
    for (int64_t now = begin; now < end;) {
      if (o_.rate <= 0) {
        send_batch(o_.batch);
      } else {
        const auto due = static_cast<uint64_t>(o_.rate * static_cast<double>(now - begin) / 1e9);
        for (size_t n = 0; tried_ < due; tried_ += n) {
          n = static_cast<size_t>(std::min<uint64_t>(o_.batch, due - tried_));
          send_batch(n);
          if (tried_ % 64 < n) drain();
        }
      }
      drain();
      now = read_ns(CLOCK_MONOTONIC);
      if (o_.rate <= 0) continue;
      const int64_t next = now + kQuantumNs;
      const timespec at{next / 1'000'000'000, next % 1'000'000'000};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
      now = read_ns(CLOCK_MONOTONIC);
    }
    for (int i = 0; i < 20 && seen_.received < seen_.sent; ++i) {
      const timespec some{0, 10'000'000};
      nanosleep(&some, nullptr);  // lint: allow(sleep-in-test) for the last replies, with a bound
      drain();
    }
    return seen_;
  }

 private:
  void send_batch(size_t n) {
    alignas(cmsghdr) char ask[CMSG_SPACE(sizeof(uint32_t))] = {};
    for (size_t i = 0; i < n; ++i) {
      const uint32_t id = (next_ + static_cast<uint32_t>(i)) % kIdsMax;
      const auto ident = static_cast<uint16_t>(ident_ | id >> 16);
      const auto sequence = static_cast<uint16_t>(id);
      uint8_t* p = request_[i];
      p[2] = p[3] = 0;
      p[4] = static_cast<uint8_t>(ident >> 8);
      p[5] = static_cast<uint8_t>(ident);
      p[6] = static_cast<uint8_t>(sequence >> 8);
      p[7] = static_cast<uint8_t>(sequence);
      const uint16_t sum = checksum(p, kEchoBytes);
      p[2] = static_cast<uint8_t>(sum >> 8);
      p[3] = static_cast<uint8_t>(sum);
      to_[i].sin_addr.s_addr = htonl(o_.first + (target_ + static_cast<uint32_t>(i)) % o_.targets);
      send_[i].msg_hdr.msg_controllen = 0;
    }
    if (o_.stamp == Stamp::kSampled) {
      msghdr& last = send_[n - 1].msg_hdr;
      last.msg_control = ask;
      last.msg_controllen = sizeof ask;
      cmsghdr* c = CMSG_FIRSTHDR(&last);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SO_TIMESTAMPING;
      c->cmsg_len = CMSG_LEN(sizeof(uint32_t));
      const uint32_t flags = SOF_TIMESTAMPING_TX_SOFTWARE;
      std::memcpy(CMSG_DATA(c), &flags, sizeof flags);
    }
    const int64_t before = read_ns(CLOCK_REALTIME);
    const int done = ::sendmmsg(fd_, send_, static_cast<unsigned>(n), MSG_DONTWAIT);
    const int64_t after = o_.stamp == Stamp::kBefore ? before : read_ns(CLOCK_REALTIME);
    if (done <= 0) {
      ++seen_.refused;
      return;
    }
    for (int i = 0; i < done; ++i) {
      const uint32_t id = (next_ + static_cast<uint32_t>(i)) % kIdsMax;
      sent_[id] = before + (after - before) * i / done;
      before_[id] = before;
    }
    next_ = (next_ + static_cast<uint32_t>(done)) % kIdsMax;
    target_ = (target_ + static_cast<uint32_t>(done)) % o_.targets;
    seen_.sent += static_cast<uint64_t>(done);
  }

  void drain() {
    if (o_.stamp == Stamp::kKernel || o_.stamp == Stamp::kSampled) take_transmit_stamps();
    while (receive(0) == o_.batch) {
    }
  }

  size_t receive(int flags) {
    for (size_t i = 0; i < o_.batch; ++i) {
      msghdr& header = receive_[i].msg_hdr;
      header = {};
      header.msg_iov = &receive_iov_[i];
      header.msg_iovlen = 1;
      header.msg_control = control_[i];
      header.msg_controllen = sizeof control_[i];
    }
    const int n =
        ::recvmmsg(fd_, receive_, static_cast<unsigned>(o_.batch), MSG_DONTWAIT | flags, nullptr);
    if (n <= 0) return 0;
    for (int i = 0; i < n; ++i) take_reply(i);
    return static_cast<size_t>(n);
  }

  void take_reply(int i) {
    const uint8_t* p = reply_[i] + 20;  // no IP options here
    const auto ident = static_cast<uint16_t>(p[4] << 8 | p[5]);
    if (receive_[i].msg_len < 28 || (ident & 0xfff0) != ident_) return;
    const uint32_t id = (ident & 0xfU) << 16 | static_cast<uint32_t>(p[6] << 8 | p[7]);
    ++seen_.received;
    timespec t{};
    msghdr& header = receive_[i].msg_hdr;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_type == SCM_TIMESTAMPNS) std::memcpy(&t, CMSG_DATA(c), sizeof t);
    }
    const int64_t at = t.tv_sec * 1'000'000'000LL + t.tv_nsec;
    if (at != 0) seen_.rtt_ns.push_back(at - sent_[id]);
  }

  // Stamps come in order of sending, numbered from 0.
  void take_transmit_stamps() {
    while (true) {
      for (size_t i = 0; i < o_.batch; ++i) {
        msghdr& header = receive_[i].msg_hdr;
        header = {};
        header.msg_control = control_[i];
        header.msg_controllen = sizeof control_[i];
      }
      const int n = ::recvmmsg(fd_, receive_, static_cast<unsigned>(o_.batch),
                               MSG_DONTWAIT | MSG_ERRQUEUE, nullptr);
      if (n <= 0) return;
      for (int i = 0; i < n; ++i) {
        scm_timestamping stamps{};
        sock_extended_err error{};
        msghdr& header = receive_[i].msg_hdr;
        for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
          if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING) {
            std::memcpy(&stamps, CMSG_DATA(c), sizeof stamps);
          } else if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) {
            std::memcpy(&error, CMSG_DATA(c), sizeof error);
          }
        }
        ++seen_.stamped;
        if (o_.stamp != Stamp::kKernel) continue;
        const int64_t at = stamps.ts[0].tv_sec * 1'000'000'000LL + stamps.ts[0].tv_nsec;
        const uint32_t id = error.ee_data % kIdsMax;
        seen_.before_error_ns.push_back(at - before_[id]);
        seen_.interpolate_error_ns.push_back(at - sent_[id]);
        sent_[id] = at;
      }
      if (static_cast<size_t>(n) < o_.batch) return;
    }
  }

  const Options o_;
  int fd_ = -1;
  uint16_t ident_ = 0;
  uint32_t next_ = 0, target_ = 0;
  uint64_t tried_ = 0;
  Seen seen_;
  std::vector<int64_t> sent_, before_;

  uint8_t request_[kBatchMax][kEchoBytes];
  sockaddr_in to_[kBatchMax];
  iovec send_iov_[kBatchMax];
  mmsghdr send_[kBatchMax];
  uint8_t reply_[kBatchMax][128];
  alignas(cmsghdr) char control_[kBatchMax][128];
  iovec receive_iov_[kBatchMax];
  mmsghdr receive_[kBatchMax];
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  static Loop loop(options);
  const int64_t begin = read_ns(CLOCK_MONOTONIC), cpu = read_ns(CLOCK_PROCESS_CPUTIME_ID);
  Seen& seen = loop.run();
  const double cpu_s = static_cast<double>(read_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9;
  const double wall_s = static_cast<double>(read_ns(CLOCK_MONOTONIC) - begin) / 1e9;
  std::printf(
      "{\"sent\":%lu,\"received\":%lu,\"refused\":%lu,\"cpu_s\":%.6f,\"wall_s\":%.6f,"
      "\"rtt_p50_ns\":%ld,\"rtt_p99_ns\":%ld,\"stamped\":%lu",
      seen.sent, seen.received, seen.refused, cpu_s, wall_s, quantile(seen.rtt_ns, 0.5),
      quantile(seen.rtt_ns, 0.99), seen.stamped);
  for (auto* error : {&seen.before_error_ns, &seen.interpolate_error_ns}) {
    if (error->empty()) continue;
    const char* name = error == &seen.before_error_ns ? "before" : "interpolate";
    for (const double q : {0.01, 0.5, 0.99, 0.999, 1.0}) {
      std::printf(",\"%s_error_p%g_ns\":%ld", name, q * 100, quantile(*error, q));
    }
  }
  std::printf("}\n");
  return 0;
}
