// The engine over a network that a test describes.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/prober/core/engine.h"

namespace gema::prober {

inline constexpr Duration kWall = 1'763'632'561s;

inline Address address(uint32_t n) {  // 10.0.0.0 and on
  n |= 10U << 24;
  Address a{.family = 4};
  for (size_t i = 0; i < 4; ++i) a.bytes[i] = static_cast<uint8_t>(n >> (8 * (3 - i)));
  return a;
}

inline Target target(DeviceId id, uint32_t interval = 1000, uint32_t timeout = 3000,
                     uint8_t echoes = 1, uint8_t min_replies = 1) {
  return {.id = id,
          .address = address(static_cast<uint32_t>(id)),
          .interval_ms = interval,
          .timeout_ms = timeout,
          .echo_count = echoes,
          .min_replies = min_replies};
}

struct Outcome {
  int64_t due_ms;
  uint32_t interval_ms;
  Verdict verdict;
  Reason reason;
  std::vector<EchoOutcome> echoes;
  std::vector<uint32_t> rtt_us;
  uint32_t burst_sent = 0;
  size_t burst_answered = 0;
  std::vector<EchoNote> notes;
  std::vector<ProofResult> proofs;
  std::string note;  // of the record
};

// The engine over a network that a test describes: what becomes of each echo. Time advances from
// one event to the next, as in the shell.
class Rig {
 public:
  struct Fate {
    SendStatus status = SendStatus::kSent;
    int error = 0;
    std::optional<Duration> answer_after = 1ms;  // nullopt: silence
    EchoOutcome outcome = EchoOutcome::kReply;
    uint8_t icmp_type = 0, icmp_code = 0;
  };

  explicit Rig(EngineConfig config = {})
      : clock_({now_, WallTime(kWall + now_.time_since_epoch())}), engine(config, clock_, now_) {}

  // Runs for `length`; `stopped`: as under SIGSTOP, answers reach the socket but nobody turns.
  void run(Duration length) {
    const MonoTime end = now_ + length;
    while (now_ < end) {
      MonoTime next = end;
      if (const auto at = engine.next_wakeup()) next = std::min(next, *at);
      if (!wire_.empty()) next = std::min(next, wire_.begin()->first);
      for (const auto& [check, proof] : proofs_) next = std::min(next, proof.first);
      now_ = std::max(next, now_ + 1us);
      turn();
    }
  }
  void stop_for(Duration length) {
    now_ += length;
    if (length >= 1s) engine.on_stall();
    turn();
  }
  void turn() {
    read_clock();
    std::vector<Answer> answers;
    while (!wire_.empty() && wire_.begin()->first <= now_) {
      answers.push_back(wire_.begin()->second);
      wire_.erase(wire_.begin());
    }
    engine.on_answers(answers, now_);
    give_proofs();
    engine.expire(now_);
    engine.start_due(now_);
    send();
    take_proofs();
    engine.take_probes([&](const ProbeOutcome& o) { probes.push_back(o); });
    engine.release_missed(kMissedPerFlush);
    collect();
  }
  void step_wall(Duration by) {
    wall_error_ += by;
    read_clock();
  }

  std::function<Fate(DeviceId, const Send&, int64_t)> network = [](auto...) { return Fate{}; };
  // What comes of a proof of life, and after how long.
  std::function<std::pair<Duration, std::vector<ProofResult>>(DeviceId)> prove =
      [](DeviceId) -> std::pair<Duration, std::vector<ProofResult>> {
    return {50ms, {{.outcome = ProofOutcome::kTimeout}}};
  };
  std::vector<ProbeOutcome> probes;
  std::vector<Stray> strays;
  std::vector<AddressChange> changes;
  std::vector<DeviceId> proofs_asked, proofs_cancelled;
  std::map<DeviceId, std::vector<Outcome>> results;
  std::map<DeviceId, std::vector<int64_t>> sent_ms;  // slot time of each echo sent
  std::vector<Answer> delivered;

  int64_t slot_now() const { return clock_.slot_ms(now_); }
  MonoTime now() const { return now_; }

 private:
  void read_clock() {
    for (int i = 0; i < 2; ++i) {
      const auto event =
          clock_.on_reading({now_, WallTime(kWall + now_.time_since_epoch() + wall_error_)});
      if (event == ClockEvent::kWallStepped) engine.on_wall_step();
      if (event == ClockEvent::kStepped) engine.on_clock_step(now_);
      if (!clock_.wants_second_reading()) break;
    }
  }

  void send() {
    while (!engine.sends().empty()) {
      const std::vector<Send> sends = std::exchange(engine.sends(), {});
      std::vector<Sent> sent;
      for (const Send& s : sends) {
        DeviceId id = 0;
        for (size_t i = 1; i < 4; ++i) id = id << 8 | s.destination.bytes[i];
        const Fate fate = network(id, s, slot_now());
        sent.push_back({s.check, s.generation, s.ordinal, fate.status, now_, fate.error});
        if (fate.status != SendStatus::kSent) continue;
        sent_ms[id].push_back(slot_now());
        if (!fate.answer_after) continue;
        const Answer answer{.check = s.check,
                            .generation = s.generation,
                            .ordinal = s.ordinal,
                            .burst = s.burst,
                            .outcome = fate.outcome,
                            .at = now_ + *fate.answer_after,
                            .sent = now_,
                            .timeout = std::chrono::milliseconds(s.timeout_ms),
                            .destination = s.destination,
                            .icmp_type = fate.icmp_type,
                            .icmp_code = fate.icmp_code,
                            .from = {.bytes = {192, 0, 2, 1}, .family = 4}};
        wire_.emplace(answer.at, answer);
        delivered.push_back(answer);
      }
      engine.on_sent(sent);
    }
  }

  void take_proofs() {
    for (const ProofWanted& w : std::exchange(engine.proofs_wanted(), {})) {
      proofs_asked.push_back(w.device);
      const auto [after, said] = prove(w.device);
      EXPECT_TRUE(
          proofs_.emplace(w.check, std::pair(now_ + after, ProofDone{w.check, w.generation, said}))
              .second)
          << "asked twice";
    }
    for (const ProofWanted& w : std::exchange(engine.proofs_cancelled(), {})) {
      proofs_cancelled.push_back(w.device);
      EXPECT_EQ(proofs_.erase(w.check), 1U);
    }
  }
  void give_proofs() {
    take_proofs();
    std::vector<ProofDone> done;
    for (auto at = proofs_.begin(); at != proofs_.end();) {
      if (at->second.first > now_) {
        ++at;
        continue;
      }
      done.push_back(at->second.second);
      at = proofs_.erase(at);
    }
    engine.on_proofs(done, now_);
    take_proofs();
  }

  void collect() {
    engine.take_results([&](uint32_t partition, PingResults& r) {
      strays.insert(strays.end(), r.strays.begin(), r.strays.end());
      changes.insert(changes.end(), r.address_changes.begin(), r.address_changes.end());
      EXPECT_TRUE(std::is_sorted(r.notes.begin(), r.notes.end(), [](const auto& a, const auto& b) {
        return std::pair(a.index, a.echo) < std::pair(b.index, b.echo);
      }));
      std::map<uint32_t, const BurstResult*> bursts;
      for (const BurstResult& b : r.burst) bursts[b.index] = &b;
      for (uint32_t i = 0; i < r.size(); ++i) {
        EXPECT_EQ(partition, partition_of(r.device[i]));
        EXPECT_TRUE(is_slot(r.device[i], r.interval_ms[i], r.due_ms[i]));
        Outcome o{r.due_ms[i], r.interval_ms[i], r.verdict[i], r.reason[i], {}, {}};
        for (uint32_t e = r.echo_begin[i]; e < r.echo_begin[i + 1]; ++e) {
          o.echoes.push_back(r.echo_outcome[e]);
          o.rtt_us.push_back(r.echo_rtt_us[e]);
        }
        if (bursts.contains(i)) {
          o.burst_sent = bursts[i]->sent;
          o.burst_answered = bursts[i]->rtt_us.size();
        }
        for (EchoNote n : r.notes) {
          if (std::exchange(n.index, 0) == i) o.notes.push_back(n);
        }
        for (ProofResult p : r.proofs) {
          if (std::exchange(p.index, 0) == i) o.proofs.push_back(p);
        }
        o.note = r.note;
        auto& all = results[r.device[i]];
        if (!all.empty() && !ignore_order) {
          EXPECT_GT(o.due_ms, all.back().due_ms) << "out of slot order";
        }
        all.push_back(std::move(o));
      }
    });
  }

  MonoTime now_{5000s};
  Duration wall_error_{};
  std::multimap<MonoTime, Answer> wire_;
  std::map<uint32_t, std::pair<MonoTime, ProofDone>> proofs_;
  SlotClock clock_;

 public:
  bool ignore_order = false;  // after a clock step back
  Engine engine;
};

inline std::vector<Target> targets(uint32_t n, uint32_t interval = 1000) {
  std::vector<Target> all;
  for (uint32_t id = 1; id <= n; ++id) all.push_back(target(id, interval));
  return all;
}

// Slots without a hole, from the first to the last.
inline void expect_gapless(const std::vector<Outcome>& all) {
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[i].due_ms - all[i - 1].due_ms, all[i].interval_ms) << i;
  }
}

inline Rig::Fate lost() {
  return {.answer_after = std::nullopt};
}

}  // namespace gema::prober
