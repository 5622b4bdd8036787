// What the stream library hands to its owner for BusClient::publish.
#pragma once

#include <string>

namespace gema::stream {

struct Outgoing {
  std::string topic;
  std::string payload;
};

}  // namespace gema::stream
