// The prober's decisions: which echo to send now, what an answer means, when a check has failed,
// which slots were not measured and why.
//
// In: the assignment, time, what became of sends, answers. Out: echoes to send, results in slot
// order per device. It will not open sockets, read clocks, resolve names or remember anything
// across processes (catch_up.h says what a start must report).
//
// Life of a check: its slot falls due (start_due) -> its echoes go out, a spacing apart -> each is
// answered, refused or timed out -> enough answers: answered. Else it is confirmed: by a burst,
// while the device's own run of failed checks is below down_after, and at once by the device's
// proof of life, if it has one. Any answer to the burst: answered, lossy; a proof: answered;
// neither: failed. A check that could not be sent is not measured, with the reason. Results wait
// until all earlier slots of their device have theirs. What leaves while the prober suspects itself
// (engine_guard.cpp) and is not certain is not measured.
//
// Every Send taken from sends() must be reported by on_sent() before anything but on_answers() is
// called. Invariant: of every slot in (the device's start, scheduled_until_ms()] exactly one of
// these holds: it has left in a result, it is in the device's queue, it was counted in
// Stats::slots_dropped. Allocates only while tables grow. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/device.h"
#include "common/domain/ping.h"
#include "services/prober/core/address.h"
#include "services/prober/core/canaries.h"
#include "services/prober/core/limits.h"
#include "services/prober/core/schedule.h"
#include "services/prober/core/slot_clock.h"
#include "services/prober/core/suspect.h"
#include "services/prober/core/timer_wheel.h"

namespace gema::prober {

struct EngineConfig {
  uint32_t burst_count = 4;  // 0 = no bursts; at most kBurstCountMax
  Duration burst_spacing = 100ms;
  uint32_t checks_max = kChecksMax;
  SuspectLimits suspect;
};

// What to check. Within the limits of limits.h.
struct Target {
  DeviceId id = 0;
  Address address;  // unknown: a name not resolved yet
  uint32_t interval_ms = 5000;
  uint32_t timeout_ms = 3000;
  uint8_t echo_count = 1;
  uint8_t min_replies = 1;
  uint32_t echo_spacing_ms = kEchoSpacingMs;
  bool has_proof = false;  // it may prove otherwise that it lives: ProofWanted
};

// Not unspecified, broadcast, multicast or reserved; a device with such an address has none.
bool may_be_pinged(const Address& address);

// A check whose echoes failed, of a device that may prove otherwise that it lives. Always answered
// by a ProofDone, unless it is cancelled first (what comes then is ignored).
struct ProofWanted {
  uint32_t check = 0;
  uint32_t generation = 0;
  DeviceId device = 0;

  friend bool operator==(const ProofWanted&, const ProofWanted&) = default;
};

// Alive when one of the results is. ProofResult::index is the engine's to set.
struct ProofDone {
  uint32_t check = 0;
  uint32_t generation = 0;
  std::vector<ProofResult> results;
};

// Echoes that belong to no device and no slot, and never enter history: canaries, calls.
struct ProbeRequest {
  uint64_t id = 0;  // the caller's
  Address address;
  uint8_t count = 1;  // 1..kEchoCountMax
  uint32_t timeout_ms = 1000;
  uint32_t spacing_ms = 100;
};

struct ProbeOutcome {
  uint64_t id = 0;
  std::vector<EchoOutcome> outcomes;  // one an echo
  std::vector<uint32_t> rtt_us;       // one an echo; 0 = no reply
  std::vector<EchoNote> notes;        // index is 0
};

struct Send {
  uint32_t check = 0;
  uint32_t generation = 0;
  uint8_t ordinal = 0;  // of the check's echoes, burst included
  bool burst = false;
  uint32_t timeout_ms = 0;
  Address destination;
};

enum class SendStatus : uint8_t {
  kSent,
  kBusy,      // the kernel has no room just now; tried again, at most kBusyTriesMax times
  kRefused,   // the kernel will not
  kNoFamily,  // there is no socket for this address family
  kUntimed,   // sent, but nobody knows when: this process stood still meanwhile
};

struct Sent {
  uint32_t check = 0;
  uint32_t generation = 0;
  uint8_t ordinal = 0;
  SendStatus status = SendStatus::kSent;
  MonoTime at;
  int error = 0;  // not sent: the kernel's errno
};

// A packet that io/ has recognised as an answer to an echo of this process.
struct Answer {
  uint32_t check = 0;
  bool exact = true;        // generation and ordinal are known and authentic
  uint32_t generation = 0;  // exact
  uint8_t ordinal = 0;      // exact
  bool burst = false;       // exact
  EchoOutcome outcome = EchoOutcome::kReply;
  MonoTime at;          // received by the kernel
  MonoTime sent;        // exact: when the echo was written
  Duration timeout{};   // exact
  Address destination;  // not exact: where the quoted echo was sent
  // errors: what was said, and by whom
  uint8_t icmp_type = 0;
  uint8_t icmp_code = 0;
  IpAddress from;
};

// Slots of one device that nobody measured: `count` of them, one interval apart.
struct MissedRun {
  DeviceId device = 0;
  uint32_t interval_ms = 0;
  int64_t first_due_ms = 0;
  uint32_t count = 0;
  Reason reason = Reason::kNotRunning;

  friend bool operator==(const MissedRun&, const MissedRun&) = default;
};

// A schedule that ended while slots of it were unfinished: what a start after a crash must still
// account for.
struct Leaving {
  DeviceId device = 0;
  uint32_t interval_ms = 0;
  int64_t since_ms = 0;
  int64_t until_ms = 0;  // the last slot at or before this is the last one
};

inline constexpr std::array<uint32_t, 12> kLagBucketsUs = {
    100, 250, 500, 1000, 2000, 4000, 8000, 16'000, 50'000, 100'000, 500'000, 2'000'000};

struct Stats {
  uint64_t sent = 0;
  uint64_t replies = 0;
  uint64_t timeouts = 0;
  uint64_t unreachable = 0;
  uint64_t time_exceeded = 0;
  uint64_t late_replies = 0;  // after their timeout
  uint64_t duplicates = 0;
  uint64_t surplus = 0;  // answers to a burst that an earlier answer had ended
  uint64_t foreign = 0;  // to no check of ours
  uint64_t send_errors = 0;
  uint64_t busy = 0;
  uint64_t bursts = 0;
  uint64_t answered = 0, failed = 0, not_measured = 0;  // results
  std::array<uint64_t, kReasonMax + 1> not_measured_by_reason{};
  uint64_t slots_late = 0;       // measured, but sent more than interval/10 after due
  uint64_t slots_missed = 0;     // not measured: late or queue full
  uint64_t slots_dropped = 0;    // not even that could be noted
  uint64_t strays = 0;           // answers told after their result
  uint64_t strays_dropped = 0;   // beyond kStraysPerFlush
  uint64_t changes_dropped = 0;  // of addresses: beyond kAddressChangesMax
  uint64_t notes_dropped = 0;    // beyond kNotesPerCheckMax
  uint64_t proofs_wanted = 0, proofs_alive = 0, proofs_not_tried = 0;
  uint64_t probes = 0, probes_refused = 0;
  uint64_t holds = 0;  // verdicts held while canaries were asked
  uint64_t canaries_forgotten = 0;
  uint64_t lag_us_sum = 0;
  std::array<uint64_t, kLagBucketsUs.size() + 1> lag{};  // per bucket; the last is beyond
};

struct AssignChange {
  uint32_t added = 0, removed = 0, changed = 0;
};

class Engine {
 public:
  // The first slots are those after `now`. `clock` must outlive the engine.
  Engine(EngineConfig config, const SlotClock& clock, MonoTime now);

  // --- what to check ---
  // Replaces the assignment. Requires: ascending ids, within limits. A new device's, or a changed
  // interval's, first slot is the first after scheduled_until_ms(). Checks in flight end as begun.
  AssignChange assign(std::span<const Target> targets, uint32_t down_after);
  // A name was resolved. Checks in flight keep the address they began with, and send no more.
  void set_address(DeviceId device, const Address& given);
  // Whose silence says that it is us (engine_guard.cpp). At most kCanariesMax.
  void set_canaries(std::span<const Address> addresses) { canaries_.assign(addresses); }
  // Moves the first slots to those after `now`: reading all this took its time, and what fell due
  // meanwhile would be sent in one burst. Before add_missed() and the first start_due().
  void begin_at(MonoTime now) { schedule_.restart(clock_.slot_ms(now)); }
  // What a start has to report; before the first start_due().
  void add_missed(std::span<const MissedRun> runs);
  // When this prober's duty for the device began; 0 when unknown.
  int64_t since_ms(DeviceId device) const;
  // Restores it after a start. Requires: the device is assigned.
  void set_since_ms(DeviceId device, int64_t since_ms);
  // Unfinished schedules that ended; forgets those whose slots all left (until <= done_until).
  const std::vector<Leaving>& leaving(int64_t done_until_ms);
  // Restores one after a start; what it owes comes by add_missed().
  void add_leaving(const Leaving& leaving) { leaving_.push_back(leaving); }
  uint32_t devices() const { return active_; }
  // Unknown when the device is not assigned, or its name not resolved.
  Address address_of(DeviceId device) const;

  // --- what happens ---
  void start_due(MonoTime now);
  void expire(MonoTime now);
  void on_sent(std::span<const Sent> sent);
  void on_answers(std::span<const Answer> answers, MonoTime now);
  // Proofs of life: asked for, not needed any more (both to be cleared by the caller), answered.
  std::vector<ProofWanted>& proofs_wanted() { return proofs_wanted_; }
  std::vector<ProofWanted>& proofs_cancelled() { return proofs_cancelled_; }
  void on_proofs(std::span<const ProofDone> done, MonoTime now);
  // False when kProbesMax are in flight, or the address is unknown. Otherwise take_probes() gives
  // its outcome once.
  bool probe(const ProbeRequest& request, MonoTime now);
  void take_probes(const std::function<void(const ProbeOutcome&)>& take);
  bool has_probes() const { return !probes_done_.empty(); }
  // From now on slots are not measured: paused, by whom; what is in flight ends as begun. Again
  // with another name: the later slots' note says the other.
  void pause(const std::string& by);
  void resume() { paused_by_.clear(); }
  bool paused() const { return !paused_by_.empty(); }
  const std::string& paused_by() const { return paused_by_; }
  // The process did not run for a while: proofs that fail now have not failed.
  void on_stall();
  // Replies that the kernel dropped unread, in all.
  void on_socket_drops(uint64_t total) { drops_ = total; }
  // The wall clock jumped: what is in flight is not measured.
  void on_wall_step();
  // Slot time jumped (the clock says so already): what is in flight is not measured; slots that a
  // jump forward passed over are missed; a jump back begins at the slots after the new now.
  void on_clock_step(MonoTime now);
  // Echoes to send now, in order; to be cleared by the caller after on_sent().
  std::vector<Send>& sends() { return sends_; }
  std::optional<MonoTime> next_wakeup() const;

  // --- what came out ---
  // Adds missed slots to the results, at most `budget`. Returns how many.
  uint32_t release_missed(uint32_t budget);
  bool has_missed() const { return missed_head_ < missed_queue_.size(); }
  // Hands over each finished record (location and health are the caller's to set), then forgets it.
  void take_results(const std::function<void(uint32_t partition, PingResults&)>& take);
  bool has_results() const { return waiting_results_ > 0; }
  // Every slot up to here has left (taken or not) or will never be reported.
  int64_t done_until_ms() const;
  int64_t scheduled_until_ms() const { return schedule_.until_ms(); }
  const Stats& stats() const { return stats_; }
  Suspicion suspicion() const { return suspicion_; }
  const Canaries& canaries() const { return canaries_; }
  // The worst delay between due and sent since the last call.
  uint32_t take_lag_max_us();
  uint32_t checks_in_flight() const { return live_; }
  uint32_t checks_capacity() const { return static_cast<uint32_t>(checks_.size()); }
  // Waiting for an answer: the sockets should be read.
  bool awaits_answers() const { return awaiting_ > 0; }

 private:
  static constexpr uint32_t kNone = ~0U;
  enum class State : uint8_t { kFree, kTrain, kConfirm, kFinished, kMissed };
  enum class Phase : uint8_t { kActive, kRetired, kReleased };
  enum class Proof : uint8_t {
    kNone,     // not asked for
    kWaiting,  // asked for
    kStalled,  // likewise, and this process stood still since
    kNotAlive,
    kNotTried,
    kUnknown,  // not alive, but this process stood still
  };

  struct Echo {
    int64_t sent_ns = 0;  // 0 = handed out, not confirmed yet
    uint32_t rtt_us = 0;
    EchoOutcome outcome = EchoOutcome::kTimeout;
    bool pending = false;
  };
  struct Check {
    int64_t due_ms = 0;
    int64_t next_send_ns = 0;
    Echo echo;                     // the only one, when echo_count is 1
    uint32_t train_block = kNone;  // otherwise
    uint32_t burst_block = kNone;
    uint32_t generation = 0;
    uint32_t device = 0;    // kNone: a probe
    uint32_t next = kNone;  // the device's next slot
    uint32_t interval_ms = 0;
    uint32_t timeout_ms = 0;
    uint32_t missed = 0;     // kMissed: how many slots; of a probe: its index
    uint32_t extra = kNone;  // in extras_; kMissed and paused: in pausers_
    uint16_t spacing_ms = 0;
    uint8_t echo_count = 0;
    uint8_t min_replies = 0;
    uint8_t handed = 0;    // echoes given to io
    uint8_t resolved = 0;  // of those, known
    uint8_t busy = 0;      // times the kernel had no room for the echo in hand
    State state = State::kFree;
    Verdict verdict{};
    Reason reason{};
    Proof proof = Proof::kNone;
    bool frozen : 1 = false;     // sends no more
    bool no_echoes : 1 = false;  // not measured: nothing to tell about echoes
  };
  static_assert(sizeof(Check) <= 80, "one per check in flight, up to a million");
  struct Device {
    DeviceId id = 0;
    int64_t since_ms = 0;
    Address address;
    uint32_t interval_ms = 0;
    uint32_t timeout_ms = 0;
    uint32_t head = kNone;  // oldest check
    uint32_t tail = kNone;
    uint16_t failed_run = 0;
    uint16_t spacing_ms = 0;
    uint8_t echo_count = 1;
    uint8_t min_replies = 1;
    uint8_t partition = 0;
    Phase phase : 2 = Phase::kReleased;
    bool queued : 1 = false;  // in missed_queue_
    bool has_proof : 1 = false;
  };
  static_assert(sizeof(Device) <= 64, "one per device, up to a million");
  // What few checks have.
  struct Extra {
    std::vector<EchoNote> notes;  // at most kNotesPerCheckMax; more are counted
    std::vector<ProofResult> proofs;
  };
  struct Probe {
    uint64_t id = 0;
    Address address;
    bool canary = false;
    bool until_reply = false;  // one is enough
  };

  // Devices are due, and answer, in random order, so each is a miss of the cache; asked for early,
  // it is not.
  static constexpr size_t kPrefetchAhead = 8;
  void prefetch_device(uint32_t index) const {
    if (index >= devices_.size()) return;  // a probe
    const char* at = reinterpret_cast<const char*>(&devices_[index]);
    __builtin_prefetch(at, 1);
    __builtin_prefetch(at + sizeof(Device) - 1, 1);
  }

  Check& check(uint32_t index) { return checks_[index]; }
  Echo& echo(Check& c, uint32_t ordinal);
  uint32_t echoes_in_all(const Check& c) const;
  uint32_t allocate_check();
  void release_check(uint32_t index);
  uint32_t allocate_block(uint32_t echoes);
  void release_block(uint32_t start, uint32_t echoes);
  uint32_t append(uint32_t device, int64_t due_ms);
  Extra& extra(Check& c);
  const Address& address_of(const Check& c) const;

  void begin(uint32_t device, int64_t due_ms, MonoTime now);
  void miss(uint32_t device, const MissedRun& run);
  void send_next(uint32_t index, MonoTime now);
  void send_or_give_up(uint32_t index, MonoTime now);
  void refuse(const Sent& sent);
  void resolve(Check& c, Echo& e, EchoOutcome outcome);
  void arm(uint32_t index);
  void advance(uint32_t index, MonoTime now);
  void conclude_train(uint32_t index, MonoTime now);
  void confirm(uint32_t index, MonoTime now);
  void conclude(uint32_t index, MonoTime now);
  void fail(uint32_t index, MonoTime now);
  void finish(uint32_t index, Verdict verdict, Reason reason);
  void finish_unmeasured(uint32_t index, Reason reason);

  static bool in_flight(const Check& c) {
    return c.state == State::kTrain || c.state == State::kConfirm;
  }
  void on_answer(const Answer& answer, MonoTime now);
  void on_reply(Check& c, Echo& e, const Answer& answer, MonoTime now);
  void on_further_answer(Check& c, const Answer& answer);
  void on_stray(Check& c, const Answer& answer);
  uint32_t match_inexact(const Answer& answer);
  void note(Check& c, const EchoNote& what);
  void note_lag(const Check& c, MonoTime at);

  bool start_probe(const ProbeRequest& request, bool canary, MonoTime now);
  void finish_probe(uint32_t index);

  void guard(MonoTime now);
  void watch(MonoTime now);
  void forget_dead_canaries(MonoTime now);
  void consider_hold(Check& c, MonoTime now);
  void decide_hold(MonoTime now);
  bool certain(const Check& c) const;
  bool doubtful(const Check& c) const;

  void settle(uint32_t device);
  void pop_head(Device& d);
  void emit(Check& c, Device& d);
  static void emit_extra(Extra& x, uint32_t index, PingResults& out);
  PingResults& record_for(uint32_t partition, size_t bytes, const std::string* note = nullptr);
  void count(Verdict verdict, Reason reason, uint64_t n);

  uint32_t find(DeviceId id) const;
  uint32_t new_device(const Target& target);
  void retire(Device& d);
  void reclaim();

  const EngineConfig config_;
  const SlotClock& clock_;
  uint32_t down_after_ = 3;
  Schedule schedule_;
  TimerWheel wheel_;

  std::vector<Device> devices_;
  std::vector<uint32_t> free_devices_;
  std::vector<uint32_t> by_id_;  // active and retired, ascending ids
  uint32_t active_ = 0;
  std::vector<Leaving> leaving_;

  std::vector<Check> checks_;  // at most config_.checks_max
  uint32_t cursor_ = 0;        // the next check is looked for from here: indices come back late
  uint32_t live_ = 0;
  uint32_t awaiting_ = 0;  // pending echoes

  std::vector<Echo> echoes_;  // blocks of 4, 8, ... 128
  std::array<std::vector<uint32_t>, 8> free_blocks_;
  std::vector<Extra> extras_;
  std::vector<uint32_t> free_extras_;

  std::vector<ProofWanted> proofs_wanted_, proofs_cancelled_;
  std::vector<Probe> probes_;  // at most kProbesMax calls and what canaries take
  std::vector<uint32_t> free_probes_;
  uint32_t calls_ = 0;  // probes in flight that are not canaries'
  std::vector<ProbeOutcome> probes_done_;
  std::string paused_by_;
  std::vector<std::string> pausers_;  // whom slots in the queues name; at most kPausersMax
  uint32_t pauser_ = 0;

  std::vector<Send> sends_;
  std::vector<uint32_t> expired_;
  std::vector<Schedule::Due> due_;
  std::vector<Schedule::Missed> missed_;
  std::vector<uint32_t> missed_queue_;  // devices whose head is kMissed; from missed_head_
  size_t missed_head_ = 0;

  // --- does the prober trust itself? ---
  Suspect suspect_;
  Canaries canaries_;
  std::vector<CanaryProbe> canary_probes_;
  std::vector<std::pair<uint64_t, bool>> canary_outcomes_;  // id, answered
  Suspicion suspicion_ = Suspicion::kNone;
  int64_t suspect_until_ms_ = INT64_MIN;  // slot time up to which it was suspect
  std::optional<MonoTime> hold_until_;    // uncertain verdicts wait
  std::vector<uint32_t> held_;            // devices where one does; at most the results of kHoldMax
  MonoTime window_end_{};
  uint32_t window_lag_us_ = 0;
  uint64_t window_sent_ = 0, window_errors_ = 0, window_drops_ = 0;  // totals at its beginning
  uint64_t own_errors_ = 0;  // send errors that are not about one destination
  uint64_t drops_ = 0;
  std::optional<MonoTime> canaries_failing_since_;
  uint64_t answered_ms_ = 0, failed_ms_ = 0;  // checks since then, weighed by their interval

  struct Records {
    std::vector<PingResults> record;  // the first `used` are
    size_t used = 0;
    size_t bytes = 0;  // estimate of the last
    // They leave with the next record of results.
    std::vector<Stray> strays;
    std::vector<AddressChange> changes;
  };
  static void take_asides(Records& records);
  std::array<Records, kPartitions> records_;
  size_t waiting_results_ = 0;
  uint32_t strays_noted_ = 0;  // since the last flush
  uint32_t lag_max_us_ = 0;
  Stats stats_;
};

}  // namespace gema::prober
