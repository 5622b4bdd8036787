// ProducerCore: the pure state machine of the writing end (README.md, "Producer"): which segment
// holds which seq, who has acknowledged what, what may go, what must be replayed, when to sync, to
// tell, to begin an epoch. It does no input or output: SpooledProducer asks it what to do, does it
// on a SegmentStore, and tells it what came of it.
//
// Invariants: seqs of a (epoch, partition) are gapless; the front segment goes first; nothing goes
// unacknowledged except at a bound, and then it is counted and an event made; the newest segment
// never goes; every group has its own wants, paced apart.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/time.h"
#include "common/stream/core/limits.h"
#include "common/stream/core/producer_types.h"
#include "common/stream/core/segment.h"
#include "common/stream/core/seq_set.h"
#include "common/stream/core/spool_meta.h"
#include "common/stream/core/types.h"

namespace gema::stream {

struct ProducerCoreOptions {
  std::vector<std::string> groups;
  bool release_by_owner = false;
  uint64_t bytes_max = 512ULL << 20;
  uint64_t segment_bytes = 4ULL << 20;
  Duration sync_every = 100ms;
  Duration hold_acknowledged = 15min;
  uint32_t replay_records_per_second = 5'000;
  uint64_t replay_bytes_per_second = 32ULL << 20;
};

class ProducerCore {
 public:
  explicit ProducerCore(ProducerCoreOptions options);

  // --- recovery: segments oldest first, then recover() once ---
  // False when the segment contradicts those before it: it is then as good as damaged.
  bool add_segment(const SegmentScan& scan, uint64_t number, uint64_t bytes);
  void add_damaged_segment(uint64_t number);
  // Why a new epoch must begin before anything is appended; nullopt = go on with the last one.
  std::optional<EpochReason> recover(const std::optional<SpoolMeta>& meta,
                                     const std::string& boot_id);

  // --- appending ---
  // The segment to drop so that `bytes` more fit; call again until nullopt.
  std::optional<uint64_t> must_drop_for(uint64_t bytes) const;
  bool needs_segment(uint64_t bytes) const;
  // The header of the next segment: of the current epoch, or of a new one.
  SegmentHeader next_header(Now now) const;
  SegmentHeader next_header(uint64_t new_epoch, EpochReason reason, Now now) const;
  void segment_created(const SegmentHeader& header, uint32_t crc);
  uint64_t next_seq(uint32_t partition) const { return epochs_.back().last[partition] + 1; }
  uint64_t base_seq(uint32_t partition) const { return epochs_.back().base[partition]; }
  uint64_t active_segment() const { return segments_.back().number; }
  uint32_t active_crc() const { return segments_.back().crc; }
  // `sizes`: of the records just written one after the other to the active segment, all of one
  // partition.
  void appended(uint32_t partition, const std::vector<uint32_t>& sizes, Now now);
  // The write failed. `sealed`: what the file ends with is unknown, write no more to it.
  void append_failed(bool sealed);
  // The front segment was removed from the store.
  void front_removed(bool dropped);

  // --- syncing ---
  bool sync_due(Now now) const;
  std::vector<uint64_t> take_dirty(Now now);  // begins a sync
  void on_synced(bool ok, Now now);
  // True when a sync that succeeded began after everything up to `through` was appended. After a
  // failed one the next success counts: what the disk lost can then not be known, nor be waited
  // for.
  bool synced(uint64_t epoch, uint32_t partition, uint64_t through) const;
  // Something besides segments (the meta file) waits for the next sync.
  void ask_sync(Now now) {
    if (!dirty_since_) dirty_since_ = now.mono;
  }

  // --- the other side ---
  void on_ack(const AckMessage& ack);
  void on_want(const WantMessage& want);
  void release(uint64_t epoch, uint32_t partition, uint64_t through);

  // --- time ---
  // The front segment, when it may go now; call again until nullopt. Looks at most once a second.
  std::optional<uint64_t> may_release(Now now);
  // Set when something happened after which seqs of the current epoch cannot be trusted.
  std::optional<EpochReason> epoch_needed() const { return epoch_needed_; }
  void need_epoch(EpochReason reason) { epoch_needed_ = reason; }
  // Epochs at their bound: the oldest's segments must be dropped before one more begins.
  bool epochs_full() const { return epochs_.size() >= kEpochsMax; }
  // Drops the oldest epoch's record of itself. Requires: it has no segments.
  void forget_front_epoch();
  bool front_epoch_has_segments() const;
  std::optional<TipMessage> take_tip(Now now);
  struct Replay {
    size_t group = 0;
    uint64_t epoch = 0;
    uint32_t partition = 0;
    uint64_t seq = 0;
    uint64_t base_seq = 0;
    uint64_t segment = 0;
    uint32_t offset = 0;
    uint32_t bytes = 0;
    uint32_t crc = 0;
  };
  std::vector<Replay> take_replays(Now now);
  void unreadable(const Replay& replay);
  std::vector<std::pair<size_t, LostMessage>> take_lost();
  std::optional<MonoTime> next_wakeup() const;

  // --- looking ---
  // True when the meta file must be written again; cleared by meta().
  bool meta_stale() const { return meta_stale_; }
  void set_meta_stale() { meta_stale_ = true; }
  SpoolMeta meta(bool clean, const std::string& boot_id);
  uint64_t bytes() const { return bytes_; }
  const std::string& group_name(size_t group) const { return groups_[group].name; }
  uint64_t current_epoch() const { return epochs_.empty() ? 0 : epochs_.back().id; }
  std::vector<EpochMeta> epochs() const;
  struct SegmentRef {
    uint64_t number = 0;
    uint64_t epoch = 0;
    uint32_t crc = 0;
    uint64_t bytes = 0;
  };
  std::vector<SegmentRef> segments() const;
  struct RecordRef {
    uint64_t epoch = 0;
    uint64_t seq = 0;
    uint64_t segment = 0;
    uint32_t offset = 0;
    uint32_t bytes = 0;
    uint32_t crc = 0;
  };
  // Readable records of a partition, newest first, one segment at a time: those of segments_[i].
  std::vector<RecordRef> records_of(size_t segment_index, uint32_t partition) const;
  void fill(ProducerStats& stats) const;
  ProducerStats& counters() { return counters_; }
  void add_event(ProducerEvent event);
  std::vector<ProducerEvent> take_events();

 private:
  struct Ref {
    uint32_t offset = 0;  // 0 = unreadable
    uint32_t bytes = 0;
  };
  struct Segment {
    uint64_t number = 0;
    uint64_t epoch = 0;
    uint32_t crc = 0;
    uint64_t bytes = 0;
    PerPartition start{};
    std::array<std::vector<Ref>, kPartitions> refs;
    std::optional<MonoTime> acked_at;

    uint64_t end(uint32_t partition) const { return start[partition] + refs[partition].size(); }
  };
  struct Epoch {
    uint64_t id = 0;
    uint64_t predecessor = 0;
    EpochReason reason{};
    PerPartition last{};
    PerPartition base{};
    PerPartition dropped_through{};
    PerPartition syncing{};  // last[] when the sync under way began
    PerPartition synced{};   // and when the last one began that succeeded
    std::vector<GroupStart> starts;
    size_t segments = 0;
    std::optional<MonoTime> ended_at;  // nothing held, nothing owed
  };
  struct Group {
    std::string name;
    bool owner = false;
    std::map<uint64_t, PerPartition> acked;                 // by epoch: cumulative
    std::map<std::pair<uint64_t, uint32_t>, SeqSet> wants;  // by (epoch, partition)
    std::map<std::pair<uint64_t, uint32_t>, SeqSet> lost;   // ditto, not yet answered
    std::pair<uint64_t, uint32_t> turn{};                   // whose wants are served next
    bool pacing = false;
    MonoTime refilled_at{};
    double record_tokens = 0;
    double byte_tokens = 0;
  };

  Epoch* find_epoch(uint64_t id);
  const Epoch* find_epoch(uint64_t id) const;
  Group* find_group(const std::string& name);
  uint64_t acked_by(const Group& group, const Epoch& epoch, uint32_t partition) const;
  uint64_t acked_by_all(const Epoch& epoch, uint32_t partition) const;
  bool fully_acked(const Segment& segment) const;
  void review(Now now);
  void delist_emptied(Now now);
  void forget_epoch(size_t index);
  void clip_want(Group& group, Epoch& epoch, uint32_t partition, SeqRange range);
  const Segment* locate(uint64_t epoch, uint32_t partition, uint64_t seq) const;
  void refill(Group& group, Now now);
  double replay_rate() const;
  void serve(size_t group_index, std::vector<Replay>& out);
  void note_live(size_t records, Now now);

  ProducerCoreOptions options_;
  std::deque<Segment> segments_;
  std::vector<Epoch> epochs_;  // oldest first; the last is the current
  std::vector<Group> groups_;
  bool damaged_last_ = false;  // recovery: the newest segment cannot be appended to
  bool sealed_ = false;        // the active segment takes no more
  uint64_t next_number_ = 1;
  uint64_t bytes_ = 0;
  uint64_t records_ = 0;
  bool meta_stale_ = false;
  std::optional<EpochReason> epoch_needed_;

  std::vector<uint64_t> dirty_;  // segments written since the last sync began
  std::optional<MonoTime> dirty_since_;
  bool syncing_ = false;
  std::optional<MonoTime> sync_not_before_;
  Duration sync_backoff_{};

  std::optional<MonoTime> reviewed_at_;
  std::optional<MonoTime> tip_at_;
  bool tip_now_ = true;
  std::optional<MonoTime> replayed_at_;
  MonoTime live_window_at_{};
  uint64_t live_in_window_ = 0;
  double live_rate_ = 0;  // records per second, of the last full second

  ProducerStats counters_;
  std::deque<ProducerEvent> events_;
};

}  // namespace gema::stream
