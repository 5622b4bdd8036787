// Decides who may publish what, and who sees what. Pure.
//
// A client is a key with a name and rights, as keys/clients.yaml lists them:
//   produces   streams whose live/, tip/ and replay/ it may publish, under its own name
//   groups     groups whose ack/ and want/ it may publish, to any producer
//   calls      processes it may call; "prober-*" means all whose name begins so, "*" all
//   answers    it may reply
//   publishes  "catalogue" and "assign": inventory only
// Everyone may publish its own heartbeat and call itself (the client library's echo).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bus/topics.h"  // lint: allow(core-includes) pure; the words that rights are about

namespace gema::broker {

enum class Role {
  kInner,  // our services: see everything
  kEdge,   // probers: see ack|want/ping/, assign/, call/prober-*/
};

const char* to_string(Role role);
std::optional<Role> role_from(std::string_view text);

struct Client {
  std::string name;
  std::string kind;  // whose preset these rights are; "custom": written by hand
  Role role = Role::kEdge;
  std::string public_key;  // Z85
  std::vector<std::string> produces;
  std::vector<std::string> groups;
  std::vector<std::string> calls;
  bool answers = false;
  std::vector<std::string> publishes;

  friend bool operator==(const Client&, const Client&) = default;
};

// Why a message is not forwarded. Log line, metric label and test expectation alike.
enum class Refusal {
  kNone,
  kUnknownKey,  // taken off the list while connected
  kMultipart,   // more than one frame
  kNotATopic,   // no NUL within a topic's length, or not a topic to the letter
  kNotItsName,  // speaks for another process
  kNotItsStream,
  kNotItsGroup,
  kMayNotCall,
  kMayNotAnswer,
  kMayNotPublish,  // catalogue/, assign/
};
inline constexpr int kRefusals = static_cast<int>(Refusal::kMayNotPublish) + 1;

const char* to_string(Refusal refusal);

// Returns kNone when `client` may publish on `topic`.
Refusal may_publish(const Client& client, const bus::ParsedTopic& topic);

// Does the edge role see it? (The inner role sees everything.)
bool edge_sees(const bus::ParsedTopic& topic);

// The rights that a kind of process has, without key: what make-keys writes. nullopt: no such kind,
// or the name does not fit it (a prober's begins with "prober-", for that is what edge_sees knows).
std::optional<Client> preset(std::string_view kind, std::string_view name);
const std::vector<std::string>& kinds();

// "prober-12" -> "prober", "recorder" -> "recorder".
std::string kind_of(std::string_view name);

}  // namespace gema::broker
