#include "common/bus/topics.h"

#include <array>
#include <initializer_list>

#include "common/base/assert.h"

namespace gema::bus {
namespace {

struct Shape {
  TopicKind kind;
  std::string_view word;
  bool has_stream;
  bool has_group;
  bool has_process;
};

constexpr std::array<Shape, 10> kShapes{{
    {TopicKind::kLive, "live", true, false, false},
    {TopicKind::kTip, "tip", true, false, false},
    {TopicKind::kReplay, "replay", true, true, false},
    {TopicKind::kAck, "ack", true, true, false},
    {TopicKind::kWant, "want", true, true, false},
    {TopicKind::kAssign, "assign", false, false, true},
    {TopicKind::kCatalogue, "catalogue", false, false, false},
    {TopicKind::kHeartbeat, "heartbeat", false, false, true},
    {TopicKind::kCall, "call", false, false, true},
    {TopicKind::kReply, "reply", false, false, true},
}};

std::string join(TopicKind kind, std::initializer_list<std::string_view> names) {
  std::string topic(to_string(kind));
  topic += '/';
  for (const std::string_view name : names) {
    GEMA_ASSERT(is_valid_name(name));
    topic += name;
    topic += '/';
  }
  return topic;
}

// Takes "<name>/" off the front of `rest`. False, with `rest` unspecified, if it is not there.
bool take_name(std::string_view& rest, std::string_view& name) {
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return false;
  name = rest.substr(0, slash);
  rest.remove_prefix(slash + 1);
  return is_valid_name(name);
}

}  // namespace

std::string_view to_string(TopicKind kind) {
  return kShapes[static_cast<size_t>(kind)].word;
}

bool is_valid_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-') return false;
  for (const char c : name) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    if (!allowed) return false;
  }
  return true;
}

std::string live_topic(std::string_view stream, std::string_view producer) {
  return join(TopicKind::kLive, {stream, producer});
}
std::string tip_topic(std::string_view stream, std::string_view producer) {
  return join(TopicKind::kTip, {stream, producer});
}
std::string replay_topic(std::string_view stream, std::string_view group,
                         std::string_view producer) {
  return join(TopicKind::kReplay, {stream, group, producer});
}
std::string ack_topic(std::string_view stream, std::string_view group, std::string_view producer) {
  return join(TopicKind::kAck, {stream, group, producer});
}
std::string want_topic(std::string_view stream, std::string_view group, std::string_view producer) {
  return join(TopicKind::kWant, {stream, group, producer});
}
std::string assign_topic(std::string_view prober) {
  return join(TopicKind::kAssign, {prober});
}
std::string catalogue_topic() {
  return join(TopicKind::kCatalogue, {});
}
std::string heartbeat_topic(std::string_view process) {
  return join(TopicKind::kHeartbeat, {process});
}
std::string call_topic(std::string_view process) {
  return join(TopicKind::kCall, {process});
}
std::string reply_topic(std::string_view caller) {
  return join(TopicKind::kReply, {caller});
}

std::string live_prefix(std::string_view stream) {
  return join(TopicKind::kLive, {stream});
}
std::string tip_prefix(std::string_view stream) {
  return join(TopicKind::kTip, {stream});
}
std::string replay_prefix(std::string_view stream, std::string_view group) {
  return join(TopicKind::kReplay, {stream, group});
}
std::string heartbeat_prefix() {
  return join(TopicKind::kHeartbeat, {});
}

std::optional<ParsedTopic> parse_topic(std::string_view topic) {
  std::string_view rest = topic;
  std::string_view word;
  if (!take_name(rest, word)) return std::nullopt;
  for (const Shape& shape : kShapes) {
    if (shape.word != word) continue;
    ParsedTopic parsed;
    parsed.kind = shape.kind;
    if (shape.has_stream && !take_name(rest, parsed.stream)) return std::nullopt;
    if (shape.has_group && !take_name(rest, parsed.group)) return std::nullopt;
    if (shape.has_stream && !take_name(rest, parsed.producer)) return std::nullopt;
    if (shape.has_process && !take_name(rest, parsed.process)) return std::nullopt;
    if (!rest.empty()) return std::nullopt;
    return parsed;
  }
  return std::nullopt;
}

}  // namespace gema::bus
