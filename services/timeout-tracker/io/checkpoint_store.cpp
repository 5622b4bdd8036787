#include "services/timeout-tracker/io/checkpoint_store.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <string_view>

#include "common/codec/message.h"
#include "common/codec/transition_codec.h"
#include "gema/v1/transition.pb.h"
#include "services/timeout-tracker/core/limits.h"

namespace gema::timeout_tracker {
namespace {

constexpr const char* kCheckpointKey = "gema:timeout-tracker:checkpoint";
constexpr const char* kStatesKey = "gema:timeout-tracker:states";
constexpr const char* kFormat = "1";  // raise it when an older binary could not read the new one

Error unreadable(std::string_view what) {
  return {Errc::kBadInput, fmt::format("the checkpoint in Redis is unreadable: {}", what)};
}

template <class Int>
bool parse_int(const std::string& text, Int& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

void add_states(const StatesCopy& copy, std::vector<redis::Command>& commands) {
  std::string bytes;
  for (size_t i = 0; i < copy.states.size(); ++i) {
    if (i % kStatesPerCommand == 0) commands.push_back({"HSET", kStatesKey});
    const auto& [device, state] = copy.states[i];
    encode_state(to_device_state(device, state, copy.names), bytes);
    commands.back().push_back(std::to_string(device));
    commands.back().push_back(bytes);
  }
}

std::string encode_guarded(const std::vector<Guarded>& guarded) {
  v1::GuardedDevices message;
  for (const Guarded& guard : guarded) {
    v1::GuardedDevice& device = *message.add_devices();
    device.set_device_id(guard.device);
    device.set_ahead(guard.ahead);
    device.mutable_cause()->set_producer(guard.cause.producer);
    device.mutable_cause()->set_epoch(guard.cause.epoch);
    device.mutable_cause()->set_partition(guard.cause.partition);
    device.mutable_cause()->set_seq(guard.cause.seq);
  }
  return message.SerializeAsString();
}

Result<std::vector<Guarded>> decode_guarded(const std::string& bytes) {
  v1::GuardedDevices message;
  if (!message.ParseFromString(bytes)) return unreadable("guarded is no GuardedDevices");
  std::vector<Guarded> guarded;
  for (const auto& device : message.devices()) {
    guarded.push_back({.device = device.device_id(),
                       .cause = {device.cause().producer(), device.cause().epoch(),
                                 device.cause().partition(), device.cause().seq()},
                       .ahead = device.ahead()});
  }
  return guarded;
}

Result<Checkpoint> parse_head(const redis::Reply& reply, uint64_t& states_total) {
  std::map<std::string, std::string> fields;
  for (size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    fields[reply.items[i].text] = reply.items[i + 1].text;
  }
  if (fields["format"] != kFormat) {
    return unreadable(fmt::format("format is \"{}\", not {}", fields["format"], kFormat));
  }
  Checkpoint checkpoint;
  checkpoint.id = fields["id"];
  if (checkpoint.id.empty()) return unreadable("it has no id");
  int64_t at_us = 0;
  if (!parse_int(fields["at_us"], at_us)) return unreadable("at_us is no number");
  if (!is_time_of_ours(at_us)) return unreadable("at_us is no time of ours");
  checkpoint.at = wall_from_us(at_us);
  if (!parse_int(fields["states"], states_total)) return unreadable("states is no number");
  auto input = stream::PositionSet::parse(fields["input"]);
  if (!input) return unreadable("input: " + input.error().message);
  auto own = stream::PositionSet::parse(fields["own"]);
  if (!own) return unreadable("own: " + own.error().message);
  auto guarded = decode_guarded(fields["guarded"]);
  if (!guarded) return guarded.error();
  checkpoint.guarded = *std::move(guarded);
  checkpoint.input = *std::move(input);
  checkpoint.own = *std::move(own);
  return checkpoint;
}

}  // namespace

Result<bool> CheckpointStore::holds(const std::string& id) {
  if (auto watched = redis_.run({"WATCH", kCheckpointKey}); !watched) return watched.error();
  auto reply = redis_.run({"HGET", kCheckpointKey, "id"});
  if (!reply) return reply.error();
  if (reply->kind == redis::Reply::Kind::kText && reply->text == id) return true;
  if (auto unwatched = redis_.run({"UNWATCH"}); !unwatched) return unwatched.error();
  return false;
}

Result<Written> CheckpointStore::write(const CheckpointWrite& checkpoint) {
  std::vector<redis::Command> commands;
  if (checkpoint.plan.full()) {
    commands.push_back({"DEL", kCheckpointKey, kStatesKey});
  } else {
    auto there = holds(checkpoint.plan.base);
    // A key of another type is a lost base, too; the full one deletes it.
    if (!there && there.error().code == Errc::kPermanent &&
        there.error().message.find("WRONGTYPE") != std::string::npos) {
      redis_.disconnect();  // still watching
      return Written::kBaseLost;
    }
    if (!there) return there.error();
    if (!*there) return Written::kBaseLost;
  }
  add_states(checkpoint.states, commands);
  commands.push_back({"HSET", kCheckpointKey, "format", kFormat, "id", checkpoint.plan.id, "at_us",
                      std::to_string(unix_us(checkpoint.at)), "states",
                      std::to_string(checkpoint.states_total), "input",
                      checkpoint.input.serialise(), "own", checkpoint.own.serialise(), "guarded",
                      encode_guarded(checkpoint.states.guarded)});
  auto done = redis_.transact(commands);
  if (!done) return done.error();
  return Written::kDone;
}

Result<std::optional<Checkpoint>> CheckpointStore::load() {
  const std::vector<redis::Command> commands = {{"HGETALL", kCheckpointKey},
                                                {"HGETALL", kStatesKey}};
  auto replies = redis_.transact(commands);
  if (!replies) {
    if (replies.error().message.find("WRONGTYPE") != std::string::npos) {
      return unreadable(replies.error().message);
    }
    return replies.error();
  }
  const redis::Reply& head = (*replies)[0];
  const redis::Reply& states = (*replies)[1];
  if (head.items.empty() && states.items.empty()) return std::optional<Checkpoint>();
  if (head.items.empty()) return unreadable("states without a checkpoint");
  uint64_t states_total = 0;
  auto checkpoint = parse_head(head, states_total);
  if (!checkpoint) return checkpoint.error();
  if (states.items.size() != 2 * states_total) {
    return unreadable(
        fmt::format("it names {} states, {} are there", states_total, states.items.size() / 2));
  }
  checkpoint->states.reserve(states_total);
  for (size_t i = 0; i + 1 < states.items.size(); i += 2) {
    auto state = decode_state(states.items[i + 1].text);
    if (!state) return unreadable(state.error().message);
    if (std::to_string(state->device) != states.items[i].text) {
      return unreadable("a state is of another device");
    }
    checkpoint->states.push_back(*std::move(state));
  }
  return std::optional(*std::move(checkpoint));
}

}  // namespace gema::timeout_tracker
