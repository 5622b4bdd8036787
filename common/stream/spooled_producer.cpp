#include "common/stream/spooled_producer.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/stream/core/limits.h"
#include "common/stream/core/parts.h"

namespace gema::stream {
namespace {

constexpr Duration kRetryEvery = 1s;
// Dropped segments whose files wait for the meta file to be durable. Beyond, they go at once.
constexpr size_t kRemovalsMax = 4;
constexpr Duration kSyncPollEvery = 10ms;  // while an fdatasync runs

}  // namespace

SpooledProducer::SpooledProducer(Options options, std::unique_ptr<SegmentStore> store)
    : options_(std::move(options)), store_(std::move(store)), core_(options_.core) {}

Result<std::unique_ptr<SpooledProducer>> SpooledProducer::open(Options options,
                                                               std::unique_ptr<SegmentStore> store,
                                                               Now now) {
  std::unique_ptr<SpooledProducer> producer(
      new SpooledProducer(std::move(options), std::move(store)));
  if (Result<void> done = producer->recover(now); !done) return done.error();
  return producer;
}

Result<void> SpooledProducer::recover(Now now) {
  Result<std::vector<uint64_t>> numbers = store_->list();
  if (!numbers) return numbers.error();
  for (size_t i = 0; i < numbers->size(); ++i) {
    uint64_t number = (*numbers)[i];
    Result<std::string> bytes = store_->read_all(number);
    Result<SegmentScan> scan = bytes ? scan_segment(*bytes) : Result<SegmentScan>(bytes.error());
    bool newest = i + 1 == numbers->size();
    if (scan && scan->tail != Tail::kClean && newest) {
      if (Result<void> cut = store_->truncate(number, scan->valid_end); !cut) return cut.error();
      core_.add_event({ProducerEvent::Kind::kTailTruncated,
                       scan->header.epoch,
                       EpochReason::kUnspecified,
                       0,
                       {},
                       "the spool ended within a record; that record was cut off"});
      bytes->resize(scan->valid_end);
    }
    if (scan && core_.add_segment(*scan, number, bytes->size())) {
      if (scan->damaged_bytes > 0) {
        core_.add_event({ProducerEvent::Kind::kCorrupt,
                         scan->header.epoch,
                         EpochReason::kUnspecified,
                         0,
                         {},
                         "a spool segment is damaged within; those records are lost"});
      }
      continue;
    }
    if (Result<void> aside = store_->set_aside(number); !aside) return aside.error();
    core_.add_damaged_segment(number);
    ++core_.counters().corrupt_segments;
    core_.add_event({ProducerEvent::Kind::kCorrupt,
                     0,
                     EpochReason::kUnspecified,
                     0,
                     {},
                     "spool segment " + std::to_string(number) + " cannot be read: set aside (" +
                         (scan ? "it contradicts the others" : scan.error().message) + ")"});
  }
  Result<std::optional<std::string>> bytes = store_->read_meta();
  std::optional<SpoolMeta> meta;
  if (bytes && *bytes) meta = decode_meta(**bytes);
  std::optional<EpochReason> reason = core_.recover(meta, options_.boot_id);

  // From here on a machine boot without clean stop must be noticed; and while an epoch is still to
  // begin, so must any restart.
  SpoolMeta running = core_.meta(false, reason ? std::string() : options_.boot_id);
  if (Result<void> done = store_->write_meta(encode_meta(running), true); !done) {
    return done.error();
  }
  if (!reason) return {};
  if (Result<void> done = begin_epoch(*reason, now); !done) return done.error();
  return store_->write_meta(encode_meta(core_.meta(false, options_.boot_id)), true);
}

// --- appending -----------------------------------------------------------------------------------

Result<uint64_t> SpooledProducer::append(uint32_t partition, std::string_view payload, Now now) {
  if (payload.size() > kRecordBytesMax) {
    ++core_.counters().append_refused;
    return Error{Errc::kBadInput, "a record of " + std::to_string(payload.size()) +
                                      " bytes: at most " + std::to_string(kRecordBytesMax) +
                                      " are carried"};
  }
  return write(partition, {Piece{std::nullopt, payload}}, now);
}

Result<uint64_t> SpooledProducer::append_large(uint32_t partition, std::string_view payload,
                                               Now now) {
  if (payload.size() > kThingBytesMax) {
    ++core_.counters().append_refused;
    return Error{Errc::kBadInput, "a thing of " + std::to_string(payload.size()) +
                                      " bytes: at most " + std::to_string(kThingBytesMax) +
                                      " are carried in parts"};
  }
  if (payload.size() <= kPartBytes) return append(partition, payload, now);
  std::vector<Piece> pieces;
  for (const PartView& part : split(payload, options_.new_epoch())) {
    pieces.push_back({part.info, part.bytes});
  }
  return write(partition, pieces, now);
}

Result<uint64_t> SpooledProducer::write(uint32_t partition, const std::vector<Piece>& pieces,
                                        Now now) {
  uint64_t bytes = 0;
  for (const Piece& piece : pieces) {
    bytes += encoded_record_bytes(piece.bytes.size(), piece.part.has_value());
  }
  if (partition >= kPartitions || bytes > options_.core.bytes_max / 4) {
    ++core_.counters().append_refused;
    return Error{
        Errc::kBadInput,
        partition >= kPartitions
            ? "partition " + std::to_string(partition) + " of " + std::to_string(kPartitions)
            : "a record of " + std::to_string(bytes) + " bytes for a spool of " +
                  std::to_string(options_.core.bytes_max)};
  }
  GEMA_ASSERT(!closed_);
  if (Result<void> room = make_room(bytes, now); !room) {
    core_.append_failed(false);
    return Error{Errc::kRetryable, room.error().message};
  }
  uint64_t seq = core_.next_seq(partition);
  std::vector<uint32_t> sizes;
  scratch_.clear();
  for (const Piece& piece : pieces) {
    size_t before = scratch_.size();
    encode_record({partition, seq + sizes.size(), now.wall, piece.part}, piece.bytes,
                  core_.active_crc(), scratch_);
    sizes.push_back(static_cast<uint32_t>(scratch_.size() - before));
  }
  if (Result<void> done = store_->append(core_.active_segment(), scratch_); !done) {
    core_.append_failed(done.error().code == Errc::kPermanent);
    return Error{Errc::kRetryable, done.error().message};
  }
  core_.appended(partition, sizes, now);
  for (const Piece& piece : pieces) {
    RecordMessage record{core_.current_epoch(),     partition, seq++,
                         core_.base_seq(partition), now.wall,  piece.part,
                         std::string(piece.bytes)};
    queue({StreamMessage::Kind::kLive, {}, std::move(record)});
  }
  return seq - 1;
}

// An epoch to append to, space within the byte bound, and a segment with room.
Result<void> SpooledProducer::make_room(uint64_t bytes, Now now) {
  if (std::optional<EpochReason> reason = core_.epoch_needed()) {
    if (Result<void> done = begin_epoch(*reason, now); !done) return done;
  }
  bool roll = core_.needs_segment(bytes);
  if (roll) bytes += kSegmentHeaderBytes;
  while (std::optional<uint64_t> front = core_.must_drop_for(bytes)) drop_front(*front, true);
  if (!roll) return {};
  SegmentHeader header = core_.next_header(now);
  EncodedHeader encoded = encode_header(header);
  if (Result<void> done = store_->create(header.number, encoded.bytes); !done) return done;
  core_.segment_created(header, encoded.crc);
  return {};
}

void SpooledProducer::drop_front(uint64_t number, bool dropped) {
  core_.front_removed(dropped);
  if (!core_.meta_stale()) return remove(number);
  // The meta file says what was dropped. It must be durable before the records go, or a power cut
  // could take both, and nobody would ever hear of them.
  write_meta();
  core_.ask_sync(last_tick_);
  removals_.push_back(number);
  while (removals_.size() > kRemovalsMax) {
    remove(removals_.front());
    removals_.pop_front();
  }
}

// A file that cannot be removed is forgotten all the same: should it still be there after a
// restart, its records are held once more, which harms nobody.
void SpooledProducer::remove(uint64_t number) {
  if (Result<void> done = store_->remove(number); !done) ++core_.counters().store_failures;
}

Result<void> SpooledProducer::begin_epoch(EpochReason reason, Now now) {
  core_.need_epoch(reason);
  while (core_.epochs_full()) {
    size_t before = core_.epochs().size();
    while (core_.front_epoch_has_segments() && core_.segments().size() > 1 &&
           core_.epochs().size() == before) {
      drop_front(core_.segments().front().number, true);
    }
    if (core_.epochs().size() < before) continue;
    if (core_.front_epoch_has_segments()) break;
    core_.forget_front_epoch();
  }
  while (std::optional<uint64_t> front = core_.must_drop_for(kSegmentHeaderBytes)) {
    drop_front(*front, true);
  }
  SegmentHeader header = core_.next_header(options_.new_epoch(), reason, now);
  EncodedHeader encoded = encode_header(header);
  if (Result<void> done = store_->create(header.number, encoded.bytes); !done) {
    epoch_retry_at_ = now.mono + kRetryEvery;
    return Error{Errc::kRetryable, done.error().message};
  }
  core_.segment_created(header, encoded.crc);
  epoch_retry_at_.reset();
  // Before the first record of the epoch everyone hears of it.
  if (std::optional<TipMessage> tip = core_.take_tip(now)) {
    queue({StreamMessage::Kind::kTip, {}, std::move(*tip)});
  }
  return {};
}

void SpooledProducer::queue(StreamMessage message) {
  auto bytes = [](const StreamMessage& m) {
    const auto* record = std::get_if<RecordMessage>(&m.body);
    return record == nullptr ? 0 : record->payload.size();
  };
  queue_bytes_ += bytes(message);
  queue_.push_back(std::move(message));
  while (queue_.size() > kLiveQueueMax || queue_bytes_ > kLiveQueueBytesMax) {
    queue_bytes_ -= bytes(queue_.front());
    queue_.pop_front();
    ++core_.counters().live_skipped;
  }
}

// --- time ----------------------------------------------------------------------------------------

void SpooledProducer::tick(Now now) {
  if (closed_) return;
  last_tick_ = now;
  if (sync_running_) {
    if (std::optional<Result<void>> result = store_->sync_result()) {
      sync_running_ = false;
      core_.on_synced(result->has_value(), now);
      if (!*result) write_meta();
      for (; removals_synced_ > 0 && !removals_.empty(); --removals_synced_) {
        remove(removals_.front());
        removals_.pop_front();
      }
    }
  }
  if (std::optional<EpochReason> reason = core_.epoch_needed()) {
    if (!epoch_retry_at_ || now.mono >= *epoch_retry_at_) {
      if (Result<void> done = begin_epoch(*reason, now); !done) ++core_.counters().store_failures;
    }
  }
  if (core_.sync_due(now)) {
    store_->begin_sync(core_.take_dirty(now));
    sync_running_ = true;
    removals_synced_ = removals_.size();
  }
  while (std::optional<uint64_t> front = core_.may_release(now)) drop_front(*front, false);
  if (core_.meta_stale() && (!meta_retry_at_ || now.mono >= *meta_retry_at_)) {
    meta_retry_at_ = now.mono + kRetryEvery;
    write_meta();
  }
}

void SpooledProducer::write_meta() {
  std::string boot_id = core_.epoch_needed() ? std::string() : options_.boot_id;
  if (Result<void> done = store_->write_meta(encode_meta(core_.meta(false, boot_id)), false);
      !done) {
    ++core_.counters().store_failures;
    core_.set_meta_stale();
  }
}

std::optional<MonoTime> SpooledProducer::next_wakeup() const {
  if (closed_) return std::nullopt;
  if (!queue_.empty()) return MonoTime{};
  std::optional<MonoTime> at = core_.next_wakeup();
  auto sooner = [&](MonoTime t) { at = at ? std::min(*at, t) : t; };
  if (sync_running_) sooner(last_take_ + kSyncPollEvery);
  if (core_.epoch_needed()) sooner(epoch_retry_at_.value_or(MonoTime{}));
  return at;
}

void SpooledProducer::take_messages(Now now, std::vector<StreamMessage>& out) {
  last_take_ = now.mono;
  for (StreamMessage& message : queue_) out.push_back(std::move(message));
  queue_.clear();
  queue_bytes_ = 0;
  if (closed_) return;
  if (std::optional<TipMessage> tip = core_.take_tip(now)) {
    out.push_back({StreamMessage::Kind::kTip, {}, std::move(*tip)});
  }
  for (const ProducerCore::Replay& replay : core_.take_replays(now)) {
    std::optional<RecordMessage> record = read_record(replay);
    if (!record) {
      core_.unreadable(replay);
      continue;
    }
    ++core_.counters().replayed;
    out.push_back(
        {StreamMessage::Kind::kReplay, core_.group_name(replay.group), std::move(*record)});
  }
  for (auto& [group, lost] : core_.take_lost()) {
    out.push_back({StreamMessage::Kind::kLost, core_.group_name(group), std::move(lost)});
  }
}

std::optional<RecordMessage> SpooledProducer::read_record(const ProducerCore::Replay& replay) {
  Result<std::string> bytes = store_->read(replay.segment, replay.offset, replay.bytes);
  if (!bytes) return std::nullopt;
  std::optional<RecordView> view = decode_record(*bytes, replay.crc);
  if (!view || view->fields.seq != replay.seq || view->fields.partition != replay.partition) {
    return std::nullopt;
  }
  return RecordMessage{replay.epoch,
                       replay.partition,
                       replay.seq,
                       replay.base_seq,
                       view->fields.produced_at,
                       view->fields.part,
                       std::string(view->payload)};
}

Result<void> SpooledProducer::close_cleanly(Now now) {
  if (closed_) return {};
  closed_ = true;
  std::vector<uint64_t> all = core_.take_dirty(now);
  all.push_back(core_.active_segment());
  Result<void> synced = store_->sync_now(std::move(all));
  bool clean = synced.has_value() && !core_.epoch_needed();
  SpoolMeta meta = core_.meta(clean, clean ? options_.boot_id : std::string());
  if (Result<void> done = store_->write_meta(encode_meta(meta), true); !done) return done;
  for (uint64_t number : removals_) remove(number);
  removals_.clear();
  return synced;
}

bool SpooledProducer::synced(const PositionSet& covered) const {
  for (const auto& [key, position] : covered) {
    if (key.producer != options_.name) continue;
    if (!core_.synced(key.epoch, key.partition, position.cumulative)) return false;
  }
  return true;
}

// --- the owner's own records ---------------------------------------------------------------------

PositionSet SpooledProducer::own_positions() const {
  PositionSet set;
  uint64_t order = 0;
  for (const EpochMeta& epoch : core_.epochs()) {
    ++order;
    for (uint32_t p = 0; p < kPartitions; ++p) {
      set.set({options_.name, epoch.epoch, p}, {epoch.last[p], epoch.last[p], {}, order, false});
    }
  }
  return set;
}

void SpooledProducer::release(const PositionSet& covered) {
  for (const auto& [key, position] : covered) {
    if (key.producer == options_.name) core_.release(key.epoch, key.partition, position.cumulative);
  }
}

Result<void> SpooledProducer::read_after(const PositionSet& covered,
                                         const std::function<bool(const Spooled&)>& each) {
  for (const ProducerCore::SegmentRef& segment : core_.segments()) {
    Result<std::string> bytes = store_->read_all(segment.number);
    if (!bytes) return bytes.error();
    Result<SegmentScan> scan = scan_segment(*bytes);
    if (!scan) return scan.error();
    for (const ScannedRecord& record : scan->records) {
      RecordKey key{options_.name, segment.epoch, record.partition, record.seq};
      if (covered.covers(key)) continue;
      std::optional<RecordView> view = decode_record(
          std::string_view(*bytes).substr(record.offset, record.bytes), scan->header_crc);
      GEMA_ASSERT(view.has_value());
      if (!each({key, view->fields.produced_at, view->fields.part, view->payload})) return {};
    }
  }
  return {};
}

Result<void> SpooledProducer::read_back(uint32_t partition,
                                        const std::function<bool(const Spooled&)>& each) {
  GEMA_ASSERT(partition < kPartitions);
  for (size_t i = core_.segments().size(); i > 0; --i) {
    for (const ProducerCore::RecordRef& ref : core_.records_of(i - 1, partition)) {
      Result<std::string> bytes = store_->read(ref.segment, ref.offset, ref.bytes);
      if (!bytes) return bytes.error();
      std::optional<RecordView> view = decode_record(*bytes, ref.crc);
      if (!view) continue;
      RecordKey key{options_.name, ref.epoch, partition, ref.seq};
      if (!each({key, view->fields.produced_at, view->fields.part, view->payload})) return {};
    }
  }
  return {};
}

ProducerStats SpooledProducer::stats() const {
  ProducerStats stats;
  core_.fill(stats);
  return stats;
}

}  // namespace gema::stream
