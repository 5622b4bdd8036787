#include "services/prober/io/icmp_sockets.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "common/base/assert.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {
namespace {

constexpr size_t kPacketBytes = 256;  // an error quotes at most 60 + 8 + 40 of ours behind 60 + 8
constexpr size_t kControlBytes = 128;
constexpr size_t kNeverFragmentedBytes = 500;  // every path of IPv4 carries 576

MonoTime read_mono() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return MonoTime(std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec));
}

template <class Value>
bool set_option(int fd, int level, int name, const Value& value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

socklen_t to_sockaddr(const Address& address, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (address.family == 4) {
    auto* in = reinterpret_cast<sockaddr_in*>(&out);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, address.bytes.data(), 4);
    return sizeof *in;
  }
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&out);
  in6->sin6_family = AF_INET6;
  in6->sin6_scope_id = address.scope;
  std::memcpy(&in6->sin6_addr, address.bytes.data(), 16);
  return sizeof *in6;
}

Address from_sockaddr(const sockaddr_storage& in) {
  Address address;
  if (in.ss_family == AF_INET) {
    address.family = 4;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(&in)->sin_addr, 4);
  } else if (in.ss_family == AF_INET6) {
    address.family = 6;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(&in)->sin6_addr, 16);
  }
  return address;
}

// Requires nothing: of what is no IPv4 packet nobody asks the source.
Address source_of_v4(std::span<const uint8_t> packet) {
  Address address;
  if (packet.size() < 20) return address;
  address.family = 4;
  std::memcpy(address.bytes.data(), packet.data() + 12, 4);
  return address;
}

sock_filter statement(int code, uint32_t k) {
  return {static_cast<uint16_t>(code), 0, 0, k};
}
sock_filter jump(uint32_t k, uint8_t if_true, uint8_t if_false) {
  return {BPF_JMP | BPF_JEQ | BPF_K, if_true, if_false, k};
}

constexpr uint32_t kWhole = 0x40000;

// Passes echo replies with our identifier, and errors that quote an echo with our identifier.
// Out-of-range loads drop the packet.
bool attach_filter_v4(int fd, uint16_t identifier) {
  sock_filter code[] = {
      statement(BPF_LDX | BPF_B | BPF_MSH, 0),                //  0 X = length of the IP header
      statement(BPF_LD | BPF_B | BPF_IND, 0),                 //  1 ICMP type
      jump(ICMP_ECHOREPLY, 0, 2),                             //  2 else 5
      statement(BPF_LD | BPF_H | BPF_IND, 4),                 //  3 identifier
      statement(BPF_JMP | BPF_JA, 8),                         //  4 to 13
      jump(ICMP_DEST_UNREACH, 1, 0),                          //  5 to 7
      jump(ICMP_TIME_EXCEEDED, 0, 9),                         //  6 else drop (16)
      statement(BPF_LD | BPF_B | BPF_IND, 8),                 //  7 length of the quoted IP header
      statement(BPF_ALU | BPF_AND | BPF_K, 0xf),              //  8
      statement(BPF_ALU | BPF_LSH | BPF_K, 2),                //  9
      statement(BPF_ALU | BPF_ADD | BPF_X, 0),                // 10
      statement(BPF_MISC | BPF_TAX, 0),                       // 11
      statement(BPF_LD | BPF_H | BPF_IND, 12),                // 12 quoted identifier
      statement(BPF_ALU | BPF_AND | BPF_K, kIdentifierMask),  // 13
      jump(identifier, 0, 1),                                 // 14 else drop (16)
      statement(BPF_RET | BPF_K, kWhole),                     // 15
      statement(BPF_RET | BPF_K, 0),                          // 16
  };
  const sock_fprog program{static_cast<uint16_t>(std::size(code)), code};
  return set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
}

bool attach_filter_v6(int fd, uint16_t identifier) {
  sock_filter code[] = {
      statement(BPF_LD | BPF_B | BPF_ABS, 0),                 // 0 ICMPv6 type
      jump(ICMPV6_ECHO_REPLY, 0, 2),                          // 1 else 4
      statement(BPF_LD | BPF_H | BPF_ABS, 4),                 // 2 identifier
      statement(BPF_JMP | BPF_JA, 4),                         // 3 to 8
      jump(ICMPV6_DEST_UNREACH, 2, 0),                        // 4 to 7
      jump(ICMPV6_PKT_TOOBIG, 1, 0),                          // 5 to 7
      jump(ICMPV6_TIME_EXCEED, 0, 4),                         // 6 else drop (11)
      statement(BPF_LD | BPF_H | BPF_ABS, 8 + 40 + 4),        // 7 quoted identifier
      statement(BPF_ALU | BPF_AND | BPF_K, kIdentifierMask),  // 8
      jump(identifier, 0, 1),                                 // 9 else drop (11)
      statement(BPF_RET | BPF_K, kWhole),                     // 10
      statement(BPF_RET | BPF_K, 0),                          // 11
  };
  const sock_fprog program{static_cast<uint16_t>(std::size(code)), code};
  return set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
}

bool filter_types(int fd, Family family) {
  if (family == Family::kV4) {
    icmp_filter filter{};
    filter.data = ~(1U << ICMP_ECHOREPLY | 1U << ICMP_DEST_UNREACH | 1U << ICMP_TIME_EXCEEDED);
    return set_option(fd, SOL_RAW, ICMP_FILTER, filter);
  }
  struct icmp6_filter {
    uint32_t blocked[8];
  } filter;
  std::fill(std::begin(filter.blocked), std::end(filter.blocked), ~0U);
  for (const uint32_t type :
       {ICMPV6_ECHO_REPLY, ICMPV6_DEST_UNREACH, ICMPV6_PKT_TOOBIG, ICMPV6_TIME_EXCEED}) {
    filter.blocked[type / 32] &= ~(1U << type % 32);
  }
  return set_option(fd, SOL_ICMPV6, ICMPV6_FILTER, filter);
}

bool passing(int error) {
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EINTR;
}

}  // namespace

// Everything that system calls point into, made once.
struct IcmpSockets::Buffers {
  std::array<std::array<uint8_t, kEchoBytes>, kSendBatch> request;
  std::array<sockaddr_storage, kSendBatch> to;
  std::array<std::array<iovec, 2>, kSendBatch> send_iov;
  std::array<mmsghdr, kSendBatch> send;

  std::array<std::array<uint8_t, kPacketBytes>, kReceiveBatch> packet;
  std::array<sockaddr_storage, kReceiveBatch> from;
  alignas(cmsghdr) std::array<std::array<char, kControlBytes>, kReceiveBatch> control;
  std::array<iovec, kReceiveBatch> receive_iov;
  std::array<mmsghdr, kReceiveBatch> receive;

  std::vector<const Send*> batch;
};

IcmpSockets::IcmpSockets() : buffers_(std::make_unique<Buffers>()) {
  randombytes_buf(key_.data(), key_.size());
  identifier_ = static_cast<uint16_t>(randombytes_random() & kIdentifierMask);
  std::memset(buffers_->send.data(), 0, sizeof buffers_->send);
  std::memset(buffers_->receive.data(), 0, sizeof buffers_->receive);
  buffers_->batch.reserve(kSendBatch);
}

IcmpSockets::~IcmpSockets() {
  for (const Socket* s : {&v4_, &v6_}) {
    if (s->fd >= 0) ::close(s->fd);
  }
}

Result<std::unique_ptr<IcmpSockets>> IcmpSockets::open() {
  if (sodium_init() < 0) return Error{Errc::kPermanent, "libsodium cannot be initialised"};
  std::unique_ptr<IcmpSockets> sockets(new IcmpSockets);
  const auto four = sockets->open_family(sockets->v4_, Family::kV4);
  const auto six = sockets->open_family(sockets->v6_, Family::kV6);
  if (!four && !six) return four.error();
  return sockets;
}

Result<void> IcmpSockets::open_family(Socket& s, Family family) {
  const int domain = family == Family::kV4 ? AF_INET : AF_INET6;
  const int protocol =
      family == Family::kV4 ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6);
  s.family = family;
  s.fd = ::socket(domain, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  s.raw = s.fd >= 0;
  if (!s.raw) s.fd = ::socket(domain, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (s.fd < 0) {
    return Error{Errc::kPermanent,
                 fmt::format("no ICMP socket may be opened ({}): run with CAP_NET_RAW, or let "
                             "net.ipv4.ping_group_range admit group {}",
                             std::strerror(errno), getegid())};
  }
  // Beyond the limit of net.core.rmem_max only with CAP_NET_ADMIN.
  if (!set_option(s.fd, SOL_SOCKET, SO_RCVBUFFORCE, kReceiveBufferBytes)) {
    set_option(s.fd, SOL_SOCKET, SO_RCVBUF, kReceiveBufferBytes);
  }
  const int on = 1;
  bool good =
      ((s.raw && s.stamps.enable(s.fd)) || set_option(s.fd, SOL_SOCKET, SO_TIMESTAMPNS, on)) &&
      set_option(s.fd, SOL_SOCKET, SO_RXQ_OVFL, on);
  // Without it the kernel tells nobody that a full queue of the interface dropped an echo, and the
  // device would be blamed. Its price: every error that quotes an ICMP packet, also another
  // program's, is reported once by a system call of ours, and copied to the error queue.
  good = good && (family == Family::kV4 ? set_option(s.fd, SOL_IP, IP_RECVERR, on)
                                        : set_option(s.fd, SOL_IPV6, IPV6_RECVERR, on));
  s.parse = {.identifier = identifier_, .mask = kIdentifierMask, .with_ip_header = s.raw};
  if (s.raw) {
    good = good && filter_types(s.fd, family) &&
           (family == Family::kV4 ? attach_filter_v4(s.fd, identifier_)
                                  : attach_filter_v6(s.fd, identifier_));
    // What came in before the filter stood.
    char scratch[64];
    while (::recv(s.fd, scratch, sizeof scratch, MSG_DONTWAIT) >= 0) {
    }
  } else {
    s.parse.mask = 0xffff;  // the port that configure() binds
  }
  if (good) return {};
  const Error error{Errc::kPermanent,
                    fmt::format("an ICMP socket cannot be set up: {}", std::strerror(errno))};
  ::close(s.fd);
  s.fd = -1;
  return error;
}

Result<void> IcmpSockets::configure(const SocketOptions& options) {
  for (Socket* s : {&v4_, &v6_}) {
    const bool v4 = s->family == Family::kV4;
    const std::string& source = v4 ? options.source_ipv4 : options.source_ipv6;
    if (!(v4 ? options.v4 : options.v6) && s->fd >= 0) {
      ::close(s->fd);
      s->fd = -1;
    }
    if (s->fd < 0 && !source.empty()) {
      return Error{Errc::kPermanent,
                   fmt::format("prober.source_ipv{0} = {1}: there is no IPv{0} socket to use it",
                               v4 ? 4 : 6, source)};
    }
    if (s->fd < 0) continue;
    if (auto bound = bind_family(*s, source); !bound) return bound;
    if (auto marked = mark_family(*s, options); !marked) return marked;
  }
  if (v4_.fd < 0 && v6_.fd < 0) {
    return Error{Errc::kPermanent,
                 fmt::format("prober.address_family allows only {}, for which no ICMP socket may "
                             "be opened",
                             options.v4 ? "IPv4" : "IPv6")};
  }
  GEMA_ASSERT(options.payload_bytes >= kPayloadBytes && options.payload_bytes <= kPayloadBytesMax);
  tail_.resize(options.payload_bytes - kPayloadBytes);
  randombytes_buf(tail_.data(), tail_.size());
  tail_sum_ = checksum_sum(tail_);
  return {};
}

// A datagram socket is always bound: the kernel's port is our identifier.
Result<void> IcmpSockets::bind_family(Socket& s, const std::string& source) {
  if (source.empty() && s.raw) return {};
  const bool v4 = s.family == Family::kV4;
  const char* key = v4 ? "source_ipv4" : "source_ipv6";
  sockaddr_storage name{};
  name.ss_family = static_cast<sa_family_t>(v4 ? AF_INET : AF_INET6);
  socklen_t length = v4 ? socklen_t{sizeof(sockaddr_in)} : socklen_t{sizeof(sockaddr_in6)};
  if (!source.empty()) {
    const auto address = parse_address(source);
    if (!address || address->family != (v4 ? 4 : 6)) {
      return Error{Errc::kBadInput, fmt::format("prober.{} = {}: must be an IPv{} address", key,
                                                source, v4 ? 4 : 6)};
    }
    length = to_sockaddr(*address, name);
  }
  if (::bind(s.fd, reinterpret_cast<sockaddr*>(&name), length) != 0) {
    return Error{
        Errc::kPermanent,
        errno == EADDRNOTAVAIL
            ? fmt::format("prober.{} = {}: is no address of this host", key, source)
            : fmt::format("prober.{} = {}: cannot be used: {}", key, source, std::strerror(errno))};
  }
  if (s.raw) return {};
  if (::getsockname(s.fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    return Error{Errc::kPermanent,
                 fmt::format("an ICMP socket has no identifier: {}", std::strerror(errno))};
  }
  s.parse.identifier = ntohs(v4 ? reinterpret_cast<sockaddr_in*>(&name)->sin_port
                                : reinterpret_cast<sockaddr_in6*>(&name)->sin6_port);
  return {};
}

Result<void> IcmpSockets::mark_family(Socket& s, const SocketOptions& options) {
  const bool v4 = s.family == Family::kV4;
  const int traffic_class = options.dscp << 2;
  if (options.dscp != 0 && !(v4 ? set_option(s.fd, SOL_IP, IP_TOS, traffic_class)
                                : set_option(s.fd, SOL_IPV6, IPV6_TCLASS, traffic_class))) {
    return Error{Errc::kPermanent, fmt::format("prober.dscp = {}: the kernel refuses it: {}",
                                               options.dscp, std::strerror(errno))};
  }
  if (!options.dont_fragment && v4 && options.payload_bytes <= kNeverFragmentedBytes) {
    // Such an echo has the bit anyway; so the kernel need not draw a number for its fragments,
    // which costs a twentieth of the echo. A refusal costs only that.
    set_option(s.fd, SOL_IP, IP_MTU_DISCOVER, int{IP_PMTUDISC_DO});
  }
  if (!options.dont_fragment) return {};
  const int on = 1;
  const bool set = v4 ? set_option(s.fd, SOL_IP, IP_MTU_DISCOVER, int{IP_PMTUDISC_DO})
                      : set_option(s.fd, SOL_IPV6, IPV6_MTU_DISCOVER, int{IPV6_PMTUDISC_DO}) &&
                            set_option(s.fd, SOL_IPV6, IPV6_DONTFRAG, on);
  if (set) return {};
  return Error{Errc::kPermanent, fmt::format("prober.dont_fragment: the kernel refuses it: {}",
                                             std::strerror(errno))};
}

uint32_t IcmpSockets::checks_max() const {
  const bool datagram = (v4_.fd >= 0 && !v4_.raw) || (v6_.fd >= 0 && !v6_.raw);
  return datagram ? kChecksMaxDatagram : kChecksMax;
}

bool IcmpSockets::has(uint8_t family) const {
  return (family == 4 && v4_.fd >= 0) || (family == 6 && v6_.fd >= 0);
}

std::string IcmpSockets::describe() const {
  auto kind = [](const Socket& s) { return s.fd < 0 ? "no" : s.raw ? "raw" : "datagram"; };
  return fmt::format("{} IPv4, {} IPv6", kind(v4_), kind(v6_));
}

uint64_t IcmpSockets::token_of(const EchoPayload& payload, const Address& destination) const {
  std::array<uint8_t, kTokenInputBytes> input;
  token_input(payload, destination, input);
  std::array<uint8_t, crypto_shorthash_BYTES> hash;
  crypto_shorthash(hash.data(), input.data(), input.size(), key_.data());
  uint64_t token = 0;
  std::memcpy(&token, hash.data(), sizeof token);
  return token;
}

// --- sending ------------------------------------------------------------------------------------

void IcmpSockets::send(std::span<const Send> sends, std::vector<Sent>& sent,
                       const SlotClock* stamps) {
  send_family(v4_, sends, sent, stamps);
  send_family(v6_, sends, sent, stamps);
  stats_.stamped = v4_.stamps.stamped() + v6_.stamps.stamped();
}

void IcmpSockets::send_family(Socket& s, std::span<const Send> sends, std::vector<Sent>& sent,
                              const SlotClock* stamps) {
  if (!s.stamps.enabled()) stamps = nullptr;
  const size_t most = stamps != nullptr ? kSendBatch : kSendBatchUnstamped;
  const uint8_t family = s.family == Family::kV4 ? 4 : 6;
  auto& batch = buffers_->batch;
  batch.clear();
  for (const Send& send : sends) {
    if (send.destination.family != family) continue;
    batch.push_back(&send);
    if (batch.size() < most) continue;
    send_batch(s, batch, sent, stamps);
    batch.clear();
  }
  if (!batch.empty()) send_batch(s, batch, sent, stamps);
}

void IcmpSockets::send_batch(Socket& s, std::span<const Send* const> batch, std::vector<Sent>& sent,
                             const SlotClock* stamps) {
  Buffers& b = *buffers_;
  auto fate = [&](size_t i, SendStatus status, MonoTime at, int error = 0) {
    sent.push_back({batch[i]->check, batch[i]->generation, batch[i]->ordinal, status, at, error});
  };
  MonoTime before = read_mono();
  if (s.fd < 0) {
    for (size_t i = 0; i < batch.size(); ++i) fate(i, SendStatus::kNoFamily, before, EAFNOSUPPORT);
    return;
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    const Send& send = *batch[i];
    EchoPayload payload{.check = send.check,
                        .generation = send.generation,
                        .ordinal = send.ordinal,
                        .burst = send.burst,
                        .timeout_ms = send.timeout_ms,
                        .sent_ns = static_cast<uint64_t>(before.time_since_epoch().count())};
    payload.token = token_of(payload, send.destination);
    write_echo(s.family, s.parse.mask == 0xffff ? 0 : s.parse.identifier, payload, b.request[i],
               tail_sum_);
    b.send_iov[i][0] = {b.request[i].data(), kEchoBytes};
    b.send_iov[i][1] = {tail_.data(), tail_.size()};
    msghdr& header = b.send[i].msg_hdr;
    header.msg_name = &b.to[i];
    header.msg_namelen = to_sockaddr(send.destination, b.to[i]);
    header.msg_iov = b.send_iov[i].data();
    header.msg_iovlen = tail_.empty() ? 1 : 2;
    header.msg_control = nullptr;
    header.msg_controllen = 0;
    if (stamps != nullptr) s.stamps.ask(header);
  }
  s.used = true;
  std::array<MonoTime, kSendBatch> at;
  int tries = 0;
  for (size_t done = 0; done < batch.size();) {
    before = read_mono();
    ++stats_.send_calls;
    const int n =
        ::sendmmsg(s.fd, &b.send[done], static_cast<unsigned>(batch.size() - done), MSG_DONTWAIT);
    const int error = errno;
    const MonoTime after = read_mono();
    if (n > 0) {
      // One stamp for all would make the last ones' round trips too long by the sending of the
      // rest.
      const Duration each = (after - before) / n;
      const std::span<MonoTime> times(at.data(), static_cast<size_t>(n));
      for (int i = 0; i < n; ++i) at[static_cast<size_t>(i)] = before + i * each;
      if (stamps != nullptr) s.stamps.collect(times, batch.size() - done, before, *stamps);
      const bool stalled = after - before > kSendStall;  // then only the kernel's stamps are true
      for (int i = 0; i < n; ++i) {
        const MonoTime t = at[static_cast<size_t>(i)];
        const bool timed = !stalled || t != before + i * each;
        fate(done++, timed ? SendStatus::kSent : SendStatus::kUntimed, t);
      }
      tries = 0;
      continue;
    }
    if (stamps != nullptr) s.stamps.collect({}, batch.size() - done, before, *stamps);
    if (!passing(error)) s.errors_queued = true;
    if (!passing(error) && ++tries < kSendTries) continue;  // perhaps an earlier echo's
    stats_.last_send_errno = error;
    if (passing(error)) {
      for (; done < batch.size(); ++done) fate(done, SendStatus::kBusy, after, error);
    } else {
      fate(done++, SendStatus::kRefused, after, error);
    }
    tries = 0;
  }
}

// --- receiving ----------------------------------------------------------------------------------

bool IcmpSockets::receive(const SlotClock& clock, size_t most, std::vector<Answer>& answers) {
  size_t taken = 0;
  for (Socket* s : {&v4_, &v6_}) {
    if (s->fd < 0 || !s->used) continue;
    while (true) {
      if (taken >= most) return false;
      const size_t n = receive_batch(*s, clock, answers);
      taken += n;
      if (n < kReceiveBatch) break;
    }
    if (!s->errors_queued) continue;
    s->errors_queued = false;
    if (s->raw) {
      discard_error_queue(*s);
    } else {
      receive_error_queue(*s, answers);
    }
  }
  return true;
}

size_t IcmpSockets::receive_batch(Socket& s, const SlotClock& clock, std::vector<Answer>& answers) {
  Buffers& b = *buffers_;
  // The IP header, where there is one, names the source.
  const bool with_name = !s.parse.with_ip_header || s.family == Family::kV6;
  for (size_t i = 0; i < kReceiveBatch; ++i) {
    b.receive_iov[i] = {b.packet[i].data(), kPacketBytes};
    msghdr& header = b.receive[i].msg_hdr;
    header.msg_name = with_name ? &b.from[i] : nullptr;
    header.msg_namelen = with_name ? sizeof b.from[i] : 0;
    header.msg_iov = &b.receive_iov[i];
    header.msg_iovlen = 1;
    header.msg_control = b.control[i].data();
    header.msg_controllen = kControlBytes;
    header.msg_flags = 0;
  }
  int n = -1;
  for (int tries = 0; n < 0 && tries < kReceiveTries; ++tries) {
    ++stats_.receive_calls;
    n = ::recvmmsg(s.fd, b.receive.data(), kReceiveBatch, MSG_DONTWAIT, nullptr);
    if (n >= 0 || errno == EAGAIN) break;
    s.errors_queued = true;  // an echo's error is told once, before the packets
  }
  if (n < 0) {
    if (errno != EAGAIN) ++stats_.receive_errors;
    return 0;
  }
  const MonoTime now = read_mono();
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    msghdr& header = b.receive[i].msg_hdr;
    MonoTime at = now;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET) continue;
      if (c->cmsg_type == SCM_TIMESTAMPNS || c->cmsg_type == SCM_TIMESTAMPING) {
        timespec t{};  // of the latter's three the first is the kernel's
        std::memcpy(&t, CMSG_DATA(c), sizeof t);
        // A stamp from the future: the wall clock was set since this turn looked at it.
        at = std::min(
            now, clock.mono_of_wall_ns(static_cast<int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec));
      } else if (c->cmsg_type == SO_RXQ_OVFL) {
        uint32_t drops = 0;
        std::memcpy(&drops, CMSG_DATA(c), sizeof drops);
        stats_.drops += drops - s.drops_seen;  // counts modulo 2^32
        s.drops_seen = drops;
      }
    }
    const std::span<const uint8_t> bytes(b.packet[i].data(),
                                         std::min<size_t>(b.receive[i].msg_len, kPacketBytes));
    const Packet packet =
        s.family == Family::kV4 ? parse_v4(bytes, s.parse) : parse_v6(bytes, s.parse);
    accept(s, packet, with_name ? from_sockaddr(b.from[i]) : source_of_v4(bytes), at, answers);
  }
  return static_cast<size_t>(n);
}

// Datagram sockets: an error comes with the echo it is about, and whom it was for.
void IcmpSockets::receive_error_queue(Socket& s, std::vector<Answer>& answers) {
  Buffers& b = *buffers_;
  for (size_t i = 0; i < kDrainMax; ++i) {
    iovec iov{b.packet[0].data(), kPacketBytes};
    msghdr header{};
    header.msg_name = &b.from[0];
    header.msg_namelen = sizeof b.from[0];
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    header.msg_control = b.control[0].data();
    header.msg_controllen = kControlBytes;
    const ssize_t n = ::recvmsg(s.fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0) return;
    sock_extended_err error{};
    Address offender;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      const bool about_echo = (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
                              (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR);
      if (!about_echo) continue;
      std::memcpy(&error, CMSG_DATA(c), sizeof error);
      sockaddr_storage by{};  // behind it
      std::memcpy(&by, CMSG_DATA(c) + sizeof error,
                  std::min(sizeof by, c->cmsg_len - CMSG_LEN(sizeof error)));
      offender = from_sockaddr(by);
    }
    Packet packet = parse_quoted(
        s.family, {b.packet[0].data(), std::min(static_cast<size_t>(n), kPacketBytes)}, s.parse);
    const bool v4 = error.ee_origin == SO_EE_ORIGIN_ICMP;
    const bool v6 = error.ee_origin == SO_EE_ORIGIN_ICMP6;
    if ((v4 && error.ee_type == ICMP_DEST_UNREACH) ||
        (v6 && (error.ee_type == ICMPV6_DEST_UNREACH || error.ee_type == ICMPV6_PKT_TOOBIG))) {
      packet.destination = from_sockaddr(b.from[0]);
    } else if ((v4 && error.ee_type == ICMP_TIME_EXCEEDED) ||
               (v6 && error.ee_type == ICMPV6_TIME_EXCEED)) {
      packet.destination = from_sockaddr(b.from[0]);
      if (packet.kind != PacketKind::kForeign) packet.kind = PacketKind::kTimeExceeded;
    } else {
      packet.kind = PacketKind::kForeign;
    }
    packet.icmp_type = error.ee_type;
    packet.icmp_code = error.ee_code;
    accept(s, packet, offender, read_mono(), answers);
  }
}

// Raw sockets: the same errors came as packets, for us alone.
void IcmpSockets::discard_error_queue(Socket& s) {
  Buffers& b = *buffers_;
  for (mmsghdr& message : b.receive) message.msg_hdr = {};
  int n = 0;
  do {
    n = ::recvmmsg(s.fd, b.receive.data(), kReceiveBatch, MSG_ERRQUEUE | MSG_DONTWAIT, nullptr);
  } while (n == static_cast<int>(kReceiveBatch));
}

void IcmpSockets::accept(const Socket& s, const Packet& packet, const Address& source, MonoTime at,
                         std::vector<Answer>& answers) {
  if (packet.kind == PacketKind::kForeign) {
    ++stats_.foreign;
    return;
  }
  Answer answer{.check = packet.check, .exact = packet.has_payload, .at = at};
  const bool is_reply = packet.kind == PacketKind::kReply;
  answer.destination = is_reply ? source : packet.destination;
  if (!is_reply) {
    answer.outcome = outcome_of(s.family, packet.icmp_type, packet.icmp_code);
    answer.icmp_type = packet.icmp_type;
    answer.icmp_code = packet.icmp_code;
    answer.from = {.bytes = source.bytes, .family = source.family};
  }
  if (packet.has_payload) {
    const EchoPayload& payload = packet.payload;
    if (payload.token != token_of(payload, answer.destination)) {
      ++stats_.forged;
      return;
    }
    answer.generation = payload.generation;
    answer.ordinal = payload.ordinal;
    answer.burst = payload.burst;
    answer.sent = MonoTime(Duration(payload.sent_ns));
    answer.timeout = std::chrono::milliseconds(payload.timeout_ms);
  }
  answers.push_back(answer);
}

}  // namespace gema::prober
