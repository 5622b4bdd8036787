// ConsumerCore: the pure state machine of the reading end (README.md, "Consumer"). Takes records,
// tips and lost answers with `now`; gives deliveries in effect order, and wants and
// acknowledgements to send. See common/stream/consumer.h for the contract with the owner.
//
// Per (producer, epoch, partition) it keeps: `cumulative` (all up to here delivered), `above`
// (delivered beyond, any-order only), `stash` (arrived, not deliverable yet), `lost` (will never
// come, not yet announced), `asked` (requested, not arrived). The five are disjoint.
//
// Invariants: no seq is delivered twice; a seq is delivered as a record or inside a gap, never
// both; cumulative only grows; everything is bounded by ConsumerOptions and limits.h.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/base/time.h"
#include "common/stream/core/consumer_types.h"
#include "common/stream/core/position_set.h"
#include "common/stream/core/seq_set.h"
#include "common/stream/core/types.h"

namespace gema::stream {

class ConsumerCore {
 public:
  ConsumerCore(ConsumerOptions options, PositionSet restored);

  // Requires (all three): what the codec checks: partition < kPartitions, seq > 0, per-partition
  // vectors of a tip have kPartitions elements (or none, where that is allowed).
  void on_record(const std::string& producer, RecordMessage record, Now now,
                 std::vector<Delivery>& out);
  void on_tip(const std::string& producer, const TipMessage& tip, Now now,
              std::vector<Delivery>& out);
  void on_lost(const std::string& producer, const LostMessage& lost, Now now,
               std::vector<Delivery>& out);

  struct Out {
    std::string producer;
    std::variant<AckMessage, WantMessage> message;
  };
  std::vector<Out> take_outgoing(Now now);
  std::optional<MonoTime> next_wakeup() const;

  void set_paused(bool paused);
  bool paused() const { return paused_; }
  PositionSet positions() const;
  void mark_durable(const PositionSet& positions);
  void restore(PositionSet positions);

  std::optional<Outstanding> outstanding(const std::string& producer, Now now) const;
  const ConsumerOptions& options() const { return options_; }
  ConsumerStats stats() const;
  ConsumerStats& counters() { return counters_; }

 private:
  struct Track {           // one partition of one epoch
    bool known = false;    // a tip or a restored position told where to begin
    bool started = false;  // kEpochStarted was delivered, or its position restored
    bool dirty = false;    // something may be missing that was not asked for
    bool more = false;     // more is missing than may be asked for at a time
    uint64_t cumulative = 0;
    uint64_t last_known = 0;  // highest seq known to exist
    SeqSet above;
    SeqSet lost;
    GapReason lost_reason{};
    SeqSet asked;
    MonoTime progress_at{};  // the lowest seq asked for arrived, or the first was asked for
    std::map<uint64_t, RecordMessage> stash;
    uint64_t record_bytes = 4096;  // smoothed, to size the window
  };
  struct Epoch {
    uint64_t id = 0;
    uint64_t predecessor = 0;
    uint64_t order = 0;
    EpochReason reason{};
    bool superseded = false;  // a later epoch exists: last_known is final
    bool closing = false;     // no longer listed: what is missing is lost
    bool closed = false;
    std::array<Track, kPartitions> tracks;
  };
  struct ProducerState {
    std::string name;
    std::vector<Epoch> epochs;  // by order
    bool heard = false;
    MonoTime tip_at{};
    WallTime tip_wall{};  // by the producer's clock
    bool attention = false;
    bool ack_due = false;
    MonoTime ack_at{};  // when the last acknowledgement left
    bool ack_sent = false;
    // Epochs over and done with that the producer still lists (its old segments came back from the
    // dead): acknowledged to their end, or they would stay for ever.
    std::vector<PartitionAck> done;
  };
  using Producers = std::map<std::string, ProducerState>;

  void load(const PositionSet& positions);
  ProducerState* producer_for(const std::string& name);
  static bool accept_tip(const ProducerState& producer, const TipMessage& tip, Now now);
  void list_epochs(ProducerState& producer, const TipMessage& tip, Now now,
                   std::vector<Delivery>& out);
  void note_from_paused(ProducerState& producer, const TipMessage& tip);
  void acknowledge_done(ProducerState& producer, const EpochTip& tip);
  void read_tip(ProducerState& producer, Epoch& epoch, const EpochTip& tip, bool first_contact,
                Now now, std::vector<Delivery>& out);
  void begin_track(const ProducerState& producer, Epoch& epoch, uint32_t partition,
                   const EpochTip& tip, bool first_contact, std::vector<Delivery>& out);
  void close_unlisted(ProducerState& producer, const TipMessage& tip, std::vector<Delivery>& out);
  void finish_epochs(ProducerState& producer, std::vector<Delivery>& out);
  void forget_tombstones(ProducerState& producer);

  // Any order.
  void take_any(ProducerState& producer, Epoch& epoch, RecordMessage record,
                std::vector<Delivery>& out);
  void settle_any(Track& track, SeqRange range);
  void try_thing_any(ProducerState& producer, Epoch& epoch, uint32_t partition, uint64_t first,
                     PartInfo info, std::vector<Delivery>& out);
  void sweep_things(ProducerState& producer, Epoch& epoch, uint32_t partition,
                    std::vector<Delivery>& out);
  // In order, and observers.
  void take_in_order(ProducerState& producer, Epoch& epoch, RecordMessage record,
                     std::vector<Delivery>& out);
  void drain(ProducerState& producer, uint32_t partition, std::vector<Delivery>& out);
  void drain_track(ProducerState& producer, Epoch& epoch, uint32_t partition,
                   std::vector<Delivery>& out);
  bool deliver_front_thing(ProducerState& producer, Epoch& epoch, uint32_t partition,
                           std::vector<Delivery>& out);

  // Both.
  bool stash(Track& track, RecordMessage record, uint64_t thing_first);
  void unstash(Track& track, std::map<uint64_t, RecordMessage>::iterator it);
  void give_up(ProducerState& producer, Epoch& epoch, uint32_t partition, SeqRange range,
               GapReason reason, std::vector<Delivery>& out);
  void start_track(const ProducerState& producer, Epoch& epoch, uint32_t partition,
                   std::vector<Delivery>& out);
  void deliver(const ProducerState& producer, const Epoch& epoch, RecordMessage record,
               std::vector<Delivery>& out);
  void deliver_gap(const ProducerState& producer, const Epoch& epoch, uint32_t partition,
                   SeqRange gap, GapReason reason, std::vector<Delivery>& out);
  enum class Thing { kWhole, kWaiting, kBroken };
  Thing judge(const Epoch& epoch, const Track& track, uint64_t first, const PartInfo& info) const;
  RecordMessage assemble(Track& track, uint64_t first, uint32_t count);
  uint64_t window(const Track& track) const;
  std::vector<SeqRange> absent(const Track& track, SeqRange range, bool also_unasked,
                               size_t ranges_max) const;
  std::vector<SeqRange> to_ask(Track& track, Now now);
  void build_want(ProducerState& producer, Now now, std::vector<Out>& out);
  void arrived(ProducerState& producer, Track& track, uint64_t seq, Now now);
  void attend(ProducerState& producer);
  void build_ack(const ProducerState& producer, std::vector<Out>& out);
  bool in_order() const { return options_.order == Order::kInOrder || options_.observer; }
  static Epoch* find_epoch(ProducerState& producer, uint64_t id);
  static bool left_behind(const ProducerState& producer, const Epoch& epoch, uint32_t partition);
  static bool complete(const Epoch& epoch, uint32_t partition);

  ConsumerOptions options_;
  std::array<bool, kPartitions> mine_{};
  Producers producers_;
  std::vector<std::string> attention_;
  PositionSet durable_;
  bool paused_ = false;
  uint64_t stash_bytes_ = 0;
  uint64_t stashed_ = 0;
  ConsumerStats counters_;
};

}  // namespace gema::stream
