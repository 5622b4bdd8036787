// Between inventory's values and the messages of its calls and heartbeats.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/catalogue.h"
#include "common/domain/on_demand.h"
#include "services/inventory/core/inventory.h"

namespace gema::v1 {
class Heartbeat;
}

namespace gema::inventory {

// What inventory reads of another process's heartbeat.
struct HeardHeartbeat {
  std::string process;
  std::string kind;
  std::string location;
  Version catalogue;     // what it holds
  Version assignment;    // probers: what it holds
  bool leaving = false;  // probers: about to stop
};

// nullopt: the bytes are no heartbeat.
std::optional<HeardHeartbeat> read_heartbeat(std::string_view bytes);

// What inventory adds to its own.
struct OwnHeartbeat {
  Version catalogue;
  std::map<std::string, Version> assignments;
  bool ready = false;
  std::vector<std::string> waiting_for;
  Probing probing;
};

void fill(const OwnHeartbeat& own, v1::Heartbeat& message);

// The reply to devices.reload.
std::string encode_reload_reply(const Plan& plan);

}  // namespace gema::inventory
