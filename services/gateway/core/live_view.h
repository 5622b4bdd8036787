// What is true right now, from what the bus says: current status, latest result and consecutive
// timeouts of every device, rates, processes. Works without PostgreSQL.
//
// In: the catalogue, ping results, transitions, snapshots of the tracker, heartbeats; `now`.
// Out: a copy of itself for whoever asks (view()), rows that changed since the last frame of
// events, and whether a snapshot should be asked for. It will not: decide statuses (the tracker
// does), read history, do I/O.
//
// Between transitions it counts consecutive timeouts as the tracker does (answered = 0, failed =
// one more, not measured and late slots change nothing); every transition and snapshot corrects it.
//
// An observer does not get what it missed. After a gap (and at the start, and when devices were
// added) a snapshot is asked for; results that come meanwhile are applied and kept, and applied
// again on top of the snapshot. A snapshot that lacks results that were missed, or some from before
// the kept ones, is asked for again.
//
// Pure; one thread (the shell guards it with a mutex, io/shared_view.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "common/base/time.h"
#include "common/domain/catalogue.h"
#include "common/domain/on_demand.h"
#include "common/domain/ping.h"
#include "common/domain/transition.h"
#include "services/gateway/core/limits.h"
#include "services/gateway/core/result_text.h"

namespace gema::gateway {

// All *_ms are slots, Unix ms; 0 = there is none. Times of results are slots, not arrivals.
struct DeviceLive {
  DeviceStatus status = DeviceStatus::kNew;
  uint32_t consecutive_timeouts = 0;
  int64_t first_timeout_ms = 0;
  int64_t last_timeout_ms = 0;
  int64_t since_ms = 0;  // of the status
  int64_t last_success_ms = 0;
  uint64_t transition_counter = 0;

  // The last measured result. slot_ms 0: there was none.
  int64_t slot_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint16_t location = 0;  // index into View::names
  uint16_t prober = 0;
  uint32_t rtt_us = 0;  // mean of its answered echoes
  uint32_t interval_ms = 0;
  // What else is known of it; null when that is nothing (one echo, answered), or when it came from
  // the tracker's snapshot (interval_ms is 0 then, too).
  std::shared_ptr<const ResultDetails> details;

  // The newest slot of any kind.
  int64_t newest_ms = 0;
  Verdict newest_verdict = Verdict::kNotMeasured;
  Reason newest_reason = Reason::kNone;
  uint16_t newest_text = 0;  // who paused; index into View::names

  bool measured() const { return slot_ms != 0; }
  bool online() const { return measured() && verdict == Verdict::kAnswered; }
};

struct Process {
  std::string name;
  std::string kind;
  std::string location;
  bool ready = false;
  bool paused = false;
  std::string paused_by;  // probers: whose pause is in force there
  std::vector<std::string> waiting_for;
  WallTime started_at{};
  MonoTime heard_at{};
  Version catalogue;
  Version assignment;

  bool alive(Now now) const { return now.mono - heard_at <= kProcessDeadAfter; }
};

// Every device is in exactly one of answered, failed, not_measured: by its newest slot, where a
// device whose newest slot is too old (3 intervals) was not measured.
struct Counts {
  uint64_t devices = 0;
  uint64_t answered = 0;
  uint64_t failed = 0;
  uint64_t not_measured = 0;
  uint64_t silent = 0;    // Down or Unknown, as the tracker decided
  uint64_t timeouts = 0;  // devices whose last measured check failed (consecutive_timeouts > 0)
  uint64_t online = 0;    // by the last measured result
  uint64_t offline = 0;

  friend bool operator==(const Counts&, const Counts&) = default;
};

// Round trips of the devices that answer now, each by its newest result. All 0 when none does.
struct RoundTrips {
  uint32_t min_us = 0;
  uint32_t median_us = 0;  // the lower one of an even number
  uint32_t max_us = 0;

  friend bool operator==(const RoundTrips&, const RoundTrips&) = default;
};

struct Rates {
  double results_per_second = 0;
  uint32_t lag_max_us = 0;  // worst delay between due and sent that a prober reported
};

// A transition with what people want to read beside it.
struct RecentTransition {
  DeviceId device = 0;
  DeviceStatus from{};
  DeviceStatus to{};
  TransitionReason reason{};
  int64_t slot_ms = 0;
  WallTime decided_at{};
  uint32_t consecutive_timeouts = 0;
};

// What a prober says of itself with its results. The numbers are the worst of the last few seconds.
struct ProberTrust {
  std::string name;
  std::string location;
  Suspicion suspicion = Suspicion::kNone;
  WallTime since{};  // of the suspicion, or of its end; the epoch: never suspect
  ProberHealth health;
};

// A device that is given by name has got another address.
struct RecentAddressChange {
  AddressChange change;
  std::string location;
  std::string prober;
};

// A tracker's answer, as the core needs it (io/ converts).
struct Snapshot {
  struct Position {
    std::string producer;
    uint64_t epoch = 0;
    uint32_t partition = 0;
    uint64_t seq = 0;
  };
  std::vector<DeviceState> states;
  std::vector<Position> positions;
  bool timeout_tracking_enabled = true;
  uint32_t critical_threshold = 5;
  std::string timeouts_file;  // where timeout_tracking.csv is; "" = it is not written
};

// Which record results came in.
struct RecordId {
  std::string producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t seq = 0;
};

// A copy that stays as it is. live[i] belongs to catalogue->devices[i].
struct View {
  Now at{};
  std::shared_ptr<const Catalogue> catalogue;  // null: not heard of yet
  std::vector<DeviceLive> live;
  std::vector<std::string> names;
  bool tracker_loaded = false;  // a snapshot was taken: statuses and timeout counts are true
  bool tracking_enabled = true;
  uint32_t critical_threshold = 5;
  std::string timeouts_file;
  uint64_t catalogue_changes = 0;
  WallTime catalogue_heard_at{};
  std::optional<WallTime> newest_record_at;  // when the newest record was made
  Rates rates;
  std::optional<Probing> probing;            // none: inventory was not heard yet
  std::vector<Process> processes;            // by name
  std::vector<ProberTrust> probers;          // by name, those whose results were heard
  std::deque<RecentTransition> transitions;  // oldest first

  // The index of a device, or nullopt.
  std::optional<size_t> find(DeviceId device) const;
  Counts counts() const;
  RoundTrips round_trips() const;
};

struct LiveViewStats {
  uint64_t results = 0;
  uint64_t late_slots = 0;       // at or before the newest: nothing changed
  uint64_t unknown_devices = 0;  // results of devices that the catalogue does not name
  uint64_t future_records = 0;   // refused: slots more than 10 s ahead of our clock
  uint64_t gaps = 0;
  uint64_t snapshots = 0;
  uint64_t snapshots_unaligned = 0;
  uint64_t buffer_overflows = 0;
  uint64_t processes_refused = 0;
  uint64_t probers_refused = 0;
  uint64_t buffered_results = 0;  // now
};

class LiveView {
 public:
  // Takes catalogues that are newer than the one held. Returns whether it did.
  bool on_catalogue(Catalogue catalogue, Now now);
  // One device changed by a call of ours: shown at once, until the next catalogue says the same.
  void on_device_changed(const Device& device);
  void on_device_deleted(DeviceId device);

  void on_results(const RecordId& record, const PingResults& results, WallTime produced_at,
                  Now now);
  void on_transition(const Transition& transition, Now now);
  // Results up to this record were missed; nullopt: transitions were.
  void on_gap(const std::optional<RecordId>& last_missed, Now now);
  // A producer, or an epoch of one, was heard for the first time: what came before is not known.
  void on_stream_began(Now now);
  void on_heartbeat(Process process);
  // Inventory's word, by heartbeat or as an answer.
  void on_probing(const Probing& probing) { probing_ = probing; }

  // True when the shell should ask the tracker for a snapshot now; each true is followed by
  // on_snapshot or on_snapshot_failed.
  bool take_snapshot_request(Now now);
  void on_snapshot(const Snapshot& snapshot, Now now);
  void on_snapshot_failed(Now now);
  std::optional<MonoTime> next_wakeup() const;

  View view(Now now) const;
  // null: not heard of yet
  std::shared_ptr<const Catalogue> catalogue() const { return catalogue_; }
  const LiveViewStats& stats() const { return stats_; }
  // When the newest record was made.
  std::optional<WallTime> newest_record_at() const { return newest_record_at_; }

  // Devices whose measured result changed since the last call, oldest first, no device twice.
  std::vector<DeviceId> take_recent_results();
  std::vector<RecentTransition> take_new_transitions();
  std::vector<RecentAddressChange> take_new_address_changes();
  // Probers that began or ceased to trust themselves.
  std::vector<ProberTrust> take_new_trust(Now now);

 private:
  struct Prober {
    std::string location;
    Suspicion suspicion = Suspicion::kNone;  // the last one
    std::optional<MonoTime> suspected_at;    // when it was last said
    WallTime since{};                        // when it was first said, or had ceased
    Suspicion told = Suspicion::kNone;       // by take_new_trust
    int64_t second = 0;
    ProberHealth worst;   // of `second`
    ProberHealth before;  // of the second before it

    Suspicion now(MonoTime now) const;
  };
  struct Buffered {
    RecordId record;
    PingResults results;
  };

  std::optional<size_t> index_of(DeviceId device) const;
  void apply(const RecordId& record, const PingResults& results);
  void apply_one(DeviceLive& live, const PingResults& results, size_t i, uint32_t rtt_us,
                 uint16_t location, uint16_t prober);
  void take_state(DeviceLive& live, const DeviceState& state);
  void apply_stray(const Stray& stray, uint16_t prober);
  void take_health(const std::string& prober, const PingResults& results, Now now);
  ProberTrust trust(const std::string& name, const Prober& prober, Now now) const;
  void set_devices(std::shared_ptr<const Catalogue> catalogue);
  bool aligned(const Snapshot& snapshot) const;
  uint16_t name(const std::string& text);
  void begin_anew(MonoTime now);
  void want_snapshot(MonoTime at);
  void count_rate(size_t results, uint32_t lag_us, Now now);

  std::shared_ptr<const Catalogue> catalogue_;
  uint64_t catalogue_changes_ = 0;
  WallTime catalogue_heard_at_{};
  std::vector<DeviceLive> live_;  // as many as the catalogue has devices
  std::vector<std::string> names_{std::string()};
  std::map<std::string, uint16_t> name_numbers_;
  std::map<std::string, Process> processes_;
  std::map<std::string, Prober> probers_;                 // at most kProbersMax
  std::vector<RecentAddressChange> new_address_changes_;  // at most kAddressChangesMax
  std::optional<WallTime> newest_record_at_;
  std::optional<Probing> probing_;

  // Snapshot.
  bool tracker_loaded_ = false;
  bool tracking_enabled_ = true;
  uint32_t critical_threshold_ = 5;
  std::string timeouts_file_;
  WallTime tracker_started_at_{};  // the one heard last; the epoch: none was
  bool in_flight_ = false;
  bool gap_while_in_flight_ = false;
  bool buffering_ = true;  // from the first record on: nothing is loaded yet
  int unaligned_ = 0;      // in a row
  std::optional<MonoTime> snapshot_due_;
  using StreamKey = std::tuple<std::string, uint64_t, uint32_t>;  // producer, epoch, partition
  std::map<StreamKey, uint64_t> missed_;  // the last seq missed: a snapshot must include it
  std::vector<Buffered> buffer_;  // at most kBufferedResultsMax results, then all are let go
  size_t buffered_results_ = 0;

  // Rates: one bucket a second.
  struct Second {
    int64_t second = 0;
    uint64_t results = 0;
    uint32_t lag_max_us = 0;
  };
  std::deque<Second> seconds_;  // at most kRateSeconds + 1
  std::optional<int64_t> first_second_;

  std::deque<RecentTransition> transitions_;       // at most kRecentTransitionsMax
  std::vector<RecentTransition> new_transitions_;  // ditto, between two takes
  std::deque<DeviceId> recent_;                    // at most kRecentResultsMax
  LiveViewStats stats_;
};

}  // namespace gema::gateway
