#include "common/stream/core/producer_core.h"

#include <algorithm>
#include <set>

#include "common/base/assert.h"

namespace gema::stream {
namespace {

constexpr Duration kReviewEvery = 1s;
constexpr uint64_t kTurnRecords = 16;  // replayed of one partition before the next has its turn

template <class Value>
double seconds(Value duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

ProducerCore::ProducerCore(ProducerCoreOptions options) : options_(std::move(options)) {
  for (const std::string& name : options_.groups) groups_.emplace_back().name = name;
  if (options_.release_by_owner) groups_.emplace_back().owner = true;
  counters_.spool_bytes_max = options_.bytes_max;
}

// --- recovery ------------------------------------------------------------------------------------

bool ProducerCore::add_segment(const SegmentScan& scan, uint64_t number, uint64_t bytes) {
  const SegmentHeader& header = scan.header;
  bool new_epoch = epochs_.empty() || epochs_.back().id != header.epoch;
  if (header.number != number || header.epoch == 0) return false;
  if (new_epoch) {
    if (find_epoch(header.epoch) != nullptr) return false;  // an epoch that had ended
    Epoch& epoch = epochs_.emplace_back();
    epoch.id = header.epoch;
    epoch.predecessor = header.predecessor;
    epoch.reason = header.reason;
    for (uint32_t p = 0; p < kPartitions; ++p) epoch.base[p] = header.next_seq[p];
  }
  Epoch& epoch = epochs_.back();
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (header.next_seq[p] == 0 || header.next_seq[p] <= epoch.last[p]) return false;
  }
  Segment segment;
  segment.number = number;
  segment.epoch = header.epoch;
  segment.crc = scan.header_crc;
  segment.bytes = bytes;
  segment.start = header.next_seq;
  for (const ScannedRecord& record : scan.records) {
    std::vector<Ref>& refs = segment.refs[record.partition];
    refs.resize(record.seq - segment.start[record.partition]);
    refs.push_back({record.offset, record.bytes});
  }
  for (uint32_t p = 0; p < kPartitions; ++p) {
    epoch.last[p] = segment.end(p) - 1;
    for (const Ref& ref : segment.refs[p]) {
      if (ref.offset != 0) {
        ++records_;
      } else {
        ++counters_.corrupt;
      }
    }
  }
  ++epoch.segments;
  counters_.last_appended_at = std::max(counters_.last_appended_at, scan.newest);
  bytes_ += bytes;
  next_number_ = number + 1;
  // A tail cut short is nearly always a write that kill -9 interrupted. But a flipped length looks
  // the same, and then a record that others have seen is cut off: its seq must not come again.
  damaged_last_ = scan.tail != Tail::kClean || scan.damaged_bytes > 0;
  segments_.push_back(std::move(segment));
  return true;
}

void ProducerCore::add_damaged_segment(uint64_t number) {
  next_number_ = number + 1;
  damaged_last_ = true;
}

std::optional<EpochReason> ProducerCore::recover(const std::optional<SpoolMeta>& meta,
                                                 const std::string& boot_id) {
  bool had_segments = next_number_ > 1;
  bool behind = false;  // the segments end before what was written when we stopped cleanly
  std::vector<Epoch> merged;
  if (meta && had_segments) {
    for (const EpochMeta& known : meta->epochs) {
      Epoch* scanned = find_epoch(known.epoch);
      Epoch epoch;
      if (scanned != nullptr) epoch = *scanned;
      epoch.id = known.epoch;
      epoch.predecessor = known.predecessor;
      epoch.reason = known.reason;
      epoch.dropped_through = known.dropped_through;
      epoch.starts = known.starts;
      for (uint32_t p = 0; p < kPartitions; ++p) {
        if (known.last[p] > epoch.last[p]) {
          behind = behind || scanned != nullptr;
          epoch.last[p] = known.last[p];
        }
        if (scanned == nullptr) epoch.base[p] = epoch.last[p] + 1;
      }
      merged.push_back(std::move(epoch));
    }
  }
  for (Epoch& epoch : epochs_) {
    bool known =
        std::any_of(merged.begin(), merged.end(), [&](const Epoch& e) { return e.id == epoch.id; });
    if (!known) merged.push_back(std::move(epoch));
  }
  epochs_ = std::move(merged);
  bool current_readable = !segments_.empty() && segments_.back().epoch == epochs_.back().id;

  if (meta && had_segments) {
    for (const Group& group : groups_) {
      bool is_new = !group.owner && std::find(meta->groups.begin(), meta->groups.end(),
                                              group.name) == meta->groups.end();
      if (!is_new) continue;
      for (Epoch& epoch : epochs_) {
        epoch.starts.push_back({group.name, {epoch.base.begin(), epoch.base.end()}});
      }
    }
  }
  // What the process before us wrote last may still be in memory only.
  for (const Segment& segment : segments_) dirty_.push_back(segment.number);
  if (!dirty_.empty()) dirty_since_ = MonoTime{};
  meta_stale_ = true;
  if (!had_segments) return EpochReason::kNewSpool;
  if (!meta || (!meta->clean && meta->boot_id != boot_id)) return EpochReason::kUncleanBoot;
  if (damaged_last_ || behind || !current_readable) return EpochReason::kSpoolDamaged;
  return std::nullopt;
}

// --- appending -----------------------------------------------------------------------------------

std::optional<uint64_t> ProducerCore::must_drop_for(uint64_t bytes) const {
  if (bytes_ + bytes <= options_.bytes_max || segments_.size() < 2) return std::nullopt;
  return segments_.front().number;
}

bool ProducerCore::needs_segment(uint64_t bytes) const {
  if (segments_.empty() || sealed_) return true;
  const Segment& active = segments_.back();
  return active.bytes > kSegmentHeaderBytes && active.bytes + bytes > options_.segment_bytes;
}

SegmentHeader ProducerCore::next_header(Now now) const {
  const Epoch& epoch = epochs_.back();
  SegmentHeader header;
  header.number = next_number_;
  header.epoch = epoch.id;
  header.predecessor = epoch.predecessor;
  header.reason = epoch.reason;
  header.created_at = now.wall;
  for (uint32_t p = 0; p < kPartitions; ++p) header.next_seq[p] = epoch.last[p] + 1;
  return header;
}

SegmentHeader ProducerCore::next_header(uint64_t new_epoch, EpochReason reason, Now now) const {
  SegmentHeader header;
  header.number = next_number_;
  header.epoch = new_epoch;
  header.predecessor = current_epoch();
  header.reason = reason;
  header.created_at = now.wall;
  header.next_seq.fill(1);
  return header;
}

void ProducerCore::segment_created(const SegmentHeader& header, uint32_t crc) {
  if (header.epoch != current_epoch()) {
    Epoch& epoch = epochs_.emplace_back();
    epoch.id = header.epoch;
    epoch.predecessor = header.predecessor;
    epoch.reason = header.reason;
    epoch.base.fill(1);
    epoch_needed_.reset();
    tip_now_ = true;
    meta_stale_ = true;
    ++counters_.epochs_begun;
    add_event({ProducerEvent::Kind::kEpochBegan,
               header.epoch,
               header.reason,
               0,
               {},
               std::string("a new epoch begins: ") + to_string(header.reason)});
  }
  Segment segment;
  segment.number = header.number;
  segment.epoch = header.epoch;
  segment.crc = crc;
  segment.bytes = kSegmentHeaderBytes;
  segment.start = header.next_seq;
  bytes_ += segment.bytes;
  next_number_ = header.number + 1;
  segments_.push_back(std::move(segment));
  ++epochs_.back().segments;
  sealed_ = false;
}

void ProducerCore::appended(uint32_t partition, const std::vector<uint32_t>& sizes, Now now) {
  Segment& active = segments_.back();
  for (uint32_t size : sizes) {
    active.refs[partition].push_back({static_cast<uint32_t>(active.bytes), size});
    active.bytes += size;
    bytes_ += size;
  }
  epochs_.back().last[partition] += sizes.size();
  records_ += sizes.size();
  counters_.appended += sizes.size();
  counters_.last_appended_at = now.wall;
  if (dirty_.empty() || dirty_.back() != active.number) dirty_.push_back(active.number);
  if (!dirty_since_) dirty_since_ = now.mono;
  note_live(sizes.size(), now);
}

void ProducerCore::append_failed(bool sealed) {
  ++counters_.append_failed;
  sealed_ = sealed_ || sealed;
}

void ProducerCore::front_removed(bool dropped) {
  GEMA_ASSERT(segments_.size() > 1);
  Segment segment = std::move(segments_.front());
  segments_.pop_front();
  bytes_ -= segment.bytes;
  Epoch& epoch = *find_epoch(segment.epoch);
  --epoch.segments;
  bool more = segments_.front().epoch == segment.epoch;
  for (uint32_t p = 0; p < kPartitions; ++p) {
    for (const Ref& ref : segment.refs[p]) records_ -= ref.offset != 0 ? 1 : 0;
    uint64_t base = more ? segments_.front().start[p] : epoch.last[p] + 1;
    uint64_t acked = acked_by_all(epoch, p);
    SeqRange range{std::max(epoch.base[p], acked + 1), base - 1};
    if (dropped && range.first <= range.last) {
      counters_.dropped += range.size();
      epoch.dropped_through[p] = range.last;
      meta_stale_ = true;
      add_event({ProducerEvent::Kind::kDropped, epoch.id, epoch.reason, p, range,
                 "the spool is full: the oldest records were dropped before all had them"});
    }
    epoch.base[p] = base;
    for (Group& group : groups_) {
      auto wants = group.wants.find({epoch.id, p});
      if (wants == group.wants.end() || base <= 1) continue;
      SeqRange below{1, base - 1};
      std::vector<SeqRange> ranges = wants->second.ranges();
      if (wants->second.remove(below) == 0) continue;
      for (const SeqRange& wanted : ranges) {
        if (wanted.first < base)
          group.lost[{epoch.id, p}].add({wanted.first, std::min(wanted.last, base - 1)});
      }
      if (wants->second.empty()) group.wants.erase(wants);
    }
  }
}

// Epochs without segments are listed until every group has read (or closed) them, and as long again
// as records are held: a group restored to before their end must hear where that was.
void ProducerCore::delist_emptied(Now now) {
  size_t ended = 0;
  for (size_t i = epochs_.size() - 1; i > 0; --i) {
    Epoch& epoch = epochs_[i - 1];
    bool owed = epoch.segments > 0;
    for (uint32_t p = 0; p < kPartitions && !owed; ++p) {
      owed = acked_by_all(epoch, p) < epoch.last[p];
    }
    if (owed) {
      epoch.ended_at.reset();
      continue;
    }
    if (!epoch.ended_at) epoch.ended_at = now.mono;
    bool long_ago = now.mono >= *epoch.ended_at + options_.hold_acknowledged;
    if (++ended > kEndedEpochsListed && long_ago) forget_epoch(i - 1);
  }
}

void ProducerCore::forget_epoch(size_t index) {
  uint64_t id = epochs_[index].id;
  epochs_.erase(epochs_.begin() + static_cast<std::ptrdiff_t>(index));
  for (Group& group : groups_) {
    group.acked.erase(id);
    for (uint32_t p = 0; p < kPartitions; ++p) {
      group.wants.erase({id, p});
      group.lost.erase({id, p});
    }
  }
  meta_stale_ = true;
}

void ProducerCore::forget_front_epoch() {
  GEMA_ASSERT(epochs_.size() > 1 && epochs_.front().segments == 0);
  forget_epoch(0);
}

bool ProducerCore::front_epoch_has_segments() const {
  return !epochs_.empty() && epochs_.front().segments > 0;
}

// --- syncing -------------------------------------------------------------------------------------

bool ProducerCore::sync_due(Now now) const {
  if (syncing_ || !dirty_since_) return false;
  if (sync_not_before_ && now.mono < *sync_not_before_) return false;
  return now.mono >= *dirty_since_ + options_.sync_every;
}

std::vector<uint64_t> ProducerCore::take_dirty(Now) {
  std::vector<uint64_t> dirty;
  dirty.swap(dirty_);
  dirty_since_.reset();
  syncing_ = true;
  for (Epoch& epoch : epochs_) epoch.syncing = epoch.last;
  // Segments that went in the meantime need no sync.
  std::erase_if(dirty, [&](uint64_t number) {
    return std::none_of(segments_.begin(), segments_.end(),
                        [&](const Segment& s) { return s.number == number; });
  });
  return dirty;
}

void ProducerCore::on_synced(bool ok, Now now) {
  syncing_ = false;
  if (ok) {
    for (Epoch& epoch : epochs_) epoch.synced = epoch.syncing;
    sync_not_before_.reset();
    sync_backoff_ = Duration{};
    return;
  }
  ++counters_.sync_failures;
  sync_backoff_ = std::clamp(2 * sync_backoff_, Duration(kSyncRetryMin), Duration(kSyncRetryMax));
  sync_not_before_ = now.mono + sync_backoff_;
  // What reached the disk is unknown, and a later sync will not tell: those seqs may vanish with
  // the next power cut and must not be given twice.
  epoch_needed_ = EpochReason::kSyncFailed;
  add_event({ProducerEvent::Kind::kSyncFailed,
             current_epoch(),
             EpochReason::kSyncFailed,
             0,
             {},
             "fdatasync of the spool failed"});
}

bool ProducerCore::synced(uint64_t epoch, uint32_t partition, uint64_t through) const {
  const Epoch* held = find_epoch(epoch);
  return held == nullptr || held->synced[partition] >= through;
}

// --- acknowledgements ----------------------------------------------------------------------------

ProducerCore::Epoch* ProducerCore::find_epoch(uint64_t id) {
  for (auto it = epochs_.rbegin(); it != epochs_.rend(); ++it) {
    if (it->id == id) return &*it;
  }
  return nullptr;
}

const ProducerCore::Epoch* ProducerCore::find_epoch(uint64_t id) const {
  for (auto it = epochs_.rbegin(); it != epochs_.rend(); ++it) {
    if (it->id == id) return &*it;
  }
  return nullptr;
}

ProducerCore::Group* ProducerCore::find_group(const std::string& name) {
  for (Group& group : groups_) {
    if (!group.owner && group.name == name) return &group;
  }
  return nullptr;
}

void ProducerCore::on_ack(const AckMessage& ack) {
  Group* group = find_group(ack.group);
  if (group == nullptr) {
    ++counters_.messages_refused;
    return;
  }
  for (const PartitionAck& part : ack.partitions) {
    Epoch* epoch = find_epoch(part.epoch);
    if (epoch == nullptr || part.partition >= kPartitions) {
      ++counters_.messages_refused;
      continue;
    }
    uint64_t last = epoch->last[part.partition];
    if (std::max(part.cumulative, part.highest) > last && epoch->id == current_epoch()) {
      // Somebody holds records that we do not know: our spool is older than it was. What we would
      // append under those seqs would vanish as duplicates.
      epoch_needed_ = EpochReason::kAckBeyondLast;
    }
    // The latest counts, not the highest: a group restored to an older position takes its
    // acknowledgement back, and what it needs stays held. (An acknowledgement overtaken on the way
    // does the same until the next one.)
    group->acked[epoch->id][part.partition] = std::min(part.cumulative, last);
  }
}

void ProducerCore::release(uint64_t epoch_id, uint32_t partition, uint64_t through) {
  Epoch* epoch = find_epoch(epoch_id);
  if (epoch == nullptr || partition >= kPartitions) return;
  for (Group& group : groups_) {
    if (!group.owner) continue;
    uint64_t& acked = group.acked[epoch_id][partition];
    acked = std::max(acked, std::min(through, epoch->last[partition]));
  }
}

uint64_t ProducerCore::acked_by(const Group& group, const Epoch& epoch, uint32_t partition) const {
  uint64_t acked = 0;
  auto it = group.acked.find(epoch.id);
  if (it != group.acked.end()) acked = it->second[partition];
  for (const GroupStart& start : epoch.starts) {
    if (start.group == group.name && !group.owner) {
      acked = std::max(acked, start.first[partition] - 1);
    }
  }
  return acked;
}

uint64_t ProducerCore::acked_by_all(const Epoch& epoch, uint32_t partition) const {
  uint64_t acked = epoch.last[partition];
  for (const Group& group : groups_) acked = std::min(acked, acked_by(group, epoch, partition));
  return acked;
}

bool ProducerCore::fully_acked(const Segment& segment) const {
  const Epoch& epoch = *find_epoch(segment.epoch);
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (!segment.refs[p].empty() && acked_by_all(epoch, p) < segment.end(p) - 1) return false;
  }
  return true;
}

void ProducerCore::review(Now now) {
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {
    Segment& segment = segments_[i];
    if (!fully_acked(segment)) {
      segment.acked_at.reset();
    } else if (!segment.acked_at) {
      segment.acked_at = now.mono;
    }
  }
  delist_emptied(now);
}

std::optional<uint64_t> ProducerCore::may_release(Now now) {
  if (!reviewed_at_ || now.mono >= *reviewed_at_ + kReviewEvery) {
    reviewed_at_ = now.mono;
    review(now);
  }
  if (segments_.size() < 2 || !segments_.front().acked_at) return std::nullopt;
  const Segment& front = segments_.front();
  bool pressed = bytes_ > options_.bytes_max / 2;
  if (!pressed && now.mono < *front.acked_at + options_.hold_acknowledged) return std::nullopt;
  return front.number;
}

// --- wants and replays ---------------------------------------------------------------------------

void ProducerCore::on_want(const WantMessage& want) {
  Group* group = find_group(want.group);
  if (group == nullptr) {
    ++counters_.messages_refused;
    return;
  }
  size_t pending = 0;
  for (const auto& [key, set] : group->wants) pending += set.range_count();
  for (const auto& [key, set] : group->lost) pending += set.range_count();
  for (const PartitionWant& part : want.partitions) {
    Epoch* epoch = find_epoch(part.epoch);
    if (epoch == nullptr || part.partition >= kPartitions) {
      ++counters_.messages_refused;  // the tip tells that it is not held
      continue;
    }
    for (const SeqRange& range : part.ranges) {
      if (range.first == 0 || range.last < range.first) {
        ++counters_.messages_refused;
        continue;
      }
      if (++pending > kWantRangesMax) {
        ++counters_.wants_refused;
        continue;
      }
      clip_want(*group, *epoch, part.partition, range);
    }
  }
}

void ProducerCore::clip_want(Group& group, Epoch& epoch, uint32_t partition, SeqRange range) {
  std::pair<uint64_t, uint32_t> key{epoch.id, partition};
  uint64_t base = epoch.base[partition];
  uint64_t last = epoch.last[partition];
  if (range.last > last) {
    // Asked for what we never appended. In the current epoch that is as an acknowledgement beyond
    // the last seq; once the epoch is over, those seqs are lost.
    if (epoch.id == current_epoch()) {
      epoch_needed_ = EpochReason::kAckBeyondLast;
    } else {
      group.lost[key].add({std::max(range.first, last + 1), range.last});
    }
    range.last = last;
  }
  if (range.first < base && range.first <= range.last) {
    group.lost[key].add({range.first, std::min(range.last, base - 1)});
    range.first = base;
  }
  if (range.first <= range.last) group.wants[key].add(range);
}

const ProducerCore::Segment* ProducerCore::locate(uint64_t epoch, uint32_t partition,
                                                  uint64_t seq) const {
  // Segments of an epoch stand together, in order.
  auto order = [&](uint64_t id) {
    for (size_t i = 0; i < epochs_.size(); ++i) {
      if (epochs_[i].id == id) return i;
    }
    return epochs_.size();
  };
  size_t wanted = order(epoch);
  auto after = std::partition_point(segments_.begin(), segments_.end(), [&](const Segment& s) {
    if (s.epoch == epoch) return s.start[partition] <= seq;
    return order(s.epoch) < wanted;
  });
  if (after == segments_.begin()) return nullptr;
  const Segment& segment = *std::prev(after);
  return segment.epoch == epoch ? &segment : nullptr;
}

void ProducerCore::note_live(size_t records, Now now) {
  Duration elapsed = now.mono - live_window_at_;
  if (elapsed >= 1s) {
    // A window that lasted long says nothing about the last second.
    bool recent = elapsed < 2s;
    live_rate_ = recent ? static_cast<double>(live_in_window_) / seconds(elapsed) : 0;
    live_in_window_ = 0;
    live_window_at_ = now.mono;
  }
  live_in_window_ += records;
}

double ProducerCore::replay_rate() const {
  double live = std::max(live_rate_, static_cast<double>(live_in_window_));
  double least = options_.replay_records_per_second;
  return std::clamp(10.0 * live, least, std::max<double>(least, kReplayRecordsPerSecondMax));
}

void ProducerCore::refill(Group& group, Now now) {
  note_live(0, now);
  double rate = replay_rate();
  // Bytes follow when the live rate raises the records.
  double bytes = static_cast<double>(options_.replay_bytes_per_second) *
                 std::max(1.0, rate / options_.replay_records_per_second);
  Duration elapsed = group.pacing ? now.mono - group.refilled_at : Duration(kReplayEvery);
  elapsed = std::min(elapsed, Duration(kReplayBurst));
  double burst = seconds(kReplayBurst);
  group.pacing = true;
  group.refilled_at = now.mono;
  group.record_tokens = std::min(group.record_tokens + rate * seconds(elapsed), rate * burst);
  group.byte_tokens = std::min(group.byte_tokens + bytes * seconds(elapsed), bytes * burst);
}

std::vector<ProducerCore::Replay> ProducerCore::take_replays(Now now) {
  std::vector<Replay> out;
  if (replayed_at_ && now.mono < *replayed_at_ + kReplayEvery) return out;
  bool any = false;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].wants.empty()) continue;
    any = true;
    refill(groups_[i], now);
    serve(i, out);
  }
  if (any) replayed_at_ = now.mono;
  return out;
}

// Partitions take turns, each lowest seq first, until the tokens are spent.
void ProducerCore::serve(size_t group_index, std::vector<Replay>& out) {
  Group& group = groups_[group_index];
  while (!group.wants.empty() && group.record_tokens >= 1 && group.byte_tokens > 0) {
    auto it = group.wants.upper_bound(group.turn);
    if (it == group.wants.end()) it = group.wants.begin();
    auto [epoch_id, partition] = it->first;
    group.turn = it->first;
    const Epoch& epoch = *find_epoch(epoch_id);
    SeqRange range = it->second.front();
    range.last = std::min(range.last, range.first + kTurnRecords - 1);
    const Segment* segment = locate(epoch_id, partition, range.first);
    uint64_t seq = range.first;
    for (; seq <= range.last && group.record_tokens >= 1 && group.byte_tokens > 0; ++seq) {
      if (segment != nullptr && seq >= segment->end(partition)) {
        segment = locate(epoch_id, partition, seq);
      }
      bool held =
          segment != nullptr && seq >= segment->start[partition] && seq < segment->end(partition);
      Ref ref = held ? segment->refs[partition][seq - segment->start[partition]] : Ref{};
      group.record_tokens -= 1;
      if (ref.offset == 0) {
        group.lost[it->first].add(seq);
        continue;
      }
      group.byte_tokens -= ref.bytes;
      out.push_back({group_index, epoch_id, partition, seq, epoch.base[partition], segment->number,
                     ref.offset, ref.bytes, segment->crc});
    }
    it->second.remove({range.first, seq - 1});
    if (it->second.empty()) group.wants.erase(it);
  }
}

void ProducerCore::unreadable(const Replay& replay) {
  for (Segment& segment : segments_) {
    if (segment.number != replay.segment) continue;
    Ref& ref = segment.refs[replay.partition][replay.seq - segment.start[replay.partition]];
    if (ref.offset != 0) {
      ref.offset = 0;
      --records_;
      ++counters_.corrupt;
      add_event({ProducerEvent::Kind::kCorrupt,
                 replay.epoch,
                 EpochReason::kUnspecified,
                 replay.partition,
                 {replay.seq, replay.seq},
                 "a spooled record cannot be read any more"});
    }
  }
  groups_[replay.group].lost[{replay.epoch, replay.partition}].add(replay.seq);
}

std::vector<std::pair<size_t, LostMessage>> ProducerCore::take_lost() {
  std::vector<std::pair<size_t, LostMessage>> out;
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const auto& [key, set] : groups_[i].lost) {
      LostMessage lost;
      lost.epoch = key.first;
      lost.partition = key.second;
      lost.ranges = set.ranges();
      if (lost.ranges.size() > kLostRangesMax) lost.ranges.resize(kLostRangesMax);
      for (const SeqRange& range : lost.ranges) counters_.answered_lost += range.size();
      out.emplace_back(i, std::move(lost));
    }
    groups_[i].lost.clear();  // what did not fit is asked for again
  }
  return out;
}

// --- time ----------------------------------------------------------------------------------------

std::optional<TipMessage> ProducerCore::take_tip(Now now) {
  if (!tip_now_ && tip_at_ && now.mono < *tip_at_ + kTipEvery) return std::nullopt;
  if (epochs_.empty()) return std::nullopt;
  tip_now_ = false;
  tip_at_ = now.mono;
  TipMessage tip;
  tip.at = now.wall;
  for (const Epoch& epoch : epochs_) {
    EpochTip& listed = tip.epochs.emplace_back();
    listed.epoch = epoch.id;
    listed.predecessor = epoch.predecessor;
    listed.reason = epoch.reason;
    listed.last_seq.assign(epoch.last.begin(), epoch.last.end());
    listed.base_seq.assign(epoch.base.begin(), epoch.base.end());
    if (epoch.dropped_through != PerPartition{}) {
      listed.dropped_through.assign(epoch.dropped_through.begin(), epoch.dropped_through.end());
    }
    listed.starts = epoch.starts;
  }
  return tip;
}

std::optional<MonoTime> ProducerCore::next_wakeup() const {
  std::optional<MonoTime> at;
  auto sooner = [&](MonoTime t) { at = at ? std::min(*at, t) : t; };
  sooner(!tip_now_ && tip_at_ ? *tip_at_ + kTipEvery : MonoTime{});
  if (dirty_since_ && !syncing_) {
    MonoTime due = *dirty_since_ + options_.sync_every;
    sooner(sync_not_before_ ? std::max(due, *sync_not_before_) : due);
  }
  for (const Group& group : groups_) {
    if (!group.wants.empty()) sooner(replayed_at_ ? *replayed_at_ + kReplayEvery : MonoTime{});
    if (!group.lost.empty()) sooner(MonoTime{});
  }
  return at;
}

// --- looking -------------------------------------------------------------------------------------

std::vector<EpochMeta> ProducerCore::epochs() const {
  std::vector<EpochMeta> out;
  for (const Epoch& epoch : epochs_) {
    out.push_back({epoch.id, epoch.predecessor, epoch.reason, epoch.last, epoch.dropped_through,
                   epoch.starts});
  }
  return out;
}

SpoolMeta ProducerCore::meta(bool clean, const std::string& boot_id) {
  meta_stale_ = false;
  return SpoolMeta{clean, boot_id, options_.groups, epochs()};
}

std::vector<ProducerCore::SegmentRef> ProducerCore::segments() const {
  std::vector<SegmentRef> out;
  for (const Segment& s : segments_) out.push_back({s.number, s.epoch, s.crc, s.bytes});
  return out;
}

std::vector<ProducerCore::RecordRef> ProducerCore::records_of(size_t segment_index,
                                                              uint32_t partition) const {
  std::vector<RecordRef> out;
  const Segment& segment = segments_[segment_index];
  const std::vector<Ref>& refs = segment.refs[partition];
  for (size_t i = refs.size(); i > 0; --i) {
    if (refs[i - 1].offset == 0) continue;
    out.push_back({segment.epoch, segment.start[partition] + i - 1, segment.number,
                   refs[i - 1].offset, refs[i - 1].bytes, segment.crc});
  }
  return out;
}

void ProducerCore::fill(ProducerStats& stats) const {
  stats = counters_;
  stats.spool_bytes = bytes_;
  stats.segments = segments_.size();
  stats.records_held = records_;
  stats.epoch = current_epoch();
  for (const Epoch& epoch : epochs_) {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      uint64_t through = std::max(acked_by_all(epoch, p), epoch.base[p] - 1);
      if (epoch.last[p] > through) stats.unacknowledged += epoch.last[p] - through;
    }
  }
}

void ProducerCore::add_event(ProducerEvent event) {
  if (events_.size() >= kEventsMax) events_.pop_front();
  events_.push_back(std::move(event));
}

std::vector<ProducerEvent> ProducerCore::take_events() {
  std::vector<ProducerEvent> out(std::make_move_iterator(events_.begin()),
                                 std::make_move_iterator(events_.end()));
  events_.clear();
  return out;
}

}  // namespace gema::stream
