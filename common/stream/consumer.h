// Consumer: the reading end of a stream for one group, or an observer. Takes live/, tip/ and
// replay/ messages; gives deliveries in the order in which their effects should happen; asks for
// what is missing; acknowledges what its owner made durable.
//
// The owner applies every delivery, stores positions() in the same transaction, and calls
// mark_durable() with the same PositionSet after the commit. A record that fails for good is
// quarantined by the owner in that same transaction: its position has moved all the same;
// note_quarantined() counts it.
//
// One thread. No file, no socket, no clock. See README.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/time.h"
#include "common/stream/core/consumer_types.h"
#include "common/stream/core/position_set.h"
#include "common/stream/core/types.h"
#include "common/stream/outgoing.h"

namespace gema::stream {

class ConsumerCore;

class Consumer {
 public:
  Consumer(ConsumerOptions options, PositionSet restored);
  ~Consumer();
  Consumer(Consumer&&) noexcept;
  Consumer& operator=(Consumer&&) noexcept;

  void on_message(std::string_view topic, std::string_view payload, Now now,
                  std::vector<Delivery>& out);
  void tick(Now now, std::vector<Delivery>& out);
  std::optional<MonoTime> next_wakeup() const;
  std::vector<Outgoing> take_outgoing(Now now);

  // While paused, records are ignored and nothing is asked for (the owner's queue is full, its
  // database away); tips are still read. Whatever was missed is asked for afterwards.
  void set_paused(bool paused);

  // Everything delivered so far.
  PositionSet positions() const;
  // Now these are durable and may be acknowledged.
  void mark_durable(const PositionSet& positions);
  // Back to what is durable (a database fail-over, a failed transaction): forget the rest.
  void restore(PositionSet positions);

  void note_quarantined(uint64_t records = 1);

  // What is known to exist at a producer and has not been delivered; nullopt when the producer was
  // never heard of. `tip_age` tells how long it has been silent.
  std::optional<Outstanding> outstanding(const std::string& producer, Now now) const;

  std::vector<std::string> subscriptions() const;
  ConsumerStats stats() const;

 private:
  std::unique_ptr<ConsumerCore> core_;
};

}  // namespace gema::stream
