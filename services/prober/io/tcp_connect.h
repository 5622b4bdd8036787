// One TCP connection being made, without waiting for it. Closed by the destructor, with a reset,
// unless taken.
#pragma once

#include <functional>
#include <optional>

#include "common/domain/ping.h"
#include "common/runtime/loop.h"
#include "services/prober/core/address.h"

namespace gema::prober {

class TcpConnect {
 public:
  // kAlive (connected), kReset (refused), kUnreachable, kTimeout (the kernel gave up), kNotTried
  // (no descriptor was to be had).
  using Done = std::function<void(ProofOutcome, Now)>;

  explicit TcpConnect(runtime::Loop& loop) : loop_(loop) {}
  ~TcpConnect();
  TcpConnect(const TcpConnect&) = delete;
  TcpConnect& operator=(const TcpConnect&) = delete;

  // Calls `done` once, perhaps before it returns. `done` may begin anew but not destroy this.
  // Requires: nothing is under way. `source` may be unknown.
  void begin(const Address& to, uint16_t port, const Address& source, Now now, Done done);

  // The connected socket; the caller's to close. Requires: done was kAlive.
  int take();

 private:
  std::optional<ProofOutcome> open(const Address& to, uint16_t port, const Address& source);
  void on_ready(Now now);
  void close();

  runtime::Loop& loop_;
  int fd_ = -1;
  bool watched_ = false;
  Done done_;
};

}  // namespace gema::prober
