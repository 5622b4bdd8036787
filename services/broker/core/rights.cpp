#include "services/broker/core/rights.h"

#include <algorithm>

namespace gema::broker {
namespace {

using bus::TopicKind;

bool contains(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty() || pattern.back() != '*') return pattern == name;
  pattern.remove_suffix(1);
  return name.substr(0, pattern.size()) == pattern;
}

bool may_call(const Client& client, std::string_view process) {
  return std::any_of(client.calls.begin(), client.calls.end(),
                     [&](const std::string& pattern) { return matches(pattern, process); });
}

}  // namespace

const char* to_string(Role role) {
  return role == Role::kInner ? "inner" : "edge";
}

std::optional<Role> role_from(std::string_view text) {
  if (text == "inner") return Role::kInner;
  if (text == "edge") return Role::kEdge;
  return std::nullopt;
}

const char* to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "none";
    case Refusal::kUnknownKey:
      return "unknown_key";
    case Refusal::kMultipart:
      return "multipart";
    case Refusal::kNotATopic:
      return "not_a_topic";
    case Refusal::kNotItsName:
      return "not_its_name";
    case Refusal::kNotItsStream:
      return "not_its_stream";
    case Refusal::kNotItsGroup:
      return "not_its_group";
    case Refusal::kMayNotCall:
      return "may_not_call";
    case Refusal::kMayNotAnswer:
      return "may_not_answer";
    case Refusal::kMayNotPublish:
      return "may_not_publish";
  }
  return "?";
}

Refusal may_publish(const Client& client, const bus::ParsedTopic& topic) {
  switch (topic.kind) {
    case TopicKind::kLive:
    case TopicKind::kTip:
    case TopicKind::kReplay:
      if (topic.producer != client.name) return Refusal::kNotItsName;
      return contains(client.produces, topic.stream) ? Refusal::kNone : Refusal::kNotItsStream;
    case TopicKind::kAck:
    case TopicKind::kWant:
      return contains(client.groups, topic.group) ? Refusal::kNone : Refusal::kNotItsGroup;
    case TopicKind::kAssign:
    case TopicKind::kCatalogue:
      return contains(client.publishes, to_string(topic.kind)) ? Refusal::kNone
                                                               : Refusal::kMayNotPublish;
    case TopicKind::kHeartbeat:
      return topic.process == client.name ? Refusal::kNone : Refusal::kNotItsName;
    case TopicKind::kCall:
      return topic.process == client.name || may_call(client, topic.process) ? Refusal::kNone
                                                                             : Refusal::kMayNotCall;
    case TopicKind::kReply:
      return client.answers ? Refusal::kNone : Refusal::kMayNotAnswer;
  }
  return Refusal::kNotATopic;
}

bool edge_sees(const bus::ParsedTopic& topic) {
  switch (topic.kind) {
    case TopicKind::kAck:
    case TopicKind::kWant:
      return topic.stream == "ping";
    case TopicKind::kAssign:
      return true;
    case TopicKind::kCall:
      return topic.process.substr(0, 7) == "prober-";
    default:
      return false;
  }
}

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> all = {"prober",    "recorder", "timeout-tracker",
                                               "inventory", "gateway",  "cli"};
  return all;
}

std::string kind_of(std::string_view name) {
  const size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || dash + 1 == name.size()) return std::string(name);
  const std::string_view tail = name.substr(dash + 1);
  const bool number =
      std::all_of(tail.begin(), tail.end(), [](char c) { return c >= '0' && c <= '9'; });
  return std::string(number ? name.substr(0, dash) : name);
}

std::optional<Client> preset(std::string_view kind, std::string_view name) {
  if (!bus::is_valid_name(name)) return std::nullopt;
  Client client;
  client.name = name;
  client.kind = kind;
  client.role = Role::kInner;
  if (kind == "prober") {
    if (name.substr(0, 7) != "prober-") return std::nullopt;
    client.role = Role::kEdge;
    client.produces = {"ping"};
    client.answers = true;
  } else if (kind == "recorder") {
    client.groups = {"recorder"};
    client.calls = {"inventory"};
    client.answers = true;
  } else if (kind == "timeout-tracker") {
    client.produces = {"transitions"};
    client.groups = {"timeout-tracker"};
    client.calls = {"inventory", "recorder"};
    client.answers = true;
  } else if (kind == "inventory") {
    client.calls = {"timeout-tracker", "prober-*"};
    client.answers = true;
    client.publishes = {"catalogue", "assign"};
  } else if (kind == "gateway") {
    client.calls = {"*"};
    client.answers = true;
  } else if (kind == "cli") {
    client.calls = {"*"};
  } else {
    return std::nullopt;
  }
  return client;
}

}  // namespace gema::broker
