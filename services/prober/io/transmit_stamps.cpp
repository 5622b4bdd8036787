#include "services/prober/io/transmit_stamps.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "common/runtime/clock.h"

namespace gema::prober {
namespace {

constexpr unsigned kReport =
    SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
constexpr unsigned kNumbered = SOF_TIMESTAMPING_OPT_ID;

bool set_flags(int fd, unsigned flags) {
  return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) == 0;
}

}  // namespace

struct TransmitStamps::Buffers {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(uint32_t))> request{};
  alignas(cmsghdr) std::array<std::array<char, 256>, kSendBatch> control;
  std::array<mmsghdr, kSendBatch> message;
};

TransmitStamps::TransmitStamps() : buffers_(std::make_unique<Buffers>()) {
  msghdr header{};
  header.msg_control = buffers_->request.data();
  header.msg_controllen = buffers_->request.size();
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SO_TIMESTAMPING;
  c->cmsg_len = CMSG_LEN(sizeof(uint32_t));
  const uint32_t flags = SOF_TIMESTAMPING_TX_SOFTWARE;
  std::memcpy(CMSG_DATA(c), &flags, sizeof flags);
}

TransmitStamps::~TransmitStamps() = default;

bool TransmitStamps::enable(int fd) {
  if (!set_flags(fd, kReport | kNumbered)) return false;
  fd_ = fd;
  return true;
}

void TransmitStamps::ask(msghdr& message) const {
  message.msg_control = buffers_->request.data();
  message.msg_controllen = buffers_->request.size();
}

// A packet that was refused may have used a number up or not, depending on how far it came.
void TransmitStamps::number_anew() {
  set_flags(fd_, kReport);
  set_flags(fd_, kReport | kNumbered);
  next_ = 0;
}

void TransmitStamps::collect(std::span<MonoTime> at, size_t asked, MonoTime before,
                             const SlotClock& clock) {
  Buffers& b = *buffers_;
  size_t found = 0;
  while (found < at.size()) {
    const size_t room = std::min(at.size() - found, kSendBatch);
    for (size_t i = 0; i < room; ++i) {
      b.message[i].msg_hdr = {};
      b.message[i].msg_hdr.msg_control = b.control[i].data();
      b.message[i].msg_hdr.msg_controllen = b.control[i].size();
    }
    const int n = ::recvmmsg(fd_, b.message.data(), static_cast<unsigned>(room),
                             MSG_ERRQUEUE | MSG_DONTWAIT, nullptr);
    const MonoTime now = runtime::read_clock().mono;
    for (size_t i = 0; i < static_cast<size_t>(std::max(n, 0)); ++i) {
      scm_timestamping stamps{};
      sock_extended_err error{};
      msghdr& header = b.message[i].msg_hdr;
      for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING) {
          std::memcpy(&stamps, CMSG_DATA(c), sizeof stamps);
        } else if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
                   (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
          std::memcpy(&error, CMSG_DATA(c), sizeof error);
        }
      }
      const uint32_t which = error.ee_data - next_;
      if (error.ee_origin != SO_EE_ORIGIN_TIMESTAMPING || which >= at.size()) continue;
      const MonoTime stamp = clock.mono_of_wall_ns(
          static_cast<int64_t>(stamps.ts[0].tv_sec) * 1'000'000'000 + stamps.ts[0].tv_nsec);
      // Outside, the wall clock was set meanwhile, or the number is another packet's.
      if (stamp < before || stamp > now) continue;
      ++found;
      at[which] = stamp;
      ++stamped_;
    }
    if (n < static_cast<int>(room)) break;
  }
  next_ += static_cast<uint32_t>(at.size());
  if (at.size() < asked) number_anew();
}

}  // namespace gema::prober
