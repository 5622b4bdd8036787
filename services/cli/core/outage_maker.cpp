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

OutageMaker::OutageMaker(DeviceId device, uint32_t down_after, std::string producer,
                         std::string location)
    : down_after_(std::max(down_after, 1U)) {
  state_.device = device;
  state_.location = std::move(location);
  state_.last_prober = std::move(producer);
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

std::optional<Transition> OutageMaker::take(int64_t due_ms, const ResultView& result) {
  if (result.verdict == Verdict::kNotMeasured) return std::nullopt;
  DeviceState& s = state_;
  s.last_slot_ms = due_ms;
  s.last_verdict = result.verdict;
  s.last_reason = result.reason;
  if (result.verdict == Verdict::kAnswered) {
    const DeviceStatus from = s.status;
    s.last_success_ms = due_ms;
    s.ever_answered = true;
    ++s.consecutive_answers;
    s.consecutive_timeouts = 0;
    s.first_timeout_ms = s.last_timeout_ms = 0;
    uint64_t sum = 0;
    uint64_t answered = 0;
    for (size_t e = 0; e < result.outcomes.size(); ++e) {
      if (result.outcomes[e] != EchoOutcome::kReply) continue;
      sum += result.rtt_us[e];
      ++answered;
    }
    if (answered > 0) s.last_rtt_us = static_cast<uint32_t>(sum / answered);
    if (from == DeviceStatus::kUp) return std::nullopt;
    return make(DeviceStatus::kUp,
                from == DeviceStatus::kDown ? TransitionReason::kAnsweredAgain
                                            : TransitionReason::kFirstAnswer,
                due_ms);
  }
  if (s.consecutive_timeouts == 0) s.first_timeout_ms = due_ms;
  s.last_timeout_ms = due_ms;
  ++s.consecutive_timeouts;
  s.consecutive_answers = 0;
  if (s.status == DeviceStatus::kDown || s.consecutive_timeouts < down_after_) return std::nullopt;
  return make(DeviceStatus::kDown, TransitionReason::kFailuresInARow, due_ms);
}

std::optional<Transition> OutageMaker::finish(int64_t end_ms) {
  if (state_.status != DeviceStatus::kDown) return std::nullopt;
  return make(DeviceStatus::kNew, TransitionReason::kReset, end_ms);
}

}  // namespace gema::cli
