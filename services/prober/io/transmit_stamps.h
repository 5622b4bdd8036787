// When the kernel handed each packet of a batch to the interface: its software transmit stamps
// (SO_TIMESTAMPING), which it puts into the socket's error queue.
//
// Asked for packet by packet; most drivers stamp before the sending call returns, so the stamps are
// read at once. A missing one is no error: the caller has an estimate of its own. Costs about half
// a microsecond a packet (docs/adr/0050-when-an-echo-left.md). One thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/time.h"
#include "services/prober/core/limits.h"
#include "services/prober/core/slot_clock.h"

namespace gema::prober {

class TransmitStamps {
 public:
  TransmitStamps();
  ~TransmitStamps();

  // Makes the socket able to stamp; its received packets then carry SCM_TIMESTAMPING instead of
  // SCM_TIMESTAMPNS. Returns false, and changes nothing, where the kernel has no such stamps.
  bool enable(int fd);
  bool enabled() const { return fd_ >= 0; }

  // Asks for the stamp of a message that is about to be sent, in this order.
  void ask(msghdr& message) const;
  // After a call that was to send `asked` messages, and sent the first at.size() of them: replaces
  // each time in `at` by the kernel's, where it has one between `before` and now. Discards
  // whatever else is in the error queue.
  void collect(std::span<MonoTime> at, size_t asked, MonoTime before, const SlotClock& clock);

  uint64_t stamped() const { return stamped_; }

 private:
  struct Buffers;
  void number_anew();

  int fd_ = -1;
  uint32_t next_ = 0;  // the kernel numbers the stamps it was asked for, from 0
  uint64_t stamped_ = 0;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace gema::prober
