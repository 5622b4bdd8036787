#include "services/recorder/io/sorter.h"

#include <algorithm>

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
      quarantine(row_of(std::move(delivery)), decoded.error().message, batch);
      return;
    }
    const Judgement judgement = judge(scratch_, delivery.key.partition, now.wall, retention_);
    if (judgement.fate == Fate::kQuarantine) {
      quarantine(row_of(std::move(delivery)), judgement.reason, batch);
      return;
    }
    spans_.note(delivery.key.producer, delivery.key.epoch, delivery.key.partition, delivery.key.seq,
                judgement.oldest_ms, judgement.newest_ms);
    // Told at once even when the results must wait: they are facts of their own.
    for (const AddressChange& change : scratch_.address_changes) {
      ++counts_.address_changes;
      batch.address_changes.push_back({delivery.key, scratch_.location, change});
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
      quarantine(row_of(std::move(delivery)),
                 "slots in the future, and the set-aside table is full", batch);
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
    RecordRow record = row_of(std::move(delivery));
    auto row = transition_of(record);
    if (!row) {
      quarantine(std::move(record), row.error().message, batch);
      return;
    }
    counts_.newest_ms = std::max(counts_.newest_ms, row->slot_ms);
    ++counts_.results;
    batch.transitions.push_back(std::move(*row));
  }
};

}  // namespace

void Sorter::quarantine(RecordRow row, std::string reason, Batch& batch) {
  ++counts_.quarantined;
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
