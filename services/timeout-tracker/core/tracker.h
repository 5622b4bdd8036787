// What the timeout-tracker knows and decides: states of all devices, from the records of all
// probers in order. Pure; the shell brings records, catalogue, `now` and the checkpoint.
//
// In: batches of results with the record they came in. Out: transitions, appended to a vector that
// the caller owns. Nothing is allocated per result.
//
// What it will not do: order or deduplicate records (common/stream does), store anything, decide
// what a person is told.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/time.h"
#include "common/domain/ping.h"
#include "common/domain/transition.h"
#include "services/timeout-tracker/core/device_table.h"
#include "services/timeout-tracker/core/timeouts_csv.h"

namespace gema::timeout_tracker {

// Where a batch came from.
struct RecordRef {
  std::string_view producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t seq = 0;
};

// What became of the results of one record.
struct BatchCounts {
  uint32_t counted = 0;
  uint32_t late = 0;  // slot at or before the last decided one
  uint32_t not_measured = 0;
  uint32_t unnamed = 0;            // device not in the catalogue
  uint32_t replayed = 0;           // already contained in a transition read back after a crash
  uint32_t impossible = 0;         // the record was refused: a slot or device that cannot be in it
  uint32_t set_aside = 0;          // the record waits for its time
  uint32_t set_aside_dropped = 0;  // the record, or older ones, did not fit the bound
  int64_t newest_slot_ms = 0;      // of the counted ones

  friend bool operator==(const BatchCounts&, const BatchCounts&) = default;
};

// A device whose state already contains records that the input has yet to bring again: those before
// `cause` (see Tracker::overlay).
struct Guarded {
  DeviceId device = 0;
  Cause cause;
  bool ahead = false;

  friend bool operator==(const Guarded&, const Guarded&) = default;
};

// States as they were at one instant, cheap to copy out of the loop; the worker makes
// DeviceStates of them.
struct StatesCopy {
  std::vector<std::pair<DeviceId, State>> states;
  std::vector<std::string> names;
  std::vector<Guarded> guarded;  // all of them, always
};

class Tracker {
 public:
  // `first_counter`: where the transition counters of devices without a restored state begin. 0,
  // or after a rebuild that could not ask history a number no device can have reached.
  explicit Tracker(Policy policy, uint64_t first_counter = 0)
      : policy_(policy), first_counter_(first_counter) {}

  // --- catalogue ---
  // Names exactly `devices`. Returns: how many were refused at kDevicesMax. Without any catalogue
  // the shell takes no input.
  size_t set_catalogue(std::span<const DeviceId> devices);
  bool has_catalogue() const { return has_catalogue_; }

  // --- restart, in this order, before any record ---
  // A state of the checkpoint, or of a rebuild. Of two for one device the one with the higher
  // transition counter stays. `touch`: it differs from what the checkpoint holds.
  void restore(const DeviceState& state, bool touch);
  // One of our own transitions. If it is later than what is known of the device, the state is the
  // transition's from here on, and records of the cause's producer before the cause change nothing:
  // they are in it (slots alone would not tell across a clock step). `ahead`: the cause is known to
  // lie beyond the restored input positions, so an epoch that we have not met yet will bring it.
  void overlay(const Transition& transition, bool ahead);
  // A guard of the checkpoint: without it a second restart before the cause would forget it.
  void restore_guard(const Guarded& guarded);
  // Everything that this producer holds has been read: no cause is still to come.
  void on_caught_up(std::string_view producer);
  bool expects_causes() const { return !guards_.empty(); }
  // An epoch that the restored input positions contain: its records are not the first ones.
  void know_epoch(std::string_view producer, uint32_t partition, uint64_t epoch);

  // --- input ---
  BatchCounts on_record(const RecordRef& record, const PingResults& results, Now now,
                        std::vector<Transition>& out);
  // Before the records of an epoch; again after a restart does no harm.
  void on_epoch_started(const RecordRef& record, bool clock_step);
  // Takes in records whose time has come.
  BatchCounts tick(Now now, std::vector<Transition>& out);
  std::optional<MonoTime> next_wakeup(Now now) const;

  // A person resets the timeouts of these devices, or of all when empty. Returns: how many changed.
  uint32_t reset_timeouts(std::span<const DeviceId> devices, Now now, std::vector<Transition>& out);

  // --- checkpoint ---
  // Ends a generation: changes from here on belong to the next. Returns the one that ended.
  uint32_t end_generation() { return generation_++; }
  // States that changed in a generation after `after` (0 = all).
  StatesCopy changed_after(uint32_t after) const;

  // --- views ---
  std::vector<DeviceState> named_states() const;
  std::optional<DeviceState> state_of(DeviceId device) const;
  std::array<size_t, 4> devices_by_status() const;  // of named devices
  size_t devices_at_or_over(uint32_t timeouts) const;
  TimeoutRows timeouts() const;  // of named devices whose count is not 0, in no order
  size_t size() const { return table_.size(); }
  size_t set_aside_results() const { return set_aside_results_; }
  const Policy& policy() const { return policy_; }

 private:
  struct Stream {                    // of one producer and partition
    std::vector<uint64_t> restored;  // epochs that the checkpoint knew
    std::vector<uint64_t> begun;     // since then, oldest first; at most kEpochsPerStreamMax
    bool knows(uint64_t epoch) const;
  };
  using Streams = std::array<Stream, kPartitions>;
  // A record whose slots lie too far ahead.
  struct SetAside {
    Cause cause;
    PingResults results;
    int64_t newest_ms = 0;
  };

  void on_clock_step(const RecordRef& record, const Stream& stream);
  Stream& stream_of(const RecordRef& record);
  bool still_to_come(const Guarded& guard, const Stream& stream) const;
  bool contained(uint32_t index, const RecordRef& record, const Stream& stream);
  BatchCounts apply(const RecordRef& record, const PingResults& results, Now now,
                    std::vector<Transition>& out);
  BatchCounts set_aside(const RecordRef& record, const PingResults& results, int64_t newest_ms);
  std::optional<StatusChange> reset_timeouts_of(uint32_t index);
  void emit(uint32_t index, const StatusChange& change, int64_t slot_ms, const Cause& cause,
            Now now, std::vector<Transition>& out);

  Policy policy_;
  uint64_t first_counter_;
  DeviceTable table_;
  Names names_;
  bool has_catalogue_ = false;
  uint32_t generation_ = 1;
  std::map<std::string, Streams, std::less<>> streams_;  // by producer, at most kProducersMax
  // By device index; at most one a device, only after a restart.
  std::map<uint32_t, Guarded> guards_;
  std::deque<SetAside> set_aside_;  // at most kSetAsideResultsMax results; the oldest record goes
  size_t set_aside_results_ = 0;
};

}  // namespace gema::timeout_tracker
