// The prober's ICMP sockets: sends echoes in batches, gives back what came in answer, with the
// kernel's receive timestamps.
//
// Raw sockets where allowed (CAP_NET_RAW), with a kernel filter on our identifiers, so that other
// programs' pings never wake us; datagram ("ping") sockets otherwise, where net.ipv4.
// ping_group_range admits our group. Never blocks. Verifies each answer: by a token, a keyed hash
// over the payload and the address that was asked, with a key drawn at start. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "services/prober/core/engine.h"
#include "services/prober/core/packet.h"
#include "services/prober/core/slot_clock.h"
#include "services/prober/io/transmit_stamps.h"

namespace gema::prober {

struct SocketStats {
  uint64_t foreign = 0;  // packets that are no answer to an echo of ours
  uint64_t forged = 0;   // ours by number, but token or source are wrong
  uint64_t drops = 0;    // by the kernel, because the receive buffer was full
  uint64_t receive_errors = 0;
  uint64_t send_calls = 0, receive_calls = 0;
  uint64_t stamped = 0;  // echoes whose time of sending is the kernel's
  int last_send_errno = 0;
};

struct SocketOptions {
  bool v4 = true, v6 = true;             // the families that may be used
  std::string source_ipv4, source_ipv6;  // empty: the kernel's choice
  uint8_t dscp = 0;
  size_t payload_bytes = kPayloadBytes;
  bool dont_fragment = false;
};

class IcmpSockets {
 public:
  // Opens what this process may. Fails with one sentence when neither kind is allowed.
  static Result<std::unique_ptr<IcmpSockets>> open();
  // Once, before the first send; needs no privilege. Fails with one sentence that names the key.
  Result<void> configure(const SocketOptions& options);
  ~IcmpSockets();
  IcmpSockets(const IcmpSockets&) = delete;
  IcmpSockets& operator=(const IcmpSockets&) = delete;

  // Sends and appends the fate of every one. With `stamps`, the times are the kernel's own
  // transmit stamps, by that clock; without, and where it has none, they are interpolated over
  // small batches.
  void send(std::span<const Send> sends, std::vector<Sent>& sent,
            const SlotClock* stamps = nullptr);
  // Takes what has arrived, at most `most` messages. Returns whether the sockets are empty now.
  bool receive(const SlotClock& clock, size_t most, std::vector<Answer>& answers);

  // How many checks the identifiers can tell apart.
  uint32_t checks_max() const;
  // "raw IPv4, raw IPv6", for the log.
  std::string describe() const;
  bool has(uint8_t family) const;
  const SocketStats& stats() const { return stats_; }

 private:
  struct Socket {
    int fd = -1;
    Family family{};
    bool raw = false;
    ParseOptions parse;
    uint32_t drops_seen = 0;
    bool errors_queued = false;  // the error queue has to be emptied
    bool used = false;           // something was sent, so something may come back
    TransmitStamps stamps;
  };
  struct Buffers;

  IcmpSockets();
  Result<void> open_family(Socket& socket, Family family);
  Result<void> bind_family(Socket& socket, const std::string& source);
  Result<void> mark_family(Socket& socket, const SocketOptions& options);
  void send_family(Socket& socket, std::span<const Send> sends, std::vector<Sent>& sent,
                   const SlotClock* stamps);
  void send_batch(Socket& socket, std::span<const Send* const> batch, std::vector<Sent>& sent,
                  const SlotClock* stamps);
  size_t receive_batch(Socket& socket, const SlotClock& clock, std::vector<Answer>& answers);
  void receive_error_queue(Socket& socket, std::vector<Answer>& answers);
  void discard_error_queue(Socket& socket);
  void accept(const Socket& socket, const Packet& packet, const Address& source, MonoTime at,
              std::vector<Answer>& answers);
  uint64_t token_of(const EchoPayload& payload, const Address& destination) const;

  Socket v4_, v6_;
  uint16_t identifier_ = 0;
  std::array<uint8_t, 16> key_{};
  std::unique_ptr<Buffers> buffers_;
  std::vector<uint8_t> tail_;  // what every payload has beyond its first bytes
  uint32_t tail_sum_ = 0;
  SocketStats stats_;
};

}  // namespace gema::prober
