// SpooledProducer: a ProducerCore with its hands, a SegmentStore. Speaks plain messages; Producer
// (producer.h) puts them into bytes and topics, the simulator carries them as they are.
//
// One thread. Everything that decides is in the core; everything here does as told and reports.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/result.h"
#include "common/stream/core/position_set.h"
#include "common/stream/core/producer_core.h"
#include "common/stream/segment_store.h"

namespace gema::stream {

struct StreamMessage {
  enum class Kind { kLive, kTip, kReplay, kLost };
  Kind kind{};
  std::string group;  // kReplay, kLost
  std::variant<RecordMessage, TipMessage, LostMessage> body;
};

class SpooledProducer {
 public:
  struct Options {
    ProducerCoreOptions core;
    std::string name;     // of the producer, for keys
    std::string boot_id;  // of the machine
    std::function<uint64_t()> new_epoch;
  };
  static Result<std::unique_ptr<SpooledProducer>> open(Options options,
                                                       std::unique_ptr<SegmentStore> store,
                                                       Now now);

  Result<uint64_t> append(uint32_t partition, std::string_view payload, Now now);
  Result<uint64_t> append_large(uint32_t partition, std::string_view payload, Now now);
  Result<void> begin_epoch(EpochReason reason, Now now);
  void on_ack(const AckMessage& ack) { core_.on_ack(ack); }
  void on_want(const WantMessage& want) { core_.on_want(want); }
  void tick(Now now);
  std::optional<MonoTime> next_wakeup() const;
  void take_messages(Now now, std::vector<StreamMessage>& out);
  Result<void> close_cleanly(Now now);

  PositionSet own_positions() const;
  void release(const PositionSet& covered);
  bool synced(const PositionSet& covered) const;
  Result<void> read_after(const PositionSet& covered,
                          const std::function<bool(const Spooled&)>& each);
  Result<void> read_back(uint32_t partition, const std::function<bool(const Spooled&)>& each);

  ProducerStats stats() const;
  void count_refused_message() { ++core_.counters().messages_refused; }
  std::vector<ProducerEvent> take_events() { return core_.take_events(); }
  const std::vector<std::string>& groups() const { return options_.core.groups; }
  const ProducerCore& core() const { return core_; }

 private:
  SpooledProducer(Options options, std::unique_ptr<SegmentStore> store);
  Result<void> recover(Now now);
  struct Piece {
    std::optional<PartInfo> part;
    std::string_view bytes;
  };
  Result<uint64_t> write(uint32_t partition, const std::vector<Piece>& pieces, Now now);
  Result<void> make_room(uint64_t bytes, Now now);
  void drop_front(uint64_t number, bool dropped);
  void remove(uint64_t number);
  void queue(StreamMessage message);
  void write_meta();
  std::optional<RecordMessage> read_record(const ProducerCore::Replay& replay);

  Options options_;
  std::unique_ptr<SegmentStore> store_;
  ProducerCore core_;
  std::deque<StreamMessage> queue_;  // live records and the tips of new epochs, bounded
  uint64_t queue_bytes_ = 0;
  bool sync_running_ = false;
  bool closed_ = false;
  MonoTime last_take_{};
  Now last_tick_;
  std::deque<uint64_t> removals_;  // dropped segments, files still there
  size_t removals_synced_ = 0;     // of them, those whose dropping the running sync makes durable
  std::optional<MonoTime> epoch_retry_at_;
  std::optional<MonoTime> meta_retry_at_;
  std::string scratch_;
};

}  // namespace gema::stream
