// Producer: the writing end of a stream. Appends go to the spool on disk first, then live to
// everyone; what a group misses is replayed to that group; nothing is forgotten before every group
// has acknowledged it, unless the byte bound drops the oldest, which is counted and announced.
//
// In: payloads, ack/ and want/ messages, time. Out: messages for the bus (take_outgoing).
// It will not block on fdatasync (the store's own thread does that) nor touch the bus itself.
// One thread: all calls from the owner's loop. See README.md for the state machine and the bounds.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/stream/core/position_set.h"
#include "common/stream/core/producer_types.h"
#include "common/stream/core/types.h"
#include "common/stream/outgoing.h"

namespace gema::stream {

class SegmentStore;
class SpooledProducer;

struct ProducerOptions {
  std::filesystem::path dir;        // DIR/spool/<process>; created when missing
  std::string stream;               // "ping"
  std::string name;                 // the producer, "prober-1"
  std::vector<std::string> groups;  // installed groups: all of them must acknowledge
  // The spool never grows beyond this; at the bound the oldest segment is dropped and announced.
  uint64_t bytes_max = 512ULL << 20;
  uint64_t segment_bytes = 4ULL << 20;  // lowered to bytes_max / 8 when that is less
  Duration sync_every = 100ms;          // begin a group fdatasync this long after the first write
  Duration hold_acknowledged = 15min;   // unless the spool is over half its bound
  // Replay per group: at least this, and at least ten times the live rate.
  uint32_t replay_records_per_second = 5'000;
  uint64_t replay_bytes_per_second = 32ULL << 20;
  // The owner itself must also release records (release()) before they may go: the tracker's own
  // transitions are needed until a checkpoint covers them.
  bool release_by_owner = false;
};

class Producer {
 public:
  // Opens or creates the spool. Fails with one clear sentence: kUnavailable when another process
  // holds it, kPermanent when the directory cannot be used, kBadInput for options.
  static Result<std::unique_ptr<Producer>> open(ProducerOptions options, Now now);
  // The same over another store (simulator, tests). `boot_id` tells machine boots apart;
  // `new_epoch` draws random epoch numbers.
  static Result<std::unique_ptr<Producer>> open_on(ProducerOptions options,
                                                   std::unique_ptr<SegmentStore> store,
                                                   std::string boot_id,
                                                   std::function<uint64_t()> new_epoch, Now now);
  ~Producer();

  // Writes the record to the spool, then queues it live. Returns its seq. Fails with kBadInput
  // (over 256 KiB, partition out of range) or kRetryable (the disk refused; nothing is half done).
  Result<uint64_t> append(uint32_t partition, std::string_view payload, Now now);
  // A larger thing (up to 8 MiB) as consecutive parts; consumers get it whole or a gap.
  // Returns the seq of the last part.
  Result<uint64_t> append_large(uint32_t partition, std::string_view payload, Now now);

  // The wall clock stepped by more than it may slew: what follows belongs to a new epoch.
  Result<void> clock_stepped(Now now);

  void on_message(std::string_view topic, std::string_view payload, Now now);
  std::vector<Outgoing> take_outgoing(Now now);
  std::optional<MonoTime> next_wakeup() const;
  void tick(Now now);
  // Syncs and marks the spool as cleanly stopped. Append nothing afterwards.
  Result<void> close_cleanly(Now now);

  // Topic prefixes this producer must subscribe to.
  std::vector<std::string> subscriptions() const;

  // Position of the newest record of each partition in the current epoch, and the epoch: what a
  // tracker stores with its checkpoint.
  PositionSet own_positions() const;
  // Only with release_by_owner: everything included in `covered` may go once it is acknowledged.
  void release(const PositionSet& covered, Now now);
  // True when the disk has everything that `covered` includes of ours (its fdatasync is done): a
  // tracker writes a checkpoint only then, so that a power cut cannot leave states without the
  // transitions that led to them. Epochs that are not held any more count as synced.
  bool synced(const PositionSet& covered) const;
  // Every readable record in the spool that `covered` does not include: oldest epoch first, within
  // an epoch in the order in which they were appended. Stops when `each` returns false.
  Result<void> read_after(const PositionSet& covered,
                          const std::function<bool(const Spooled&)>& each);
  // Newest first within one partition (last records before a restart); stops when false.
  Result<void> read_back(uint32_t partition, const std::function<bool(const Spooled&)>& each);

  ProducerStats stats() const;
  std::vector<ProducerEvent> take_events();

 private:
  Producer(std::unique_ptr<SpooledProducer> engine, std::string stream, std::string name);
  std::unique_ptr<SpooledProducer> engine_;
  std::string stream_;
  std::string name_;
};

}  // namespace gema::stream
