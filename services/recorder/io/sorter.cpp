#include "services/recorder/io/sorter.h"

#include <algorithm>
#include <limits>

#include "common/codec/transition_codec.h"
#include "services/recorder/core/judge.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

// What a row costs beside its payload, about.
constexpr size_t kRowBytes = 128;

RecordRow row_of(stream::Delivery&& delivery) {
  return {.key = std::move(delivery.key),
          .produced_at_us = unix_us(delivery.produced_at),
          .payload = std::move(delivery.payload)};
}

class PingSorter : public Sorter {
 public:
  PingSorter(Duration retention, PingObserver observer)
      : retention_(retention), observer_(std::move(observer)) {}

 private:
  void take_record(stream::Delivery&& delivery, Now now, Batch& batch) override {
    if (auto decoded = decode_ping(delivery.payload, scratch_); !decoded) {
      quarantine(std::move(delivery), decoded.error().message, batch);
      return;
    }
    const Judgement judgement = judge(scratch_, delivery.key.partition, now.wall, retention_);
    if (judgement.fate == Fate::kQuarantine) {
      quarantine(std::move(delivery), judgement.reason, batch);
      return;
    }
    spans_.note(delivery.key.producer, delivery.key.epoch, delivery.key.partition, delivery.key.seq,
                judgement.oldest_ms, judgement.newest_ms);
    // Told at once even when the results must wait: they are facts of their own.
    for (const AddressChange& change : scratch_.address_changes) {
      ++counts_.address_changes;
      batch.address_changes.push_back({delivery.key.producer, scratch_.location, change});
    }
    if (judgement.fate == Fate::kDiscard) {
      counts_.discarded_results += scratch_.size();
      return;
    }
    if (judgement.fate == Fate::kSetAside) {
      set_aside(std::move(delivery), judgement.newest_ms, batch);
      return;
    }
    counts_.results += scratch_.size();
    counts_.newest_ms = std::max(counts_.newest_ms, judgement.newest_ms);
    if (observer_) observer_(scratch_, now);
    RecordRow row = row_of(std::move(delivery));
    row.results = static_cast<uint32_t>(scratch_.size());
    batch.records.push_back(std::move(row));
  }

  void set_aside(stream::Delivery&& delivery, int64_t newest_ms, Batch& batch) {
    if (set_aside_ >= kSetAsideMax) {
      quarantine(std::move(delivery), "slots in the future, and the set-aside table is full",
                 batch);
      return;
    }
    ++set_aside_;
    ++counts_.set_aside;
    RecordRow row = row_of(std::move(delivery));
    row.newest_ms = newest_ms;
    batch.set_aside.push_back(std::move(row));
  }

  const Duration retention_;
  const PingObserver observer_;
  PingResults scratch_;
};

class TransitionSorter : public Sorter {
  void take_record(stream::Delivery&& delivery, Now, Batch& batch) override {
    auto transition = decode_transition(delivery.payload);
    if (!transition) {
      quarantine(std::move(delivery), transition.error().message, batch);
      return;
    }
    constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
    if (transition->device > kMax || transition->state.transition_counter > kMax) {
      quarantine(std::move(delivery), "a device id or counter is out of range", batch);
      return;
    }
    if (transition->slot_ms < 0 || transition->slot_ms > kTimeMaxMs) {
      quarantine(std::move(delivery), "a transition's slot is no time", batch);
      return;
    }
    TransitionRow row{.id = transition->id,
                      .device = transition->device,
                      .counter = transition->state.transition_counter,
                      .from = static_cast<uint8_t>(transition->from),
                      .to = static_cast<uint8_t>(transition->to),
                      .reason = static_cast<uint8_t>(transition->reason),
                      .slot_ms = transition->slot_ms,
                      .decided_at_us = unix_us(transition->decided_at)};
    encode_state(transition->state, row.state);
    counts_.newest_ms = std::max(counts_.newest_ms, transition->slot_ms);
    ++counts_.results;
    batch.transitions.push_back(std::move(row));
  }
};

}  // namespace

void Sorter::quarantine(stream::Delivery&& delivery, std::string reason, Batch& batch) {
  ++counts_.quarantined;
  RecordRow row = row_of(std::move(delivery));
  row.reason = std::move(reason);
  batch.quarantined.push_back(std::move(row));
}

size_t Sorter::take(stream::Delivery&& delivery, Now now, Batch& batch) {
  const size_t bytes = kRowBytes + delivery.payload.size();
  const stream::RecordKey& key = delivery.key;
  switch (delivery.kind) {
    case stream::Delivery::kRecord:
      ++counts_.records;
      take_record(std::move(delivery), now, batch);
      break;
    case stream::Delivery::kGap:
      ++counts_.gaps;
      counts_.gap_records += delivery.gap.size();
      batch.gaps.push_back({key, delivery.gap,
                            spans_.around(key.producer, key.epoch, key.partition,
                                          delivery.gap.first, delivery.gap.last),
                            stream::to_string(delivery.gap_reason)});
      break;
    case stream::Delivery::kEpochStarted:
      batch.epochs.push_back(
          {key.producer, key.epoch, delivery.predecessor, delivery.epoch_reason});
      break;
    case stream::Delivery::kEpochClosed:
      spans_.forget(key.producer, key.epoch, key.partition);
      break;
  }
  return bytes;
}

std::unique_ptr<Sorter> make_ping_sorter(Duration retention, PingObserver observer) {
  return std::make_unique<PingSorter>(retention, std::move(observer));
}

std::unique_ptr<Sorter> make_transition_sorter() {
  return std::make_unique<TransitionSorter>();
}

}  // namespace gema::recorder
