// Reading a message from bytes that came from outside. Only where messages are known at all: in
// codecs and shells.
#pragma once

#include <cstdint>
#include <string_view>

namespace gema {

template <class Message>
bool parse(std::string_view bytes, Message& message) {
  return bytes.size() <= INT32_MAX &&
         message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace gema
