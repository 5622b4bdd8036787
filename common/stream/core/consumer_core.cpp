#include "common/stream/core/consumer_core.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/assert.h"
#include "common/stream/core/limits.h"
#include "common/stream/core/parts.h"

namespace gema::stream {

namespace {
constexpr uint64_t kStashOverhead = 128;  // bytes a stashed record costs besides its payload; guess
}  // namespace

const char* to_string(GapReason reason) {
  switch (reason) {
    case GapReason::kDropped:
      return "dropped";
    case GapReason::kLost:
      return "lost";
    case GapReason::kEpochClosed:
      return "epoch closed";
    case GapReason::kBrokenParts:
      return "broken parts";
    case GapReason::kObserved:
      return "observed";
  }
  return "lost";
}

ConsumerCore::ConsumerCore(ConsumerOptions options, PositionSet restored)
    : options_(std::move(options)) {
  mine_.fill(options_.partitions.empty());
  for (uint32_t p : options_.partitions) {
    GEMA_ASSERT(p < kPartitions);
    mine_[p] = true;
  }
  load(restored);
}

void ConsumerCore::load(const PositionSet& positions) {
  producers_.clear();
  attention_.clear();
  stash_bytes_ = 0;
  stashed_ = 0;
  durable_ = positions;
  for (const auto& [key, position] : positions) {
    if (key.partition >= kPartitions) continue;
    ProducerState& producer = producers_[key.producer];
    producer.name = key.producer;
    Epoch* epoch = find_epoch(producer, key.epoch);
    if (epoch == nullptr) {
      epoch = &producer.epochs.emplace_back();
      epoch->id = key.epoch;
      epoch->order = position.order;
      epoch->closed = true;
    }
    epoch->closed = epoch->closed && position.closed;
    Track& track = epoch->tracks[key.partition];
    track.known = track.started = true;
    track.cumulative = position.cumulative;
    track.last_known = position.cumulative;
    if (!in_order()) {
      track.last_known = position.highest;
      if (position.highest > position.cumulative) {
        track.above.add(SeqRange{position.cumulative + 1, position.highest});
      }
      for (const SeqRange& range : position.missing) track.above.remove(range);
    }
  }
  for (auto& [name, producer] : producers_) {
    std::stable_sort(producer.epochs.begin(), producer.epochs.end(),
                     [](const Epoch& a, const Epoch& b) { return a.order < b.order; });
  }
}

void ConsumerCore::restore(PositionSet positions) {
  load(positions);
}

ConsumerCore::Epoch* ConsumerCore::find_epoch(ProducerState& producer, uint64_t id) {
  // From the end: the current epoch is the usual one.
  for (auto it = producer.epochs.rbegin(); it != producer.epochs.rend(); ++it) {
    if (it->id == id) return &*it;
  }
  return nullptr;
}

bool ConsumerCore::complete(const Epoch& epoch, uint32_t partition) {
  const Track& track = epoch.tracks[partition];
  return track.cumulative >= track.last_known;
}

// --- records -------------------------------------------------------------------------------------

void ConsumerCore::on_record(const std::string& producer_name, RecordMessage record, Now now,
                             std::vector<Delivery>& out) {
  GEMA_ASSERT(record.partition < kPartitions && record.seq > 0);
  if (paused_ || !mine_[record.partition]) return;
  auto found = producers_.find(producer_name);
  Epoch* epoch = found == producers_.end() ? nullptr : find_epoch(found->second, record.epoch);
  if (epoch == nullptr || epoch->closed || !epoch->tracks[record.partition].known) {
    ++counters_.unlisted;  // the next tip lists the epoch, or it is closed for good
    return;
  }
  ProducerState& producer = found->second;
  Track& track = epoch->tracks[record.partition];
  arrived(producer, track, record.seq, now);
  if (record.seq <= track.cumulative || track.above.contains(record.seq) ||
      track.stash.count(record.seq) != 0) {
    ++counters_.duplicates;
    return;
  }
  if (record.seq > track.last_known && in_order() &&
      left_behind(producer, *epoch, record.partition)) {
    ++counters_.unlisted;  // lost by its producer in a power cut, and what came after is under way
    return;
  }
  track.lost.remove(record.seq);  // here it is after all, and not announced yet
  track.record_bytes = (7 * track.record_bytes + record.payload.size() + kStashOverhead) / 8;
  uint32_t partition = record.partition;
  if (record.seq > track.last_known) {
    if (record.seq > track.last_known + 1) {
      track.dirty = true;
      attend(producer);
      if (options_.observer) {
        SeqRange missed{track.last_known + 1, record.seq - 1};
        track.last_known = record.seq;
        give_up(producer, *epoch, partition, missed, GapReason::kObserved, out);
      }
    }
    track.last_known = record.seq;
  }
  if (in_order()) {
    take_in_order(producer, *epoch, std::move(record), out);
  } else {
    take_any(producer, *epoch, std::move(record), out);
  }
}

// Books that something asked for is here, and asks for more when half of it is.
void ConsumerCore::arrived(ProducerState& producer, Track& track, uint64_t seq, Now now) {
  if (track.asked.empty()) return;
  // Only the lowest counts: others may come and go for ever (the stash is full) while it is lost.
  if (track.asked.front().first == seq) track.progress_at = now.mono;
  track.asked.remove(seq);
  if (track.more && track.asked.count() < window(track) / 2) attend(producer);
}

// True when a later epoch has begun in this partition: in order, nothing may follow in this one.
bool ConsumerCore::left_behind(const ProducerState& producer, const Epoch& epoch,
                               uint32_t partition) {
  return std::any_of(producer.epochs.begin(), producer.epochs.end(), [&](const Epoch& later) {
    return later.order > epoch.order && later.tracks[partition].started;
  });
}

// --- any order -----------------------------------------------------------------------------------

void ConsumerCore::take_any(ProducerState& producer, Epoch& epoch, RecordMessage record,
                            std::vector<Delivery>& out) {
  Track& track = epoch.tracks[record.partition];
  uint32_t partition = record.partition;
  uint64_t seq = record.seq;
  if (seq != track.cumulative + 1 && track.above.range_count() >= options_.holes_max &&
      track.above.stands_alone(seq)) {
    ++counters_.stash_refused;
    track.more = true;
    return;
  }
  if (record.part) {
    PartInfo info = *record.part;
    if (!is_possible(info) || info.index >= seq) {
      ++counters_.broken_parts;
      settle_any(track, {seq, seq});
      deliver_gap(producer, epoch, partition, {seq, seq}, GapReason::kBrokenParts, out);
    } else if (stash(track, std::move(record), seq - info.index)) {
      try_thing_any(producer, epoch, partition, seq - info.index, info, out);
    }
    return;
  }
  settle_any(track, {seq, seq});
  deliver(producer, epoch, std::move(record), out);
  if (!track.stash.empty()) sweep_things(producer, epoch, partition, out);
}

void ConsumerCore::settle_any(Track& track, SeqRange range) {
  if (track.above.empty() && range.first == track.cumulative + 1) {
    track.cumulative = range.last;
    return;
  }
  track.above.add(range);
  if (track.above.front().first <= track.cumulative + 1) {
    track.cumulative = track.above.front().last;
    track.above.remove(track.above.front());
  }
}

ConsumerCore::Thing ConsumerCore::judge(const Epoch& epoch, const Track& track, uint64_t first,
                                        const PartInfo& info) const {
  bool final = epoch.superseded || epoch.closing;
  for (uint32_t k = 0; k < info.count; ++k) {
    uint64_t seq = first + k;
    auto it = track.stash.find(seq);
    if (it == track.stash.end()) {
      bool gone = seq <= track.cumulative || track.above.contains(seq) || track.lost.contains(seq);
      if (gone || (final && seq > track.last_known)) return Thing::kBroken;
      return Thing::kWaiting;
    }
    const std::optional<PartInfo>& part = it->second.part;
    if (!part || part->id != info.id || part->index != k || part->count != info.count ||
        part->digest != info.digest) {
      return Thing::kBroken;
    }
  }
  return Thing::kWhole;
}

// Takes the parts from the stash and makes them one record, with the last part's seq. Its payload
// is empty when the digest is wrong (a thing is never empty).
RecordMessage ConsumerCore::assemble(Track& track, uint64_t first, uint32_t count) {
  RecordMessage whole;
  uint64_t digest = 0;
  for (uint32_t k = 0; k < count; ++k) {
    auto it = track.stash.find(first + k);
    GEMA_ASSERT(it != track.stash.end());
    digest = it->second.part->digest;
    whole.epoch = it->second.epoch;
    whole.partition = it->second.partition;
    whole.seq = it->second.seq;
    whole.produced_at = it->second.produced_at;
    whole.payload += it->second.payload;
    unstash(track, it);
  }
  if (digest_of(whole.payload) != digest) whole.payload.clear();
  return whole;
}

void ConsumerCore::try_thing_any(ProducerState& producer, Epoch& epoch, uint32_t partition,
                                 uint64_t first, PartInfo info, std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  Thing thing = judge(epoch, track, first, info);
  // judge() stops at the first absent part; a part further on may already be impossible.
  for (uint32_t k = 0; thing == Thing::kWaiting && k < info.count; ++k) {
    uint64_t seq = first + k;
    if (seq <= track.cumulative || track.above.contains(seq)) thing = Thing::kBroken;
  }
  if (thing == Thing::kWaiting) return;
  if (thing == Thing::kWhole) {
    RecordMessage whole = assemble(track, first, info.count);
    settle_any(track, {first, first + info.count - 1});
    if (whole.payload.empty()) {
      ++counters_.broken_parts;
      deliver_gap(producer, epoch, partition, {first, first + info.count - 1},
                  GapReason::kBrokenParts, out);
    } else {
      deliver(producer, epoch, std::move(whole), out);
    }
    return;
  }
  ++counters_.broken_parts;
  for (uint32_t k = 0; k < info.count; ++k) {
    auto it = track.stash.find(first + k);
    if (it == track.stash.end() || !it->second.part || it->second.part->id != info.id) continue;
    unstash(track, it);
    settle_any(track, {first + k, first + k});
    deliver_gap(producer, epoch, partition, {first + k, first + k}, GapReason::kBrokenParts, out);
  }
}

// Something was settled: unfinished things that it breaks are given up.
void ConsumerCore::sweep_things(ProducerState& producer, Epoch& epoch, uint32_t partition,
                                std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  std::vector<std::pair<uint64_t, PartInfo>> things;
  for (const auto& [seq, record] : track.stash) {
    uint64_t first = seq - record.part->index;
    if (things.empty() || things.back().first != first ||
        things.back().second.id != record.part->id)
      things.emplace_back(first, *record.part);
  }
  for (const auto& [first, info] : things) {
    if (track.stash.empty()) break;
    try_thing_any(producer, epoch, partition, first, info, out);
  }
}

// --- in order ------------------------------------------------------------------------------------

void ConsumerCore::take_in_order(ProducerState& producer, Epoch& epoch, RecordMessage record,
                                 std::vector<Delivery>& out) {
  Track& track = epoch.tracks[record.partition];
  uint32_t partition = record.partition;
  bool next = track.started && record.seq == track.cumulative + 1;
  if (next && !record.part) {
    track.cumulative = record.seq;
    deliver(producer, epoch, std::move(record), out);
    if (!track.stash.empty() || !track.lost.empty() || epoch.superseded || epoch.closing) {
      drain(producer, partition, out);
      finish_epochs(producer, out);
    }
    return;
  }
  if (record.seq > track.cumulative + options_.window_records) {
    ++counters_.stash_refused;
    track.more = true;
    return;
  }
  uint64_t thing_first = record.seq;
  if (record.part && record.part->index < record.seq) thing_first -= record.part->index;
  if (!stash(track, std::move(record), thing_first)) return;
  // At the front there can only be a part; this record may complete its thing, or break it.
  bool front_waits = track.stash.begin()->first == track.cumulative + 1;
  if (front_waits || options_.observer) {
    drain(producer, partition, out);
    finish_epochs(producer, out);
  }
}

void ConsumerCore::drain(ProducerState& producer, uint32_t partition, std::vector<Delivery>& out) {
  for (Epoch& epoch : producer.epochs) {
    if (epoch.closed) continue;
    Track& track = epoch.tracks[partition];
    if (!track.known) {
      if (epoch.closing) continue;
      break;
    }
    start_track(producer, epoch, partition, out);
    drain_track(producer, epoch, partition, out);
    if (track.dirty) attend(producer);
    bool final = epoch.superseded || epoch.closing;
    if (!final || !complete(epoch, partition)) break;
  }
}

void ConsumerCore::drain_track(ProducerState& producer, Epoch& epoch, uint32_t partition,
                               std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  for (;;) {
    uint64_t next = track.cumulative + 1;
    auto it = track.stash.begin();
    if (it != track.stash.end() && it->first == next) {
      if (it->second.part) {
        if (!deliver_front_thing(producer, epoch, partition, out)) return;
        continue;
      }
      RecordMessage record = std::move(it->second);
      stash_bytes_ -= record.payload.size();
      --stashed_;
      track.stash.erase(it);
      track.cumulative = next;
      deliver(producer, epoch, std::move(record), out);
      continue;
    }
    std::optional<SeqRange> lost = track.lost.range_at(next);
    if (!lost) return;
    track.lost.remove(*lost);
    track.cumulative = lost->last;
    deliver_gap(producer, epoch, partition, {next, lost->last}, track.lost_reason, out);
  }
}

// The next seq is a part. Returns false when the thing has to wait for others.
bool ConsumerCore::deliver_front_thing(ProducerState& producer, Epoch& epoch, uint32_t partition,
                                       std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  uint64_t first = track.cumulative + 1;
  PartInfo info = *track.stash.begin()->second.part;
  Thing thing = Thing::kBroken;
  if (is_possible(info) && info.index == 0) thing = judge(epoch, track, first, info);
  if (thing == Thing::kWaiting) return false;
  if (thing == Thing::kWhole) {
    RecordMessage whole = assemble(track, first, info.count);
    track.cumulative = first + info.count - 1;
    if (whole.payload.empty()) {
      ++counters_.broken_parts;
      deliver_gap(producer, epoch, partition, {first, track.cumulative}, GapReason::kBrokenParts,
                  out);
    } else {
      deliver(producer, epoch, std::move(whole), out);
    }
    return true;
  }
  // Give up the parts of this thing that are here, up to the first that is not.
  ++counters_.broken_parts;
  uint64_t last = track.cumulative;
  for (auto it = track.stash.begin(); it != track.stash.end() && it->first == last + 1 &&
                                      it->second.part && it->second.part->id == info.id;
       it = track.stash.begin()) {
    last = it->first;
    unstash(track, it);
  }
  track.cumulative = last;
  deliver_gap(producer, epoch, partition, {first, last}, GapReason::kBrokenParts, out);
  return true;
}

// --- both ----------------------------------------------------------------------------------------

// Keeps a record that cannot be delivered yet. The lowest unfinished thing of a partition is always
// taken in, or it could wait for ever behind others; so the stash may exceed its bound by one thing
// per partition.
bool ConsumerCore::stash(Track& track, RecordMessage record, uint64_t thing_first) {
  uint64_t bytes = record.payload.size();
  bool front = record.part && (track.stash.empty() || thing_first <= track.stash.begin()->first);
  while (stash_bytes_ + bytes > options_.stash_bytes && !track.stash.empty() &&
         track.stash.rbegin()->first > record.seq) {
    if (front && track.stash.rbegin()->first < thing_first + record.part->count) break;
    unstash(track, std::prev(track.stash.end()));
    ++counters_.stash_refused;
    track.more = true;
  }
  if (!front && stash_bytes_ + bytes > options_.stash_bytes) {
    ++counters_.stash_refused;
    track.more = true;
    return false;
  }
  stash_bytes_ += bytes;
  ++stashed_;
  track.stash.emplace(record.seq, std::move(record));
  return true;
}

void ConsumerCore::unstash(Track& track, std::map<uint64_t, RecordMessage>::iterator it) {
  stash_bytes_ -= it->second.payload.size();
  --stashed_;
  track.stash.erase(it);
}

// What of `range` is absent will never come.
void ConsumerCore::give_up(ProducerState& producer, Epoch& epoch, uint32_t partition,
                           SeqRange range, GapReason reason, std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  for (const SeqRange& gone : absent(track, range, false, SIZE_MAX)) {
    if (in_order()) {
      track.lost.add(gone);
      track.lost_reason = reason;
    } else {
      bool touches = gone.first == track.cumulative + 1 || !track.above.stands_alone(gone.first) ||
                     !track.above.stands_alone(gone.last);
      if (!touches && track.above.range_count() >= options_.holes_max) {
        track.more = true;  // asked for, and answered, again
        continue;
      }
      settle_any(track, gone);
      deliver_gap(producer, epoch, partition, gone, reason, out);
    }
  }
  track.asked.remove(range);
  if (!in_order() && !track.stash.empty()) sweep_things(producer, epoch, partition, out);
}

void ConsumerCore::start_track(const ProducerState& producer, Epoch& epoch, uint32_t partition,
                               std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  if (track.started) return;
  track.started = true;
  track.dirty = true;
  Delivery delivery;
  delivery.kind = Delivery::kEpochStarted;
  delivery.key = RecordKey{producer.name, epoch.id, partition, track.cumulative};
  delivery.epoch_reason = epoch.reason;
  delivery.predecessor = epoch.predecessor;
  out.push_back(std::move(delivery));
}

void ConsumerCore::deliver(const ProducerState& producer, const Epoch& epoch, RecordMessage record,
                           std::vector<Delivery>& out) {
  ++counters_.delivered;
  Delivery delivery;
  delivery.kind = Delivery::kRecord;
  delivery.key = RecordKey{producer.name, epoch.id, record.partition, record.seq};
  delivery.payload = std::move(record.payload);
  delivery.produced_at = record.produced_at;
  out.push_back(std::move(delivery));
}

void ConsumerCore::deliver_gap(const ProducerState& producer, const Epoch& epoch,
                               uint32_t partition, SeqRange gap, GapReason reason,
                               std::vector<Delivery>& out) {
  ++counters_.gaps;
  counters_.gap_seqs += gap.size();
  Delivery delivery;
  delivery.kind = Delivery::kGap;
  delivery.key = RecordKey{producer.name, epoch.id, partition, gap.first};
  delivery.gap = gap;
  delivery.gap_reason = reason;
  out.push_back(std::move(delivery));
}

// --- tips and lost answers -----------------------------------------------------------------------

ConsumerCore::ProducerState* ConsumerCore::producer_for(const std::string& name) {
  auto it = producers_.find(name);
  if (it != producers_.end()) return &it->second;
  if (producers_.size() >= options_.producers_max) {
    ++counters_.producers_refused;
    return nullptr;
  }
  ProducerState& producer = producers_[name];
  producer.name = name;
  return &producer;
}

void ConsumerCore::on_tip(const std::string& name, const TipMessage& tip, Now now,
                          std::vector<Delivery>& out) {
  std::set<uint64_t> ids;
  for (const EpochTip& epoch : tip.epochs) ids.insert(epoch.epoch);
  if (tip.epochs.empty() || ids.size() != tip.epochs.size() || ids.size() > kEpochsMax) {
    ++counters_.malformed;
    return;
  }
  ProducerState* producer = producer_for(name);
  if (producer == nullptr) return;
  if (!accept_tip(*producer, tip, now)) {
    ++counters_.stale_tips;
    return;
  }
  producer->heard = true;
  producer->tip_at = now.mono;
  producer->tip_wall = tip.at;
  if (!options_.observer && (!producer->ack_sent || now.mono - producer->ack_at >= kAckRepeat)) {
    producer->ack_due = true;
    attend(*producer);
  }
  if (paused_) {
    note_from_paused(*producer, tip);
    return;
  }
  close_unlisted(*producer, tip, out);
  list_epochs(*producer, tip, now, out);
  if (in_order()) {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (mine_[p]) drain(*producer, p, out);
    }
  }
  finish_epochs(*producer, out);
}

// A tip is stale when it was overtaken on the way: its current epoch is over, as far as we know.
// Taken for the truth it would close the epochs that came since.
bool ConsumerCore::accept_tip(const ProducerState& producer, const TipMessage& tip, Now now) {
  if (producer.epochs.empty()) return true;
  uint64_t current = tip.epochs.back().epoch;
  const Epoch& latest = producer.epochs.back();
  bool lists_latest = false;
  for (const Epoch& epoch : producer.epochs) {
    if (epoch.id == current) return !epoch.closed && epoch.order == latest.order;
    if (epoch.predecessor == current) return false;
  }
  for (const EpochTip& listed : tip.epochs)
    lists_latest = lists_latest || listed.epoch == latest.id;
  // Neither its epochs nor ours know of the others: a new spool. Which is the newer, only the time
  // tells; and as clocks step, only as long as the one we know was heard of just now.
  bool just_now = producer.heard && now.mono - producer.tip_at < kTipOverdue;
  return lists_latest || !just_now || tip.at >= producer.tip_wall;
}

// Only what says how much is outstanding.
void ConsumerCore::note_from_paused(ProducerState& producer, const TipMessage& tip) {
  for (const EpochTip& listed : tip.epochs) {
    Epoch* epoch = find_epoch(producer, listed.epoch);
    if (epoch == nullptr || epoch->closed) continue;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      Track& track = epoch->tracks[p];
      if (!track.known || listed.last_seq[p] <= track.last_known || options_.observer) continue;
      track.last_known = listed.last_seq[p];
      track.dirty = true;
    }
  }
}

void ConsumerCore::close_unlisted(ProducerState& producer, const TipMessage& tip,
                                  std::vector<Delivery>& out) {
  for (Epoch& epoch : producer.epochs) {
    if (epoch.closed || epoch.closing) continue;
    bool listed = std::any_of(tip.epochs.begin(), tip.epochs.end(),
                              [&](const EpochTip& e) { return e.epoch == epoch.id; });
    if (listed) continue;
    epoch.closing = true;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      Track& track = epoch.tracks[p];
      if (!mine_[p] || !track.known) continue;
      if (track.last_known > track.cumulative) {
        give_up(producer, epoch, p, {track.cumulative + 1, track.last_known},
                GapReason::kEpochClosed, out);
      }
      if (!in_order() && !track.stash.empty()) sweep_things(producer, epoch, p, out);
    }
  }
}

void ConsumerCore::list_epochs(ProducerState& producer, const TipMessage& tip, Now now,
                               std::vector<Delivery>& out) {
  producer.done.clear();
  bool first_contact = producer.epochs.empty();
  size_t known_until = 0;  // unknown epochs before this one were closed and forgotten long ago
  for (size_t i = 0; i < tip.epochs.size(); ++i) {
    if (find_epoch(producer, tip.epochs[i].epoch) != nullptr) known_until = i;
  }
  for (size_t i = 0; i < tip.epochs.size(); ++i) {
    const EpochTip& listed = tip.epochs[i];
    Epoch* epoch = find_epoch(producer, listed.epoch);
    if (epoch == nullptr) {
      if (i < known_until) {
        acknowledge_done(producer, listed);
        continue;
      }
      uint64_t order = producer.epochs.empty() ? 1 : producer.epochs.back().order + 1;
      epoch = &producer.epochs.emplace_back();
      epoch->id = listed.epoch;
      epoch->order = order;
    }
    if (epoch->closed) acknowledge_done(producer, listed);
    if (epoch->closed || epoch->closing) continue;
    epoch->predecessor = listed.predecessor;
    epoch->reason = listed.reason;
    epoch->superseded = i + 1 < tip.epochs.size();
    read_tip(producer, *epoch, listed, first_contact, now, out);
  }
}

void ConsumerCore::acknowledge_done(ProducerState& producer, const EpochTip& tip) {
  for (uint32_t p = 0; p < kPartitions; ++p) {
    uint64_t last = tip.last_seq[p];
    if (mine_[p] && last > 0) producer.done.push_back({tip.epoch, p, last, last, {}});
  }
}

void ConsumerCore::read_tip(ProducerState& producer, Epoch& epoch, const EpochTip& tip,
                            bool first_contact, Now now, std::vector<Delivery>& out) {
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (!mine_[p]) continue;
    Track& track = epoch.tracks[p];
    if (!track.known) begin_track(producer, epoch, p, tip, first_contact, out);
    uint64_t base = tip.base_seq[p];
    if (base > track.cumulative + 1) {
      track.last_known = std::max(track.last_known, base - 1);
      give_up(producer, epoch, p, {track.cumulative + 1, base - 1}, GapReason::kDropped, out);
    }
    if (tip.last_seq[p] > track.last_known) {
      track.last_known = tip.last_seq[p];
      track.dirty = true;
    }
    if (options_.observer && track.last_known > track.cumulative) {
      give_up(producer, epoch, p, {track.cumulative + 1, track.last_known}, GapReason::kObserved,
              out);
    }
    if (!in_order() && !track.stash.empty()) sweep_things(producer, epoch, p, out);
    if (track.cumulative < track.last_known) {
      // The tip is also the clock of repetition: an absent producer is not asked.
      if (track.asked.empty()) {
        track.dirty = true;
      } else if (now.mono - track.progress_at >= kAskAgainAfter) {
        track.asked.clear();
        track.dirty = true;
      }
      if (track.dirty) attend(producer);
    }
  }
}

// Where a group begins. A producer that it never heard of owes it what was dropped before anyone
// could read it, else nothing before base_seq; later epochs of a known producer are owed from their
// first record, or from when the group was added.
void ConsumerCore::begin_track(const ProducerState& producer, Epoch& epoch, uint32_t partition,
                               const EpochTip& tip, bool first_contact,
                               std::vector<Delivery>& out) {
  Track& track = epoch.tracks[partition];
  track.known = true;
  uint64_t start = 1;
  for (const GroupStart& group : tip.starts) {
    if (group.group == options_.group) start = std::max<uint64_t>(1, group.first[partition]);
  }
  uint64_t dropped = tip.dropped_through.empty() ? 0 : tip.dropped_through[partition];
  if (options_.observer && first_contact) {
    track.cumulative = tip.last_seq[partition];
  } else if (first_contact && dropped < start) {
    track.cumulative = std::max(start, tip.base_seq[partition]) - 1;
  } else {
    track.cumulative = start - 1;
  }
  track.last_known = track.cumulative;
  if (!in_order()) start_track(producer, epoch, partition, out);
}

// Epochs that are closing and read to their end become tombstones.
void ConsumerCore::finish_epochs(ProducerState& producer, std::vector<Delivery>& out) {
  bool finished = false;
  for (Epoch& epoch : producer.epochs) {
    if (!epoch.closing || epoch.closed) continue;
    bool done = true;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (mine_[p] && epoch.tracks[p].known && !complete(epoch, p)) done = false;
    }
    if (!done) continue;
    epoch.closed = finished = true;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      Track& track = epoch.tracks[p];
      while (!track.stash.empty()) unstash(track, track.stash.begin());
      track.asked.clear();
      track.lost.clear();
      if (!mine_[p] || !track.started) continue;
      Delivery delivery;
      delivery.kind = Delivery::kEpochClosed;
      delivery.key = RecordKey{producer.name, epoch.id, p, track.cumulative};
      out.push_back(std::move(delivery));
    }
  }
  if (finished) forget_tombstones(producer);
}

void ConsumerCore::forget_tombstones(ProducerState& producer) {
  auto closed = static_cast<size_t>(std::count_if(producer.epochs.begin(), producer.epochs.end(),
                                                  [](const Epoch& e) { return e.closed; }));
  for (auto it = producer.epochs.begin(); closed > kTombstonesMax && it != producer.epochs.end();) {
    if (!it->closed) {
      ++it;
      continue;
    }
    it = producer.epochs.erase(it);
    --closed;
  }
}

void ConsumerCore::on_lost(const std::string& name, const LostMessage& lost, Now now,
                           std::vector<Delivery>& out) {
  GEMA_ASSERT(lost.partition < kPartitions);
  if (paused_ || !mine_[lost.partition] || options_.observer) return;
  auto found = producers_.find(name);
  Epoch* epoch = found == producers_.end() ? nullptr : find_epoch(found->second, lost.epoch);
  if (epoch == nullptr || epoch->closed || !epoch->tracks[lost.partition].known) {
    ++counters_.unlisted;
    return;
  }
  ProducerState& producer = found->second;
  Track& track = epoch->tracks[lost.partition];
  for (SeqRange range : lost.ranges) {
    range.last = std::min(range.last, track.last_known);  // nobody can lose what does not exist yet
    if (range.first == 0 || range.first > range.last) continue;
    bool lowest = !track.asked.empty() && range.first <= track.asked.front().first;
    if (lowest) track.progress_at = now.mono;
    give_up(producer, *epoch, lost.partition, range, GapReason::kLost, out);
  }
  if (track.more && track.asked.count() < window(track) / 2) attend(producer);
  if (in_order()) drain(producer, lost.partition, out);
  finish_epochs(producer, out);
}

// --- asking and acknowledging --------------------------------------------------------------------

// What of `range` is beyond cumulative and neither delivered, lost nor stashed (nor, if so wished,
// asked for), lowest first.
std::vector<SeqRange> ConsumerCore::absent(const Track& track, SeqRange range, bool also_unasked,
                                           size_t ranges_max) const {
  std::vector<SeqRange> out;
  std::array<const SeqSet*, 3> sets{&track.above, &track.lost,
                                    also_unasked ? &track.asked : nullptr};
  uint64_t cursor = std::max(range.first, track.cumulative + 1);
  while (cursor <= range.last && out.size() < ranges_max) {
    uint64_t end = range.last;
    uint64_t skip_to = cursor;
    for (const SeqSet* set : sets) {
      if (set == nullptr || set->empty()) continue;
      if (auto at = set->range_at(cursor)) skip_to = std::max(skip_to, at->last + 1);
      if (auto after = set->range_after(cursor)) end = std::min(end, after->first - 1);
    }
    auto it = track.stash.lower_bound(cursor);
    while (it != track.stash.end() && it->first == skip_to) {
      ++skip_to;
      ++it;
    }
    if (skip_to > cursor) {
      cursor = skip_to;
      continue;
    }
    if (it != track.stash.end()) end = std::min(end, it->first - 1);
    out.push_back({cursor, end});
    cursor = end + 1;
  }
  return out;
}

// How many records may be asked for at a time: what fits a partition's share of the stash.
uint64_t ConsumerCore::window(const Track& track) const {
  uint64_t fits = options_.stash_bytes / kPartitions / std::max<uint64_t>(track.record_bytes, 1);
  return std::clamp<uint64_t>(fits, std::min<uint64_t>(16, options_.window_records),
                              options_.window_records);
}

std::vector<SeqRange> ConsumerCore::to_ask(Track& track, Now now) {
  std::vector<SeqRange> ask;
  uint64_t most = window(track);
  bool due = track.dirty || (track.more && track.asked.count() < most / 2);
  if (!due || track.asked.count() >= most) return ask;
  track.dirty = false;
  track.more = false;
  uint64_t last = track.last_known;
  if (in_order()) last = std::min(last, track.cumulative + options_.window_records);
  if (last < track.last_known) track.more = true;
  if (track.cumulative >= last) return ask;
  if (track.asked.empty()) track.progress_at = now.mono;
  ask = absent(track, {track.cumulative + 1, last}, true, kWantRangesPerMessage);
  if (ask.size() == kWantRangesPerMessage) track.more = true;
  uint64_t left = most - track.asked.count();
  for (size_t i = 0; i < ask.size(); ++i) {
    if (left == 0) {
      ask.resize(i);
      track.more = true;
      break;
    }
    if (ask[i].size() > left) {
      ask[i].last = ask[i].first + left - 1;
      track.more = true;
    }
    left -= ask[i].size();
    track.asked.add(ask[i]);
    counters_.wanted += ask[i].size();
  }
  return ask;
}

void ConsumerCore::attend(ProducerState& producer) {
  if (producer.attention) return;
  producer.attention = true;
  attention_.push_back(producer.name);
}

void ConsumerCore::build_want(ProducerState& producer, Now now, std::vector<Out>& out) {
  WantMessage want;
  want.group = options_.group;
  for (Epoch& epoch : producer.epochs) {
    if (epoch.closed || epoch.closing) continue;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      Track& track = epoch.tracks[p];
      if (!mine_[p] || !track.known || !track.started) continue;
      std::vector<SeqRange> ranges = to_ask(track, now);
      if (!ranges.empty()) want.partitions.push_back({epoch.id, p, std::move(ranges)});
    }
  }
  if (!want.partitions.empty()) out.push_back({producer.name, std::move(want)});
}

void ConsumerCore::build_ack(const ProducerState& producer, std::vector<Out>& out) {
  AckMessage ack;
  ack.group = options_.group;
  for (auto it = durable_.first_of(producer.name);
       it != durable_.end() && it->first.producer == producer.name; ++it) {
    const auto& [key, position] = *it;
    if (position.closed || position.highest == 0 || key.partition >= kPartitions ||
        !mine_[key.partition]) {
      continue;
    }
    PartitionAck part{key.epoch, key.partition, position.cumulative, position.highest,
                      position.missing};
    if (part.missing.size() > kAckRangesPerMessage) {
      part.highest = part.missing[kAckRangesPerMessage].first - 1;
      part.missing.resize(kAckRangesPerMessage);
    }
    ack.partitions.push_back(std::move(part));
  }
  ack.partitions.insert(ack.partitions.end(), producer.done.begin(), producer.done.end());
  if (ack.partitions.empty()) return;
  ++counters_.acks_sent;
  out.push_back({producer.name, std::move(ack)});
}

std::vector<ConsumerCore::Out> ConsumerCore::take_outgoing(Now now) {
  std::vector<Out> out;
  if (attention_.empty()) return out;
  std::vector<std::string> todo;
  todo.swap(attention_);
  for (const std::string& name : todo) {
    ProducerState& producer = producers_.at(name);
    producer.attention = false;
    if (options_.observer) continue;
    if (!paused_) build_want(producer, now, out);
    if (!producer.ack_due) continue;
    if (producer.ack_sent && now.mono < producer.ack_at + options_.ack_every) {
      attend(producer);
      continue;
    }
    producer.ack_due = false;
    producer.ack_sent = true;
    producer.ack_at = now.mono;
    build_ack(producer, out);
  }
  return out;
}

std::optional<MonoTime> ConsumerCore::next_wakeup() const {
  std::optional<MonoTime> at;
  for (const std::string& name : attention_) {
    const ProducerState& producer = producers_.at(name);
    MonoTime due = producer.ack_sent ? producer.ack_at + options_.ack_every : MonoTime{};
    if (producer.ack_due && (!at || due < *at)) at = due;
  }
  return at;
}

void ConsumerCore::set_paused(bool paused) {
  if (paused_ && !paused) {
    for (auto& [name, producer] : producers_) {
      for (Epoch& epoch : producer.epochs) {
        for (Track& track : epoch.tracks) {
          if (track.known && track.cumulative < track.last_known) {
            track.asked.clear();
            track.dirty = true;
          }
        }
      }
      attend(producer);
    }
  }
  paused_ = paused;
}

void ConsumerCore::mark_durable(const PositionSet& positions) {
  PositionSet::Changes changes = positions.changes_since(durable_);
  durable_ = positions;
  if (options_.observer) return;
  for (const auto& [key, position] : changes.upserts) {
    auto it = producers_.find(key.producer);
    if (it == producers_.end()) continue;
    it->second.ack_due = true;
    attend(it->second);
  }
}

PositionSet ConsumerCore::positions() const {
  PositionSet set;
  for (const auto& [name, producer] : producers_) {
    for (const Epoch& epoch : producer.epochs) {
      for (uint32_t p = 0; p < kPartitions; ++p) {
        const Track& track = epoch.tracks[p];
        if (!track.started) continue;
        Position position;
        position.cumulative = position.highest = track.cumulative;
        position.order = epoch.order;
        position.closed = epoch.closed;
        if (!track.above.empty()) {
          position.highest = track.above.highest();
          position.missing = track.above.missing({track.cumulative + 1, position.highest});
        }
        set.set({name, epoch.id, p}, std::move(position));
      }
    }
  }
  return set;
}

std::optional<Outstanding> ConsumerCore::outstanding(const std::string& name, Now now) const {
  auto it = producers_.find(name);
  if (it == producers_.end() || !it->second.heard) return std::nullopt;
  Outstanding result;
  result.tip_age = now.mono - it->second.tip_at;
  for (const Epoch& epoch : it->second.epochs) {
    for (uint32_t p = 0; p < kPartitions; ++p) {
      const Track& track = epoch.tracks[p];
      if (!track.known || !mine_[p]) continue;
      result.records += track.last_known - track.cumulative - track.above.count();
    }
  }
  return result;
}

ConsumerStats ConsumerCore::stats() const {
  ConsumerStats stats = counters_;
  stats.stashed = stashed_;
  stats.stash_bytes = stash_bytes_;
  for (const auto& [name, producer] : producers_) {
    for (const Epoch& epoch : producer.epochs) {
      for (const Track& track : epoch.tracks) {
        if (!track.known) continue;
        stats.outstanding += track.last_known - track.cumulative - track.above.count();
        stats.holes += track.above.range_count();
      }
    }
  }
  return stats;
}

}  // namespace gema::stream
