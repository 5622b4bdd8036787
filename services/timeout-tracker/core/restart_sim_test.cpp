// The tracker's cores under crashes at every step, with checkpoints lost, spools torn by a power
// cut and Redis emptied. One seed is one run; GEMA_SEED=n replays one, GEMA_SEEDS=n sets how many.
//
// The world around the cores is modelled as the design promises it: the input arrives in order per
// producer and partition from the stored positions on, acknowledged records stay readable for a
// while, the spool keeps what was synced, a power cut loses any part of the rest, history (the
// recorder) has every transition that went live, sooner or later.
//
// Invariants: transitions, taken once by id, are exactly those of a run without any fault, in
// order, each with the same contents; and the states at the end are that run's.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <set>

#include "common/base/random.h"
#include "services/timeout-tracker/core/checkpoint_cycle.h"
#include "services/timeout-tracker/core/results_for_test.h"
#include "services/timeout-tracker/core/tracker.h"

namespace gema::timeout_tracker {
namespace {

// What a run is planted with, to see that the invariants catch it.
enum class Fault { kNone, kAckBeforeCheckpoint, kCheckpointBeforeSync };

// Clock steps and rebuilds exclude each other: states read from history do not tell on which clock
// their slots were (README.md, "Limits").
struct Setting {
  bool clock_steps = false;
  bool redis_loses = false;
  Fault fault = Fault::kNone;
};

struct Record {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  bool clock_step = false;  // of its epoch
  PingResults results;
};

using StreamId = std::pair<std::string, uint32_t>;  // producer, partition
using Input = std::map<StreamId, std::vector<Record>>;

// All input there will be: two probers, each with devices of its own.
Input make_input(Random& random, bool clock_steps, std::vector<DeviceId>& devices) {
  Input input;
  for (const std::string producer : {"prober-1", "prober-2"}) {
    std::map<DeviceId, bool> alive;
    for (int i = 0; i < 12; ++i) {
      devices.push_back(devices.size() + 1);
      alive[devices.back()] = random.chance(700);
    }
    uint64_t epoch = random.next();
    bool stepped = false;
    int64_t k = 1000;
    std::map<uint32_t, uint64_t> seqs;
    for (int batch = 0; batch < 60; ++batch) {
      if (clock_steps && random.chance(60)) {
        epoch = random.next();
        stepped = true;
        seqs.clear();
        k += static_cast<int64_t>(random.below(40)) - 25;
      }
      std::map<uint32_t, PingResults> batches;
      const auto slots = static_cast<int64_t>(1 + random.below(3));
      for (const int64_t end = k + slots; k < end; ++k) {
        for (auto& [device, answers] : alive) {
          if (random.chance(150)) answers = !answers;
          const bool answered = random.chance(950) ? answers : !answers;
          const Verdict verdict = random.chance(80) ? Verdict::kNotMeasured
                                  : answered        ? Verdict::kAnswered
                                                    : Verdict::kFailed;
          test::add(batches[partition_of(device)], device, test::slot_of(device, k), verdict);
        }
      }
      for (auto& [partition, results] : batches) {
        input[{producer, partition}].push_back({.epoch = epoch,
                                                .seq = ++seqs[partition],
                                                .clock_step = stepped,
                                                .results = std::move(results)});
      }
    }
  }
  return input;
}

RecordRef ref(const StreamId& id, const Record& record) {
  return {.producer = id.first, .epoch = record.epoch, .partition = id.second, .seq = record.seq};
}

// One record into a tracker, with what the consumer says before the first of an epoch.
void feed(Tracker& tracker, const StreamId& id, const std::vector<Record>& records, size_t at,
          Now now, std::vector<Transition>& out) {
  if (at == 0 || records[at - 1].epoch != records[at].epoch) {
    tracker.on_epoch_started(ref(id, records[at]), records[at].clock_step);
  }
  tracker.on_record(ref(id, records[at]), records[at].results, now, out);
}

struct RunOutcome {
  std::map<TransitionId, Transition> transitions;
  std::map<DeviceId, DeviceState> states;
};

void collect(const Tracker& tracker, RunOutcome& outcome) {
  for (const DeviceState& state : tracker.named_states()) outcome.states[state.device] = state;
}

class World {
 public:
  World(uint64_t seed, Setting setting) : random_(seed), setting_(setting) {
    input_ = make_input(random_, setting.clock_steps, devices_);
    now_.mono = MonoTime(1h);
    now_.wall = wall_from_ms(test::kStartMs) + 24h;
  }

  // The truth: everything once, in order, without a fault.
  RunOutcome without_faults() const {
    Tracker tracker{Policy{}};
    tracker.set_catalogue(devices_);
    std::vector<Transition> out;
    for (const auto& [id, records] : input_) {
      for (size_t at = 0; at < records.size(); ++at) feed(tracker, id, records, at, now_, out);
    }
    RunOutcome outcome;
    for (const Transition& transition : out) outcome.transitions[transition.id] = transition;
    EXPECT_EQ(outcome.transitions.size(), out.size());
    collect(tracker, outcome);
    return outcome;
  }

  // Runs to the end; false when it does not come to one. The outcome's transitions are those that
  // the recorder took, once by id.
  bool run(RunOutcome& outcome) {
    redis_ = {.there = true, .id = "first"};  // as the one written before any input is taken
    start();
    int quiet = 0;
    for (int steps = 0; steps < 200'000; ++steps) {
      now_.mono += 500ms;
      const bool faults = !drained();
      if (faults && random_.chance(15)) {
        crash();
        start();
        continue;
      }
      step(faults);
      quiet += !faults && !plan_ && recorded_ == spool_.size() ? 1 : 0;
      if (quiet < 50) continue;
      outcome.transitions = taken_;
      collect(*tracker_, outcome);
      return true;
    }
    return false;
  }

  size_t crashes = 0;
  size_t power_cuts = 0;
  size_t rebuilds = 0;
  size_t overlaid = 0;

 private:
  struct Redis {
    bool there = false;
    std::string id;
    std::map<StreamId, size_t> input;
    size_t own = 0;
    std::map<DeviceId, DeviceState> states;
    std::vector<Guarded> guarded;
  };

  bool drained() const {
    for (const auto& [id, records] : input_) {
      if (read_.at(id) < records.size()) return false;
    }
    return true;
  }

  bool stale() const {
    for (const auto& [id, from] : redis_.input) {
      const auto held = held_from_.find(id);
      if (held != held_from_.end() && from < held->second) return true;
    }
    return false;
  }

  void start() {
    tracker_.emplace(Policy{});
    cycle_.emplace(5s, random_.next(), now_);
    plan_.reset();
    const bool unreadable = setting_.redis_loses && random_.chance(20);
    const bool usable = redis_.there && !unreadable && !stale();
    if (usable) {
      for (const auto& [device, state] : redis_.states) tracker_->restore(state, false);
      for (const Guarded& guarded : redis_.guarded) tracker_->restore_guard(guarded);
    } else {
      rebuilds += redis_.there || !taken_.empty() ? 1 : 0;
      for (const auto& [device, state] : history_) tracker_->restore(state, true);
    }
    for (const auto& [id, records] : input_) {
      // Without a checkpoint: from the oldest record that the producer still holds.
      const size_t from = usable ? redis_.input[id] : held_from_[id];
      read_[id] = from;
      for (size_t i = 0; usable && i < from; ++i) {
        if (i + 1 == from || records[i].epoch != records[i + 1].epoch) {
          tracker_->know_epoch(id.first, id.second, records[i].epoch);
        }
      }
    }
    for (size_t i = usable ? redis_.own : released_; i < spool_.size(); ++i) {
      tracker_->overlay(spool_[i], usable);
      ++overlaid;
    }
    tracker_->set_catalogue(devices_);
  }

  void crash() {
    ++crashes;
    if (random_.chance(300)) {  // power cut: any part of what was not synced is gone
      ++power_cuts;
      spool_.resize(synced_ + random_.below(spool_.size() - synced_ + 1));
      synced_ = spool_.size();
      recorded_ = std::min(recorded_, spool_.size());
    }
    if (!setting_.redis_loses) return;
    if (random_.chance(100)) redis_ = before_;  // Redis crashed as well: its last second is lost
    if (random_.chance(100)) redis_ = {};       // or emptied
    if (redis_.own > spool_.size()) redis_.own = spool_.size();
  }

  void step(bool faults) {
    if (faults && setting_.redis_loses && random_.chance(5)) redis_ = {};  // FLUSHALL while we run
    switch (random_.below(5)) {
      case 0:
      case 1:
        read_some();
        break;
      case 2:
        synced_ = spool_.size();
        break;
      case 3:
        checkpoint(faults);
        break;
      case 4:  // the recorder comes along, or lags
        take_all();
        break;
    }
  }

  void record(const Transition& transition) {
    const auto [at, is_new] = taken_.emplace(transition.id, transition);
    // Decided again after a crash: the same thing under the same id.
    Transition again = transition;
    again.decided_at = at->second.decided_at;
    if (!(again == at->second)) ++contradictions_;
    DeviceState& latest = history_[transition.device];
    if (transition.state.transition_counter > latest.transition_counter) latest = transition.state;
  }

  void read_some() {
    std::vector<StreamId> open;
    for (const auto& [id, records] : input_) {
      if (read_[id] < records.size()) open.push_back(id);
    }
    if (open.empty()) return;
    const StreamId id = open[random_.below(open.size())];
    std::vector<Transition> out;
    feed(*tracker_, id, input_.at(id), read_[id]++, now_, out);
    spool_.insert(spool_.end(), out.begin(), out.end());
    // Live, before the spool was synced: the recorder has it also when a power cut takes it from
    // us.
    if (random_.chance(300)) take_all();
  }

  // In order: a later transition taken without an earlier one, both then cut from the spool and
  // Redis lost as well, is a loss within the sync window that the stream announces.
  void take_all() {
    for (; recorded_ < spool_.size(); ++recorded_) record(spool_[recorded_]);
  }

  void checkpoint(bool faults) {
    if (!plan_) {
      if (!cycle_->due(now_)) return;
      plan_ = cycle_->begin(now_, tracker_->end_generation());
      copy_ = tracker_->changed_after(plan_->changed_after);
      copied_input_ = read_;
      copied_own_ = spool_.size();
      if (setting_.fault == Fault::kAckBeforeCheckpoint) acknowledge(0);
      return;
    }
    if (synced_ < copied_own_ && setting_.fault != Fault::kCheckpointBeforeSync) return;
    if (faults && random_.chance(150)) {  // not written, or written and never heard of
      if (random_.chance(500)) write();
      plan_.reset();
      cycle_->failed(now_);
      return;
    }
    const bool written = write();
    plan_.reset();
    if (!written) return cycle_->base_lost(now_);
    cycle_->succeeded(now_);
    acknowledge(25);
    released_ = std::max(released_, std::min(copied_own_, recorded_));
  }

  bool write() {
    if (!plan_->full() && (!redis_.there || redis_.id != plan_->base)) return false;
    before_ = redis_;
    if (plan_->full()) redis_ = {};
    for (const auto& [device, state] : copy_.states) {
      redis_.states[device] = to_device_state(device, state, copy_.names);
    }
    redis_.guarded = copy_.guarded;
    redis_.there = true;
    redis_.id = plan_->id;
    redis_.input = copied_input_;
    redis_.own = copied_own_;
    return true;
  }

  // Producers hold what is acknowledged a while longer, `hold` records here.
  void acknowledge(size_t hold) {
    for (const auto& [id, from] : copied_input_) {
      held_from_[id] = std::max(held_from_[id], from > hold ? from - hold : 0);
    }
  }

  Random random_;
  const Setting setting_;
  Now now_;
  std::vector<DeviceId> devices_;
  Input input_;

  // What survives a crash.
  Redis redis_;
  Redis before_;  // one checkpoint ago
  std::vector<Transition> spool_;
  size_t synced_ = 0;
  size_t released_ = 0;
  size_t recorded_ = 0;                       // how much of the spool the recorder has
  std::map<TransitionId, Transition> taken_;  // by the recorder
  std::map<DeviceId, DeviceState> history_;   // after the latest of each device
  std::map<StreamId, size_t> held_from_;

  // What does not.
  std::optional<Tracker> tracker_;
  std::optional<CheckpointCycle> cycle_;
  std::map<StreamId, size_t> read_;
  std::optional<CheckpointPlan> plan_;
  StatesCopy copy_;
  std::map<StreamId, size_t> copied_input_;
  size_t copied_own_ = 0;

 public:
  size_t contradictions_ = 0;
};

// How long a device has been answering or failing, once a rebuild has not read all of it.
DeviceState without_long_counts(DeviceState state) {
  state.consecutive_answers = std::min(state.consecutive_answers, 1U);
  state.consecutive_timeouts = std::min(state.consecutive_timeouts, Policy{}.down_after);
  return state;
}

// What is wrong after a run; "" = nothing.
std::string verdict_of_run(World& world, bool exact_counts) {
  const RunOutcome truth = world.without_faults();
  RunOutcome seen;
  if (!world.run(seen)) return "did not come to an end";
  if (world.contradictions_ > 0) return "one id stands for two different transitions";
  if (seen.transitions.size() != truth.transitions.size()) {
    return "transitions: " + std::to_string(seen.transitions.size()) + " instead of " +
           std::to_string(truth.transitions.size());
  }
  for (auto& [id, transition] : seen.transitions) {
    const auto expected = truth.transitions.find(id);
    if (expected == truth.transitions.end()) return "a transition that never happened";
    transition.decided_at = expected->second.decided_at;
    if (!(transition == expected->second)) return "a transition differs";
  }
  for (auto& [device, state] : seen.states) {
    const DeviceState& expected = truth.states.at(device);
    const bool same = exact_counts ? state == expected
                                   : without_long_counts(state) == without_long_counts(expected);
    if (!same) return "the state of device " + std::to_string(device) + " differs";
  }
  return "";
}

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void run_seeds(const Setting& setting) {
  const uint64_t first = from_environment("GEMA_SEED", 1);
  const uint64_t seeds =
      std::getenv("GEMA_SEED") != nullptr ? 1 : from_environment("GEMA_SEEDS", 200);
  std::cout << "seeds " << first << " to " << first + seeds - 1 << "\n";
  size_t crashes = 0;
  size_t power_cuts = 0;
  size_t rebuilds = 0;
  size_t overlaid = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    World world(seed, setting);
    ASSERT_EQ(verdict_of_run(world, !setting.redis_loses), "") << "GEMA_SEED=" << seed;
    crashes += world.crashes;
    power_cuts += world.power_cuts;
    rebuilds += world.rebuilds;
    overlaid += world.overlaid;
  }
  std::cout << crashes << " crashes, " << power_cuts << " power cuts, " << rebuilds << " rebuilds, "
            << overlaid << " own transitions read back\n";
  if (seeds < 20) return;
  EXPECT_GT(crashes, 0U);  // else the run shows nothing
  EXPECT_GT(power_cuts, 0U);
  EXPECT_GT(overlaid, 0U);
  EXPECT_EQ(rebuilds > 0, setting.redis_loses);
}

// How many of 60 seeds notice the fault.
int caught(const Setting& setting) {
  int count = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    World world(seed, setting);
    count += verdict_of_run(world, !setting.redis_loses).empty() ? 0 : 1;
  }
  return count;
}

TEST(RestartSim, CrashesAndPowerCutsChangeNothingAlsoAcrossClockSteps) {
  run_seeds({.clock_steps = true});
}

TEST(RestartSim, AnOldOrEmptyOrUnreadableCheckpointChangesNothing) {
  run_seeds({.redis_loses = true});
}

TEST(RestartSim, CatchesAcknowledgingBeforeTheCheckpoint) {
  EXPECT_GT(caught({.redis_loses = true, .fault = Fault::kAckBeforeCheckpoint}), 0);
}

TEST(RestartSim, CatchesACheckpointWrittenBeforeItsTransitionsAreSynced) {
  EXPECT_GT(caught({.clock_steps = true, .fault = Fault::kCheckpointBeforeSync}), 0);
}

}  // namespace
}  // namespace gema::timeout_tracker
