#include "common/codec/transition_codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/codec/message.h"
#include "gema/v1/call.pb.h"
#include "gema/v1/transition.pb.h"

namespace gema {
namespace {

bool is_status(uint32_t v) {
  return v <= static_cast<uint32_t>(DeviceStatus::kUnknown);
}

bool is_transition_reason(uint32_t v) {
  return v >= static_cast<uint32_t>(TransitionReason::kFirstAnswer) &&
         v <= static_cast<uint32_t>(TransitionReason::kReset);
}

void write(const DeviceState& state, v1::DeviceState& out) {
  out.set_device_id(state.device);
  out.set_status(static_cast<uint32_t>(state.status));
  out.set_consecutive_timeouts(state.consecutive_timeouts);
  out.set_first_timeout_ms(state.first_timeout_ms);
  out.set_last_timeout_ms(state.last_timeout_ms);
  out.set_consecutive_answers(state.consecutive_answers);
  out.set_since_ms(state.since_ms);
  out.set_last_success_ms(state.last_success_ms);
  out.set_last_slot_ms(state.last_slot_ms);
  out.set_last_verdict(static_cast<uint32_t>(state.last_verdict));
  out.set_last_reason(static_cast<uint32_t>(state.last_reason));
  out.set_last_rtt_us(state.last_rtt_us);
  out.set_transition_counter(state.transition_counter);
  out.set_failed_attempts(state.failed_attempts);
  out.set_ever_answered(state.ever_answered);
  out.set_location(state.location);
  out.set_last_prober(state.last_prober);
}

Result<DeviceState> read(const v1::DeviceState& in) {
  if (!is_status(in.status())) return bad_message("device state", "status out of range");
  if (!is_verdict(in.last_verdict()))
    return bad_message("device state", "last_verdict out of range");
  if (!is_reason(in.last_reason())) return bad_message("device state", "last_reason out of range");
  for (const int64_t ms : {in.first_timeout_ms(), in.last_timeout_ms(), in.since_ms(),
                           in.last_success_ms(), in.last_slot_ms()}) {
    if (!is_due(ms)) return bad_message("device state", "a time is out of range");
  }
  return DeviceState{.device = in.device_id(),
                     .status = static_cast<DeviceStatus>(in.status()),
                     .consecutive_timeouts = in.consecutive_timeouts(),
                     .first_timeout_ms = in.first_timeout_ms(),
                     .last_timeout_ms = in.last_timeout_ms(),
                     .consecutive_answers = in.consecutive_answers(),
                     .since_ms = in.since_ms(),
                     .last_success_ms = in.last_success_ms(),
                     .last_slot_ms = in.last_slot_ms(),
                     .last_verdict = static_cast<Verdict>(in.last_verdict()),
                     .last_reason = static_cast<Reason>(in.last_reason()),
                     .last_rtt_us = in.last_rtt_us(),
                     .transition_counter = in.transition_counter(),
                     .failed_attempts = in.failed_attempts(),
                     .ever_answered = in.ever_answered(),
                     .location = in.location(),
                     .last_prober = in.last_prober()};
}

}  // namespace

void encode_state(const DeviceState& state, std::string& out) {
  thread_local v1::DeviceState message;
  message.Clear();
  write(state, message);
  message.SerializeToString(&out);
}

Result<DeviceState> decode_state(std::string_view bytes) {
  thread_local v1::DeviceState message;
  if (!parse(bytes, message)) return bad_message("device state", "bytes are no DeviceState");
  return read(message);
}

void encode_transition(const Transition& transition, std::string& out) {
  v1::Transition message;
  message.set_id(transition.id.data(), transition.id.size());
  message.set_device_id(transition.device);
  message.set_from(static_cast<uint32_t>(transition.from));
  message.set_to(static_cast<uint32_t>(transition.to));
  message.set_reason(static_cast<uint32_t>(transition.reason));
  message.set_slot_ms(transition.slot_ms);
  message.set_decided_at_us(unix_us(transition.decided_at));
  write(transition.state, *message.mutable_state());
  v1::Cause& cause = *message.mutable_cause();
  cause.set_producer(transition.cause.producer);
  cause.set_epoch(transition.cause.epoch);
  cause.set_partition(transition.cause.partition);
  cause.set_seq(transition.cause.seq);
  message.SerializeToString(&out);
}

Result<Transition> decode_transition(std::string_view bytes) {
  v1::Transition message;
  if (!parse(bytes, message)) return bad_message("transition", "bytes are no Transition");
  Transition transition;
  if (message.id().size() != transition.id.size())
    return bad_message("transition", "id is not 16 bytes");
  if (!is_status(message.from())) return bad_message("transition", "from out of range");
  if (!is_status(message.to())) return bad_message("transition", "to out of range");
  if (!is_transition_reason(message.reason()))
    return bad_message("transition", "reason out of range");
  if (!is_due(message.slot_ms())) return bad_message("transition", "slot_ms is out of range");
  if (!is_time_of_ours(message.decided_at_us()))
    return bad_message("transition", "decided_at_us is out of range");
  if (!message.has_state()) return bad_message("transition", "has no state");
  if (message.state().device_id() != message.device_id()) {
    return bad_message("transition", "the state is of another device");
  }
  auto state = read(message.state());
  if (!state) return state.error();
  std::copy(message.id().begin(), message.id().end(), transition.id.begin());
  transition.device = message.device_id();
  transition.from = static_cast<DeviceStatus>(message.from());
  transition.to = static_cast<DeviceStatus>(message.to());
  transition.reason = static_cast<TransitionReason>(message.reason());
  transition.slot_ms = message.slot_ms();
  transition.decided_at = wall_from_us(message.decided_at_us());
  transition.state = *std::move(state);
  transition.cause = {message.cause().producer(), message.cause().epoch(),
                      message.cause().partition(), message.cause().seq()};
  return transition;
}

void encode_snapshot(const StateSnapshot& snapshot, std::string& out) {
  v1::StateSnapshot message;
  message.mutable_states()->Reserve(static_cast<int>(snapshot.states.size()));
  for (const DeviceState& state : snapshot.states) write(state, *message.add_states());
  for (const auto& position : snapshot.positions) {
    v1::SnapshotPosition& p = *message.add_positions();
    p.set_producer(position.producer);
    p.set_epoch(position.epoch);
    p.set_partition(position.partition);
    p.set_seq(position.seq);
  }
  message.set_timeout_tracking_disabled(!snapshot.timeout_tracking_enabled);
  message.set_critical_threshold(snapshot.critical_threshold);
  message.set_timeouts_file(snapshot.timeouts_file);
  message.SerializeToString(&out);
}

Result<StateSnapshot> decode_snapshot(std::string_view bytes) {
  v1::StateSnapshot message;
  if (!parse(bytes, message)) return bad_message("state snapshot", "bytes are no StateSnapshot");
  StateSnapshot snapshot;
  snapshot.states.reserve(static_cast<size_t>(message.states_size()));
  for (const auto& in : message.states()) {
    auto state = read(in);
    if (!state) return state.error();
    snapshot.states.push_back(*std::move(state));
  }
  for (const auto& p : message.positions()) {
    snapshot.positions.push_back({p.producer(), p.epoch(), p.partition(), p.seq()});
  }
  snapshot.timeout_tracking_enabled = !message.timeout_tracking_disabled();
  snapshot.critical_threshold = message.critical_threshold();
  snapshot.timeouts_file = message.timeouts_file();
  return snapshot;
}

std::string encode_timeouts_reset(const std::vector<DeviceId>& devices) {
  v1::TimeoutsReset message;
  message.mutable_devices()->Add(devices.begin(), devices.end());
  return message.SerializeAsString();
}

Result<std::vector<DeviceId>> decode_timeouts_reset(std::string_view bytes) {
  v1::TimeoutsReset message;
  if (!parse(bytes, message)) return bad_message("timeouts.reset", "bytes are no TimeoutsReset");
  return std::vector<DeviceId>(message.devices().begin(), message.devices().end());
}

std::string encode_timeouts_reset_reply(uint32_t reset) {
  v1::TimeoutsResetReply message;
  message.set_reset(reset);
  return message.SerializeAsString();
}

Result<uint32_t> decode_timeouts_reset_reply(std::string_view bytes) {
  v1::TimeoutsResetReply message;
  if (!parse(bytes, message))
    return bad_message("timeouts.reset", "bytes are no TimeoutsResetReply");
  return message.reset();
}

std::string to_string(const TransitionId& id) {
  std::string text;
  for (size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", id[i]);
  }
  return text;
}

}  // namespace gema
