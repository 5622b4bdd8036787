#include "common/bus/heartbeat.h"

#include <utility>

#include "common/bus/topics.h"

namespace gema::bus {
namespace {
constexpr Duration kEvery = 1s;
}

Heartbeat::Heartbeat(BusClient& client, std::string kind, Now started, Fill fill)
    : client_(client), fill_(std::move(fill)), due_(started.mono) {
  message_.set_process(client.name());
  message_.set_kind(std::move(kind));
  message_.set_started_at_us(unix_us(started.wall));
}

MonoTime Heartbeat::tick(Now now) {
  if (now.mono < due_) return due_;
  v1::Heartbeat message = message_;
  message.set_at_us(unix_us(now.wall));
  if (fill_) fill_(message);
  client_.publish(heartbeat_topic(client_.name()), message.SerializeAsString());
  // On schedule, but no burst of missed ones after a pause.
  due_ = now.mono - due_ < kEvery ? due_ + kEvery : now.mono + kEvery;
  return due_;
}

}  // namespace gema::bus
