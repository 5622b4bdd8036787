// Every topic of the bus, built and taken apart in one place.
//
//   live|tip/<stream>/<producer>/              records, and what a producer still holds
//   ack|want|replay/<stream>/<group>/<producer>/   between a group and a producer
//   assign/<prober>/   catalogue/   heartbeat/<process>/   call/<process>/   reply/<caller>/
//
// All end in "/", so that a subscription to "live/ping/prober-1/" does not also match prober-10.
// On the wire a message is one frame, `topic NUL payload`; names hold no "/" and no NUL.
//
// Which subscriber sees what: the *inner* role (our services) everything, the *edge* role (probers)
// only `ack|want/ping/`, `assign/` and `call/prober-*/`. An edge process therefore sees neither
// replies nor heartbeats: it makes no calls. What a prober lacks, inventory learns from the
// prober's own heartbeat (which names the assignment it holds) and publishes again.
//
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace gema::bus {

enum class TopicKind {
  kLive,
  kTip,
  kReplay,
  kAck,
  kWant,
  kAssign,
  kCatalogue,
  kHeartbeat,
  kCall,
  kReply,
};

// "live", "tip", ... : the first word of the topic.
std::string_view to_string(TopicKind kind);

// Stream, group, producer and process names: 1 to 63 of [a-z0-9-], beginning with [a-z0-9].
bool is_valid_name(std::string_view name);

// Requires (all builders): names are valid.
std::string live_topic(std::string_view stream, std::string_view producer);
std::string tip_topic(std::string_view stream, std::string_view producer);
std::string replay_topic(std::string_view stream, std::string_view group,
                         std::string_view producer);
std::string ack_topic(std::string_view stream, std::string_view group, std::string_view producer);
std::string want_topic(std::string_view stream, std::string_view group, std::string_view producer);
std::string assign_topic(std::string_view prober);
std::string catalogue_topic();
std::string heartbeat_topic(std::string_view process);
std::string call_topic(std::string_view process);
std::string reply_topic(std::string_view caller);

// What to subscribe to for all producers of a stream, or all processes.
std::string live_prefix(std::string_view stream);
std::string tip_prefix(std::string_view stream);
std::string replay_prefix(std::string_view stream, std::string_view group);
std::string heartbeat_prefix();

// Fields that a kind does not have are empty. All are views into the parsed text.
struct ParsedTopic {
  TopicKind kind{};
  std::string_view stream;    // live, tip, replay, ack, want
  std::string_view group;     // replay, ack, want
  std::string_view producer;  // live, tip, replay, ack, want
  std::string_view process;   // assign (the prober), heartbeat, call (the callee), reply (caller)

  friend bool operator==(const ParsedTopic&, const ParsedTopic&) = default;
};

// nullopt when `topic` is none of the above, to the letter. The views live as long as `topic`.
std::optional<ParsedTopic> parse_topic(std::string_view topic);
std::optional<ParsedTopic> parse_topic(std::string&& topic) = delete;  // views would dangle

}  // namespace gema::bus
