// The truth about round trips: notes for every echo the kernel's own stamps of its arrival at the
// other end of a veth pair (a wire without length) and of its reply's at this one, whoever sent it.
//
//   wire_times INTERFACE OTHER_NAMESPACE FILE
//
// The interface has the same name in both. Listens to what comes in only: a listener to what goes
// out would delay each packet between its stamp and the wire. Until SIGTERM; then writes one line
// an answered echo, in order of the replies: address, when it left (Unix ns), round trip in ns.
// Says "listening" when it does. What it missed (its buffer was full) is a number on stderr.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <unordered_map>
#include <vector>

namespace {

volatile std::sig_atomic_t stopped = 0;

struct Echo {
  uint32_t address;
  int64_t left_ns;
  int64_t rtt_ns;
};

constexpr unsigned kBatch = 64;

uint64_t key_of(uint32_t address, const uint8_t* icmp) {
  uint32_t id_and_sequence = 0;
  std::memcpy(&id_and_sequence, icmp + 4, sizeof id_and_sequence);
  return uint64_t{address} << 32 | id_and_sequence;
}

int listen_on(const char* interface) {
  const int fd = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int bytes = 64 << 20, on = 1;
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_IP);  // ETH_P_ALL would also show what leaves
  where.sll_ifindex = static_cast<int>(if_nametoindex(interface));
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
      ::bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) {
    std::perror("wire_times");
    std::exit(1);
  }
  return fd;
}

// Takes up to a batch from the socket and calls each(IP packet, its stamp). Returns whether there
// is more.
template <class Each>
bool take(int fd, Each each) {
  static std::array<std::array<uint8_t, 64>, kBatch> packet;
  alignas(cmsghdr) static std::array<std::array<char, 64>, kBatch> control;
  static std::array<iovec, kBatch> iov;
  static std::array<mmsghdr, kBatch> messages;
  for (size_t i = 0; i < kBatch; ++i) {
    iov[i] = {packet[i].data(), packet[i].size()};
    messages[i].msg_hdr = {nullptr, 0, &iov[i], 1, control[i].data(), control[i].size(), 0};
  }
  const int n = ::recvmmsg(fd, messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  for (size_t i = 0; i < static_cast<size_t>(n < 0 ? 0 : n); ++i) {
    const uint8_t* ip = packet[i].data();
    if (messages[i].msg_len < 28 || ip[0] != 0x45 || ip[9] != 1) continue;
    timespec t{};
    msghdr& header = messages[i].msg_hdr;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_type == SCM_TIMESTAMPNS) std::memcpy(&t, CMSG_DATA(c), sizeof t);
    }
    each(ip, t.tv_sec * 1'000'000'000LL + t.tv_nsec);
  }
  return n == static_cast<int>(kBatch);
}

uint32_t address_at(const uint8_t* bytes) {
  uint32_t address = 0;
  std::memcpy(&address, bytes, sizeof address);
  return address;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::signal(SIGTERM, [](int) { stopped = 1; });
  const int here = listen_on(argv[1]);
  const int other = ::open(argv[2], O_RDONLY | O_CLOEXEC);
  if (other < 0 || setns(other, CLONE_NEWNET) != 0) {
    std::perror("wire_times: the other namespace");
    return 1;
  }
  const int there = listen_on(argv[1]);
  std::printf("listening\n");
  std::fflush(stdout);

  std::unordered_map<uint64_t, int64_t> pending;
  std::vector<Echo> echoes;
  pending.reserve(1 << 20);
  echoes.reserve(1 << 21);
  auto on_request = [&](const uint8_t* ip, int64_t at) {
    if (ip[20] == 8) pending[key_of(address_at(ip + 16), ip + 20)] = at;
  };
  auto on_reply = [&](const uint8_t* ip, int64_t at) {
    if (ip[20] != 0) return;
    const auto sent = pending.find(key_of(address_at(ip + 12), ip + 20));
    if (sent == pending.end()) return;
    echoes.push_back({address_at(ip + 12), sent->second, at - sent->second});
    pending.erase(sent);
  };
  while (stopped == 0) {
    while (take(there, on_request)) {
    }
    // It does not wait on the sockets: to be woken up would delay the packets.
    if (take(here, on_reply)) continue;
    const timespec pause{0, 5'000'000};
    nanosleep(&pause, nullptr);  // lint: allow(sleep-in-test) the pause is the point
  }
  for (const int fd : {here, there}) {
    tpacket_stats stats{};
    socklen_t length = sizeof stats;
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0 && stats.tp_drops > 0) {
      std::fprintf(stderr, "wire_times: missed %u\n", stats.tp_drops);
    }
  }
  std::FILE* file = std::fopen(argv[3], "w");
  if (file == nullptr) return 1;
  for (const Echo& e : echoes) {
    in_addr address{e.address};
    std::fprintf(file, "%s %ld %ld\n", inet_ntoa(address), e.left_ns, e.rtt_ns);
  }
  return std::fclose(file) == 0 ? 0 : 1;
}
