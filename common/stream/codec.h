// Stream messages to bytes and back (proto/gema/v1/stream.proto). Decoding checks everything that
// the cores require; what it refuses is counted by the caller and dropped.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/stream/core/types.h"

namespace gema::stream {

// Whose stream: must agree with the topic.
struct StreamName {
  std::string_view stream;
  std::string_view producer;
};

std::string encode_record(StreamName name, const RecordMessage& record);  // for live/
std::string encode_replay(StreamName name, const RecordMessage& record);  // for replay/
std::string encode_replay(StreamName name, const LostMessage& lost);
std::string encode_tip(StreamName name, const TipMessage& tip);
std::string encode_ack(StreamName name, const AckMessage& ack);
std::string encode_want(StreamName name, const WantMessage& want);

enum class Refused {
  kMalformed,  // no such message, or a field out of range
  kForeign,    // of another stream, producer or group than its topic says
};
template <class T>
using Decoded = std::variant<T, Refused>;

Decoded<RecordMessage> decode_record_message(StreamName name, std::string_view bytes);
Decoded<std::variant<RecordMessage, LostMessage>> decode_replay(StreamName name,
                                                                std::string_view bytes);
Decoded<TipMessage> decode_tip(StreamName name, std::string_view bytes);
Decoded<AckMessage> decode_ack(StreamName name, std::string_view group, std::string_view bytes);
Decoded<WantMessage> decode_want(StreamName name, std::string_view group, std::string_view bytes);

}  // namespace gema::stream
