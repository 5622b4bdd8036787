#include "services/cli/core/outage_maker.h"

#include <uuid/uuid.h>

#include <algorithm>

namespace gema::cli {
namespace {

// 2b8e0c1a-93f4-5d27-8c55-67656d610002, made for this purpose. Never changed: ids are in history.
constexpr uuid_t kNamespace = {0x2b, 0x8e, 0x0c, 0x1a, 0x93, 0xf4, 0x5d, 0x27,
                               0x8c, 0x55, 0x67, 0x65, 0x6d, 0x61, 0x00, 0x02};

TransitionId id_of(DeviceId device, int64_t slot_ms, DeviceStatus to) {
  char name[17];
  for (int i = 0; i < 8; ++i) {
    name[i] = static_cast<char>(device >> (8 * i));
    name[8 + i] = static_cast<char>(static_cast<uint64_t>(slot_ms) >> (8 * i));
  }
  name[16] = static_cast<char>(to);
  TransitionId id;
  uuid_generate_sha1(id.data(), kNamespace, name, sizeof name);
  return id;
}

}  // namespace

int64_t imported_counter(int64_t slot_ms) {
  return slot_ms - (int64_t{1} << 53);
}

void keep_one_of_each_slot(std::vector<OutageCheck>& checks) {
  std::erase_if(checks, [](const OutageCheck& c) { return c.verdict == Verdict::kNotMeasured; });
  std::stable_sort(checks.begin(), checks.end(), [](const OutageCheck& a, const OutageCheck& b) {
    if (a.due_ms != b.due_ms) return a.due_ms < b.due_ms;
    return a.verdict == Verdict::kAnswered && b.verdict != Verdict::kAnswered;
  });
  checks.erase(
      std::unique(checks.begin(), checks.end(),
                  [](const OutageCheck& a, const OutageCheck& b) { return a.due_ms == b.due_ms; }),
      checks.end());
}

OutageMaker::OutageMaker(DeviceId device, uint32_t down_after)
    : down_after_(std::max(down_after, 1U)) {
  state_.device = device;
}

void OutageMaker::resume(DeviceState state) {
  const DeviceId device = state_.device;
  state_ = std::move(state);
  state_.device = device;
}

Transition OutageMaker::make(DeviceStatus to, TransitionReason reason, int64_t due_ms) {
  Transition t{.id = id_of(state_.device, due_ms, to),
               .device = state_.device,
               .from = state_.status,
               .to = to,
               .reason = reason,
               .slot_ms = due_ms,
               .decided_at = wall_from_ms(due_ms)};
  state_.status = to;
  state_.since_ms = due_ms;
  t.state = state_;
  return t;
}

// Returns: false when it changes nothing.
bool OutageMaker::count(const OutageCheck& check) {
  if (check.verdict == Verdict::kNotMeasured) return false;
  end_ms_ = check.due_ms + int64_t{check.interval_ms};
  if (check.verdict == Verdict::kFailed) {
    for (const auto& [location, answer] : answers_) {
      const auto counts_for = std::max(answer.interval_ms, check.interval_ms);
      if (location != check.location && check.due_ms < answer.due_ms + int64_t{counts_for}) {
        return false;
      }
    }
  }
  DeviceState& s = state_;
  s.last_slot_ms = check.due_ms;
  s.last_verdict = check.verdict;
  s.last_reason = check.reason;
  s.location = check.location;
  s.last_prober = check.prober;
  if (check.verdict == Verdict::kAnswered) {
    answers_[check.location] = {check.due_ms, check.interval_ms};
    s.last_success_ms = check.due_ms;
    s.ever_answered = true;
    ++s.consecutive_answers;
    s.consecutive_timeouts = 0;
    s.first_timeout_ms = s.last_timeout_ms = 0;
    if (check.rtt_us > 0) s.last_rtt_us = check.rtt_us;
    return true;
  }
  if (s.consecutive_timeouts == 0) s.first_timeout_ms = check.due_ms;
  s.last_timeout_ms = check.due_ms;
  ++s.consecutive_timeouts;
  s.consecutive_answers = 0;
  return true;
}

void OutageMaker::prime(const OutageCheck& check) {
  count(check);
}

std::optional<Transition> OutageMaker::take(const OutageCheck& check) {
  if (!count(check)) return std::nullopt;
  const DeviceStatus from = state_.status;
  if (check.verdict == Verdict::kAnswered) {
    if (from == DeviceStatus::kUp) return std::nullopt;
    return make(DeviceStatus::kUp,
                from == DeviceStatus::kDown ? TransitionReason::kAnsweredAgain
                                            : TransitionReason::kFirstAnswer,
                check.due_ms);
  }
  if (from == DeviceStatus::kDown || state_.consecutive_timeouts < down_after_) {
    return std::nullopt;
  }
  return make(DeviceStatus::kDown, TransitionReason::kFailuresInARow, check.due_ms);
}

std::optional<Transition> OutageMaker::finish(int64_t end_ms) {
  if (state_.status != DeviceStatus::kDown) return std::nullopt;
  return make(DeviceStatus::kNew, TransitionReason::kReset, end_ms);
}

}  // namespace gema::cli
